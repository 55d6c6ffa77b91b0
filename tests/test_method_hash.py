"""The hash by which ``Dataset.map`` finds rows made before: of the code, of what was learnt, and of nothing else."""

import importlib
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
from datasets import enable_caching
from datasets.fingerprint import Hasher

import hf_mner_aug
from hf_mner_aug import EDA, RMDA
from hf_mner_aug.corpus import index
from hf_mner_aug.transform import Method

OUTSIDE = """
from dataclasses import dataclass, replace
from typing import ClassVar
from hf_mner_aug.transform import Method

def changed(word):
    return word + "1"

@dataclass(frozen=True, kw_only=True)
class Louder(Method):
    name: ClassVar[str] = "louder"

    def rewrite(self, posts, draws):
        return [replace(post, tokens=[changed(word) for word in post.tokens]) for post in posts]
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A function that imports OUTSIDE anew, with some of it replaced; and the folder it is in."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(old="", new="", name="outside_method"):
        (tmp_path / f"{name}.py").write_text(OUTSIDE.replace(old, new) if old else OUTSIDE)
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return importlib.import_module(name).Louder

    load.folder = tmp_path
    yield load
    sys.modules.pop("outside_method", None)


def test_the_version_of_class_and_package_count(mner, monkeypatch):
    method = EDA().fit(mner)
    before = Hasher.hash(method)
    with monkeypatch.context() as patch:
        patch.setattr(EDA, "version", 99)
        assert Hasher.hash(method) != before
    with monkeypatch.context() as patch:
        patch.setattr(hf_mner_aug, "__version__", "99.0")
        assert Hasher.hash(method) != before
    assert Hasher.hash(method) == before == Hasher.hash(replace(method))


@pytest.mark.parametrize("edit", [('"1"', '"2"'), ("changed(word) for", "changed(word).upper() for")])
def test_the_source_of_a_class_outside_the_package_counts(outside, edit):
    before = Hasher.hash(outside()())
    assert Hasher.hash(outside()()) == before
    assert Hasher.hash(outside(*edit)()) != before


def test_an_upgraded_method_is_not_answered_from_the_cache(outside, mner, tmp_path):
    enable_caching()
    mner.to_parquet(tmp_path / "set.parquet")
    on_disk = type(mner).from_parquet(str(tmp_path / "set.parquet"), cache_dir=str(tmp_path / "cache"))
    one = outside()().fit(on_disk).map(on_disk)
    again = outside()().fit(on_disk).map(on_disk)
    other = outside('"1"', '"2"')().fit(on_disk).map(on_disk)
    assert again.cache_files == one.cache_files != other.cache_files
    assert one[0]["tokens"][0] + other[0]["tokens"][0] == "RT1RT2"


def test_it_is_the_source_that_runs_not_the_one_on_disk_now(outside):
    cls = outside()
    before = Hasher.hash(cls())
    (outside.folder / "outside_method.py").write_text(OUTSIDE.replace('"1"', '"2"'))
    assert Hasher.hash(cls()) == before


def test_a_base_class_in_another_module_counts(outside):
    def subclass(base):
        namespace = {"__module__": "outside_child", "__annotations__": {}}
        return dataclass(frozen=True, kw_only=True)(type("Child", (base,), namespace))

    one, same, other = (subclass(outside(*edit))._source for edit in ((), (), ('"1"', '"2"')))
    assert one == same != other


def test_a_class_without_a_file_is_known_by_its_code():
    def made(end):
        namespace = {"__name__": "no_such_module"}
        exec(OUTSIDE.replace("changed(word) for", f"word + {end!r} for"), namespace)
        return namespace["Louder"]._source

    assert made("1") == made("1") != made("2")
    assert made("1")


def test_other_processes_find_the_same_hash(outside):
    method = outside()(seed=3)
    code = (
        "import sys, pickle; from datasets.fingerprint import Hasher as H; print(H.hash(pickle.load(sys.stdin.buffer)))"
    )
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        env["PYTHONPATH"] = os.pathsep.join([str(outside.folder), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", code], input=pickle.dumps(method), capture_output=True, env=env, check=True
        )
        assert done.stdout.decode().strip() == Hasher.hash(method)


def test_pickles_are_equal_methods_without_the_code_as_a_field(outside):
    method = pickle.loads(pickle.dumps(outside()(seed=3)))
    assert method == type(method)(seed=3)
    assert "_code" not in vars(method)
    assert set(method.params) == set()


def test_a_corpus_counts_by_its_content_wherever_it_lies(mner, tmp_path):
    def fitted(folder, text):
        (tmp_path / folder).mkdir()
        lines = [f"Lionel Messi is in Barcelona again {i} {text}" for i in range(4)]
        (tmp_path / folder / "posts.txt").write_text("\n".join(lines))
        index(str(tmp_path / folder / "posts.txt"), tmp_path / folder / "corpus.db")
        return RMDA(corpus=str(tmp_path / folder / "corpus.db"), image=False, filter=False).fit(mner)

    one, same, other = fitted("a", "now"), fitted("b", "now"), fitted("c", "then")
    assert Hasher.hash(one) == Hasher.hash(same) != Hasher.hash(other)
    assert str(tmp_path) not in repr(one)


def test_methods_within_the_package_hold_no_source():
    assert EDA._source == RMDA._source == Method._source == ""


def test_a_method_has_few_public_names():
    """What a newcomer has to read: class variables, fields and methods of the base class that are its own."""
    names = {name for name in (*vars(Method), *Method.__annotations__) if not name.startswith("_")}
    assert len(names) <= 30, sorted(names)
