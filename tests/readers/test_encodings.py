"""The encoding of raw text: marked, named or recognised, and bytes that are no text."""

import codecs
import time

import pytest

from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.readers import encodings, read
from hf_mner_aug.readers.lines import MAX_LINE, BadLine, as_read, lines, whole_text

POSTS = "IMGID:1\nZoë\tB-PER\nin\tO\nZürich\tB-LOC\n\nIMGID:2\nein\tO\nStück\tO\nBrötchen\tO\n"


def posts(path, **options):
    return [(row["id"], row["tokens"]) for row in read("conll", path, **options).rows("train")]


def written(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


RIGHT = [("1", ["Zoë", "in", "Zürich"]), ("2", ["ein", "Stück", "Brötchen"])]


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_unicode_is_recognised_with_and_without_its_mark(tmp_path, encoding, ends):
    path = written(tmp_path / "train.txt", POSTS.replace("\n", ends).encode(encoding))
    reading = read("twitter2015", path)
    assert [(row["id"], row["tokens"]) for row in reading.rows("train")] == RIGHT
    said = [line for line in reading.report.recognised if "is read as" in line]
    if encoding == "utf-8-sig":
        assert said == []
    else:
        assert said[0].startswith(f"train.txt is read as UTF-{encoding[4:6]}-")
        assert said[0] in str(reading.report)


def test_a_mark_of_the_other_order_is_followed(tmp_path):
    path = written(tmp_path / "train.txt", codecs.BOM_UTF16_BE + POSTS.encode("utf-16-be"))
    assert posts(path) == posts(path, encoding="utf-16") == RIGHT


@pytest.mark.parametrize(
    ("named", "stored"),
    [("cp1252", "cp1252"), ("latin-1", "latin-1"), ("GBK", "gb18030"), ("gb2312", "gb18030"), ("utf-16", "utf-16-le")],
)
def test_a_named_encoding_is_taken(tmp_path, named, stored):
    assert posts(written(tmp_path / "train.txt", POSTS.encode(stored)), encoding=named) == RIGHT


@pytest.mark.parametrize("name", ["latin99", "rot13", "punycode", "unicode_escape", "", "a\0b", "undefined", "base64"])
def test_a_name_of_no_text_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"--encoding .*: expected an encoding of text, as utf-8, "):
        read("conll", written(tmp_path / "train.txt", POSTS.encode()), encoding=name)


def test_files_in_two_encodings_are_named(tmp_path):
    written(tmp_path / "train.txt", POSTS.encode())
    written(tmp_path / "test.txt", POSTS.encode("utf-16"))
    with pytest.raises(DataError, match=r"train\.txt is UTF-8, .*test\.txt is UTF-16-LE: save them as UTF-8"):
        read("conll", tmp_path)
    written(tmp_path / "test.txt", POSTS.encode("utf-8-sig"))
    assert posts(tmp_path) == RIGHT


def test_a_broken_byte_in_utf8_makes_one_bad_line(tmp_path):
    record = '{{"id": "{}", "text": ["Zoë", "🎉"], "label": ["B-PER", "O"], "images": []}}\n'
    data = "".join(record.format(i) for i in range(4)).encode()
    broken = data.replace("🎉".encode(), b"\xf0\x9f\x8e", 1)
    reading = read("mner_mi", written(tmp_path / "train.txt", broken))
    assert [row["id"] for row in reading.rows("train")] == ["1", "2", "3"]
    counts = reading.report.splits["train"]
    assert counts.bad_lines == 1
    assert counts.examples["bad_lines"][0].startswith("line 1: expected UTF-8 text, found b'")
    assert r"\xf0\x9f\x8e" in counts.examples["bad_lines"][0]


def test_lines_end_in_lf_and_crlf_only(tmp_path):
    path = written(tmp_path / "a", "a\x85b\u2028c\rd\r\ne\n\nf".encode())
    assert list(lines(path)) == [(1, "a\x85b\u2028c\rd"), (2, "e"), (3, ""), (4, "f")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\ufeffa\n\n\ufeffb\n", ["a", "", "b"]),
        ('{"a": 1}\n\ufeff{"b": 1}\n', ['{"a": 1}', '{"b": 1}']),
        ("a\n\ufeffIMGID:1\na\n\ufeff-DOCSTART- O\n", ["a", "IMGID:1", "a", "-DOCSTART- O"]),
        ("a\n\ufeffb\n\n\ufeff\tO\n", ["a", "\ufeffb", "", "\ufeff\tO"]),  # it is in a word, or the whole of one
    ],
)
def test_marks_of_files_that_were_put_together_are_left_out(tmp_path, text, found):
    assert [line for _, line in lines(written(tmp_path / "a", text.encode()))] == found


