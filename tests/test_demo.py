"""The demo as a newcomer runs it: every method, and two commands to go on with."""

import pytest

from hf_mner_aug.methods import METHODS


@pytest.mark.slow
def test_the_demo_shows_every_method(call, tmp_path):
    code, said, _ = call("demo", "--out", "a demo")
    assert code == 0
    assert sorted(folder.name for folder in (tmp_path / "a demo").iterdir() if folder.is_dir()) == [
        f"{name}_20pct" for name in sorted(METHODS)
    ]
    assert said.count("verified") == len(METHODS)
    assert "hf-mner-aug show 'a demo' rmda_20pct" in said
