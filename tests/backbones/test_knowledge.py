import json
import warnings
from dataclasses import replace

import pytest
from datasets import Dataset, Features, List, Value

from hf_mner_aug.backbones import knowledge, splits
from hf_mner_aug.backbones.pgim import PGIM
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.backbones.token_classifier import TokenClassifier
from hf_mner_aug.backbones.training import Training
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.schema import Codec, Entity, Post, mner_features

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from hf_mner_aug.backbones.encoder import WordPieces  # noqa: E402

QUICK = Training(
    steps=25, batch_size=8, learning_rate=3e-3, head_learning_rate=2e-2, warmup=0.0, checks=5, device="cpu"
)
FACTS = {"PER": "he is a famous man", "LOC": "it is a big river"}


def eight_posts():
    """Four texts twice: only what is known beside them says what the name is."""
    posts, known = [], {}
    for i, text in enumerate(["I love Jordan", "seeing Jordan today", "Amazon is great", "we met Amazon last night"]):
        words = text.split()
        at = next(n for n, word in enumerate(words) if word in ("Jordan", "Amazon"))
        for kind, fact in FACTS.items():
            posts.append(Post(f"{i}-{kind}", words, (Entity(at, at + 1, kind),)))
            known[posts[-1].id] = fact
    return posts, known


POSTS, KNOWN = eight_posts()


def dataset(posts=POSTS, **columns):
    """Posts as a dataset with columns of its own: name=(feature, values)."""
    codec = Codec(mner_features(("PER", "LOC"), images="none"))
    rows = [codec.to_row(post) for post in posts]
    data = {name: [row[name] for row in rows] for name in codec.columns}
    features = Features({**codec.features, **{name: feature for name, (feature, _) in columns.items()}})
    return Dataset.from_dict({**data, **{name: values for name, (_, values) in columns.items()}}, features=features)


def with_column(name="knowledge", posts=POSTS):
    return dataset(posts, **{name: (Value("string"), [KNOWN.get(post.id) for post in posts])})


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "facts.jsonl", [{"id": name, "knowledge": fact} for name, fact in KNOWN.items()])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = sorted(
        {word.lower() for text in [*FACTS.values(), *(" ".join(p.tokens) for p in POSTS)] for word in text.split()}
    )
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *words]
    vocabulary = list(dict.fromkeys(vocabulary))
    BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


def small(encoder, **changes):
    return TokenClassifier(**{"encoder": encoder, "dropout": 0.0, "training": QUICK, **changes})


def pieces_of(encoder, limit):
    from transformers import AutoTokenizer

    return WordPieces(AutoTokenizer.from_pretrained(encoder), limit)


# ---------------------------------------------------------------- how it is read


def test_knowledge_stands_after_the_words_and_a_separator(encoder):
    pieces = pieces_of(encoder, 64)
    read = pieces.encode(["I", "love", "Jordan"])
    told = knowledge.append(read, "he  is\na man", pieces)
    assert " ".join(pieces.tokenizer.convert_ids_to_tokens(told.input_ids)) == (
        "[CLS] i love jordan [SEP] he is a man [SEP]"
    )
    assert told.first == read.first == [1, 2, 3]


def test_words_go_first_and_knowledge_takes_what_room_is_left(encoder):
    for limit, expected in ((10, "he is a man"), (9, "he is a"), (7, "he"), (6, None), (5, None)):
        pieces = pieces_of(encoder, limit)
        read = pieces.encode(["I", "love", "Jordan"])
        assert read.first == [1, 2, 3]
        told = knowledge.append(read, "he is a man", pieces)
        text = "[CLS] i love jordan [SEP]" + (f" {expected} [SEP]" if expected else "")
        assert " ".join(pieces.tokenizer.convert_ids_to_tokens(told.input_ids)) == text
        assert len(told.input_ids) <= limit
    pieces = pieces_of(encoder, 5)
    assert knowledge.append(pieces.encode(["I"] * 9), "he", pieces) == pieces.encode(["I"] * 9)
    assert knowledge.append(pieces.encode(["I"]), "zzzzzz", pieces).input_ids == pieces.encode(["I"]).input_ids


