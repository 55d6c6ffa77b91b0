"""Features or labels of posts kept between runs, under a digest of the post: one SQLite file per encoder or backbone.

The file is in the cache (``$HF_MNER_AUG_CACHE/features``, or another folder for another ``kind``). It only saves time:
where it cannot be read or written, a warning says so and what it lacks is computed.
"""

import sqlite3
import warnings
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from hf_mner_aug.storage import artifacts

AT_ONCE = 500  # SQLite takes a limited number of parameters
WAIT = 30  # seconds for another process that writes


def path_of(encoder: str, kind: str = "features") -> Path:
    """Return the file of an encoder with a digest."""
    return artifacts.cache_folder() / kind / f"{encoder}.db"


def read(encoder: str, keys: Iterable[str], kind: str = "features") -> dict[str, bytes]:
    """Return the features known under some keys."""
    wanted = [*dict.fromkeys(keys)]
    found: dict[str, bytes] = {}
    path = path_of(encoder, kind)
    if not path.is_file():
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
    return found


def write(encoder: str, features: Mapping[str, bytes], kind: str = "features") -> None:
    """Keep features under their keys."""
    path = path_of(encoder, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WAIT)) as file, file:
            file.execute("CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
            file.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", features.items())
    except (OSError, sqlite3.Error) as error:
        warnings.warn(f"{kind} are not kept in {path} ({error})", stacklevel=2)
