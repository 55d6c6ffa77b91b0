"""The memory tree as text and as a page, and the runs that it is read from."""

import re
import shutil
from dataclasses import replace

import pytest
from conftest import as_dataset
from datasets import DatasetDict
from typer.testing import CliRunner

from hf_mner_aug import MemoryHard, augment, publish
from hf_mner_aug.cli import app
from hf_mner_aug.exceptions import Corrupt, UnknownName, UsageError
from hf_mner_aug.pages.memory import ShownFailure, memory
from hf_mner_aug.runs.ledger import run_folder
from hf_mner_aug.sample import draw_posts
from hf_mner_aug.schema import mner_features

QUICK = {"target": "crf:iterations=10", "detector": "crf:iterations=15", "detectors": 2, "folds": 2, "seeds": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run beside a repo folder; every post holds a tag of HTML, and what would colour a terminal."""
    out = tmp_path_factory.mktemp("memory") / "out"
    posts = [replace(drawn.post, images=()) for drawn in draw_posts()["train"][:60]]
    rows = [replace(post, tokens=[*post.tokens, "<script>alert(1)</script>", "\x1b[31mred\u202e"]) for post in posts]
    splits = DatasetDict(train=as_dataset(rows, mner_features()))
    return out, augment(splits, MemoryHard(**QUICK), out=out, progress=False)


def test_the_tree_is_printed(run):
    out, done = run
    result = CliRunner().invoke(app, ["memory", str(out)])
    assert result.exit_code == 0, result.output
    tree = memory(done.folder).tree
    assert result.output.startswith(f"crf:iterations=10: {len(tree.failures)} failures in ")
    for branch in tree.branches:
        assert f"├─ {branch.title}: {len(branch.members)} failures" in result.output
        for node in branch.nodes:
            assert f"│  ├─ {node.pattern.name}: {len(node.members)} failures" in result.output
    tried, kept = next(iter(tree.counts.values()))
    assert f"{kept} of {tried} posts kept" in result.output
    assert "suspected label errors" in result.output
    found = memory(done.folder)
    (pattern,) = [step for step in found.funnel if (step["stage"], step["attempt"]) == ("pattern", 1)]
    assert pattern["drafts"] == len({f.post for f in tree.failures.values() if f.gold})
    assert f"pattern, attempt 1: {pattern['kept']} of {pattern['drafts']} drafts kept" in result.output
    later = sum(step["kept"] for step in found.funnel) - pattern["kept"]
    assert f"recovered after the first attempt: {later} posts" in result.output
    assert re.search(r"patterns: \d+ in round 1", result.output)


def test_a_terminal_does_not_obey_posts(run):
    out, _ = run
    result = CliRunner().invoke(app, ["memory", str(out)])
    assert "\\x1b[31mred\\u202e" in result.output
    assert all(line.isprintable() for line in result.output.splitlines())


def test_the_page_escapes_what_posts_say(run, tmp_path):
    out, _ = run
    page = tmp_path / "memory.html"
    result = CliRunner().invoke(app, ["memory", str(out), "--html", str(page)])
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "src=" not in text
    assert "http" not in re.sub("http://t.co|http-equiv", "", text), "nothing to load"
    noted = replace(memory(out), notes=["all posts with <i>X</i> are in one fold"])
    assert "with &lt;i&gt;X&lt;/i&gt; are" in noted.to_html()


def test_an_example_runs_as_its_words_do():
    assert ShownFailure("a", "they saw", "NBA", "היום", "").direction == "ltr"
    assert ShownFailure("a", "שלום", "NBA", "", "").direction == "rtl"


def test_a_repo_folder_shows_the_run_of_a_config(run, tmp_path):
    """Its own run, whatever other seeds lie beside it; of several configs one is to be named."""
    _, done = run
    repo = tmp_path / "repo"
    runs = []
    for config in ("one", "two"):
        recipe = replace(done.recipe, config=config)
        publish(replace(done, recipe=recipe), repo)
        runs.append(run_folder(recipe, repo))
        shutil.copytree(done.folder / "fit", runs[-1] / "fit")
        other = run_folder(replace(recipe, seed=1), repo) / "fit" / "artifact.json"
        other.parent.mkdir(parents=True)
        other.write_bytes(b"{")
        told = memory(repo, config).to_text()
        assert told == memory(done.folder).to_text()
        if config == "one":
            assert memory(repo).to_text() == told, "the only one needs no name"
    with pytest.raises(UsageError, match="has several configs of memory_hard, name one of one, two"):
        memory(repo)
    with pytest.raises(UnknownName, match=r"unknown config of memory_hard in .*'three': valid are one, two"):
        memory(repo, "three")
    result = CliRunner().invoke(app, ["memory", str(repo), "two"])
    assert (result.exit_code, result.output) == (0, told)
    shutil.rmtree(runs[1])
    with pytest.raises(UsageError, match=r"no run of memory_hard at .*two-"):
        memory(repo, "two")


def test_no_run_several_runs_and_a_damaged_one_are_told(run, tmp_path):
    out, done = run
    with pytest.raises(UsageError, match="no run of memory_hard here or in"):
        memory(tmp_path)
    copy = tmp_path / "runs"
    for name in ("one", "two"):
        for path in done.folder.rglob("fit/*"):
            target = copy / name / "fit" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match=r"several runs of memory_hard, name one of .*one, .*two"):
        memory(copy)
    assert memory(copy / "one").tree == memory(out).tree
    digest = done.method.learned["files"]["tree"]
    (copy / "two" / "fit" / digest).write_bytes(b"{")
    with pytest.raises(Corrupt, match="is damaged"):
        memory(copy / "two")


def test_the_command_writes_suspected_labels(run, tmp_path):
    out, _ = run
    path, page = tmp_path / "suspects.jsonl", tmp_path / "memory.html"
    result = CliRunner().invoke(app, ["memory", str(out), "--suspects", str(path), "--html", str(page)])
    assert result.exit_code == 0, result.output
    found = memory(run[1].folder)
    assert f"{len(found.suspects)} suspected label errors" in result.output.replace("\n", " ")
    assert path.read_text(encoding="utf-8") == found.to_corrections()
    assert page.exists()
