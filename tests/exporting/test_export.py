"""Posts written for other tools: what each file says of words, entities, pictures and origin."""

import json
import re
import shlex
import xml.etree.ElementTree as ET
from itertools import pairwise
from urllib.parse import parse_qs, urlparse

import pytest
import spacy
from conftest import as_dataset, parse, picture
from datasets import DatasetDict
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import DocBin

from hf_mner_aug import LSMS, augment, cli, export, publish
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.exporting import TARGETS, doccano, label_studio
from hf_mner_aug.exporting.layout import About, Outgoing, lay_out, utf16
from hf_mner_aug.exporting.names import Stems
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.schema import Codec, Entity, Post, bio_to_spans, mner_features

CONFIG = "lsms_100pct"


@pytest.fixture(scope="module")
def repo(splits, tmp_path_factory):
    out = tmp_path_factory.mktemp("repo") / "aug"
    publish(augment(splits, LSMS(copies=2), out=out, progress=False), out)
    return out


def rows_of(repo, split="train"):
    import pyarrow.parquet as pq

    table = pq.read_table(next((repo / CONFIG).glob(f"{split}-*.parquet")))
    return table.to_pylist()


def posts_of(repo, split="train", *, made=False):
    from hf_mner_aug.publishing.folder import read_features

    codec = Codec(read_features(repo / CONFIG))
    return {row["id"]: codec.to_post(row) for row in rows_of(repo, split) if not made or row["method"] != "gold"}


def mentions(post):
    return [(" ".join(post.tokens[e.start : e.end]), e.type) for e in post.entities]


# ---------------------------------------------------------------- tools for a review


def test_label_studio_gets_the_made_posts_with_predictions_and_pictures(repo, tmp_path):
    done = export(repo, CONFIG, to="label-studio", out=tmp_path / "review")
    tasks = json.loads((tmp_path / "review" / "tasks.json").read_bytes())
    made = posts_of(repo, made=True)
    assert [task["data"]["post_id"] for task in tasks] == list(made)
    assert done.posts == {"train": len(made)}
    assert done.pictures == sum(bool(post.images) for post in made.values()) > 10
    for task in tasks:
        post, text = made[task["data"]["post_id"]], task["data"]["text"]
        regions = task["predictions"][0]["result"]
        assert [(r["value"]["text"], r["value"]["labels"][0]) for r in regions] == mentions(post)
        assert all(text[r["value"]["start"] : r["value"]["end"]] == r["value"]["text"] for r in regions)
        assert (task["data"]["method"], task["data"]["config"]) == ("lsms", CONFIG)
        assert task["meta"]["provenance"]["params"]["ratio"] == 0.3
        if post.images:
            place = parse_qs(urlparse(task["data"]["image"]).query)["d"][0]
            assert (tmp_path / place).read_bytes() == post.images[0]["bytes"]
        else:
            assert task["data"]["image"] == ""


def test_the_labelling_configuration_names_what_tasks_have(repo, tmp_path):
    export(repo, CONFIG, to="label-studio", out=tmp_path / "review")
    view = ET.fromstring((tmp_path / "review" / "label-config.xml").read_text())
    task = json.loads((tmp_path / "review" / "tasks.json").read_bytes())[0]
    assert [label.get("value") for label in view.iter("Label")] == ["PER", "LOC", "ORG", "MISC"]
    for tag in ("Text", "Image"):
        assert view.find(tag).get("value").removeprefix("$") in task["data"]
    for region in (r for t in json.loads((tmp_path / "review" / "tasks.json").read_bytes()) for r in t["predictions"]):
        assert {(r["from_name"], r["to_name"]) for r in region["result"]} <= {
            (view.find("Labels").get("name"), view.find("Text").get("name"))
        }


def test_doccano_counts_as_its_page_does(repo, tmp_path):
    export(repo, CONFIG, to="doccano", out=tmp_path / "review")
    made = posts_of(repo, made=True)
    records = [json.loads(line) for line in (tmp_path / "review" / "posts.jsonl").read_text().splitlines()]
    assert [record["post_id"] for record in records] == list(made)
    assert any(not record["text"].isascii() and record["label"] for record in records)
    for record in records:
        units = record["text"].encode("utf-16-le")  # two bytes are a unit of JavaScript
        found = [(units[2 * start : 2 * end].decode("utf-16-le"), label) for start, end, label in record["label"]]
        assert found == mentions(made[record["post_id"]])
    labels = json.loads((tmp_path / "review" / "labels.json").read_bytes())
    assert [label["text"] for label in labels] == ["PER", "LOC", "ORG", "MISC", "REJECT"]
    assert len({label["suffix_key"] for label in labels}) == 5


