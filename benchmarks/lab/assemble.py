"""Assemble the laboratory's models: ``make lab``, or ``python benchmarks/lab/assemble.py [--gemma] [PART ...]``.

They go into ``$MNER_LAB`` (default: ``lab-models`` in the checkout), each under its name in ``parts.PARTS``. A part
that is there, as it was written, is kept, so the same command goes on where it was stopped. One that cannot be made is
one line, and the exit status is 1; the others are made.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from conversions import Unmade
from fetching import installed, sha256_of, source_of
from filelock import FileLock, Timeout
from parts import PARTS, Part

ROOT = Path(__file__).resolve().parents[2]


def lab_folder() -> Path:
    """Return the folder of models."""
    return Path(os.environ.get("MNER_LAB") or ROOT / "lab-models").absolute()


def files_of(path: Path) -> dict[str, str]:
    """Return the digest of each file of a part, by its path in it (a file's own is empty)."""
    if path.is_file():
        return {"": sha256_of(path)}
    return {str(file.relative_to(path)): sha256_of(file) for file in sorted(path.rglob("*")) if file.is_file()}


def is_whole(part: Part, lab: Path) -> bool:
    """Return whether a part is there as it was written, from the source that the table names."""
    try:
        record = json.loads((lab / ".made" / f"{part.name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return record == {"source": part.sha256, "files": files_of(lab / part.name)}


def assemble(part: Part, lab: Path) -> None:
    """Make a part; what was made before is replaced at once, by the whole.

    Raises:
        Unmade: it cannot be made.
        OSError: the disk is full, or a folder cannot be written.
    """
    making, record = lab / ".making" / part.name, lab / ".made" / f"{part.name}.json"
    _remove(making)
    making.parent.mkdir(exist_ok=True)
    downloads = lab / ".downloads" / part.name
    if part.of and (not (lab / part.of).exists() or sha256_of(lab / part.of) != part.sha256):
        whole = part.of.partition("/")[0]
        raise Unmade(f"is made of {part.of}, which is missing or damaged: make lab PARTS={whole}")
    part.make(lab / part.of if part.of else source_of(part, downloads), making)
    record.unlink(missing_ok=True)
    _remove(lab / part.name)
    making.replace(lab / part.name)
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps({"source": part.sha256, "files": files_of(lab / part.name)}), encoding="utf-8")
    shutil.rmtree(downloads, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def megabytes(path: Path) -> float:
    """Return the size of a file or folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def chosen(names: list[str], *, gemma: bool = False) -> list[Part]:
    """Return the parts of these names, or all, but Gemma only if it is asked for or its packages are installed.

    Raises:
        Unmade: there is no such part.
    """
    known = {part.name: part for part in PARTS}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise Unmade(f"there is no part {', '.join(unknown)}: the parts are {', '.join(known)}")
    return [known[name] for name in names] or [
        part for part in PARTS if part.name != "gemma" or gemma or _has_packages(part)
    ]


def _has_packages(part: Part) -> bool:
    return all(installed(package) for package in part.packages)


def main(arguments: list[str]) -> int:
    """Assemble parts and print what is there; return the exit status."""
    parser = argparse.ArgumentParser(description="Assemble the laboratory's models.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="only these")
    parser.add_argument("--gemma", action="store_true", help="Gemma, too, whose terms of use you accept")
    given = parser.parse_args(arguments)
    lab = lab_folder()
    try:
        parts = chosen(given.parts, gemma=given.gemma)
        lab.mkdir(parents=True, exist_ok=True)
        with FileLock(lab / ".lock", timeout=0):
            told = {part.name: _told(part, lab) for part in parts}
    except Timeout:
        print(f"make lab: another one is writing into {lab}", file=sys.stderr)
        return 1
    except (Unmade, OSError) as error:
        print(f"make lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make lab: stopped; the same command goes on", file=sys.stderr)
        return 130
    print(f"{lab}:")
    for part in PARTS:
        state = told.get(part.name) or ("there" if (lab / part.name).exists() else "not asked for")
        size = f"{megabytes(lab / part.name):,.0f} MB" if (lab / part.name).exists() else ""
        print(f"{part.name:<18} {size:>9}  {state:<13}  {part.licence}")
    return int("missing" in told.values())


def _told(part: Part, lab: Path) -> str:
    """Return whether a part was kept, made, or is missing, which one line says why."""
    if is_whole(part, lab):
        return "kept"
    print(f"{part.name}: assembling about {part.megabytes:,} MB", flush=True)
    try:
        assemble(part, lab)
    except (Unmade, OSError) as error:
        print(f"{part.name}: {error}", file=sys.stderr, flush=True)
        return "missing"
    return "made"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
