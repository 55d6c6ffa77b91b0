"""CLIP through open_clip (Radford et al. 2021): pretrained, or a small one trained on a split.

With some hundred pairs a contrastive loss alone hardly finds what texts and pictures share. So the small model gets the
same part of a picture as the CCA of these pairs and also learns the CCA's similarities, by open_clip's distillation
loss.
"""

import contextlib
import difflib
import functools
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import DataError, UnknownName, UsageError, first_line
from hf_mner_aug.models.device import digest_weights, find_device, from_pretrained, split_revision
from hf_mner_aug.models.matching.cca import CCA, SIDE, edges_squared, orientation_histograms
from hf_mner_aug.models.matching.embeddings import vectors_of
from hf_mner_aug.need import UNUSABLE_MODEL, need
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import EncodedImage
from hf_mner_aug.storage import artifacts

if TYPE_CHECKING:
    import numpy as np
    import torch

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "image_size": SIDE},
    "text_cfg": {"width": 64, "heads": 4, "layers": 1},
    "init_logit_scale": 2.3,  # a temperature of 0.1
}
PREPARED = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
STEPS = 900
PAIRS = 32  # per step
RATE = 2e-3
DECAY = 0.2
DROPPED = 0.1  # of a text's tokens
TEACHER_SCALE = 5.0
CONTRAST, TEACHING = 0.5, 2.0  # weights of the losses

# A vector must not depend on the rest of its batch: batches are padded to one size.
BATCH = {"cpu": 8, "cuda": 64}
DTYPE = "float32"  # on every device: bfloat16 moves cosines by 0.002
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"  # open_clip's names in a folder


@dataclass(frozen=True, eq=False)
class OpenClip:
    """A model of open_clip with its tokenizer and preprocessing; ``cropped``: first crop to the edges."""

    model: Any
    tokenizer: Any
    prepare: Callable[..., "torch.Tensor"]
    device: str
    cropped: bool = False

    @functools.cached_property
    def dim(self) -> int:
        """The length of a vector."""
        return self.encode_text(["a"]).shape[1]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the weights and the preprocessing."""
        about = [self.model.visual.preprocess_cfg, self.cropped]
        return digest_weights(self.model.state_dict(), json.dumps(about, sort_keys=True, default=list))

    def encode_text(self, texts: Sequence[str]) -> "np.ndarray":
        """Return the vectors [n, dim] of texts, truncated to the model's length (77 tokens in CLIP)."""
        return self._encode(self.model.encode_text, self.tokenizer(list(texts) or ["a"])[: len(texts)])

    def count_cut(self, texts: Sequence[str]) -> int:
        """Return how many texts exceed the model's length."""
        if not texts:  # not every tokenizer accepts an empty list
            return 0
        length = self.tokenizer.context_length
        whole, cut = self.tokenizer(list(texts), length + 1)[:, :length], self.tokenizer(list(texts), length)
        return int((whole != cut).any(1).sum())

    def encode_image(self, images: Sequence[EncodedImage]) -> "np.ndarray":
        """Return the vectors [n, dim] of encoded pictures; the row of one that cannot be read is NaN."""
        return vectors_of(images, f"open_clip-{self.digest[:32]}-{DTYPE}", self.dim, self._encode_images)

    def project(self, squares: "np.ndarray") -> "np.ndarray":
        """Return the vectors [n, dim] of pictures from ``read_squares``."""
        return self._encode(self.model.encode_image, _to_tensor(squares))

    def save(self) -> dict[str, str]:
        """Store the weights of a small model and return their digest, by the name that ``restore`` expects."""
        return {"matcher_weights": artifacts.save(_serialised(self.model))}

    def _encode_images(self, images: Sequence[EncodedImage]) -> "np.ndarray":
        import numpy as np
        import torch

        vectors = np.full((len(images), self.dim), np.nan, dtype=np.float32)
        prepared: dict[int, torch.Tensor] = {}
        for i, image in enumerate(images):
            try:
                picture = open_rgb(image)
            except DataError:
                continue
            prepared[i] = self.prepare(edges_squared(picture) if self.cropped else picture)
        if prepared:
            vectors[list(prepared)] = self._encode(self.model.encode_image, torch.stack(list(prepared.values())))
        return vectors

    def _encode(self, encode: Any, rows: "torch.Tensor") -> "np.ndarray":
        """Return the vectors [n, dim] of inputs [n, ...]."""
        import torch

        if not len(rows):
            return torch.zeros((0, self.dim)).numpy()
        size = BATCH[self.device.partition(":")[0]]
        filled = torch.cat([rows, rows[-1:].expand(-len(rows) % size, *rows.shape[1:])])
        with torch.inference_mode():
            vectors = [encode(batch.to(self.device)) for batch in filled.split(size)]
            return torch.nn.functional.normalize(torch.cat(vectors), dim=-1)[: len(rows)].cpu().numpy()


