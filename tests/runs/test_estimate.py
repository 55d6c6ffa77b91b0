"""What a run will take, told before it is made; who is asked, and when."""

import gc
import io
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from conftest import Terminal
from datasets import concatenate_datasets

from hf_mner_aug import EDA, LSMS, augment, cli, methods, progress, publish
from hf_mner_aug.runs import estimate as estimates
from hf_mner_aug.runs.estimate import Estimate, estimate, rough_seconds
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.schema import Codec, Post
from hf_mner_aug.transform import Facts, Method, Model, iterate_posts


@dataclass(frozen=True, kw_only=True)
class Heavy(Method):
    """Shout, with a model that takes long to learn."""

    name: ClassVar[str] = "heavy"
    facts: ClassVar[Facts] = Facts(does="shouts", paper="none", learns="much", images="kept", boxes="kept")
    fits: ClassVar[list[int]] = []

    model: str = "org/heavy"
    shout: bool = True

    @property
    def models(self):
        return (Model(role="text", id=self.model),) if self.model else ()

    def learn(self, train, validation):
        posts = list(train)
        self.fits.append(len(posts))
        return len(posts)

    def rewrite(self, posts, draws):
        if not self.shout:
            return list(posts)
        return [replace(post, tokens=[word.upper() for word in post.tokens]) for post in posts]


@pytest.fixture
def call(mner, monkeypatch, capsys, tmp_path):
    """Augment 20 posts with the heavy method: exit code, standard output, standard error, the fits."""
    mner.to_parquet(tmp_path / "set" / "train.parquet")
    monkeypatch.setitem(methods.METHODS, "heavy", "Heavy")
    monkeypatch.setitem(sys.modules, "hf_mner_aug.methods.heavy", sys.modules[__name__])
    monkeypatch.setattr(Heavy, "fits", [])

    def run(*more, stdin=None, method="heavy"):
        arguments = ["augment", tmp_path / "set", "--method", method, "--out", tmp_path / "out", *more]
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", stdin or io.StringIO(""))
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        fits, Heavy.fits[:] = [*Heavy.fits], []
        return end.value.code or 0, said.out, said.err.strip(), fits

    return run


def test_without_a_terminal_a_yes_is_asked_for_before_learning(call, tmp_path):
    code, out, told, fits = call(stdin=io.StringIO("y\n"))
    assert (code, out, fits) == (2, "", [])
    assert told == (
        "error: heavy uses org/heavy (text), and there is no terminal to ask in: see its cost with --dry-run, "
        "then pass --yes"
    )
    assert not (tmp_path / "out.runs").exists()
    assert call("--dry-run")[::3] == (0, [20])
    assert call("--yes")[::3] == (0, [20])


def test_an_estimate_of_posts_that_will_all_be_dropped_is_one(call):
    code, out, told, _ = call("--dry-run", "--set", "shout=false")
    assert (code, "warning" in told) == (0, False)
    assert out.startswith("20 posts give about 20 rows in ")
    assert call("--yes", "--set", "shout=false")[0] == 3, "all repeat their gold posts"


def test_the_gate_looks_at_the_models_really_used(call):
    assert call("--set", "model=")[::3] == (0, [20]), "no model, no question"


def test_in_a_terminal_the_estimate_is_shown_and_its_fit_is_used(call, monkeypatch):
    code, out, _, fits = call(stdin=Terminal(""))
    assert (code, fits) == (0, [20])
    assert "20 posts give about 20 rows in " in out
    assert "Go on?" not in out, "it takes seconds"
    monkeypatch.setattr(cli.run, "ASK_ABOVE_SECONDS", 0)
    code, out, _, fits = call("--overwrite", "--seed", 1, stdin=Terminal("n\n"))
    assert (code, fits) == (1, [20])
    assert "Go on?" in out


def test_a_long_run_without_models_is_known_from_a_few_posts(call, mner, monkeypatch):
    monkeypatch.setattr(cli.run, "ESTIMATE_ABOVE_ROWS", 10)
    monkeypatch.setattr(estimates, "rough_seconds", lambda recipe, gold: 7200.0)
    code, _, told, fits = call("--set", "model=")
    assert (code, fits) == (2, [])
    assert "heavy takes more than 2 hours in one process, and there is no terminal to ask in" in told
    monkeypatch.setattr(estimates, "rough_seconds", lambda recipe, gold: 60.0)
    assert call("--set", "model=")[::3] == (0, [20])


