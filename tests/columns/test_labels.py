"""Labels keep their names wherever numbers go from one dataset to another."""

import json
import sys
import warnings
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pytest
from conftest import as_dataset, draw_posts, draw_set
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDatasetDict,
    LargeList,
    List,
    Value,
    concatenate_datasets,
    interleave_datasets,
    load_dataset,
)

from hf_mner_aug import AMIA, EDA, LSMS, MixGen, augment, publish
from hf_mner_aug.backbones.splits import entity_splits
from hf_mner_aug.cli import main
from hf_mner_aug.columns.labels import NO_NAME, concatenate, encode, same_labels, spell_labels, translator
from hf_mner_aug.columns.validation import validate
from hf_mner_aug.conversion import convert
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers import read
from hf_mner_aug.schema import Codec, mner_features
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.sources.splits import named_splits
from hf_mner_aug.studies.configs import check_comparable, numbered_alike, read_config
from hf_mner_aug.studies.study import Study
from hf_mner_aug.studies.tasks import Entities
from hf_mner_aug.transform import Method, iterate_posts

ORDER = ("MISC", "ORG", "LOC", "PER")
OTHER = mner_features(ORDER)


def posts_of(dataset):
    return list(iterate_posts(dataset, Codec(dataset.features), images=True))


def stored(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def command(monkeypatch, *arguments):
    """Run the command line; return its exit code."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code


def gold_of(dataset):
    return {post.id: (post.entities, post.relation) for post in posts_of(dataset)}


def renumbered(dataset, features):
    """The same posts, their labels numbered otherwise, as another program would write them."""
    codec = Codec(Features({**dataset.features, **{name: features[name] for name in features}}))
    return Dataset.from_list([codec.to_row(post) for post in posts_of(dataset)], features=codec.features)


def without_ids(dataset):
    return dataset.with_format("arrow").remove_columns(["provenance"])[:].to_pylist()


@pytest.fixture(scope="module")
def texts():
    return as_dataset(draw_posts(), mner_features())


@pytest.fixture(scope="module")
def splits(texts):
    """Train as usual, validation and test numbered in other orders."""
    tags = {"ner_tags": OTHER["ner_tags"]}
    third = {"ner_tags": mner_features(("LOC", "MISC", "PER", "ORG"))["ner_tags"]}
    return DatasetDict(
        {
            "train": texts.select(range(14)),
            "validation": renumbered(texts.select(range(14, 17)), tags),
            "test": renumbered(texts.select(range(17, 20)), third),
        }
    )


# ---------------------------------------------------------------- Dataset.map


@pytest.mark.parametrize("kind", ["mner", "fmnerg", "mre"])
@pytest.mark.parametrize("num_proc", [None, 2])
def test_map_reads_labels_by_name(kind, num_proc):
    gold = draw_set(kind)
    others = {
        name: _reversed(gold.features[name]) for name in ("ner_tags", "fine_tags", "relation") if name in gold.features
    }
    method = EDA(copies=1).fit(gold)
    expected = without_ids(method.map(gold))
    other = renumbered(gold, others)
    assert other.with_format("arrow")[:].to_pylist() != gold.with_format("arrow")[:].to_pylist()
    for made in (
        other.map(method, batched=True, features=method.features, num_proc=num_proc),
        method.map(other, num_proc=num_proc),
    ):
        assert without_ids(made) == expected
        assert made.features == method.features
    assert [{k: row[k] for k in expected[0]} for row in method.map(other.to_iterable_dataset())] == expected


@pytest.mark.parametrize("kind", ["mner", "fmnerg", "mre"])
@pytest.mark.parametrize("removed", [False, True])
def test_map_without_features_writes_labels_by_name(kind, removed):
    gold = draw_set(kind)
    labels = [name for name in ("ner_tags", "fine_tags", "relation") if name in gold.features]
    method = EDA(copies=1).fit(gold)
    other = renumbered(gold, {name: _reversed(gold.features[name]) for name in labels})

    def spelt(rows, name, features):
        return [spell_labels(value, features[name]) for value in rows[name]]

    expected = method.map(gold)
    made = other.map(method, batched=True, remove_columns=other.column_names if removed else None)
    for name in labels:
        assert spelt(made, name, made.features) == spelt(expected, name, expected.features)
        assert made[name] != expected[name]


def _reversed(feature):
    label = feature if isinstance(feature, ClassLabel) else feature.feature
    label = ClassLabel(names=[label.names[0], *label.names[:0:-1]])
    return label if isinstance(feature, ClassLabel) else List(label)


def test_fewer_labels_are_read_by_name_and_unknown_ones_refused(texts):
    method = LSMS(copies=1).fit(texts)
    two = as_dataset([post for post in draw_posts()[:2]], mner_features(("ORG", "LOC", "PER")))
    assert gold_of(two) == gold_of(texts.select(range(2)))
    made = two.map(method, batched=True, features=method.features)
    assert without_ids(made) == without_ids(method.map(texts.select(range(2))))
    more = as_dataset(draw_posts()[:2], mner_features(("GPE", "ORG", "LOC", "PER")))
    for mapped in (
        lambda: more.map(method, batched=True, features=method.features),
        lambda: method.map(more),
        lambda: list(method.map(more.to_iterable_dataset())),
    ):
        with pytest.raises(
            UsageError, match=r"lsms was fitted on another set.*labels B-GPE, I-GPE.*fit it on this set"
        ):
            mapped()


def test_numbers_without_names_are_refused_where_the_batch_says_so(texts):
    method = LSMS(copies=1).fit(texts)
    bare = texts.cast_column("ner_tags", List(Value("int64")))
    for mapped in (lambda: bare.map(method, batched=True, features=method.features), lambda: method.map(bare)):
        with pytest.raises(UsageError, match="give it the names that its numbers stand for"):
            mapped()


@pytest.fixture(scope="module")
def swapped(texts):
    """The same posts, their types numbered in another order, and without pictures."""
    return renumbered(texts, {"ner_tags": OTHER["ner_tags"]}).remove_columns("image")


STREAMS = {
    "one": lambda data: data.to_iterable_dataset(),
    "shards": lambda data: data.to_iterable_dataset(num_shards=3),
    "arrow": lambda data: data.to_iterable_dataset().with_format("arrow"),
    "numpy": lambda data: data.to_iterable_dataset(num_shards=2).with_format("numpy"),
    "pandas": lambda data: data.to_iterable_dataset().with_format("pandas"),
    "interleaved": lambda data: interleave_datasets(
        [data.shard(2, i, contiguous=False).to_iterable_dataset() for i in range(2)],
        stopping_strategy="all_exhausted",
    ),
    "taken": lambda data: concatenate_datasets(
        [data.to_iterable_dataset().take(7), data.to_iterable_dataset().skip(7)]
    ),
    "mapped": lambda data: data.to_iterable_dataset().map(_same, batched=True, features=data.features),
}


def _same(batch):
    return batch


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("order", ["same", "other"])
def test_a_stream_is_read_by_name_or_refused(texts, swapped, way, order):
    texts = texts.remove_columns("image")
    method = LSMS(copies=1).fit(texts)
    expected = method.map(texts).to_list()
    data = texts if order == "same" else swapped
    stream = STREAMS[way](data)
    assert list(method.map(stream)) == expected
    for features in (None, method.features):
        with pytest.raises(UsageError, match=r"labels without their names, .* call method\.map\(stream\)"):
            list(stream.with_format(None).map(method, batched=True, features=features))


def test_a_batch_without_names_is_refused_unless_its_features_are_given(texts, swapped):
    method = LSMS(copies=1).fit(texts.remove_columns("image"))
    expected = method.map(swapped).to_list()
    stream = swapped.to_iterable_dataset()
    known = {"features": method.features, "fn_kwargs": {"features": stream.features}}
    assert list(stream.map(method, batched=True, **known)) == expected
    assert swapped.map(method, batched=True, fn_kwargs={"features": texts.features})["ner_tags"] == _tags(
        expected, swapped
    )
    batch = swapped[:]
    assert list(method(batch, features=swapped.features)["ner_tags"]) == [row["ner_tags"] for row in expected]
    named = {**batch, "ner_tags": spell_labels(batch["ner_tags"], List(swapped.features["ner_tags"]))}
    for bare in (batch, named, pa.table(batch)):
        for call in (method, method.make):
            with pytest.raises(UsageError, match="labels without their names"):
                call(bare)
    with pytest.raises(UsageError, match="lsms needs a stream that knows its features: pass features="):
        method.map(stream.map(_same, batched=True))


def _tags(rows, dataset):
    """The tags of rows, which are numbered as usual, as a dataset numbers them."""
    features = dataset.features["ner_tags"].feature
    usual = ClassLabel(names=_bio("PER", "LOC", "ORG", "MISC"))
    return [features.str2int(usual.int2str(row["ner_tags"])) for row in rows]


def test_workers_of_a_loader_read_a_stream_by_name(texts, swapped):
    data = pytest.importorskip("torch.utils.data")
    method = LSMS(copies=1).fit(texts.remove_columns("image"))
    loader = data.DataLoader(method.map(swapped.to_iterable_dataset(num_shards=2)), num_workers=2, batch_size=None)
    expected = method.map(texts.remove_columns("image")).to_list()
    assert sorted(map(str, loader)) == sorted(map(str, expected))


def test_an_arrow_table_numbered_otherwise_is_refused(texts):
    method = LSMS(copies=1).fit(texts)
    other = renumbered(texts, {"ner_tags": OTHER["ner_tags"]}).with_format("arrow")
    with pytest.raises(UsageError, match=r"numbers the labels of ner_tags otherwise.*method\.map\(ds\)"):
        other.map(method, batched=True, features=method.features)
    assert without_ids(method.map(other.with_format(None))) == without_ids(method.map(texts))


def test_further_columns_of_labels_keep_their_names(texts):
    def with_mood(names, values):
        return texts.add_column("mood", values, feature=ClassLabel(names=names))

    one = with_mood(["glad", "sad"], [i % 2 for i in range(20)])
    other = with_mood(["sad", "glad"], [1 - i % 2 for i in range(20)])
    method = LSMS(copies=1).fit(one)
    assert without_ids(method.map(other)) == without_ids(method.map(one))


def test_long_lists_are_lists(texts):
    large = texts.cast_column("ner_tags", LargeList(texts.features["ner_tags"].feature))
    method = LSMS(copies=1).fit(texts)
    assert without_ids(method.map(large)) == without_ids(method.map(texts))


# ---------------------------------------------------------------- splits


@dataclass(frozen=True, kw_only=True)
class Listing(Method):
    """Learns the entities of both splits, as they are named."""

    name: ClassVar[str] = "listing"

    def learn(self, train, validation):
        return [[_plain(entity) for entity in post.entities] for posts in (train, validation) for post in posts]


def test_fit_learns_the_same_from_splits_numbered_otherwise(splits, texts):
    alike = DatasetDict({split: texts.select(r) for split, r in (("train", range(14)), ("validation", range(14, 17)))})
    for method in (LSMS(), EDA(), MixGen(), Listing()):
        fitted = method.fit(alike)
        assert method.fit(splits).artifact == fitted.artifact
        assert method.fit(splits["train"], validation=splits["validation"]).artifact == fitted.artifact
        streams = IterableDatasetDict({split: data.to_iterable_dataset() for split, data in splits.items()})
        assert method.fit(streams).artifact == fitted.artifact


def test_a_type_that_only_validation_has_is_added(texts):
    train = as_dataset(draw_posts()[:2], mner_features(("PER", "LOC", "ORG")))
    validation = as_dataset(draw_posts()[10:11], mner_features(("MISC", "ORG", "LOC", "PER")))
    named = same_labels(DatasetDict(validation=validation, train=train))
    assert named["train"].features["ner_tags"].feature.names == _bio("PER", "LOC", "ORG", "MISC")
    assert {**gold_of(named["train"]), **gold_of(named["validation"])} == {**gold_of(train), **gold_of(validation)}
    assert list(named) == ["validation", "train"]
    method = LSMS(copies=1).fit({"train": train, "validation": validation})
    made = method.map(DatasetDict(train=train, validation=validation))
    assert {e.type for post in posts_of(made["validation"]) for e in post.entities} >= {"MISC"}


def _bio(*types):
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


@pytest.mark.parametrize("method", [LSMS(copies=1), MixGen(), AMIA(matcher="cca")])
def test_published_gold_is_what_it_was(splits, method, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = augment(splits, method, out=tmp_path / "aug", progress=False)
        done = publish(run, tmp_path / "aug")
    made = load_dataset(str(tmp_path / "aug"), done.config, cache_dir=str(tmp_path / "cache"))
    for split, data in splits.items():
        gold = made[split].select([i for i, row in enumerate(made[split]["id"]) if row in set(data["id"])])
        assert gold_of(gold) == gold_of(data)
    assert len({str(data.features["ner_tags"]) for data in made.values()}) == 1


def test_a_method_fitted_on_another_order_publishes_gold_as_it_was(texts, tmp_path):
    fitted = LSMS(copies=1).fit(renumbered(texts, {"ner_tags": OTHER["ner_tags"]}))
    run = augment(texts, fitted, out=tmp_path / "aug", progress=False)
    done = publish(run, tmp_path / "aug")
    made = load_dataset(str(tmp_path / "aug"), done.config, cache_dir=str(tmp_path / "cache"))["train"]
    assert made.features["ner_tags"].feature.names == _bio(*ORDER)
    assert gold_of(made.select(range(20))) == gold_of(texts)


def test_parquet_files_of_a_folder_are_read_by_their_own_lists(splits, tmp_path, capsys, monkeypatch):
    for split, data in splits.items():
        data.to_parquet(tmp_path / "set" / f"{split}.parquet")
    found = load_source(str(tmp_path / "set"))
    for split, data in splits.items():
        assert gold_of(found[split]) == gold_of(data)
        assert found[split].features["ner_tags"] == splits["train"].features["ner_tags"]
    assert command(monkeypatch, "validate", tmp_path / "set", "--json", "--no-images") == 2
    kinds = [problem["kind"] for problem in json.loads(capsys.readouterr().out)]
    assert kinds.count("labels_renumbered") == 2


def test_a_card_that_numbers_labels_otherwise_than_a_file_is_refused(splits, tmp_path):
    splits["validation"].to_parquet(tmp_path / "train.parquet")
    names = {str(i): name for i, name in enumerate(_bio("PER", "LOC", "ORG", "MISC"))}
    features = splits["train"].features
    info = [{"name": "ner_tags", "sequence": {"class_label": {"names": names}}}]
    info += [
        {"name": "id", "dtype": "string"},
        {"name": "tokens", "sequence": "string"},
        {"name": "image", "dtype": "image"},
    ]
    assert set(features) == {column["name"] for column in info}
    card = {"dataset_info": {"features": info}}
    (tmp_path / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    with pytest.raises(
        DataError, match=r"its card and train\.parquet number the labels of ner_tags differently \(B-PER"
    ):
        load_source(str(tmp_path))


def test_validate_compares_splits(splits, texts):
    found = validate(splits, images=False)
    assert found.counts()["labels_renumbered"] == 2
    assert "column ner_tags: B-PER is 1 and 7: the first is that of train" in str(found)
    fewer = as_dataset(draw_posts()[1:2], mner_features(("PER", "LOC")))
    found = validate(DatasetDict(train=texts, test=fewer), images=False)
    assert found.counts()["labels_differ"] == 1
    assert "lacks B-ORG, I-ORG, B-MISC, I-MISC, unlike train" in str(found)
    assert "labels_differ" not in validate(DatasetDict(train=texts, test=texts.select([0])), images=False).counts()


def test_backbones_and_references_go_by_name(splits, texts):
    found = entity_splits(splits["train"], splits["validation"])
    assert [post.entities for post in found.validation] == [post.entities for post in posts_of(texts)[14:17]]
    by_name, by_text = (
        [post.plain_spans() for post in posts_of(ds)] for ds in (splits["test"], texts.select(range(17, 20)))
    )
    assert by_name == by_text


def test_a_split_without_names_beside_one_with_them_is_refused(texts):
    bare = texts.cast_column("ner_tags", List(Value("int64")))
    with pytest.raises(UsageError, match=r"split test: ner_tags is Value\('int64'\), expected ClassLabel"):
        named_splits({"train": texts, "test": bare})


def test_relations_and_fine_tags_of_splits_go_by_name():
    for kind, column in (("mre", "relation"), ("fmnerg", "fine_tags")):
        gold = draw_set(kind)
        other = renumbered(gold, {column: _reversed(gold.features[column])})
        named = named_splits({"train": gold, "test": other})
        assert gold_of(named["test"]) == gold_of(gold)
        assert named["test"].with_format("arrow")[:].to_pylist() == gold.with_format("arrow")[:].to_pylist()
        assert gold_of(concatenate([gold, other]).select(range(len(gold), 2 * len(gold)))) == gold_of(gold)


# ---------------------------------------------------------------- studies


def test_configs_numbered_otherwise_can_be_compared(splits, texts, tmp_path):
    plain = DatasetDict(
        {split: texts.select(r) for split, r in zip(splits, (range(14), range(14, 17), range(17, 20)), strict=True)}
    )
    other = DatasetDict({split: renumbered(data, {"ner_tags": OTHER["ner_tags"]}) for split, data in plain.items()})
    for name, data in (("one_10pct", plain), ("two_10pct", other)):
        publish(augment(data, LSMS(copies=1), out=tmp_path / "aug", config=name, progress=False), tmp_path / "aug")
    configs = [read_config(tmp_path / "aug", name) for name in ("one_10pct", "two_10pct")]
    assert len({config.gold_key for config in configs}) == 2
    alike = numbered_alike(configs)
    check_comparable(alike, "test", Entities())
    assert len({config.gold_key for config in alike}) == 1
    study = Study.open(tmp_path / "aug", ["one_10pct", "two_10pct"])
    assert gold_of(study._augment(study.configs[1], 0, tmp_path)["train"].select(range(14))) == gold_of(plain["train"])


# ---------------------------------------------------------------- values


def test_values_that_no_name_has_stay_without_one():
    change = translator(List(ClassLabel(names=["a", "b"])), List(ClassLabel(names=["c", "b", "a"])), "x")
    assert change([0, 1, 2, -1, None]) == [2, 1, NO_NAME, NO_NAME, None]
    assert change(None) is None
    nested = translator(
        {"k": ClassLabel(names=["a", "b"]), "n": Value("int8")}, {"k": ClassLabel(names=["b", "a"])}, "x"
    )
    assert nested({"k": 0, "n": 0}) == {"k": 1, "n": 0}
    assert translator(Value("null"), ClassLabel(names=["a"]), "x") is None


def test_encoding_keeps_order_pictures_and_selected_rows(texts):
    chosen = texts.select([5, 3, 0])
    other = encode(chosen, Features({"ner_tags": OTHER["ner_tags"]}), "x")
    assert other.column_names == chosen.column_names
    assert gold_of(other) == gold_of(chosen)
    columns = ["id", "tokens", "image"]
    assert stored(other.select_columns(columns)) == stored(chosen.select_columns(columns))
    assert encode(chosen, texts.features, "x") is chosen


# ---------------------------------------------------------------- convert


def raw(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.txt").write_text(text)
    return folder


FOUR = "IMGID:1\na\tB-OTHER\nb\tB-ORG\nc\tB-LOC\nd\tB-PER\n"


def test_convert_renames_no_type_by_itself(tmp_path):
    one = read("conll", raw(tmp_path / "one", FOUR))
    two = read("conll", raw(tmp_path / "two", FOUR + "e\tB-EVENT\n"))
    assert one.raw.types == ("PER", "LOC", "ORG", "OTHER")
    assert two.raw.types == ("PER", "LOC", "ORG", "EVENT", "OTHER")
    assert not one.raw.renames
    for text in (FOUR, FOUR + "\nIMGID:2\nx\tB-MISC\n", "IMGID:1\nx\tB-PER\n"):  # the set says it, not the posts
        assert read("twitter2015", raw(tmp_path / "three", text)).raw.types == ("PER", "LOC", "ORG", "MISC")


MIXED = "IMGID:1\nAnn\tB-PER\nLee\tI-Per\nleft\tO\n\nIMGID:2\nBob\tB-per\nin\tO\nOslo\tB-LOC\n"


def test_types_that_look_alike_are_said_once_and_renamed_where_asked(tmp_path, monkeypatch):
    source = raw(tmp_path / "raw", MIXED)
    with pytest.warns(UserWarning, match=r"PER \(1\), Per \(1\), per \(1\).*--types Per=PER,per=PER") as said:
        reading = read("conll", source)
    assert len(said) == 1
    assert reading.raw.types == ("PER", "LOC", "Per", "per")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        renames = ("--types", "Per=PER,per=PER")
        assert command(monkeypatch, "convert", "conll", source, "--out", tmp_path / "out", *renames) == 0
        report = convert("conll", source, tmp_path / "out", types={"Per": "PER", "per": "PER"})
    assert "type Per of the raw files is PER here" in str(report)
    assert "Label `Per` of the raw files is `PER` here." in (tmp_path / "out" / "README.md").read_text()
    found = posts_of(load_source(str(tmp_path / "out"))["train"])
    assert [[e[:3] for e in map(_plain, post.entities)] for post in found] == [
        [(0, 2, "PER")],
        [(0, 1, "PER"), (2, 3, "LOC")],
    ]


def _plain(entity):
    return entity.start, entity.end, entity.type


def test_wrong_renames_are_refused(tmp_path, capsys, monkeypatch):
    source = raw(tmp_path / "raw", MIXED)
    with pytest.raises(
        UsageError, match="types: ORG=MISC renames a type that does not occur, found LOC, PER, Per, per"
    ):
        read("conll", source, types={"ORG": "MISC"})
    with pytest.raises(UsageError, match="expected OLD=NEW"):
        read("conll", source, types={"PER": "A B"})
    assert command(monkeypatch, "convert", "conll", source, "--out", tmp_path / "out", "--types", "PER") == 2
    assert "--types PER: expected OLD=NEW,…" in capsys.readouterr().err


def test_fine_types_are_renamed_and_a_sets_own_names_can_be_kept(tmp_path):
    fine = raw(tmp_path / "fine", "IMGID:1\na\tB-PER\tB-City\nb\tO\tO\nc\tB-LOC\tB-city\n")
    with pytest.warns(UserWarning, match=r"City \(1\), city \(1\)"):
        read("conll", fine)
    reading = read("conll", fine, types={"City": "city"})
    assert reading.features["fine_tags"].feature.names == _bio("city")
    four = raw(tmp_path / "four", FOUR)
    kept = read("twitter2015", four, types={"OTHER": "OTHER"})
    assert kept.raw.types == ("PER", "LOC", "ORG", "MISC", "OTHER")
    assert [row["ner_tags"][0] for row in kept.rows("train")] == [
        kept.features["ner_tags"].feature.names.index("B-OTHER")
    ]