def test_roberta_has_its_own_separator():
    from transformers import RobertaTokenizer

    symbols = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", "a", "b"]
    tokenizer = RobertaTokenizer(vocab={s: i for i, s in enumerate(symbols)}, merges=[], add_prefix_space=True)
    pieces = WordPieces(tokenizer, 32)
    told = knowledge.append(pieces.encode(["a"]), "b", pieces)
    assert tokenizer.convert_ids_to_tokens(told.input_ids) == ["<s>", "Ġ", "a", "</s>", "Ġ", "b", "</s>"]


# ---------------------------------------------------------------- what it is worth


def test_posts_that_only_knowledge_settles_are_learnt(encoder, file, tmp_path):
    fitted = small(encoder, knowledge="knowledge").fit(with_column(), with_column())
    predictions = fitted.predict(with_column())
    assert splits.entity_score(predictions, POSTS).f1 == 1.0
    assert all(len(p.word_confidences) == len(post.tokens) for p, post in zip(predictions, POSTS, strict=True))
    assert fitted.predict(with_column().to_iterable_dataset()) == predictions
    fitted.save(tmp_path / "saved")
    loaded = TokenClassifier.load(tmp_path / "saved")
    assert loaded.knowledge == "knowledge"
    assert loaded.predict(with_column()) == predictions
    # A file says the same as a column, and lists of posts have none.
    by_file = replace(loaded, knowledge=None, knowledge_file=file)
    assert by_file.predict(dataset()) == predictions
    assert by_file.predict(POSTS) == predictions
    same = small(encoder, knowledge_file=file).fit(dataset(), dataset())
    assert same.predict(POSTS) == predictions
    with pytest.raises(UsageError, match=r"dataset: expected a column knowledge with knowledge, found a list of posts"):
        loaded.predict(POSTS)


def test_without_knowledge_two_equal_texts_are_told_apart_by_nothing(encoder):
    said = [p.plain_spans() for p in small(encoder).fit(with_column(), with_column()).predict(with_column())]
    assert said[0::2] == said[1::2]


def test_a_list_of_texts_is_one_text(encoder):
    lists = dataset(facts=(List(Value("string")), [KNOWN[post.id].split(" ", 1) for post in POSTS]))
    assert knowledge.read_column(lists, "facts", "train") == knowledge.read_column(
        with_column("facts"), "facts", "train"
    )


def test_ids_may_stand_in_train_and_validation_for_different_posts(encoder):
    """Sets that count each split from 0 have other knowledge under the same ids."""
    other = [replace(post, id=POSTS[-1 - i].id) for i, post in enumerate(POSTS)]
    rows = dataset(other, knowledge=(Value("string"), [KNOWN[post.id] for post in POSTS]))
    fitted = small(encoder, knowledge="knowledge").fit(with_column(), rows)
    assert max(check.score for check in fitted.fitted.history) == 1.0


# ---------------------------------------------------------------- what is missing


def test_missing_and_unknown_ids_are_counted_in_one_line(encoder, tmp_path):
    some = write(
        tmp_path / "some.jsonl",
        [{"id": POSTS[i].id, "knowledge": "he is"} for i in (0, 1)]
        + [{"id": POSTS[2].id, "knowledge": "  "}, {"id": POSTS[3].id, "knowledge": None}]
        + [{"id": f"x{i}", "knowledge": "it is"} for i in range(4)],
    )
    backbone = small(encoder, knowledge_file=some, training=replace(QUICK, steps=1))
    with pytest.warns(UserWarning, match="knowledge") as said:
        backbone.fit(POSTS[:4], POSTS[4:])
    assert [str(warning.message) for warning in said] == [
        f"knowledge from {some}: 6 of 8 posts have none (1-LOC, 1-PER, 2-LOC, …); "
        "4 ids belong to no post here (x0, x1, x2, …)"
    ]
    column = dataset(knowledge=(Value("string"), ["he is", *[None] * 7]))
    with pytest.warns(UserWarning, match=r"knowledge from column knowledge of train: 7 of 8 posts have none \(0-LOC"):
        small(encoder, knowledge="knowledge", training=replace(QUICK, steps=1)).fit(column)


