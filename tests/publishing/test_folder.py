import json
import shutil
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, Image, concatenate_datasets, load_dataset
from huggingface_hub import DatasetCard

from hf_mner_aug import EDA, LSMS, MixGen, augment, publish, verify
from hf_mner_aug.exceptions import Corrupt, DataError, RecipeMismatch, UsageError
from hf_mner_aug.publishing import cards
from hf_mner_aug.publishing.folder import NOTE, check_keys, read_features, read_note
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import Codec
from hf_mner_aug.storage.parquet import write_table


def make(splits, out, method=None, **chosen):
    run = augment(splits, method or LSMS(copies=2), out=out, progress=False, **chosen)
    return run, publish(run, out)


def raw(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def test_a_published_config_loads_plain_and_streamed(splits, tmp_path):
    out = tmp_path / "aug"
    run, done = make(splits, out)
    loaded = load_dataset(str(out), done.config)
    assert loaded["train"].features == run.method.features
    gold = raw(loaded["train"].filter(lambda name: name == "gold", input_columns="method"))
    assert [row["id"] for row in gold] == splits["train"]["id"][:]
    for before, after in zip(raw(splits["train"]), gold, strict=True):
        assert {name: after[name] for name in before} == before
        assert (after["source_id"], after["provenance"]) == (before["id"], "{}")
    for split in ("validation", "test"):
        assert [{n: row[n] for n in splits[split].column_names} for row in raw(loaded[split])] == raw(splits[split])

    streamed = load_dataset(str(out), done.config, streaming=True)
    assert [row["id"] for row in streamed["train"].decode(False)] == loaded["train"]["id"][:]
    pictures = loaded["train"].cast_column("image", Image(decode=False))["image"]
    assert sum(picture is not None for picture in pictures) > 20
    assert all(picture is None or picture["bytes"] for picture in pictures)
    assert loaded["train"][0]["image"].size == (16, 12)


def test_every_post_is_accounted_for(splits, tmp_path):
    _, done = make(splits, tmp_path / "aug", EDA(copies=9))
    funnel = done.funnel
    assert funnel["posts"] == 14
    assert funnel["dropped"]["duplicate"] > 0, "nine copies of short posts repeat themselves"
    assert funnel["kept"] + sum(funnel["dropped"].values()) + sum(funnel["rejected"].values()) == 14 * 9
    rows = raw(load_dataset(str(tmp_path / "aug"), done.config)["train"])
    assert len(rows) == 14 + funnel["kept"]
    pairs = [(tuple(row["tokens"]), tuple(row["ner_tags"])) for row in rows if row["method"] != "gold"]
    assert len(set(pairs)) == len(pairs)
    assert not set(pairs) & {(tuple(row["tokens"]), tuple(row["ner_tags"])) for row in rows if row["method"] == "gold"}


def test_what_a_method_calls_one_too_many_is_dropped_and_counted(splits, tmp_path, monkeypatch):
    def reduce(self):
        seen = Counter()

        def why(post):
            seen[post.id.partition("+")[0]] += 1
            return "too_many" if seen[post.id.partition("+")[0]] > 1 else None

        return why

    monkeypatch.setattr(EDA, "reduce", reduce)
    run, done = make(splits, tmp_path / "aug", EDA(copies=4))
    made = [
        row["source_id"] for row in raw(load_dataset(str(done.folder), done.config)["train"]) if row["method"] == "eda"
    ]
    assert len(made) == len(set(made)) == done.funnel["kept"]
    assert done.funnel["dropped"]["too_many"] == len(run.dataset) - len(made) - done.funnel["dropped"]["duplicate"]


def test_a_post_that_leaks_from_test_is_dropped(splits, tmp_path):
    # The only edit that EDA can make of these two words is to swap or delete them: the test split holds every outcome.
    features = splits["train"].features
    codec = Codec(features)

    def dataset(texts):
        rows = [
            {"id": name, "tokens": text.split(), "ner_tags": [0] * len(text.split()), "image": None}
            for name, text in texts
        ]
        assert all(codec.to_post(row) for row in rows)
        return Dataset.from_list(rows, features=features)

    leaky = DatasetDict(
        train=dataset([("a", "hello world")]),
        test=dataset([("b", "WORLD hello http://t.co/x"), ("c", "RT @joe : world"), ("d", "hello")]),
    )
    _, done = make(leaky, tmp_path / "aug", EDA(copies=9, operations=("swap", "delete")))
    assert done.funnel["kept"] == 0
    assert done.funnel["dropped"].pop("leak_text") >= 3
    assert load_dataset(str(tmp_path / "aug"), done.config)["train"].num_rows == 1


def test_another_config_and_every_other_word_of_the_card_are_kept(splits, tmp_path):
    out = tmp_path / "aug"
    _, first = make(splits, out)
    card = out / "README.md"
    card.write_text(card.read_text().replace("## lsms_100pct", "A note by hand.\n\n## lsms_100pct") + "\nThe end.\n")
    data = DatasetCard.load(card)
    data.data["pretty_name"] = "By hand"
    data.save(card)
    before = {path: path.read_bytes() for path in (out / first.config).iterdir()}
    _, second = make(splits, out, EDA(copies=1))
    assert {path: path.read_bytes() for path in (out / first.config).iterdir()} == before
    text = card.read_text()
    assert "A note by hand." in text
    assert text.index("The end.") < text.index("## eda_100pct")
    assert DatasetCard.load(card).data["pretty_name"] == "By hand"
    assert (
        load_dataset(str(out), first.config)["test"].num_rows == load_dataset(str(out), second.config)["test"].num_rows
    )
    assert load_dataset(str(out))["train"].num_rows == load_dataset(str(out), first.config)["train"].num_rows


def test_publishing_again_changes_no_byte(splits, tmp_path):
    out = tmp_path / "aug"
    run, _ = make(splits, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    publish(run, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in (tmp_path / "aug.runs").iterdir()] == [run.folder.name]


def test_a_text_of_the_card_is_parsed_once(splits, two_configs, tmp_path, monkeypatch):
    """Each config makes it longer, and PyYAML reads some 100 kB in a second."""
    out = tmp_path / "aug"
    shutil.copytree(two_configs, out)
    run = augment(splits, LSMS(copies=2), out=out, progress=False, config="third")
    read = []
    monkeypatch.setattr(cards, "check_card", lambda text, where: read.append(text))
    cards._parsed.cache_clear()
    before = (out / "README.md").read_text()
    publish(run, out)
    assert read == [before, (out / "README.md").read_text()]


def test_what_is_done_to_a_card_is_not_done_to_the_next_of_the_same_text(two_configs):
    text = (two_configs / "README.md").read_text()
    found = cards.described(text)
    assert all("features" in info for info in found.values())
    assert set(cards.described(cards.without_sizes(text, "eda_100pct"))) == {"lsms_100pct"}
    assert cards.described(text) == found


def test_the_card_tells_the_runs_own_numbers(splits, tmp_path):
    out = tmp_path / "aug"
    run, done = make(splits, out, LSMS(copies=3, ratio=0.25), fraction=0.5, config="mine")
    text = (out / "README.md").read_text()
    for told in (
        'load_dataset("aug", "mine")',
        "| ratio | 0.25 |",
        "| gold posts | 50% of train and validation, subset seed 0 |",
        f"| **kept** | **{done.funnel['kept']}** |",
        f"| train | 7 | {done.funnel['kept']} |",
        "| test | 3 | 0 |",
        run.recipe.fingerprint,
        done.content_fingerprint,
    ):
        assert told in text
    data = DatasetCard(text).data
    assert data["annotations_creators"] == ["machine-generated"]
    assert data["license"] == "other"
    assert data["configs"][0]["default"] is True
    note = json.loads((out / "mine" / NOTE).read_text())
    assert note["funnel"] == done.funnel
    train = load_dataset(str(out), "mine")["train"]
    codec = Codec(train.features)
    types = [entity.type for row in raw(train) for entity in codec.to_post(row).entities]
    assert {kind: after for kind, (_, after) in note["entities"].items()} == {
        kind: types.count(kind) for kind in set(types)
    }


def test_another_recipe_does_not_overwrite(splits, tmp_path):
    out = tmp_path / "aug"
    make(splits, out)
    other = augment(splits, LSMS(copies=2, seed=1), out=out, progress=False)
    with pytest.raises(
        RecipeMismatch, match=r"was made by recipe \w{12}, this one is \w{12}: choose another --config-name"
    ):
        publish(other, out)
    assert verify(out, "lsms_100pct").ok
    publish(other, out, overwrite=True)
    assert json.loads((out / "lsms_100pct" / NOTE).read_text())["recipe"]["seed"] == 1
    (out / "eda_100pct").mkdir()
    with pytest.raises(RecipeMismatch, match="exists and was not made here"):
        make(splits, out, EDA())


def test_a_broken_card_stops_publishing_and_nothing_is_lost(splits, tmp_path):
    out = tmp_path / "aug"
    make(splits, out)
    (out / "README.md").write_text("---\nlicense: [mit\n---\nhello\n")
    with pytest.raises(DataError, match=r"README\.md: expected YAML, found malformed text"):
        make(splits, out, EDA(copies=1))
    assert (out / "README.md").read_text().endswith("hello\n")
    assert not (out / "eda_100pct").exists()


def test_verify_finds_a_changed_row(splits, tmp_path):
    out = tmp_path / "aug"
    _run, done = make(splits, out)
    found = verify(out, done.config)
    assert found.ok
    assert found.found == done.content_fingerprint
    rerun = verify(out, done.config, rerun=True, source=str(saved(splits, tmp_path / "source")))
    assert rerun.rerun == done.content_fingerprint
    assert rerun.ok

    path = out / done.config / "train-00000-of-00001.parquet"
    train = load_dataset(str(out), done.config)["train"]
    train.map(lambda row: {"tokens": ["X", *row["tokens"][1:]]}).to_parquet(path)
    changed = verify(out, done.config)
    assert not changed.ok
    assert changed.difference == "train, row 0 (post p0) is the first that differs; columns that differ: tokens"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Corrupt, match="lsms_100pct"):
        verify(out, done.config)
    path.unlink()
    with pytest.raises(Corrupt, match="expected train-"):
        verify(out, done.config)
    with pytest.raises(UsageError, match=r"configs made here are lsms_100pct"):
        verify(out, "lsms_10pct")


def test_a_rerun_checks_its_source(splits, tmp_path):
    out = tmp_path / "aug"
    source = saved(splits, tmp_path / "source")
    run = augment(str(source), EDA(copies=1), out=out, progress=False)
    publish(run, out)
    assert str(tmp_path) not in (out / "eda_100pct" / NOTE).read_text() + (out / "README.md").read_text()
    with pytest.raises(UsageError, match="made from the local folder 'source': name it with --source DIR"):
        verify(out, "eda_100pct", rerun=True)
    assert verify(out, "eda_100pct", rerun=True, source=str(source)).ok
    other = saved(DatasetDict({**splits, "test": splits["train"]}), tmp_path / "other")
    with pytest.raises(DataError, match="was made for a source with fingerprint"):
        verify(out, "eda_100pct", rerun=True, source=str(other))


def test_a_set_with_columns_of_its_own_is_published_whole(splits, tmp_path):
    extra = splits.map(lambda name: {"url": f"https://example.org/{name}"}, input_columns="id")
    for keep in ((), ("url",)):
        _, done = make(extra, tmp_path / f"aug{len(keep)}", LSMS(copies=2, keep=keep))
        train = load_dataset(str(done.folder), done.config)["train"]
        of_source = [f"https://example.org/{name}" for name in train["source_id"]]
        shown = [keep or method == "gold" for method in train["method"]]
        assert train["url"][:] == [url if there else None for url, there in zip(of_source, shown, strict=True)]


def test_an_augmented_config_can_be_augmented(splits, tmp_path):
    _, first = make(splits, tmp_path / "one", EDA(copies=1))
    again = load_dataset(str(tmp_path / "one"), first.config)
    _, second = make(again, tmp_path / "two", LSMS(copies=1))
    train = load_dataset(str(tmp_path / "two"), second.config)["train"]
    assert set(train["method"]) == {"gold", "eda", "lsms"}
    assert set(train["source_id"]) == set(splits["train"]["id"])


def test_a_config_in_a_folder_is_a_source_and_its_place_is_not_published(splits, tmp_path):
    _, first = make(splits, tmp_path / "one", EDA(copies=1))
    name = f"{tmp_path / 'one'}:{first.config}"
    card = tmp_path / "one" / "README.md"
    card.write_text(card.read_text().replace("license: other", "license: mit"))
    done = publish(augment(name, LSMS(copies=1), out=tmp_path / "two", progress=False), tmp_path / "two")
    note = read_note(tmp_path / "two" / done.config)
    assert note["recipe"]["source"] == f"local:one:{first.config}"
    assert note["source"]["license"] == "mit"
    assert str(tmp_path) not in json.dumps(note) + (tmp_path / "two" / "README.md").read_text()


def saved(splits, folder):
    """Write splits as a folder of Parquet."""
    folder.mkdir()
    for split, dataset in splits.items():
        dataset.cast_column("image", Image(decode=False)).cast(dataset.features).to_parquet(
            folder / f"{split}-00000-of-00001.parquet"
        )
    assert load_dataset(str(folder))["train"].num_rows == concatenate_datasets([splits["train"]]).num_rows
    return folder


def test_withdrawing_a_post_takes_the_mixes_it_is_in(splits, tmp_path):
    _, done = make(splits, tmp_path / "aug", MixGen(copies=3))
    before = raw(load_dataset(str(done.folder), done.config)["train"])
    partners = Counter(
        json.loads(row["provenance"])["details"]["post_id"] for row in before if row["method"] == "mixgen"
    )
    gone = partners.most_common(1)[0][0]
    expected = [
        row["id"]
        for row in before
        if gone not in (row["id"], row["source_id"], json.loads(row["provenance"]).get("details", {}).get("post_id"))
    ]
    assert withdraw_posts(done.folder, [gone]) == {done.config: len(before) - len(expected)}
    assert len(before) - len(expected) > 4
    files = map(str, (done.folder / done.config).glob("train-*.parquet"))
    assert Dataset.from_parquet([*files], cache_dir=str(tmp_path))["id"][:] == expected
    assert verify(str(done.folder), done.config).ok


@pytest.mark.parametrize(
    ("asked", "gone"), [("p0", {"p0", "p0~2", "p0~12"}), ("p0~2", {"p0~2"}), ("p0~", set()), ("p", set())]
)
def test_an_id_means_all_posts_numbered_as_of_it(splits, tmp_path, asked, gone):
    names = ["p0", "p0~2", "p0~12", *splits["train"]["id"][3:]]
    named = splits["train"].map(lambda row, i: {"id": names[i]}, with_indices=True)
    _, done = make(DatasetDict(splits, train=named), tmp_path / "aug", MixGen(copies=2))
    before = raw(load_dataset(str(done.folder), done.config)["train"])
    withdraw_posts(done.folder, [asked])
    files = map(str, (done.folder / done.config).glob("train-*.parquet"))
    after = raw(Dataset.from_parquet([*files], cache_dir=str(tmp_path)))

    def posts(rows):
        partners = (json.loads(row["provenance"]).get("details", {}).get("post_id") for row in rows)
        return {name for row in rows for name in (row["id"], row["source_id"])} | {*partners} - {None}

    assert {"p0", "p0~2", "p0~12"} <= posts(before)
    assert posts(before) & gone == gone
    assert not posts(after) & gone
    assert {"p0", "p0~2", "p0~12"} - gone <= posts(after)


def test_files_of_other_columns_than_the_rest_are_named(mner, tmp_path):
    method = LSMS().fit(mner)
    made = method.map(mner)
    write_table(tmp_path / "test-00000-of-00001.parquet", made.data.table, method.features)
    write_table(tmp_path / "train-00000-of-00001.parquet", made.data.table, method.features)
    assert read_features(tmp_path) == method.features
    fewer = made.remove_columns("image")
    (tmp_path / "train-00000-of-00001.parquet").unlink()
    write_table(tmp_path / "train-00000-of-00001.parquet", fewer.data.table, fewer.features)
    with pytest.raises(
        Corrupt, match=r"train-00000-of-00001.parquet: expected the columns of test-.* found other image"
    ):
        read_features(tmp_path)


@pytest.mark.parametrize(
    ("method", "may_lack"), [("daga", True), ("lsms", False), ("gold", False), ("elsewhere", True)]
)
def test_only_rows_of_methods_without_sources_may_lack_one(method, may_lack):
    """Else a row that lost its source would stay when its gold post is withdrawn."""
    columns = {"id": ["a", "a+x.0"], "source_id": ["a", None], "method": ["gold", method], "provenance": ["{}", "{}"]}
    with nullcontext() if may_lack else pytest.raises(Corrupt, match="expected source_id in every row"):
        check_keys(pa.table(columns), Path("train.parquet"))
