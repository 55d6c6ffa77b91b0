"""Rows of replicated tables in a repo on a Hub: each is checked, none is lost, and none counts twice."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import DatasetDict

import hf_mner_aug
from hf_mner_aug import cli
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.replication.board import LARGEST_FILE, Result, read_rows
from hf_mner_aug.replication.submitting import rows_of
from hf_mner_aug.sample import load_sample
from hf_mner_aug.schema import canonical_json

CELLS = ["mmt5@t15_10pct", "mmt5+mixgen@t15_10pct"]
SUBMIT = """
import os
from hf_mner_aug.replication.submitting import submit
from hf_mner_aug.replication.board import leaderboard
answers += [attempt(submit, "gmda", "table2", REPO, out=folder)]
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder in which a part of GMDA's table 2 was run, with a CRF on the sample set."""
    folder = tmp_path_factory.mktemp("board")
    whole = load_sample()
    sizes = {"train": 200, "validation": 20, "test": 100}
    small = DatasetDict({split: whole[split].select(range(n)).remove_columns("image") for split, n in sizes.items()})
    (folder / "sets" / "twitter2015").mkdir(parents=True)
    for split, rows in small.items():
        rows.to_parquet(folder / "sets" / "twitter2015" / f"{split}.parquet")
    ids = folder / "sets" / "twitter2015_lowres" / "10pct"
    ids.mkdir(parents=True)
    (ids / "train.txt").write_text("\n".join(small["train"]["id"]), encoding="utf-8")
    (ids / "dev.txt").write_text("\n".join(small["validation"]["id"]), encoding="utf-8")
    chosen = {"cells": CELLS, "seeds": (0, 1), "progress": False, "models": {"mmt5": "crf:iterations=20"}}
    hf_mner_aug.replicate("gmda", "table2", data=folder / "sets", out=folder / "out", **chosen)
    return folder / "out"


@pytest.fixture(scope="module")
def row(out):
    """The row of the cell with a method."""
    (found,), refused = rows_of("gmda", "table2", out)
    assert refused == []
    return found


@pytest.fixture
def copied(out, tmp_path):
    """A copy of the folder, to be changed."""
    return Path(shutil.copytree(out, tmp_path / "out"))