def test_a_line_with_broken_bytes_is_shown_around_them(tmp_path):
    path = written(tmp_path / "a", b"a\n" + b"x" * 500 + b"\x80\xff" + b"y" * 500 + b"\n\xff\nb\n")
    (_, first), (_, second), (_, third), (_, last) = lines(path)
    assert (first, last) == ("a", "b")
    around = b"x" * 30 + b"\x80\xff" + b"y" * 28
    assert second == BadLine(2, f"expected UTF-8 text, found {around!r}")
    assert third == BadLine(3, "expected UTF-8 text, found b'\\xff\\n'")
    wide = written(tmp_path / "b", "ab\n".encode("utf-16-le") + b"\x00\xd8\n\0c\0")
    assert [line for _, line in lines(wide, "utf-16-le")] == [
        "ab",
        BadLine(2, r"expected UTF-16-LE text, found b'\x00\xd8\n\x00'"),
        "c",
    ]


def test_a_giant_line_is_left_out_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_mner_aug.readers.lines.MAX_LINE", 10)
    path = written(tmp_path / "a", b"123456789\n1234567890\n" + b"x" * 35 + b"\nlast")
    assert list(lines(path)) == [
        (1, "123456789"),
        (2, BadLine(2, "a line of 11 characters, over 10")),
        (3, BadLine(3, "a line of 36 characters, over 10")),
        (4, "last"),
    ]
    assert MAX_LINE == 32_000_000


def test_a_whole_text_and_its_first_lines(tmp_path):
    path = written(tmp_path / "a", "\ufeffZoë\r\nb".encode() + b"\xff")
    assert whole_text(path) == "Zoë\r\nb\udcff"
    assert as_read(path) == f"; first lines of {path} as read: '\\ufeffZoë\\r\\n' 'b\\\\xff'"
    assert as_read(written(path, b"")).endswith("as read: none")
    assert as_read(written(path, b"x" * 500 + b"\nb")).endswith(f"as read: {'x' * 100!r} 'b'")


def test_the_files_of_a_folder_are_recognised_together(tmp_path):
    written(tmp_path / "train" / "1.txt", b"plain")
    written(tmp_path / "train" / "2.txt", "Zoë".encode())
    assert encodings.recognise([tmp_path / "train"]) == ("utf-8", [])


# ---------------------------------------------------------------- recognised by its content

