"""Dates, numbers and encodings that Python cannot hold end the page, file or row that has them, and nothing else."""

import asyncio
import contextlib
import json
import random
import time
from typing import ClassVar

import httpx2
import pyarrow as pa
import pytest
from datasets import Dataset
from places import CASES

from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import DataError
from hf_mner_aug.models.endpoint.protocol import Answer, read_answer, retry_after
from hf_mner_aug.models.search import Query, open_corpus
from hf_mner_aug.models.search import fetching as web
from hf_mner_aug.models.search import web as posts
from hf_mner_aug.models.search.fetching import Fetched, Refused, Web
from hf_mner_aug.models.search.serper import page_id
from hf_mner_aug.models.search.web import read_page
from hf_mner_aug.posts import texts
from hf_mner_aug.posts.hygiene import Guard
from hf_mner_aug.posts.texts import too_long
from hf_mner_aug.readers import read
from hf_mner_aug.readers.boxes import parse_voc
from hf_mner_aug.schema import Post
from hf_mner_aug.transform import Reject
from hf_mner_aug.untrusted.bodies import UnusableBody, read_body
from hf_mner_aug.untrusted.dates import parse_date, spell_date

HUGE = "9" * 5_000  # digits, more than int reads
ODD_DATES = (
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+14:00",
    "0000-01-01",
    "2015-13-45",
    "-2015-01-01",
    "10000-01-01",
    f"{HUGE}-01-01",
    "2015-01-01T00:00:00+99:99",
    "Wed Aug 27 13:08:45 +9999 9999",
    "Fri Dec 31 23:59:59 -2359 9999",
    "nan",
    "inf",
    "1e400",
    "\ud800",
    "2015-01-01\0",
    "２０１５-0１-0１",
    "",
    "2015" * 50_000,
)


def page(head="", body="", kind="text/html"):
    text = f"<html><head><meta property='og:description' content='Adele sings'>{head}</head><body>{body}</body></html>"
    return Fetched("https://example.com/a", kind, text.encode("utf-8", "surrogatepass"))


# ---------------------------------------------------------------- dates


@pytest.mark.parametrize("text", ODD_DATES, ids=lambda text: repr(text[:30]))
def test_no_date_is_none(text):
    assert spell_date(parse_date(text)) is None
    if "\0" not in text and text.isprintable() and len(text) < 10_000:  # else the page has no such text
        assert read_page(page(body=f"<time datetime='{text}'>x</time>")).date is None


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("2008-08-27", "2008-08-27"),
        ("2008-08-27T13:08:45Z", "2008-08-27T13:08:45Z"),
        ("2008-08-27T13:08:45+02:00", "2008-08-27T11:08:45Z"),
        ("Wed Aug 27 13:08:45 +0000 2008", "2008-08-27T13:08:45Z"),
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59Z"),
        ("0001-01-01", "0001-01-01"),
    ],
)
def test_a_date_is_spelled_in_utc(text, spelled):
    assert spell_date(parse_date(text)) == spelled


def test_a_page_has_the_first_of_its_dates_that_is_one():
    body = "".join(f"<time datetime='{text}'>x</time>" for text in (ODD_DATES[0], "2015-03-01", "2016-01-01"))
    assert read_page(page(body=body)).date == "2015-03-01T00:00:00Z"


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("date", [*ODD_DATES[:-2], float("nan"), float("inf"), 10**400, -1, [], {}, True])
def test_a_date_in_json_lines_is_named_with_its_line(tmp_path, date):
    source = lines(tmp_path / "posts.jsonl", {"text": "Adele sings"}, {"text": "Adele", "date": date})
    with pytest.raises(DataError, match=r"posts\.jsonl line 2") as caught:
        index(source, tmp_path / "corpus.db")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "line",
    [f'{{"text": "a", "id": {HUGE}}}', '{"a":' * 100_000, '["a"', "\0"],
)
def test_json_that_cannot_be_read_is_named_with_its_line(tmp_path, line):
    with pytest.raises(DataError, match=r"posts\.jsonl line 1"):
        index(lines(tmp_path / "posts.jsonl", line), tmp_path / "corpus.db")


@pytest.mark.parametrize("value", [2**62, -(2**62)])
def test_a_dataset_with_a_time_that_python_cannot_hold_is_named_with_its_row(tmp_path, value):
    times = pa.array([0, value], pa.timestamp("ms"))
    table = pa.table({"id": ["1", "2"], "text": ["Adele sings", "Paris"], "date": times})
    (tmp_path / "set").mkdir()
    Dataset(table).to_parquet(str(tmp_path / "set" / "train-00000-of-00001.parquet"))
    with pytest.raises(DataError, match="row 1: a value cannot be read"):
        index(str(tmp_path / "set"), tmp_path / "corpus.db")


