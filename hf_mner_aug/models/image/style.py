"""Restyled pictures: an original through a network of style transfer in an ONNX file, in a style that the draw chooses.

Johnson et al. 2016 (a feed-forward network for each style), Dumoulin et al. 2017 (one network for several). The content
of the picture stays, so its boxes stay valid; its colours and textures change. Nothing is read of the sentence.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError, first_line
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import Source, mix_images
from hf_mner_aug.storage.shared import sha256
from hf_mner_aug.values import Range, Share, check_ranges

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

SMALLEST = 32  # pixels: the least side that the network gets
STEP = 4  # the network halves a picture twice


@dataclass(frozen=True, kw_only=True)
class Style:
    """Redraws an original in one of a network's styles.

    Args:
        file: an ONNX file. Its network takes pixels [1, 3, height, width] from 0 to 1 and the weights of its styles
            [n_styles], and gives pixels of the same shape.
        digest: the sha256 of the file; empty takes any.
        strength: the share of the restyled picture in the new one; the rest is the original, in (0, 1].
        size: the longer side of a new picture in pixels, at most; a smaller original keeps its size.
    """

    name: ClassVar[str] = "style"
    source: ClassVar[Source] = "trainedAlgorithmicMedia"
    restyles: ClassVar[bool] = True

    file: str
    digest: str = ""
    strength: Share = 1.0
    size: Annotated[int, Range(32)] = 512

    def __post_init__(self) -> None:
        check_ranges(self, self.name)

    def generate(
        self,
        sentences: Sequence[str],
        draws: Sequence[Draw],
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
        originals: "Sequence[PIL.Image.Image | None] | None" = None,
    ) -> "list[PIL.Image.Image | Refused]":
        """Return each original in a style of its own draw, one at a time; none without an original.

        The reason ``no_original``: there is none.

        Raises:
            MissingExtra: onnxruntime is not installed.
            UsageError: there is no such file, it is another one, or its network is not for style transfer.
        """
        from PIL import Image

        network = _load(self.file, self.digest)
        made: list[PIL.Image.Image | Refused] = []
        for i, draw in enumerate(draws):
            original = originals[i] if originals is not None else None
            if original is None:
                made.append(Refused("no_original", "the post has no picture to restyle"))
                continue
            style = draw.integer(network.n_styles)
            start = original.resize(working_size(original.size, self.size), Image.Resampling.LANCZOS)
            new = mix_images(restyle(network, start, style), start, self.strength)
            if sizes is not None and new.size != tuple(sizes[i]):
                new = new.resize(sizes[i], Image.Resampling.LANCZOS)
            made.append(new)
        return made


class Network(NamedTuple):
    """A network of style transfer in memory: its session, the names of its inputs, the number of its styles."""

    session: Any
    pixels: str
    styles: str
    n_styles: int


def working_size(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return the width and height of a new picture: ``size`` on the longer side at most, 32 on the shorter at least."""
    scale = min(1.0, size / max(shape))
    return max(SMALLEST, round(shape[0] * scale)), max(SMALLEST, round(shape[1] * scale))


def restyle(network: Network, picture: "PIL.Image.Image", style: int) -> "PIL.Image.Image":
    """Return an RGB picture in a style, with the same size."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % STEP), (0, -width % STEP), (0, 0)), mode="reflect")
    weights = np.zeros(network.n_styles, dtype=np.float32)
    weights[style] = 1
    inputs = {network.pixels: np.ascontiguousarray(padded.transpose(2, 0, 1)[None]), network.styles: weights}
    (found,) = network.session.run(None, inputs)
    return Image.fromarray(to_bytes(found[0].transpose(1, 2, 0)[:height, :width]))


def to_bytes(pixels: "np.ndarray") -> "np.ndarray":
    """Return pixels from 0 to 1 as bytes, rounded; what is outside is clipped."""
    import numpy as np

    return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


@functools.lru_cache(maxsize=2)
def _load(file: str, digest: str) -> Network:
    runtime = need("onnxruntime", extra="lab")
    try:
        found = sha256(Path(file))
    except OSError as error:
        raise UsageError(f"style {file}: the file cannot be read ({error.strerror})") from error
    if digest and found != digest:
        raise UsageError(f"style {file}: expected the file with sha256 {digest[:12]}…, found {found[:12]}…")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # so that sums have one order
    try:
        session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except _errors() as error:
        raise UsageError(f"style {file}: expected an ONNX file ({first_line(error)})") from error
    return network_of(session, file)


def network_of(session: Any, file: str) -> Network:
    """Return the network of a session.

    Raises:
        UsageError: its inputs and outputs are not those of style transfer.
    """
    shapes = {one.name: one.shape for one in session.get_inputs()}
    pixels = [name for name, shape in shapes.items() if len(shape) == 4 and shape[1] == 3]
    styles = [name for name, shape in shapes.items() if len(shape) == 1 and isinstance(shape[0], int)]
    if len(shapes) != 2 or len(pixels) != 1 or len(styles) != 1 or len(session.get_outputs()) != 1:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UsageError(
            f"style {file}: expected a network of pixels [1, 3, height, width] and the weights of its styles "
            f"[n_styles], found the inputs {said}"
        )
    return Network(session, pixels[0], styles[0], shapes[styles[0]][0])


def _errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that onnxruntime raises for a file that it cannot load; they have no common base."""
    state = need("onnxruntime.capi.onnxruntime_pybind11_state", extra="lab")
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return tuple(getattr(state, name) for name in names)
