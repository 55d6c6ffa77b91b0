"""Settings as they are typed: NAME:key=value,… with lists, quotes and what is wrong in them."""

import math
import re
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_type_hints

import pytest

from hf_mner_aug import EDA, RMDA, MemoryHard
from hf_mner_aug.backbones import BACKBONES, backbone_class
from hf_mner_aug.backbones.settings import parse_backbone, spec_models
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.models.endpoint.budget import Budget
from hf_mner_aug.models.image.diffusers import Diffusers
from hf_mner_aug.models.search.fetching import Web
from hf_mner_aug.models.text.finetuned import FineTuned
from hf_mner_aug.models.text.network import FitSettings
from hf_mner_aug.models.vision import Vision
from hf_mner_aug.runs.recipe import named_method
from hf_mner_aug.values import Range, check_ranges, convert_values, parse_pairs, parse_settings, parse_spec, spell_type

KINDS: dict[str, Any] = {
    "n": int,
    "sites": tuple[str, ...],
    "text": str,
    "maybe": tuple[int, ...] | None,
    "named": Literal["any", "none"] | None,
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (" , ,", {}),
        ("n=3", {"n": 3}),
        ("sites=a,b", {"sites": ("a", "b")}),
        ("sites=a, b , c,n=3", {"sites": ("a", "b", "c"), "n": 3}),
        ("n=3,sites=a,b:x=1", {"n": 3, "sites": ("a", "b:x=1")}),
        ("maybe=1,2", {"maybe": (1, 2)}),
        ("maybe=none", {"maybe": None}),
        ("named=none", {"named": "none"}),
        ("sites=", {"sites": ()}),
        ("text=", {"text": ""}),
        ("text=a=b", {"text": "a=b"}),
        ("text=http://h/v1?a=b#m,n=2", {"text": "http://h/v1?a=b#m", "n": 2}),
        ('text="crf:a=1,b=2",n=2', {"text": "crf:a=1,b=2", "n": 2}),
        ('sites="a:x=1,y=2",b', {"sites": ("a:x=1,y=2", "b")}),
        ("text=it's C:\\new,n=1", {"text": "it's C:\\new", "n": 1}),
        ("n=1,n=2", {"n": 2}),
    ],
)
def test_settings(text, found):
    assert parse_settings(text, KINDS, "here") == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("n", "setting 'n' of here: expected NAME=VALUE, NAME one of n, sites, text, maybe"),
        ("n=1,2", "setting '2' of here: expected NAME=VALUE"),
        ("text=a,b", "setting 'b' of here: expected NAME=VALUE"),
        ("site=a,b", "unknown setting of here 'site': did you mean 'sites'"),
        ("n=1,si-tes=2", "unknown setting of here 'si-tes': did you mean 'sites'"),
        ("n=x", "here: n='x' is not a valid int"),
        ('text="a,n=1', 'here: a double quote without its second in text="a,n=1'),
    ],
)
def test_a_setting_that_is_wrong_is_one_line(text, told):
    with pytest.raises(UsageError) as caught:
        parse_settings(text, KINDS, "here")
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (float, "float"),
        (float | None, "float or none"),
        (bool, "bool (true or false)"),
        (float | str | None, "float, text or none"),
        (Literal["a", "b"], "choice of a, b"),
        (Literal["a", "b"] | None, "choice of a, b or none"),
        (tuple[Literal["a", "b"], ...], "list of a, b"),
        (tuple[int, ...] | None, "list of int or none"),
    ],
)
def test_a_type_is_named_in_plain_words(kind, told):
    assert spell_type(kind) == told
    with pytest.raises(UsageError) as caught:
        convert_values({"n": {"a": [1]}}, {"n": kind}, "here", "setting")
    assert str(caught.value) == f"here: n={{'a': [1]}} is not a valid {told}"
    assert spell_type(Annotated[kind, Range(1)]) == told


@pytest.mark.parametrize("cls", [*map(method_class, METHODS), *map(backbone_class, BACKBONES)])
def test_every_parameter_has_a_type_in_plain_words(cls):
    for kind in get_type_hints(cls, include_extras=True).values():
        assert re.fullmatch(r"[\w ,()]+", spell_type(kind)), kind


def test_a_spec_names_what_has_the_settings():
    asked = []
    assert parse_spec("one:n=1,sites=a,b", lambda name: asked.append(name) or KINDS, more=["n=2", "text=x,n=5"]) == (
        "one",
        {"n": "2", "sites": "a,b", "text": "x,n=5"},
    )
    assert asked == ["one"]
    with pytest.raises(UsageError, match="one: parameter n: expected NAME=VALUE"):
        parse_spec("one", lambda name: KINDS, "parameter", more=["n"])