# ---------------------------------------------------------------- numbers of servers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12", 12.0),
        ("1e12", 1e12),
        ("-5", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("1e400", 0.0),
        (HUGE, 0.0),
        ("Oct  21 00:00:00999999999999999999999999999999 2015", 0.0),
        ("Jan 99999999999 +0000 07:28:00-1", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 -9999", 0.0),
        ("²", 0.0),
        ("\0", 0.0),
    ],
)
def test_seconds_to_wait_are_a_number(value, seconds):
    assert retry_after({"retry-after": value}) in (seconds, pytest.approx(seconds, rel=1)) or value.startswith("Fri")


@pytest.mark.attack
def test_many_headers_of_seconds():
    """200,000 headers from the pieces of dates and numbers, with a fixed seed: each gives finite seconds."""
    stream = random.Random(1)
    pieces = ["Wed,", " 21 ", "Oct ", " 2015", " 07:28:00", " GMT", " +0000", "-9999", "99999999999", "9" * 30, "0"]
    pieces += ["\0", "é", ":", "nan", "inf", "1e400", "-1", " ", "²", "٣", HUGE, " +99999999999999999999", "("]
    found = [0, 0]
    for _ in range(200_000):
        value = "".join(stream.choice(pieces) for _ in range(stream.randint(0, 8)))
        seconds = retry_after({"retry-after": value})
        assert 0 <= seconds < float("inf")
        found[seconds > 0] += 1
    print(f"{found[0]} of no wait, {found[1]} of some")
    assert min(found) > 100


async def _one_chunk(data):
    yield data


@pytest.mark.parametrize("length", ["²", "٣", HUGE, "-1", "1e400", "nan", "", "0", "00000000000000000000000000005"])
def test_a_length_that_lies_or_is_none_does_no_harm(length):
    headers = httpx2.Headers([(b"content-length", length.encode("utf-8"))])
    with contextlib.suppress(UnusableBody):
        assert asyncio.run(read_body(_one_chunk(b"hello"), headers, 100)) == b"hello"
    with pytest.raises(UnusableBody, match="too_large"):
        asyncio.run(read_body(_one_chunk(b"h" * 200), headers, 100))


def robots(text, monkeypatch):
    """Return how a session reads a robots.txt: its rules, or why the host's pages are refused."""
    session = web.Session(Web(), None)

    async def get(url, **options):
        return Fetched(url, "text/plain", text.encode())

    monkeypatch.setattr(session, "get", get)
    target = httpx2.URL("https://example.com/a/b")
    asyncio.run(session._ask_robots(target))
    return session._host(target).crawl_delay


def test_a_robots_txt_of_very_many_rules_is_refused_in_a_moment(monkeypatch):
    text = "".join(f"User-agent: a{i}\n" for i in range(6_000)) + "Disallow: /b\n" * 6_000
    begun = time.process_time()
    with pytest.raises(Refused, match="robots"):
        robots(text, monkeypatch)
    assert time.process_time() - begun < 2
    usual = "".join(f"User-agent: a{i}\nDisallow: /\n\n" for i in range(100)) + "User-agent: *\nCrawl-delay: 3\n"
    assert robots(usual, monkeypatch) == 3.0


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("1e12", 60.0), ("nan", 0.0), ("inf", 0.0), ("-4", 0.0), (HUGE, 0.0), ("²", 0.0)],
)
def test_a_crawl_delay_is_bounded(monkeypatch, delay, seconds):
    assert robots(f"User-agent: *\nCrawl-delay: {delay}\nAllow: /\n", monkeypatch) == seconds


@pytest.mark.parametrize(
    ("count", "tokens"),
    [
        ("7", (7, 3)),
        ("1e2", None),
        ("-1", None),
        ("1" + "0" * 400, None),
        ("true", None),
        ('"7"', None),
        ("200000000", None),
    ],
)
def test_counts_of_tokens_are_bounded(count, tokens):
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": 3}}'
    body = f'{{"choices": [{{"message": {{"content": "hi"}}}}], "usage": {usage}}}'
    answer = read_answer("chat", 200, {}, body.encode())
    assert isinstance(answer, Answer)
    assert answer.tokens == tokens


@pytest.mark.parametrize(("count", "credits"), [("2", 2), ("1" + "0" * 400, 1), ("0", 1), ("1e3", 1), ("1000000", 1)])
def test_credits_of_a_search_are_bounded(count, credits):
    body = f'{{"organic": [], "credits": {count}}}'.encode()
    assert read_answer("search", 200, {}, body).answer["credits"] == credits


@pytest.mark.parametrize("status", [HUGE, "1e400", "-1", "[]"])
def test_an_error_of_an_answer_is_a_failure(status):
    body = f'{{"error": {{"code": {status}, "message": "x"}}, "choices": []}}'.encode()
    assert read_answer("chat", 200, {}, body).reason in ("server_error", "not_json")


