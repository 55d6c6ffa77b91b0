"""The locks hold what pyproject.toml asks for, with a hash for each file: a forgotten `make lock` fails here."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
CORE = PROJECT["project"]["dependencies"]
BUILD = [*PROJECT["build-system"]["requires"], *PROJECT["dependency-groups"]["build"]]
LOCKED = ("dev", "docs", "figures", "formats", "models", "ray", "s3", "web")
EVERYTHING = [*CORE, *(requirement for extra in LOCKED for requirement in EXTRAS[extra]), *BUILD]
LOCKS = {"build": BUILD, "core": CORE, "dev": EVERYTHING, "oldest-build": BUILD, "oldest": EVERYTHING}


def entries(text):
    """Yield each requirement of a requirements file with its hashes."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    for line in lines:
        if not line.lstrip().startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            yield Requirement(requirement), hashes


def pins(name):
    """Return the versions that a lock has of each package; more than one where they differ by Python or platform."""
    found = {}
    for requirement, _ in entries((ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")):
        (pin,) = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), set()).add(Version(pin.version))
    return found


def misfits(lock, asked):
    """Return each requirement that a lock does not satisfy."""
    return [
        text
        for text in asked
        for versions in [lock.get(canonicalize_name(Requirement(text).name), set())]
        if not versions or not all(Requirement(text).specifier.contains(version) for version in versions)
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_is_a_version_with_hashes(name):
    for requirement, hashes in entries((ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")):
        assert requirement.url is None
        assert [pin.operator for pin in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_satisfies_pyproject(name):
    assert misfits(pins(name), LOCKS[name]) == [], "run make lock"


@pytest.mark.parametrize("name", ["oldest", "oldest-build"])
def test_the_oldest_lock_has_the_declared_minima(name):
    lock = pins(name)
    for requirement in map(Requirement, LOCKS[name]):
        minima = [Version(bound.version) for bound in requirement.specifier if bound.operator == ">="]
        assert minima, f"{requirement} has no minimum in pyproject.toml"
        assert lock[canonicalize_name(requirement.name)] == {max(minima)}, (
            f"{requirement}: no such version, or another package needs a newer one; raise the minimum, make lock"
        )


@pytest.mark.parametrize(("part", "whole"), [("core", "dev"), ("build", "dev"), ("oldest-build", "oldest")])
def test_a_package_has_the_same_version_in_both_locks(part, whole):
    both = pins(whole)
    differ = {name: versions for name, versions in pins(part).items() if not versions <= both.get(name, set())}
    assert differ == {}


def test_misfits_are_found():
    lock = {"datasets": {Version("5.2.0")}, "numpy": {Version("2.4.6"), Version("2.5.5")}}
    assert misfits(lock, ["datasets>=5.2,<6", "NumPy>=2.4"]) == []
    assert misfits(lock, ["datasets>=5.3", "numpy>=2.5", "rich>=14"]) == ["datasets>=5.3", "numpy>=2.5", "rich>=14"]


def test_entries_are_read_over_lines():
    text = '# by uv\na==1 ; sys_platform == "linux" \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n    # via b\n'
    ((requirement, hashes),) = entries(text)
    assert (requirement.name, hashes) == ("a", ["sha256:00", "sha256:01"])
