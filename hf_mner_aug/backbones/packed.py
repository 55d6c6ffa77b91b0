"""Fitted backbones as artifacts: a saved folder under the digest of its files."""

import functools
import tempfile
from pathlib import Path

from hf_mner_aug.backbones import Backbone, backbone_class, checkpoint
from hf_mner_aug.storage import artifacts


def pack(model: Backbone) -> str:
    """Store a fitted backbone as one artifact and return its digest."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        return artifacts.save_folder(Path(folder))


@functools.lru_cache(maxsize=16)
def unpack(name: str, digest: str) -> Backbone:
    """Return the fitted backbone that is stored under a digest; an empty name takes the one that the folder names.

    Raises:
        NotFitted: it is not on this machine.
        UsageError: it is a backbone of another name.
        Corrupt: it is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        artifacts.load_folder(digest, Path(folder))
        return load_folder(Path(folder), name)


def load_folder(folder: Path, name: str = "") -> Backbone:
    """Return the backbone saved in a folder; an empty name takes the one that the folder names.

    Raises:
        UsageError: there is none, or one of another name.
        Corrupt: a file is damaged.
    """
    return backbone_class(name or checkpoint.name_of(folder)).load(folder)
