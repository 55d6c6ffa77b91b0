"""Every regular expression of the package takes less than 0.1 s on 100 kB of text that was made to slow it down.

The expressions are read from the source, so that none can be forgotten: each call of ``re`` is found, and its pattern
is evaluated in its module. The texts are made from the pattern: runs of every part of it, and of every sign that it
names, behind what the parts before ask for, and with an end that does not match.
"""

import ast
import contextlib
import functools
import importlib
import itertools
import random
import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import hf_mner_aug
from hf_mner_aug.models import search
from hf_mner_aug.models.endpoint import protocol
from hf_mner_aug.models.image import collage
from hf_mner_aug.models.search import web as posts
from hf_mner_aug.models.search.fetching import Fetched, Refused
from hf_mner_aug.pages import posts as report
from hf_mner_aug.posts import masking, scripts, texts, tokenising
from hf_mner_aug.publishing import cards
from hf_mner_aug.schema import Post
from hf_mner_aug.untrusted import dates, printable

SECONDS = 0.1
LENGTH = 100_000
MOST = 100  # texts for each pattern; the campaign takes all
# Small steps first: where the time doubles with each sign, what is too slow when it is short is not tried longer.
SIZES = (24, 30, 38, 48, 60, 75, 95, 120, 150, 200, 1_000, 10_000)
PACKAGE = Path(hf_mner_aug.__file__).parent
FUNCTIONS = ("compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn")
# Patterns with parts that only a running function knows: by module and function, the pattern with such parts.
MADE_AT_RUN_TIME: dict[tuple[str, str], Callable[[], Any]] = {
    ("hf_mner_aug.storage.parquet", "shards"): lambda: re.escape("train") + r"-\d{5}-of-\d{5}\.parquet",
}


class Used(NamedTuple):
    """A pattern, its flags, where it stands, and how it is applied."""

    where: str
    pattern: Any
    flags: int
    functions: frozenset[str]


# ---------------------------------------------------------------- finding


def used_patterns() -> Iterator[Used]:
    """Yield the regular expressions in the package's source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not re.search(r"\bre\b", text):
            continue
        tree = ast.parse(text)
        name = ".".join(("hf_mner_aug", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        yield from _patterns_of(tree, name)


def _patterns_of(tree: ast.Module, module: str) -> Iterator[Used]:
    nodes = list(ast.walk(tree))
    parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
    imported = [alias for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "re"
                for alias in node.names]  # fmt: skip
    assert not imported, (
        f"{module} imports {imported[0].name} from re: write re.{imported[0].name}, which is found here"
    )
    for node in nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re"):
            continue
        if node.func.attr not in FUNCTIONS:
            continue
        scope = ""
        above: ast.AST = node
        while above in parents:
            above = parents[above]
            if isinstance(above, ast.FunctionDef):
                scope = above.name
                break
        where = f"{module}:{node.lineno}"
        pattern, flags = _evaluated(node, module, scope, where)
        functions = _functions(node, nodes, parents)
        yield Used(where, pattern, flags, functions)


def _evaluated(node: ast.Call, module: str, scope: str, where: str) -> tuple[Any, int]:
    """Return a call's pattern and flags, evaluated in its module."""
    names = vars(importlib.import_module(module))
    flags = [keyword.value for keyword in node.keywords if keyword.arg == "flags"]
    place = {"compile": 1, "search": 2, "match": 2, "fullmatch": 2, "findall": 2, "finditer": 2}
    flags += node.args[place.get(node.func.attr, 9) :][:1]  # type: ignore[attr-defined]
    evaluate = lambda part: eval(compile(ast.Expression(part), where, "eval"), names)  # noqa: E731, S307
    try:
        pattern = evaluate(node.args[0])
    except NameError:
        assert (module, scope) in MADE_AT_RUN_TIME, f"{where}: a pattern made at run time: name it in MADE_AT_RUN_TIME"
        pattern = MADE_AT_RUN_TIME[module, scope]()
    return pattern, int(evaluate(flags[0])) if flags else 0


def _functions(node: ast.Call, nodes: Sequence[ast.AST], parents: dict[ast.AST, ast.AST]) -> frozenset[str]:
    """Return how a call's pattern is applied; a compiled one, wherever its name is used in the module."""
    assert isinstance(node.func, ast.Attribute)
    if node.func.attr != "compile":
        return frozenset([node.func.attr])
    above = parents[node]
    if not (isinstance(above, ast.Assign) and isinstance(above.targets[0], ast.Name)):
        return frozenset(["finditer"])
    found = set()
    for use in nodes:
        if isinstance(use, ast.Name) and use.id == above.targets[0].id and isinstance(use.ctx, ast.Load):
            method = parents[use]
            known = isinstance(method, ast.Attribute) and method.attr in FUNCTIONS
            found.add(method.attr if known else "finditer")  # type: ignore[attr-defined]
    return frozenset(found or {"finditer"})


