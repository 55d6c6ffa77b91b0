"""A card as a visitor of the Hub reads it: one screen, then details; the snippet loads its own config."""

import re
from dataclasses import replace

import pytest
import yaml

from hf_mner_aug import EDA, LSMS, augment, publish
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.publishing.cards import ConfigFacts, read_sections, render
from hf_mner_aug.publishing.folder import read_features, read_note
from hf_mner_aug.transform import Model

SCREEN = 30  # lines


@pytest.fixture(scope="module")
def folder(splits, tmp_path_factory):
    out = tmp_path_factory.mktemp("cards") / "aug"
    for method in (EDA(copies=1), LSMS(copies=1)):
        publish(augment(splits, method, out=out, progress=False), out)
    return out


def section(facts, folder, config="eda_100pct"):
    card = render(None, facts, read_features(folder / config), "aug")
    return read_sections(card, "config")[f"config {facts.recipe.config}"]


def test_the_snippet_loads_the_config_it_stands_under(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    sections = read_sections((folder / "README.md").read_text(), "config")
    assert [*sections] == ["config eda_100pct", "config lsms_100pct"]
    for name, text in sections.items():
        found = {}
        exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], found)
        assert {"gold", name.split()[1].partition("_")[0]} == set(found["ds"]["train"]["method"])


def test_one_screen_and_then_details(folder):
    facts = ConfigFacts.from_note(read_note(folder / "eda_100pct"))
    first, *folded = section(facts, folder).split("<details>\n")
    assert len(first.splitlines()) <= SCREEN
    rows = facts.splits["train"]
    for told in ("Wei & Zou 2019", f"| train | {rows.gold} | {rows.made} |", "Licence: other", "a dataset in memory"):
        assert told in first
    assert len(folded) == 3
    for part in folded:
        assert re.fullmatch(r"<summary>[A-Z][a-z ,]+</summary>\n\n.*\n\n</details>\n*", part, re.DOTALL)


@pytest.mark.parametrize("name", METHODS)
def test_each_config_says_what_the_paper_uses(name, folder):
    about = method_class(name).facts
    facts = ConfigFacts.from_note(read_note(folder / "eda_100pct"))
    told = {}
    for preset in ("embedded", "own", "paper"):
        models = [] if preset == "embedded" else [Model(role="texts", id="org/model")]
        recipe = replace(facts.recipe, method=name, preset=preset)
        text = section(replace(facts, recipe=recipe, models=models), folder)
        (line,) = (line for line in text.splitlines() if line.startswith("Preset `"))
        assert f"The paper uses {about.paper_uses}" in line
        told[preset] = line
    not_the_papers = "figures measured on this config are not the paper's"
    assert [not_the_papers in line for line in told.values()] == [True, True, False]
    assert told["embedded"].startswith(f"Preset `embedded` (by default: {about.embedded}).")
    assert "Models: texts `org/model` (other)." in told["own"]


def test_the_yaml_names_the_library(folder):
    data = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert {"mner-aug", "eda", "lsms"} <= set(data["tags"])


def test_paragraphs_and_lists_are_one_blank_line_apart(folder):
    plain = ConfigFacts.from_note(read_note(folder / "eda_100pct"))
    told = {"cautions": ["one", "two"], "licences": {"cc-by-4.0": 3}, "retrieved": "whole"}
    for facts in (plain, replace(plain, **told), replace(plain, **told, masked={"handles": 2}, listed={"names": 4})):
        text = section(facts, folder)
        assert "\n\n\n" not in text
        assert not re.search(r"^- .*\n(?!-|\n)", text, re.MULTILINE), "a line below a list would be its last item's"
        assert not re.search(r"^ +- |^(?!- ).+\n- ", text, re.MULTILINE), "a list below a line is none to some readers"


def test_a_card_says_of_words_and_pictures_what_the_method_made(folder):
    facts = ConfigFacts.from_note(read_note(folder / "eda_100pct"))
    words = section(facts, folder)
    pictures = section(replace(facts, recipe=replace(facts.recipe, method="amia")), folder)
    assert "written by a program" in words
    assert "written by a program" not in pictures
    assert "words and labels are those of the gold posts" in pictures
    for text in (words, pictures):
        assert text.count("are real: they name real people") == 1
        assert "a folder with the posts of a dataset in memory; its content fingerprint" in text
