"""Loading and running models: devices, dtypes, quiet libraries, smaller batches, revisions, limits."""

import contextlib
import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from hf_mner_aug.exceptions import UsageError, first_line
from hf_mner_aug.need import UNUSABLE_MODEL, need
from hf_mner_aug.storage.pinned_files import WORDS, checked_file, digest_of_folder, pinned_path, split_pin
from hf_mner_aug.values import ByContent, Computing, Named

LICENCES = {
    "vinai/bertweet-base": "mit",
    "vinai/bertweet-large": "mit",
    **{f"bert-{size}-{case}": "apache-2.0" for size in ("base", "large") for case in ("cased", "uncased")},
    **{f"google-bert/bert-{size}-{case}": "apache-2.0" for size in ("base", "large") for case in ("cased", "uncased")},
    **{
        f"{owner}{kind}-{size}": "mit"
        for owner in ("", "FacebookAI/")
        for kind, size in (("roberta", "base"), ("roberta", "large"), ("xlm-roberta", "base"))
    },
    **{f"{owner}t5-{size}": "apache-2.0" for owner in ("", "google-t5/") for size in ("small", "base", "large")},
    "facebook/bart-base": "apache-2.0",
    "openai/clip-vit-base-patch32": "mit",
    "sentence-transformers/all-MiniLM-L6-v2": "apache-2.0",
    "Salesforce/instructblip-flan-t5-xl": "mit",
    "google/gemma-3-270m": "gemma",
    "google/gemma-3-270m-it": "gemma",
    **{f"Qwen/Qwen2.5-{size}{kind}": "apache-2.0" for size in ("0.5B", "1.5B", "7B") for kind in ("", "-Instruct")},
    **{f"HuggingFaceTB/SmolLM2-{size}": "apache-2.0" for size in ("135M", "360M", "1.7B")},
    "stabilityai/sdxl-turbo": "other",  # non-commercial research
    "stabilityai/sd-turbo": "other",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
    "stabilityai/stable-diffusion-3.5-large": "other",  # Stability AI Community License
}
SLOW_IN_BFLOAT16 = ("NO AVX", "AVX2")  # of x86-64, as torch names them
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VARIANT = re.compile(r"[A-Za-z0-9_-]{1,32}")
T = TypeVar("T")
_LIMITS: Counter[str] = Counter()


def count_limit(kind: str, n: int = 1) -> None:
    """Count inputs that exceed a limit, such as ``prompts_cut``."""
    _LIMITS[kind] += n


def limits_met() -> dict[str, int]:
    """Return the number of inputs that exceeded a limit in this process, by kind."""
    return dict(+_LIMITS)


def find_device(asked: str) -> str:
    """Return the device asked for; for ``auto``, the GPU of ``$LOCAL_RANK`` (else the first), or ``cpu``.

    Raises:
        MissingExtra: torch is not installed.
        UsageError: a GPU is asked for and absent.
    """
    torch = need("torch", extra="models")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto" and n_gpus:
        return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % n_gpus}"
    if asked.startswith("cuda") and not n_gpus:
        built = torch.version.cuda or "no CUDA"
        raise UsageError(
            f"device={asked!r}: torch {torch.__version__} (built for {built}) sees no GPU: pass 'cpu' or 'auto'"
        )
    return "cpu" if asked == "auto" else asked


def find_dtype(asked: str, device: str) -> str:
    """Return the name of the dtype asked for; for ``auto``, bfloat16 on a GPU and float32 on a CPU.

    Warns of bfloat16 on a CPU of the AVX2 generation: multiplied there without instructions of its own, matrices took
    eight times as long as in float32.
    """
    import torch

    if asked == "bfloat16" and device == "cpu" and torch.backends.cpu.get_cpu_capability() in SLOW_IN_BFLOAT16:
        warnings.warn(
            "dtype=bfloat16: this CPU has no instructions for it, so float32 is several times as fast (and takes twice "
            "the memory)",
            stacklevel=2,
        )
    return asked if asked != "auto" else "bfloat16" if device.startswith("cuda") else "float32"


def with_smaller_batches(call: Callable[[int], T], batch_size: int) -> T:
    """Return the result of a call with a batch size; when memory runs out, warn and call it with half of that.

    Raises:
        UsageError: memory is too small for a batch of one.
    """
    import torch

    while True:
        try:
            return call(batch_size)
        except torch.OutOfMemoryError as error:
            if batch_size == 1:
                raise UsageError(
                    "out of memory with one post per batch: take a smaller encoder or max_length, or device='cpu'"
                ) from error
        batch_size //= 2
        torch.cuda.empty_cache()
        warnings.warn(f"out of memory: continuing with batches of {batch_size}", stacklevel=2)


