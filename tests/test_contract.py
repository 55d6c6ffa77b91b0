"""What every method of the table promises: one test, run for each."""

import functools
import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from conftest import SESSION, SETS, TEXTS, parse, picture
from datasets import (
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDatasetDict,
    Value,
    concatenate_datasets,
)
from datasets.fingerprint import Hasher

from hf_mner_aug import EDA
from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import MissingExtra, NotFitted, UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.runs.recipe import parse_params
from hf_mner_aug.schema import AUGMENTED, Codec, bio_to_spans, canonical_json, mner_features
from hf_mner_aug.transform.columns import added_columns, keep_columns
from hf_mner_aug.transform.weights import weight_parameter

NEED_AN_EXTRA = {"daga", "melm"}  # methods whose default engine does: they do not run without torch
HEAVY = {"torch", "transformers", "datasets", "evaluate", "numpy", "PIL", "sklearn", "pyarrow", "pandas", "ray"}


@pytest.fixture(params=sorted(METHODS))
def name(request):
    return request.param


@pytest.fixture(scope="session")
def fitted(mner):
    """Return what gives a method with so many copies, fitted once on the plain set or, bare, on its texts."""
    return functools.cache(lambda name, n, bare=False: build(name, copies=n).fit(plain(mner, bare)))


@pytest.fixture(scope="session")
def mapped(mner, fitted):
    """Return what gives the posts that such a method makes of the set that it was fitted on, made once."""
    return functools.cache(lambda name, n, bare=False: fitted(name, n, bare).map(plain(mner, bare)))


@pytest.fixture
def method(name, fitted):
    """The method with two copies, fitted on the plain set."""
    return fitted(name, copies(name))


@pytest.fixture
def expected(name, mapped):
    """The rows that it makes of the plain set."""
    return rows(mapped(name, copies(name)))


@pytest.fixture(scope="session")
def spawned():
    """A process that shares nothing with this one but the file system, as a worker of a cluster."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def build(name, **chosen):
    """A method; one that retrieves is given a corpus that holds each post's entities, one that mines a weak model."""
    return method_class(name)(**params_of(name), **chosen)


def params_of(name):
    if name == "memory_hard":  # a model that errs on twenty posts
        return {"folds": 2, "target": "crf:iterations=2"}
    if name == "daga":  # a language model that twenty posts are enough for
        return {"hidden": 32, "embedding": 32, "epochs": 60, "least_words": 2}
    return {"corpus": str(corpus())} if "corpus" in {field.name for field in fields(method_class(name))} else {}


