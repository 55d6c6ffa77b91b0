"""A model of pictures and text as a writer of labelled texts: any ``AutoModelForImageTextToText`` with a chat template.

The prompt is a message with the picture, where the post has one, and the instruction; the text and the end token
follow. The model's own processor says how many tokens a picture is, and makes its pixels. LoRA adapters sit on the
projections of the language model, as in ``lm_net``; the picture tower and its connector stay as they are, since a few
hundred posts teach a writer its form, not to see.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.device import from_pretrained, loading
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.lm_net import LMNetwork, check_tokenizer, writer_of
from hf_mner_aug.models.text.network import FitSettings
from hf_mner_aug.models.text.tokens import IGNORED, MESSAGE, Reader, chat_frame, ended, filled, padded
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import EncodedImage

if TYPE_CHECKING:
    import torch

PROMPT_MULTIPLE = 64  # tokens: few different shapes, so that batches are full
SMALLEST = 28  # pixels: towers that cut a picture into patches refuse a smaller side
PARTS = "parts"  # the key of a batch for the loss: batches whose pictures have one shape

Tensors = Mapping[str, "torch.Tensor"]


class EncodedMessage(NamedTuple):
    """A request as token ids: the prompt, and the text to be written.

    ``marks`` are a processor's further values of each prompt token, as the kind of its input; ``shapes`` are those of
    the picture's values, by name.
    """

    prompt: list[int]
    text: list[int]
    image: EncodedImage | None
    marks: Tensors
    shapes: tuple[tuple[str, tuple[int, ...]], ...]


class Frame(NamedTuple):
    """A prompt without its instruction: ids and marks of the part before it, ids after it, the picture's values."""

    before: list[int]
    after: list[int]
    marks: Tensors
    values: Tensors


