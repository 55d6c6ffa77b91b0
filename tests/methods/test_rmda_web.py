"""RMDA on a web of its own: from the search to the published config, what it took, and what stops it."""

import json
import os
import re

import pytest
from conftest import as_dataset, parse, picture
from datasets import DatasetDict, load_dataset
from typer.testing import CliRunner
from web_server import BAD, WebServer

from hf_mner_aug import RMDA, augment, publish
from hf_mner_aug.cli import app
from hf_mner_aug.exceptions import EndpointError, UsageError
from hf_mner_aug.models.search import web as web_posts
from hf_mner_aug.publishing.hub import verify as verify_config
from hf_mner_aug.runs.estimate import estimate
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.schema import Post, mner_features

KEY = "serper-key-0123456789"
NAMES = ["Adele", "Sting", "Messi", "Rihanna", "Drake", "Shakira"]
GOLD = [f"we all love [PER {name}] so very much" for name in NAMES] + ["a quiet day without any name"]
# Of each name eleven pages: five good ones and some of each bad kind.
KINDS = (
    "og",
    "twitter",
    "article",
    "private",
    "script-laden",
    "scripts only",
    "image bomb",
    "og",
    "gone",
    "huge",
    "no image",
)
TEXTS = [f"page {i} is so glad to see {name} sing in the rain" for name in NAMES for i in range(11)]


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SERPER_API_KEY", KEY)
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_MNER_AUG_WEB", "delay=0,concurrency=8,timeout=10,allow=127.0.0.1")
    monkeypatch.setattr("hf_mner_aug.models.search.fetching.SITE", "http://127.0.0.1:9/")  # nobody is there
    web_posts._STREAK.clear()


@pytest.fixture
def gold():
    return as_dataset([Post(f"g{i}", *parse(t), (picture(i, "PNG"),)) for i, t in enumerate(GOLD)], mner_features())


@pytest.fixture
def server():
    with WebServer(TEXTS, key=KEY, kinds=KINDS) as running:
        yield running


def method(server, **more):
    return RMDA(corpus=f"serper:{server.url}", filter=False, results=11, **more)


def run(server, gold, out, **more):
    return augment(DatasetDict(train=gold), method(server, **more), out=out, progress=False, part_size=2)


