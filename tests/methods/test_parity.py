"""Parameters of every method, and what its class, header, files, tests and the README say of it."""

import importlib
import json
import sys
from dataclasses import fields, replace

import pytest
from places import ROOT

from hf_mner_aug.exceptions import UnknownName, UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.runs.recipe import parse_params
from hf_mner_aug.transform import Facts, Method


@pytest.fixture(params=sorted(METHODS))
def name(request):
    return request.param


def test_bad_copies(name):
    with pytest.raises(UsageError, match="copies must be at least 1, found 0"):
        method_class(name)(copies=0)


def test_parameters_are_keywords_of_simple_types(name):
    for field in fields(method_class(name)):
        assert field.kw_only
        json.dumps(getattr(method_class(name)(), field.name))


def test_unknown_method_gives_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown method 'edda': did you mean 'eda'\? valid are .*lsms"):
        method_class("edda")


def test_parity_of_table_class_and_package(name):
    cls = method_class(name)
    assert issubclass(cls, Method)
    assert cls.name == name
    assert cls.version >= 1
    assert cls.__module__ == f"hf_mner_aug.methods.{name}"
    package = importlib.import_module("hf_mner_aug")
    assert getattr(package, METHODS[name]) is cls
    assert METHODS[name] in package.__all__


def test_parity_of_facts_and_header(name):
    cls = method_class(name)
    assert isinstance(cls.facts, Facts)
    assert all(getattr(cls.facts, field.name) for field in fields(Facts))
    header = sys.modules[cls.__module__].__doc__
    authors = cls.facts.paper.split(",")[0]
    assert authors in header, f"the header of {name} does not name its paper, {authors}"
    line = next(line for line in header.splitlines() if line.startswith("Rejects:"))
    declared = header[header.index(line) + len("Rejects:") :]
    assert [reason.strip() for reason in declared.split(",") if reason.strip()] == list(cls.rejects)


def test_each_reject_reason_says_what_it_means_and_what_to_do(name):
    cls = method_class(name)
    for found in cls.rejects.values():
        assert found.meaning
        assert found.advise(), "nothing to do about it"
        tried = dict(setting.split("=") for setting in found.settings)
        values = parse_params(cls, tried)
        for setting, value in tried.items():
            replace(cls(), **{setting: values[setting]})  # raises where it is out of range
            assert f"--set {setting}={value}" in found.advise()
        assert found.advise(found.settings) == found.advice


def test_parity_of_tests_and_readme(name):
    assert (ROOT / "tests" / "methods" / f"test_{name}.py").exists()
    assert f"| `{name}` |" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_parity_of_files_and_table():
    places = (ROOT / "hf_mner_aug" / "methods").iterdir()
    files = {path.stem for path in places if path.suffix == ".py" or (path / "__init__.py").is_file()} - {"__init__"}
    assert files == set(METHODS)
