"""Deprecations are errors where a call of this package causes them, however they are told."""

import deprecations
import pytest
from conftest import pytest_runtest_call

pytestmark = pytest.mark.usefixtures("recwarn")

LIBRARY = """
import logging, warnings
def renamed(**kwargs):
    warnings.warn("`old` is deprecated, use `new`", FutureWarning, stacklevel=2)
def told_once():
    logging.getLogger("library").warning("`old` is deprecated and %s", "will be removed in 6.0")
def ordinary():
    warnings.warn("few rows", UserWarning)
    logging.getLogger("library").warning("few rows")
    logging.getLogger("library").info("old is deprecated")
def outer(function):
    return function()
"""
OURS = """
def call(function, *args):
    function(*args)
"""


def module(source, path):
    names = {}
    exec(compile(source, str(path), "exec"), names)
    return names


@pytest.fixture
def library(tmp_path):
    return module(LIBRARY, tmp_path / "site-packages" / "library" / "__init__.py")


@pytest.fixture
def ours():
    return module(OURS, deprecations.PACKAGE + "none_such.py")["call"]


@pytest.mark.parametrize("how", ["renamed", "told_once"])
def test_a_call_of_ours_is_noted_however_deep_the_library_warns(library, ours, how):
    ours(library["outer"], library[how])
    (told,) = deprecations.taken()
    assert "none_such.py:3 > library: " in told
    assert "`old` is deprecated" in told


def test_it_is_noted_where_the_test_records_warnings_itself(library, ours):
    with pytest.warns(FutureWarning, match="deprecated"):
        ours(library["renamed"])
    assert len(deprecations.taken()) == 1


@pytest.mark.parametrize("how", ["renamed", "told_once"])
def test_a_call_of_a_library_alone_is_not(library, how):
    library[how]()
    assert deprecations.taken() == []


def test_other_warnings_are_shown_and_not_noted(library, ours):
    with pytest.warns(UserWarning, match="few rows"):
        ours(library["ordinary"])
    assert deprecations.taken() == []


def test_a_library_that_warns_as_it_is_imported_is_not_ours(tmp_path, monkeypatch, ours):
    (tmp_path / "warns_at_import.py").write_text("import warnings\nwarnings.warn('imp is deprecated', FutureWarning)\n")
    monkeypatch.syspath_prepend(tmp_path)
    ours(__import__, "warns_at_import")
    assert deprecations.taken() == []


def test_a_known_call_of_a_library_itself_is_left_out(library, ours, tmp_path, monkeypatch):
    between = module(LIBRARY, tmp_path / "site-packages" / "between" / "x.py")["outer"]
    monkeypatch.setitem(deprecations.NOT_OURS, "between > library: `old` is deprecated", "a test")
    ours(between, library["renamed"])
    ours(between, library["told_once"])
    assert deprecations.taken() == []
    ours(library["renamed"])
    assert len(deprecations.taken()) == 1


def test_what_is_noted_fails_the_test(library, ours):
    ours(library["renamed"])
    running = pytest_runtest_call(item=None)
    next(running)
    with pytest.raises(pytest.fail.Exception, match=r"deprecated calls of ours:\n.*none_such.py:3 > library: `old`"):
        running.send(None)