def test_posts_of_the_web_become_rows(server, gold, tmp_path):
    done = run(server, gold, tmp_path / "out", copies=11)
    rows = done.dataset
    good = [i for i, kind in enumerate(KINDS) if kind not in BAD]
    assert len(rows) == len(NAMES) * len(good)
    assert [row["id"] for row in rows] == [f"g{i}+rmda.{copy}" for i in range(6) for copy in range(len(good))]
    first = rows.with_format("arrow")[0:1].to_pylist()[0]
    assert " ".join(first["tokens"]) == TEXTS[0]
    details = json.loads(first["provenance"])["details"]
    assert details["url"] == server.page(0)
    assert details["source"] == "127.0.0.1"
    assert "image_urls" not in details
    assert first["image"]["bytes"].startswith(b"\xff\xd8")
    assert str(tmp_path) not in str(first["image"]["path"])
    assert KEY not in json.dumps(done.recipe.to_dict()) + first["provenance"]
    counts = done.counts
    assert counts["rejected"]["private"] == counts["rejected"]["gone"] == counts["rejected"]["bad_image"] == 6
    assert counts["rejected"]["no_entity"] == 11
    usage = counts["usage"]
    assert (usage["searches"], usage["pages"]) == (6, 66)
    assert usage["usd"] == pytest.approx(0.006)
    assert usage["accepted_per_search"] == len(good)
    assert usage["usd_per_500"] == pytest.approx(500 * 0.006 / len(rows), rel=1e-3)
    assert json.loads((done.folder / "run.json").read_text())["counts"]["usage"] == usage
    # Pictures are fetched of what is taken over, and of nothing else.
    fetched = {int(path[3:-4]) // 10 for path in server.paths() if path.startswith("/i/")}
    assert fetched == {n for n in range(66) if KINDS[n % 11] not in BAD or KINDS[n % 11] == "image bomb"}
    assert publish(done, tmp_path / "out").funnel["kept"] > 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Calls: pages 66, " in card
    assert f"accepted per search {len(good)}." in card
    assert re.search(r"500 accepted posts took \d+ seconds and USD 0\.\d+", card)


def test_text_only_fetches_no_picture_and_order_and_batches_change_nothing(server, gold, tmp_path):
    fitted = method(server, image=False, copies=11).fit(gold)
    rows = fitted.map(gold)
    assert not any(path.startswith("/i/") for path in server.paths())
    one_by_one = gold.map(fitted, batched=True, batch_size=1, features=fitted.features)
    assert rows.with_format("arrow")[:].equals(one_by_one.with_format("arrow")[:])
    assert len(server.searches) == 6


def test_spent_credit_keeps_the_parts_and_the_next_run_pays_the_rest(server, gold, tmp_path):
    server.credit = 3
    with pytest.raises(EndpointError, match=r"the credit is spent.* run again to go on"):
        run(server, gold, tmp_path / "out")
    kept = sorted(path.name for path in (tmp_path / "out.runs").glob("*/parts/*.json"))
    assert kept == ["00000.json"]
    server.credit = 100
    done = run(server, gold, tmp_path / "out")
    assert len(server.searches) == 6
    assert len({search["q"] for search in server.searches}) == 6
    whole = done.dataset.with_format("arrow")[:]
    os.environ["HF_MNER_AUG_CACHE"] = str(tmp_path / "another")
    again = run(server, gold, tmp_path / "again").dataset.with_format("arrow")[:]
    assert whole.equals(again)


def test_no_key_is_one_line(server, gold, tmp_path, monkeypatch):
    monkeypatch.delenv("SERPER_API_KEY")
    with pytest.raises(UsageError, match="asks for a key: set SERPER_API_KEY"):
        run(server, gold, tmp_path / "out")


def test_the_engines_address_is_checked_and_the_default_one_has_no_name():
    assert RMDA(corpus="serper:https://google.serper.dev").pinned().corpus == "serper"
    for wrong in ("serper:ftp://x", "serper:https://user:key@host", "serper:https://host?key=1"):
        with pytest.raises(UsageError, match="base_url must be"):
            RMDA(corpus=wrong).pinned()


def test_a_dry_run_counts_what_the_run_will_ask(server, gold):
    recipe, subset = resolve(recipe_for(method(server)), DatasetDict(train=gold))
    counted = estimate(recipe, subset)
    assert server.log == [], "nobody is asked"
    assert (counted.calls, counted.usage) == (6, None)
    assert counted.usd == pytest.approx(0.006)
    assert "USD 0.001 a search" in counted.assumed
    expected = estimate(recipe, subset, posts=1, probe=True)
    assert (expected.calls, len(server.searches)) == (6, 5)
    assert expected.usd == pytest.approx(0.006)
    assert counted.rows >= expected.rows == 6 * sum(kind not in BAD for kind in KINDS)
    assert expected.usage["searches"] == 5


def test_the_command_line_replays_and_verifies(server, gold, tmp_path):
    gold.to_parquet(tmp_path / "source" / "train.parquet")
    call = ["augment", str(tmp_path / "source"), "--method", "rmda", "--set", f"corpus=serper:{server.url}"]
    call += ["--set", "filter=false", "--web", f"record={tmp_path / 'record'}", "--yes"]
    names = ("HF_MNER_AUG_WEB", "HF_MNER_AUG_ENDPOINT", "SERPER_API_KEY", "HF_MNER_AUG_CACHE")
    environment = {name: os.environ.get(name, "") for name in names}

    def cli(*arguments):
        os.environ.update(environment)
        result = CliRunner().invoke(app, list(arguments))
        os.environ.update(environment)
        return result

    dry = cli(*call, "--out", str(tmp_path / "one"), "--dry-run")
    assert "calls: 6, USD: 0.006" in dry.output
    assert "nothing was sent for this estimate" in dry.output
    assert server.log == []
    probed = cli(*call, "--out", str(tmp_path / "one"), "--dry-run", "--probe")
    assert "calls: 6, USD: 0.006" in probed.output
    assert "500 rows:" in probed.output
    first = cli(*call, "--out", str(tmp_path / "one"))
    assert first.exit_code == 0, first.output
    paid = len(server.log)
    second = cli(*call, "--out", str(tmp_path / "two"), "--replay")
    assert second.exit_code == 0, second.output
    assert len(server.log) == paid
    rows = [
        load_dataset(str(tmp_path / name), "rmda_100pct")["train"].with_format("arrow")[:] for name in ("one", "two")
    ]
    assert rows[0].equals(rows[1])
    os.environ["HF_MNER_AUG_WEB"] = f"record={tmp_path / 'record'}"
    verify = ["verify", str(tmp_path / "one"), "rmda_100pct", "--rerun", "--source", str(tmp_path / "source")]
    same = CliRunner().invoke(app, verify)
    assert "rerun " in same.output
    assert "the same" in same.output, same.output
    os.environ["HF_MNER_AUG_WEB"] = f"record={tmp_path / 'nothing'}"
    other = CliRunner().invoke(app, verify)
    assert "not re-runnable here" in other.output
    assert "the same" in other.output
    with pytest.raises(EndpointError):  # nor does the library ask anybody
        verify_config(str(tmp_path / "one"), "rmda_100pct", rerun=True, source=str(tmp_path / "source"))
    assert len(server.log) == paid
    assert os.environ["HF_MNER_AUG_WEB"] == f"record={tmp_path / 'nothing'}"
    os.environ.update(environment)
