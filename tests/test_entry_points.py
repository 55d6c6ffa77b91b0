"""Methods, backbones and raw sets of installed packages, found by their entry points."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from datasets import DatasetDict

from hf_mner_aug import EDA, Recipe, augment, convert, evaluate, load_sample, publish, validate, verify
from hf_mner_aug.backbones import backbone_class
from hf_mner_aug.exceptions import CodeNotAllowed, UnknownName, UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.readers import raw_set
from hf_mner_aug.runs.recipe import named_method

MODULE = '''
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from hf_mner_aug.backbones import Prediction, ScoredSpan
from hf_mner_aug.readers import RawSet
from hf_mner_aug.readers.formats import parse_imgid
from hf_mner_aug.schema import Codec, respell
from hf_mner_aug.transform import Facts, Method


@dataclass(frozen=True, kw_only=True)
class Murmur(Method):
    """Write small letters.

    Args:
        mark: what each word ends with.
    """

    name: ClassVar[str] = "murmur"
    facts: ClassVar[Facts] = Facts(does="small letters", paper="none", learns="nothing", images="kept", boxes="kept")
    mark: str = "~"

    def rewrite(self, posts, draws):
        return [respell(post, {i: [post.tokens[i].lower() + self.mark] for i in post.outside()}) for post in posts]


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Find the mentions that train has, of one word."""

    name: ClassVar[str] = "recall"
    seedless: ClassVar[bool] = True
    boundary: ClassVar[bool] = False
    reads_images: ClassVar[bool] = False
    training: ClassVar[None] = None
    training_note: ClassVar[str] = "Training reads train once."
    seed: int = 0
    known: tuple[tuple[str, str], ...] = ()

    def fit(self, train, validation=None):
        codec = Codec(train.features)
        posts = [codec.to_post(row) for row in train]
        return replace(self, known=tuple({(post.tokens[e.start], e.type) for post in posts for e in post.entities}))

    def predict(self, dataset):
        known = dict(self.known)
        return [
            Prediction(row["id"], tuple(
                ScoredSpan(i, i + 1, known[word], 1.0) for i, word in enumerate(row["tokens"]) if word in known
            ))
            for row in dataset
        ]

    def save(self, folder):
        Path(folder, "known").write_text("")

    @classmethod
    def load(cls, folder):
        return cls()