def test_a_part_of_the_made_posts_is_spread_evenly(repo, tmp_path):
    export(repo, CONFIG, to="doccano", out=tmp_path / "some", posts=5)
    made = list(posts_of(repo, made=True))
    lines = (tmp_path / "some" / "posts.jsonl").read_text().splitlines()
    places = [made.index(json.loads(line)["post_id"]) for line in lines]
    assert len(places) == 5
    assert places[-1] - places[0] > len(made) / 2
    assert max(b - a for a, b in pairwise(places)) - min(b - a for a, b in pairwise(places)) <= 1
    export(repo, CONFIG, to="doccano", out=tmp_path / "all", posts=10_000)
    assert len((tmp_path / "all" / "posts.jsonl").read_text().splitlines()) == len(made)


def test_the_originals_are_written_where_asked_for(repo, tmp_path):
    with_gold = export(repo, CONFIG, to="doccano", out=tmp_path / "a", keep_original=True)
    assert with_gold.posts == {split: len(posts_of(repo, split)) for split in ("train", "validation", "test")}
    made = export(repo, CONFIG, to="spans", out=tmp_path / "b", keep_original=False)
    assert made.posts == {"train": len(posts_of(repo, made=True))}
    train = export(repo, CONFIG, to="spans", out=tmp_path / "c", splits=["test"])
    assert train.posts == {"test": len(posts_of(repo, "test"))}


# ---------------------------------------------------------------- other programs


@pytest.mark.parametrize("to", ["spans", "conll", "imgid", "spacy"])
def test_every_post_of_every_split_is_written(repo, tmp_path, to):
    done = export(repo, CONFIG, to=to, out=tmp_path / to)
    assert done.posts == {split: counts["gold"] + counts["made"] for split, counts in note(repo)["splits"].items()}


def note(repo):
    return read_note(repo / CONFIG)


