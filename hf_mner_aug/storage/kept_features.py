"""Results kept between runs under a digest of what they were made from: one SQLite file per encoder or backbone.

They are features or labels of posts, vectors of texts and pictures, and drawn pictures. A file is in the cache
(``$HF_MNER_AUG_CACHE/features``, or another folder for another ``kind``) and only saves time: where it cannot be read
or written, a warning says so and what it lacks is computed. Processes share it. It holds at most
``$HF_MNER_AUG_KEPT_GB`` gigabytes (default: 8): what was written first is deleted first. With 0 nothing is kept.
"""

import os
import sqlite3
import warnings
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.storage import artifacts

AT_ONCE = 500  # SQLite takes a limited number of parameters
WAIT = 30  # seconds for another process that writes
LIMIT, LIMIT_GB = "HF_MNER_AUG_KEPT_GB", 8.0


def path_of(encoder: str, kind: str = "features") -> Path:
    """Return the file of an encoder with a digest."""
    return artifacts.cache_folder() / kind / f"{encoder}.db"


def limit_bytes() -> int:
    """Return the most bytes of a file, 0 if nothing is kept.

    Raises:
        UsageError: $HF_MNER_AUG_KEPT_GB is not a number from 0.
    """
    value = os.environ.get(LIMIT, str(LIMIT_GB))
    try:
        found = int(float(value) * 1e9)
    except (ValueError, OverflowError):
        found = -1
    if found < 0:
        raise UsageError(f"{LIMIT}={value!r}: expected a number of gigabytes, 0 to keep nothing")
    return found


def read(encoder: str, keys: Iterable[str], kind: str = "features") -> dict[str, bytes]:
    """Return the features known under some keys; raises as ``limit_bytes``."""
    wanted = [*dict.fromkeys(keys)]
    found: dict[str, bytes] = {}
    path = path_of(encoder, kind)
    if not limit_bytes() or not path.is_file():
        return found
    try:
        with closing(sqlite3.connect(path, timeout=WAIT)) as file:
            for at in range(0, len(wanted), AT_ONCE):
                some = wanted[at : at + AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(file.execute(f"SELECT key, value FROM features WHERE key IN ({marks})", some))
    except sqlite3.Error as error:
        warnings.warn(f"{path} cannot be read ({error}): delete it; computing {kind}", stacklevel=2)
        return {}
    return {key: value for key, value in found.items() if isinstance(value, bytes)}


def write(encoder: str, features: Mapping[str, bytes], kind: str = "features") -> None:
    """Keep features under their keys; raises as ``limit_bytes``."""
    path, limit = path_of(encoder, kind), limit_bytes()
    if not limit:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT)) as file, file:
            file.execute("CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
            file.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", features.items())
            _shrink(file, limit)
    except (OSError, sqlite3.Error) as error:
        warnings.warn(f"{kind} are not kept in {path} ({error})", stacklevel=2)


def _shrink(file: sqlite3.Connection, limit: int) -> None:
    """Delete what was written first, a tenth of the rows at a time, until the used part of a file is within a limit."""

    def pragma(name: str) -> int:
        found: int = file.execute(f"PRAGMA {name}").fetchone()[0]
        return found

    while (pragma("page_count") - pragma("freelist_count")) * pragma("page_size") > limit:
        (rows,) = file.execute("SELECT COUNT(*) FROM features").fetchone()
        if not rows:
            break
        first = f"SELECT rowid FROM features ORDER BY rowid LIMIT {rows // 10 + 1}"
        file.execute(f"DELETE FROM features WHERE rowid IN ({first})")
