"""Methods that users write: given as objects, named on the command line, and never imported on a recipe's word."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
from datasets import DatasetDict, load_dataset

from hf_mner_aug import EDA, LSMS, Recipe, augment, load_sample, outside, publish, show, validate, verify
from hf_mner_aug.exceptions import CodeNotAllowed, UnknownName, UsageError
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.runs.recipe import named_method, recipe_for
from hf_mner_aug.schema import Post, respell
from hf_mner_aug.transform import Facts, Method

MODULE = """
from dataclasses import dataclass
from typing import ClassVar

from hf_mner_aug.schema import respell
from hf_mner_aug.transform import Facts, Method

print("imported", flush=True)


@dataclass(frozen=True, kw_only=True)
class Whisper(Method):
    name: ClassVar[str] = "whisper"
    facts: ClassVar[Facts] = Facts(does="small letters", paper="none", learns="nothing", images="kept", boxes="kept")
    mark: str = "!"

    def rewrite(self, posts, draws):
        return [respell(post, {i: [post.tokens[i].lower() + self.mark] for i in post.outside()}) for post in posts]
"""


@dataclass(frozen=True, kw_only=True)
class Shout(Method):
    """Write the words outside entities in capitals."""

    name: ClassVar[str] = "shout"
    facts: ClassVar[Facts] = Facts(does="capitals", paper="none", learns="nothing", images="kept", boxes="kept")
    mark: str = "!"

    def rewrite(self, posts, draws) -> list[Post]:
        return [respell(post, {i: [post.tokens[i].upper() + self.mark] for i in post.outside()}) for post in posts]


@dataclass(frozen=True, kw_only=True)
class Impostor(Shout):
    """A class with another method's name."""

    name: ClassVar[str] = "eda"


@pytest.fixture(scope="module")
def sample():
    rows = load_sample()
    return DatasetDict({s: rows[s].select(range(8)).select_columns(["id", "tokens", "ner_tags"]) for s in rows})


@pytest.fixture
def folder(tmp_path, sample):
    (tmp_path / "own_methods.py").write_text(MODULE)
    (tmp_path / "set").mkdir()
    for split in sample:
        sample[split].to_parquet(tmp_path / "set" / f"{split}.parquet")
    return tmp_path