def load(model: str, *, device: str = "auto") -> OpenClip:
    """Return a pretrained model.

    Args:
        model: ``NAME/WEIGHTS`` as open_clip lists them (``ViT-B-16-quickgelu/openai``),
            ``hf-hub:ORG/REPO`` (with ``@REVISION``), or a folder in open_clip's layout: ``open_clip_config.json`` and
            weights.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        MissingExtra: open_clip is not installed.
        UnknownName: open_clip has no such weights of the model.
        UsageError: it has no such model, the weights cannot be loaded, or the two do not fit together.
    """
    open_clip = need("open_clip", extra="models")
    if Path(model).is_dir():
        return _open(f"local-dir:{model}", None, device)
    if model.startswith("hf-hub:"):
        name, revision = split_revision(model.removeprefix("hf-hub:"))
        return _open(f"local-dir:{_snapshot(name, revision)}" if revision else model, None, device)
    name, _, weights = model.partition("/")
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f"the nearest are {', '.join(near)}" if near else "open_clip.list_models() has them"
        raise UsageError(f"{model}: expected a model of open_clip, hf-hub:ORG/REPO or a folder; {hint}")
    if weights not in (known := open_clip.list_pretrained_tags_by_model(name)):
        raise UnknownName(f"weights of {name}", weights, known)
    quick = bool(open_clip.get_model_config(name).get("quick_gelu"))
    if quick != bool(open_clip.get_pretrained_cfg(name, weights).get("quick_gelu")):
        other = name.removesuffix("-quickgelu") if quick else f"{name}-quickgelu"
        raise UsageError(f"{model}: these weights were trained with another activation: use {other}/{weights}")
    return _open(name, weights, device)


def restore(digests: Mapping[str, str], *, device: str = "auto") -> OpenClip:
    """Return a small model from what its ``save`` returned.

    Raises:
        MissingExtra: open_clip is not installed.
        NotFitted: the weights are not on this machine.
        Corrupt: they are damaged.
    """
    return _small(artifacts.load(digests["matcher_weights"]), device)


def read_squares(images: Sequence[EncodedImage]) -> "np.ndarray":
    """Return the parts of pictures that contain their edges [n, SIDE, SIDE, 3], 0 to 255; NaN if unreadable."""
    import numpy as np

    squares = np.full((len(images), SIDE, SIDE, 3), np.nan, dtype=np.float16)  # exact for whole numbers up to 2048
    for square, image in zip(squares, images, strict=True):
        try:
            square[:] = np.asarray(edges_squared(open_rgb(image)))
        except DataError:
            continue
    return squares


