"""Files with something wrong in them, by kind: the one line that each gives names file, place, expected and found."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_fuzz as fuzz

from hf_mner_aug import verify
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import read_provenance
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.untrusted.shapes import checked, parse_json, parse_yaml, read_yaml
from hf_mner_aug.values import convert_value


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "tree"
    fuzz.build_base(folder)
    return folder


@pytest.fixture
def tree(base, tmp_path):
    return Path(shutil.copytree(base, tmp_path / "w"))


def said(command, tree):
    """Return the one line of a command that reads a file of the tree."""
    code, err, trace = fuzz.call(fuzz.arguments(command, tree))
    assert fuzz.judge(code, err, trace) == "told", f"{err}\n{trace}"
    return err.strip()


# ---------------------------------------------------------------- shapes


class Inner(TypedDict):
    n: int
    kind: NotRequired[Literal["a", "b"]]


class Outer(TypedDict):
    inner: list[Inner]
    pair: NotRequired[tuple[int, str]]
    share: NotRequired[float | None]
    by: NotRequired[dict[str, str]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "f: expected JSON, found malformed text (Expecting value"),
        ("[" * 100_000, "f: expected JSON, found a value nested too deep"),
        ("9" * 5000, "f: expected JSON, found malformed text (Exceeds the limit"),
        ("[]", "f: expected a mapping, found a list"),
        ("{}", "f: expected the key inner, found no key"),
        ('{"x": 1}', "f: expected the key inner, found x"),
        ('{"inner": {}}', "f: inner: expected a list, found a mapping"),
        ('{"inner": [{"n": 1}, {"n": "1"}]}', "f: inner.1.n: expected a whole number, found '1'"),
        ('{"inner": [{"n": true}]}', "f: inner.0.n: expected a whole number, found True"),
        ('{"inner": [{"n": 1.5}]}', "f: inner.0.n: expected a whole number, found 1.5"),
        ('{"inner": [{"n": 1e400}]}', "f: inner.0.n: expected a whole number, found inf"),
        (
            f'{{"inner": [{{"n": {10**40}}}]}}',
            "f: inner.0.n: expected a whole number of at most 64 bits, found a",
        ),
        ('{"inner": [{"n": 1, "kind": "c"}]}', "f: inner.0.kind: expected one of 'a', 'b', found 'c'"),
        ('{"inner": [{"n": 1, "kind": []}]}', "f: inner.0.kind: expected one of 'a', 'b', found a list"),
        ('{"inner": [], "pair": [1]}', "f: pair: expected a list of 2, found one of 1"),
        ('{"inner": [], "pair": ["a", 1]}', "f: pair.0: expected a whole number, found 'a'"),
        ('{"inner": [], "share": NaN}', "f: share: expected a finite number, found nan"),
        ('{"inner": [], "by": {"k": "\\ud83d"}}', "f: by.k: expected text, found a lone surrogate"),
        ('{"inner": [], "by": {"\\ud83d": "k"}}', "f: by: expected text, found a lone surrogate"),
        ('{"inner": [], "more": ' + "[" * 80 + "]" * 80 + "}", "f: more.0.0: expected at most 64 levels, found more"),
    ],
)
def test_what_does_not_fit_is_named_by_place(text, told):
    with pytest.raises(DataError, match=f"^{re.escape(told)}"):
        parse_json(text, Outer, "f")


def test_what_fits_is_of_its_types():
    value = {"inner": [{"n": 1, "kind": "a", "other": [None]}], "pair": [1, "x"], "share": 1, "by": {}}
    found = parse_json(json.dumps(value), Outer, "f")
    assert found == {**value, "pair": (1, "x"), "share": 1.0}
    assert isinstance(found["share"], float)
    assert checked(None, float | None, "f") is None
    assert checked(["\ud83d"], list[str], "f", halves=True) == ["\ud83d"]
    with pytest.raises(Corrupt, match=r"^f: expected text, found 3: delete it$"):
        checked(3, str, "f", error=Corrupt, advice="delete it")
    recipe = Recipe(method="eda", params={"a": [1]}, ids_train=("b", "a"))
    assert checked(recipe.to_dict(), Recipe, "f") == recipe


def test_yaml_that_grows_is_refused_before_it_does(tmp_path):
    pairs = zip("abcdefghijk", "bcdefghijkl", strict=True)
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairs)
    begun = time.monotonic()
    with pytest.raises(DataError, match="expected YAML without aliases, found one"):
        parse_yaml(bomb, "f")
    assert time.monotonic() - begun < 1
    for text, told in {
        "a: [": "expected YAML, found malformed text at line 1",
        "a: b: c": "expected YAML, found malformed text at line 1",
        "x: !!python/object/apply:os.system [id]": "expected YAML, found malformed text at line 1",
        "a: 2024-99-99": "expected YAML, found malformed text (month must be in 1..12)",
        "a: " + "9" * 5000: "expected YAML, found malformed text (Exceeds the limit",
        "\x00": "expected YAML, found malformed text",
        "[" * 1_000_000: "of at most 64 levels, found more",
        "a: " * 5_000_000: "at most 4,000,000 characters of YAML",
    }.items():
        with pytest.raises(DataError, match=re.escape(told)):
            parse_yaml(text, "f")
    path = tmp_path / "r.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(DataError, match=r"r\.yaml: expected UTF-8 text, found the byte 0xff"):
        read_yaml(path, dict[str, Any])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": 1}, float),
        (["x"], str),
        (None, str),
        (True, float),
        (1.5, int),
        ("1.5", int),
        ("nan", float),
        (float("inf"), float),
        ("maybe", bool),
        (1, bool),
        ({"replace": 1}, tuple[str, ...]),
        (3, tuple[str, ...]),
        ([["x"]], tuple[str, ...]),
        ([], Literal["a"]),
    ],
)
def test_a_setting_of_another_type_is_refused(value, kind):
    with pytest.raises(ValueError):  # noqa: PT011 - the message is made by who converts
        convert_value(value, kind)


def test_a_setting_that_fits_is_converted():
    assert convert_value("2", int) == convert_value(2.0, int) == 2
    assert convert_value(2017, str) == "2017"
    assert convert_value("none", int | None) is convert_value(None, int | None) is None
    assert convert_value("a,b", tuple[str, ...]) == convert_value(["a", "b"], tuple[str, ...]) == ("a", "b")


def test_provenance_is_looked_at():
    assert read_provenance(None, "post a") == read_provenance("{}", "post a") == {}
    good = {"params": {}, "details": {"post_id": "1", "masked": {"url": 2}}, "of": {"method": "m", "provenance": {}}}
    assert read_provenance(json.dumps(good), "post a") == good
    for text, told in {
        "{": "expected JSON",
        "[]": "expected a mapping, found a list",
        '{"details": []}': "details: expected a mapping, found a list",
        '{"details": {"masked": {"url": "2"}}}': "details.masked.url: expected a whole number, found '2'",
        '{"details": {"post_id": 7}}': "details.post_id: expected text, found 7",
        '{"of": {"method": "m"}}': "of: expected the key provenance, found method",
        '{"of": null}': "of: expected a mapping, found nothing",
        '{"of": ' * 5000 + "{}" + "}" * 5000: "nested too deep",
    }.items():
        with pytest.raises(DataError, match=f"^post a: provenance: .*{re.escape(told)}"):
            read_provenance(text, "post a")


# ---------------------------------------------------------------- recipes and ids


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- method: eda", "recipe.yaml: expected a mapping, found a list"),
        ("eda", "recipe.yaml: expected a mapping, found 'eda'"),
        ("", "recipe.yaml: expected a mapping, found nothing"),
        ("method: [eda]", "recipe.yaml: method: expected text, found a list"),
        ("method: eda\nparams: [1]", "recipe.yaml: params: expected a mapping, found a list"),
        ("method: eda\nparams: {alpha: {a: 1}}", "recipe.yaml: eda: alpha={'a': 1} is not a valid float"),
        (
            "method: eda\nparams: {operations: 3}",
            "recipe.yaml: eda: operations=3 is not a valid list of replace, insert, swap, delete",
        ),
        ("method: eda\ncopies: two", "recipe.yaml: copies: expected a whole number, found 'two'"),
        ("method: eda\nfraction: 7", "recipe.yaml: fraction must be in (0, 1], found 7.0"),
        ("method: eda\nids_train: 7", "recipe.yaml: ids_train: expected a list, found 7"),
        ("method: eda\nconfig: 2017", "recipe.yaml: config: expected text, found 2017"),
        ("recipe: [eda]", "recipe.yaml: recipe: expected a mapping, found a list"),
        ("recipe: {method: eda, 3: x}", "recipe.yaml: recipe: expected text keys, found 3"),
        ("method: eda\nmodels: {a: [b]}", "recipe.yaml: models.a: expected text, found a list"),
    ],
)
def test_a_recipe_is_checked(tree, text, told):
    (tree / "recipe.yaml").write_text(text)
    assert told in said("recipe", tree)


def test_ids_that_are_no_text(tree):
    (tree / "ids.txt").write_bytes(b"g0\ng1\n\xff\xfe\n")
    assert said("ids", tree).endswith("ids.txt line 3: expected UTF-8 text, found the byte 0xff")


# ---------------------------------------------------------------- the source


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("configs: 3", "README.md: configs: expected a list, found 3"),
        ("configs:\n- data_files: x", "README.md: configs.0: expected the key config_name, found data_files"),
        ("configs:\n- config_name: [a]", "README.md: configs.0.config_name: expected text, found a list"),
        ("dataset_info: {splits: 3}", "README.md: dataset_info: "),
        ("dataset_info: {features: [{name: id, dtype: nothing}]}", "README.md: expected configs and dataset_info as"),
        ("a: [", "README.md: expected YAML, found malformed text at line"),
        ("a: &a [1]\nb: *a", "README.md: expected YAML without aliases, found one"),
        ("[1]", "README.md: expected a mapping with text keys"),
        ("1: x", "README.md: expected a mapping with text keys"),
    ],
)
def test_a_source_card_is_checked_before_it_is_acted_on(tree, block, told):
    (tree / "src" / "README.md").write_text(f"---\n{block}\n---\n# x\n")
    assert told in said("validate", tree)


PLACES = ["/etc/*", "../../x.parquet", "a/../../x", "http://127.0.0.1:9/x.parquet", "~/x.parquet", "hf://datasets/a/b"]
FORMS = ['"{}"', '["{}"]', '[{{split: train, path: "{}"}}]', '[{{split: train, path: ["{}"]}}]']


@pytest.mark.parametrize(
    ("place", "form"),
    [
        (place, form) if i % 4 == j else pytest.param(place, form, marks=pytest.mark.attack)
        for i, place in enumerate(PLACES)
        for j, form in enumerate(FORMS)
    ],
)
def test_a_source_card_reads_its_own_folder_only(tree, place, form, monkeypatch):
    import datasets

    def refuse(*_, **__):
        raise AssertionError("it is asked for")

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    block = f"configs:\n- config_name: default\n  data_files: {form.format(place)}"
    (tree / "src" / "README.md").write_text(f"---\n{block}\n---\n# x\n")
    assert "expected a path inside the repo" in said("validate", tree)
    (tree / "src" / "README.md").write_text("# x\n")
    (tree / "src" / ".huggingface.yaml").write_text(block)
    assert "expected a path inside the repo" in said("validate", tree)


def test_a_pattern_that_takes_long_is_refused(tree):
    block = f"configs:\n- config_name: default\n  data_files: 'x{'[' * 100_000}'"
    (tree / "src" / "README.md").write_text(f"---\n{block}\n---\n# x\n")
    begun = time.monotonic()
    assert "expected a path inside the repo" in said("validate", tree)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("size", [0, 1, 100, 0.5])
def test_a_damaged_parquet_file_of_the_source_is_named(tree, size):
    path = tree / "src" / "test.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: int(size * len(data)) if size == 0.5 else size])
    assert f"{path}: expected whole Parquet files, found damage" in said("validate", tree)


def test_text_in_parquet_that_is_no_utf8(tree):
    path = tree / "src" / "train.parquet"
    table = pq.read_table(path)
    buffers = table.column("id").combine_chunks().buffers()
    wrong = pa.StringArray.from_buffers(len(table), buffers[1], pa.py_buffer(b"\xff" * buffers[2].size), buffers[0])
    pq.write_table(table.set_column(0, table.schema.field("id"), wrong), path)
    assert f"{path}: expected whole Parquet files, found damage (In column 0: Invalid: Invalid UTF8" in said(
        "validate", tree
    )


def test_a_source_that_changed_is_read_anew(tree):
    """It is cached by the datasets library, under the name of its folder and what its card says."""
    path = tree / "src" / "train.parquet"
    assert load_source(str(tree / "src"))["train"]["id"] == ["g0", "g1", "g2", "g3", "g4", "g5"]
    table = pq.read_table(path)
    pq.write_table(table.slice(2, 3), path)
    assert load_source(str(tree / "src"))["train"]["id"] == ["g2", "g3", "g4"]


# ---------------------------------------------------------------- what we write


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipe": []}, "recipe: expected a mapping, found a list"),
        ({"splits": {"train": 3}}, "splits.train: expected a mapping, found 3"),
        ({"splits": {}}, "splits: expected train, found none"),
        ({"funnel": {"posts": 1}}, "funnel: expected the key made, found posts"),
        ({"entities": {"PER": [1]}}, "entities.PER: expected a list of 2, found one of 1"),
        ({"examples": "x"}, "examples: expected a list, found 'x'"),
        ({"content_fingerprint": None}, "content_fingerprint: expected text, found nothing"),
        ({"models": [{"role": "x", "id": "y", "other": 1}]}, "models.0: expected only the keys role, id"),
        ({"retrieved": "some"}, "retrieved: expected one of '', 'whole', 'ids-only', found 'some'"),
        ({"licences": {"CC0": "1"}}, "licences.CC0: expected a whole number, found '1'"),
        ({"digests": {"columns": [], "rows": {}}}, "digests.columns: expected a mapping, found a list"),
    ],
)
def test_an_augmentation_json_is_checked(tree, change, told):
    path = tree / "out" / "eda" / "augmentation.json"
    note = json.loads(path.read_text())
    for name, value in change.items():
        note[name] = {**note[name], **value} if isinstance(value, dict) and name == "recipe" else value
    path.write_text(json.dumps(note))
    with pytest.raises(UsageError, match=re.escape(told)):
        read_note(path.parent)
    command = ("verify", "show", "withdraw", "merge")[len(told) % 4]
    assert told in said(command, tree)


def test_further_keys_of_a_note_are_left_alone(tree):
    """A later version may write such keys, and a mutation may rename one to the empty text."""
    path = tree / "out" / "eda" / "augmentation.json"
    note = json.loads(path.read_text())
    note["digests"] |= {"": 1, "later": []}
    path.write_text(json.dumps(note))
    assert verify(tree / "out", "eda").ok


def test_a_damaged_config_is_named_with_what_to_do(tree):
    path = next((tree / "out" / "eda").glob("train-*"))
    path.write_bytes(path.read_bytes()[:-9])
    for command in ("verify", "show", "withdraw"):
        told = said(command, tree)
        assert f"{path}: expected whole Parquet files, found damage" in told
        assert "run the same command again" not in told
    path.unlink()
    assert "expected train-*.parquet, found none: take the file that was published" in said("verify", tree)


def test_damaged_notes_and_parts_are_made_again(tree):
    run = next((tree / "out.runs").glob("eda-*"))
    assert fuzz.call(fuzz.arguments("again", tree))[0] == 0
    (run / "parts" / "00000.json").write_text("[]")
    (run / "parts" / "00001.json").write_text('{"recipe": 3}')
    (run / "parts" / "00002.parquet").write_bytes(b"PAR1")
    before = (tree / "out" / "eda" / "augmentation.json").read_bytes()
    assert fuzz.call(fuzz.arguments("again", tree))[0] == 0
    assert (tree / "out" / "eda" / "augmentation.json").read_bytes() == before
    assert json.loads((run / "run.json").read_text())["parts_made"] == 3
    (run / "recipe.json").write_text("[]")
    assert "recipe.json: expected a mapping, found a list: delete it and run again" in said("again", tree)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("tags: 3", "tags: "),
        ("license: {a: 1}", "license: "),
        ("language: [[en]]", "language.0: "),
        ("dataset_info: 3", "dataset_info: "),
        ("configs: {a: 1}", "configs: expected a list, found a mapping"),
    ],
)
def test_the_card_of_out_is_checked_and_kept(tree, block, told):
    card = tree / "out" / "README.md"
    card.write_text(f"---\n{block}\n---\n# mine\n")
    before = card.read_bytes()
    assert f"README.md: {told}" in said("another", tree)
    assert card.read_bytes() == before
    card.write_bytes(b"\xff\xfe# mine")
    assert "README.md: expected UTF-8 text, found the byte 0xff" in said("another", tree)
