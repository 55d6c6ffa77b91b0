"""Drawn pictures kept between runs, so that methods, seeds and mixes that ask for the same picture draw it once.

A picture depends on the pictures that are drawn with it, by a level or so: sums have another order in a batch of
another size. So it is kept under a digest of its whole batch, and one that is read has the bytes that drawing would
give. Rules for size, sharing and damage are those of ``storage.kept_features``. ``verify --rerun`` draws anew.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.device import resolved_revision
from hf_mner_aug.models.image.engine import Refused
from hf_mner_aug.posts.pictures import open_image
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage import kept_features
from hf_mner_aug.untrusted.shapes import parse_json

if TYPE_CHECKING:
    import PIL.Image

KIND = "pictures"
ANEW = "HF_MNER_AUG_DRAW_ANEW"  # set while pictures are drawn to be compared with kept ones
VERSION = 1  # raised when the same inputs give another picture
LIBRARIES = ("diffusers", "torch", "transformers")


class Drawn(NamedTuple):
    """A picture, or why there is none; ``cut``: its prompt was longer than the model takes."""

    picture: "PIL.Image.Image | Refused"
    cut: bool = False


class About(TypedDict):
    """What is kept of a picture beside its pixels: the reason and detail of a refusal, empty without one."""

    refused: list[str]
    cut: bool


@contextlib.contextmanager
def drawing_anew() -> Iterator[None]:
    """Draw every picture, in this process and those it starts."""
    before = os.environ.get(ANEW)
    os.environ[ANEW] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ANEW]
        else:
            os.environ[ANEW] = before


@functools.lru_cache(maxsize=16)
def revision_of(model: str, revision: str | None) -> str | None:
    """Return the commit of a model, or the digest of its folder; None if it cannot be known: nothing is kept then."""
    try:
        return resolved_revision(model, revision)
    except UsageError:
        return None


def machine_of(device: str) -> list[Any]:
    """Return what the last bits of a picture depend on, beside its inputs: the processor and the libraries."""
    import torch

    versions = [metadata.version(name) for name in LIBRARIES]
    if device.startswith("cuda"):
        return ["cuda", torch.cuda.get_device_name(device), *versions]
    return [device, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), *versions]


def batch_digest(asked: Any, rows: Sequence[Any]) -> str:
    """Return the digest of a batch: of what is asked of all its pictures, and of each."""
    return hashlib.sha256(canonical_json([VERSION, asked, list(rows)]).encode("utf-8", "surrogatepass")).hexdigest()


def pixels_digest(picture: "PIL.Image.Image | None") -> str:
    """Return the digest of a picture's pixels; empty without one."""
    if picture is None:
        return ""
    about = f"{picture.mode} {picture.size} ".encode()
    return hashlib.sha256(about + picture.tobytes()).hexdigest()


def read(batch: str, n_pictures: int) -> list[Drawn] | None:
    """Return the pictures of a batch by its digest; None if one is not there."""
    if os.environ.get(ANEW):
        return None
    keys = [f"{batch} {i}" for i in range(n_pictures)]
    kept = kept_features.read(KIND, keys, KIND)
    found = [drawn for key in keys if key in kept and (drawn := _opened(kept[key]))]
    return found if len(found) == n_pictures else None


def write(batch: str, pictures: Sequence[Drawn]) -> None:
    """Keep the pictures of a batch."""
    kept_features.write(KIND, {f"{batch} {i}": _packed(drawn) for i, drawn in enumerate(pictures)}, KIND)


def _packed(drawn: Drawn) -> bytes:
    """Return a digest, a line of JSON, and the picture as PNG, if there is one."""
    file, picture = io.BytesIO(), drawn.picture
    refused = [picture.reason, picture.detail] if isinstance(picture, Refused) else []
    file.write(json.dumps({"refused": refused, "cut": drawn.cut}).encode() + b"\n")
    if not isinstance(picture, Refused):
        picture.save(file, "PNG", compress_level=1)
    return hashlib.sha256(file.getvalue()).digest() + file.getvalue()


def _opened(data: bytes) -> Drawn | None:
    """Return a kept picture; None for anything that ``_packed`` has not written."""
    digest, whole = data[:32], data[32:]
    if hashlib.sha256(whole).digest() != digest:
        return None
    line, _, png = whole.partition(b"\n")
    try:
        about: About = parse_json(line, About, "a kept picture", advice="it is drawn again")
        picture = Refused(*about["refused"]) if about["refused"] else open_image({"bytes": png, "path": None})
        return Drawn(picture, about["cut"])
    except (DataError, TypeError):
        return None
