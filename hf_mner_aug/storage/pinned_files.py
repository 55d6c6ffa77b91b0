"""Files and folders of a user, named in a recipe with the digest of their content: ``FILE@SHA256``."""

import hashlib
import re
from pathlib import Path

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.storage.shared import sha256

_PINNED = re.compile(r"(?P<path>.+)@(?P<digest>[0-9a-f]{64})", re.DOTALL)


def split_pin(name: str) -> tuple[str, str]:
    """Return the path and the digest of ``FILE@SHA256``; the digest is empty if it is not given."""
    found = _PINNED.fullmatch(name)
    return (found["path"], found["digest"]) if found else (name, "")


def pinned_file(name: str, where: str) -> str:
    """Return the name of a file or folder with its digest, one that has it as it is.

    Raises:
        UsageError: it cannot be read; the message begins with ``where``.
    """
    path, digest = split_pin(name)
    return f"{path}@{digest or _digest(path, where)}"


def checked_file(name: str, where: str) -> str:
    """Return the path of a file or folder whose content has the digest of its name, if that has one.

    Raises:
        UsageError: it cannot be read, or is another one.
    """
    path, digest = split_pin(name)
    if digest and (found := _digest(path, where)) != digest:
        raise UsageError(f"{where}{path}: expected the content with sha256 {digest[:12]}…, found {found[:12]}…")
    return path


def _digest(name: str, where: str) -> str:
    """Return the digest of a file, or of the names and digests of a folder's files."""
    path = Path(name)
    try:
        if not path.is_dir():
            return sha256(path)
        files = "".join(f"{file.name}\0{sha256(file)}\n" for file in sorted(path.iterdir()) if file.is_file())
    except OSError as error:
        raise UsageError(f"{where}{name}: the file cannot be read ({error.strerror})") from error
    return hashlib.sha256(files.encode()).hexdigest()