# ---------------------------------------------------------------- texts that may be slow


def slow_texts(pattern: str | bytes, flags: int) -> Iterator[tuple[str, str, str]]:
    """Yield heads, what is repeated, and ends of texts that are made to slow a pattern down."""
    made = _Texts(pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern, flags)
    seen = set()
    for head, body in made.pumped():
        for end in ("", "\0", "\n!"):
            if body and (head, body, end) not in seen:
                seen.add((head, body, end))
                yield head, body, end
    for first, second in itertools.permutations(made.signs, 2):
        yield "", first * (LENGTH // 2), second * LENGTH  # two runs, each half of the text
    yield "", "".join(made.signs), ""


class _Texts:
    """Texts that match parts of a pattern."""

    def __init__(self, pattern: str, flags: int) -> None:
        self.parser: Any = re._parser  # type: ignore[attr-defined]
        self.compiler: Any = re._compiler  # type: ignore[attr-defined]
        self.tree = self.parser.parse(pattern, flags)
        named = sorted({chr(value) for op, value in _nodes(self.tree) if str(op) in ("LITERAL", "NOT_LITERAL")})
        drawn = random.Random(0).sample(named, min(8, len(named)))
        self.signs = list(dict.fromkeys([*drawn, "a", "0", "_", " ", "\n", "\t", ".", "-", "/", "é", "\u0301"]))
        self.groups: dict[int, list[Any]] = {}

    def pumped(self) -> Iterator[tuple[str, str]]:
        """Yield heads and bodies: each sign, and each run of neighbouring parts, behind the parts before."""
        for before, parts in self._sequences(list(self.tree), []):
            for start in range(len(parts)):
                heads = {"", self.text([*before, *parts[:start]], 0)}
                for head in heads:
                    yield from ((head, sign) for sign in self.signs)
                for stop in range(start + 1, len(parts) + 1):
                    for choice in range(3):
                        body = self.text(parts[start:stop], choice)
                        yield from ((head, body) for head in heads)

    def _sequences(self, parts: list[Any], before: list[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
        """Yield each sequence of parts, nested ones too, with what stands before it; literals in a row are one part."""
        merged: list[Any] = []
        for part in parts:
            literal = str(part[0]) == "LITERAL"
            if literal and merged and isinstance(merged[-1], list):
                merged[-1].append(part)
            else:
                merged.append([part] if literal else part)
        yield before, merged
        for i, part in enumerate(merged):
            for inner in _children(part):
                yield from self._sequences(list(inner), [*before, *merged[:i]])

    def text(self, parts: list[Any], choice: int) -> str:
        return "".join(self._part(part, choice) for part in parts)

    def _part(self, part: Any, choice: int) -> str:
        if isinstance(part, list):
            return self.text(part, choice)
        kind, value = str(part[0]), part[1]
        if kind == "LITERAL":
            return chr(value)
        if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = value
            return self.text(list(inner), choice) * max(int(least), min(1, int(most)))
        if kind == "SUBPATTERN":
            self.groups[value[0]] = list(value[-1])
            return self.text(list(value[-1]), choice)
        if kind == "ATOMIC_GROUP":
            return self.text(list(value), choice)
        if kind == "BRANCH":
            branches = value[1]
            return self.text(list(branches[choice % len(branches)]), choice)
        if kind == "GROUPREF":
            return self.text(self.groups.get(value, []), choice)
        if kind in ("IN", "NOT_LITERAL", "ANY"):
            return self._sign(part, choice)
        return ""  # assertions

    def _sign(self, part: Any, choice: int) -> str:
        one = self.parser.SubPattern(self.tree.state, [part])
        matches = self.compiler.compile(one, 0).fullmatch
        wide = (chr(code) for code in (0x3042, 0xE01, 0x9F, 0x202A, 0xD800, 0x20AC))
        found = [sign for sign in (*self.signs, "<", '"', "\\", ",", *wide) if matches(sign)]
        return found[choice % len(found)] if found else ""


def _children(part: Any) -> list[Any]:
    if isinstance(part, list):
        return []
    kind, value = str(part[0]), part[1]
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return [value[2]]
    if kind == "SUBPATTERN":
        return [value[-1]]
    if kind == "ATOMIC_GROUP":
        return [value]
    if kind == "BRANCH":
        return list(value[1])
    if kind in ("ASSERT", "ASSERT_NOT"):
        return [value[1]]
    return []


def _nodes(tree: Any) -> Iterator[Any]:
    for part in tree:
        yield part
        if str(part[0]) == "IN":
            yield from ((kind, value) for kind, value in part[1] if str(kind) == "LITERAL")
        for inner in _children(part):
            yield from _nodes(inner)


# ---------------------------------------------------------------- timing


def cpu_seconds(call: Callable[[], Any], enough: float, tries: int = 3) -> float:
    """Return the processor time of a call: the best of some, or the first below ``enough``."""
    best = float("inf")
    for _ in range(tries):
        begin = time.thread_time()
        call()
        best = min(best, time.thread_time() - begin)
        if best < enough or best > 4 * enough:
            break
    return best


@functools.lru_cache(maxsize=1)
def _methods(used: Used) -> list[Callable[[Any], Any]]:
    """Return the methods by which a pattern is applied; ``findall`` stands for those that are not listed."""
    compiled = re.compile(used.pattern, used.flags)
    known = {"findall", "split", "search", "match", "fullmatch"}
    names = {name if name in known else "findall" for name in used.functions}
    return [getattr(compiled, name) for name in sorted(names)]


def worst(used: Used, most: int = MOST) -> tuple[float, int, str]:
    """Return the processor time of the slowest of some texts, its length, and what it is made of."""
    texts = list(slow_texts(used.pattern, used.flags))
    if len(texts) > most:
        texts = random.Random(len(texts)).sample(texts, most)
    return worst_of(used, texts)


def worst_of(used: Used, texts: Sequence[tuple[str, str, str]]) -> tuple[float, int, str]:
    """Return the processor time of the slowest text, its length, and what it is made of."""
    slowest: tuple[float, int, str] = (0.0, 0, "")
    ranked: list[tuple[float, tuple[str, str, str]]] = []
    for made in texts:
        for size in SIZES:
            seconds, length = _seconds(used, made, size), size
            if seconds > SECONDS:
                return seconds, length, _spelled(made)
        ranked.append((seconds, made))
    ranked.sort(key=lambda item: -item[0])
    # What takes 0.1 s at 100 kB and grows with the square takes 1 ms at 10 kB.
    for _, made in [item for item in ranked if item[0] > 5e-4][:20] or ranked[:3]:
        for size in (30_000, LENGTH):
            slowest = max(slowest, (_seconds(used, made, size), size, _spelled(made)))
            if slowest[0] > SECONDS:
                return slowest
    return slowest


def _seconds(used: Used, made: tuple[str, str, str], size: int) -> float:
    head, body, end = made
    if len(body) > 2 * size or len(end) > 2 * size:  # a run is a half of the text
        text = (head + body[: size // 2] + end[: size // 2])[:size]
    else:
        text = head + (body * (size // len(body) + 1))[: max(1, size - len(head) - len(end))] + end
    subject: Any = text.encode("utf-8", "replace") if isinstance(used.pattern, bytes) else text
    enough = SECONDS if size > 1000 else 1.0
    return sum(cpu_seconds(functools.partial(method, subject), enough) for method in _methods(used))


def _spelled(made: tuple[str, str, str]) -> str:
    return " + ".join(repr(part[:30]) for part in made)


USED = list(used_patterns())


def test_every_use_of_re_is_found() -> None:
    lines = [
        line
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bre\.(" + "|".join(FUNCTIONS) + r")\(", line)
    ]
    assert len(USED) == len(lines) > 35
    assert {name for used in USED for name in used.functions} <= set(FUNCTIONS)


@pytest.mark.parametrize("used", USED, ids=lambda used: used.where)
def test_a_pattern_is_fast_on_100_kb(used: Used) -> None:
    seconds, length, text = worst(used)
    print(f"{used.where}: {1000 * seconds:.1f} ms for {length:,} characters of {text}")
    assert seconds < SECONDS, f"{used.where} takes {seconds:.2f} s of {length:,} characters: {text}"


@pytest.mark.parametrize(
    "used",
    [
        Used("fences", r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL, frozenset(["fullmatch"])),
        Used("charset", rb"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE, frozenset(["finditer"])),
        Used("sections", r"<!-- (a [^\n]*?) -->\n(.*?)\n<!-- end of \1 -->", re.DOTALL, frozenset(["finditer"])),
        Used("address", r"[\w.+-]+@\w+\.\w+", 0, frozenset(["search"])),
        pytest.param(Used("blanks", r"\s+$", 0, frozenset(["sub"])), marks=pytest.mark.attack),
        pytest.param(Used("tags", r"<a.*?</a>", re.DOTALL, frozenset(["sub"])), marks=pytest.mark.attack),
        Used("behind a choice", r"(?:x|y=)(?:[0-9]*-?)*z", 0, frozenset(["search"])),
    ],
    ids=lambda used: used.where,
)
def test_a_slow_pattern_is_told(used: Used) -> None:
    assert worst(used)[0] > SECONDS


@pytest.mark.attack
def test_all_texts() -> None:
    """Every text for every pattern, and 300 more at random from two parts of a pattern, with a fixed seed."""
    rows = []
    for used in USED:
        texts = list(slow_texts(used.pattern, used.flags))
        stream = random.Random(7)
        for _ in range(300):
            heads, first, second, ends = (stream.choice(texts) for _ in range(4))
            texts.append((heads[0], first[1][:50] + second[1][:50], ends[2]))
        seconds, length, text = worst_of(used, texts)
        rows.append((seconds, used.where, len(texts), length, text))
    for seconds, where, n_texts, length, text in sorted(rows, reverse=True):
        print(f"{1000 * seconds:7.1f} ms  {where:45} {n_texts:6} texts, worst: {length:,} of {text}")
    slow = [row for row in rows if row[0] > SECONDS]
    assert not slow
    assert sum(row[2] for row in rows) > 20_000


# ---------------------------------------------------------------- readers that are no expressions

RUNS = (
    *("<!-- config a -->\n", "<!-- end of config a -->\n", "<!--", "<", "</", "&#", "&#1", "&amp", "```\n", "```"),
    *("@a ", "@a", "@", "http://", "https : / / ", "www.", "rt @a: ", " ", "\n", "\u0301\u0327", "\uff9e\u0323"),
    *("[", "{", '"', "\\", "-", "1", "1-", "a_", "a.b@", "<script", "<article>", "<p>", "<a><b>", "<table>", "<li>"),
    *("<form>", "<meta ", "<a b=c ", "\0", "a", "_ ", "0. ", "(0", "…", "é", "あ", "<select><option>", "<svg>"),
    *("<b><p>", "\ud800", "<article><time datetime=1>", "'", "=", ";", "charset=", "-->\n", "],", "<!DOCTYPE a"),
    *("कि", "\u200d", "👩\u200d", "\u00ad", "a.", "a.a@", "あ@", "1 -", "1 ", "é.b@", "é@é.", "é . ", "🇫", "@é."),
)


def _read_page(text: str) -> None:
    with contextlib.suppress(Refused):
        posts.read_page(Fetched("https://example.com/a", f"text/html; charset={text}", text.encode("utf-8", "replace")))


def _parse_json(text: str) -> None:
    for whole in (text, f"```json{text}", f"```\n{text}```"):
        with contextlib.suppress(ValueError):
            protocol.parse_json(whole)


READERS: dict[str, Callable[[str], Any]] = {
    "cards": lambda text: (cards.read_sections(text, "config"), cards.with_section(text, "config a", "new")),
    "text_key": texts.text_key,
    "words": search.words,
    "mask": lambda text: (masking.mask(text.split(), masking.KINDS), masking.mask(list(text), masking.KINDS)),
    "mask_one_word": lambda text: masking.mask([text], masking.KINDS),
    "split_words": lambda text: [tokenising.split_words(text, style) for style in ("whole", "split", "characters")],
    "signs": lambda text: (scripts.is_plain_word(text), scripts.is_emoji(text), scripts.written_length(text)),
    "words_of": collage.words_of,
    "read_page": _read_page,
    "parse_json": _parse_json,
    "excerpt": printable.excerpt,
    "for_terminal": lambda text: printable.for_terminal(text, lines=True),
    "for_markdown": lambda text: (printable.for_markdown(text), printable.code_span(text), printable.fenced([text])),
    "retry_after": lambda text: protocol.retry_after({"retry-after": text}),
    "parse_date": dates.parse_date,
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_is_fast_on_100_kb(name: str) -> None:
    """Its time does not grow with the square of the length, which would mean seconds to minutes."""

    def seconds(run: str, size: int) -> float:
        text = run * (size // len(run))
        return cpu_seconds(lambda: READERS[name](text), 10 * SECONDS)

    ranked = sorted(RUNS, key=lambda run: -seconds(run, 1_000))
    for run in ranked[:2]:
        for size in (5_000, LENGTH):
            assert seconds(run, size) < 10 * SECONDS, f"{name} takes more than 1 s of {size:,} characters of {run!r}"


def test_a_changed_long_post_is_compared_in_a_moment() -> None:
    words = Post("a", ["a", "b"] * 5_000), Post("b", ["b", "a", "a", "c"] * 2_500)
    pair = report.Pair(*(report.Side(post, ()) for post in words))
    assert cpu_seconds(lambda: pair.changed, SECONDS) < 5 * SECONDS
    gone, new = pair.changed
    assert not gone
    assert new == set(range(3, 10_000, 4))


def test_normal_forms_of_few_marks_are_those_of_python() -> None:
    stream = random.Random(3)
    signs = "ae\u0301\u0327\u0335가ᄀ\u1161\u11a8ﷺ\uff9eあﾊ\u0f77 "
    for form in ("NFC", "NFKC"):
        for size in (5, 1_500):
            for _ in range(20):
                text = "".join(stream.choice(signs) for _ in range(size))
                assert texts.normalise_unicode(form, text) == unicodedata.normalize(form, text)
