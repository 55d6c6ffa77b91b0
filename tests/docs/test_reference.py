"""What is public is documented: verbs, options, names, errors, columns; and pages are the same each time."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys

import pytest
from generators import command_line, errors, floors, made_rows, page, prose, python_names, site, walk
from house import arrows
from places import ROOT
from test_contract import params_of

import hf_mner_aug
from hf_mner_aug.cli.parameters import read_args
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.publishing.stubs import stub_features
from hf_mner_aug.reasons import DROPPED
from hf_mner_aug.schema import AUGMENTED, COLUMNS, Details, Provenance, mner_features
from hf_mner_aug.storage.fingerprint import DIGEST

VERBS = command_line.commands()


def section(text, heading):
    """The part of a page from a heading to the next of its level."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[2]


def rows(text):
    """The rows of the tables of a page: the names in the first cell, and the other cells."""
    found = {}
    for line in re.findall(r"^\| (.+) \|$", text, re.MULTILINE):
        first, *rest = re.split(r"(?<!\\) \| ", line.replace("\N{NO-BREAK SPACE}", " "))
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), rest)
    return found


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_its_options_are_documented(verb):
    command = VERBS[verb]
    text = page("reference/cli.md")
    assert rows(text)[verb] == [command_line.help_of(command)]
    assert command_line.help_of(command), f"{verb} has no docstring"
    told = dict(re.findall(r"^\* `([^`]+)`: (.+)$", section(text, f"`hf-mner-aug {verb}`"), re.MULTILINE))
    for parameter in command.params:
        assert parameter.help, f"{verb}: {parameter.name} has no help"
        names = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar or parameter.name]
        for name in names:
            # Before 0.29 typer writes arguments as FOLDER and [CONFIG].
            shown = [part for line in told for part in re.split(r"[\s,.\[\]]+", line.lower())]
            assert name.lower() in shown, f"{verb}: {name} is not on the page"


def test_options_of_all_verbs_are_documented():
    text = page("reference/cli.md")
    for told in ("`--debug`: Show tracebacks.", "`--quiet`: Show no progress.", "`--log-file FILE`: Add all"):
        assert f"* {told}" in text


# ---------------------------------------------------------------- Python


def functions():
    return [name for name in hf_mner_aug.__all__ if inspect.isfunction(getattr(hf_mner_aug, name))]


@pytest.mark.parametrize("name", functions())
def test_arguments_of_a_function_are_documented(name):
    function = getattr(hf_mner_aug, name)
    told = read_args(function.__doc__)
    assert [argument for argument in inspect.signature(function).parameters if argument not in told] == []


def modules():
    return [module for _, _, found in python_names.PAGES.values() for module in found] + ["exceptions"]


@pytest.mark.parametrize("module", modules())
def test_public_names_of_a_module_have_docstrings(module):
    tree = ast.parse(python_names.source_of(module).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), module
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            assert not re.search(r"^ *#", ast.get_docstring(node) or "", re.MULTILINE), (
                f"a line that is a heading: {node}"
            )


def test_public_names_are_on_the_site():
    built = site() / "reference"
    anchors = set()
    for path in built.rglob("*.html"):
        anchors |= set(re.findall(r'id="(hf_mner_aug[\w.]*)"', path.read_text(encoding="utf-8")))
    expected = {f"hf_mner_aug.{name}" for name in hf_mner_aug.__all__}
    for module in modules():
        names = {*python_names.public_names(module)} - ({*METHODS.values()} if module.startswith("methods.") else set())
        expected |= {f"hf_mner_aug.{module}.{name}" for name in names}
    expected |= set(python_names.results())
    assert len(expected) > 200
    assert expected - anchors == set()


def test_stable_modules_are_those_of_the_pages():
    listed = {module.partition(".")[0] for module in modules()}
    assert {"schema", "transform", "sample", "corpus", "conversion", "readers", "methods", "backbones"} <= listed
    assert {"models.search", "models.endpoint", "metrics.spans", *(f"methods.{name}" for name in METHODS)} <= {
        *modules()
    }


# ---------------------------------------------------------------- errors and reasons


def test_every_error_is_documented():
    shown = rows(page("reference/errors.md"))
    for found in errors.error_types():
        meaning, reason, code = shown[found.__name__]
        assert meaning, found
        assert reason != "``"
        assert code in ("2", "3")
    for name, node in errors.other_errors().items():
        assert ast.get_docstring(node), name
        assert f"\n::: {name}\n" in page("reference/errors.md")
    assert {"hf_mner_aug.publishing.hub_repo.HubError", "hf_mner_aug.storage.disk.DiskFull"} <= {*errors.other_errors()}


