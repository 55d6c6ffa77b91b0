"""MELM: markers around entity words, what is learned and predicted, and mentions that are words of their type."""

import json

import numpy as np
import pytest
from conftest import RELATIONS, as_dataset, draw_posts, draw_set, parse

from hf_mner_aug import MELM
from hf_mner_aug.backbones.encoder import WordPieces, make_tiny
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.melm import _load, _type_pieces, mention, n_masked
from hf_mner_aug.methods.melm.pieces import Spelling, mark, marker_tags
from hf_mner_aug.schema import Entity, Post, mner_features

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SMALL = {"epochs": 4, "batch_size": 8}
LETTERS = [chr(i) for i in range(97, 123)]


def rows(dataset):
    return dataset.with_format("arrow")[:].to_pylist()


def byte_level(model_max_length=64):
    """RoBERTa's tokenizer with a small vocabulary."""
    capitals = [letter.upper() for letter in LETTERS]
    first = [f"\u0120{letter}" for letter in (*LETTERS, *capitals)]
    symbols = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS, *capitals, "\u0120", *first, "\u0120!", "!", "om"]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    merges = [*(("\u0120", sign) for sign in (*LETTERS, *capitals, "!")), ("o", "m")]
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=model_max_length)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """A folder with a tiny RoBERTa as masked language model."""
    folder = tmp_path_factory.mktemp("roberta")
    tokenizer = byte_level()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    marks = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = transformers.RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=100, **sizes, **marks)
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return str(folder)


# ---------------------------------------------------------------- the input


def test_markers_stand_around_each_entity_word():
    pieces = WordPieces(byte_level(), 64)
    post = Post("a", *parse("in [LOC New York] !"))
    tags = marker_tags([post])
    assert tags == ["B-LOC", "I-LOC"]
    marked = mark(post, pieces, {"B-LOC": 1000, "I-LOC": 1001})
    told = [
        {1000: "B", 1001: "I"}.get(i) or pieces.tokenizer.convert_ids_to_tokens(i).replace("\u0120", "_")
        for i in marked.input_ids
    ]
    assert told == ["<s>", "_i", "n", "B", "_N", "e", "w", "B", "I", "_Y", "o", "r", "k", "I", "_!", "</s>"]
    assert marked.words == [(1, [4, 5, 6]), (2, [9, 10, 11, 12])]
    assert marked.places == [4, 5, 6, 9, 10, 11, 12]
    assert mark(post, WordPieces(byte_level(), 10), {"B-LOC": 1000, "I-LOC": 1001}).words == [(1, [4, 5, 6])]


def test_a_text_cannot_hold_a_marker():
    pieces = WordPieces(byte_level(), 64)
    marked = mark(Post("a", ["<B-LOC>", "<mask>"], (Entity(0, 1, "LOC"),)), pieces, {"B-LOC": 1000, "I-LOC": 1001})
    assert marked.input_ids.count(1000) == 2
    assert pieces.tokenizer.mask_token_id not in marked.input_ids


def test_a_marker_begins_as_the_words_of_its_type_in_this_set(roberta):
    from hf_mner_aug.methods.melm.net import add_markers

    model = transformers.AutoModelForMaskedLM.from_pretrained(roberta)
    pieces = WordPieces(byte_level(), 64)
    types = {
        "B-PER": "person",
        "I-OTHER": "miscellaneous",
        "B-creative_work": "creative work",
        "B-person/actor": "person actor",
    }
    for tag, words in types.items():
        assert _type_pieces(tag, pieces) == [i for word in words.split() for i in pieces.subwords(word)]
    before = model.get_input_embeddings().weight.detach().clone()
    ids = [_type_pieces(tag, pieces) for tag in types]
    add_markers(model, ids)
    after = model.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    for row, own in zip(after[len(before) :], ids, strict=True):
        assert torch.allclose(row, before[own].mean(0))
    assert model.get_output_embeddings().weight.shape[0] == len(before) + 4


@pytest.mark.parametrize("family", ["word pieces", "byte level", "bertweet"])
def test_a_piece_fits_where_it_stands_in_a_word(family, tmp_path):
    if family == "word pieces":
        tokenizer = make_tiny([Post("a", ["ox", "ox", "!"])])[0]
        words, first, later = ["ox", "o"], ["ox", "o", "x"], ["##o", "##x"]
    elif family == "byte level":
        tokenizer = byte_level()
        words, first, later = ["om", "O"], ["\u0120o", "\u0120O"], ["o", "om"]
    else:
        (tmp_path / "bpe.codes").write_text("o x</w> 5\n", encoding="utf-8")
        (tmp_path / "vocab.txt").write_text("X 1\no 1\nx 1\no@@ 1\nx@@ 1\n! 1\n!@@ 1\nox 1\n", encoding="utf-8")
        tokenizer = transformers.BertweetTokenizer(str(tmp_path / "vocab.txt"), str(tmp_path / "bpe.codes"))
        words, first, later = ["ox", "x"], ["o@@", "x@@"], ["o", "x", "ox"]
    spelling, pieces = Spelling(tokenizer), WordPieces(tokenizer, 64, tweets=False)
    for word in words:
        assert spelling.word(pieces.subwords(word)) == word
    ids = tokenizer.convert_tokens_to_ids
    begins = {*tokenizer.convert_ids_to_tokens(spelling.instead(ids(first[0])))}
    others = {*tokenizer.convert_ids_to_tokens(spelling.instead(ids(later[0])))}
    assert {*first} <= begins
    assert {*later} <= others
    assert not begins & others
    assert not (begins | others) & {*tokenizer.all_special_tokens, "!", "\u0120!", "!@@", "##!"}
    alone = others if family == "bertweet" else begins
    assert {*tokenizer.convert_ids_to_tokens(spelling.instead(tokenizer.unk_token_id))} == alone, "a word of one piece"
    assert not spelling.spells(ids("!"))
    assert spelling.uncased == (family == "word pieces")