def run(folder, *arguments, **environment):
    command = [sys.executable, "-c", "from hf_mner_aug.cli import main; main()", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def test_a_method_may_be_named(sample):
    by_name = augment(sample, "lsms", progress=False, config="c").dataset
    assert by_name["tokens"] == augment(sample, LSMS(), progress=False, config="c").dataset["tokens"]
    assert augment(sample, "eda:copies=1,alpha=0.2", progress=False).recipe.params["alpha"] == 0.2
    assert named_method("lsms") == LSMS()
    with pytest.raises(UnknownName, match="did you mean 'lsms'"):
        augment(sample, "lsmz", progress=False)
    with pytest.raises(UsageError, match="no_such_module:Shout: No module named"):
        augment(sample, "no_such_module:Shout", progress=False)
    with pytest.raises(UsageError, match=r"json:loads: expected a class of Method with a name"):
        augment(sample, "json:loads", progress=False)


@pytest.mark.parametrize("num_proc", [1, 2])
def test_an_object_of_ones_own_class_is_run_published_and_verified(tmp_path, sample, num_proc):
    out = tmp_path / "out"
    publish(augment(sample, Shout(mark="?"), num_proc=num_proc, part_size=3, progress=False, out=out), out)
    note = json.loads((out / "shout_100pct" / "augmentation.json").read_text())
    assert note["recipe"]["method"] == "shout"
    assert note["recipe"]["code"].endswith("test_outside:Shout")
    found = load_dataset(str(out), "shout_100pct")
    assert found["train"][8]["tokens"][0].endswith("?") or found["train"][8]["ner_tags"][0]
    assert found["train"][8]["id"].endswith("+shout.0")
    assert validate(found, images=False).ok
    assert "capitals" in (out / "README.md").read_text()
    assert verify(out, "shout_100pct", rerun=True, source=sample).ok
    assert show(out, out=tmp_path / "page.html").exists()
    assert withdraw_posts(out, [sample["train"]["id"][0]]) == {"shout_100pct": 2}


def test_a_method_is_an_object_that_says_what_it_is(sample):
    @dataclass(frozen=True, kw_only=True)
    class Silent(Method):
        name: ClassVar[str] = "silent"

        def rewrite(self, posts, draws):
            return posts

    for wrong in (LSMS, None, 3):
        with pytest.raises(UsageError, match=r"expected an object or name of a method, as LSMS\(copies=2\)"):
            augment(sample, wrong, progress=False)
    with pytest.raises(UsageError, match=r"Silent: expected facts, for cards and pages, found none: facts: ClassVar"):
        augment(sample, Silent(), progress=False)


def test_a_class_may_not_pass_for_another_method(sample):
    with pytest.raises(UsageError, match="Impostor has the name of eda: give your class a name of its own"):
        augment(sample, Impostor(), progress=False)
    assert recipe_for(EDA()).code == ""


def test_a_recipe_is_for_the_code_that_it_was_made_with(sample):
    recipe = recipe_for(Shout())
    assert recipe.build() == Shout()
    changed = Recipe.from_dict({**recipe.to_dict(), "code_digest": "0" * 64})
    with pytest.raises(UsageError, match="make the config again with today's code"):
        changed.build()
    assert changed.fingerprint != recipe.fingerprint
    assert Recipe(method="eda").fingerprint == Recipe(method="eda", code="").fingerprint


@pytest.mark.parametrize("name", ["own_methods:Whisper", "own_methods", "os:system:x", "../own:Whisper", "", ":"])
def test_no_recipe_has_a_class_imported(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises((CodeNotAllowed, UsageError)):
        Recipe(method="whisper", code=name or ":", code_digest="0").build()
    assert "own_methods" not in sys.modules


def test_what_is_imported_already_but_no_method_is_refused():
    with pytest.raises(UsageError, match="os:system: expected a class of Method"):
        Recipe(method="system", code="os:system").build()


def test_a_class_is_imported_where_the_user_types_it(folder):
    typed = run(folder, "augment", "set", "--method", "own_methods:Whisper", "--set", "mark=~", "--out", "out")
    assert (typed.returncode, typed.stdout.count("imported")) == (0, 1), typed.stderr
    card = (folder / "out" / "README.md").read_text()
    assert "small letters" in card
    for arguments in (
        ("augment", "set", "--recipe", "out/whisper_100pct/augmentation.json", "--out", "again"),
        ("verify", "out", "whisper_100pct", "--rerun", "--source", "set"),
        ("evaluate", "out", "--configs", "whisper_100pct", "--seeds", "0"),
    ):
        refused = run(folder, *arguments)
        assert (refused.returncode, "imported" in refused.stdout) == (2, False), arguments
        assert "the recipe names the class 'own_methods:Whisper'" in refused.stderr
        assert "HF_MNER_AUG_CODE=own_methods:Whisper" in refused.stderr
    for arguments in (("show", "out"), ("verify", "out", "whisper_100pct")):
        looked_at = run(folder, *arguments)
        assert (looked_at.returncode, "imported" in looked_at.stdout) == (0, False), looked_at.stderr
    again = run(
        folder, "verify", "out", "whisper_100pct", "--rerun", "--source", "set", HF_MNER_AUG_CODE="own_methods:Whisper"
    )
    assert again.stdout.rstrip().endswith("the same"), again.stderr


def test_names_of_classes():
    assert outside.is_class_name("own.methods:Whisper")
    for name in ("lsms", "rmda:corpus=x", "a:b:c", "a/b:C", ".a:B", "a.:B", "a: B", "1a:B"):
        assert not outside.is_class_name(name)