MINI = RawSet(name="mini", title="Mini", parse=parse_imgid, language="en")
'''
ENTRY_POINTS = """
[hf_mner_aug.methods]
murmur = murmuring.methods:Murmur
eda = murmuring.broken:Thief
shatter = murmuring.broken:Shatter
quits = murmuring.quits:Quits
misnamed = murmuring.methods:Murmur
other = murmuring.methods:MINI

[hf_mner_aug.backbones]
recall = murmuring.methods:Recall
hollow = murmuring.methods:Murmur
void = murmuring.methods:MINI
crf = murmuring.broken:Thief

[hf_mner_aug.readers]
mini = murmuring.methods:MINI
bad = murmuring.methods:Murmur
"""


def install(site, name, version, entry_points):
    """Write what an installer writes of a package into a folder of sys.path."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)
    importlib.invalidate_caches()


def imported():
    return [name for name in sys.modules if name.partition(".")[0] == "murmuring"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, on the path of this process and of those that it starts."""
    site = tmp_path / "site"
    package = site / "murmuring"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "methods.py").write_text(MODULE)
    (package / "broken.py").write_text("raise RuntimeError('needs\\nanother library')")
    (package / "quits.py").write_text("raise SystemExit(7)")
    install(site, "murmuring", "1.2", ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ["PYTHONPATH"]]))
    yield site
    for name in imported():
        del sys.modules[name]


@pytest.fixture(scope="module")
def sample():
    rows = load_sample()
    return DatasetDict({s: rows[s].select(range(12)).select_columns(["id", "tokens", "ner_tags"]) for s in rows})


def run(folder, *arguments):
    command = [sys.executable, "-c", "from hf_mner_aug.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_method_is_named_run_published_studied_and_made_again(site, sample, tmp_path):
    out = tmp_path / "out"
    publish(augment(sample, "murmur:mark=?", progress=False, out=out), out)
    recipe = json.loads((out / "murmur_100pct" / "augmentation.json").read_text())["recipe"]
    assert (recipe["method"], recipe["code"]) == ("murmur", "murmuring.methods:Murmur")
    assert len(recipe["code_digest"]) == 64
    assert verify(out, "murmur_100pct", rerun=True, source=sample).ok
    assert validate(f"{out}:murmur_100pct", images=False).ok
    report = evaluate(out, ["murmur_100pct"], backbone="recall", seeds=[0], out=tmp_path / "studied")
    assert "Training reads train once." in report.to_markdown()
    study = json.loads(next((tmp_path / "studied.studies").glob("recall-*/study.json")).read_text())
    assert (study["backbone"], study["package"]) == ("recall", "murmuring 1.2")


def test_map_takes_it_as_any_method(site, sample):
    method = named_method("murmur").fit(sample["train"])
    made = sample["train"].map(method, batched=True, features=method.features)
    assert made["tokens"] == augment(sample, "murmur", progress=False).made_of("train")["tokens"]
    assert all(word.endswith("~") for word, tag in zip(made["tokens"][0], made["ner_tags"][0], strict=True) if not tag)


def test_a_recipe_names_it_by_its_name_or_with_its_class(site, sample):
    assert Recipe(method="murmur").build() == method_class("murmur")()
    whole = augment(sample, "murmur", progress=False).recipe
    assert whole.build() == method_class("murmur")(artifact=whole.artifact)
    with pytest.raises(UsageError, match="make the config again with today's code"):
        Recipe.from_dict({**whole.to_dict(), "code_digest": "0" * 64}).build()


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("murmur", "murmuring.broken:Shatter"),  # the class of another entry point
        ("murmur", "murmuring.methods:Recall"),
        ("eda", "murmuring.broken:Thief"),  # it has the name of a method of this package
        ("lsms", "murmuring.methods:Murmur"),
    ],
)
def test_a_recipe_has_only_the_class_imported_that_its_name_stands_for(site, method, code):
    with pytest.raises(CodeNotAllowed, match="nothing was imported"):
        Recipe(method=method, code=code, code_digest="0").build()
    assert imported() == []


def test_without_the_package_its_recipe_is_refused(site, sample, monkeypatch):
    recipe = augment(sample, "murmur", progress=False).recipe
    monkeypatch.undo()
    for name in imported():
        del sys.modules[name]
    with pytest.raises(CodeNotAllowed, match=r"names the class 'murmuring\.methods:Murmur'.* nothing was imported"):
        recipe.build()
    with pytest.raises(UnknownName, match="unknown method 'murmur'"):
        Recipe(method="murmur").build()


def test_names_of_this_package_are_not_shadowed(site):
    assert method_class("eda") is EDA
    assert backbone_class("crf").__module__ == "hf_mner_aug.backbones.crf"
    assert imported() == []


@pytest.mark.parametrize(
    ("find", "name", "told"),
    [
        (
            method_class,
            "shatter",
            r"method shatter of murmuring 1\.2 cannot be loaded from murmuring\.broken:Shatter: RuntimeError: needs: "
            "update or uninstall murmuring$",
        ),
        (method_class, "quits", "cannot be loaded from murmuring.quits:Quits: SystemExit: 7: update"),
        (method_class, "misnamed", "expected the name of its class, 'murmur': correct the entry point"),
        (
            backbone_class,
            "void",
            "backbone void of murmuring 1.2: expected a dataclass of the protocol Backbone, found",
        ),
        (method_class, "other", "method other of murmuring 1.2: expected a class of Method with a name, found RawSet"),
        (
            backbone_class,
            "hollow",
            "expected a class of the protocol Backbone, found one without boundary, load, predict, save",
        ),
        (raw_set, "bad", "reader bad of murmuring 1.2: expected a RawSet of that name, found <class"),
    ],
)
def test_a_broken_entry_point_is_one_line(site, find, name, told):
    with pytest.raises(UsageError, match=told) as caught:
        find(name)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_told_those_of_packages(site):
    for find, near in ((method_class, "murmur"), (backbone_class, "recall"), (raw_set, "mini")):
        with pytest.raises(UnknownName, match=f"did you mean {near!r}"):
            find(f"{near}x")
    assert imported() == []


def test_a_name_of_two_packages_is_refused(site):
    install(site, "mumbling", "0.1", "[hf_mner_aug.methods]\nmurmur = murmuring.methods:Murmur\n")
    with pytest.raises(UsageError, match=r"murmur of (murmuring 1.2|mumbling 0.1) and .*: uninstall the others"):
        method_class("murmur")


def test_a_class_of_ones_own_may_not_have_its_name(site, sample):
    mine = type("Mine", (method_class("murmur"),), {"__module__": __name__})
    with pytest.raises(UsageError, match=r"Mine has the name of method murmur of murmuring 1\.2: give your class"):
        augment(sample, mine(), progress=False)


def test_the_command_line_lists_explains_and_runs_them(site, sample, tmp_path):
    listed = run(tmp_path, "methods")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert lines[lines.index("murmur: small letters") + 1] == "  package    murmuring 1.2"
    assert sum(line.startswith("method shatter of murmuring 1.2 cannot be loaded") for line in lines) == 1
    assert "backbone recall of murmuring 1.2" in lines[-1]
    assert "reader mini of murmuring 1.2" in lines[-1]
    assert not any(line.startswith("method eda of") for line in lines)
    (tmp_path / "set").mkdir()
    for split in sample:
        sample[split].to_parquet(tmp_path / "set" / f"{split}.parquet")
    typed = run(tmp_path, "augment", "set", "--method", "murmur", "--set", "mark=!", "--out", "out")
    assert typed.returncode == 0, typed.stderr
    assert "small letters" in (tmp_path / "out" / "README.md").read_text()
    again = run(tmp_path, "augment", "set", "--recipe", "out/murmur_100pct/augmentation.json", "--out", "again")
    assert again.returncode == 0, again.stderr
    checked = run(tmp_path, "verify", "again", "murmur_100pct", "--rerun", "--source", "set")
    assert checked.stdout.rstrip().endswith("the same"), checked.stderr


def test_verbs_explain_them_and_go_on_where_one_is_broken(site, call):
    assert "mark='~': what each word ends with" in call("methods", "murmur")[1]
    assert call("methods", "recall")[1].startswith("recall: Find the mentions that train has")
    for arguments in (["--help"], ["augment", "--help"], ["convert", "--help"], ["evaluate", "--help"]):
        assert call(*arguments)[0] == 0
    code, _, told = call("methods", "shatter")
    assert (code, told.count("\n")) == (2, 1)


def test_entry_points_that_cannot_be_read_break_nothing(site, tmp_path):
    install(site, "garbled", "1", "[hf_mner_aug.methods]\nno value here\n")
    done = run(tmp_path, "methods")
    assert done.returncode == 0
    assert done.stderr.count("warning: entry points of an installed package cannot be read") == 1
    assert "eda: replaces" in done.stdout


def test_a_raw_set_is_read(site, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train.txt").write_text("IMGID:1\nParis\tB-LOC\nrains\tO\n")
    convert("mini", tmp_path / "raw", tmp_path / "set")
    assert (tmp_path / "set").is_dir()
    assert validate(str(tmp_path / "set"), images=False).counts
