"""The names of ``hf_mner_aug``: each verb's function, seen by type checkers, imported when first used."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from places import ROOT
from typer.testing import CliRunner

import hf_mner_aug
from hf_mner_aug import cli

PACKAGE = ROOT / "hf_mner_aug"
VERBS = "convert validate augment publish push verify withdraw hydrate index evaluate curve errors quality show memory"
VERBS += " export import_review names knowledge replicate recommend leaderboard"
# What stands in a command line, and what the function gets of it by position.
CALLS = {
    "convert": (["conll", "raw", "--out", "o"], ("conll", Path("raw"), Path("o"))),
    "export": (["folder", "lsms", "--to", "spans", "--out", "o"], ("folder", "lsms")),
    "import_review": (["folder", "lsms", "file"], (Path("folder"), "lsms", Path("file"))),
    "push": (["folder", "ORG/NAME", "--dry-run"], (Path("folder"), "ORG/NAME")),
    "verify": (["folder", "eda"], ("folder", "eda")),
    "show": (["folder", "eda"], (Path("folder"), "eda")),
    "hydrate": (["folder", "rmda", "--out", "o"], ("folder", "rmda", Path("o"))),
    "knowledge": (["folder", "--out", "o", "--replay", "--model", "endpoint:u#m"], (["folder"], Path("o"))),
    "names": (["folder", "--out", "o"], (["folder"], Path("o"))),
    "index": (["posts.txt", "--out", "o.db"], ("posts.txt", Path("o.db"))),
    "memory": (["folder"], (Path("folder"), "")),
    "validate": (["folder"], ("folder",)),
    "evaluate": (["folder", "--configs", "eda"], ("folder", ["eda"])),
    "errors": (["folder", "--configs", "eda", "--backbones", "crf"], ("folder", ["eda"], ["crf"])),
    "quality": (["folder", "eda"], ("folder", ["eda"])),
    "recommend": (["folder", "--out", "o"], ("folder",)),
    "leaderboard": (["ORG/NAME"], ("ORG/NAME",)),
    "curve": (["folder", "--ids", "ids", "--methods", "eda", "--out", "o"], ("folder", Path("ids"), ["eda"])),
}


def test_every_verb_is_a_function_that_says_what_it_does():
    for name in VERBS.split():
        found = getattr(hf_mner_aug, name)
        assert callable(found), name
        assert found.__name__ == name
        assert found.__annotations__["return"], name
        assert "Raises:" in found.__doc__, name
    assert set(VERBS.split()) <= set(dir(hf_mner_aug)) == set(hf_mner_aug.__all__)
    with pytest.raises(AttributeError, match="no attribute 'no_such'"):
        hf_mner_aug.no_such  # noqa: B018


def test_no_module_has_the_name_of_a_public_one():
    """Importing it would put the module in the place of the function."""
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert modules & set(hf_mner_aug.__all__) == set()


def test_type_checkers_see_the_names_that_are_there():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == {name: f"hf_mner_aug.{home}" for name, home in hf_mner_aug._HOMES.items()}
    assert (PACKAGE / "py.typed").exists(), "without it, type checkers take an installed package for untyped"


def test_mypy_knows_the_names_and_their_types(tmp_path):
    lines = [f"reveal_type(hf_mner_aug.{name})" for name in hf_mner_aug.__all__]
    lines += ["hf_mner_aug.no_such", "hf_mner_aug.EDA(copies=2).fit([]).copies.no_such", "hf_mner_aug.push(1, 'a/b')"]
    script = tmp_path / "small.py"
    script.write_text("\n".join(["import hf_mner_aug", *lines]))
    options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={tmp_path / 'cache'}", script],
        env={**os.environ, "MYPYPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = done.stdout.splitlines()
    revealed = [line for line in told if "Revealed type is" in line]
    assert len(revealed) == len(hf_mner_aug.__all__), done.stdout + done.stderr
    assert not [line for line in revealed if '"Any"' in line]
    errors = [re.sub(r".*\[(.*)\]", r"\1", line) for line in told if "error:" in line]
    assert errors == ["attr-defined", "attr-defined", "arg-type"], done.stdout


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, hf_mner_aug; print(sorted(m for m in ('torch', 'transformers', 'datasets', 'numpy', 'pyarrow', "
        "'sklearn', 'PIL', 'typer', 'hf_mner_aug.transform') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("verb", CALLS)
def test_the_command_line_calls_the_function(verb, monkeypatch):
    calls = []

    def record(*arguments, **options):
        calls.append(arguments)
        report = SimpleNamespace(to_markdown=str, to_text=str, data={}, folder="", config="", items=dict().items)
        vars(report).update(out=Path(), line="", ok=True, expected="1", found="1", rerun=None)
        return report

    monkeypatch.setattr(hf_mner_aug, verb, record, raising=False)
    arguments, expected = CALLS[verb]
    done = CliRunner().invoke(cli.app, [verb.replace("_", "-"), *arguments], catch_exceptions=False)
    assert (done.exit_code, calls) == (0, [expected])


def test_every_verb_of_the_command_line_stands_in_the_table_of_names():
    from typer.main import get_command

    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (?:`([\w-]+)`|… and) \| `(\w+)\(", page, re.MULTILINE)
    assert {name for _, name in table} >= set(VERBS.split())
    without = {"methods", "doctor", "demo", "hosts"}
    assert {verb for verb in get_command(cli.app).commands} - without <= {verb for verb, _ in table}