def test_a_file_for_other_posts_is_an_error(encoder, tmp_path):
    other = write(tmp_path / "other.jsonl", [{"id": "tw-1", "knowledge": "he is"}])
    with pytest.raises(UsageError, match=r"no knowledge for any of 8 posts such as 0-LOC, its ids are such as tw-1"):
        small(encoder, knowledge_file=other).fit(POSTS)
    empty = dataset(knowledge=(Value("string"), [None] * 8))
    with pytest.raises(UsageError, match="column knowledge of train: it has no knowledge for any of 8 posts"):
        small(encoder, knowledge="knowledge").fit(empty)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"', r"facts\.jsonl line 2: expected a JSON object"),
        ('["a", "b"]', r"line 2: expected \{\"id\""),
        ('{"id": 7, "knowledge": "x"}', "line 2: expected"),
        ('{"id": "a", "text": "x"}', "line 2: expected"),
        ('{"id": "a", "knowledge": 5}', "line 2: expected a text or a list of texts, found 5"),
        ('{"id": "0-PER", "knowledge": "x"}', "line 2: post 0-PER has knowledge on line 1 already"),
    ],
)
def test_a_damaged_file_is_said_with_its_line(line, message, tmp_path):
    path = tmp_path / "facts.jsonl"
    path.write_text('{"id": "0-PER", "knowledge": "he is"}\n' + line + "\n")
    with pytest.raises(DataError, match=message):
        knowledge.read_file(path)


def test_other_bad_input_is_said(encoder, tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        small(encoder, knowledge_file=str(tmp_path / "none.jsonl")).fit(POSTS)
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="JSON lines in UTF-8"):
        knowledge.read_file(tmp_path / "bytes.jsonl")
    with pytest.raises(
        UsageError, match="expected a column facts with knowledge, found id, tokens, ner_tags, knowledge"
    ):
        small(encoder, knowledge="facts").fit(with_column())
    numbers = dataset(knowledge=(Value("int64"), list(range(8))))
    with pytest.raises(DataError, match="train: post 0-PER, column knowledge: expected a text or a list of texts"):
        small(encoder, knowledge="knowledge").fit(numbers)
    with pytest.raises(UsageError, match="not both"):
        small(encoder, knowledge="knowledge", knowledge_file="facts.jsonl")


def test_it_is_a_setting_like_others():
    assert parse_backbone("token_classifier:knowledge=facts").knowledge == "facts"
    assert parse_backbone("token_classifier:knowledge_file=a.jsonl").knowledge_file == "a.jsonl"
    assert parse_backbone("token_classifier:knowledge=none") == TokenClassifier()


def test_nothing_is_said_where_all_is_there(encoder, file):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = small(encoder, knowledge_file=file, training=replace(QUICK, steps=1)).fit(POSTS)
        fitted.predict(POSTS)


# ---------------------------------------------------------------- the words that a text is about


def test_a_text_is_about_the_words_that_it_names(tmp_path):
    """Posts that a method made with another seed have the same ids and other words."""
    told = knowledge.read_file(
        write(
            tmp_path / "facts.jsonl",
            [
                {"id": "a", "text": "I love Jordan", "knowledge": "he is"},
                {"id": "a", "text": "I saw Jordan", "knowledge": "it is"},
                {"id": "b", "knowledge": "any words"},
            ],
        )
    )
    posts = [Post("a", ["I", "saw", "Jordan"]), Post("b", ["Amazon"])]
    assert knowledge.about(posts, told) == {"a": "it is", "b": "any words"}
    assert knowledge.about([Post("a", ["I", "met", "Jordan"])], told) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "text": "x y", "knowledge": "z"}', "line 2: post a has knowledge on line 1 already"),
        ('{"id": "a", "knowledge": "z"}', None),
        ('{"id": "a", "text": 7, "knowledge": "z"}', "line 2: expected"),
    ],
)
def test_one_text_for_the_same_words(line, message, tmp_path):
    path = tmp_path / "facts.jsonl"
    path.write_text('{"id": "a", "text": "x y", "knowledge": "x"}\n' + line + "\n")
    if message is None:
        assert len(knowledge.read_file(path)["a"]) == 2
    else:
        with pytest.raises(DataError, match=message):
            knowledge.read_file(path)


