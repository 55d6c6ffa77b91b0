"""Every parameter and every reason has a line that explains it, from the docstring of its class."""

import sys
from dataclasses import fields

import pytest

from hf_mner_aug import cli
from hf_mner_aug.backbones import BACKBONES, Backbone, backbone_class
from hf_mner_aug.backbones.settings import settings_of
from hf_mner_aug.cli.parameters import INSIDE, parameters_of, read_args
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.values import LATER


def explained(found):
    for parameter in found:
        text = parameter.explained
        assert text, f"{parameter.name} has no line below Args: in its class's docstring"
        assert "\n" not in text
        assert text.endswith("."), parameter
    return [parameter.name for parameter in found]


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_of_a_method_is_explained(name):
    cls = method_class(name)
    assert set(explained(parameters_of(cls))) == {field.name for field in fields(cls)} - set(INSIDE)
    stale = set(read_args(cls.__doc__)) - {field.name for field in fields(cls)}
    assert not stale, "what is explained is there"


@pytest.mark.parametrize("name", BACKBONES)
def test_every_setting_of_a_backbone_is_explained(name):
    cls = backbone_class(name)
    names = explained(parameters_of(cls, Backbone))
    unset = {field.name for field in fields(cls) if field.metadata.get(LATER)}  # left out of a study while unset
    assert set(names) == {*settings_of(cls()), *unset, "seed"}
    assert not set(read_args(cls.__doc__)) - set(names)


def test_args_are_read_whole_and_alone():
    text = """Do a thing.

    Args:
        one: the first,
            which goes on: here.
        two: the second.

    Raises:
        three: is none.
    """
    assert read_args(text) == {"one": "the first, which goes on: here.", "two": "the second."}
    assert read_args("Do a thing.") == {}


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "methods", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_explained_line_by_line(call, name):
    code, out, _ = call(name)
    assert code == 0
    lines = out.splitlines()
    cls = method_class(name)
    for field in fields(cls):
        if field.name not in INSIDE:
            assert sum(line.startswith(f"    {field.name}={field.default!r}: ") for line in lines) == 1
    for reason, what in cls.rejects.items():
        assert f"    {reason}: {what}" in lines


def test_a_backbone_is_explained_and_a_wrong_name_is_told(call):
    code, out, _ = call("umt")
    assert code == 0
    assert "    beta=0.5: the weight of the auxiliary span CRF's loss." in out.splitlines()
    assert "    batch_size=16: posts per step, over all devices." in out.splitlines()
    code, _, told = call("emda")
    assert (code, told.count("\n")) == (2, 1)
    assert "unknown method or backbone 'emda': did you mean 'eda'?" in told