# ---------------------------------------------------------------- encodings

NO_TEXT = (
    "rot13",
    "zlib",
    "zlib_codec",
    "hex",
    "base64",
    "bz2",
    "uu",
    "idna",
    "punycode",
    "undefined",
)
UNKNOWN = ("x-unknown", "utf-7", "utf-9", "cp99999", "latin-77", "gb-nope", "koi8-q", "mac-nope", "." * 300, "é")


@pytest.mark.parametrize("name", [*NO_TEXT, *UNKNOWN])
def test_a_page_in_no_known_encoding_is_read_as_utf8_or_refused(name):
    read = read_page(page(kind=f"text/html; charset={name}"))
    assert read.text == "Adele sings"
    wrong = Fetched("https://example.com/a", f"text/html; charset={name}", b"<p>\xe9\xff\xfe</p>")
    with pytest.raises(Refused, match="wrong_charset"):
        read_page(wrong)


def test_a_page_of_thousands_of_encodings_is_read_in_a_moment():
    names = "".join(f"charset=iso-x{i};" for i in range(20_000))
    body = b"\xff" * (1 << 20)
    begun = time.process_time()
    for kind in (f"text/html;{names}", "text/html;" + "charset =" + " " * 100_000):
        with pytest.raises(Refused):
            read_page(Fetched("https://example.com/a", kind, f"<meta {names}>".encode() + body))
    assert time.process_time() - begun < 2


XML = '<?xml version="1.0" encoding="{}"?><annotation><object><name>Adele</name></object></annotation>'


@pytest.mark.parametrize("name", [*NO_TEXT, "gb2312", "shift_jis", "utf-32", "utf-7", "x-unknown", "cp99999", "big5"])
def test_an_xml_in_an_encoding_that_cannot_be_read_is_one_bad_file(tmp_path, name):
    (tmp_path / "7.xml").write_bytes(XML.format(name).encode())
    with pytest.raises(DataError, match=r"7\.xml"):
        parse_voc(tmp_path / "7.xml")


@pytest.mark.parametrize("name", ["utf-8", "UTF-16", "iso-8859-1", "us-ascii", "windows-1252", "koi8-r"])
def test_an_xml_in_a_known_encoding_is_read(tmp_path, name):
    (tmp_path / "7.xml").write_bytes(XML.format(name).encode(name))
    assert parse_voc(tmp_path / "7.xml").file == "7.xml"


def test_an_xml_nested_a_million_deep_is_refused_in_a_moment(tmp_path):
    (tmp_path / "7.xml").write_text("<annotation>" + "<a>" * 1_000_000 + "</a>" * 1_000_000 + "</annotation>")
    with pytest.raises(DataError, match="nested more than"):
        parse_voc(tmp_path / "7.xml")


def convert(folder, train, **xml):
    """Return the findings about a set of one split."""
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").write_bytes(train if isinstance(train, bytes) else train.encode())
    if xml:
        (folder / "xml").mkdir()
        for name, data in xml.items():
            (folder / "xml" / f"{name[1:]}.xml").write_bytes(data)
    return read("conll", folder).report.splits["train"]


BLOCKS = "IMGID:1\nAdele\tB-PER\n\nIMGID:2\nParis\tB-LOC\n\n"
BOX = "<annotation><object><name>Paris</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"


def test_one_xml_in_an_unknown_encoding_costs_its_post_the_boxes(tmp_path):
    counts = convert(
        tmp_path / "raw", BLOCKS, _1=XML.format("x-unknown").encode(), _2=f"{BOX}</object></annotation>".encode()
    )
    assert (counts.posts, counts.bad_drawings, counts.boxes) == (2, 1, 1)


@pytest.mark.skipif(not (CASES / "33-gb2312-xml").is_dir(), reason="the folder of cases is not here")
def test_the_case_of_an_xml_in_gb2312():
    folder = CASES / "33-gb2312-xml"
    found = [path for path in folder.rglob("*.xml")]
    assert found
    for path in found:
        with contextlib.suppress(DataError):
            parse_voc(path)


@pytest.mark.parametrize("encoding", ["cp037", "cp500"])
def test_a_set_in_another_encoding_is_said_with_its_lines(tmp_path, encoding):
    with pytest.raises(DataError, match=r"train\.txt line 1"):
        convert(tmp_path / "raw", BLOCKS.encode(encoding))


def test_nul_bytes_in_a_set_do_no_harm(tmp_path):
    assert convert(tmp_path / "raw", BLOCKS.replace("Adele", "Ade\0le")).posts == 2


# ---------------------------------------------------------------- lengths