def test_other_words_under_the_same_ids_are_counted(encoder, tmp_path):
    rows = [{"id": post.id, "text": " ".join(post.tokens), "knowledge": KNOWN[post.id]} for post in POSTS]
    file = write(tmp_path / "facts.jsonl", [{**rows[0], "text": "I like Jordan"}, *rows[1:]])
    backbone = small(encoder, knowledge_file=file, training=replace(QUICK, steps=1))
    with pytest.warns(UserWarning, match=r"1 of 8 posts have none \(0-PER\); under 1 of their ids it has other words$"):
        backbone.fit(POSTS)
    stale = write(tmp_path / "stale.jsonl", [{**row, "text": "other words"} for row in rows])
    with pytest.raises(UsageError, match="no knowledge for any of 8 posts such as 0-LOC, it has other words under"):
        small(encoder, knowledge_file=stale).fit(POSTS)


# ---------------------------------------------------------------- pgim


def test_pgim_has_the_authors_settings():
    pgim = PGIM()
    assert (pgim.encoder, pgim.max_length, pgim.dropout) == ("FacebookAI/xlm-roberta-large", 300, 0.1)
    found = pgim.training
    assert (found.epochs, found.batch_size, found.learning_rate, found.head_learning_rate) == (25, 4, 5e-6, 8e-3)
    seventeen = parse_backbone("pgim:learning_rate=7e-6,head_learning_rate=0.015,knowledge_file=a.jsonl")
    assert (seventeen.training.learning_rate, seventeen.training.head_learning_rate) == (7e-6, 0.015)
    assert seventeen.training.epochs == 25
    with pytest.raises(UsageError, match="pgim: pass knowledge, a column, or knowledge_file, not both"):
        PGIM(knowledge="a", knowledge_file="b")


def test_pgim_learns_from_what_is_known(encoder, file, tmp_path):
    pgim = PGIM(
        encoder=encoder, knowledge_file=file, training=replace(QUICK, head_learning_rate=0.05, learning_rate=1e-2)
    )
    fitted = pgim.fit(POSTS, POSTS)
    predictions = fitted.predict(POSTS)
    assert splits.entity_score(predictions, POSTS).f1 == 1.0
    fitted.save(tmp_path / "saved")
    assert PGIM.load(tmp_path / "saved").predict(POSTS) == predictions
    blind = write(tmp_path / "blind.jsonl", [{"id": post.id, "knowledge": "zz"} for post in POSTS])
    said = [p.plain_spans() for p in replace(fitted, knowledge_file=blind).predict(POSTS)]
    assert said[0::2] == said[1::2], "the words alone do not tell what a name is"


def test_a_study_says_whether_pgim_has_knowledge():
    assert "No knowledge is read: it is the baseline of PGIM." in PGIM().training_note
    for told in ({"knowledge": "facts"}, {"knowledge_file": "a.jsonl"}):
        assert PGIM(**told).training_note.endswith("Knowledge is read after the words.")


def test_word_dropout_zeroes_whole_words_in_training():
    from hf_mner_aug.backbones.nets import WordDropout

    torch.manual_seed(0)
    dropped = WordDropout(0.1)(torch.ones(200, 50, 4))
    by_word = dropped.sum(2)
    assert set(by_word.unique().tolist()) == {0.0, 4.0}, "all of a word or nothing, and nothing is scaled"
    assert (by_word == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(WordDropout(0.1).eval()(torch.ones(2, 3, 4)), torch.ones(2, 3, 4))


def test_only_the_crf_of_pgim_learns_fast(encoder):
    pgim = PGIM(encoder=encoder)
    build, _ = pgim.assemble(encoder, ("PER",), POSTS)
    net = build()
    rates = {id(p): group["lr"] for group in pgim.training._groups(net) for p in group["params"]}
    found = {name.partition(".")[0]: rates[id(p)] for name, p in net.named_parameters()}
    assert found == {"encoder": 5e-6, "linear": 5e-6, "chain": 8e-3}