def test_methods_and_backbones_are_named_with_lists():
    assert named_method("eda:operations=swap,delete") == EDA(operations=("swap", "delete"))
    assert named_method("rmda:mask=handles,emails,copies=3") == RMDA(mask=("handles", "emails"), copies=3)
    target = 'memory_hard:target="crf:iterations=50,c1=1",references=crf,crf:iterations=3'
    assert named_method(target) == MemoryHard(target="crf:iterations=50,c1=1", references=("crf", "crf:iterations=3"))
    for parse in (named_method, parse_backbone):
        with pytest.raises(UnknownName):
            parse("nothing:a=1")
    assert [model.id for model in spec_models("token_classifier:steps=3,encoder=a/b")] == ["a/b"]
    assert spec_models("crf:iterations=3") == []


def test_pairs():
    assert parse_pairs(" a=b, c=d,", "--x", "A=B") == {"a": "b", "c": "d"}
    assert parse_pairs(None, "--x", "A=B") == parse_pairs("", "--x", "A=B") == {}
    for wrong in ("a", "a=", "=b", ",", "a=b,c"):
        with pytest.raises(UsageError, match=f"--x {wrong}: expected A=B"):
            parse_pairs(wrong, "--x", "A=B")


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "told"),
    [
        (Range(1), (1, 5, math.inf), (0, 0.99, -math.inf, math.nan), "at least 1"),
        (Range(0, ends="(]"), (0.1,), (0, -1), "more than 0"),
        (Range(0, 1), (0, 0.5, 1), (-0.1, 1.1, math.nan), "in [0, 1]"),
        (Range(0, 2, "(]"), (0.1, 2), (0, 2.1), "in (0, 2]"),
        (Range(0, 1, "[)"), (0, 0.9), (1, -0.1), "in [0, 1)"),
        (Range(0, 1, "()"), (0.5,), (0, 1), "in (0, 1)"),
    ],
)
def test_ranges(allowed, inside, outside, told):
    assert all(map(allowed.has, inside))
    assert not any(map(allowed.has, outside))
    assert str(allowed) == told


def test_a_dataclass_names_the_ranges_of_its_fields():
    @dataclass
    class Settings:
        n: Annotated[int, "a word", Range(1)] = 1
        rate: Annotated[float | None, Range(0, 1, "()")] = None
        free: float = -5.0

    check_ranges(Settings())
    with pytest.raises(UsageError, match=r"^here: n must be at least 1, found 0$"):
        check_ranges(Settings(n=0), "here")
    with pytest.raises(UsageError, match=r"^rate must be in \(0, 1\), found 1$"):
        check_ranges(Settings(rate=1))


def test_a_dataclass_names_the_values_of_its_fields():
    @dataclass
    class Settings:
        tune: Literal["lora", "qformer"] = "lora"
        require: Literal["all", "any"] | None = None
        operations: tuple[Literal["swap", "delete"], ...] = ("swap",)
        sites: tuple[str, ...] = ()

    check_ranges(Settings())
    check_ranges(Settings(require="any", operations=("delete", "swap")))
    with pytest.raises(UnknownName, match=r"^unknown tune 'lorra': did you mean 'lora'\? valid are lora, qformer$"):
        check_ranges(Settings(tune="lorra"), "here")
    with pytest.raises(UnknownName, match=r"^unknown require 'some': valid are all, any$"):
        check_ranges(Settings(require="some"))
    with pytest.raises(UnknownName, match=r"^unknown value of operations 'swop': did you mean 'swap'"):
        check_ranges(Settings(operations=("delete", "swop")))
    with pytest.raises(UsageError, match=r"^here: operations must be some of swap, delete$"):
        check_ranges(Settings(operations=()), "here")


@pytest.mark.parametrize("cls", [Diffusers, FineTuned, FitSettings, Training])
def test_a_dtype_or_device_that_does_not_exist_is_refused(cls):
    name = "precision" if cls is Training else "dtype"
    more = {"kind": "instructblip", "model": "m", "weights": "0"} if cls is FineTuned else {}
    with pytest.raises(UnknownName, match=f"unknown {name} 'int8'"):
        cls(**{name: "int8"}, **more)


@pytest.mark.parametrize(
    "cls",
    [
        *map(method_class, METHODS),
        *map(backbone_class, BACKBONES),
        *(Training, Vision, Budget, Web, Diffusers, FitSettings),
    ],
    ids=lambda cls: cls.__name__,
)
def test_every_range_is_checked(cls):
    ranges = {
        field.name: allowed
        for field in fields(cls)
        for allowed in getattr(field.type, "__metadata__", ())
        if isinstance(allowed, Range)
    }
    assert ranges
    for name, allowed in ranges.items():
        told = re.escape(f"{name} must be {allowed}, found {allowed.least - 1}")
        with pytest.raises(UsageError, match=told):
            cls(**{name: allowed.least - 1})
