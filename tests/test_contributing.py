"""A newcomer adds what CONTRIBUTING shows to a copy of this repo, to the letter, and runs what `make check` runs."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from typing import ClassVar

import pytest
from places import ROOT
from test_entry_points import install

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.transform import Facts, Method

# A caption that begins with a path, perhaps with where in that file, and the block that follows.
STEP = re.compile(
    r"^`(?P<path>[\w./]+)`(?:(?:(?!\n\n).)*?\bbelow\s+(?P<ticks>`+)(?P<below>[^\n]+?)(?P=ticks))?:\n\n"
    r"```\w+\n(?P<block>.*?)```",
    re.M | re.S,
)
COPIED = ("hf_mner_aug", "tests", "cards", "README.md", "CONTRIBUTING.md", "pyproject.toml")


def section(title):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def steps(kind):
    """Return what to do, in order: a file, the line below which something is put (none for a new file), and that."""
    return [(step["path"], step["below"], step["block"]) for step in STEP.finditer(section(f"A new {kind}"))]


KINDS = ("method", "backbone", "metric", "engine")
STEPS = [step for kind in KINDS for step in steps(kind)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the repo with the examples added."""
    copy = tmp_path_factory.mktemp("newcomer")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, copy / name)
    for path, below, block in STEPS:
        if not below:
            assert not (copy / path).exists()
            (copy / path).parent.mkdir(exist_ok=True)
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


@pytest.mark.parametrize(
    ("kind", "places"),
    {
        "method": (
            "hf_mner_aug/methods/shout.py",
            "hf_mner_aug/methods/__init__.py",
            "hf_mner_aug/__init__.py",
            "hf_mner_aug/__init__.py",
            "README.md",
            "tests/methods/test_shout.py",
        ),
        "backbone": (
            "hf_mner_aug/backbones/lookup.py",
            *["hf_mner_aug/backbones/__init__.py"] * 3,
            "README.md",
            *["tests/backbones/test_backbone_contract.py"] * 2,
            "tests/backbones/test_lookup.py",
        ),
        "metric": (
            "hf_mner_aug/metrics/posts.py",
            "hf_mner_aug/metrics/post_accuracy/post_accuracy.py",
            "hf_mner_aug/metrics/__init__.py",
            "tests/metrics/test_posts.py",
        ),
        "engine": (
            "hf_mner_aug/models/text/reorder.py",
            *["hf_mner_aug/models/text/__init__.py"] * 2,
            "tests/models/test_reorder.py",
        ),
    }.items(),
)
def test_every_step_is_read(kind, places):
    assert [path for path, _, _ in steps(kind)] == list(places)


def test_ruff_finds_nothing(checkout):
    changed = sorted({path for path, _, _ in STEPS if path.endswith(".py")})
    run(checkout, "ruff", "format", "--check", "--no-cache", *changed)
    run(checkout, "ruff", "check", "--no-cache", *changed)


@pytest.mark.slow
def test_types_fit(checkout):
    run(checkout, "mypy")


def test_the_floors_hold(checkout):
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    (checkout / "lint.py").write_text(code)
    assert " kept, 0 broken" in run(checkout, "lint")


def test_the_contract_of_methods_holds(checkout):
    tests = [f"tests/{name}.py" for name in ("test_contract", "methods/test_parity", "test_public_names")]
    tests.append("tests/methods/test_shout.py")
    said = run(checkout, "pytest", "-p", "no:cacheprovider", *tests, "-k", "shout or type_checkers or parity_of_files")
    assert re.search(r"\d{2} passed", said), said


def test_the_contract_of_backbones_holds(checkout):
    chosen = "lookup or table or mypy_compares or anything_heavy"
    tests = ("tests/backbones/test_backbone_contract.py", "tests/backbones/test_lookup.py")
    said = run(checkout, "pytest", "-p", "no:cacheprovider", *tests, "-k", chosen)
    assert re.search(r"\d{2} passed", said), said


def test_metric_and_engine_do_what_they_should(checkout):
    said = run(
        checkout, "pytest", "-p", "no:cacheprovider", "tests/metrics/test_posts.py", "tests/models/test_reorder.py"
    )
    assert "4 passed" in said, said


def test_the_command_line_explains_it(checkout):
    code = "from hf_mner_aug.cli import main; main()"
    (checkout / "explain.py").write_text(code)
    said = run(checkout, "explain", "methods", "shout")
    assert "share=0.5: the chance of each word" in said
    assert "unchanged: each word drawn is in capitals already; try `--set share=1.0`" in said


COMMANDS = (
    ("methods",),
    ("convert", "mini", "raw", "--out", "set"),
    ("augment", "set", "--method", "shout", "--set", "share=1.0", "--out", "out"),
    (
        "evaluate",
        "out",
        "--configs",
        "shout_100pct",
        "--backbone",
        "lookup",
        "--seeds",
        "0",
        "--quiet",
        "--out",
        "study",
    ),
)
RUN = "import sys\nfrom hf_mner_aug.cli import main\nfor sys.argv[1:] in {commands}:\n    try:\n        main()\n" + (
    "    except SystemExit as end:\n        assert not end.code, sys.argv\n"
)


def test_a_package_of_ones_own_offers_the_same(tmp_path):
    """Its modules are the examples above, and the raw set shown there."""
    text = section("A package of your own")
    entry_points = tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.S)[1])["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{n} = {at}\n" for n, at in found.items()) for group, found in entry_points.items()
    ]
    site = tmp_path / "site"
    install(site, "shouting", "0.1", "\n".join(lines))
    package = site / "shouting"
    package.mkdir()
    (package / "methods.py").write_text(steps("method")[0][2])
    (package / "backbones.py").write_text(steps("backbone")[0][2])
    (package / "sets.py").write_text(re.search(r"```python\n(.*?)```", text, re.S)[1])
    (tmp_path / "raw").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "raw" / f"{split}.txt").write_text("IMGID:1\nParis\tB-LOC\nrains\tO\n\nIMGID:2\nwe\tO\ngo\tO\n")
    paths = os.pathsep.join([str(site), str(ROOT), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(commands=[list(command) for command in COMMANDS])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "shout: writes words in capitals\n" in done.stdout
    for offer in ("package    shouting 0.1", "backbone lookup of shouting 0.1", "reader mini of shouting 0.1"):
        assert offer in done.stdout
    recipe = json.loads((tmp_path / "out/shout_100pct/augmentation.json").read_text())["recipe"]
    assert recipe["code"] == "shouting.methods:Shout"
    study = json.loads(next((tmp_path / "study.studies").glob("lookup-*/study.json")).read_text())
    assert study["package"] == "shouting 0.1"


def test_a_method_that_draws_nothing_makes_one_copy():
    @dataclass(frozen=True, kw_only=True)
    class Echo(Method):
        name: ClassVar[str] = "echo"
        deterministic: ClassVar[bool] = True
        facts: ClassVar[Facts] = Facts(does="nothing", paper="none", learns="nothing", images="kept", boxes="kept")

    assert Echo().copies == 1
    with pytest.raises(UsageError, match="echo draws nothing, so copies would be equal: expected 1, found 2"):
        Echo(copies=2)
