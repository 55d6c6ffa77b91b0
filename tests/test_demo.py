"""The demo as a newcomer runs it: every method, and two commands to go on with."""

from pathlib import Path

import pytest
from datasets import DatasetDict

from hf_mner_aug import demo, load_sample
from hf_mner_aug.methods import METHODS, method_class


def test_only_a_method_that_retrieves_by_default_is_given_a_corpus():
    for name in set(METHODS) - {"rmda"}:
        assert demo._params(method_class(name), DatasetDict()) == {}
    found = demo._params(method_class("rmda"), load_sample())
    assert Path(found["corpus"]).is_file()


@pytest.mark.slow
def test_the_demo_shows_every_method(call, tmp_path):
    code, said, _ = call("demo", "--out", "a demo")
    assert code == 0
    assert sorted(folder.name for folder in (tmp_path / "a demo").iterdir() if folder.is_dir()) == [
        f"{name}_20pct" for name in sorted(METHODS)
    ]
    assert said.count("verified") == len(METHODS)
    assert "hf-mner-aug show 'a demo' rmda_20pct" in said