def changed(path, **values):
    """Change some values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def board(folder, *lines, name="rows"):
    """Write lines as a file of a leaderboard, and return what is read."""
    path = folder / "results" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return hf_mner_aug.leaderboard(folder)


def line(row, **values):
    return json.dumps(dataclasses.asdict(row) | values)


def test_a_row_is_what_the_study_and_the_recipe_say(out, row):
    report = json.loads(next(out.glob("gmda-table2/run.studies/*/report.json")).read_text(encoding="utf-8"))
    note = json.loads((out / "gmda-table2/run/mixgen_twitter2015_10pct/augmentation.json").read_text(encoding="utf-8"))
    scores = {found["name"]: found for found in report["rows"]}
    mixed, repeated = (scores[f"{name}mixgen_twitter2015_10pct"]["f1"] for name in ("", "oversampled_to_"))
    assert (row.cell, row.method, row.set, row.fraction) == (CELLS[1], "mixgen", "twitter2015", "10pct")
    assert (row.backbone, json.loads(row.settings)["iterations"]) == ("crf", 20)
    assert row.mean == pytest.approx(100 * mixed["mean"])
    assert row.sd == pytest.approx(100 * mixed["sd"])
    assert row.delta == pytest.approx(100 * (mixed["mean"] - repeated["mean"]))
    assert row.gold == pytest.approx(100 * scores["gold_twitter2015_10pct"]["f1"]["mean"])
    assert (row.seeds, row.posts, row.usd, row.version) == ((0, 1), 100, 0, hf_mner_aug.__version__)
    assert 0 < row.p <= 1
    assert (row.recipe_fingerprint, row.content_fingerprint) == (
        note["recipe_fingerprint"],
        note["content_fingerprint"],
    )
    assert str(out) not in row.to_line()
    assert "source" not in json.loads(row.recipe)


def test_what_does_not_verify_is_refused_in_a_line(out, copied, row):
    folder = copied / "gmda-table2"
    note, (study,) = folder / "run/mixgen_twitter2015_10pct/augmentation.json", folder.glob("run.studies/*/study.json")
    kept = {path: path.read_bytes() for path in (note, study, study.with_name("report.json"))}
    read = {path: json.loads(data) for path, data in kept.items()}
    controls = read[study.with_name("report.json")]["controls"]
    for path, values, said in (
        (note, {"recipe_fingerprint": "0" * 64}, "the recipe has the fingerprint"),
        (note, {"recipe": read[note]["recipe"] | {"seed": 7}}, "the recipe has the fingerprint"),
        (note, {"content_fingerprint": "0" * 64}, "are not those that it states"),
        (note, {"libraries": {"hf-mner-aug": "9.0"}}, "was made by version 9.0, and the models were trained by"),
        (study, {"seeds": [5]}, "are of different studies"),
        (study.with_name("report.json"), {"controls": [controls[0] | {"better": None}]}, "cannot be trusted"),
        (study.with_name("report.json"), {"seeds": "all"}, "expected a list, found 'all'"),
    ):
        changed(path, **values)
        (refused,) = rows_of("gmda", "table2", copied)[1]
        assert refused.startswith(f"{CELLS[1]}: ")
        assert said in refused
        assert "\n" not in refused
        path.write_bytes(kept[path])
    assert rows_of("gmda", "table2", copied) == ([row], [])
    study.with_name("report.json").unlink()
    assert rows_of("gmda", "table2", copied)[1] == [
        f"{CELLS[1]}: report.json of its study is gone: run the table again"
    ]
    changed(folder / "table.json", smoke=True)
    with pytest.raises(UsageError, match="a smoke run proves no figure, and is never sent"):
        rows_of("gmda", "table2", copied)


def test_what_others_wrote_is_a_line_each(tmp_path, row, monkeypatch, capsys):
    recipe = json.loads(row.recipe)
    old = {"recipe": canonical_json(recipe | {"version": 99})}
    old["recipe_fingerprint"] = hf_mner_aug.Recipe.from_dict(json.loads(old["recipe"])).fingerprint
    hostile = {
        "not json": "malformed text",
        "[" * 100_000: "nested too deep",
        '{"paper": "gmda"}': "expected the key table",
        line(row, mean=float("nan")): "mean: expected a finite number, found nan",
        line(row, mean="99"): "mean: expected a number, found '99'",
        line(row, mean=101): "mean must be in [0, 100]",
        line(row, p=None): "expected both or none",
        line(row, posts=10**30): "a whole number of at most 64 bits",
        line(row, seeds=[0, 0]): "different ones",
        line(row, paper="../../etc"): "unknown paper",
        line(row, cell="mmt5+gmda@t15_10pct"): "method 'mixgen', and mmt5+gmda@t15_10pct of gmda table2 has gmda",
        line(row, cell="mmt5@t15_10pct"): "is no score of a method",
        line(row, set="sample"): "set 'sample', and",
        line(row, recipe_fingerprint="x\u202e"): "the recipe has the fingerprint",
        line(row, recipe=row.recipe.replace('"seed":0', '"seed":1')): "the recipe has the fingerprint",
        line(row, **old): f"version 99 of mixgen, which has version {recipe['version']} in hf_mner_aug",
        line(row, settings="{" * 5): "settings",
        line(row, code="x" * 101): "code of 101 characters",
        line(row, url="http://x"): "expected only the keys",
    }
    marked = line(row, mean=12.5, code="<script>|[a](http://x)", backbone="crf\u202e")
    found = board(tmp_path, *hostile, line(row), marked, b"\xff\xfe", line(row))
    assert [one.mean for one in found.results] == [row.mean, 12.5], "the same row twice is one"
    for number, (fault, said) in enumerate(zip(found.faults, [*hostile.values(), "malformed"], strict=True), start=1):
        assert said in fault, number
        assert fault.startswith("results/rows.jsonl line ")
        assert len(fault.splitlines()) == 1
        assert len(fault) <= 200
    text = found.to_markdown()
    assert "<script>" not in text
    assert "\\](http" in text, "a link is shown, and is none"
    assert "\u202e" not in text
    assert text.index(f"{row.mean:.2f} ± ") < text.index("| 12.50 ± "), "the best is first"
    monkeypatch.setattr(
        "sys.argv", ["hf-mner-aug", "leaderboard", str(tmp_path), "--write-page", str(tmp_path / "p.md")]
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "### Twitter-2015 (Zhang et al. 2018), 10pct of train: F1 of entities" in capsys.readouterr().out
    assert "\n$ hf-mner-aug leaderboard " in (tmp_path / "p.md").read_text(encoding="utf-8")


def test_links_and_files_too_large_are_not_read(tmp_path, row):
    (tmp_path / "secret").write_text(line(row), encoding="utf-8")
    folder = tmp_path / "repo"
    (folder / "results").mkdir(parents=True)
    (folder / "results" / "a.jsonl").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "results" / "b.jsonl")
    (folder / "results" / "c.jsonl").mkdir()
    (folder / "results" / "d.jsonl").symlink_to(tmp_path / "nowhere")
    with (folder / "results" / "e.jsonl").open("wb") as large:
        large.truncate(LARGEST_FILE + 1)
    found = board(folder, line(row), name="f")
    assert found.results == (row,)
    assert [fault.partition(":")[0] for fault in found.faults] == [f"results/{name}.jsonl" for name in "eabcd"]
    assert not any(str(tmp_path) in fault for fault in found.faults)
    many = {f"results/{n}.jsonl": LARGEST_FILE for n in range(20)}
    assert len(read_rows(folder, many, "x").faults) == 20, "4 are more than a board may have, the others are missing"


def test_rows_are_sent_once_and_load_as_a_dataset(out, row, hub_client):
    script = f"""REPO = "org/once"