GERMAN = "Die Größe der Häuser über dem Fluß ist schön, früh wie spät: München, Köln, Zürich, Düsseldorf, Lübeck.\n"
FRENCH = "Zoé préfère l’été à Nîmes : où ça ? Là-bas, près de la forêt, les élèves français rêvent, dès août, à Noël.\n"
SPANISH = "El niño español, ¿qué comió ayer? Él volverá a León; mañana José irá también a Málaga, más allá, según él.\n"
QUOTED = "I’ve seen “The Office” … it’s great – don’t you think? She’ll say “yes” … café au lait, they’re sure.\n"
CHINESE = "中国人民的生活水平有了很大的提高，他们在这里工作和学习，这是我们大家都知道的事。\n"
HUNGARIAN = "A magyar nő őszintén örül, hogy Győr főterén öt fiú énekel: szép, hűvös idő, jó bőr, erős lőre.\n"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy; dvě řeky tečou přes město Plzeň a říčka Úslava také.\n"
POLISH = "Zażółć gęślą jaźń; Łódź i Kraków są piękne, a Wałęsa mieszka w Gdańsku, więc jedzie pociągiem.\n"
CONTRACTED = "It’s what they’re sure she’d say: don’t, can’t, won’t, isn’t, I’m, you’ll, we’ve.\n"
CROATIAN = "Petrović, Ivanović, Kovačić, Jurić, Babić, Perić, Tadić, Lukić, Savić, Marković, Horvatić.\n"
LITHUANIAN = "Eidvilė, Artūras, Gaičiūnas, Giedrė, Smiltė, Ramūnas, Eglė, Ūla, Rūta, Saulė, Milda.\n"
TURKISH = "Şişli’de yağmurlu bir gün; İstanbul çok güzel, Fenerbahçe ve Beşiktaş maçı başlıyor, çağrı açık.\n"
RUSSIAN = "Привет, Москва! Сегодня хорошая погода, и все люди гуляют по улицам большого города.\n"
KOREAN = "안녕하세요 서울 사람들은 오늘도 일하고 공부합니다 한국어 문장은 이렇게 생겼습니다 감사합니다\n"
JAPANESE = "東京の人は今日も仕事をして、勉強します。日本語の文章はこのように書かれています。\n"
TRADITIONAL = "臺灣的人們說國語，這裡的學校與醫院都很漂亮，我們覺得這個問題應該討論。\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(text * 3, "cp1252") for text in (GERMAN, FRENCH, SPANISH, QUOTED)] + [(CHINESE, "gb18030")],
)
def test_a_text_that_proves_its_encoding_is_read_and_said(tmp_path, text, encoding):
    path = written(tmp_path / "train.txt", text.encode(encoding))
    name, (said,) = encodings.recognise([path])
    assert name == encoding
    assert said.startswith(f"train.txt is read as {encodings.spelt(encoding)}: ")
    assert said.endswith("; --encoding names another")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((text, "mac_roman") for text in (GERMAN, FRENCH, SPANISH, QUOTED)),
        *((text, "cp850") for text in (GERMAN, FRENCH.replace("’", "'"), SPANISH)),
        (FRENCH.replace("près", "cœur").replace("’", "'"), "iso8859_15"),
        *((text, "cp1250") for text in (HUNGARIAN, CZECH, POLISH)),
        *((text.replace("’", "'"), "iso8859_2") for text in (HUNGARIAN, CZECH, POLISH)),
        (TURKISH, "cp1254"),
        (CONTRACTED, "mac_roman"),
        (FRENCH.replace("’", "'") * 20 + "le cœur\n", "iso8859_15"),
        (CROATIAN, "cp1250"),  # in cp1252 these are Danish and French letters
        (LITHUANIAN, "cp1257"),
        *((RUSSIAN, name) for name in ("cp1251", "koi8_r", "iso8859_5", "cp866")),
        (KOREAN, "euc_kr"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "shift_jis"),
        (TRADITIONAL, "big5"),
        ("Zoë is here\n", "cp1252"),
        ("中国\n", "gb18030"),
    ],
)
@pytest.mark.parametrize("times", [1, 20])
def test_a_text_that_could_be_another_is_refused_with_candidates(tmp_path, text, encoding, times):
    times = times if len(text) > 20 else 1
    path = written(tmp_path / "train.txt", b"IMGID:1\n" + text.encode(encoding) * times)
    with pytest.raises(DataError, match=r"certain: name it by --encoding, as [a-z].*\('.*train\.txt line 2\)$"):
        encodings.recognise([path])


def test_a_large_file_takes_no_time(tmp_path):
    path = written(tmp_path / "train.txt", CHINESE.encode("gb18030") * 250_000)
    begun = time.monotonic()
    assert encodings.recognise([path])[0] == "gb18030"
    assert time.monotonic() - begun < 10


def test_the_files_of_a_set_prove_their_encoding_together(tmp_path):
    parts = [written(tmp_path / f"{i}.txt", part.encode("cp1252")) for i, part in enumerate((GERMAN[:40], GERMAN[60:]))]
    with pytest.raises(DataError):
        encodings.recognise(parts[:1])
    assert encodings.recognise(parts * 2)[0] == "cp1252"
    plain = written(tmp_path / "plain.txt", b"plain")
    assert encodings.recognise([plain, *parts, *parts])[0] == "cp1252"
    with pytest.raises(DataError, match="expected one encoding in all files of a set"):
        encodings.recognise([written(tmp_path / "u.txt", "Zoë".encode()), *parts, *parts])


def test_a_few_broken_bytes_leave_a_text_utf8(tmp_path):
    data = (GERMAN * 5).encode()
    for i in (data.index(0xC3), data.index(0xC3) + 1):
        assert encodings.recognise([written(tmp_path / "a", data[:i] + b"\xff" + data[i + 1 :])]) == ("utf-8", [])
    half = GERMAN.encode() + GERMAN.encode("cp1252")
    with pytest.raises(DataError, match="not certain"):
        encodings.recognise([written(tmp_path / "a", half * 5)])


def test_signs_within_words_are_of_another_encoding(tmp_path):
    mixed = GERMAN.encode("cp1252") * 3 + "hôtel, rôle, côte\n".encode("cp850")
    with pytest.raises(DataError, match="not certain"):
        encodings.recognise([written(tmp_path / "train.txt", mixed)])
