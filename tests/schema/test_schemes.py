"""Schemes of tags: each read as seqeval reads it, and recognised in the tags of a whole set."""

import random
import warnings
from collections import Counter

import pytest
from seqeval import scheme as strict
from seqeval.metrics.sequence_labeling import get_entities

from hf_mner_aug.exceptions import DataError
from hf_mner_aug.schema import spans_to_bio
from hf_mner_aug.schema.schemes import MAX_PAIRS, SCHEMES, Pairs, Tagging, recognise
from hf_mner_aug.schema.tags import Span, bio_to_spans

N_SETS = 1500
OWN = {"bilou": {"E": "L", "S": "U"}, "bmes": {"I": "M"}}  # letters that differ from those of BIOES
STRICT = {
    "bio": strict.IOB2,
    "iob1": strict.IOB1,
    "bioes": strict.IOBES,
    "bilou": strict.BILOU,
    "bmes": strict.IOBES,
    "ioe2": strict.IOE2,
}


def write(spans, n_words, scheme):
    """Return the tags [n_words] of spans in a scheme, written from its definition."""
    tags = ["O"] * n_words
    for i, (start, end, kind) in enumerate(spans):
        touches = i > 0 and spans[i - 1].end == start and spans[i - 1].type == kind
        touched = i + 1 < len(spans) and spans[i + 1].start == end and spans[i + 1].type == kind
        letters = ["I"] * (end - start)
        if scheme in ("bio", "bioes", "bilou", "bmes") or (scheme == "iob1" and touches):
            letters[0] = "B"
        if scheme in ("bioes", "bilou", "bmes", "ioe2") or (scheme == "ioe1" and touched):
            letters[-1] = "E" if end - start > 1 or scheme.startswith("ioe") else "S"
        tags[start:end] = [f"{OWN.get(scheme, {}).get(letter, letter)}-{kind}" for letter in letters]
    return tags


def random_spans(rng, apart=False):
    """Return spans of a post and its number of words; spans of one type never touch with ``apart``."""
    n_words, spans, at = rng.randint(1, 12), [], 0
    while at < n_words:
        kind, length = rng.choice(["PER", "LOC", "work-of-art"]), rng.randint(1, 3)
        touches = bool(spans) and spans[-1].end == at and spans[-1].type == kind
        if rng.random() < 0.5 and at + length <= n_words and not (apart and touches):
            spans.append(Span(at, at + length, kind))
            at += length
        else:
            at += 1
    return spans, n_words


def entities(tags, scheme, mode):
    """Return seqeval's spans of tags in the default or the strict mode."""
    if mode == "default":
        as_bioes = {"L": "E", "U": "S", "M": "I"}
        known = [as_bioes.get(tag[0], tag[0]) + tag[1:] for tag in tags]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return [(start, end + 1, kind) for kind, start, end in get_entities(known)]
    known = [tag.replace("M-", "I-", 1) if tag[0] == "M" else tag for tag in tags]
    return [(e.start, e.end, e.tag) for e in strict.Tokens(known, STRICT[scheme]).entities]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_of_a_scheme_are_those_of_seqeval(scheme):
    rng = random.Random(f"valid {scheme}")
    for _ in range(N_SETS):
        posts = [random_spans(rng, apart=scheme == "io") for _ in range(3)]
        written = [write(spans, n_words, scheme) for spans, n_words in posts]
        tagging = Tagging(scheme)
        for (spans, n_words), tags in zip(posts, written, strict=True):
            assert tagging.spans(tags) == spans == entities(tags, scheme, "default")
            assert tagging.to_bio(tags, "error") == (spans_to_bio(spans, n_words), [])
            if scheme in STRICT:
                assert entities(tags, scheme, "strict") == spans


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_tags_are_read_as_seqeval_reads_them(scheme):
    rng = random.Random(f"noise {scheme}")
    letters = sorted({tag[0] for tag in write([Span(0, 3, "X"), Span(3, 6, "X"), Span(7, 8, "X")], 9, scheme)} - {"O"})
    repaired = 0
    for _ in range(N_SETS):
        kinds = [rng.choice(["PER", "LOC"]) for _ in range(rng.randint(1, 10))]
        tags = [rng.choice(["O", *(f"{letter}-{kind}" for letter in letters)]) for kind in kinds]
        bio, faults = Tagging(scheme).to_bio(tags)
        assert bio_to_spans(bio, "error") == entities(tags, scheme, "default")
        dropped, same = Tagging(scheme).to_bio(tags, "drop")
        assert same == faults
        if scheme in STRICT and scheme != "iob1":  # seqeval's IOB1 keeps the I- after a needless B-
            assert bio_to_spans(dropped, "error") == entities(tags, scheme, "strict")
        repaired += len(faults)
    assert repaired > N_SETS or scheme == "io"


