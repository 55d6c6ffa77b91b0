"""Each method has a page: its parameters, reasons and deviations are those of the code, its picture is small."""

import inspect
import re
import sys
from dataclasses import fields
from decimal import Decimal
from typing import Literal

import pytest
from generators import methods, page
from places import ROOT
from test_reference import rows, section

from hf_mner_aug.cli.parameters import INSIDE
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.reasons import DROPPED
from hf_mner_aug.transform import Method
from hf_mner_aug.values import Range

SECTIONS = ("What the paper does", "When to use it, and when not", "Parameters", "Deviations from the paper", "Reasons")
MOST_BYTES = 60_000


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


def test_a_page_has_its_parts(name):
    text = page(f"methods/{name}.md")
    assert text.startswith(f"# {name}\n")
    for heading in (*SECTIONS, "What it is worth"):
        assert len(section(text, heading).strip()) > 60, heading
    assert not re.search(r"^<!-- \w+ -->$", text, re.MULTILINE)
    assert "../results/" in section(text, "What it is worth")
    points = re.findall(r"^- ", section(text, "What it is worth"), re.MULTILINE)
    assert len(points) == 3
    overview = page("methods/index.md")
    assert rows(overview)[name][0] == method_class(name).facts.does


def test_figures_are_those_of_the_results(name):
    worth = section(page(f"methods/{name}.md"), "What it is worth")
    (linked,) = re.findall(r"\.\./results/(\w+\.md)", worth)
    results = (ROOT / "docs" / "results" / linked).read_text(encoding="utf-8")
    figures = re.findall(r"\b0\.\d+\b", worth)
    assert len(figures) >= 5
    measured = [Decimal(number) for number in re.findall(r"\b0\.\d+\b", results)]
    assert [figure for figure in figures if not any(is_rounded(Decimal(figure), number) for number in measured)] == []


def is_rounded(figure, number):
    """Return whether a figure is a number, or that rounded to the figure's digits."""
    digits = figure.as_tuple().exponent
    return figure == number or (
        digits > number.as_tuple().exponent and abs(figure - number) <= Decimal(5).scaleb(digits - 1)
    )


def test_every_parameter_is_documented(name):
    cls = method_class(name)
    shown = rows(section(page(f"methods/{name}.md"), "Parameters"))
    assert {*shown} == {field.name for field in fields(cls)} - {*INSIDE}
    for field in fields(cls):
        if field.name in shown:
            meaning, kind, bounds, default = shown[field.name]
            assert len(meaning) > 5, f"{name}: {field.name} has no line below Args:"
            assert kind
            assert default == {"": "empty", (): "empty", None: "none"}.get(field.default, f"`{field.default!r}`")
            for bound in getattr(field.type, "__metadata__", ()):
                assert not isinstance(bound, Range) or str(bound) in bounds, field.name


def test_every_number_has_a_range(name):
    shown = rows(section(page(f"methods/{name}.md"), "Parameters"))
    numbers = {key: cells[2] for key, cells in shown.items() if cells[1].split()[0] in ("int", "float")}
    assert [key for key, bounds in numbers.items() if not bounds] == ["seed"]


def test_types_and_ranges_are_spelled():
    assert methods.spell_kind(tuple[str, ...]) == "list of str"
    assert methods.spell_kind(str | None) == "str or none"
    assert methods.bounds(Method.__annotations__["copies"]) == "at\N{NO-BREAK SPACE}least\N{NO-BREAK SPACE}1"
    assert methods.spell_kind(tuple[Literal["a", "b"], ...]) == "choices"
    assert methods.bounds(tuple[Literal["a", "b"], ...]) == "`'a'`, `'b'`"
    shown = rows(section(page("methods/rmda.md"), "Parameters"))
    assert shown["results"][1:] == ["int or none", "at least 1", "none"]
    assert shown["require"][1:3] == ["choice or none", "`'all'`, `'any'`, `'none'`"]
    assert rows(section(page("methods/eda.md"), "Parameters"))["alpha"][1:] == ["float", "in (0, 1]", "`0.1`"]


def test_every_reason_says_what_to_do(name):
    cls = method_class(name)
    shown = rows(section(page(f"methods/{name}.md"), "Reasons"))
    for key, reason in {**cls.rejects, **cls.drops, **DROPPED}.items():
        meaning, advice = shown[key]
        assert meaning, key
        assert advice, f"{name}: nothing to do about {key}"
        for setting in reason.settings:
            assert f"--set {setting}" in advice, key


def test_every_preset_is_documented(name):
    text = page(f"methods/{name}.md")
    for preset, params in method_class(name).presets.items():
        told = section(text, "Presets")
        assert f"`--preset {preset}`" in told
        for key in params:
            assert re.search(rf"^    {key}=", told, re.MULTILINE), key


def test_deviations_are_those_of_the_header(name):
    header = re.sub(r"\s+", " ", inspect.cleandoc(sys.modules[method_class(name).__module__].__doc__))
    told = methods.deviations(name)
    assert bool(told) == ("Deviates:" in header)
    for point in re.findall(r"^- (.+)$", told, re.MULTILINE):
        assert point.replace("`", "") in header.replace("`", ""), point
    if told:
        assert told in page(f"methods/{name}.md")


def test_a_picture_shows_a_post_before_and_after(name):
    from PIL import Image

    text = page(f"methods/{name}.md")
    (found,) = re.findall(r"!\[[^\]]{20,}\]\((pictures/\w+\.png)\)", text)
    path = ROOT / "docs" / "methods" / found
    assert path.stem == name
    assert path.stat().st_size < MOST_BYTES
    with Image.open(path) as picture:
        assert picture.width == 780
        assert picture.height > 300


@pytest.mark.slow
def test_a_picture_is_as_the_method_makes_it_today(name):
    import pictures
    from PIL import Image, ImageChops, ImageStat

    drawn = pictures.draw(pictures.made_of(name))
    with Image.open(pictures.FOLDER / f"{name}.png") as kept:
        assert kept.size == drawn.size
        (difference,) = ImageStat.Stat(ImageChops.difference(kept.convert("L"), drawn.convert("L"))).mean
    assert difference < 2, f"python docs/pictures.py {name} draws another one"