def test_a_post_longer_than_posts_are_is_left_out_and_counted(tmp_path):
    long = "IMGID:3\n" + "a\tO\n" * 10_001 + "\nIMGID:4\n" + "a" * 70_000 + "\tO\n\n"
    counts = convert(tmp_path / "raw", BLOCKS + long)
    assert (counts.posts, counts.bad_lines) == (2, 2)
    assert "post 3 has 10,001 words, over 10,000: it is left out" in counts.examples["bad_lines"][0]


def test_a_corpus_leaves_long_posts_out_and_counts_them(tmp_path):
    rows = [
        {"id": "1", "text": "Adele sings"},
        {"id": "2", "text": "Adele " * 10_001},
        {"id": "3", "text": "A" * 70_000},
    ]
    rows += [{"id": "4", "text": "Adele", "tokens": ["Adele"] * 10_001}]
    report = index(lines(tmp_path / "posts.jsonl", *rows), tmp_path / "corpus.db")
    assert (report.read, report.added, len(report.long)) == (4, 1, 3)
    assert "3 posts beyond the limits of a post left out, as 2 (10,001 words, over 10,000)" in str(report)
    assert len(open_corpus(tmp_path / "corpus.db").search(Query(phrases=("Adele",)))) == 1


def test_a_page_with_a_longer_text_is_refused():
    long = f"<html><body><article>{'word ' * 12_000}</article></body></html>"
    with pytest.raises(Refused, match="too_large"):
        read_page(Fetched("https://example.com/a", "text/html", long.encode()))


def test_what_is_too_long():
    assert too_long("a " * 10_000) is None
    assert too_long(["a"] * 10_000) is None
    assert too_long("a " * 10_001) == "10,001 words, over 10,000"
    assert too_long("a" * 65_537) == "65,537 characters, over 65,536"
    assert too_long(["a" * 65_537]) == "65,537 characters, over 65,536"


def test_very_many_posts_of_one_id_are_named_in_a_moment(tmp_path):
    begun = time.process_time()
    counts = convert(tmp_path / "raw", "IMGID:1\nAdele\tB-PER\n\n" * 20_000)
    assert (counts.posts, counts.duplicate_ids) == (20_000, 19_999)
    assert time.process_time() - begun < 20


# ---------------------------------------------------------------- texts, addresses, literals


def test_a_reference_to_a_character_of_5000_digits_is_no_character():
    assert texts.text_key(f"Adele &#{HUGE}; sings") == "adelesings"
    assert texts.text_key("Adele &#65; sings &amp;") == "adeleAsings"


@pytest.mark.parametrize("url", ["http://[", "http://][a", "https://℀@b/1", "//[x]/status/", "http://[::1]:x/a.jpg"])
def test_an_address_that_is_none_is_an_id(url):
    Guard([], lambda: []).check(Post("a", ["Adele"], details={"url": url, "image_url": url}))
    assert page_id(url)
    assert isinstance(posts._host(url), str)


MNRE = "{{'token': ['Adele', 'in', 'Paris'], 'h': {{'name': 'Adele', 'pos': {}}}, 't': {{'name': 'Paris', "
MNRE += "'pos': [2, 3]}}, "
MNRE += "'img_id': '{}.jpg', 'relation': '/per/loc/place_of_residence'}}\n"


@pytest.mark.parametrize(
    "span", [f"[0x{'f' * 5000}, 1]", f"[{HUGE}, 1]", "[1e400, 1]", "[0, 1e5]", "[-1, 1]", "9" * 4000]
)
def test_a_literal_of_a_number_that_is_too_long_is_one_bad_line(tmp_path, span):
    (tmp_path / "ours_train.txt").write_text(MNRE.format("[0, 1]", 1) + MNRE.format(span, 2) + MNRE.format("[0, 1]", 3))
    counts = read("mnre", tmp_path / "ours_train.txt").report.splits["train"]
    assert (counts.posts, counts.bad_lines) == (2, 1)
    assert len(counts.examples["bad_lines"][0]) < 300


def test_a_fault_of_one_page_ends_that_page_only(monkeypatch, tmp_path):
    """An unforeseen ValueError is recorded as a fault of that page."""

    class Away:
        web = Web(delay=0)
        counts: ClassVar = {}

        async def get(self, url, **options):
            return Fetched(url, "text/html", url.encode())

    @contextlib.asynccontextmanager
    async def session(settings):
        yield Away()

    def read(fetched):
        if "bad" in fetched.url:
            raise OverflowError("date value out of range")
        return posts.Page(fetched.url, "Adele sings")

    monkeypatch.setattr(posts, "open_session", session)
    monkeypatch.setattr(posts, "read_page", read)
    urls = ["https://example.com/1", "https://example.com/bad", "https://example.com/2"]
    found = posts.fetch_pages(urls, Web(record=str(tmp_path)))
    assert [type(answer) for answer in found] == [posts.Page, Reject, posts.Page]
    assert found[1] == Reject("not_html", "https://example.com/bad: OverflowError: date value out of range")
