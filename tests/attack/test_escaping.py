"""Strangers' words on a terminal, in Markdown, YAML and HTML: they are shown, and obeyed nowhere."""

import ast
import io
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import as_dataset, parse
from datasets import DatasetDict
from markdown_it import MarkdownIt

import hf_mner_aug
from hf_mner_aug import EDA, augment, cli, publish
from hf_mner_aug.publishing.cards import ConfigFacts, read_sections, render, with_section
from hf_mner_aug.publishing.folder import read_features, read_note
from hf_mner_aug.schema import Post, mner_features
from hf_mner_aug.studies.tables import table
from hf_mner_aug.transform import Model
from hf_mner_aug.untrusted.printable import (
    code_span,
    excerpt,
    fenced,
    for_html,
    for_markdown,
    for_terminal,
    say,
    say_json,
)

PACKAGE = Path(hf_mner_aug.__file__).parent
TEMPLATES = (
    *("beside.html", "memory.html", "page.html", "photo.html", "predictions.html", "recommendation.html"),
    *("sheet.html", "sides.html", "style.css"),
)
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\u202egnp.exe\u2066",
    "one\ntwo\r\x85three\u2028four\u2029",
    "half \ud83d of a pair",
    "# heading",
    "x\n\n# heading\n\n",
    "Setext\n===",
    "- item",
    "1. item",
    "> quote",
    "---",
    "***",
    "**bold** __bold__ *it* _it_ ~~gone~~ ~gone~",
    "[text](https://evil.example) ![picture](https://evil.example/x.png)",
    "[text][ref] [ref]: https://evil.example",
    "](https://evil.example)",
    "<https://evil.example> <img src=x onerror=alert(1)> <script>alert(1)</script>",
    "<!-- end of config c -->",
    "<!--  end of config c  -->\n<!-- config d -->\nforged\n<!-- end of config d -->",
    "<!-- never closed",
    "<!<!---- nested",
    "--> closed",
    "&lt;b&gt; &#60;b&#62; AT&T",
    "a | b \\| c",
    "`code` ``more`` ```fence",
    "```\nout of the fence\n```",
    "~~~\nout\n~~~",
    "    indented",
    "\tindented",
    "\\",
    "ends in \\",
    "$$\\alpha$$",
    "{{ 7 * 7 }} {% for x in y %}",
    "[red]bold[/red] [link=https://evil.example]x[/link] :smile:",
    'a"); import os; os.system("x',
    "$(reboot); `reboot`",
    "a: b",
]
PLAIN = [
    "CC-BY-4.0",
    "Paris_10pct",
    "0.25",
    "-0.5",
    "fewer_than_two_outside_words",
    '["a", "b"]',
    "x (y), z",
    "北京 🏳️‍🌈 ü",
]
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def kinds(text):
    """Return the counts of the elements of a Markdown text, inline ones too, by name."""
    found = Counter()
    for token in MARKDOWN.parse(text):
        found[token.type] += 1
        found.update(child.type for child in token.children or ())
    return found


def shown(text):
    """Return what a reader of a Markdown text sees."""
    words = [
        child.content if child.type in ("text", "code_inline") else " "
        for token in MARKDOWN.parse(text)
        for child in token.children or ()
    ]
    return "".join(words)


