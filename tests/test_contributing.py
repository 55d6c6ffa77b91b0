"""A newcomer adds the method of CONTRIBUTING to a copy of this repo, to the letter, and runs what `make check` runs."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
from places import ROOT

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.transform import Facts, Method

# A caption that begins with a path, perhaps with where in that file, and the block that follows.
STEP = re.compile(
    r"^`(?P<path>[\w./]+)`(?:[^`\n]* below (?P<ticks>`+)(?P<below>[^\n]+?)(?P=ticks))?:\n\n```\w+\n(?P<block>.*?)```",
    re.M | re.S,
)
COPIED = ("hf_mner_aug", "tests", "cards", "README.md", "CONTRIBUTING.md", "pyproject.toml")


def steps():
    """Return what to do, in order: a file, the line below which something is put (none for a new file), and that."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## A new method")[1].split("\n## ")[0]
    return [(step["path"], step["below"], step["block"]) for step in STEP.finditer(section)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repo with the example added."""
    copy = tmp_path_factory.mktemp("newcomer")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    for path, below, block in steps():
        if not below:
            assert not (copy / path).exists()
            (copy / path).write_text(block, encoding="utf-8")
            continue
        lines = (copy / path).read_text(encoding="utf-8").splitlines(keepends=True)
        found = [i for i, line in enumerate(lines) if line.strip().startswith(below)]
        assert len(found) == 1, f"{path}: {len(found)} lines begin with {below}"
        lines.insert(found[0] + 1, block)
        (copy / path).write_text("".join(lines), encoding="utf-8")
    return copy


def run(checkout, *arguments):
    """Run a module of this environment in the copy, on the copy's package."""
    paths = os.pathsep.join([str(checkout), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_step_is_read():
    places = [path for path, _, _ in steps()]
    assert places == [
        "hf_mner_aug/methods/shout.py",
        "hf_mner_aug/methods/__init__.py",
        "hf_mner_aug/__init__.py",
        "hf_mner_aug/__init__.py",
        "README.md",
        "tests/methods/test_shout.py",
    ]


def test_ruff_finds_nothing(checkout):
    changed = [path for path, _, _ in steps() if path.endswith(".py")]
    run(checkout, "ruff", "format", "--check", "--no-cache", *changed)
    run(checkout, "ruff", "check", "--no-cache", *changed)


@pytest.mark.slow
def test_types_fit(checkout):
    run(checkout, "mypy")


def test_the_floors_hold(checkout):
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    (checkout / "lint.py").write_text(code)
    assert " kept, 0 broken" in run(checkout, "lint")


def test_the_contract_holds(checkout):
    tests = ("tests/test_contract.py", "tests/test_public_names.py", "tests/methods/test_shout.py")
    said = run(checkout, "pytest", "-p", "no:cacheprovider", *tests, "-k", "shout or type_checkers or parity_of_files")
    assert re.search(r"\d{2} passed", said), said


def test_the_command_line_explains_it(checkout):
    code = "from hf_mner_aug.cli import main; main()"
    (checkout / "explain.py").write_text(code)
    said = run(checkout, "explain", "methods", "shout")
    assert "share=0.5: the chance of each word" in said
    assert "unchanged: each word drawn is in capitals already; try `--set share=1.0`" in said


def test_a_method_that_draws_nothing_makes_one_copy():
    @dataclass(frozen=True, kw_only=True)
    class Echo(Method):
        name: ClassVar[str] = "echo"
        deterministic: ClassVar[bool] = True
        facts: ClassVar[Facts] = Facts(does="nothing", paper="none", learns="nothing", images="kept", boxes="kept")

    assert Echo().copies == 1
    with pytest.raises(UsageError, match="echo draws nothing, so copies would be equal: expected 1, found 2"):
        Echo(copies=2)