def test_every_reason_is_listed():
    shown = rows(page("reference/reasons.md"))
    places = {
        f"methods/{name}.md#reasons": {**method_class(name).rejects, **method_class(name).drops} for name in METHODS
    }
    for place, found in {**places, "publishing": DROPPED}.items():
        for key, reason in found.items():
            meaning, where = shown[key]
            assert prose(reason.meaning) in meaning, key
            assert place in where, key
    assert {*shown} == {key for found in (*places.values(), DROPPED) for key in found}


# ---------------------------------------------------------------- columns


def kinds_of_sets():
    yield mner_features()
    yield mner_features(images="many")
    yield mner_features(boxes=True, fine_types=("actor",))
    yield mner_features(types=(), relations=("None", "peer"))


def test_every_column_of_made_rows_is_documented():
    text = page("reference/columns.md")
    shown = rows(section(text, "Of the source") + section(text, "Of made rows"))
    expected = {*COLUMNS, *AUGMENTED, *made_rows.added_by_methods()}
    for features in kinds_of_sets():
        expected |= {*features, *stub_features(features)}
    missing = [name for name in expected if name not in shown and not (name.endswith(DIGEST) and f"`{name}`" in text)]
    assert missing == []
    for column, name in made_rows.added_by_methods().items():
        assert f"`{name}`" in shown[column][0], column
        assert column in rows(section(page(f"methods/{name}.md"), "Columns"))


@pytest.mark.parametrize("name", METHODS)
def test_the_notes_of_made_rows_are_documented(name, mner):
    shown = rows(section(page("reference/columns.md"), "Provenance"))
    made = method_class(name)(**params_of(name)).fit(mner).map(mner)
    assert made.num_rows
    for text in made["provenance"]:
        note = json.loads(text)
        assert {*note} <= {*shown}
        for key in note.get("details", {}):
            assert f"`{name}`" in shown[key][-1], f"{name} notes {key}"


def test_notes_that_others_read_are_documented():
    shown = rows(section(page("reference/columns.md"), "Provenance"))
    assert {*Provenance.__annotations__, *Details.__annotations__} <= {*shown}


# ---------------------------------------------------------------- design


def test_the_floors_show_every_room():
    shown = rows_of_floors()
    assert {*shown} == {room.removeprefix("models.") for room in arrows()} | {"models"}
    assert [room for room, told in shown.items() if len(told) < 10] == []


def rows_of_floors():
    text = section(page("design.md"), "The floors")
    return {name: told for name, told in re.findall(r"^\| `(\w+)` \| (.+) \| \d+ \|$", text, re.MULTILINE)}


def test_rooms_stand_on_the_floors_of_the_contract():
    text = section(page("design.md"), "The floors")
    found = re.findall(r"^\| `(\w+)` \| .+ \| (\d+) \|$", text.partition("\nEngines")[0], re.MULTILINE)
    height = {name: int(floor) for name, floor in found}
    assert height["exceptions"] == 1
    assert max(height.values()) == len(floors.contract("floors"))
    for room, below in arrows().items():
        for other in below:
            if "." not in room + other and {room, other} <= {*height}:
                assert height[room] > height[other], (room, other)


def test_the_names_of_the_walk_exist():
    text = page("design.md")
    assert len(walk.names(text)) > 30
    assert walk.missing(text) == []
    assert walk.missing("`hf_mner_aug.schema.Post.no_such` `hf_mner_aug.no_such`") != []


def test_the_glossary_has_the_words_of_the_project():
    terms = re.findall(r"^\| ([\w ,]+) \| .{10,} \|$", section(page("design.md"), "Glossary"), re.MULTILINE)
    words = {word.strip() for term in terms for word in term.split(",")}
    asked = "gold made stub hydrate draw tower artifact recipe fingerprint stubborn backbone detector engine idle part"
    assert {*asked.split()} <= words
    assert terms == sorted(terms, key=str.casefold)


# ---------------------------------------------------------------- the same each time


def test_generated_pages_are_the_same_in_another_process():
    code = "import json, sys, generate; json.dump(generate.pages(), sys.stdout)"
    folder = str(ROOT / "docs")

    def made(seed):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([folder, str(ROOT)])}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    one = made("1")
    assert one == made("2")
    assert {"reference/cli.md", "reference/python.md"} <= {*one}
