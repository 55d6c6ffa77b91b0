"""The results of fitting, stored under the sha256 of their bytes.

A fitted method holds the digest only, so pickling and hashing it is cheap and independent of where it was fitted. The
store is ``$HF_MNER_AUG_CACHE/artifacts`` (default ``~/.cache/hf_mner_aug/artifacts``).
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import Corrupt, NotFitted
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.locks import unfinished
from hf_mner_aug.storage.swap import sync
from hf_mner_aug.untrusted.names import check_digest, is_name

if TYPE_CHECKING:
    import pyarrow as pa


def cache_folder() -> Path:
    """Return the folder for everything this package keeps between runs."""
    set_by_user = os.environ.get("HF_MNER_AUG_CACHE")
    return Path(set_by_user) if set_by_user else Path.home() / ".cache" / "hf_mner_aug"


def save(data: bytes, folder: Path | None = None) -> str:
    """Store bytes (in the cache, or in another folder) and return their digest."""
    digest = hashlib.sha256(data).hexdigest()
    write_atomically((folder or cache_folder() / "artifacts") / digest, data)
    return digest


def load(digest: str, folder: Path | None = None) -> bytes:
    """Return the bytes stored under a digest.

    Raises:
        NotFitted: they are not here.
        Corrupt: they no longer have that digest, or the digest is invalid.
    """
    path = (folder or cache_folder() / "artifacts") / check_digest(digest, "artifact")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFitted(f"no artifact {digest[:12]} in {path.parent}: call fit again on this machine") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise Corrupt(f"{path} is damaged: delete it and call fit again")
    return data


def save_file(path: Path) -> str:
    """Move a file into the cache under the digest of its bytes, and return the digest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    folder = cache_folder() / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    path.replace(folder / digest)
    return digest


def save_arrow(schema: "pa.Schema", batches: "Iterable[pa.Table | pa.RecordBatch]") -> str:
    """Store rows as one Arrow file, which can be memory-mapped, and return the digest."""
    import pyarrow as pa

    folder = cache_folder() / "artifacts"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".arrow-") as temporary:
        path = Path(temporary) / "rows.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write(batch)
        return save_file(path)


def save_folder(folder: Path) -> str:
    """Store the files of a folder as one artifact, the same bytes for the same files, and return the digest."""
    target = cache_folder() / "artifacts"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".folder-") as temporary:
        packed = Path(temporary) / "folder.tar"
        with tarfile.open(packed, "w") as tar:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                info = tarfile.TarInfo(path.relative_to(folder).as_posix())
                info.size = path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(info, file)
        return save_file(packed)


def load_folder(digest: str, folder: Path) -> None:
    """Write the files that ``save_folder`` stored into a folder.

    Raises:
        Corrupt: the artifact holds anything but files with plain names; otherwise as ``load``.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(load(digest)), mode="r:") as tar:
            for member in tar:
                if not member.isreg() or member.issparse() or not all(map(is_name, member.name.split("/"))):
                    raise Corrupt(f"artifact {digest[:12]} holds {member.name!a}, expected files with plain names")
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise Corrupt(f"artifact {digest[:12]} is not an archive of files: {error}") from error


def path_of(digest: str) -> Path:
    """Return the path of the bytes stored under a digest; they are not read.

    Raises:
        NotFitted: they are not here.
        Corrupt: it is not a digest.
    """
    path = cache_folder() / "artifacts" / check_digest(digest, "artifact")
    if not path.exists():
        raise NotFitted(f"no artifact {digest[:12]} in {path.parent}: call fit again on this machine")
    return path


def files(digest: str) -> list[str]:
    """Return the digests of the files that a method's artifact consists of, itself first.

    The others are those under the key ``files`` of the method's result, and the words that columns are aligned with.
    """
    whole = load_json(digest)
    learned = whole["learned"]
    named = learned.get("files") if isinstance(learned, dict) else None
    found = list(named.values()) if isinstance(named, dict) else []  # "files" may be a learned word
    found += [words] if (words := whole.get("words")) is not None else []
    return [digest, *sorted(check_digest(file, f"files of artifact {digest[:12]}") for file in found)]


def save_json(value: Any) -> str:
    """Store a JSON value in its canonical form and return its digest."""
    return save(canonical_json(value).encode())


def load_json(digest: str) -> Any:
    """Return the JSON value stored under a digest; raises as ``load``."""
    return json.loads(load(digest))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either complete on disk or absent.

    Raises:
        DiskFull: the disk is full.
    """
    with room_for(path, len(data)), unfinished(path) as part:
        part.write_bytes(data)
        sync(part)
        part.replace(path)