def recognised(*posts, scheme=None):
    """Return how the tags of some posts, given as texts, are read."""
    pairs = Pairs()
    for tags in posts:
        pairs.add(tags.split())
    return recognise(pairs, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", ["B-PER", "PER-B", "B_PER"])
def test_the_scheme_of_a_set_is_recognised_and_its_entities_are_kept(scheme, form):
    rng = random.Random(f"auto {scheme} {form}")
    named = 0
    for _ in range(N_SETS // 6):
        posts = [random_spans(rng, apart=scheme == "io") for _ in range(8)]
        written = [write(spans, n_words, scheme) for spans, n_words in posts]
        if form == "PER-B":
            written = [["-".join([*tag.split("-")[1:], tag[0]]) if tag != "O" else tag for tag in t] for t in written]
        elif form == "B_PER":
            written = [[tag.replace("-", "_", 1) for tag in tags] for tags in written]
        found = recognised(*map(" ".join, written))
        assert [found.tagging.spans(tags) for tags in written] == [spans for spans, _ in posts]
        assert found.misfits == 0
        assert found.mentions == Counter(kind for spans, _ in posts for _, _, kind in spans)
        assert found.tagging.form == ("PER-B" if form == "PER-B" else "B-PER") or not found.mentions
        named += found.tagging.scheme == scheme
    assert named > N_SETS // 12, "others are sets of few entities, which fit several schemes"


@pytest.mark.parametrize(
    ("tags", "scheme", "form", "said"),
    [
        ("B-PER O B-LOC", "bio", "B-PER", "2 B; all fit it, 2 do not fit IOB1; there is no I, so each B is an entity"),
        ("I-PER I-PER O I-LOC", "io", "B-PER", "3 I; all fit it, as well as IOB1; a run of one type is one entity"),
        ("PER PER O", "io", "PER", "as 'PER': 2 types; all fit it; a run of one type is one entity"),
        ("art-other O person-actor", "io", "PER", "as 'art-other': 2 types"),
        ("S-PER O", "bioes", "B-PER", "1 S; all fit it, as well as BMES"),
        ("U-PER O", "bilou", "B-PER", "1 U"),
        ("B-PER M-PER E-PER W-LOC", "bmes", "B-PER", "1 B, 1 E, 1 M, 1 W; all fit it"),
        ("I-PER B-PER O", "iob1", "B-PER", "1 B, 1 I"),
        ("I-PER E-PER E-LOC", "ioe2", "B-PER", "2 E, 1 I"),
        ("I-PER E-PER I-PER I-LOC", "ioe1", "B-PER", "1 E, 3 I"),
        ("B I O", "bio", "B", "they name no type: it is '_'"),
        ("b-per i-per o", "bio", "B-PER", "as 'b-per': 1 B, 1 I"),
        ("P-B P-I L-B O O-B", "bio", "PER-B", "as 'P-B': 3 B, 1 I"),
        ("B-P I-P B-L O B-O", "bio", "B-PER", "3 B, 1 I"),
        ("O O", "bio", "B-PER", "no tag but O is BIO"),
        ("NNP VBZ NNP", "bio", "B-PER", "no tag but O is BIO"),
    ],
)
def test_evidence_and_the_rule_for_ambiguous_tags(tags, scheme, form, said):
    found = recognised(tags)
    assert (found.tagging.scheme, found.tagging.form) == (scheme, form)
    assert said in found.why
    assert scheme.upper() in found.why


@pytest.mark.parametrize("sign", ["-", "\u2010", "\u2011", "\u2013", "\u2014"])
def test_a_hyphen_may_be_another_sign(sign):
    tags = [f"B{sign}PER", f"I{sign}PER", "O"]
    found = recognise(Counter(zip(["", *tags], [*tags, ""], strict=True)))
    assert found.tagging == Tagging("bio")
    assert found.tagging.to_bio(tags)[0] == ["B-PER", "I-PER", "O"]


@pytest.mark.parametrize("sign", ["\u041e", "\u043e", "\u039f", "\u03bf", "\uff2f", "\uff4f", "0"])
def test_a_sign_that_looks_like_o_is_no_type(sign):
    tags = ["PER", "O", "LOC", "O", sign]
    found = recognise(Counter(zip(["", *tags], [*tags, ""], strict=True)))
    assert found.tagging == Tagging("io", "PER")
    assert (found.strange, sorted(found.mentions)) == (1, ["LOC", "PER"])


def test_a_few_faulty_tags_change_no_scheme():
    good = ["B-PER I-PER O B-LOC O"] * 20
    assert recognised(*good, "O I-PER I-PER", "B-PER E-PER", "PER O").tagging == Tagging("bio")
    found = recognised(*good, "O I-PER I-PER")
    assert (found.misfits, found.mentions) == (1, {"PER": 21, "LOC": 20})
    inverse = ["I-PER I-PER O I-LOC O"] * 20
    assert recognised(*inverse, "I-LOC B-LOC", "O B-PER").tagging == Tagging("iob1")


@pytest.mark.parametrize(
    ("scheme", "form", "tag", "message"),
    [
        ("bio", "B-PER", "E-PER", "tag 'E-PER' is not BIO: expected O, B-TYPE or I-TYPE"),
        ("bioes", "B-PER", "L-PER", "tag 'L-PER' is not BIOES: expected O, B-TYPE, I-TYPE, E-TYPE or S-TYPE"),
        ("bio", "PER-B", "B-PER", "tag 'B-PER' is not BIO: expected O, TYPE-B or TYPE-I"),
        ("bio", "B", "PER", "tag 'PER' is not BIO: expected O, B or I"),
        ("io", "PER", "B-PER", "tag 'B-PER' is not IO: expected O or a TYPE"),
        ("io", "PER", "12", "tag '12' is not IO"),
        ("io", "B-PER", "B-PER", "tag 'B-PER' is not IO: expected O or I-TYPE"),
        ("bio", "B-PER", "B- PER", "has a blank at an edge of its type"),
        ("bio", "B-PER", "B-PER\u200b", "has a blank at an edge of its type"),
        ("bio", "B-PER", "B-", "tag 'B-' is not BIO"),
    ],
)
def test_a_tag_of_another_scheme_is_named(scheme, form, tag, message):
    with pytest.raises(DataError) as raised:
        Tagging(scheme, form).parse(tag)
    assert message in str(raised.value)


def test_a_given_scheme_is_kept_and_its_misfits_are_counted():
    found = recognised("B-PER I-PER O B-LOC", scheme="bioes")
    assert (found.tagging.scheme, found.misfits, found.mentions) == ("bioes", 2, {"PER": 1, "LOC": 1})
    assert recognised("PER PER PER", scheme="io").tagging == Tagging("io", "PER")
    with pytest.raises(DataError, match="word 1: I-PER does not fit BIOES after B-PER"):
        Tagging("bioes").to_bio(["B-PER", "I-PER", "O"], "error")


def test_tags_alone_are_seqevals_entities_without_a_type():
    tags = ["B", "I", "O", "B", "B"]
    assert Tagging("bio", "B").spans(tags) == [(s, e + 1, kind) for kind, s, e in get_entities(tags)]
    suffixed = ["work-of-art-B", "work-of-art-I", "O", "PER-B"]
    assert Tagging("bio", "PER-B").spans(suffixed) == [(0, 2, "work-of-art"), (3, 4, "PER")]


def test_a_column_of_other_things_ends_the_count():
    pairs = Pairs()
    with pytest.raises(DataError, match=f"more than {MAX_PAIRS} kinds of neighbouring tags"):
        pairs.add([f"T{i}" for i in range(MAX_PAIRS + 1)])
