"""What a user types and has: options of several values, cards with a byte order mark, folders with one config."""

import codecs
import re
from pathlib import Path

import pytest
import typer
from datasets import DatasetDict, load_dataset

from hf_mner_aug import (
    AMIA,
    EDA,
    LSMS,
    augment,
    cli,
    errors,
    evaluate,
    hydrate,
    load_sample,
    publish,
    quality,
    show,
    verify,
    withdraw,
)
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.untrusted.cards import load_card, read_card


@pytest.fixture(scope="module")
def sample():
    rows = load_sample()
    return DatasetDict({s: rows[s].select(range(8)) for s in rows})


@pytest.mark.parametrize("name", ["nowhere", "no/such/folder", "lines.jsonl", "here/lines.jsonl"])
def test_a_repo_that_is_neither_a_folder_nor_an_id_is_named_at_once(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hf_mner_aug.publishing.hub_repo.HubRepo.call", lambda *_: pytest.fail("the Hub was asked"))
    for file in ("lines.jsonl", "here/lines.jsonl"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("{}\n")
    found = "that is a file" if "lines" in name else "there is no such folder"
    told = re.escape(f"{name} is not a repo id: expected ORG/NAME, and {found}")
    for verb in (
        lambda: verify(name, "c"),
        lambda: hydrate(name, "c", "out"),
        lambda: evaluate(name, ["c"]),
        lambda: quality(name, ["c"]),
        lambda: errors(name, ["c"], ["crf"]),
        lambda: withdraw(name, ["1"]),
    ):
        with pytest.raises(UsageError, match=told):
            verb()
    with pytest.raises(UsageError, match="here is not a repo id: expected ORG/NAME, and that is a folder"):
        withdraw("here", ["1"])


# ---------------------------------------------------------------- options of several values


@pytest.mark.parametrize(
    ("typed", "repo"),
    [
        ("evaluate --configs a b org/repo", "org/repo"),
        ("evaluate --configs a b ./out", "./out"),
        ("evaluate --configs a b here", "here"),
        ("evaluate --configs a b nowhere", "nowhere"),
        ("evaluate --configs a b org/repo --seeds 0 1", "org/repo"),
        ("evaluate --configs a b here --seeds 0 1 --grid", "here"),
        ("evaluate --configs a b --seeds 0 1 here", "here"),
        ("evaluate --seeds 0 1 --configs a b nowhere", "nowhere"),
        ("evaluate --configs a b --seeds 0 1 --backbone crf here", "here"),
        ("evaluate --configs a b --seeds 0 1 --grid here", "here"),
        ("evaluate --configs=a b here --seeds=0 1", "here"),
        ("evaluate --configs a b --seeds 0 1 -- here", "here"),
        ("evaluate here --configs a b --seeds 0 1", "here"),
    ],
)
def test_what_is_one_too_many_for_an_option_is_the_repo(tmp_path, monkeypatch, typed, repo):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    command = typer.main.get_command(cli.app).commands["evaluate"]
    verb, *arguments = cli._spread(typed.split())
    found = command.make_context(verb, arguments).params
    assert (found["repo"], [*found["configs"]]) == (repo, ["a", "b"])
    assert [*found["seeds"]] in ([0, 1], [0, 1, 2, 3, 4])
    assert ("--seeds" not in typed) == (len(found["seeds"]) == 5)


def test_every_verb_with_such_options_takes_its_argument_behind_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = typer.main.get_command(cli.app).commands
    for verb, option in (
        ("errors", "--configs"),
        ("errors", "--backbones"),
        ("curve", "--methods"),
        ("curve", "--seeds"),
        ("recommend", "--copies"),
        ("recommend", "--recipes"),
    ):
        rest = {"errors": [], "curve": ["--ids", "ids", "--out", "out"], "recommend": ["--out", "out"]}[verb]
        for other in {"errors": ("--configs", "--backbones"), "curve": ("--methods",), "recommend": ()}[verb]:
            rest += [other, "x"] if other != option else []
        found = commands[verb].make_context(verb, cli._spread([verb, *rest, option, "1", "2", "org/repo"])[1:]).params
        assert found["repo" if verb == "errors" else "source"] == "org/repo"
        assert list(map(str, found[option.removeprefix("--")])) == ["1", "2"]


def test_an_option_that_has_several_values_in_one_verb_has_one_in_another():
    single = ["augment", "--copies", "4", "set", "--out", "o"]
    assert cli._spread(single) == single
    typed = ["recommend", "--copies", "1", "4", "--out", "o", "set"]
    assert cli._spread(typed) == ["recommend", "--copies", "1", "--copies", "4", "--out", "o", "set"]


# ---------------------------------------------------------------- cards


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_on_a_card_loses_nothing(tmp_path, sample, end):
    out = tmp_path / "out"
    publish(augment(sample, LSMS(), config="a", progress=False), out)
    card = out / "README.md"
    text = card.read_text().replace("tags:\n", "tags:\n- mine\n") + "\nMy own words.\n"
    card.write_bytes(codecs.BOM_UTF8 + text.replace("\n", end).encode())
    assert load_card(card).data["tags"][0] == "mine"
    publish(augment(sample, LSMS(seed=1), config="b", progress=False), out)
    after = card.read_text()
    assert "My own words." in after
    assert "- mine\n" in after
    assert after.count("\n---\n") == text.count("\n---\n")
    assert "\ufeff" not in after
    assert len(load_dataset(str(out), "a")["train"]) > 8
    assert len(load_dataset(str(out), "b")["train"]) > 8
    card.write_bytes(codecs.BOM_UTF8 + card.read_bytes())
    withdraw_posts(out, [sample["train"]["id"][0]])
    assert read_card(card).count("config_name: a") == after.count("config_name: a")


def test_a_source_whose_card_datasets_cannot_read_is_refused(tmp_path, sample):
    folder = tmp_path / "set"
    publish(augment(sample, LSMS(), config="a", progress=False), folder)
    card = folder / "README.md"
    card.write_bytes(codecs.BOM_UTF8 + card.read_bytes())
    with pytest.raises(DataError, match=r"README\.md begins with a byte order mark, .*save it as UTF-8 without one"):
        load_source(f"{folder}:a")
    plain = tmp_path / "plain"
    plain.mkdir()
    sample["train"].to_parquet(plain / "train.parquet")
    (plain / "README.md").write_bytes(codecs.BOM_UTF8 + b"# Posts\n")
    assert len(load_source(str(plain))["train"]) == 8


# ---------------------------------------------------------------- pages


def test_a_folder_with_one_config_is_shown_without_its_name(tmp_path, monkeypatch, sample):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no folder out"):
        show("out")
    publish(augment(sample, LSMS(), config="a", progress=False), "out")
    assert show("out") == Path("a.html")
    Path("empty").mkdir()
    with pytest.raises(UsageError, match="empty holds no config"):
        show("empty")
    publish(augment(sample, EDA(), config="b", progress=False), "out")
    with pytest.raises(UsageError, match="out holds several configs, name one: a, b"):
        show("out")


def test_a_page_has_no_empty_pill_and_no_empty_plot(tmp_path, sample, folders):
    blind = DatasetDict({s: rows.remove_columns("image").add_column("image", [None] * 8) for s, rows in sample.items()})
    blind = blind.cast_column("image", sample["train"].features["image"])
    out = tmp_path / "out"
    publish(augment(sample, AMIA(), config="c", out=out, progress=False), out)
    page = show(out, out=tmp_path / "page.html").read_text()
    values = re.findall(r"<dd><bdi>(.*?)</bdi></dd>", page)
    assert page.count('<div class="drawings">') == 1
    assert "0" in values
    assert not {"", "null", "{}", "[]"} & set(values)
    assert AMIA(image_model=str(folders / "sd")).fit(blind).exhibits().figures == ()
