import base64
import colorsys
import io
import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import as_dataset
from datasets import Dataset, DatasetDict, Features, Image, Value
from parsed_page import cells, look, parse, photo, words, write_config, write_rows
from PIL import Image as Pillow
from places import DATA

from hf_mner_aug import EDA, LSMS, augment, cli, publish
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.pages import HUES
from hf_mner_aug.pages.config import read_sheet, show
from hf_mner_aug.pages.posts import MANY, Album, Pair, Side
from hf_mner_aug.publishing.withdraw import withdraw_posts
from hf_mner_aug.schema import Codec, Entity, Post, Relation, augmented_features, mner_features
from hf_mner_aug.storage.parquet import write_shards


@pytest.fixture(scope="module")
def published(splits, tmp_path_factory):
    """A real config: fourteen posts, six copies."""
    out = tmp_path_factory.mktemp("report") / "aug"
    return out, publish(augment(splits, LSMS(copies=6), out=out, progress=False), out)


# ---------------------------------------------------------------- a published config


def test_every_made_post_stands_beside_its_source(published):
    out, done = published
    rows = Dataset.from_parquet(str(out / done.config / "train-*.parquet")).cast_column("image", Image(decode=False))
    gold = {row["id"]: row for row in rows if row["method"] == "gold"}
    made = [row for row in rows if row["method"] == "lsms"]
    codec = Codec(rows.features)
    page = look(out, done.config)
    articles = page.find("article")
    assert [article.find("h3")[0].text() for article in articles] == [row["id"] for row in made]
    for article, row in zip(articles, made, strict=True):
        source = gold[row["source_id"]]
        for cell, shown in zip(cells(article), (source, row), strict=True):
            assert words(cell) == " ".join(" ".join(shown["tokens"]).split())
            entities = codec.to_post(shown).entities
            assert [mark.text() for mark in cell.find("mark")] == [
                " ".join([*shown["tokens"][e.start : e.end], e.type]) for e in entities
            ]
            assert ("no picture" in cell.text()) == (shown["image"] is None)
        cell, same = cells(article)
        assert len(cell.find("img")) == (source["image"] is not None)
        assert ("the same picture" in same.text()) == (source["image"] is not None)
        assert {"operation"} == {name.text() for name in article.find("dt")}
        assert article.find("dd")[0].text() == json.loads(row["provenance"])["details"]["operation"]


def test_the_head_accounts_for_every_post(published):
    out, done = published
    funnel, page = done.funnel, look(out, done.config)
    shown = {
        row.find("th")[0].text(): row.find("td")[-1].text()
        for row in page.find("header")[0].find("tr")
        if row.find("td")
    }
    assert shown.pop("asked for (14 posts × 6)") == "84"
    assert int(shown["kept"]) == funnel["kept"] == len(page.find("article"))
    for kind in ("rejected", "dropped"):
        for reason, count in funnel[kind].items():
            assert shown[f"{kind}: {reason}"] == str(count)
    assert sum(funnel["rejected"].values()) > 0
    assert sum(funnel["dropped"].values()) > 0
    assert (shown["train"], shown["test"]) == (str(funnel["kept"]), "0")
    assert {chip.text() for chip in page.find("header")[0].find("div")} >= {"methodlsms", "copies6", "gold100%"}


def test_rejected_posts_by_reason(published):
    out, done = published
    (section,) = [s for s in look(out, done.config).find("section") if s.find("details")]
    for details, (reason, count) in zip(section.find("details"), done.funnel["rejected"].items(), strict=True):
        assert details.find("summary")[0].text() == f"{reason}: {count}"
        assert len(details.find("tr")) == count + 1
    fewer = next(s for s in look(out, done.config, rejects=1).find("section") if s.find("details"))
    assert {len(details.find("tr")) for details in fewer.find("details")} == {2}
    assert f"{count}, 1 of them shown" in fewer.text()


