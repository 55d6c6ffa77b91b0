"""Pictures for sentences from any pipeline of diffusers."""

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError, first_line
from hf_mner_aug.models.device import count_limit, find_device, find_dtype, loading, quiet, split_model
from hf_mner_aug.models.image import kept
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import Source
from hf_mner_aug.posts.texts import normalise_text
from hf_mner_aug.storage import kept_features
from hf_mner_aug.values import Amount, Positive, Share, check_ranges

if TYPE_CHECKING:
    import PIL.Image

ACTIVATIONS = 4 * 2**30  # bytes to leave free beside the weights
BLACK = 2  # grey levels: a picture with no lighter pixel is black


# ---------------------------------------------------------------- prompts, sizes, places


def to_prompt(sentence: str, template: str = "{sentence}") -> str:
    """Return the prompt for a sentence: without URLs and leading ``RT @user :``, in the template."""
    return template.replace("{sentence}", normalise_text(sentence, casefold=False))


def working_size(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return the width and height at which to draw a picture of a shape: about ``size`` squared, in steps of 1/8.

    Longer shapes are drawn as 1:3.
    """
    ratio = min(max(shape[0] / shape[1], 1 / 3), 3.0) ** 0.5
    step = size // 8
    return round(8 * ratio) * step, round(8 / ratio) * step


def fit(picture: "PIL.Image.Image", size: tuple[int, int]) -> "PIL.Image.Image":
    """Return a picture of exactly that width and height."""
    from PIL import Image

    return picture if picture.size == tuple(size) else picture.resize(size, Image.Resampling.LANCZOS)


def choose_offload(free: int, parts: Sequence[int]) -> Literal["none", "model", "sequential"]:
    """Return the parts to keep off a GPU with ``free`` bytes: none, the idle ones, or all but one layer.

    Args:
        free: bytes.
        parts: bytes of the weights of each part.
    """
    if sum(parts) + ACTIVATIONS <= free:
        return "none"
    return "model" if max(parts) + ACTIVATIONS <= free else "sequential"


# ---------------------------------------------------------------- diffusers


@dataclass(frozen=True, kw_only=True)
class Diffusers:
    """Text-to-image, and image-to-image if there is an original, through any diffusers pipeline.

    Each row has its own generator on the CPU, seeded by its draw, so that its noise does not depend on the batch or the
    device. The pipeline's safety checker stays on, and a picture that it flags is refused. Pictures are kept in the
    cache (``image.kept``), and one that was drawn before is not drawn again.

    Args:
        model: an id on the Hub or a folder; ``revision`` and ``variant`` (``fp16``) as ``from_pretrained`` takes them.
        prompt: where ``{sentence}`` stands.
        steps: of the schedule; image-to-image does ``steps * strength`` of them.
        guidance: classifier-free guidance; 0 for distilled models.
        text_guidance: the guidance where there is no original; None is ``guidance``.
        strength: how much of the original is redrawn, in (0, 1].
        size: side of a square picture in pixels; other shapes have about the same area.
        batch_size: pictures at a time; halved when memory runs out.
        dtype: ``auto`` (bfloat16 on a GPU, else float32) or the name of one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        offload: ``auto``, ``none``, or what waits outside the GPU: ``model`` (idle parts), ``sequential`` (all layers).
        nsfw_model: an image classifier, as an id or a folder, one of whose labels is ``nsfw``.
        nsfw_threshold: a picture with at least this probability of that label is refused.
    """

    name: ClassVar[str] = "diffusers"
    source: ClassVar[Source] = "trainedAlgorithmicMedia"
    restyles: ClassVar[bool] = False

    model: str = "stabilityai/sdxl-turbo"
    revision: str | None = None
    variant: str | None = None
    prompt: str = "{sentence}"
    steps: Positive = 2
    guidance: Amount = 0.0
    text_guidance: Amount | None = None
    strength: Share = 0.5
    size: int = 512
    batch_size: Positive = 4
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    offload: Literal["auto", "none", "model", "sequential"] = "auto"
    nsfw_model: str | None = None
    nsfw_threshold: Share = 0.5

    def __post_init__(self) -> None:
        if "{sentence}" not in self.prompt:
            raise UsageError(f"diffusers: prompt must hold {{sentence}}, found {self.prompt!r}")
        check_ranges(self, self.name)
        if self.size < 64 or self.size % 64:
            raise UsageError(f"diffusers: size must be a multiple of 64, found {self.size}")

    def generate(
        self,
        sentences: Sequence[str],
        draws: Sequence[Draw],
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
        originals: "Sequence[PIL.Image.Image | None] | None" = None,
    ) -> "list[PIL.Image.Image | Refused]":
        """Return a picture for each sentence, of the given size, else the original's shape, else square.

        Raises:
            MissingExtra: torch, diffusers or transformers is not installed.
            UsageError: there is no such model or GPU, the pipeline takes no originals, ``steps * strength`` is less
                than one step, or memory is too small for one picture.
        """
        rows = []
        for i, (sentence, draw) in enumerate(zip(sentences, draws, strict=True)):
            original = originals[i] if originals is not None else None
            shape = sizes[i] if sizes is not None else original.size if original else (1, 1)
            rows.append(Row(i, to_prompt(sentence, self.prompt), draw.seed(), working_size(shape, self.size), original))
        if any(row.original for row in rows) and int(self.steps * self.strength) < 1:
            raise UsageError(
                f"diffusers: {self.steps} steps at strength {self.strength} are less than one: "
                f"take steps={math.ceil(1 / self.strength)} or more"
            )
        if not rows:
            return []
        loaded = self._load()
        asked = self._asked(loaded)
        made: dict[int, PIL.Image.Image | Refused] = {}
        # Rows of one batch have one size; the groups do not depend on the memory.
        groups: dict[Any, list[Row]] = {}
        for row in rows:
            groups.setdefault((row.size, row.original is None), []).append(row)
        for group in groups.values():
            for first in range(0, len(group), self.batch_size):
                chosen = group[first : first + self.batch_size]
                for row, result in zip(chosen, self._in_memory(loaded, asked, chosen), strict=True):
                    made[row.i] = result if isinstance(result, Refused) or sizes is None else fit(result, sizes[row.i])
        return [made[i] for i in range(len(rows))]

    # ------------------------------------------------------------ inside

    def _load(self) -> "Loaded":
        device = find_device(self.device)
        dtype = find_dtype(self.dtype, device)
        return _load(self.model, self.revision, dtype, device, self.offload, self.variant)

    def _asked(self, loaded: "Loaded") -> dict[str, Any] | None:
        """Return what a picture depends on beside its row; None if none is kept, or a revision is unknown."""
        if not kept_features.limit_bytes():
            return None
        revisions = [kept.revision_of(self.model, self.revision)]
        judge, judge_revision, judge_variant = split_model(self.nsfw_model or "")
        revisions += [kept.revision_of(judge, judge_revision)] if judge else []
        if None in revisions:
            return None
        return {
            "revisions": revisions,
            **({"variant": self.variant} if self.variant else {}),
            **({"nsfw_variant": judge_variant} if judge_variant else {}),
            "nsfw_threshold": self.nsfw_threshold if self.nsfw_model else None,
            "settings": [self.steps, self.guidance, self.strength]
            + [self.text_guidance] * (self.text_guidance is not None),
            "dtype": loaded.dtype,
            "machine": kept.machine_of(loaded.device),
        }

    def _in_memory(
        self, loaded: "Loaded", asked: dict[str, Any] | None, rows: "list[Row]"
    ) -> "list[PIL.Image.Image | Refused]":
        """Return the pictures of a batch, made in smaller ones if memory runs out."""
        import torch

        made: list[PIL.Image.Image | Refused] = []
        while len(made) < len(rows):
            chosen = rows[len(made) : len(made) + (loaded.at_once or len(rows))]
            try:
                drawn = self._kept_or_drawn(loaded, asked, chosen)
                made += [found.picture for found in drawn]
                count_limit("prompts_cut", sum(found.cut for found in drawn))
                continue
            except torch.OutOfMemoryError as error:
                if len(chosen) == 1:
                    raise UsageError(
                        f"{self.model}: {loaded.device} has no memory for one picture of {chosen[0].size}: "
                        "take a smaller size, offload='sequential' or device='cpu'"
                    ) from error
            # Only here: the error itself holds tensors in memory.
            torch.cuda.empty_cache()
            first, loaded.at_once = loaded.at_once is None, len(chosen) // 2
            if first:
                warnings.warn(f"{self.model}: out of memory: continuing with batches of {loaded.at_once}", stacklevel=3)
            count_limit("picture_batches_halved")
        return made

    def _kept_or_drawn(self, loaded: "Loaded", asked: dict[str, Any] | None, rows: "list[Row]") -> "list[kept.Drawn]":
        """Return the pictures of a batch as they were kept, or drawn now."""
        if asked is None:
            return self._judged(loaded, rows)
        batch = kept.batch_digest(
            asked, [[row.prompt, row.seed, row.size, kept.pixels_digest(row.original)] for row in rows]
        )
        found = kept.read(batch, len(rows))
        if found is None:
            found = self._judged(loaded, rows)
            kept.write(batch, found)
        return found

    def _judged(self, loaded: "Loaded", rows: "list[Row]") -> "list[kept.Drawn]":
        """Return the pictures of a batch, drawn now, or why one is refused."""
        pictures, flagged = self._draw(loaded, rows)
        made: list[PIL.Image.Image | Refused] = []
        for picture, unsafe in zip(pictures, flagged, strict=True):
            if unsafe:
                made.append(Refused("unsafe_image", "the pipeline's safety checker flagged it"))
            elif not any(picture.convert("L").histogram()[BLACK + 1 :]):
                made.append(Refused("black_image", "every pixel is black"))
            else:
                made.append(picture)
        if self.nsfw_model:
            there = [i for i, result in enumerate(made) if not isinstance(result, Refused)]
            chances = _nsfw_classifier(self.nsfw_model, loaded.device)([pictures[i] for i in there]) if there else []
            for i, chance in zip(there, chances, strict=True):
                if chance >= self.nsfw_threshold:
                    made[i] = Refused("unsafe_image", f"{self.nsfw_model} gives nsfw {chance:.2f}")
        return [kept.Drawn(one, loaded.is_truncated(row.prompt)) for one, row in zip(made, rows, strict=True)]

    def _draw(self, loaded: "Loaded", rows: "list[Row]") -> "tuple[list[PIL.Image.Image], list[bool]]":
        """Return the pictures of rows of one size, and whether the safety checker flagged each."""
        import torch
        from PIL import Image

        options: dict[str, Any] = {
            "prompt": [row.prompt for row in rows],
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "generator": [torch.Generator("cpu").manual_seed(row.seed) for row in rows],
        }
        if rows[0].original is None:
            if self.text_guidance is not None:
                options["guidance_scale"] = self.text_guidance
            pipeline = loaded.text_to_image
            options |= {"width": rows[0].size[0], "height": rows[0].size[1]}
        else:
            pipeline = loaded.image_to_image
            originals = [row.original.resize(row.size, Image.Resampling.LANCZOS) for row in rows if row.original]
            options |= {"image": originals, "strength": self.strength}
        with quiet("diffusers", "transformers"):
            output = pipeline(**options)
        flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(rows)
        return [picture.convert("RGB") for picture in output.images], [bool(unsafe) for unsafe in flagged]


class Row(NamedTuple):
    """The inputs of a picture."""

    i: int
    prompt: str
    seed: int
    size: tuple[int, int]
    original: "PIL.Image.Image | None"


@dataclass
class Loaded:
    """A pipeline in this process, opened when a picture is drawn; ``at_once``: the batch size after memory ran out."""

    open: Callable[[], Any]
    device: str
    dtype: str
    at_once: int | None = None

    @functools.cached_property
    def text_to_image(self) -> Any:
        """The pipeline."""
        return self.open()

    @functools.cached_property
    def image_to_image(self) -> Any:
        """The pipeline of the same weights that starts from pictures."""
        from diffusers import AutoPipelineForImage2Image

        try:
            return AutoPipelineForImage2Image.from_pipe(self.text_to_image)
        except ValueError as error:
            name = type(self.text_to_image).__name__
            raise UsageError(f"{name} cannot start from a picture ({first_line(error)}): take another model") from error

    def is_truncated(self, prompt: str) -> bool:
        """Return whether a prompt exceeds the limit of every tokenizer of the pipeline."""
        tokenizers = [part for name, part in self.text_to_image.components.items() if name.startswith("tokenizer")]
        tokenizers = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
        with quiet("diffusers", "transformers"):
            return bool(tokenizers) and all(len(t(prompt)["input_ids"]) > t.model_max_length for t in tokenizers)


@functools.cache
def _load(
    model: str, revision: str | None, dtype: str, device: str, offload: str, variant: str | None = None
) -> Loaded:
    return Loaded(functools.partial(_open, model, revision, dtype, device, offload, variant), device, dtype)


def _open(model: str, revision: str | None, dtype: str, device: str, offload: str, variant: str | None = None) -> Any:
    torch = need("torch", extra="models")
    diffusers = need("diffusers", extra="models")
    with quiet("diffusers"), loading(model, "a text-to-image pipeline"):
        pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(
            model, revision=revision, variant=variant, dtype=getattr(torch, dtype), trust_remote_code=False
        )
    pipeline.set_progress_bar_config(disable=True)
    vae: Any = getattr(pipeline, "vae", None)
    if hasattr(vae, "enable_slicing"):
        vae.enable_slicing()  # decodes one picture at a time: this takes most of a batch's memory
    if device.startswith("cuda") and offload == "auto":
        modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
        parts = [sum(p.numel() * p.element_size() for p in module.parameters()) for module in modules]
        offload = choose_offload(torch.cuda.mem_get_info(device)[0], parts)
    if not device.startswith("cuda") or offload == "none":
        try:
            pipeline.to(device)
        except torch.OutOfMemoryError as error:
            raise UsageError(f"model {model!r}: {device} has no memory for it: take offload='model'") from error
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    return pipeline


@functools.cache
def _nsfw_classifier(model: str, device: str) -> "Callable[[list[PIL.Image.Image]], list[float]]":
    """Return a function that gives the probability of ``nsfw`` for each picture."""
    transformers = need("transformers", extra="models")
    name, revision, variant = split_model(model)
    with loading(model, "an image classifier", role="nsfw_model"):
        classify = transformers.pipeline(
            "image-classification",
            model=name,
            revision=revision,
            model_kwargs={"variant": variant} if variant else {},
            device=device,
            trust_remote_code=False,
        )
    labels = list(classify.model.config.id2label.values())
    label = next((name for name in labels if name.casefold() == "nsfw"), None)
    if label is None:
        raise UsageError(f"nsfw_model {model!r}: expected a label nsfw, found {', '.join(labels)}")

    def chances(pictures: "list[PIL.Image.Image]") -> list[float]:
        found = classify(pictures, top_k=None)
        return [next(score["score"] for score in scores if score["label"] == label) for scores in found]

    return chances
