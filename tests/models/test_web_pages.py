"""What is read of a page: tags, dates, licences, pictures; pages made to keep a parser busy."""

import io
import time

import pytest
from PIL import Image
from web_server import drawing

from hf_mner_aug.models.search.fetching import Fetched, Refused
from hf_mner_aug.models.search.serper import page_id
from hf_mner_aug.models.search.web import read_page, read_picture

# ---------------------------------------------------------------- reading


def page_of(markup, kind="text/html; charset=utf-8", url="https://twitter.com/a/status/7"):
    data = markup if isinstance(markup, bytes) else markup.encode()
    return read_page(Fetched(url, kind, data))


def test_tags_in_the_order_of_the_method():
    og, twitter, article = (
        '<meta property="og:description" content="by og">',
        '<meta name="twitter:description" content="by twitter">',
        "<article>by <b>the</b> article</article>",
    )
    assert page_of(article + twitter + og).text == "by og"
    assert page_of(article + twitter).text == "by twitter"
    assert page_of(article).text == "by the article"
    pictures = '<meta name="twitter:image" content="/t.jpg"><meta property="og:image" content="//img.com/{}.jpg">'
    assert page_of(og + pictures.format(1)).image_urls == ("https://img.com/1.jpg",)
    assert page_of(og + pictures.format("profile_images/1")).image_urls == ("https://twitter.com/t.jpg",)
    many = "".join(f'<meta property="og:image" content="https://img.com/{i % 6}.jpg">' for i in range(9))
    assert [url[-5] for url in page_of(og + many).image_urls] == list("0123")


def test_dates_and_licences():
    page = page_of(
        '<meta property="og:description" content="x"><meta property="article:published_time" '
        'content="2015-06-04T12:00:00+02:00"><link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
    )
    assert (page.date, page.licence) == ("2015-06-04T10:00:00Z", "https://creativecommons.org/licenses/by/4.0/")
    assert page_of('<article>x <time datetime="soon">y</time></article>').date is None
    licensed = "<article>x</article><a rel=license>a</a><a rel='license' href='{}'>b</a>"
    assert page_of(licensed.format("/terms")).licence == "https://twitter.com/terms"
    assert page_of(licensed.format("/a &lt;!-- b --&gt;")).licence == "https://twitter.com/a%20%3C!--%20b%20--%3E"
    for no_address in ("javascript:alert(1)", "/a&#10;b", "http://[::1"):
        assert page_of(licensed.format(no_address)).licence is None


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ("<article>Zürich</article>".encode("latin-1"), "text/html; charset=latin-1", "Zürich"),
        ("<article>Zürich</article>".encode(), "text/html; charset=latin-1", "Zürich"),
        ("<meta charset=gb18030><article>北京</article>".encode("gb18030"), "text/html", "北京"),
        ("<article>北京</article>".encode("utf-16"), "text/html", "北京"),
        ("<meta charset='iso-2022-jp'><article>東京</article>".encode("iso-2022-jp"), "text/html", "東京"),
        ("\ufeff<article>a\0b</article>".encode(), "", "ab"),
        ("<article>Zürich</article>".encode("latin-1"), "text/html; charset=punycode", None),
        (b"<article>\xff\xfe\x00</article>", "text/html; charset=utf-8", None),
    ],
)
def test_charsets(body, kind, expected):
    if expected is None:
        with pytest.raises(Refused) as caught:
            page_of(body, kind)
        assert caught.value.reason == "wrong_charset"
    else:
        assert page_of(body, kind).text == expected


@pytest.mark.parametrize(
    "markup",
    [
        "<div>" * 400_000,
        "<div " + " ".join(f"a{i}=1" for i in range(200_000)) + ">",
        "<!--" * 400_000,
        "<script>" * 200_000,
        "<" * 2_000_000,
        "<a>" * 500_000,
        "&amp;" * 400_000,
        "<table><tr><td>" * 100_000,
        '<meta content="' + "x" * 2_000_000,
        "",
        "\0" * 1000,
        "<?xml version='1.0' encoding='utf-16'?><html></html>",
    ],
    ids=lambda markup: markup[:8] or "empty",
)
def test_pages_made_to_keep_a_parser_busy(markup):
    begun = time.monotonic()
    with pytest.raises(Refused):
        page_of(markup)
    assert time.monotonic() - begun < 5


def test_pictures_are_encoded_again_without_what_else_is_in_them():
    data, ending = read_picture(drawing(3))
    assert b"secret place" in drawing(3)
    assert (ending, b"secret place" in data) == (".jpg", False)
    assert Image.open(io.BytesIO(data)).size == (160, 120)
    buffer = io.BytesIO()
    Image.new("RGBA", (70, 80), (0, 0, 0, 0)).save(buffer, "PNG")
    data, ending = read_picture(buffer.getvalue() + b"<?php evil ?>")
    assert (ending, b"evil" in data) == (".png", False)
    assert Image.open(io.BytesIO(data)).getpixel((5, 5)) == (255, 255, 255)
    for bad in (b"", b"<svg></svg>", b"%!PS-Adobe-3.0 EPSF-3.0", drawing(1)[:300]):
        with pytest.raises(Refused, match="bad_image"):
            read_picture(bad)


def test_post_ids():
    assert page_id("https://mobile.twitter.com/a/status/77?s=20") == "77"
    assert page_id("https://weibo.com/123/LwHJyuvjT") == "https://weibo.com/123/LwHJyuvjT"
