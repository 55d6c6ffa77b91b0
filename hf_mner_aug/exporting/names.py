"""Names of picture files made of ids, which may hold anything."""

import hashlib
import re

LONGEST = 100
_UNFIT = re.compile(r"[^A-Za-z0-9_.~+-]|^[.~+-]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # on Windows

_MARKS = {
    b"\x89PNG": ".png",
    b"\xff\xd8": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tiff",
    b"MM\0*": ".tiff",
}


class Stems:
    """Gives each id a name of its own, also on file systems that ignore case: the id itself wherever it can be one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        """Return the stem of an id's files."""
        stem = _UNFIT.sub("_", name)[:LONGEST]
        if stem != name or stem.endswith(".") or _RESERVED.fullmatch(stem) or stem.lower() in self._taken:
            stem = f"{stem.rstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
        self._taken.add(stem.lower())
        return stem


def ending_of(data: bytes) -> str:
    """Return the suffix for a picture's bytes, by the marks with which its format begins; empty for another format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((ending for mark, ending in _MARKS.items() if data.startswith(mark)), "")
