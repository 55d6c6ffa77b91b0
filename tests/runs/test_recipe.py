"""Recipes read from files, with what a user chooses instead."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from hf_mner_aug import EDA, load_sample
from hf_mner_aug.exceptions import DataError, UnknownName, UsageError
from hf_mner_aug.methods import RENAMED, method_class
from hf_mner_aug.runs.recipe import Recipe, named_method, parameters, recipe_for
from hf_mner_aug.values import later


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("method: eda\nseed: 3\nparams: {alpha: 0.2, operations: [swap]}\n")
    return file


def test_a_file_is_a_recipe_with_every_parameter(path):
    assert Recipe.from_file(path) == recipe_for(EDA(seed=3, alpha=0.2, operations=("swap",)))


def test_what_is_chosen_goes_before_the_file(path):
    chosen = {"params": {"operations": "swap,delete"}, "seed": 4, "fraction": 0.5}
    expected = recipe_for(EDA(seed=4, alpha=0.2, operations=("swap", "delete")), fraction=0.5)
    assert Recipe.from_file(path, **chosen) == expected
    assert Recipe.of(method="eda", seed=3, params={"alpha": 0.2, "operations": "swap"}) == Recipe.from_file(path)


def test_a_published_note_is_a_recipe(path, tmp_path):
    recipe = Recipe.from_file(path, config="eda_10pct")
    note = tmp_path / "augmentation.json"
    note.write_text(json.dumps({"recipe": recipe.to_dict(), "rows": 3}))
    assert Recipe.from_file(note) == recipe
    assert Recipe.from_file(note).fingerprint == recipe.fingerprint


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("seed: 3", UsageError, "name a method with --method, or a recipe with --recipe"),
        ("method: edda", UnknownName, "unknown method 'edda': did you mean 'eda'?"),
        ("method: eda\nseeds: 3", UnknownName, "unknown key of {path} 'seeds': did you mean 'seed'?"),
        (
            "method: eda\nparams: {alhpa: 1}",
            UnknownName,
            "unknown parameter of {path}: eda 'alhpa': did you mean",
        ),
        ("method: eda\nparams: {alpha: 2}", UsageError, "eda: alpha must be in (0, 1], found 2"),
        ("recipe: 3", DataError, "{path}: recipe"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(path, text, error, told):
    path.write_text(text)
    with pytest.raises(error) as caught:
        Recipe.from_file(path)
    assert str(caught.value).startswith(told.format(path=path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "old", "new"), [(name, *pair) for name, of in RENAMED.items() for pair in of.items()])
def test_a_recipe_of_before_is_told_the_new_name(path, name, old, new):
    told = f"{name}: {old}: renamed to {new}"
    path.write_text(f"method: {name}\nparams: {{{old}: '1'}}\n")
    with pytest.raises(UsageError, match=f"^{path}: {told}$"):
        Recipe.from_file(path)
    for make in (
        lambda: named_method(f"{name}:{old}=1,copies=1"),
        lambda: Recipe.of(method=name, params={old: "1"}),
    ):
        with pytest.raises(UsageError, match=f"{told}$"):
            make()
    assert new in parameters(method_class(name))
    assert old not in parameters(method_class(name))


@dataclass(frozen=True, kw_only=True)
class Grown(EDA):
    """EDA with a parameter that it got later."""

    name: ClassVar[str] = "grown"
    tone: str = later("")


def test_an_unset_parameter_that_came_later_changes_no_recipe_and_no_row():
    train = load_sample()["train"].select(range(4))
    assert recipe_for(Grown()).params == recipe_for(EDA()).params
    assert "tone" not in Grown().fit(train).map(train)[0]["provenance"]
    assert recipe_for(Grown(tone="dry")).params["tone"] == "dry"
    assert '"tone":"dry"' in Grown(tone="dry").fit(train).map(train)[0]["provenance"]
