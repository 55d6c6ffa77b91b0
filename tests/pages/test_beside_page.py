"""Two configs side by side: what stands where, what only one has, and what is refused."""

import re
import sys

import pytest
from conftest import as_dataset
from datasets import DatasetDict, load_dataset
from parsed_page import HARMLESS, HOSTILE, TAGS, cells, parse, photo, words

from hf_mner_aug import EDA, LSMS, MixGen, augment, cli, publish, show_beside
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.pages.beside import read_beside
from hf_mner_aug.schema import Entity, Post, mner_features


@pytest.fixture(scope="module")
def splits(mner):
    return DatasetDict(train=mner.select(range(14)), validation=mner.select(range(14, 17)), test=mner.select([17, 18]))


@pytest.fixture(scope="module")
def repo(splits, tmp_path_factory):
    out = tmp_path_factory.mktemp("beside") / "aug"
    for method in (LSMS(copies=5), EDA(copies=1), MixGen()):
        publish(augment(splits, method, out=out, progress=False), out)
    return out


def test_each_gold_post_stands_beside_what_either_made_of_it(repo, splits):
    sheet = read_beside((repo, "eda_100pct"), (repo, "lsms_100pct"), posts=100)
    gold = {row["id"]: row for row in splits["train"]}
    made = {name: {} for name in ("eda_100pct", "lsms_100pct")}
    for name, found in made.items():
        for row in load_dataset(str(repo), name, split="train"):
            if row["method"] != "gold":
                found.setdefault(row["source_id"], []).append(row["tokens"])
    eda, lsms = made.values()
    assert {row.id for row in sheet.rows} == {*eda, *lsms}
    assert sheet.counts == {
        "both": len({*eda} & {*lsms}),
        "eda_100pct alone": len({*eda} - {*lsms}),
        "lsms_100pct alone": len({*lsms} - {*eda}),
    }
    page = parse(sheet.to_html())
    for article, row in zip(page.find("article"), sheet.rows, strict=True):
        before, first, second = cells(article)
        assert words(before) == " ".join(" ".join(gold[row.id]["tokens"]).split())
        for cell, found in ((first, eda), (second, lsms)):
            shown = [" ".join(text.text(without=("small", "sup")).split()) for text in cell.find("p", "text")]
            assert shown == [" ".join(" ".join(tokens).split()) for tokens in found.get(row.id, [])[:3]]
    copied = next(row for row in sheet.rows if len(lsms.get(row.id, ())) > 3)
    assert copied.halves[1].more == len(lsms[copied.id]) - 3
    assert f"and {copied.halves[1].more} more made of it" in sheet.to_html()


def test_a_post_that_one_config_did_not_change_says_why(repo, splits, tmp_path):
    sheet = read_beside((repo, "eda_100pct"), (repo, "lsms_100pct"))
    reasons = {row.id: row.halves[0].reason for row in sheet.rows if not row.halves[0].pairs}
    assert reasons
    assert any(reason.startswith("nothing made of it: rejected as ") for reason in reasons.values())
    assert all(reason in sheet.to_html() for reason in reasons.values())
    part = augment(splits, EDA(), out=tmp_path / "part", ids_train=["p1", "p4"], progress=False)
    done = publish(part, tmp_path / "part")
    sheet = read_beside((repo, "mixgen_100pct"), (tmp_path / "part", done.config))
    others = [row.halves[1].reason for row in sheet.rows if row.id not in ("p1", "p4")]
    assert {*others} == {"not among the posts that it was given"}


def test_configs_of_different_sources_are_refused(repo, splits, tmp_path):
    other = DatasetDict({**splits, "train": splits["train"].select(range(10))})
    publish(augment(other, EDA(), out=tmp_path / "aug", progress=False), tmp_path / "aug")
    with pytest.raises(UsageError, match="eda_100pct and eda_100pct are made of different sources") as error:
        show_beside(f"{repo}:eda_100pct", f"{tmp_path / 'aug'}:eda_100pct", out=tmp_path / "page.html")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(UsageError, match="eda_100pct stands beside itself"):
        show_beside(f"{repo}:eda_100pct", "eda_100pct")
    with pytest.raises(UsageError, match="holds no config lms_100pct"):
        show_beside(f"{repo}:eda_100pct", f"{repo}:lms_100pct")
    with pytest.raises(UsageError, match="has the words 'nobody says this'"):
        read_beside((repo, "eda_100pct"), (repo, "lsms_100pct"), phrase="nobody says this")


def test_words_choose_posts_and_two_repos_stand_side_by_side(repo, splits, tmp_path):
    publish(augment(splits, EDA(copies=2), out=tmp_path / "aug", progress=False), tmp_path / "aug")
    path = show_beside(f"{repo}:eda_100pct", str(tmp_path / "aug"), out=tmp_path / "p.html", phrase="Lionel Messi")
    page = parse(path.read_text(encoding="utf-8"))
    (article,) = page.find("article")
    assert "Lionel Messi" in words(cells(article)[0])
    assert "with the words “Lionel Messi”" in page.text()
    names = [cell.find("h4")[0].text() for cell in cells(article)]
    assert names == ["gold", "aug:eda_100pct (first)", "aug:eda_100pct (second)"]
    assert str(tmp_path) not in path.read_text(encoding="utf-8")


def test_hostile_words_and_types_are_text(tmp_path):
    tokens = [word for word in HOSTILE if word.strip()]
    features = mner_features(("<b>X</b>", "Y"))
    said = [*tokens, "so", "very", "nice"]
    shown = [photo(9, 9, colour=(80 * i, 0, 0)) for i in range(4)]
    posts = [Post(f"<i>{i}", [*said, f"n{i}"], (Entity(0, 1, "<b>X</b>"),), (shown[i],)) for i in range(4)]
    data = DatasetDict(train=as_dataset(posts[1:], features), test=as_dataset(posts[:1], features))
    for method in (EDA(), MixGen()):
        publish(augment(data, method, out=tmp_path / "aug", progress=False), tmp_path / "aug")
    html = read_beside((tmp_path / "aug", "eda_100pct"), (tmp_path / "aug", "mixgen_100pct")).to_html()
    page = parse(html)
    assert {node.tag for node in page.find_all()} <= TAGS
    assert not any(name.startswith("on") for node in page.find_all() for name in node.attributes)
    assert "default-src 'none'" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.search("[" + "".join(map(chr, HARMLESS)) + "]", html)
    links = [value for node in page.find_all() for name, value in node.attributes.items() if name in ("href", "src")]
    assert all(value.startswith(("#", "data:")) for value in links)


@pytest.mark.parametrize(
    "named", ["{repo} eda_100pct lsms_100pct", "{repo}:eda_100pct lsms_100pct", "{repo}:eda_100pct {repo}:lsms_100pct"]
)
def test_the_command_takes_two_configs(named, repo, tmp_path, monkeypatch, capsys):
    out = tmp_path / "page.html"
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "show", *named.format(repo=repo).split(), "--out", str(out)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code, capsys.readouterr().err
    title = parse(out.read_text(encoding="utf-8")).find("title")[0].text()
    assert title == "eda_100pct and lsms_100pct, train: side by side"