order(kind="drop_after", method="POST", path="/commit/")
{SUBMIT * 2}
answers += [leaderboard(REPO).results, datasets.load_dataset(REPO, split="train").to_list()]
answers[2:3] = [[one.to_line() for one in answers[2]]]
"""
    lost, again, lines, loaded = hub_client.run(script, out)
    assert lost == again == "org/once has all other rows already"
    assert len(hub_client.server.commits("org/once")) == 2, "what landed is not sent twice"
    assert hub_client.server.commits("org/once")[0]["title"] == "Add 1 result of gmda table2"
    assert lines == [row.to_line()]
    assert loaded == [json.loads(row.to_line())]
    assert [*loaded[0]] == [field.name for field in dataclasses.fields(Result)]


def test_a_folder_takes_rows_as_a_repo_does(out, tmp_path, row):
    board, elsewhere = tmp_path / "board", tmp_path / "elsewhere"
    board.mkdir()
    elsewhere.mkdir()
    sent = hf_mner_aug.submit("gmda", "table2", board, out=out)
    assert (sent.cells, sent.refused) == ((CELLS[1],), ())
    assert Path(sent.url).parent == board / "results"
    again = hf_mner_aug.submit("gmda", "table2", board, out=out)
    assert (again.cells, str(again)) == ((), "board has all other rows already")
    assert hf_mner_aug.leaderboard(board).results == (row,)

    with pytest.raises(UsageError, match="board is a folder here: a pull request needs ORG/NAME of a repo"):
        hf_mner_aug.submit("gmda", "table2", board, out=out, create_pr=True)
    (linked := tmp_path / "linked").mkdir()
    (linked / "results").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="results: "):
        hf_mner_aug.submit("gmda", "table2", linked, out=out)
    assert not any(elsewhere.iterdir())


def test_two_at_once_lose_nothing_and_what_others_wrote_stays(out, copied, row, hub_client):
    """The second submitter has another row; somebody else's commit comes between, too."""
    server = hub_client.server
    (study,) = copied.glob("gmda-table2/run.studies/*/runs.json")
    study.write_text(study.read_text(encoding="utf-8").replace('"code": "', '"code": "other '), encoding="utf-8")
    server.repo("org/both").create(private=True)
    theirs = f'{{"mean": NaN}}\n{line(row, mean=1.5)}\n'
    server.fault("race", "POST", "/datasets/org/both/commit/", files={"results/theirs.jsonl": theirs})
    code = "import sys; from hf_mner_aug import submit; print(submit('gmda', 'table2', 'org/both', out=sys.argv[1]))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            env=server.env("hf_write") | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in (out, copied)
    ]
    for process in both:
        said, _ = process.communicate(timeout=120)
        assert f"sent: {CELLS[1]}\n" in said
        assert "/commit/" in said
    assert server.read("org/both", "results/theirs.jsonl").decode() == theirs
    answers = hub_client.run(
        """from hf_mner_aug import leaderboard
found = leaderboard("org/both")
answers += [[one.to_line() for one in found.results], found.faults, found.place]
""",
        out,
    )
    lines, faults, place = answers
    codes = {json.loads(one)["code"] for one in lines if json.loads(one)["mean"] != 1.5}
    assert codes == {row.code, f"other {row.code}"}
    assert len(lines) == 3
    assert len(faults) == 1
    assert place == f"org/both at {server.commits('org/both')[0]['id'][:12]}"


