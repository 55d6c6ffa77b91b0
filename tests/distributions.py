"""Builds the sdist and the wheel with the tools of this environment and says what is wrong with them.

``make dist`` runs it: ``python tests/distributions.py dist``. Nothing is fetched; the tools are those of
``locks/build.txt``. What is built twice, once from the checkout and once from its sdist, must have the same bytes.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from places import ROOT

CARDS, TEMPLATES = "cards/", "hf_mner_aug/card_templates/"  # where they are in the checkout, and in the wheel


def build(source: Path, out: Path) -> list[Path]:
    """Build the sdist and the wheel of a folder, dated as the checkout's last commit."""
    environment = {"SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct").strip(), **os.environ}
    command = [sys.executable, "-I", "-m", "hatchling", "build", "--directory", str(out)]
    subprocess.run(command, cwd=source, env=environment, check=True, stdout=subprocess.DEVNULL)
    return [*out.glob("*.tar.gz"), *out.glob("*.whl")]


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def problems(names: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """Return what the names in a wheel and the files of a checkout do not have in common, a line each."""
    found = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    expected = {name.replace(CARDS, TEMPLATES, 1) for name in tracked if name.startswith(("hf_mner_aug/", CARDS))}
    return [
        *(f"{name} is not in the wheel" for name in sorted(expected - found)),
        *(f"{name} is in the wheel and git does not know it: commit or delete it" for name in sorted(found - expected)),
    ]


def rebuilt(sdist: Path, folder: Path) -> list[Path]:
    """Build both again from an sdist that is unpacked in a folder, with another umask."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    before = os.umask(0o077)
    try:
        return build(source, folder / "again")
    finally:
        os.umask(before)


def main(out: Path) -> None:
    """Build into a folder that holds nothing else, and end with the problems found."""
    made = build(ROOT, out)
    if len(made) != 2:
        sys.exit(f"expected one sdist and one wheel in {out}, found {', '.join(file.name for file in made)}: empty it")
    sdist, wheel = made
    with zipfile.ZipFile(wheel) as archive:
        wrong = problems(archive.namelist(), git("ls-files").splitlines())
    with tempfile.TemporaryDirectory() as folder:
        for first, second in zip(made, rebuilt(sdist, Path(folder)), strict=True):
            if first.read_bytes() != second.read_bytes():
                wrong.append(f"{first.name} has other bytes when it is built from the sdist")
    if wrong:
        sys.exit("\n".join(wrong))
    for file in made:
        print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