def test_a_word_is_spelled_without_blanks_and_broken_letters_are_none():
    tiny = Spelling(make_tiny([Post("a", ["nba", "nba", "#"])])[0])
    assert tiny.word(WordPieces(tiny.tokenizer, 64).subwords("#nba")) == "#nba", "which the tokenizer cuts at the sign"
    assert tiny.word([]) is None
    letters = byte_level()
    letters.decode = lambda ids, **_: "a\ufffd"
    assert Spelling(letters).word([5]) is None


def test_how_many_pieces_are_masked():
    drawn = [n_masked(10, 0.5, Draw(bytes([i]))) for i in range(200)]
    assert np.mean(drawn) == pytest.approx(5, abs=0.3)
    assert np.std(drawn) == pytest.approx(1, abs=0.2)
    assert {n_masked(1, 0.5, Draw(bytes([i]))) for i in range(50)} == {1}
    assert {n_masked(2, 0.5, Draw(bytes([i]))) for i in range(50)} == {1, 2}


# ---------------------------------------------------------------- the network


def test_the_loss_is_of_masked_pieces_alone(roberta):
    from hf_mner_aug.methods.melm.net import MaskedEntities, collate

    model = transformers.AutoModelForMaskedLM.from_pretrained(roberta).eval()
    net = MaskedEntities(model, 4, 0.5).eval()
    post = mark(Post("a", *parse("in [LOC New York] !")), WordPieces(byte_level(), 64), {"B-LOC": 5, "I-LOC": 6})
    batch = collate([post], 1)
    drawn = torch.ones(batch["input_ids"].shape)
    drawn[0, [1, 5, 9]] = 0.0  # the first is of no entity
    loss, n = net.masked_loss(**batch, drawn=drawn)
    assert n == 2
    ids = torch.tensor([post.input_ids])
    masked = ids.clone()
    masked[0, [5, 9]] = 4
    with torch.no_grad():
        logits = model(input_ids=masked, attention_mask=torch.ones_like(masked)).logits
    expected = torch.nn.functional.cross_entropy(logits[0, [5, 9]], ids[0, [5, 9]], reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_encoder_without_a_language_model_is_refused(roberta, tmp_path, mner):
    transformers.AutoModel.from_pretrained(roberta).save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"expected a masked language model, and it lacks lm_head\.\S+: an encoder"):
        MELM(encoder=str(tmp_path), **SMALL).fit(mner)
    with pytest.raises(UsageError, match="no usable folder or model id of a masked language model"):
        MELM(encoder="not a model", **SMALL).fit(mner)


# ---------------------------------------------------------------- the method


def check(made, dataset, types):
    """Every made row has its gold row's words but for some of its entities, as many as before, and no marker."""
    gold = {row["id"]: row for row in rows(dataset)}
    changed = 0
    for row in made:
        before = gold[row["source_id"]]
        assert len(row["tokens"]) == len(before["tokens"])
        assert row["ner_tags"] == before["ner_tags"]
        assert row["image"] == before["image"]
        for new, old, tag in zip(row["tokens"], before["tokens"], before["ner_tags"], strict=True):
            assert new == old or tag != 0
            assert new == old or any(map(str.isalnum, new))
            assert not {*"<>[]"} & {*new} or new == old
            changed += new != old
        assert row["tokens"] != before["tokens"]
    return changed


def known_types(dataset):
    types = {}
    for post in draw_posts():
        for entity in post.entities:
            types.setdefault(mention(post, entity), set()).add(entity.type)
    return types


def test_a_model_from_the_hub_replaces_words_of_entities(roberta, mner):
    method = MELM(encoder=roberta, learning_rate=1e-3, **SMALL).fit(mner, validation=mner)
    made = rows(method.map(mner))
    assert check(made, mner, known_types(mner)) > len(made)
    losses = method.learned["history"]
    assert len(losses) == 4
    assert min(losses) < losses[0]
    kept = {row["id"] for row in made}
    entities = {row["id"] for row in rows(mner) if any(row["ner_tags"])}
    assert {row["source_id"] for row in made} <= entities
    assert len(kept) == len(made)
    assert method.models[0].id.startswith("roberta0@"), "by its content, not its path"