def test_a_pull_request_and_a_users_mistakes(out, hub_client, monkeypatch, capsys):
    script = """REPO = "org/pull"
from hf_mner_aug import leaderboard, submit
from huggingface_hub import HfApi
HfApi().create_repo(REPO, repo_type="dataset", private=True)
answers += [attempt(submit, "gmda", "table2", REPO, out=folder, create_pr=True)]
order(kind="drop_after", method="POST", path="/commit/")
answers += [attempt(submit, "gmda", "table2", REPO, out=folder, create_pr=True)]
order(kind="status", method="POST", path="/commit/", status=503, times=50)
answers += [attempt(submit, "gmda", "table2", "org/away", out=folder)]
answers += [attempt(submit, "gmda", "table2", REPO, out=folder, token="hf_read")]
"""
    said, lost, away, refused = hub_client.run(script, out)
    assert said.endswith("/discussions/1")
    assert lost.startswith("GaveUp: ")
    assert lost.endswith("look at its pull requests before you push again")
    assert away == "HubError: org/away: the Hub answered 503"
    assert refused.startswith("UsageError: org/pull: the Hub refused this token (403)")
    assert not any(path.startswith("results/") for path in hub_client.server.files("org/pull"))
    for words, told in (
        (["--smoke", "--submit", "org/x"], "a smoke run proves no figure, and is never sent"),
        (["--create-pr"], "--create-pr is for --submit ORG/NAME"),
        (["--submit", "nowhere"], "nowhere is not a repo id: expected ORG/NAME"),
    ):
        monkeypatch.setattr("sys.argv", ["hf-mner-aug", "replicate", "gmda", "table2", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2
        assert told in capsys.readouterr().err
    with pytest.raises(UsageError, match="has no scores of models"):
        hf_mner_aug.submit("gmda", "table7", "org/x", out=quality_table(out))


def quality_table(out):
    """Write a table of another kind beside those of a folder, and return the folder."""
    folder = out / "gmda-table7"
    folder.mkdir(exist_ok=True)
    shutil.copy(out / "gmda-table2" / "table.json", folder)
    changed(folder / "table.json", kind="quality")
    return out