@dataclass
class VLMNetwork:
    """A model of pictures and text with its processor; what it has in common with a language model is in ``writer``."""

    writer: LMNetwork
    processor: Any

    decoder_only = True

    def __post_init__(self) -> None:
        text = {"type": "text", "text": MESSAGE}
        template = template_of(self.processor)
        self.frames = [
            chat_frame(self.writer.tokenizer, content, template) for content in ([text], [{"type": "image"}, text])
        ]

    @property
    def net(self) -> Any:
        """The module itself."""
        return self.writer.net

    @property
    def max_text(self) -> int:
        """The most tokens of a text."""
        return self.writer.max_text

    @property
    def device(self) -> "torch.device":
        """The device of the network."""
        return self.writer.device

    def example(
        self, instruction: str, image: EncodedImage | None, text: str = ""
    ) -> tuple[EncodedMessage, Counter[str]]:
        """Return a request, or a training pair, as ids; and counts of what was cut.

        Raises:
            DataError: the picture cannot be read or decoded.
        """
        frame = self._frame(image)
        asked, cut = self.writer.prompts.read(instruction)
        writer = self.writer
        ids, text_cut = ended(writer.text_ids(text), writer.max_text, writer.end) if text else ([], False)
        prompt = [*frame.before, *asked, *frame.after]
        shapes = tuple((name, tuple(value.shape)) for name, value in sorted(frame.values.items()))
        marks = {name: _lengthened(values, len(prompt)) for name, values in frame.marks.items()}
        return EncodedMessage(prompt, ids, image, marks, shapes), Counter(
            instructions_cut=int(cut), texts_cut=int(text_cut)
        )

    def _frame(self, image: EncodedImage | None) -> Frame:
        return self._without_picture if image is None else self._framed(image)

    @functools.cached_property
    def _without_picture(self) -> Frame:
        return self._framed(None)

    def _framed(self, image: EncodedImage | None) -> Frame:
        before, after = self.frames[image is not None]
        picture = None if image is None else _at_least(open_rgb(image), SMALLEST)
        start = self.writer.tokenizer.bos_token
        try:
            found = self.processor(
                text=[before],
                images=None if picture is None else [[picture]],
                return_tensors="pt",
                add_special_tokens=not (start and before.startswith(start)),
            )
        except ValueError as error:  # of pictures that are too narrow
            raise DataError(f"the picture does not suit the model: {error}") from error
        ids = found.pop("input_ids")
        found.pop("attention_mask", None)
        marks = {name: value[0] for name, value in found.items() if value.shape[:2] == ids.shape}
        values = {name: value for name, value in found.items() if name not in marks}
        return Frame(ids[0].tolist(), self._pieces(after), marks, values)

    def _pieces(self, text: str) -> list[int]:
        found: list[int] = self.writer.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def text_of(self, ids: Sequence[int]) -> str | Unwritten | None:
        """Return the linearised text of ids up to the end token, or why it is malformed; None without that token."""
        return self.writer.text_of(ids)

    def pixels(self, image: EncodedImage | None) -> Tensors:
        """Return what the processor makes of a picture, by name: pixels and, in some families, sizes, grids, masks.

        Raises:
            DataError: it cannot be read or decoded.
        """
        return self._frame(image).values

    def shape(self, example: EncodedMessage) -> Hashable:
        """Return the padded length of a prompt, and the shapes of its picture."""
        return padded(len(example.prompt) + 1, PROMPT_MULTIPLE), example.shapes

    def collate(
        self, examples: Sequence[EncodedMessage], pixels: Sequence[Tensors], *, learn: bool
    ) -> "dict[str, torch.Tensor]":
        """Return a batch; to learn from, several with their labels, each of pictures of one shape."""
        if not learn:
            width = max(padded(len(example.prompt) + 1, PROMPT_MULTIPLE) for example in examples)
            ids, mask = filled([e.prompt for e in examples], self.writer.filler, left=True, width=width)
            return self._batch(examples, pixels, {"input_ids": ids, "attention_mask": mask}, left=True)
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for i, example in enumerate(examples):
            groups[example.shapes].append(i)
        parts = []
        for rows in groups.values():
            chosen = [examples[i] for i in rows]
            ids, mask = filled([[*e.prompt, *e.text] for e in chosen], self.writer.filler)
            labels = filled([[*[IGNORED] * len(e.prompt), *e.text] for e in chosen], IGNORED)[0]
            batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
            parts.append(self._batch(chosen, [pixels[i] for i in rows], batch, left=False))
        return {PARTS: parts}  # type: ignore[dict-item]

    def _batch(
        self, examples: Sequence[EncodedMessage], pixels: Sequence[Tensors], batch: Tensors, *, left: bool
    ) -> "dict[str, torch.Tensor]":
        """Return a batch with the marks of its tokens and the values of its pictures, on the device."""
        import torch

        width = batch["input_ids"].shape[1]
        found = dict(batch)
        for name in examples[0].marks:
            rows = [_lengthened(e.marks[name], len(e.prompt) + len(e.text) * (not left)) for e in examples]
            found[name] = torch.stack([_padded(row, width, left=left) for row in rows])
        for name in pixels[0]:
            found[name] = torch.cat([values[name] for values in pixels])
        dtype = self.writer.net.dtype
        return {
            name: value.to(self.device, dtype if value.is_floating_point() else value.dtype)
            for name, value in found.items()
        }

    def loss(self, batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
        """Return the mean loss of a batch over the tokens of its texts."""
        parts: Sequence[dict[str, torch.Tensor]] = batch[PARTS]  # type: ignore[assignment]
        counts = [int((part["labels"] != IGNORED).sum()) for part in parts]
        losses = [self.writer.loss(part) * (n / sum(counts)) for part, n in zip(parts, counts, strict=True)]
        return functools.reduce(lambda total, loss: total + loss, losses)

    def forbidden(self) -> "torch.Tensor":
        """Return the mask [n_tokens] of forbidden tokens: as of a language model, and those that stand for pictures."""
        marks = self.writer.forbidden()
        config = self.writer.net.config.to_dict()
        ids = {value for name, value in config.items() if name.endswith(("_token_id", "_token_index"))}
        marks[[i for i in ids - {self.writer.end} if isinstance(i, int) and 0 <= i < len(marks)]] = True
        return marks

    def adapt(self, settings: FitSettings) -> None:
        """Make adapters of the language model learnable, and where tags are tokens their rows."""
        self.writer.adapt(settings)

    def write_weights(self, folder: Path) -> None:
        """Write the adapters; never the base."""
        self.writer.write_weights(folder)

    def read_weights(self, folder: Path) -> None:
        """Take over the adapters that ``write_weights`` wrote."""
        self.writer.read_weights(folder)


def _at_least(picture: Any, side: int) -> Any:
    """Return a picture, enlarged where a side has fewer pixels."""
    least = min(picture.size)
    return picture if least >= side else picture.resize(tuple(-(-n * side // least) for n in picture.size))


def _lengthened(values: "torch.Tensor", length: int) -> "torch.Tensor":
    """Return values of tokens [n, …] as [length, …]: further tokens have that of the last."""
    import torch

    return torch.cat([values, *[values[-1:]] * (length - len(values))])


def _padded(values: "torch.Tensor", width: int, *, left: bool) -> "torch.Tensor":
    """Return values of tokens [n, …] as [width, …], with zeros on one side."""
    import torch

    zeros = values.new_zeros((width - len(values), *values.shape[1:]))
    return torch.cat([zeros, values] if left else [values, zeros])


# ---------------------------------------------------------------- opening


def open_base(settings: FitSettings, tags: Sequence[str], dtype: str) -> VLMNetwork:
    """Return a frozen model of pictures and text, on the CPU.

    Raises:
        MissingExtra: torch, torchvision or transformers is not installed.
        UsageError: there is no such model, it does not take pictures and text, or its processor does not fit.
    """
    torch = need("torch", extra="models")
    transformers = need("transformers", extra="models")
    model, revision, variant = settings.model, settings.revision, settings.variant
    with loading(model, "a model of pictures and text", role="text_model"):
        config = from_pretrained(transformers.AutoConfig, model, revision)
        if type(config) not in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise UsageError(
                f"text_model {model!r}: expected a model of pictures and text, found {config.model_type}: for a "
                f"language model of text alone, take text_model=lm:{model}"
            )
        processor = from_pretrained(transformers.AutoProcessor, model, revision)
    check_processor(processor, model)
    with loading(model, "a model of pictures and text", role="text_model"):
        kind = transformers.AutoModelForImageTextToText
        net = from_pretrained(kind, model, revision, variant, dtype=getattr(torch, dtype))
    net.requires_grad_(False)
    check_tokenizer(processor.tokenizer, net, settings)
    prompts = Reader(processor.tokenizer, settings.max_instruction)
    return VLMNetwork(writer_of(net, prompts, tags, settings), processor)


def check_processor(processor: Any, model: str) -> None:
    """Raise if a processor makes no pixels, or does not know how a model is asked.

    Raises:
        UsageError: it does not.
    """
    where = f"text_model {model!r}"
    if getattr(processor, "image_processor", None) is None:
        raise UsageError(
            f"{where}: expected an image processor, found none: the model's folder lacks preprocessor_config.json"
        )
    if not (template_of(processor) or processor.tokenizer.chat_template):
        raise UsageError(
            f"{where}: it has no chat template, so where a picture stands in its prompt is not known: name a model "
            "that was tuned on instructions"
        )


def template_of(processor: Any) -> str | None:
    """Return a processor's chat template; None if it has none of its own."""
    found = getattr(processor, "chat_template", None)
    return found.get("default") if isinstance(found, dict) else found