def test_the_tiny_model_learns_the_words_of_a_type(mner):
    method = MELM(copies=3).fit(mner)
    made = rows(method.map(mner))
    assert check(made, mner, known_types(mner))
    assert method.models == ()
    loaded = _load(method.learned["files"]["model"], 0.7)
    assert loaded.net.model.config._name_or_path == "" or "/tmp" not in loaded.net.model.config.to_json_string()


def test_of_the_likeliest_pieces_each_is_drawn_the_first_among_them(mner):
    method = MELM(top_k=3)
    logits = torch.tensor([0.0, 5.0, 4.0, 9.0, 3.0, 2.0], dtype=torch.float64)
    allowed = [0, 1, 2, 4, 5]  # 3 does not fit
    drawn = [method._piece(logits, allowed, Draw(bytes([i]))) for i in range(90)]
    assert {*drawn} == {1, 2, 4}
    assert min(map(drawn.count, {*drawn})) > 15, "evenly"


def test_a_mention_of_another_type_is_rejected(mner, monkeypatch):
    method = MELM(copies=1, **SMALL).fit(mner)
    monkeypatch.setattr(
        MELM, "_drawn", lambda self, marked, places, tokens, draw, loaded: {i: ["PARIS"] for i, _ in marked.words}
    )
    found = method.make(mner.with_format("arrow")[:])
    told = {reject["source_id"]: (reject["reason"], reject["detail"]) for reject in found.rejects}
    assert told["p7"] == ("other_type", "paris as person")
    made = dict(zip(found.columns["source_id"], found.columns["tokens"], strict=True))
    assert made["p13"] == ["we", "love", "PARIS", *draw_posts()[13].tokens[3:]], "a place stays one"
    assert "p5" not in made
    assert "p5" not in told, "nothing to do without an entity"


def test_posts_of_which_no_entity_is_read_are_rejected(mner):
    long = Post("long", [*["word"] * 300, "Rome"], (Entity(300, 301, "LOC"),))
    dataset = as_dataset([*draw_posts()[:6], long], mner_features())
    found = MELM(copies=1, **SMALL).fit(dataset).make(dataset.with_format("arrow")[:])
    assert ("long", "nothing_fits") in {(reject["source_id"], reject["reason"]) for reject in found.rejects}


def test_handles_and_links_are_not_replaced(mner):
    """A made-up one may be somebody's."""
    posts = [
        Post("handle", *parse("seen by [PER @ada] and [LOC Rome]")),
        Post("split", *parse("seen by @ [PER ada] and [LOC Rome]")),
        Post("alone", *parse("seen by [PER @ada] and [ORG http://t.co/ada] today")),
    ]
    chosen = as_dataset(posts, mner.features)
    found = MELM(copies=8, **SMALL).fit(mner).make(chosen.with_format("arrow")[:])
    assert {(reject["source_id"], reject["reason"]) for reject in found.rejects} >= {("alone", "nothing_fits")}
    made = [*zip(found.columns["source_id"], found.columns["tokens"], strict=True)]
    assert {name for name, _ in made} == {"handle", "split"}
    for name, tokens in made:
        assert "".join(tokens[:-1]) == {"handle": "seenby@adaand", "split": "seenby@adaand"}[name]
        assert tokens[-1] != "Rome"


def test_head_and_tail_of_a_relation_change_and_stay_in_place():
    mre = draw_set("mre")
    made = rows(MELM(copies=2).fit(mre).map(mre))
    gold = {row["id"]: row for row in rows(mre)}
    assert made
    for row in made:
        before = gold[row["source_id"]]
        assert [row[name] for name in ("head", "tail", "relation")] == [
            before[name] for name in ("head", "tail", "relation")
        ]
        inside = {i for name in ("head", "tail") for i in range(before[name]["start"], before[name]["end"])}
        changed = [i for i, pair in enumerate(zip(row["tokens"], before["tokens"], strict=True)) if len({*pair}) == 2]
        assert changed
        assert {*changed} <= inside
    assert RELATIONS


def test_boxes_go_with_the_words_that_they_were_drawn_for():
    gmner = draw_set("gmner")
    gold = {row["id"]: row for row in rows(gmner)}
    stayed = gone = 0
    for row in rows(MELM(copies=2).fit(gmner).map(gmner)):
        before = gold[row["source_id"]]
        for new, old in zip(row["entities"], before["entities"], strict=True):
            same = row["tokens"][new["start"] : new["end"]] == before["tokens"][old["start"] : old["end"]]
            assert new["boxes"] == (old["boxes"] if same else [])
            stayed, gone = stayed + same, gone + (not same)
    assert stayed
    assert gone


def test_a_set_without_entities_is_refused():
    dataset = as_dataset([Post("a", ["just", "rain"]), Post("b", ["snow"])], mner_features())
    with pytest.raises(UsageError, match="melm: no post of train has an entity"):
        MELM().fit(dataset)


def test_the_provenance_names_the_encoder(mner):
    made = rows(MELM(copies=1, **SMALL).fit(mner).map(mner))
    assert json.loads(made[0]["provenance"])["params"]["encoder"] == "tiny"