@functools.cache
def corpus():
    """Four variants of each text, with pictures."""
    folder = SESSION / "corpus"
    folder.mkdir()
    lines = []
    for i, text in enumerate(TEXTS):
        for end in ("indeed", "again", "now", "please"):
            lines.append({"id": f"{i}-{end}", "tokens": [*parse(text)[0], "or", "so", end], "image": f"{i}.jpg"})
        (folder / f"{i}.jpg").write_bytes(picture(100 + i, "JPEG")["bytes"])
    (folder / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    index(str(folder / "posts.jsonl"), folder / "corpus.db")
    return folder / "corpus.db"


def plain(mner, bare):
    return mner.remove_columns("image") if bare else mner


def copies(name):
    return 1 if method_class(name).mode == "replace" or method_class(name).deterministic else 2


def rows(dataset):
    """Rows with images as bytes, undecoded."""
    return dataset.with_format("arrow")[:].to_pylist()


def streamed_rows(dataset):
    return list(dataset)


def with_bytes(dataset):
    return dataset.cast_column("image", Image(decode=False))


# ---------------------------------------------------------------- imports, hash, pickle


def modules_after(code):
    code = f"{code}; import sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_package_imports_nothing_heavy():
    code = "import hf_mner_aug; dir(hf_mner_aug); from hf_mner_aug import EDA, methods; methods.method_class('lsms')"
    assert not modules_after(code) & HEAVY


def test_method_imports_and_builds_without_anything_heavy(name):
    code = f"from hf_mner_aug.methods import method_class; method_class({name!r})(seed=1)"
    assert not modules_after(code) & HEAVY


def test_methods_run_without_torch(tmp_path, mner):
    """Fitting and mapping the embedded engines does not import torch, be it installed or not.

    A method whose default engine needs an extra says so in its facts, and asks for that extra where torch is missing.
    """
    path = tmp_path / "set.parquet"
    mner.to_parquet(path)
    without = {name: params_of(name) for name in METHODS if method_class(name).facts.extra.startswith("core")}
    assert {*METHODS} - {*without} == NEED_AN_EXTRA
    code = f"""
import os, sys
import sklearn.feature_extraction.text
from datasets import Dataset
from hf_mner_aug.methods import method_class
for name, params in {without!r}.items():
    if pid := os.fork():  # each method in a process of its own
        os.waitpid(pid, 0)
        continue
    dataset = Dataset.from_parquet({str(path)!r}, cache_dir={str(tmp_path)!r})
    made = method_class(name)(copies=1, **params).fit(dataset).map(dataset)
    print(name, len(made), "torch" in sys.modules)
    break
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == list(without), done.stderr
    for name, n_rows, torch_imported in told:
        assert 0 < int(n_rows) <= len(mner), name
        assert torch_imported == "False", name


@pytest.mark.parametrize("name", sorted(NEED_AN_EXTRA))
def test_a_method_that_needs_an_extra_asks_for_it(name, mner, monkeypatch):
    extra = method_class(name).facts.extra
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=rf"^torch is not installed: pip install 'hf-mner-aug\[{extra}\]'$"):
        build(name).fit(mner)


def test_hash_stays_over_calls_and_processes(method, mner, spawned):
    before = Hasher.hash(method)
    method.map(mner)
    assert Hasher.hash(method) == before
    assert spawned.submit(Hasher.hash, method).result(60) == before
    assert Hasher.hash(replace(method, seed=1)) != before


def test_pickle_is_small_and_equal(method):
    data = pickle.dumps(method)
    assert len(data) < 2_000
    assert pickle.loads(data) == method


def test_method_is_frozen(method):
    with pytest.raises(FrozenInstanceError):
        method.seed = 3


def test_fit_is_repeatable_and_leaves_its_method_unfitted(name, mner):
    unfitted = build(name)
    assert unfitted.fit(mner).artifact == unfitted.fit(mner.to_iterable_dataset()).artifact
    assert unfitted.artifact is None


# ---------------------------------------------------------------- the same rows, however they are made


def test_batch_size_changes_nothing(method, mner, expected):
    assert len(expected) > len(mner) / 2
    for batch_size in (1, 7, 1000):
        assert rows(method.map(mner, batch_size=batch_size)) == expected


def test_processes_change_nothing(method, mner, expected):
    assert rows(method.map(mner, num_proc=2)) == expected


def test_a_spawned_process_makes_the_same_rows(method, mner, spawned):
    table = mner.with_format("arrow")[:]
    assert spawned.submit(method.make, table).result(60) == method.make(table)


def test_shards_change_nothing(method, mner, expected):
    halves = [mner.select(range(0, 9)), mner.select(range(9, len(mner)))]
    assert rows(concatenate_datasets([method.map(half) for half in halves])) == expected
    shards = [method.map(mner.shard(3, i, contiguous=False)) for i in range(3)]
    by_id = {row["id"]: row for row in rows(concatenate_datasets(shards))}
    assert by_id == {row["id"]: row for row in expected}


def test_order_changes_nothing(method, mner, expected):
    shuffled = rows(method.map(mner.shuffle(seed=0)))
    assert sorted(shuffled, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])


def test_streaming_changes_nothing(method, mner, expected):
    stream = mner.to_iterable_dataset(num_shards=3)
    assert list(method.map(stream)) == expected
    named = {"features": method.features, "fn_kwargs": {"features": stream.features}}
    assert list(stream.decode(False).map(method, batched=True, batch_size=3, **named)) == expected


def test_calls_do_not_hang_together(method, mner):
    """What was made before, of these or other posts, has no influence."""
    table = mner.with_format("arrow")[:]
    first = method.make(table)
    method.make(mner.select([3]).with_format("arrow")[:])
    assert method.make(table) == first


def test_seed_decides(method, mner, expected):
    assert rows(replace(method).map(mner)) == expected
    other = rows(replace(method, seed=1).map(mner))
    if method.deterministic:
        assert [row["tokens"] for row in other] == [row["tokens"] for row in expected]
        return
    kept = {row["id"]: row["tokens"] for row in expected}
    assert sum(kept.get(row["id"]) != row["tokens"] for row in other) > len(other) / 3 or method.reads_images


def test_copies_only_add(name, mapped):
    """The first copy of a post is the same, however many follow."""
    if copies(name) == 1:
        pytest.skip("a method that replaces posts or draws nothing makes one of each")
    one, three = (rows(mapped(name, n)) for n in (1, 3))
    assert [row for row in three if row["id"].endswith(".0")] == one
    assert len(three) > 2 * len(one)


# ---------------------------------------------------------------- what the rows are


@pytest.mark.parametrize("kind", SETS)
def test_rows_of_every_kind_of_set(name, kind, sets):
    dataset = sets[kind]
    if (name, kind) == ("memory_hard", "mre"):
        with pytest.raises(UsageError, match=r"no post has an entity.*expected an MNER set"):
            build(name).fit(dataset)
        return
    method = build(name, copies=copies(name)).fit(dataset)
    made = method.map(dataset)
    assert made.features == method.features
    assert list(made.features) == [*dataset.features, *AUGMENTED, *method.content.columns]
    found = rows(made)
    assert len(found) >= len(dataset) / 2
    assert len({row["id"] for row in found}) == len(found)
    ids = {row["id"] for row in rows(dataset)}
    assert method.mode == "replace" or not {row["id"] for row in found} & ids
    codec = Codec(dataset.features)
    for row in found:
        assert row["tokens"]
        assert all(row["tokens"])
        assert row["source_id"] in ({None} if method.content.sourceless else ids)
        for column in ("ner_tags", "fine_tags"):
            if column in row:
                names = dataset.features[column].feature.names
                assert len(row[column]) == len(row["tokens"])
                bio_to_spans([names[i] for i in row[column]], orphans="error")
        if "entities" in row:
            assert [(e["start"], e["end"], e["type"]) for e in row["entities"]] == [
                (e.start, e.end, e.type) for e in codec.to_post(row).entities
            ]
        # Each row is one that its columns can say: a round trip changes nothing.
        assert codec.to_row(codec.to_post(row)) == {column: row[column] for column in dataset.features}


def test_provenance_tells_how_to_make_the_row_again(method, mner, expected):
    made = expected
    table = mner.with_format("arrow")[:]
    index = {row["id"]: i for i, row in enumerate(rows(mner))}
    for row in made[:3]:
        told = json.loads(row["provenance"])
        assert row["method"] == method.name
        assert (told["version"], told["seed"]) == (method.version, method.seed)
        assert told["params"] == json.loads(json.dumps(method.params))
        assert row["id"] in (drawn_for(row), f"{drawn_for(row)}+{method.name}.{told['copy']}")
        again = replace(method, seed=told["seed"], **typed(method, told["params"]))
        one = again.make(table.slice(index[drawn_for(row)], 1)).columns
        made_again = [{name: column[i] for name, column in one.items()} for i in range(len(one["id"]))]
        assert row in made_again
    assert {json.loads(row["provenance"])["copy"] for row in made} == set(range(method.copies))


def drawn_for(row):
    """The gold post by whose draw a row was made, of which it is made unless it is of no single one."""
    return row["source_id"] or row["id"].rpartition("+")[0]


def typed(method, params):
    return {name: tuple(value) if isinstance(getattr(method, name), tuple) else value for name, value in params.items()}


def test_source_id_names_the_gold_post_over_generations(method, name, mapped, mner):
    first = mapped(name, copies(name))
    second = method.fit(first).map(first)
    assert second.features == first.features
    gold = set(mner["id"])
    assert set(second["source_id"]) <= ({None} if method.content.sourceless else gold)
    if method.mode == "append":
        name = re.escape(method.name)
        assert all(
            re.fullmatch(rf"p\d+\+{name}\.\d\+{name}~2\.\d", row["id"]) for row in second.remove_columns("image")
        )


# ---------------------------------------------------------------- weights


def weighing(method, weight):
    return replace(method, **{weight_parameter(method): weight})


def without_weight(made, method):
    """Rows without their weight: neither the column nor the parameter in ``provenance``."""
    for row in made:
        told = json.loads(row["provenance"])
        assert told["params"].pop(weight_parameter(method)) == 0.3
        unchanged = method.mode == "replace" and row["image"] is None
        assert row.pop("weight") == (1.0 if unchanged else float(np.float32(0.3)))
        yield {**row, "provenance": canonical_json(told)}


def test_a_weight_adds_a_column_and_changes_no_row(method, mner, expected):
    weighted = weighing(method, 0.3)
    made = weighted.map(mner)
    assert made.features == weighted.features
    assert list(made.features) == [*mner.features, *AUGMENTED, *added_columns(weighted)]
    assert made.features["weight"] == Value("float32")
    plain = [{**row, "provenance": canonical_json(json.loads(row["provenance"]))} for row in expected]
    assert list(without_weight(rows(made), method)) == plain
    assert list(weighted.map(mner.to_iterable_dataset(num_shards=3))) == rows(made)
    assert rows(weighted.map(mner, batch_size=5, num_proc=2)) == rows(made)


def test_the_weights_of_an_earlier_method_stay_in_the_posts_made_of_its_posts(method, name, mner):
    earlier = EDA(weight=0.5).fit(mner).map(mner)
    fitted = build(name).fit(earlier)
    made = fitted.map(earlier)
    assert fitted.features == made.features == earlier.features.copy() | fitted.features
    assert set(made["weight"]) == {0.5}
    again = weighing(fitted, 0.5).map(earlier)
    assert 0.25 in set(again["weight"]) <= {0.25, 0.5}, "posts with nothing to do keep theirs"
    assert fitted.mode == "replace" or 0.5 not in set(again["weight"])


def test_a_column_weight_of_the_sets_own_is_no_weight(name, mner):
    own = mner.add_column("weight", ["light"] * len(mner))
    fitted = build(name).fit(own)
    assert set(fitted.map(own)["weight"]) == {None}
    weighted = weighing(build(name), 0.5)
    for refused in (weighted.fit, weighted.fit(mner).map):
        with pytest.raises(
            UsageError, match=rf"^{name}: {weight_parameter(fitted)}=0\.5, but the set has a column weight of its"
        ):
            refused(own)


@pytest.mark.parametrize("weight", ["sure", "nan", -0.1, 10.5, True, [1.0]])
def test_a_weight_is_a_number_or_a_score(name, weight):
    with pytest.raises(UsageError, match=rf"^{name}: \w+ must be a number from 0 to 10.*, found "):
        weighing(build(name), weight)
    typed = parse_params(method_class(name), {weight_parameter(method_class(name)): "0.5"})
    assert list(typed.values()) == [0.5]


# ---------------------------------------------------------------- images


@pytest.fixture
def source_bytes(mner):
    return {row["id"]: row["image"] and row["image"]["bytes"] for row in rows(mner)}


def kept(made, source_bytes):
    return [(row["image"] and row["image"]["bytes"]) == source_bytes[row["source_id"]] for row in rows(made)]


def text_only(method):
    if method.reads_images:
        pytest.skip("makes or reads pictures")


def test_text_methods_keep_image_bytes(method, mner, mapped, source_bytes):
    text_only(method)
    assert any(source_bytes.values())
    assert not all(source_bytes.values())
    assert all(kept(mapped(method.name, method.copies), source_bytes))
    assert all(kept(method.map(with_bytes(mner)), source_bytes))
    assert all(kept(mner.map(method, batched=True, features=method.features), source_bytes))
    assert all(kept(method.map(mner, num_proc=2), source_bytes))


def test_text_methods_read_named_files_and_keep_several_images(method, name, mner, sets, tmp_path):
    text_only(method)
    paths = []
    for i in range(3):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(picture(i, "JPEG")["bytes"])
        paths.append({"path": path.name, "bytes": None})
    some = mner.select(range(3)).remove_columns("image")
    with_paths = Dataset.from_dict({**some.to_dict(), "image": paths}, features=mner.features)
    for row in rows(method.map(with_paths, images=tmp_path)):
        assert row["image"] == picture(int(row["source_id"][1:]), "JPEG")
    several = build(name, copies=1).fit(sets["multi_image"])
    source = {row["id"]: row["images"] for row in rows(sets["multi_image"])}
    made = rows(several.map(sets["multi_image"]))
    assert {len(row["images"]) for row in made} == {0, 1, 2, 3}
    assert all(row["images"] == source[row["source_id"]] for row in made)


def test_text_methods_never_open_an_image(method, mner, monkeypatch):
    text_only(method)
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("an image was opened"))
    unreadable = Dataset.from_list(
        [{**row, "image": {"bytes": b"no picture", "path": None}} for row in rows(mner)], features=mner.features
    )
    made = rows(method.fit(unreadable).map(unreadable))
    assert {row["image"]["bytes"] for row in made} == {b"no picture"}


def test_posts_without_any_image(method, mner, expected):
    without = Dataset.from_list([{**row, "image": None} for row in rows(mner)], features=mner.features)
    made = method.map(without)
    assert made.features == method.features
    text_only(method)
    assert [row["tokens"] for row in rows(made)] == [row["tokens"] for row in expected]
    assert set(row["image"] for row in rows(made)) == {None}


def test_set_without_an_image_column(name, mner, fitted, mapped):
    bare = mner.remove_columns("image")
    if method_class(name).reads_images:
        pytest.skip("makes or reads pictures")
    method = fitted(name, copies(name), True)
    assert list(method.map(bare.to_iterable_dataset())) == rows(mapped(name, copies(name), True))


# ---------------------------------------------------------------- the ways of map


def test_plain_map_makes_the_same_rows(method, mner, expected):
    made = mner.map(method, batched=True, features=method.features)
    assert rows(made) == expected
    assert made.features == method.features
    assert rows(mner.map(method, batched=True)) == expected
    assert rows(with_bytes(mner).map(method, batched=True, features=method.features)) == expected
    assert rows(mner.map(method, batched=True, features=method.features, with_rank=True)) == expected


def test_stream_of_decoded_images_is_one_clear_line(method, mner):
    stream = mner.to_iterable_dataset()
    with pytest.raises(UsageError, match=r"encoded images, found \w+ImageFile.*decode\(False\)"):
        list(stream.map(method, batched=True, fn_kwargs={"features": stream.features}))


@pytest.mark.parametrize("format_type", ["numpy", "pandas", "torch", "arrow"])
def test_formatted_dataset_works_or_says_what_to_do(name, mner, fitted, mapped, format_type):
    if format_type == "torch":
        pytest.importorskip("torch")
    for bare in (False, *([] if method_class(name)().content.pictures_only else [True])):
        method = fitted(name, copies(name), bare)
        formatted = plain(mner, bare).with_format(format_type)
        made, problem = None, ""
        try:
            made = rows(method.map(formatted))
        except UsageError as error:
            problem = str(error)
        if problem:
            assert "with_format(None)" in problem
            assert "\n" not in problem
            assert format_type != "arrow"
        else:
            assert made == rows(mapped(name, copies(name), bare))


def test_a_format_of_some_columns_changes_nothing(method, mner, expected):
    columns_only = mner.with_format(None, columns=["tokens"])
    assert rows(method.map(columns_only).with_format(None)) == expected


def test_single_rows_are_one_clear_line(method, mner):
    for run in (
        lambda: method.map(mner, batched=False),
        lambda: mner.map(method, features=method.features),
        lambda: next(iter(mner.to_iterable_dataset().decode(False).map(method, features=method.features))),
        lambda: method(rows(mner)[0]),
    ):
        with pytest.raises(UsageError, match="batched=True") as caught:
            run()
        assert "\n" not in str(caught.value)


def test_unfitted_call_names_the_fix(name, mner):
    method = method_class(name)()
    runs = (
        lambda: method.map(mner),
        lambda: method(rows(mner)),
        lambda: mner.map(method, batched=True),
        lambda: method.features,
    )
    for run in runs:
        with pytest.raises(NotFitted, match=r"not fitted.*\.fit\(train\)"):
            run()


def test_unknown_columns_are_kept_by_name_or_null(method, mner):
    more = mner.add_column("language", [f"l{i}" for i in range(len(mner))])
    few, expected = more.select(range(10)), rows(method.map(mner.select(range(10))))
    assert expected
    of_gold = {row["id"]: row["language"] for row in rows(more)}
    for keep in ((), ("language",)):
        fitted, elsewhere = keep_columns(method.fit(more), keep), keep_columns(method, keep)
        kept = keep and not method.content.foreign  # of posts retrieved, or of no gold post, nothing is kept
        for made in (
            fitted.map(few),
            elsewhere.map(few),
            method.map(few, keep=keep),
            few.map(fitted, batched=True, features=fitted.features),
            few.map(elsewhere, batched=True),
        ):
            found = made.features.copy() | ({"source_id": Value("string")} if method.content.sourceless else {})
            if kept or found != fitted.features:  # without features= map cannot know the type of a null
                assert made.features["language"] == Value("string" if kept else "null")
            assert all(row["language"] == (of_gold[row["source_id"]] if kept else None) for row in rows(made))
            without = made.remove_columns("language").select_columns(list(method.features))
            assert rows(without) == expected
        streamed = elsewhere.map(few.to_iterable_dataset())
        assert all(row["language"] == (of_gold[row["source_id"]] if kept else None) for row in streamed)


def test_missing_column_and_other_labels_are_named(method, mner):
    with pytest.raises(UsageError, match=r"column ner_tags, which this batch lacks"):
        method.map(mner.remove_columns("ner_tags"))
    other = mner_features(("LOC", "PERSON", "ORG", "MISC"))["ner_tags"]
    renamed = Dataset.from_list(rows(mner), features=Features({**mner.features, "ner_tags": other}))
    for mapped in (method.map, lambda ds: ds.map(method, batched=True, features=method.features)):
        with pytest.raises(UsageError, match=r"ner_tags has the labels B-PERSON, I-PERSON, which .*fit it on this set"):
            mapped(renamed)


def test_no_rows_have_the_right_features(method, name, mner, monkeypatch):
    empty = method.map(mner.select([]))
    assert len(empty) == 0
    assert empty.features == method.features
    # All posts rejected: the method is made to, since not every one has such posts.
    cls = method_class(name)
    from hf_mner_aug.transform import Reject

    monkeypatch.setattr(cls, "rejects", (*cls.rejects, "test"))
    monkeypatch.setattr(cls, "rewrite", lambda self, posts, draws: [Reject("test", "why") for _ in posts])
    for made in (method.map(mner), mner.map(method, batched=True, features=method.features, batch_size=3)):
        assert len(made) == 0
        assert made.features == method.features
    assert list(method.map(mner.to_iterable_dataset())) == []
    rejected = method.make(mner.with_format("arrow")[:]).rejects
    assert len(rejected) == method.copies * len(mner)
    assert rejected[-1] == {"source_id": "p19", "copy": method.copies - 1, "reason": "test", "detail": "why"}


def test_rewrite_is_told_which_copy_each_is(method, name, mner, monkeypatch):
    told = []

    def rewrite(self, posts, draws):
        told.extend(draw.copy for draw in draws)
        return [None] * len(posts)

    monkeypatch.setattr(method_class(name), "rewrite", rewrite)
    method.make(mner.with_format("arrow")[:])
    assert told == [*range(method.copies)] * len(mner)


def test_undeclared_reject_is_a_fault_of_the_method(method, name, mner, monkeypatch):
    from hf_mner_aug.transform import Reject

    monkeypatch.setattr(method_class(name), "rewrite", lambda self, posts, draws: [Reject("mood")] * len(posts))
    with pytest.raises(RuntimeError, match="'mood', which its class does not declare"):
        method.make(mner.with_format("arrow")[:])


def test_every_post_is_accounted_for(method, mner):
    made = method.make(mner.with_format("arrow")[:])
    assert {reject["reason"] for reject in made.rejects} <= set(method.rejects)
    made_rows = [dict(zip(made.columns, values, strict=True)) for values in zip(*made.columns.values(), strict=True)]
    copies_of = [(drawn_for(row), json.loads(row["provenance"])["copy"]) for row in made_rows]
    seen = copies_of + [(reject["source_id"], reject["copy"]) for reject in made.rejects]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= {(post, copy) for post in mner["id"] for copy in range(method.copies)}


def test_dict_of_splits(method, splits):
    fitted = method.fit(splits)
    made = fitted.map(splits)
    assert isinstance(made, DatasetDict)
    assert fitted.artifact == method.fit(splits["train"], validation=splits["validation"]).artifact
    streams = IterableDatasetDict({split: data.to_iterable_dataset() for split, data in splits.items()})
    streamed = method.fit(streams).map(streams)
    for split, data in splits.items():
        assert rows(made[split]) == rows(fitted.map(data)) == list(streamed[split])
    with pytest.raises(UsageError, match="needs a train split, found test"):
        method.fit(DatasetDict(test=splits["test"]))