def run(line):
    """Run a command of the guide, which must end well."""
    from typer.testing import CliRunner

    done = CliRunner().invoke(cli.app, shlex.split(line)[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("to", ["spans", "conll", "imgid", "spacy"])
def test_the_guide_reads_the_files_again_with_the_same_rows(repo, tmp_path, monkeypatch, to):
    monkeypatch.chdir(tmp_path)
    export(repo, CONFIG, to=to, out="a folder")
    run(re.search("`(hf-mner-aug .+?) DIR`", (tmp_path / "a folder" / "README.md").read_text())[1] + " again")
    from hf_mner_aug.sources.loading import load_source

    again = load_source(str(tmp_path / "again"))
    for split in again:
        codec = Codec(again[split].features)
        found = {row["id"]: codec.to_post(row) for row in again[split].with_format("arrow")[:].to_pylist()}
        for name, post in posts_of(repo, split).items():
            words = [
                word for word in post.tokens if to in ("conll", "imgid") or word.strip()
            ]  # U+00A0 is a blank there
            assert (found[name].tokens, mentions(found[name])) == (words, mentions(post))
            assert [i["bytes"] for i in found[name].images] == [i["bytes"] for i in post.images]


def test_columns_say_where_a_post_comes_from(repo, tmp_path):
    export(repo, CONFIG, to="conll", out=tmp_path / "columns")
    blocks = (tmp_path / "columns" / "train.txt").read_text().rstrip("\n").split("\n\n")
    posts = posts_of(repo)
    assert len(blocks) == len(posts)
    for block in blocks:
        told = dict(re.findall(r"^# (\w+) (.+)$", block, re.MULTILINE))
        words = [line.split("\t") for line in block.splitlines() if "\t" in line]
        post = posts[told["id"]]
        assert [word for word, _ in words] == list(post.tokens)
        assert [tuple(span) for span in bio_to_spans([tag for _, tag in words])] == post.plain_spans()
        assert told["config"] == CONFIG


def test_spacy_reads_words_entities_and_origin(repo, tmp_path):
    export(repo, CONFIG, to="spacy", out=tmp_path / "spacy")
    posts = posts_of(repo)
    docs = list(DocBin().from_disk(tmp_path / "spacy" / "train.spacy").get_docs(spacy.blank("xx").vocab))
    assert len(docs) == len(posts)
    for doc in docs:
        post = posts[doc.user_data["post_id"]]
        assert [token.text for token in doc] == list(post.tokens)
        assert [(e.start, e.end, e.label_) for e in doc.ents] == post.plain_spans()
        assert doc.text == " ".join(post.tokens)


def test_a_converted_set_is_written_too(mner, tmp_path):
    (tmp_path / "set").mkdir()
    mner.to_parquet(tmp_path / "set" / "train.parquet")
    done = export(tmp_path / "set", to="doccano", out=tmp_path / "out")
    assert done.posts == {"train": len(mner)}


# ---------------------------------------------------------------- fine types, Chinese, several pictures


def small(tmp_path, posts, **columns):
    as_dataset(posts, mner_features(("PER", "LOC"), **columns)).to_parquet(tmp_path / "train.parquet")
    return tmp_path


def test_fine_types_stand_behind_their_types(tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    fine = [Post("1", ["Adele", "sings"], (Entity(0, 1, "PER", "singer"),), ())]
    small(place, fine, fine_types=("singer",))
    export(place, to="spans", out=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "train.jsonl").read_text())
    assert record["spans"] == [{"start": 0, "end": 5, "label": "PER/singer"}]


def test_characters_are_joined_without_blanks(tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    small(place, [Post("1", list("我在北京😂"), (Entity(2, 4, "LOC"),), ())])
    export(place, to="spans", out=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "train.jsonl").read_text())
    assert (record["text"], record["spans"]) == ("我在北京😂", [{"start": 2, "end": 4, "label": "LOC"}])


def test_all_pictures_of_a_post_are_written(tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    small(place, [Post("1", *parse("so [PER Adele] sings"), (picture(1, "PNG"), picture(2, "JPEG")))], images="many")
    export(place, to="label-studio", out=tmp_path / "out")
    task = json.loads((tmp_path / "out" / "tasks.json").read_bytes())[0]
    assert [url.rpartition("/")[2] for url in task["data"]["images"]] == ["1.png", "1_2.jpg"]
    assert (tmp_path / "out" / "images" / "1_2.jpg").read_bytes() == picture(2, "JPEG")["bytes"]


# ---------------------------------------------------------------- what is refused


def test_words_that_a_line_cannot_hold_are_left_out_and_said(tmp_path):
    place = tmp_path / "set"
    place.mkdir()
    good, bad = Post("good", ["a", "b c", "\xa0"], (), ()), Post("bad", ["a\tb"], (Entity(0, 1, "PER"),), ())
    small(place, [good, bad])
    done = export(place, to="conll", out=tmp_path / "out")
    assert "left out: 1 posts: a word has a tab" in str(done)
    assert (tmp_path / "out" / "train.txt").read_text().split("\n")[4:] == ["a\tO", "b c\tO", "\xa0\tO", "", ""]
    assert export(place, to="spans", out=tmp_path / "json").posts == {"train": 2}


def test_an_export_is_not_overwritten_in_silence_and_other_files_never(repo, tmp_path):
    export(repo, CONFIG, to="doccano", out=tmp_path / "out", posts=1)
    with pytest.raises(UsageError, match=r"holds an earlier export.*--overwrite"):
        export(repo, CONFIG, to="spans", out=tmp_path / "out")
    export(repo, CONFIG, to="spans", out=tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "posts.jsonl").exists()
    (tmp_path / "out" / "reviewed.json").write_text("[]")
    with pytest.raises(UsageError, match=r"reviewed\.json, which no export wrote"):
        export(repo, CONFIG, to="spans", out=tmp_path / "out", overwrite=True)
    with pytest.raises(UsageError, match="which no export wrote"):
        export(repo, CONFIG, to="spans", out=repo, overwrite=True)
    (tmp_path / "out" / "reviewed.json").rename(tmp_path / "out" / "mine.jsonl")  # as files of this format end
    with pytest.raises(UsageError, match=r"mine\.jsonl, which no export wrote"):
        export(repo, CONFIG, to="spans", out=tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "mine.jsonl").read_text() == "[]"
    assert note(repo)


def test_the_same_export_again_gives_the_same_files(repo, tmp_path):
    def files():
        return {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    export(repo, CONFIG, to="label-studio", out=tmp_path / "out", posts=3)
    before = files()
    export(repo, CONFIG, to="label-studio", out=tmp_path / "out", posts=3)  # as after a kill at its very end
    assert files() == before
    with pytest.raises(UsageError, match="holds an earlier export"):
        export(repo, CONFIG, to="label-studio", out=tmp_path / "out", posts=4)


def test_what_does_not_exist_is_said(repo, tmp_path):
    with pytest.raises(UnknownName, match="format to export to 'docano': did you mean 'doccano'"):
        export(repo, CONFIG, to="docano", out=tmp_path / "out")
    with pytest.raises(UnknownName, match="split 'dev'"):
        export(repo, CONFIG, to="spans", out=tmp_path / "out", splits=["dev"])
    with pytest.raises(UsageError, match="lsms_100pct has no made post to export: --keep-original"):
        export(repo, CONFIG, to="doccano", out=tmp_path / "out", splits=["test"])
    assert list(tmp_path.iterdir()) == [], "a failure leaves nothing"


def test_relations_have_nothing_to_write(sets, tmp_path):
    (tmp_path / "set").mkdir()
    sets["mre"].to_parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(UsageError, match="has relations and no entities"):
        export(tmp_path / "set", to="spans", out=tmp_path / "out")


def test_a_type_that_markup_would_read_is_text(tmp_path):
    (tmp_path / "set").mkdir()
    features = mner_features(('A"><B>', "{x}"))
    rows = [Post("1", ["Adele"], (Entity(0, 1, 'A"><B>'),), ())]
    DatasetDict(train=as_dataset(rows, features))["train"].to_parquet(tmp_path / "set" / "train.parquet")
    export(tmp_path / "set", to="label-studio", out=tmp_path / "out")
    view = ET.fromstring((tmp_path / "out" / "label-config.xml").read_text())
    assert [label.get("value") for label in view.iter("Label")] == ['A"><B>', "{x}"]
    bad = as_dataset([Post("1", ["Adele"], (Entity(0, 1, "A\x01B"),), ())], mner_features(("A\x01B",)))
    (tmp_path / "bad").mkdir()
    bad.to_parquet(tmp_path / "bad" / "train.parquet")
    with pytest.raises(DataError, match="cannot be printed"):
        export(tmp_path / "bad", to="label-studio", out=tmp_path / "out2")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", ".x", "a\nb", "con", "x" * 300, "😂", "a.", "A"])
def test_a_picture_is_named_in_its_folder_only(name):
    stems = Stems()
    stem = stems.of(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.~+-]{0,120}", stem)
    assert not stem.endswith(".")
    assert stem.lower() != "con"
    assert len({stem.lower(), stems.of(name.lower() + "_").lower(), stems.of("a").lower()}) == 3


def test_each_format_says_how_to_go_on(repo, tmp_path):
    for to in TARGETS:
        export(repo, CONFIG, to=to, out=tmp_path / to, posts=1)
        text = (tmp_path / to / "README.md").read_text()
        assert CONFIG in text
        assert "{" not in text


# ---------------------------------------------------------------- any text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(lambda word: word.strip())


@st.composite
def outgoing(draw):
    tokens = draw(st.lists(TEXT, min_size=1, max_size=8))
    entities, start = [], 0
    while start < len(tokens):
        end = draw(st.integers(start + 1, len(tokens)))
        if draw(st.booleans()):
            entities.append(Entity(start, end, draw(st.sampled_from(["PER", "LOC"]))))
        start = end
    return Outgoing(Post("1", tokens, tuple(entities)), "1", "train", "1", "lsms")


ABOUT = About(config="c", types=("PER", "LOC"), joiner=" ", several=False, folder="out")


@given(outgoing(), st.sampled_from(["", " "]))
def test_the_place_of_each_word_is_known_in_any_text(post, joiner):
    text, places = lay_out(post.post.tokens, joiner)
    assert [text[start:end] for start, end in places] == list(post.post.tokens)
    units, table = text.encode("utf-16-le"), utf16(text)
    assert [units[2 * table[s] : 2 * table[e]].decode("utf-16-le") for s, e in places] == list(post.post.tokens)


@given(outgoing())
def test_files_hold_any_text(tmp_path_factory, post):
    folder = tmp_path_factory.mktemp("any")
    label_studio.write(iter([post]), folder, ABOUT)
    doccano.write(iter([post]), folder, ABOUT)
    assert json.loads((folder / "tasks.json").read_bytes())[0]["data"]["text"] == " ".join(post.post.tokens)
    record = json.loads((folder / "posts.jsonl").read_bytes())
    assert (record["text"], len(record["label"])) == (" ".join(post.post.tokens), len(post.post.entities))