# ---------------------------------------------------------------- the functions


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_gets_no_control_character(text, capsys):
    assert not CONTROLS.search(for_terminal(text))
    assert "\n" not in for_terminal(text)
    say(text, 7)
    assert not CONTROLS.search(capsys.readouterr().out)
    say_json({"text": text})
    told = capsys.readouterr().out
    assert not CONTROLS.search(told)
    assert json.loads(told) == {"text": text}
    assert not CONTROLS.search(for_html(text))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "around", ["{}", "## {}", "| {} | b |\n|---|---|\n| {} | {} |", "**{}**", "- {}", "of ({}), and"]
)
def test_markdown_shows_text_and_obeys_none_of_it(text, around):
    text = text.strip() if "**" in around else text
    made = around.replace("{}", for_markdown(text))
    assert kinds(made) == kinds(around.replace("{}", "plain")), made
    assert "<!--" not in made
    expected = for_terminal(" ".join(re.split(r"\s+", text)))
    assert "".join(expected.split()) in "".join(shown(made).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_code_is_code(text):
    line = f"before {code_span(text)} after"
    assert kinds(line) == kinds("before `x` after")
    cells = f"| a | b |\n|---|---|\n| {code_span(text)} | c |"
    assert kinds(cells) == kinds("| a | b |\n|---|---|\n| `x` | c |")
    block = fenced([text, "second"])
    assert kinds(f"one\n\n{block}\n\ntwo") == kinds("one\n\n```\nx\n```\n\ntwo")
    assert "<!--" not in line + block


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_text_stays_as_it_is(text):
    assert for_markdown(text) == text
    assert for_terminal(text) == text
    assert code_span(text) == f"`{text}`"
    assert table([text], [[text]]) == f"| {text} |\n| --- |\n| {text} |"


def test_an_excerpt_is_one_short_line():
    assert excerpt("a\x1b[2J\n\u202eb" + "c" * 500, 10) == "a [2J bccc"


# ---------------------------------------------------------------- cards


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    out = tmp_path_factory.mktemp("cards") / "out"
    texts = ["so glad to see [PER Lionel Messi] in [LOC Barcelona] today", "we all love [PER Adele] so very much"]
    train = as_dataset([Post(f"g{i}", *parse(text)) for i, text in enumerate(texts)], mner_features())
    run = augment(DatasetDict(train=train), EDA(copies=2), out=out, progress=False, config="c")
    publish(run, out)
    return out, run, ConfigFacts.from_note(read_note(out / "c")), read_features(out / "c")


def with_word(facts, word):
    """Return facts with one text in each place that others decide."""
    whole = word.encode("utf-8", "replace").decode()  # a recipe holds no half of a surrogate pair
    return replace(
        facts,
        source=replace(facts.source, name=word, license=word.lower(), language=[word]),
        models=[Model(role=word, id=word, license=word.lower())],
        cautions=[word],
        retrieved="whole",
        licences={word: 1},
        masked={word: 2},
        inherited={word: 3},
        funnel={**facts.funnel, "rejected": {word: 1}, "dropped": {word: 2}, "limits": {word: 3}},
        entities={word: (1, 2)},
        examples=[word, word],
        recipe=replace(facts.recipe, params={whole: whole, "list": [whole, 1]}, preset=whole),
    )


def test_no_word_of_a_config_forges_the_card(published):
    _, _, facts, features = published
    plain = render(None, with_word(facts, "plain"), features, "folder")
    for word in HOSTILE:
        card = render(None, with_word(facts, word), features, "folder")
        body = card.split("---\n", 2)[2]
        expected = kinds(plain.split("---\n", 2)[2])
        assert kinds(body) == expected, word
        assert body.count("<!--") == 2
        assert list(read_sections(body, "config")) == ["config c"]
        assert isinstance(yaml.safe_load(card.split("---\n")[1])["license"], str)
        if "<!" not in word:
            continue
        # Another config, and the same one again, leave the rest as it is.
        both = render(card, replace(facts, recipe=replace(facts.recipe, config="d")), features, "folder")
        assert list(read_sections(both, "config")) == ["config c", "config d"]
        again = render(both, with_word(facts, word), features, "folder")
        assert read_sections(again, "config") == read_sections(both, "config")


@pytest.mark.parametrize("word", [word for word in HOSTILE if "<!" in word])
def test_a_section_holds_no_mark(word):
    body = with_section("kept\n", "study of c", word)
    assert list(read_sections(body, "study")) == ["study of c"]
    assert body.count("<!--") == 2
    assert with_section(body, "study of c", word) == body
    assert with_section(body, "study of c", "x").startswith("kept\n\n<!-- study of c -->\nx\n")


@pytest.mark.parametrize(
    "name",
    [
        "a: b",
        "2017",
        "null",
        "yes",
        "- x",
        "~",
        "1e3",
        "[x]",
        "{x}",
        "a #b",
        "'",
        '"',
        "x\ny",
        "<b>",
        "&a",
        "# x",
        "\x1b[2J",
    ],
)
def test_any_folder_name_is_a_title(published, name):
    _, _, facts, features = published
    card = render(None, facts, features, name)
    block, body = card.split("---\n", 2)[1:]
    assert yaml.safe_load(block)["pretty_name"] == for_terminal(name)
    (title,) = re.findall(r"^# (.*)$", body.partition("<!--")[0], re.MULTILINE)
    assert kinds(f"# {title}") == kinds("# x")
    code = re.search(r"```python\n(.*?)```", body, re.DOTALL)[1]
    call = ast.parse(code).body[1].value
    assert [argument.value for argument in call.args] == [name, "c"]


def test_a_folder_is_published_under_an_odd_name(published, tmp_path):
    _, run, _, _ = published
    out = tmp_path / "a: b <!-- config c -->\x1b"
    publish(run, out)
    publish(run, out)
    card = (out / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["pretty_name"] == for_terminal(out.name)
    assert list(read_sections(card, "config")) == ["config c"]


# ---------------------------------------------------------------- the exits


def test_every_exit_to_the_terminal_goes_through_say():
    """No module prints by itself, and rich draws on our console only."""
    for path in PACKAGE.rglob("*.py"):
        if path.name == "printable.py":
            continue
        text = path.read_text(encoding="utf-8")
        if not re.search(r"\b(print|Console)\(|\bstd(out|err)\b", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "Console"), f"{path}:{node.lineno}: use printable.say or console"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "write":
                assert "stdout" not in ast.unparse(node.func), f"{path}:{node.lineno}"
                assert "stderr" not in ast.unparse(node.func), f"{path}:{node.lineno}"


def test_templates_leave_nothing_out():
    """Pages: only drawings that code makes are written as they are. Cards: nothing is, but by our own filters."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.jinja")}
    assert set(pages) == {f"{name}.jinja" for name in TEMPLATES}
    for name, text in pages.items():
        assert set(re.findall(r"[^{ ]*\s*\|\s*safe", text)) <= {"figure|safe"}, name
        assert "autoescape" not in text
        assert not re.search(r"""(href|src|action)=(?!"(#|data:|\{\{ picture\.url \}\}))""", text), name
    cards = sorted((PACKAGE.parent / "cards").glob("*.md"))
    assert {path.stem for path in cards} == {"config", "raw_set", "repo", "results", "sample"}
    for path in cards:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*(safe|tojson|escape|e|forceescape)\b", text), path
        assert not re.search(r"\}\}[(\[:]", text), f"{path}: a bracket behind a value could make it a link"


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("word", ["\x1b[2J", "a\nerror forged", "\u202e", "\x9b1m"])
def test_an_error_is_one_line_whatever_it_names(capsys, monkeypatch, tmp_path, word):
    for arguments in (
        ("show", tmp_path, word),
        ("validate", f"./{word}"),
        ("augment", tmp_path, "--method", word, "--out", tmp_path / "x"),
        ("augment", tmp_path, "--recipe", tmp_path / word, "--out", tmp_path / "x"),
        ("index", tmp_path / f"{word}.txt", "--out", tmp_path / "x"),
    ):
        code, out, err = run(capsys, monkeypatch, *arguments)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not CONTROLS.search(err.removesuffix("\n"))
        assert for_terminal(word) in err.replace("\\\\", "\\")


def test_the_preview_shows_words_as_they_are(capsys, monkeypatch, tmp_path):
    words = ["[red]x[/red]", "\x1b[31mred", "\u202e", ":smile:", "[/nothing]"]
    texts = ["so glad to see [PER Lionel Messi] in [LOC Barcelona] today", "we all love [PER Adele] so very much"]
    posts = [Post(f"[b]{i}\x1b", *parse(text)) for i, text in enumerate(texts)]
    posts = [replace(post, tokens=[*post.tokens, *words]) for post in posts]
    (tmp_path / "src").mkdir()
    as_dataset(posts, mner_features()).to_parquet(tmp_path / "src" / "train.parquet")
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(
        capsys, monkeypatch, "augment", tmp_path / "src", "--method", "eda", "--out", tmp_path / "out", "--preview", "2"
    )
    assert (code, err) == (0, "")
    for told in ("[red]x[/red]", "\\x1b[31mred", "\\u202e", ":smile:", "[/nothing]", "[b]0\\x1b"):
        assert told in out
    assert not CONTROLS.search(out.replace("\n", ""))


def test_a_terminal_without_the_letters_gets_them_spelt_out(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", "validate", "./ü"])
    with pytest.raises(SystemExit):
        cli.main()
    say("ü × 北")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\xfc \\xd7 \\u5317\n"