def numbered(mner, n):
    rows = concatenate_datasets([mner] * (n // len(mner)))
    return rows.map(lambda row, i: {"id": str(i)}, with_indices=True, input_columns=None)


def test_a_rough_estimate_learns_from_a_few_posts(mner, monkeypatch):
    monkeypatch.setattr(Heavy, "fits", [])
    seen = []

    def timed(recipe, gold):
        seen.append(len(gold["train"]))
        return Estimate(0, 0, 2.0 + len(gold["train"]) / 100, 0)

    monkeypatch.setattr(estimates, "estimate", timed)
    recipe, gold = resolve(recipe_for(LSMS()), {"train": numbered(mner, 2000)})
    assert rough_seconds(recipe, gold) == pytest.approx(20.0), "what learning takes however many posts there are is out"
    assert seen == [200, 400]


def test_an_estimate_is_what_making_and_publishing_more_posts_adds(mner, monkeypatch):
    """A clock of our own: 1 s for each call, 10 ms a post made, 20 ms a post published."""
    now = [0.0]
    monkeypatch.setattr(estimates, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    make_part = estimates.make_part

    def made(folder, recipe, method, gold, part):
        make_part(folder, recipe, method, gold, part)
        now[0] += 0.01 * (part.stop - part.start)

    def published(run, out):
        now[0] += 1 + 0.02 * len(run.gold["train"])

    monkeypatch.setattr(estimates, "make_part", made)
    recipe, gold = resolve(recipe_for(EDA(copies=1)), {"train": numbered(mner, 2000)})
    found = estimate(recipe, gold, publish=published)
    assert found.seconds == pytest.approx(2000 * 0.03 + 1, rel=0.01)
    assert found.posts == 2000
    monkeypatch.setattr(estimates, "_try_workers", lambda recipe, method, gold, n_workers: (5.0, 0.03 / n_workers))
    four = estimate(recipe, gold, publish=published, num_proc=4)
    assert four.seconds == pytest.approx(2000 * (0.03 / 4 / 4 + 0.02) + 1 + 5, rel=0.01)
    monkeypatch.setattr(estimates.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(EDA, "models", (Model(role="text", id="org/large"),))
    four = estimate(recipe, gold, publish=published, num_proc=4)
    assert four.seconds == pytest.approx(2000 * (0.01 / 4 + 0.02) + 1 + estimates.WORKER_START_S, rel=0.01)
    made = augment({"train": gold["train"]}, EDA(copies=1), progress=False).counts["made"]
    assert found.rows == pytest.approx(made, rel=0.05)


def test_workers_are_timed_without_what_they_load(mner, monkeypatch):
    """A clock of our own: 5 s to start, 2 s to load what is needed, 20 ms a post, by four workers at a time."""
    now, sizes, slow = [0.0], [], [0, 1, 2, 5]  # the last worker has loaded when another has made two parts
    monkeypatch.setattr(estimates, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))

    def made(work, parts, n_workers):
        now[0] += 5 + 2
        for part in parts:
            sizes.append(part.stop - part.start)
            now[0] += 0.02 * sizes[-1] / n_workers
            yield part

    def note(folder, part):
        return {"seconds": 2 * (part.index in slow) + 0.02 * (part.stop - part.start)}

    monkeypatch.setattr(estimates, "make_all", made)
    monkeypatch.setattr(estimates, "part_note", note)
    recipe, gold = resolve(recipe_for(EDA(copies=1)), {"train": numbered(mner, 5000)})
    found = estimates._try_workers(recipe, recipe.build(), gold, 4)
    assert found == (pytest.approx(7), pytest.approx(0.02))
    assert sizes == [250] * 20, "parts of the run's size"
    found = estimates._try_workers(recipe, recipe.build(), {"train": gold["train"].select(range(32))}, 4)
    assert found == (pytest.approx(7), pytest.approx(0.02))
    assert sizes[20:] == [2] * 16, "smaller ones of few posts, so that each worker makes some"


def test_workers_of_an_estimate_are_real_ones(mner):
    recipe, gold = resolve(recipe_for(EDA(copies=1)), {"train": mner})
    start, each = estimates._try_workers(recipe, recipe.build().fit(mner), gold, 2)
    assert 0 < each < 0.1
    assert start > 0.2, "no interpreter imports this package sooner"


def test_an_estimate_publishes_nothing_where_the_user_looks(mner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, gold = resolve(recipe_for(EDA(copies=1)), {"train": mner})
    found = estimate(recipe, gold, publish=publish)
    assert found.disk_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_learning_shows_a_bar_where_it_takes_a_while(mner, monkeypatch, capsys):
    EDA().fit(mner)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(progress.progress_bar.__kwdefaults__, "delay", 0)
    EDA().fit(mner)
    told = capsys.readouterr().err
    assert "eda reads train: 100%" in told
    assert "learning from them" in told
    EDA().fit(mner, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", [EDA, LSMS])
def test_posts_are_read_once_and_let_go(method, mner):
    """A pass over a million posts takes a minute, and all of them at once 4.8 GB."""
    posts = [*iterate_posts(mner, Codec(mner.features))]
    alive = []

    def once():
        for post in posts:
            copy = replace(post, tokens=[*post.tokens])
            yield copy
            del copy
            alive.append(sum(type(found) is Post for found in gc.get_objects()) - len(posts))

    assert method().learn(once(), ()) == method().learn(posts, ())
    assert len(alive) == len(posts)
    assert max(alive) <= min(alive) + 1
