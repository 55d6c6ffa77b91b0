"""Published knowledge: files without ids, matched with posts by text."""

import json

import pytest
from conftest import as_dataset, parse
from datasets import DatasetDict
from typer.testing import CliRunner

import hf_mner_aug
from hf_mner_aug import cli
from hf_mner_aug.asking.published import Published, align, read_published
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema import Post, mner_features

FILE = """\
RT\tO
@ann\tO
sings\tO
<EOS>\tX
Ann\tX
is\tX
a\tX
singer\tX

Rome\tB-LOC
!\tO
<EOS> X
a city X

nothing O
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def told(words, knowledge):
    return Published(tuple(words.split()), knowledge, "f line 1")


def test_words_stand_before_the_mark_and_knowledge_after_it(tmp_path):
    found = read_published(write(tmp_path / "train.txt", FILE))
    assert found == [
        Published(("RT", "@ann", "sings"), "Ann is a singer", "train.txt line 1"),
        Published(("Rome", "!"), "a", "train.txt line 10"),
        Published(("nothing",), "", "train.txt line 15"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word\n", "line 1: expected a word and its tag, found 'word'"),
        ("a O\n" + "x" * 501 + " O\n", "line 2: expected a word and its tag"),
        ("a O\n\tO\n", "line 2: expected a word and its tag"),
        ("a O\n\nb O\n", "expected posts with knowledge after <EOS>, found 2 posts without any"),
        ("a O\n" * 5001, "line 1: expected posts of at most 5000 words"),
        ("", "found 0 posts"),
    ],
)
def test_a_damaged_file_is_told_in_one_line(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_published(write(tmp_path / "train.txt", text))


def test_other_files_are_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_published(tmp_path / "none.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="in UTF-8"):
        read_published(tmp_path / "bytes.txt")


def test_posts_are_matched_by_words_then_by_a_key_without_urls_and_case():
    posts = [Post("a", ["RT", "Ann"]), Post("b", ["so", "Rome", "!", "http://t.co/x1"]), Post("c", ["other"])]
    published = [told("So Rome http://t.co/y2", "a city"), told("rt ann", "loose"), told("RT Ann", "exact")]
    assert align(posts, published) == {0: "exact", 1: "a city"}


def test_posts_of_one_text_go_by_their_order_or_have_none():
    posts = [Post(name, ["look", "!"]) for name in "abc"]
    assert align(posts, [told("look !", text) for text in "xyz"]) == {0: "x", 1: "y", 2: "z"}
    assert align(posts, [told("look !", "x"), told("look !", "y")]) == {}, "nobody knows whose they are"
    assert align(posts, [told("look !", "x"), told("look !", "x")]) == {0: "x", 1: "x", 2: "x"}


def test_misses_are_counted_and_named_in_one_line(tmp_path):
    texts = ["RT @ann sings", "[LOC Rome] !", "a text that is in no file"]
    gold = as_dataset([Post(f"p{i}", *parse(text)) for i, text in enumerate(texts)], mner_features())
    DatasetDict(train=gold).save_to_disk(tmp_path / "gold")
    out = tmp_path / "k.jsonl"
    found = hf_mner_aug.knowledge(tmp_path / "gold", out, published=[write(tmp_path / "train.txt", FILE)])
    assert str(found).endswith("2 of 3 posts have knowledge (2 gold, 0 made)\nwithout: not_published 1 (p2)")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0] == {"id": "p0", "text": "RT @ann sings", "knowledge": "Ann is a singer"}


def test_a_dry_run_counts_matches_and_writes_nothing(tmp_path):
    gold = as_dataset([Post("p0", *parse("[LOC Rome] !")), Post("p1", *parse("other"))], mner_features())
    DatasetDict(train=gold).save_to_disk(tmp_path / "gold")
    arguments = ["knowledge", tmp_path / "gold", "--published", write(tmp_path / "train.txt", FILE), "--out"]
    dry = CliRunner().invoke(cli.app, [*map(str, arguments), str(tmp_path / "k.jsonl"), "--dry-run"])
    assert dry.exit_code == 0
    assert "1 of 2 posts have knowledge" in dry.output
    assert "nothing was written" in dry.output
    assert not (tmp_path / "k.jsonl").exists()
