"""What the README shows is run; what CONTRIBUTING shows, in ``test_contributing``."""

import re

import pytest
from places import ROOT


def blocks(name, language):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("README.md", "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["new"].num_rows > 0


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_command_shown_exists(name):
    from typer.main import get_command

    from hf_mner_aug.cli import app

    known = get_command(app).commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in [*blocks(name, "bash"), *re.findall(r"`((?:hf-mner-aug|make) [^`]+)`", (ROOT / name).read_text())]:
        for line in block.strip().splitlines():
            words = line.split()
            if words[0] == "make":
                assert words[1] in targets
            elif words[0] == "hf-mner-aug":
                options = {option for parameter in known[words[1]].params for option in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= options, line


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
            assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_table_of_methods_names_the_extras_that_the_methods_name():
    from hf_mner_aug.methods import METHODS, method_class

    table = (ROOT / "README.md").read_text().partition("\n## Methods\n")[2]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| ([^|]*) \|", table, re.MULTILINE)
    assert {name: extra.replace("`", "") for name, extra in rows} == {
        name: method_class(name).facts.extra for name in METHODS
    }