def test_rejects_show_their_post_and_say_when_the_run_is_gone(tmp_path):
    gold = [Post("a", ["in", "Paris"], (Entity(1, 2, "LOC"),)), Post("b", ["no"])]
    rejects = [
        {"source_id": "a", "copy": 1, "reason": "unchanged", "detail": "<b>token</b>"},
        {"source_id": "gone", "copy": 0, "reason": "unchanged", "detail": ""},
    ]
    made = [(Post("b+lsms.0", ["yes"]), "b")]
    write_config(tmp_path / "aug", mner_features(images="none"), gold, made, rejects=rejects, copies=3)
    section = look(tmp_path / "aug").find("section")[-1]
    _, first, second = section.find("tr")
    assert [mark.text() for mark in first.find("mark")] == ["Paris LOC"]
    assert [cell.text() for cell in first.find("td")][1:] == ["1", "<b>token</b>"]
    assert "source not available" in second.text()
    assert section.find("img") == []
    (tmp_path / "aug.runs").rename(tmp_path / "elsewhere")
    section = look(tmp_path / "aug").find("section")[-1]
    assert "which is missing" in section.text()
    assert section.find("summary")[0].text() == "unchanged: 2"
    assert section.find("tr") == []


def test_posts_are_evenly_spread_and_the_page_is_the_same_each_time(published):
    out, done = published
    every = [pair.after.post.id for pair in read_sheet(out, done.config).pairs]
    n = len(every)
    some = read_sheet(out, done.config, posts=4)
    assert [pair.after.post.id for pair in some.pairs] == [every[0], every[n // 4], every[n // 2], every[3 * n // 4]]
    assert f"4 of {n} made posts of train, evenly spread" in parse(some.to_html()).find("header")[0].text()
    assert read_sheet(out, done.config, posts=4).to_html() == some.to_html()


def test_the_command_writes_the_page(published, tmp_path, monkeypatch, capsys):
    out, done = published
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "show", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    assert call(out, done.config, "-n", 2, "--rejects", 0) == (0, f"{done.config}.html\n", "")
    assert len(parse(Path(f"{done.config}.html").read_text(encoding="utf-8")).find("article")) == 2
    assert call(out, done.config, "--out", "new/page.html")[:2] == (0, "new/page.html\n")
    Path("file").write_text("")
    for arguments, said in [
        ((out, "eda"), f"no {out}/eda/augmentation.json: configs made here are {done.config}"),
        ((out, done.config, "--split", "tran"), "unknown split 'tran': did you mean 'train'?"),
        ((out, done.config, "--split", "test"), f"test of {done.config} holds no made posts; train does"),
        ((out, done.config, "-n", 0), "expected at least 1 post and 0 rejected ones, found 0 and 20"),
        ((out, done.config, "--out", "."), ". is a folder: name a file with --out"),
        ((out, done.config, "--out", "file/page.html"), "cannot write file/page.html"),
        ((out, done.config, "--source", "./nowhere"), "there is no folder ./nowhere"),
    ]:
        code, _, error = call(*arguments)
        assert (code, len(error.splitlines())) == (2, 1), error
        assert said in error


def test_a_config_without_made_posts_says_why(mner, tmp_path):
    """Of posts that all were rejected, dropped or withdrawn, the page would hold nothing."""
    out = tmp_path / "aug"
    names = as_dataset(
        [Post(str(i), ["Ann", "Lee"], (Entity(0, 2, "PER"),)) for i in range(3)], mner_features(images="none")
    )
    texts = mner.select([2, 6]).remove_columns("image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for config, train in (("rejected", names), ("gone", texts)):
            splits = DatasetDict(train=train)
            publish(augment(splits, EDA(copies=1, operations=("swap",)), out=out, config=config, progress=False), out)
    told = "rejected has nothing to show: no post was made: 3 of 3 fewer_than_two_outside_words; "
    with pytest.raises(UsageError, match=f"^{re.escape(told)}") as refused:
        show(out, "rejected", out=tmp_path / "page.html")
    assert "\n" not in str(refused.value)
    withdraw_posts(out, texts["id"])
    told = r"^gone has nothing to show: no post was made: 2 of 2 dropped as withdrawn$"
    with pytest.raises(UsageError, match=told):
        show(out, "gone", out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# ---------------------------------------------------------------- text


def test_what_differs_is_marked():
    before = Post("a", ["we", "love", "Paris", "so", "much"], (Entity(2, 3, "LOC"),))
    after = Post("b", ["we", "love", "New", "Rome", "so", "so", "much"], (Entity(2, 4, "LOC"),))
    pair = Pair(Side(before), Side(after))
    assert pair.changed[0] == {2}
    assert pair.changed[1] - {4, 5} == {2, 3}
    assert len(pair.changed[1]) == 3, "one of the two equal words came"
    assert Pair(None, Side(after)).changed == (set(), set())


def test_changes_are_elements_inside_the_mention(tmp_path):
    gold = [Post("a", ["in", "New", "York", "today"], (Entity(1, 3, "LOC"),))]
    made = [(Post("a+lsms.0", ["in", "old", "New", "Delhi", "now"], (Entity(2, 4, "LOC"),)), "a")]
    before, after = cells(look(write_config(tmp_path, mner_features(images="none"), gold, made)).find("article")[0])
    assert [change.text() for change in before.find("del")] == ["York", "today"]
    assert [change.text() for change in after.find("ins")] == ["old", "Delhi", "now"]
    assert [mark.text() for mark in after.find("mark")] == ["New Delhi LOC"]
    assert [len(mark.find("ins")) for mark in after.find("mark")] == [1]
    assert after.find("del") == before.find("ins") == []


def test_fine_types_and_types_have_their_own_colours(tmp_path):
    features = mner_features(("PER", "LOC"), images="none", fine_types=("city", "singer"))
    post = Post("a", ["Adele", "in", "Oslo"], (Entity(0, 1, "PER", "singer"), Entity(2, 3, "LOC", "city")))
    made = [(Post("a+lsms.0", ["Adele", "at", "Oslo"], post.entities), "a")]
    first, second = look(write_config(tmp_path, features, [post], made)).find("article")[0].find("mark")[:2]
    assert (first.text(), second.text()) == ("Adele PER/singer", "Oslo LOC/city")
    assert (first.attributes["class"], second.attributes["class"]) == ("k0", "k1")


def test_head_and_tail_are_marked_whatever_they_overlap():
    tokens = ["a", "b", "c", "d", "e", "f"]
    post = Post("r", tokens, (Entity(1, 4, "PER"),), relation=Relation((2, 5), (4, 6), "x"))
    blocks = Side(post).blocks({3})
    assert [block.entity and block.entity.type for block in blocks] == [None, "PER", None]
    runs = [tuple(run) for block in blocks for run in block.runs]
    assert runs == [
        ("a", False, (), ()),
        ("b", False, (), ()),
        ("c", False, ("head",), ()),
        ("d", True, ("head",), ()),
        ("e", False, ("head", "tail"), ("head",)),
        ("f", False, ("tail",), ("tail",)),
    ]


def test_relations_are_shown(tmp_path, sets):
    mre = sets["mre"]
    post = next(Codec(mre.features).to_post(row) for row in mre.cast_column("image", Image(decode=False)))
    made = Post("x+lsms.0", [*post.tokens, "!"], (), post.images, post.relation)
    page = look(write_config(tmp_path, mre.features, [post], [(made, post.id)]))
    for cell in cells(page.find("article")[0]):
        head, tail = [" ".join(post.tokens[slice(*span)]) for span in (post.relation.head, post.relation.tail)]
        roles = cell.find("b", "role")
        assert [role.text(without=("sup",)) for role in roles] == [head, tail]
        assert [role.find("sup")[0].text() for role in roles] == ["head", "tail"]
        assert f"head → tail: {post.relation.type}" in cell.text()


@pytest.mark.parametrize(
    ("tokens", "direction"),
    [
        (["12", "hello", "مرحبا"], "ltr"),
        (["RT", "@bbc", ":", "مرحبا", "بكم"], "rtl"),
        (["we", "visited", "القاهرة"], "ltr"),
        (["😂"], "ltr"),
        ([], "ltr"),
    ],
)
def test_text_runs_as_most_of_its_letters_do(tokens, direction):
    assert Side(Post("a", tokens)).direction == direction


def test_words_from_right_to_left_keep_their_order(tmp_path):
    """A run of words stands in the direction of its post, whatever its own first letter; a label in its own."""
    words = ["שלום", "NBA", "היום", "The", "אביב"]
    post = Post("a", words, (Entity(1, 2, "ORG"), Entity(3, 5, "LOC")))
    page = look(write_config(tmp_path, mner_features(images="none"), [post], [(Post("b", words, post.entities), "a")]))
    text = page.find("p", "text")[0]
    assert text.attributes["dir"] == "rtl"
    assert [(run.text(), run.attributes.get("dir")) for run in text.find("bdi")] == [
        ("שלום", "rtl"),
        ("NBA", "rtl"),
        ("ORG", None),
        ("היום", "rtl"),
        ("The אביב", "rtl"),
        ("LOC", None),
    ]


# ---------------------------------------------------------------- pictures


def test_boxes_are_drawn_in_the_pictures_own_coordinates(tmp_path):
    features = mner_features(boxes=True)
    boxes = ((50.0, 25.0, 150.0, 75.0), (0.0, 0.0, 400.0, 200.0))
    odd = ((1.0, 2.0, 3.0), (float("nan"), 0.0, 1.0, 1.0), (5.0, 5.0, 5.0, 9.0))
    gold = [
        Post(
            "a", ["A", "B", "C"], (Entity(0, 2, "LOC", None, boxes), Entity(2, 3, "PER", None, odd)), (photo(400, 200),)
        )
    ]
    made = [(Post("a+lsms.0", ["A", "B", "D"], gold[0].entities), "a")]
    before, after = cells(look(write_config(tmp_path, features, gold, made)).find("article")[0])
    drawn = before.find("span", "box")
    assert [box.text() for box in drawn] == ["A B", "A B"]
    assert drawn[0].attributes["style"] == "left:12.50%;top:12.50%;width:25.00%;height:25.00%"
    assert drawn[1].attributes["style"] == "left:0.00%;top:0.00%;width:100.00%;height:100.00%"
    assert drawn[0].attributes["class"].split() == ["box", before.find("mark")[0].attributes["class"]]
    shown = before.find("img")[0].attributes
    assert (shown["width"], shown["height"]) == ("400", "200")
    assert [item.text() for item in before.find("li")] == [
        "C (PER): box 1, 2, 3",
        "C (PER): box nan, 0, 1, 1",
        "C (PER): box 5, 5, 5, 9",
    ]
    assert after.find("span", "box") == []
    assert [item.text() for item in after.find("li")][:2] == [
        "A B (LOC): box 50, 25, 150, 75",
        "A B (LOC): box 0, 0, 400, 200",
    ]


def test_pictures_are_small_lazy_and_not_shown_again_beside_themselves(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010E] = 6, "SECRET PLACE"  # turned by a quarter; a description
    Pillow.fromarray(noise).save(buffer, "JPEG", exif=exif)
    big = {"bytes": buffer.getvalue(), "path": "big.jpg"}
    gold = [Post("a", ["x"], images=(big,)), Post("b", ["y"], images=(big,))]
    new = photo(64, 640, colour=(0, 0, 255))
    made = [
        (Post("a+lsms.0", ["u"], images=(big,)), "a"),
        (Post("a+lsms.1", ["v"], images=(new,)), "a"),
        (Post("b+lsms.0", ["w"], images=(big,)), "b"),
    ]
    page = look(write_config(tmp_path, mner_features(), gold, made, copies=2))
    first, again, new_one, third = page.find("img")
    assert {image.attributes["loading"] for image in page.find("img")} == {"lazy"}
    assert (first.attributes["width"], first.attributes["height"]) == ("900", "1200")
    assert first.attributes == again.attributes == third.attributes
    assert new_one.attributes["alt"] == "picture, 64 × 640, a new picture"
    kind, _, data = first.attributes["src"].partition(";base64,")
    assert kind == "data:image/webp"
    thumbnail = Pillow.open(io.BytesIO(base64.b64decode(data)))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (240, 320))
    assert b"SECRET" not in base64.b64decode(data)
    captions = [[c.text() for c in article.find("figcaption")] for article in page.find("article")]
    assert captions == [["900 × 1200"], ["900 × 1200", "64 × 640, a new picture"], ["900 × 1200"]]
    assert ["the same picture" in cells(article)[1].text() for article in page.find("article")] == [True, False, True]


def test_a_page_of_many_posts_has_smaller_pictures():
    big = photo(640, 320)
    assert [Album(n).add(big).shown_width for n in (MANY, MANY + 1)] == [320, 192]
    assert Album(1).add(big, several=True).shown_width == 192
    assert Album(1).add(photo(10, 20)).shown_width == 160, "a small picture is enlarged"


def test_several_pictures_and_transparent_ones(tmp_path):
    buffer = io.BytesIO()
    Pillow.new("RGBA", (400, 400), (0, 255, 0, 0)).save(buffer, "PNG")
    clear = {"bytes": buffer.getvalue(), "path": "c.png"}
    palette, deep = io.BytesIO(), io.BytesIO()
    Pillow.new("P", (30, 30)).save(palette, "GIF")
    Pillow.new("I;16", (30, 30)).save(deep, "PNG")
    images = (clear, {"bytes": palette.getvalue(), "path": None}, {"bytes": deep.getvalue(), "path": None})
    gold = [Post("a", ["x"], images=images), Post("b", ["x"])]
    made = [(Post("a+lsms.0", ["y"], images=images[:1]), "a"), (Post("b+lsms.0", ["z"]), "b")]
    page = look(write_config(tmp_path, mner_features(images="many"), gold, made))
    before, after = cells(page.find("article")[0])
    assert len(before.find("div", "several")[0].find("img")) == 3
    assert after.find("div", "several") == []
    assert "a new picture" not in after.text(), "it was one of three"
    small = Pillow.open(io.BytesIO(base64.b64decode(page.find("img")[0].attributes["src"].partition(",")[2])))
    assert (small.size, small.mode) == ((192, 192), "RGBA")
    assert "no picture" in cells(page.find("article")[1])[0].text()


def test_a_picture_that_is_not_in_the_file():
    assert Album(1).add({"bytes": None, "path": "nowhere.jpg"}).fault == "the picture is not in the file"


# ---------------------------------------------------------------- sources, further columns, figures


def test_configs_that_replace_their_posts_take_the_source_by_name(tmp_path):
    features = mner_features(images="none")
    codec = Codec(features)
    made = [(Post("a", ["new", "a"]), "a"), (Post("z", ["new", "z"]), "z")]
    folder = write_config(tmp_path / "aug", features, [], made, split="validation")
    page = look(folder, split="validation")
    for article in page.find("article"):
        before, _ = cells(article)
        assert before.text() == "before source not available: name it with --source"
        assert article.find("ins") == []
    source = tmp_path / "source"
    splits = {"train": [Post("a", ["train", "a"])], "validation": [Post("a", ["old", "a"])], "test": [Post("q", ["t"])]}
    for split, posts in splits.items():
        rows = Dataset.from_list([codec.to_row(post) for post in posts], features=features)
        write_shards([rows.with_format("arrow")[:]], source / "data", split, features)
    first, second = look(folder, split="validation", source=str(source)).find("article")
    assert words(cells(first)[0]) == "old a", "the split's own post, and not another's of the same id"
    assert [change.text() for change in first.find("ins")] == ["new"]
    assert "not in the named source" in cells(second)[0].text()


def test_columns_that_are_no_part_of_a_post_are_notes_and_pictures(tmp_path):
    features = augmented_features(
        Features(
            {**mner_features(), "matching_score": Value("float32"), "synthesised": Image(), "skipped": [Value("int8")]}
        )
    )
    shared = {"ner_tags": [0], "source_id": "a", "skipped": [1]}
    rows = [
        {
            **shared,
            "id": "a",
            "tokens": ["x"],
            "image": photo(9, 9),
            "method": "gold",
            "provenance": "{}",
            "matching_score": None,
            "synthesised": None,
        },
        {
            **shared,
            "id": "a+lsms.0",
            "tokens": ["y"],
            "image": photo(8, 8),
            "method": "lsms",
            "provenance": "{}",
            "matching_score": 0.25,
            "synthesised": photo(7, 5),
        },
    ]
    columns = {name: [row[name] for row in rows] for name in features}
    page = look(write_rows(tmp_path, Dataset.from_dict(columns, features=features), 1, 1))
    (article,) = page.find("article")
    assert [chip.text() for chip in article.find("dl")[0].find("div")] == ["matching_score0.25"]
    assert [caption.text() for caption in article.find("figcaption")] == [
        "9 × 9",
        "8 × 8, a new picture",
        "synthesised",
    ]
    sizes = [(shown.attributes["width"], shown.attributes["height"]) for shown in article.find("img")]
    assert sizes == [("9", "9"), ("8", "8"), ("7", "5")]


def test_figures_stand_above_the_posts(published, tmp_path):
    out, done = published
    drawing = '<svg viewBox="0 0 10 10" class="bars"><rect width="5" height="5"/></svg>'
    path = show(out, done.config, out=tmp_path / "page.html", posts=1, figures=[drawing])
    html = path.read_text(encoding="utf-8")
    assert html.count(drawing) == 1
    assert html.index(drawing) < html.index("<main>")


# ---------------------------------------------------------------- looks


def luminance(hue, saturation, lightness):
    """Return the relative luminance of an HSL colour (WCAG 2.2)."""
    rgb = colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_labels_can_be_read_on_the_colour_of_their_type(published, scheme):
    html = read_sheet(*(published[0], published[1].config), posts=1).to_html()
    tint, ink = (
        [tuple(map(float, pair)) for pair in re.findall(rf"--{name}: (\d+)% (\d+)%", html)][scheme]
        for name in ("tint", "ink")
    )
    text = re.findall(r"--text: #(\w{6})", html)[scheme]
    grey = luminance(0, 0, 100 * int(text[:2], 16) / 255)
    for hue in HUES:
        back = luminance(hue, *tint)
        for front in (luminance(hue, *ink), grey):
            assert (max(front, back) + 0.05) / (min(front, back) + 0.05) >= 4.5, hue


# ---------------------------------------------------------------- real posts


@pytest.mark.skipif(not (DATA / "tweets_with_images").is_dir(), reason=f"no real data in {DATA}: set MNER_DATA")
def test_real_tweets_with_their_pictures(tmp_path):
    from hf_mner_aug.conversion import convert

    folder = DATA / "tweets_with_images"
    convert("conll", folder / "twitter2015.txt", tmp_path / "set", images=folder / "images")
    out = tmp_path / "aug"
    done = publish(augment(str(tmp_path / "set"), LSMS(copies=4), out=out, progress=False), out)
    path = show(out, done.config, out=tmp_path / "page.html")
    page = parse(path.read_text(encoding="utf-8"))
    assert len(page.find("article")) == done.funnel["kept"] > 60
    assert page.find("div", "missing") == []
    sources = {pair.before.post.id for pair in read_sheet(out, done.config).pairs}
    assert len({image.attributes["src"] for image in page.find("img")}) == len(sources) > 15
    assert path.stat().st_size / len(page.find("img")) < 5e6 / 200, "a hundred posts, two pictures each, are 5 MB"


def test_a_config_is_never_held_in_memory(tmp_path):
    features = mner_features()
    noise = np.random.default_rng(0).integers(0, 256, (200, 160, 160, 3), dtype=np.uint8)
    posts = []
    for i, pixels in enumerate(noise):
        buffer = io.BytesIO()
        Pillow.fromarray(pixels).save(buffer, "PNG", compress_level=0)
        posts.append(Post(f"p{i}", ["x"], images=({"bytes": buffer.getvalue(), "path": None},)))
    made = [(Post(f"{post.id}+lsms.0", ["y"], images=post.images), post.id) for post in posts[:20]]
    write_config(tmp_path, features, posts, made)
    rows = Dataset.from_parquet(str(tmp_path / "c" / "train-*"), features=augmented_features(features))
    (path,) = write_shards(
        [rows.with_format("arrow")[:]], tmp_path / "c", "train", rows.features, row_group_bytes=10**6
    )
    usual = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counting)
    try:
        assert len(read_sheet(tmp_path, "c", posts=5).pairs) == 5
    finally:
        pa.set_memory_pool(usual)
    assert 0 < counting.max_memory() < path.stat().st_size / 4