def train(texts: Sequence[str], squares: "np.ndarray", seed: int, *, device: str = "auto") -> OpenClip:
    """Return a small model trained on pairs: normalised texts [n] and ``squares`` [n, SIDE, SIDE, 3].

    Raises:
        MissingExtra: open_clip is not installed.
        UsageError: there are not two texts with different words.
    """
    import numpy as np
    import torch

    open_clip = need("open_clip", extra="models")
    histograms = np.stack([orientation_histograms(square) for square in squares])
    teacher = CCA.fit(texts, histograms)
    taught_text = torch.from_numpy(teacher.encode_text(texts))
    taught_image = torch.from_numpy(teacher.project(histograms))
    where = find_device(device)
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**SMALL).to(where)
    tokens, pictures = open_clip.get_tokenizer()(list(texts)), _to_tensor(squares)
    matrices = [weights for weights in model.parameters() if weights.ndim > 1]
    others = [weights for weights in model.parameters() if weights.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    loss_of = open_clip.DistillClipLoss()
    model.train()
    with _one_thread():
        for rows in itertools.islice(_batches(len(texts), draws), STEPS):
            image = model.encode_image(_shaken(pictures[rows], draws).to(where), normalize=True)
            text = model.encode_text(_with_gaps(tokens[rows], draws).to(where), normalize=True)
            taught = taught_image[rows].to(where), taught_text[rows].to(where)
            contrast, teaching = loss_of(image, text, model.logit_scale.exp(), *taught, TEACHER_SCALE)
            optimizer.zero_grad()
            (CONTRAST * contrast + TEACHING * teaching).backward()
            optimizer.step()
            schedule.step()
    return _small(_serialised(model), device)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Make torch compute in one thread: with several, the order of summation depends on the machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(n: int, draws: "torch.Generator") -> "Iterator[torch.Tensor]":
    """Yield rows in random order, ``PAIRS`` at a time, epoch after epoch; an epoch's remainder is dropped."""
    import torch

    size = min(PAIRS, n)
    while True:
        order = torch.randperm(n, generator=draws)
        yield from order[: n - n % size].split(size)


def _shaken(pictures: "torch.Tensor", draws: "torch.Generator") -> "torch.Tensor":
    """Return pictures [n, 3, side, side] with random mirroring, scale, shift and colours, different for each."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    n = len(pictures)

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=draws)

    def sign(*shape: int) -> torch.Tensor:
        return torch.randint(2, shape, generator=draws) * 2.0 - 1

    placed = torch.zeros(n, 2, 3)
    placed[:, 0, 0] = between(0.8, 1.2, n) * sign(n)
    placed[:, 1, 1] = between(0.8, 1.2, n)
    placed[:, :, 2] = between(-0.2, 0.2, n, 2)
    grid = affine_grid(placed, list(pictures.shape), align_corners=False)
    moved = grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    channels = torch.rand((n, 3), generator=draws).argsort(1)[:, :, None, None].expand_as(moved)
    return moved.gather(1, channels) * between(0.5, 1.5, n, 3, 1, 1) * sign(n, 1, 1, 1) + between(-0.5, 0.5, n, 3, 1, 1)


def _with_gaps(tokens: "torch.Tensor", draws: "torch.Generator") -> "torch.Tensor":
    """Return tokens [n, length] with some word tokens removed and gaps closed, since a text's length identifies it."""
    import torch

    start, end = tokens[:, :1], tokens.max(1, keepdim=True).values
    share = 2 * DROPPED * torch.rand((len(tokens), 1), generator=draws)
    gone = (torch.rand(tokens.shape, generator=draws) < share) & (tokens != start) & (tokens != end)
    return tokens.masked_fill(gone, 0).gather(1, gone.long().argsort(dim=1, stable=True))


def _to_tensor(squares: "np.ndarray") -> "torch.Tensor":
    """Return squares [n, SIDE, SIDE, 3] as a model's input [n, 3, SIDE, SIDE], -1 to 1."""
    import torch

    return torch.from_numpy(squares).float().permute(0, 3, 1, 2).div(255).sub(0.5).div(0.5)


def _serialised(model: "torch.nn.Module") -> bytes:
    """Return a model's weights in the format of safetensors."""
    from safetensors.torch import save

    return save({name: weights.detach().cpu().contiguous() for name, weights in model.state_dict().items()})


def _small(weights: bytes, device: str) -> OpenClip:
    """Return a small model with these weights, by way of a folder in open_clip's layout."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": PREPARED}))
        (Path(folder) / WEIGHTS).write_bytes(weights)
        return replace(_open(f"local-dir:{folder}", None, device), cropped=True)


def _open(name: str, weights: str | None, device: str) -> OpenClip:
    import torch

    open_clip = need("open_clip", extra="models")
    where = find_device(device)
    try:
        options = _tokenizer_options(open_clip.get_model_config(name))
        with torch.random.fork_rng(devices=[]):  # it draws random weights before it loads them
            model, prepare = open_clip.create_model_from_pretrained(name, weights, device=where)
        tokenizer = open_clip.get_tokenizer(name, **options)
    except (*UNUSABLE_MODEL, RuntimeError) as error:
        raise UsageError(f"open_clip cannot load {name}: {str(error).splitlines()[0]}") from error
    return OpenClip(model.eval(), tokenizer, prepare, where)


def _snapshot(model: str, revision: str) -> str:
    """Return the folder of a model's files at a revision: open_clip itself takes the latest.

    Raises:
        UsageError: there is no such model or revision, or the Hub is unreachable.
    """
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(model, revision=revision, allow_patterns=["*.json", "*.txt", "*.model", "open_clip*"])
    except UNUSABLE_MODEL as error:
        raise UsageError(f"open_clip cannot load {model}@{revision}: {first_line(error)}") from error


def _tokenizer_options(config: Mapping[str, Any] | None) -> dict[str, bool]:
    """Return the options to load a model's tokenizer; code that its config asks to run is never run.

    Raises:
        OSError, ValueError: the text tower cannot be loaded without running its code.
    """
    text = (config or {}).get("text_cfg") or {}
    if text.get("hf_model_name"):
        transformers = need("transformers", extra="models")
        from_pretrained(transformers.AutoConfig, text["hf_model_name"])
    return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
