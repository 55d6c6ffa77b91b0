"""The page of a study says what its saved files say, and the same each time."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import typer
from places import ROOT

import hf_mner_aug
from hf_mner_aug import cli
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.studies import page
from hf_mner_aug.studies.curves import Subset, combine
from hf_mner_aug.studies.tables import evaluate

CONFIGS = ["eda_100pct", "lsms_100pct"]


@pytest.fixture(scope="module")
def report(two_configs, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "aug"
    shutil.copytree(two_configs, out)
    return evaluate(out, CONFIGS, backbone="crf:iterations=5", seeds=[0, 1], ablations=["lsms_100pct"], progress=False)


def written(study, path):
    study.write_page(path)
    return path.read_text()


def rows(text):
    """Return the rows of all tables, by their first two cells."""
    cells = [[cell.strip() for cell in line.strip("|").split(" |")] for line in text.splitlines() if line[:2] == "| "]
    return [row for row in cells if row[0] != "---"]


def test_its_numbers_are_those_of_the_json(report, tmp_path):
    text = written(report, tmp_path / "page.md")
    saved = json.loads((report.folder / "report.json").read_text())
    found = rows(text)
    for row in saved["rows"]:
        expected = [row["name"], str(row["cells"]), f"{row['train_posts']:.0f}"]
        for score in ("precision", "recall", "f1", "validation_f1"):
            mean, sd = row[score]["mean"], row[score]["sd"]
            expected.append(f"{mean:.4f}" + ("" if sd is None else f" ± {sd:.4f}"))
        assert expected in found
    assert len(saved["comparisons"]) == 4
    for one in saved["comparisons"] + saved["controls"]:
        start = [one["name"], one["against"], f"{one['delta']:+.4f}", f"[{one['low']:+.4f}, {one['high']:+.4f}]"]
        start += [f"{one[name]:.3f}" for name in ("p", "p_holm")] + [f"{one['smallest']:.4f}"]
        assert start in [row[:7] for row in found]
    assert "- Seeds: 0, 1.\n" in text
    assert "iterations=5" in text
    assert "[how to read the tables](../measuring.md#how-to-read-the-table)" in text
    assert "### How to read the table\n" in (ROOT / "docs" / "measuring.md").read_text()


def test_it_is_made_of_the_saved_files_alone(report, tmp_path):
    text = written(report, tmp_path / "page.md")
    assert written(replace(report, data={}), tmp_path / "again.md") == text
    folder = tmp_path / "aug.studies" / report.folder.name
    shutil.copytree(report.folder, folder)
    saved = json.loads((folder / "report.json").read_text())
    saved["comparisons"][0]["delta"] = 0.4321
    (folder / "report.json").write_text(json.dumps(saved))
    assert "+0.4321" in written(replace(report, folder=folder), tmp_path / "other.md")
    assert "+0.4321" not in text


def test_it_says_how_it_was_made(report, tmp_path):
    text = written(report, tmp_path / "page.md")
    block = re.search(r"```text\n\$ (.*)\n```\n", text)
    command = shlex.split(block[1])
    assert command[:4] == ["hf-mner-aug", "evaluate", "aug", "--configs"]
    assert "--seeds 0 1 --split test --ablations lsms_100pct" in block[1]
    assert str(tmp_path.parent.parent) not in text, "no folder of this machine"
    (ran,) = json.loads((report.folder / page.RUNS).read_text())
    assert ran["cells"] == 9
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", ran["date"])
    assert re.fullmatch(r"commit [0-9a-f]{12}(-dirty)?|version [\d.]+", ran["code"])
    assert re.search(r"with \d+ cores, \w+, Python 3\.\d+\.\d+", ran["machine"])
    assert f"- Trained on {ran['date']}: 9 trainings, {ran['code']}, on " in text


def test_a_study_that_goes_on_records_each_run_and_one_that_is_whole_none(report, tmp_path):
    out = tmp_path / "aug"
    shutil.copytree(report.folder.parents[1] / "aug", out)
    chosen = {"backbone": "crf:iterations=5", "seeds": [0], "progress": False}
    first = evaluate(out, ["eda_100pct"], **chosen)
    assert [ran["cells"] for ran in page.read_runs(first.folder)] == [4]
    evaluate(out, ["eda_100pct"], **chosen)
    assert [ran["cells"] for ran in page.read_runs(first.folder)] == [4]
    (first.folder / "cells" / "eda_100pct-0.json").unlink()
    evaluate(out, ["eda_100pct"], **chosen)
    assert [ran["cells"] for ran in page.read_runs(first.folder)] == [4, 1]
    (first.folder / page.RUNS).unlink()
    assert "- Trained on a day that was not recorded.\n" in written(first, tmp_path / "page.md")
    (first.folder / page.RUNS).write_text("[1]")
    with pytest.raises(DataError, match=r"runs\.json"):
        first.write_page(tmp_path / "page.md")


def test_equal_configs_of_two_repos_have_a_section_each(report, tmp_path):
    other = tmp_path / "other <!-- x -->.studies"
    shutil.copytree(report.folder, other / "crf")
    page_of_both = tmp_path / "page.md"
    for folder in (report.folder, other / "crf", report.folder):
        replace(report, folder=folder).write_page(page_of_both)
    heads = [line for line in page_of_both.read_text().splitlines() if line.startswith("## ")]
    assert heads == [
        f"## Study of eda_100pct, lsms_100pct with crf on {name}" for name in ("aug", r"other\_\_\_--\_x\_--\_")
    ]


def test_a_curve_has_a_page_too(report, tmp_path):
    subset = Subset("100pct", ("a",), ("b",))
    found = combine({subset: report}, report.folder.parent, 'hf-mner-aug curve "a b"')
    found.write()
    text = written(found, tmp_path / "page.md")
    assert text.startswith(
        "# Results\n\n<!-- curve of eda, lsms with crf on aug -->\n## Curve of eda, lsms with crf on aug\n"
    )
    saved = json.loads((found.folder / "curve.json").read_text())
    point = saved["points"][0]
    for name, score in point["f1"].items():
        assert [name, f"{score['mean']:.4f}" + (f" ± {score['sd']:.4f}" if score["sd"] is not None else "")] in rows(
            text
        )
    assert '```text\n$ hf-mner-aug curve "a b"\n```\n' in text
    assert "9 trainings" in text


def test_a_command_has_no_folder_of_this_machine_and_only_options_that_were_set(tmp_path):
    (tmp_path / "bert").mkdir()
    options = {"--set": [f"encoder={tmp_path / 'bert'}", "steps=3"], "--grid": True, "--out": None, "--split-by": []}
    told = page.spell_command("evaluate", tmp_path / "bert", options)
    assert told == "hf-mner-aug evaluate bert --set encoder=bert --set steps=3 --grid"
    assert page.spell_command("curve", "org/set", {"--methods": ["rmda:corpus=a b"]}).endswith("'rmda:corpus=a b'")


@pytest.mark.parametrize("path", ["/home/me/secret/out", "~/secret/out", "../secret/out", "./secret/out"])
def test_a_path_that_is_not_there_yet_is_told_by_its_name(path):
    options = {"--out": path, "--backbone": f"token_classifier:encoder={path},steps=3"}
    told = page.spell_command("evaluate", "org/set@main:lsms_10pct", {**options, "--set": "url=https://host/v1#m"})
    backbone = "token_classifier:encoder=out,steps=3"
    assert (
        told
        == f"hf-mner-aug evaluate org/set@main:lsms_10pct --out out --backbone {backbone} --set 'url=https://host/v1#m'"
    )


@pytest.mark.parametrize("word", ["<b>x</b>", "```\nout", "a | b", "<!-- end -->", "\x1b[2J"])
def test_hostile_words_are_shown(word, tmp_path):
    data = {"settings": {word: word}, "backbone": word, "seeds": [0], "command": word}
    ran = {"date": word, "cells": 1, "code": word, "machine": word}
    page.write_page(tmp_path / "page.md", "study", "text", data, [ran])
    text = (tmp_path / "page.md").read_text()
    outside = text.partition("### How it was made")[0] + text.rpartition("```")[2]
    assert not re.search(r"<b>|\x1b|^```$", outside, re.MULTILINE)
    assert text.count("<!--") == 2, "the section's own"
    assert "\x1b" not in text


def test_a_study_of_the_same_title_is_replaced_and_other_words_stay(tmp_path):
    path = tmp_path / "lsms.md"
    data = {"settings": {}, "backbone": "crf", "seeds": [0], "command": "hf-mner-aug evaluate aug"}
    page.write_page(path, "study of lsms with crf", "| a |\n|---|\n| 1 |\n", data, [])
    assert path.read_text().startswith("# Results\n\n<!-- study of lsms with crf -->\n## Study of lsms with crf\n")
    path.write_text(path.read_text() + "\nWords of mine.\n")
    page.write_page(path, "curve of eda with crf", "second", data, [])
    page.write_page(path, "study of lsms with crf", "third", data, [])
    text = path.read_text()
    assert text.index("third") < text.index("Words of mine.") < text.index("second")
    assert "| a |" not in text


def test_a_page_in_no_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none/page\.md: expected a Markdown file in a folder that exists"):
        page.write_page(
            tmp_path / "none" / "page.md",
            "study",
            "",
            {"settings": {}, "backbone": "crf", "seeds": [], "command": ""},
            [],
        )


@pytest.mark.parametrize("verb", ["evaluate", "curve"])
def test_the_verbs_write_the_page(verb, call, monkeypatch):
    wrote = []
    report = SimpleNamespace(to_markdown=lambda: "the table\n", folder="folder", write_page=wrote.append)
    monkeypatch.setattr(hf_mner_aug, verb, lambda *_, **__: report)
    typed = {"evaluate": ["repo", "--configs", "lsms_10pct"], "curve": ["set", "--ids", "i", "--methods", "lsms"]}[verb]
    code, said, _ = call(verb, *typed, *(["--out", "out"] if verb == "curve" else []), "--write-page", "page.md")
    assert (code, said.splitlines()[0]) == (0, "the table")
    assert [str(path) for path in wrote] == ["page.md"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no corpus /home/me/c.db: run index --out /home/me/c.db", "no corpus c.db: run index --out c.db"),
        (
            "h_index:regions=~/vinvl,types=fine in place of h_index",
            "h_index:regions=vinvl,types=fine in place of h_index",
        ),
        ("lm:/models/t5@main, ../x/y.txt and ('/x/y')", "lm:t5@main, y.txt and ('y')"),
        ("see https://github.com/a/UMT; DATA/twitter2015, org/model@v1, 1 / 2", None),
    ],
)
def test_text_has_the_names_of_files_and_not_their_paths(text, told):
    assert page.without_paths(text) == (text if told is None else told)


def test_a_home_with_blanks_is_no_part_of_a_page(monkeypatch):
    monkeypatch.setenv("HOME", "/home/Jo Doe")
    assert page.without_paths("no file /home/Jo Doe/sets/train.txt") == "no file train.txt"


def test_a_spelled_command_can_be_typed_again():
    """Options that take one value each time are repeated; a second value behind one would be an argument."""
    options = {"--backbone": ["a=crf", "b=crf"], "--set": ["rmda.corpus=x", "rmda.copies=2"], "--seeds": [0, 1]}
    told = page.spell_command("replicate", "rmda", options, "table1")
    assert told == (
        "hf-mner-aug replicate rmda table1 --backbone a=crf --backbone b=crf --set rmda.corpus=x --set rmda.copies=2 "
        "--seeds 0 1"
    )
    asked = _read(told)
    assert (asked["paper"], asked["table"]) == ("rmda", "table1")
    assert [[*asked[name]] for name in ("backbone", "set_", "seeds")] == [*options.values()]


def _read(command):
    """Return the values that the command line reads from a command."""
    verb, *words = cli._spread(shlex.split(command)[1:])
    return typer.main.get_command(cli.app).commands[verb].make_context(verb, words).params
