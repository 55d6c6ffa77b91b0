"""Suspected labels that go out to a reviewing tool, and come back decided."""

import json

import pytest
from datasets import load_dataset
from reviewing_tools import REJECT, doccano, label_studio, region
from typer.testing import CliRunner

from hf_mner_aug import convert, export, import_review
from hf_mner_aug.cli import app
from hf_mner_aug.exceptions import DataError, UsageError

POSTS = {  # words, tags before, tags after
    "1": (["Adele", "😀", "in", "Paris"], ["O", "O", "O", "B-PER"], ["O", "O", "O", "B-LOC"]),
    "2": (["Apple", "fell"], ["B-ORG", "O"], ["O", "O"]),
    "3": (["St", "Louis", "won"], ["O", "B-LOC", "O"], ["B-LOC", "I-LOC", "O"]),
    "4": (["Ada", "sang"], ["B-PER", "O"], ["B-LOC", "O"]),
}


@pytest.fixture
def suspects(tmp_path):
    lines = []
    for id_, (tokens, before, after) in POSTS.items():
        line = {"id": id_, "tokens": tokens, "before": before, "after": after, "note": f"note {id_}", "accept": None}
        lines.append(json.dumps(line))
    path = tmp_path / "suspects.jsonl"
    path.write_text("\n".join(lines))
    return path


def decide_task(i, results):
    """Accept, reject, correct behind an emoji, leave."""
    return [results, [*results, REJECT], [*results, region(9, 12, "won", "ORG")], ""][i]


def decide_line(i, spans):
    return [spans, [[0, 5, "REJECT"]], [*spans, [9, 12, "ORG"]], None][i]


@pytest.mark.parametrize(
    ("to", "name", "review", "decide"),
    [
        ("label-studio", "review.json", label_studio, decide_task),
        ("doccano", "review.jsonl", doccano, decide_line),
    ],
)
def test_decisions_come_back_and_are_applied(suspects, tmp_path, to, name, review, decide):
    done = export(suspects, to=to, out=tmp_path / "out")
    assert dict(done.posts) == {"train": 4}
    assert "suspected: note 3" in (tmp_path / "out" / ("tasks.json" if "label" in to else "posts.jsonl")).read_text()
    (tmp_path / name).write_text(review(tmp_path / "out", decide), encoding="utf-8")
    decided = import_review(suspects, "suspects", tmp_path / name)
    assert decided.decisions == {"accepted": ["1"], "changed": ["3"], "declined": ["2"], "undecided": ["4"]}
    assert decided.file == tmp_path / "suspects_reviewed.jsonl"
    assert not decided.notes
    blocks = (
        f"IMGID:{id_}\n" + "".join(f"{word}\t{tag}\n" for word, tag in zip(tokens, before, strict=True))
        for id_, (tokens, before, _) in POSTS.items()
    )
    (tmp_path / "train.txt").write_text("\n".join(blocks), encoding="utf-8")
    report = convert("conll", tmp_path / "train.txt", tmp_path / "set", corrections=decided.file)
    assert "2 applied, 1 declined, 1 undecided" in str(report)
    rows = load_dataset(str(tmp_path / "set"), split="train")
    names = rows.features["ner_tags"].feature.names
    tags = {row["id"]: [names[tag] for tag in row["ner_tags"]] for row in rows}
    assert tags == {
        "1": ["O", "O", "O", "B-LOC"],
        "2": ["B-ORG", "O"],
        "3": ["B-LOC", "I-LOC", "B-ORG"],
        "4": ["B-PER", "O"],
    }


def test_what_does_not_fit_stays_undecided_and_is_told(suspects, tmp_path):
    export(suspects, to="label-studio", out=tmp_path / "out")

    def decide(i, results):
        return [
            [region(0, 99, "?", "PER")],
            results,
            [region(4, 7, "oui", "LOC"), region(3, 8, "Louis", "LOC")],
            results,
        ][i]

    tasks = json.loads(label_studio(tmp_path / "out", decide))
    tasks[1]["data"]["text"] = "Pear fell"
    tasks[3]["data"]["post_id"] = "7"
    (tmp_path / "review.json").write_text(json.dumps(tasks))
    args = ["import-review", str(suspects), "suspects", str(tmp_path / "review.json"), "--config-name", "done"]
    result = CliRunner().invoke(app, [*args, "--types", "LOC=PLACE"])
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "0 accepted, 1 changed, 0 declined, 3 undecided" in told
    assert "whose labels cannot be placed, which stay undecided: 1, as 1 (" in told
    assert "posts whose text differs, which stay undecided: 1, as 2" in told
    assert "records of posts that have no correction: 1, as 7" in told
    assert "labels that share a word with a longer one, and are left out: 1, as 3" in told
    lines = [json.loads(line) for line in (tmp_path / "done.jsonl").read_text().splitlines()]
    assert [line["accept"] for line in lines] == [None, None, True, None]
    assert lines[2]["after"] == ["O", "B-PLACE", "O"]


def test_other_files_are_refused(suspects, tmp_path):
    export(suspects, to="doccano", out=tmp_path / "out")
    review = tmp_path / "review.jsonl"
    review.write_text(doccano(tmp_path / "out"), encoding="utf-8")
    with pytest.raises(UsageError, match="is exported as suspects, found gmda: name the file"):
        import_review(suspects, "gmda", review)
    import_review(suspects, "suspects", review)
    with pytest.raises(UsageError, match="is there already"):
        import_review(suspects, "suspects", review)
    with pytest.raises(UsageError, match="is there already"):
        import_review(suspects, "suspects", review, config_name="suspects", overwrite=True)
    with pytest.raises(DataError, match=r"file name '\.\./x': expected letters"):
        import_review(suspects, "suspects", review, config_name="../x")
    other = tmp_path / "other.jsonl"
    other.write_text(suspects.read_text().replace('"id": "', '"id": "x'))
    with pytest.raises(UsageError, match="has none of the posts of"):
        import_review(other, "other", review)