@contextlib.contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Keep transformers, or the libraries named (``diffusers``), from printing warnings and progress bars."""
    loggers = [need(f"{name}.utils.logging", extra="models") for name in libraries or ("transformers",)]
    levels = [logger.get_verbosity() for logger in loggers]
    bars = [logger.is_progress_bar_enabled() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level, bar in zip(loggers, levels, bars, strict=True):
            logger.set_verbosity(level)
            if bar:
                logger.enable_progress_bar()


@contextlib.contextmanager
def loading(model: str, what: str, *, role: str = "model") -> Iterator[None]:
    """Load a model quietly; errors of a folder or id that is not such a model become one line.

    Args:
        model: the folder or id.
        what: the kind of model that is expected, for the message.
        role: the parameter that names it.

    Raises:
        UsageError: it is not such a model.
    """
    kind = "folder" if Path(model).exists() else "folder or model id"
    try:
        with quiet():
            yield
    except UNUSABLE_MODEL as error:
        raise UsageError(f"{role} {model!r}: no usable {kind} of {what} ({first_line(error)})") from error


def digest_weights(weights: Mapping[str, Any], *about: str) -> str:
    """Return the sha256 of a state dict, by name, and of texts about it."""
    import torch

    digest = hashlib.sha256("".join(about).encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def resolved_revision(model: str, revision: str | None = None) -> str:
    """Return the commit of a model on the Hub; of a folder, a digest of its files.

    Without a connection it is the commit in the Hub's cache.

    Raises:
        UsageError: there is no such model or revision, or the Hub cannot be reached and the cache has none.
    """
    folder = Path(model)
    if folder.is_dir():
        return digest_of_folder(folder)
    if revision and _COMMIT.fullmatch(revision):
        return revision
    import httpx2
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        commit = HfApi().model_info(model, revision=revision).sha
    except HFValidationError as error:
        raise UsageError(f"model {model!r}: no folder, and no id as the Hub takes them") from error
    except HfHubHTTPError as error:
        raise UsageError(f"model {model!r}: the Hub does not give it ({first_line(error)})") from error
    except (OSError, httpx2.TransportError) as error:
        for name in ("model_index.json", "config.json"):
            path = try_to_load_from_cache(model, name, revision=revision)
            if isinstance(path, str):
                return Path(path).parent.name
        raise UsageError(
            f"model {model!r}: the Hub cannot be reached and the cache has none ({type(error).__name__}): "
            "give a folder, or revision= as a commit"
        ) from error
    if commit is None:
        raise UsageError(f"model {model!r}: the Hub names no commit")
    return commit


def pinned_model(name: str) -> str:
    """Return ``ID@COMMIT#VARIANT`` for the current commit of an id; a folder, or a name with a revision, is unchanged.

    So are ``WORDS``, which are no models, and names that a library resolves itself (``timm:NAME``). Raises as
    ``resolved_revision``.
    """
    model, variant = split_variant(name)
    if not model or model in WORDS or ":" in model or "@" in model or Path(model).is_dir():
        return name
    return with_variant(f"{model}@{resolved_revision(model)}", variant)


def pinned_name(name: str, where: str) -> str:
    """Return ``MODEL#VARIANT`` with a folder named by its content; raises as ``pinned_path``."""
    model, variant = split_variant(name)
    return with_variant(pinned_path(model, where), variant)


def split_revision(name: str) -> tuple[str, str | None]:
    """Return the id and the revision of ``ID@REVISION``; a folder has none, and one named by its content is found.

    Raises:
        UsageError: a folder named by its content is not known here, or has changed.
    """
    if split_pin(name)[1]:
        return checked_file(name, "model "), None
    model, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    return model, revision or None


def split_variant(name: str) -> tuple[str, str | None]:
    """Return the model and the variant of its files of ``MODEL#VARIANT``, as ``fp16``; None without one.

    Raises:
        UsageError: a revision stands behind the variant.
    """
    model, _, variant = name.rpartition("#")
    variant, at, revision = variant.partition("@")
    if not model or Path(name).is_dir():
        return name, None
    if at:
        raise UsageError(f"{name}: the revision stands before the variant: {model}@{revision}#{variant}")
    return (model, variant) if _VARIANT.fullmatch(variant) else (name, None)


def with_variant(model: str, variant: str | None) -> str:
    """Return the name that ``split_variant`` takes apart."""
    return f"{model}#{variant}" if variant else model


def split_model(name: str) -> tuple[str, str | None, str | None]:
    """Return the id or folder, the revision and the variant of ``ID@REVISION#VARIANT``; raises as its parts."""
    model, variant = split_variant(name)
    return *split_revision(model), variant


def from_pretrained(
    kind: Any, model: str, revision: str | None = None, variant: str | None = None, **options: Any
) -> Any:
    """Return what a class of transformers loads of a model, never by code of the model's own.

    Args:
        kind: the class.
        model: an id on the Hub or a folder.
        revision: of the id.
        variant: of the files with weights; tokenizers, processors and configurations have none.
        options: of the class.
    """
    chosen = {**options, "variant": variant} if variant else options
    return kind.from_pretrained(model, revision=revision, trust_remote_code=False, **chosen)


def model_licence(model: str) -> str:
    """Return the licence of a model (``ID@REVISION``) in the Hub's spelling; ``other`` if it is not known here."""
    return LICENCES.get(model.partition("@")[0], "other")


def named_model(name: str) -> tuple[Named, ...]:
    """Return the model of a name, for the card and the recipe; nothing for an empty name and for ``WORDS``."""
    model, _ = split_variant(name)
    return (Named(model, license=model_licence(model)),) if model and model not in WORDS else ()


ModelName = Annotated[  # a parameter or setting: the folder of a model, or its id on the Hub; with the variant of files
    str,
    ByContent(
        pinned_name,
        pinned_model,
        named_model,
        lambda name: Computing() if named_model(name) else None,
        split_variant,
    ),
]
