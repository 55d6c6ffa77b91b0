"""A run that makes nothing is no success, and what became of the posts adds up, whatever the method."""

import functools
import warnings

import pytest
from datasets import Dataset, DatasetDict, load_dataset
from places import DATA
from test_contract import build, copies

from hf_mner_aug import augment, publish
from hf_mner_aug.exceptions import NothingMade, UsageError
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.pages.config import read_sheet
from hf_mner_aug.publishing.folder import read_note
from hf_mner_aug.readers import read
from hf_mner_aug.runs.funnel import asked_for, nothing_made, outcomes
from hf_mner_aug.transform import Reject
from hf_mner_aug.untrusted.printable import for_markdown

POSTS = 14  # of the plain set's train


@pytest.fixture(params=sorted(METHODS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(splits, tmp_path_factory):
    """The plain set as a user has it."""
    place = tmp_path_factory.mktemp("plain")
    for split, rows in splits.items():
        rows.to_parquet(place / f"{split}-00000-of-00001.parquet")
    return place


def settings(method):
    """Return a method's parameters as the command line takes them."""
    for name, value in method.params.items():
        typed = ",".join(value) if isinstance(value, tuple) else {None: "none"}.get(value, value)
        if typed != "":
            yield from ("--set", f"{name}={typed}")


def rejecting(method, monkeypatch, reason):
    monkeypatch.setattr(type(method), "rewrite", lambda self, posts, draws: [Reject(reason) for _ in posts])


# ---------------------------------------------------------------- exit code and line


def test_a_command_that_makes_nothing_says_why_and_what_to_do(name, folder, call, tmp_path, monkeypatch):
    method = build(name, copies=copies(name))
    reason, entry = list(method.rejects.items())[-1]
    rejecting(method, monkeypatch, reason)
    arguments = ["augment", folder, "--method", name, "--copies", method.copies, *settings(method), "--out", "aug"]
    code, out, err = call(*arguments, "--yes")
    asked = (20 if method.mode == "replace" else POSTS) * method.copies
    assert code == 3
    assert [line for line in err.splitlines() if "no post" in line] == [
        f"no post was made: {asked} of {asked} {reason}; {entry.advise()}"
    ]
    assert f"rejected: {reason}" in out
    assert "load_dataset" not in out, "nothing is published: the advice can be followed at once"
    assert not (tmp_path / "aug").exists()


def test_python_says_the_same(name, splits, tmp_path, monkeypatch):
    method = build(name, copies=copies(name))
    reason, entry = next(iter(method.rejects.items()))
    rejecting(method, monkeypatch, reason)
    with pytest.warns(UserWarning, match=f"no post was made: .* {reason}; ") as told:
        run = augment(splits, method, out=tmp_path / "aug", progress=False)
    (line,) = {str(warning.message) for warning in told if "no post" in str(warning.message)}
    assert line.endswith(entry.advice)
    assert len(run.rejects) == run.counts["posts"] * method.copies, "what was rejected can be looked at"
    with pytest.raises(NothingMade) as refused:
        publish(run, tmp_path / "aug", allow_empty=False)
    assert (str(refused.value), refused.value.reason) == (line, "nothing_made")
    assert isinstance(refused.value, UsageError)
    assert not (tmp_path / "aug").exists()
    with pytest.warns(UserWarning, match="no post was made"):
        done = publish(run, tmp_path / "aug")
    assert load_dataset(str(tmp_path / "aug"), done.config)["train"].num_rows == POSTS


def test_nothing_to_do_is_said_too(folder, call, monkeypatch):
    method = method_class("memory_hard")
    monkeypatch.setattr(method, "rewrite", lambda self, posts, draws: [None] * len(posts))
    code, out, err = call("augment", folder, "--method", "memory_hard", "--set", "detector=", "--out", "aug")
    assert code == 3
    assert "no post was made: 28 of 28 with nothing to do; try `--set spurious=true --set mining=false`, or mine" in err
    assert "nothing to do" in out


def test_dropped_posts_are_not_made_either(splits, tmp_path):
    one = DatasetDict(train=splits["train"].select([1]), validation=splits["train"].select([1]))
    run = augment(one, build("eda", copies=3, operations=("swap",)), out=tmp_path / "aug", progress=False)
    line = nothing_made({**run.counts, "dropped": {"leak_text": 3}, "kept": 0}, run.method)
    assert line == "no post was made: 3 of 3 dropped as leak_text; take other posts as train or as corpus"


def test_settings_that_are_set_already_are_not_advised():
    funnel = {"posts": 337, "made": 0, "rejected": {"no_hit": 3366, "no_entity": 4}, "idle": 0}
    ask = functools.partial(build, "rmda", copies=10)
    assert nothing_made(funnel, ask(require="all", results=10)).startswith(
        "no post was made: 3,366 of 3,370 no_hit; try `--set require=any --set results=50`, or search more posts"
    )
    assert nothing_made(funnel, ask(require="any", results=10)).startswith(
        "no post was made: 3,366 of 3,370 no_hit; try `--set results=50`, or search"
    )
    assert nothing_made(funnel, ask()).startswith("no post was made: 3,366 of 3,370 no_hit; search more posts")
    assert nothing_made({**funnel, "posts": 0, "rejected": {}}, ask()) == (
        "no post was made: there is none to make it of"
    )


def test_one_post_is_enough(folder, call, monkeypatch):
    method = method_class("eda")
    rewrite = method.rewrite
    monkeypatch.setattr(
        method, "rewrite", lambda self, posts, draws: [*rewrite(self, posts, draws)[:1], *[None] * (len(posts) - 1)]
    )
    code, out, err = call("augment", folder, "--method", "eda", "--out", "aug")
    assert (code, "no post was made" in err) == (0, False)
    assert "load_dataset" in out


# ---------------------------------------------------------------- tables that add up


def check_sums(method, splits, out):
    """See that asked is rejected + nothing to do + dropped + kept, by the same numbers everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = augment(splits, method, out=out, progress=False)
        done = publish(run, out)
    funnel = done.funnel
    assert funnel["idle"] == funnel["posts"] * method.copies - funnel["made"] - sum(funnel["rejected"].values())
    assert funnel["made"] == funnel["kept"] + sum(funnel["dropped"].values())
    title, asked = asked_for(funnel, method.copies)
    counts = outcomes(funnel, method.copies)
    assert sum(counts.values()) == asked == run.counts["posts"] * method.copies
    assert read_note(out / done.config)["funnel"] == funnel
    card = (out / "README.md").read_text()
    for line, count in {title: asked, **counts}.items():
        told = f"**{line}** | **{count}**" if line == "kept" else f"{for_markdown(line)} | {count}"
        assert f"| {told} |" in card
    if counts["kept"]:  # else there is no page
        assert read_sheet(out, done.config, posts=1).funnel == {title: asked, **counts}
    rows = load_dataset(str(out), done.config)
    assert sum(new for split in rows.values() for new in is_new(split, method)) == counts["kept"]


def is_new(rows, method):
    return [found == method.name for found in rows["method"]]


def test_what_became_of_the_posts_adds_up(name, splits, tmp_path):
    check_sums(build(name, copies=copies(name)), splits, tmp_path / "aug")


def test_it_adds_up_on_the_sample_set(name, tmp_path):
    from hf_mner_aug import load_sample

    few = DatasetDict({split: rows.select(range(min(30, len(rows)))) for split, rows in load_sample().items()})
    chosen = {"filter": False} if name == "rmda" else {}
    check_sums(method_class(name)(copies=copies(name), **chosen), few, tmp_path / "aug")


@pytest.fixture(scope="module")
def tweets():
    """The first posts of Twitter-2017, 17 of the set with pictures."""
    if not (DATA / "tweets_with_images").is_dir():
        pytest.skip(f"no real data in {DATA} ($MNER_DATA)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reading = read("twitter2017", DATA / "twitter2017", images=DATA / "tweets_with_images" / "images")
        rows = {split: list(reading.rows(split)) for split in ("train", "validation", "test")}
    some = {split: [row for i, row in enumerate(found) if i < 20 or row["image"]] for split, found in rows.items()}
    return DatasetDict({s: Dataset.from_list(found, features=reading.features) for s, found in some.items()})


def test_it_adds_up_on_real_posts(name, tweets, tmp_path):
    chosen = {"filter": False, "image": False} if name == "rmda" else {}
    check_sums(method_class(name)(copies=copies(name), **chosen), tweets, tmp_path / "aug")


@pytest.mark.parametrize(("posts", "expected"), [(3, "expected 2 to 3 folds"), (1, "expected posts of at least 2")])
def test_fewer_posts_than_folds(posts, expected, mner):
    few = mner.select(range(posts))
    with pytest.raises(UsageError, match=f"folds=5 for {posts} posts of {posts} different texts .*: {expected}"):
        method_class("memory_hard")().fit(few)
