import importlib
import json
from dataclasses import replace
from itertools import pairwise, product

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from text_posts import PAIRS, POSTS, RELATIONS

from hf_mner_aug.backbones import Prediction, ScoredRelation, ScoredSpan, backbone_class, splits
from hf_mner_aug.backbones.crf import CRF, post_features, weighted, word_features, word_shape
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.relation import RelationClassifier, mark
from hf_mner_aug.backbones.settings import parse_backbone, settings_of
from hf_mner_aug.backbones.token_classifier import TokenClassifier
from hf_mner_aug.backbones.training import Training, run_batches
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.models.device import with_smaller_batches
from hf_mner_aug.schema import Codec, Entity, Post, Relation, mner_features

torch = pytest.importorskip("torch", reason="the models extra is not installed")

from hf_mner_aug.backbones.nets import CRFLayer, classified  # noqa: E402


def dataset(posts=POSTS, **columns):
    """Posts as a dataset."""
    codec = Codec(mner_features(**{"images": "none", **columns}))
    rows = [codec.to_row(post) for post in posts]
    return Dataset.from_dict({name: [row[name] for row in rows] for name in codec.columns}, features=codec.features)


def pairs(posts=PAIRS, relations=RELATIONS):
    return dataset(posts, types=(), relations=relations)


def tiny_config(n_vocabulary):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=n_vocabulary,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a one-layer BERT and a WordPiece tokenizer of the tweets' characters and some words."""
    from transformers import BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = {word.lower() for post in [*POSTS[:4], *PAIRS] for word in post.tokens}
    letters = "abcdefghijklmnopqrstuvwxyz#@:"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *sorted(words)]
    vocabulary = list(dict.fromkeys(vocabulary))
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}, do_lower_case=True)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(tiny_config(len(vocabulary))).save_pretrained(folder)
    return str(folder)


QUICK = Training(
    steps=20, batch_size=8, learning_rate=3e-3, head_learning_rate=2e-2, warmup=0.0, checks=4, device="cpu"
)


# ---------------------------------------------------------------- the CRF layer against brute force

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def random_chain():
    torch.manual_seed(3)
    chain = CRFLayer(TAGS).double()
    for parameter in chain.parameters():
        torch.nn.init.normal_(parameter)
    emissions = torch.randn(3, 4, len(TAGS), dtype=torch.float64)
    lengths = torch.tensor([4, 1, 3])
    return chain, emissions, torch.arange(4) < lengths[:, None]


def path_scores(chain, emissions, n_words):
    """The score of every path of a sentence [n_words, n_tags], summed by hand; those that BIO forbids are left out."""
    scores = {}
    for path in product(range(len(TAGS)), repeat=n_words):
        names = [TAGS[i] for i in path]
        if any(n[0] == "I" and (i == 0 or names[i - 1][2:] != n[2:]) for i, n in enumerate(names)):
            continue
        score = chain.start[path[0]] + chain.end[path[-1]] + sum(emissions[i, tag] for i, tag in enumerate(path))
        scores[path] = (score + sum(chain.transitions[a, b] for a, b in pairwise(path))).item()
    return scores


def test_crf_likelihood_equals_brute_force():
    chain, emissions, mask = random_chain()
    gold = torch.tensor([[1, 2, 0, 3], [3, 0, 0, 0], [0, 3, 4, 0]])
    found = chain.log_likelihood(emissions, gold, mask)
    for i, n_words in enumerate(mask.sum(1).tolist()):
        scores = path_scores(chain, emissions[i], n_words)
        total = torch.tensor(list(scores.values()), dtype=torch.float64).logsumexp(0).item()
        assert found[i].item() == pytest.approx(scores[tuple(gold[i, :n_words].tolist())] - total, abs=1e-9)
        assert chain.log_partition(emissions, mask)[i].item() == pytest.approx(total, abs=1e-9)


def test_viterbi_is_the_best_of_all_paths():
    chain, emissions, mask = random_chain()
    found = chain.viterbi(emissions, mask)
    for i, n_words in enumerate(mask.sum(1).tolist()):
        scores = path_scores(chain, emissions[i], n_words)
        assert tuple(found[i, :n_words].tolist()) == max(scores, key=scores.get)
        assert found[i, n_words:].tolist() == [0] * (4 - n_words)


def test_marginals_equal_brute_force():
    chain, emissions, mask = random_chain()
    found = chain.marginals(emissions, mask)
    for i, n_words in enumerate(mask.sum(1).tolist()):
        scores = path_scores(chain, emissions[i], n_words)
        weights = torch.tensor(list(scores.values()), dtype=torch.float64).softmax(0).tolist()
        expected = torch.zeros(n_words, len(TAGS), dtype=torch.float64)
        for path, weight in zip(scores, weights, strict=True):
            for word, tag in enumerate(path):
                expected[word, tag] += weight
        torch.testing.assert_close(found[i, :n_words], expected)
        assert found[i, 0, TAGS.index("I-PER")] == 0  # no post opens with I-


def test_gradient_of_likelihood_is_right():
    chain, emissions, mask = random_chain()
    gold = torch.tensor([[1, 2, 0, 3], [3, 0, 0, 0], [0, 3, 4, 0]])
    emissions.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: chain.log_likelihood(e, gold, mask), (emissions,))


# ---------------------------------------------------------------- features of the feature CRF


def test_a_setting_that_came_later_is_in_no_study_until_it_is_set():
    assert not {"task", "none"} & set(settings_of(parse_backbone("umt")))
    assert settings_of(parse_backbone("umt:task=relations"))["task"] == "relations"
    assert settings_of(parse_backbone("hvpnet"))["task"] == "entities", "hvpnet had it from its first version"


def test_word_shape_and_features():
    assert word_shape("iPhone5s") == "xXxxxxdx"
    assert {"lower=@nba", "handle", "short=@X", "prefix=@n", "suffix=ba"} <= set(word_features("@NBA"))
    assert {"capitals", "capital", "short=X"} <= set(word_features("NBA"))
    assert "url" in word_features("http://t.co/x")
    assert "hashtag" in word_features("#tired")
    assert "punctuation" in word_features("...")
    assert "punctuation" not in word_features("a.")
    features = post_features(["Go", "Lakers", "go"])
    assert {"-1:lower=go", "1:lower=go", "-1,0:lower=go lakers", "2:none"} <= set(features[1])
    assert "-1:none" in features[0]
    assert "-2:lower=go" in features[2]


# ---------------------------------------------------------------- each backbone


def small(name, encoder, **changes):
    if name == "crf":
        return CRF(c1=0.0, c2=0.01, **changes)
    return backbone_class(name)(**{"encoder": encoder, "dropout": 0.0, "training": QUICK, **changes})


def gold_of(posts):
    return [[(e.start, e.end, e.type) for e in post.entities] for post in posts]


def test_relation_f1_leaves_none_out():
    gold = [Post(str(i), ["a", "b"], relation=Relation((0, 1), (1, 2), r)) for i, r in enumerate("xxyNN")]
    found = [Prediction(str(i), relation=ScoredRelation(r, 1.0)) for i, r in enumerate("xNxNy")]
    score = splits.relation_score(found, gold, none="N")
    assert (score.correct, score.predicted, score.support) == (1, 3, 3)
    assert score.f1 == pytest.approx(1 / 3)


def test_boundary_finds_entities_without_type(encoder):
    for name in ("crf", "token_classifier"):
        fitted = small(name, encoder, boundary=True).fit(dataset(), dataset())
        found = [p.plain_spans() for p in fitted.predict(dataset())]
        assert found == [[(e.start, e.end, "ENTITY") for e in post.entities] for post in POSTS]
        # It knows no types, so those of another set are no trouble.
        assert len(fitted.predict(dataset([Post("x", ["Rome"])], types=("GPE",)))) == 1


def test_the_state_with_the_best_score_is_kept():
    class Line(torch.nn.Module):
        slow, tower = (), None

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, 1))

        def forward(self, x):
            return {"loss": ((self.weight * x - 3) ** 2).mean()}

    seen = []

    def score(net):
        assert not net.training
        seen.append(net.weight.item())
        return [0.2, 0.9, 0.9, 0.5][len(seen) - 1]

    training = Training(steps=8, batch_size=2, head_learning_rate=0.1, checks=4, device="cpu")
    state, history = training.run(Line, [1.0, 2.0], lambda rows: {"x": torch.tensor([rows])}, score, seed=0)
    assert len(set(seen)) == 4  # it learnt between the checks
    assert state["weight"].item() == seen[1]
    assert [(check.step, check.score) for check in history] == [(2, 0.2), (4, 0.9), (6, 0.9), (8, 0.5)]
    state, history = training.run(Line, [1.0, 2.0], lambda rows: {"x": torch.tensor([rows])}, None, seed=0)
    assert state["weight"].item() == seen[3]  # without validation, the last one
    assert history == ()


def test_validation_is_scored_as_predictions_are(encoder):
    backbone = TokenClassifier(encoder=encoder, dropout=0.0, training=QUICK)
    fitted = backbone.fit(dataset(), dataset(POSTS[:4]))
    scores = [check.score for check in fitted.fitted.history]
    assert splits.entity_score(fitted.predict(POSTS[:4]), POSTS[:4]).f1 == max(scores)


def test_the_seed_changes_no_byte_of_a_feature_crf():
    assert CRF(seed=1).fit(dataset()).model == CRF(seed=2).fit(dataset()).model


def test_a_weighted_crf_repeats_posts_and_scales_its_penalties():
    first, second, third = POSTS[:3]
    assert weighted([first, second, third], [1.0, 0.5, 0.0]) == ([first, first, second], 2.0)
    assert weighted([first, second], [1.0, 0.34]) == ([first] * 10 + [second] * 3, 10.0)
    assert weighted([first, second], [0.3, 0.3]) == ([first, second], 10 / 3)
    with pytest.raises(UsageError, match=r"every weight of train is below 0\.05"):
        weighted([first, second], [0.04, 0.01])
    codec = Codec(mner_features(sorted({entity.type for post in POSTS for entity in post.entities})))
    rows = Dataset.from_list([codec.to_row(post) for post in POSTS], features=codec.features)
    halves = rows.add_column("w", [0.5] * len(POSTS))
    assert CRF(weight="w", c1=0.25, c2=0.5).fit(halves).model == CRF(c1=0.5, c2=1.0).fit(rows).model
    assert splits.read_weights(rows.add_column("w", range(len(POSTS))), "w") == tuple(map(float, range(len(POSTS))))


def test_the_loss_of_a_post_is_multiplied_by_its_weight():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    apart = [classified(logits[[i]], labels[[i]], None)["loss"].item() for i in (0, 1)]
    found = classified(logits, labels, torch.tensor([1.0, 0.5]))["loss"].item()
    assert found == pytest.approx((apart[0] + 0.5 * apart[1]) / 2)


def test_steps_go_before_epochs():
    assert Training(epochs=3, batch_size=16).n_steps(33) == 9
    assert Training(epochs=3, steps=5).n_steps(33) == 5


def test_training_does_not_go_on_with_other_labels(encoder, tmp_path):
    small("token_classifier", encoder, training=replace(QUICK, steps=1)).fit(dataset()).save(tmp_path)
    with pytest.raises(UsageError, match=r"trained on the labels PER, LOC, ORG, MISC, train has PER, LOC"):
        TokenClassifier(encoder=str(tmp_path)).fit(dataset(POSTS[1:3], types=("PER", "LOC")))


# ---------------------------------------------------------------- alignment


def test_alignment_equals_a_fast_tokenizers_word_ids(encoder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    words = [*POSTS[4].tokens, "\ufe0f", "#tired", "Zürich", "@"]
    pieces = WordPieces(tokenizer, 128).encode(words)
    assert [tokenizer.convert_ids_to_tokens(pieces.input_ids[i]) for i in pieces.first][:3] == ["n", "y", "m"]
    assert tokenizer.convert_ids_to_tokens(pieces.input_ids[pieces.first[5]]) == "[UNK]"  # it has no subword
    words.remove("\ufe0f")
    reference = tokenizer(words, is_split_into_words=True)
    firsts = [reference.word_ids().index(i) for i in range(len(words))]
    pieces = WordPieces(tokenizer, 128).encode(words)
    assert (pieces.input_ids, pieces.first) == (reference["input_ids"], firsts)


def test_alignment_of_a_byte_level_tokenizer(tmp_path):
    from transformers import RobertaTokenizer

    symbols = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġg", "Ġgo", "me"]
    tokenizer = RobertaTokenizer(
        vocab={symbol: i for i, symbol in enumerate(symbols)},
        merges=[("Ġ", "g"), ("Ġg", "o"), ("m", "e")],
        add_prefix_space=True,
    )
    pieces = WordPieces(tokenizer, 128).encode(["go", "home", "</s>"])
    reference = tokenizer(["go", "home"], is_split_into_words=True)
    assert pieces.input_ids[:6] == reference["input_ids"][:-1]
    assert tokenizer.convert_ids_to_tokens(pieces.input_ids[:6]) == ["<s>", "Ġgo", "Ġ", "h", "o", "me"]
    assert pieces.first[:2] == [1, 2]
    assert pieces.input_ids.count(tokenizer.eos_token_id) == 1  # a word that looks like a mark of the end is a word


def _merges(word):
    """Lines of a BPE file that join the letters of a word, from the left."""
    letters = [*word[:-1], f"{word[-1]}</w>"]
    return "".join(f"{''.join(letters[:i])} {letter} 5\n" for i, letter in enumerate(letters) if i)


@pytest.fixture(scope="module")
def slow_encoder(tmp_path_factory):
    """BERTweet's slow tokenizer with a small vocabulary, beside a one-layer BERT."""
    from transformers import BertModel, BertweetTokenizer

    folder = tmp_path_factory.mktemp("slow")
    (folder / "bpe.codes").write_text(
        "c u 9\ncu r 8\nr y</w> 7\ni n</w> 6\n" + _merges("@USER") + _merges("HTTPURL"), encoding="utf-8"
    )
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ#:@"
    symbols = [*(f"{c}@@" for c in letters), *letters, "cur@@", "ry", "in", "@USER", "HTTPURL"]
    (folder / "vocab.txt").write_text("".join(f"{s} 1\n" for s in symbols), encoding="utf-8")
    tokenizer = BertweetTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(tiny_config(len(tokenizer))).save_pretrained(folder)
    return str(folder), tokenizer


def test_slow_tokenizer_is_aligned(slow_encoder):
    _, tokenizer = slow_encoder
    assert not tokenizer.is_fast
    pieces = WordPieces(tokenizer, 128).encode(["curry", "in", "LA"])
    assert tokenizer.convert_ids_to_tokens(pieces.input_ids) == ["<s>", "cur@@", "ry", "in", "L@@", "A", "</s>"]
    assert pieces.first == [1, 3, 4]


def test_bertweet_reads_handles_and_links_as_it_was_pretrained(slow_encoder, encoder):
    _, tokenizer = slow_encoder
    words = ["@joe", "in", "@USER", "https://t.co/x1", "www.x.de", "http\u2026", "@", "httpd"]
    pieces = WordPieces(tokenizer, 128).encode(words)
    first = tokenizer.convert_ids_to_tokens([pieces.input_ids[i] for i in pieces.first])
    assert first == ["@USER", "in", "@USER", "HTTPURL", "HTTPURL", "HTTPURL", "@", "h@@"]
    assert pieces.first == [1, 2, 3, 4, 5, 6, 7, 8], "a place for each word"
    _, other = small("token_classifier", encoder).assemble(encoder, ("PER",))
    assert other.subwords("@joe") != other.subwords("@ann"), "other tokenizers read the words as they are"


def test_a_saved_bertweet_reads_as_it_was_trained(slow_encoder, tmp_path):
    folder, _ = slow_encoder
    fitted = small("token_classifier", folder).fit(dataset())
    fitted.save(tmp_path / "new")
    assert TokenClassifier.load(tmp_path / "new").fitted.pieces.tweets
    record = json.loads((tmp_path / "new" / "backbone.json").read_text(encoding="utf-8"))
    assert record.pop("tweets") is True
    (tmp_path / "new" / "backbone.json").write_text(json.dumps(record), encoding="utf-8")
    earlier = TokenClassifier.load(tmp_path / "new").fitted.pieces
    assert earlier.subwords("@joe") != earlier.subwords("@ann"), "one saved before handles were replaced"


def test_slow_tokenizer_learns_saves_and_loads(slow_encoder, tmp_path):
    folder, _ = slow_encoder
    fitted = small("token_classifier", folder).fit(dataset(), dataset())
    predictions = fitted.predict(dataset())
    assert [p.plain_spans() for p in predictions] == gold_of(POSTS)
    fitted.save(tmp_path)
    assert TokenClassifier.load(tmp_path).predict(dataset()) == predictions


def test_words_beyond_the_end_are_o_with_confidence_0(encoder):
    long = Post("long", ["Curry"] * 60, (Entity(0, 1, "PER"), Entity(59, 60, "PER")))
    said = r"train: 1 of 9 posts are longer than 40 subwords: their last words \(22 in all\) are not read"
    with pytest.warns(UserWarning, match=said):
        fitted = small("token_classifier", encoder, max_length=40).fit([*POSTS, long])
    with pytest.warns(UserWarning, match="dataset: 1 of 1 posts"):
        (prediction,) = fitted.predict([long])
    assert len(prediction.word_confidences) == 60
    assert prediction.word_confidences[38:] == (0.0,) * 22
    assert all(confidence > 0 for confidence in prediction.word_confidences[:38])
    assert all(span.end <= 38 for span in prediction.spans)


def test_a_post_of_which_nothing_fits_or_without_words(encoder):
    fitted = small("token_classifier", encoder).fit(dataset())
    huge = Post("huge", ["x" * 90, "Paris"])
    with pytest.warns(UserWarning, match="1 of 3 posts"):
        predictions = fitted.predict([huge, Post("none", []), POSTS[1]])
    assert predictions[0] == Prediction("huge", (), (0.0, 0.0))
    assert predictions[1] == Prediction("none")
    assert predictions[2].plain_spans() == [(2, 3, "LOC")]


def test_markers_stand_around_head_and_tail(encoder):
    _, pieces = RelationClassifier(encoder=encoder).assemble(encoder, tuple(RELATIONS))
    words = ["the", "Warriors", "have", "Curry"]
    example, n_cut = mark(Post("x", words, relation=Relation((3, 4), (0, 2), "")), pieces)
    names = pieces.tokenizer.convert_ids_to_tokens(example.input_ids)
    assert " ".join(names) == "[CLS] [E2] the warriors [/E2] have [E1] curry [/E1] [SEP]"
    assert example.markers == [6, 1]
    assert n_cut == 0


def test_a_long_post_keeps_head_and_tail(encoder):
    _, pieces = RelationClassifier(encoder=encoder, max_length=16).assemble(encoder, tuple(RELATIONS))
    words = ["the"] * 20 + ["Curry"] + ["in"] * 20 + ["London"] + ["now"] * 20
    example, n_cut = mark(Post("x", words, relation=Relation((20, 21), (41, 42), "")), pieces)
    names = pieces.tokenizer.convert_ids_to_tokens(example.input_ids)
    assert " ".join(names) == "[CLS] the the [E1] curry [/E1] in in in in [E2] london [/E2] now now [SEP]"
    assert n_cut == 62 - 10


# ---------------------------------------------------------------- memory


def test_out_of_memory_halves_the_batch(encoder, monkeypatch):
    from hf_mner_aug.backbones.nets import TokenNet

    forward = TokenNet.forward
    sizes = []

    def hungry(self, input_ids, attention_mask, first, mask, labels=None):
        if labels is not None:
            sizes.append(len(input_ids))
            if len(input_ids) > 2:
                raise torch.OutOfMemoryError("planted")
        return forward(self, input_ids, attention_mask, first, mask, labels)

    monkeypatch.setattr(TokenNet, "forward", hungry)
    with pytest.warns(UserWarning, match="out of memory") as said:
        fitted = small("token_classifier", encoder).fit(dataset(), dataset())
    assert [str(w.message) for w in said] == [f"out of memory: continuing with batches of {n}" for n in (4, 2)]
    assert sizes[:2] == [8, 4]
    assert set(sizes[2:]) == {2}
    assert len(sizes[2:]) == QUICK.steps * 4  # as many optimiser steps as asked, four small batches each
    assert [p.plain_spans() for p in fitted.predict(dataset())] == gold_of(POSTS)


def test_no_memory_for_one_post_is_an_error():
    def never(batch_size):
        raise torch.OutOfMemoryError("planted")

    with pytest.warns(UserWarning, match="batches of 1"), pytest.raises(UsageError, match="one post per batch"):
        with_smaller_batches(never, 2)


def test_batches_come_back_in_order(encoder):
    net = torch.nn.Linear(1, 1)

    class Example:
        def __init__(self, n):
            self.input_ids = [0] * n

    lengths = [5, 1, 4, 2, 3] * 30
    found = run_batches(
        net,
        [Example(n) for n in lengths],
        lambda examples: {"n": torch.tensor([len(e.input_ids) for e in examples])},
        lambda batch: batch["n"].tolist(),
    )
    assert found == lengths


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("name", ["crf", "token_classifier"])
def test_splits_that_cannot_be_learnt_from(name, encoder):
    backbone = small(name, encoder)
    with pytest.raises(UsageError, match="train has no posts"):
        backbone.fit(dataset([]), dataset())
    with pytest.raises(UsageError, match="validation has no posts"):
        backbone.fit(dataset(), dataset([]))
    with pytest.raises(UsageError, match="none of its 1 posts has an entity"):
        backbone.fit(dataset([POSTS[3]]))
    with pytest.raises(UsageError, match="expected one split, found a dict of train"):
        backbone.fit(DatasetDict({"train": dataset()}))
    with pytest.raises(UsageError, match="expected a dataset or a list of posts, found str"):
        backbone.fit(["a tweet"])
    with pytest.raises(UsageError, match="validation has the types GPE, train knows only PER, LOC, ORG, MISC"):
        backbone.fit(dataset(), dataset([Post("x", ["Rome"], (Entity(0, 1, "GPE"),))], types=("PER", "GPE")))
    with pytest.raises(UsageError, match="expected a column ner_tags, found id, tokens"):
        backbone.fit(pairs())


@pytest.mark.parametrize("name", ["crf", "token_classifier"])
def test_one_post_is_enough(name, encoder):
    fitted = small(name, encoder).fit(dataset(POSTS[:1]), dataset(POSTS[:1]))
    assert fitted.predict(dataset(POSTS[:1]))[0].plain_spans() == gold_of(POSTS[:1])[0]


@pytest.mark.parametrize("name", ["crf", "token_classifier"])
def test_a_type_unseen_in_train_is_said_and_missed(name, encoder):
    with pytest.warns(UserWarning, match=r"no train post has, so they will be missed: 1 × MISC"):
        fitted = small(name, encoder).fit(dataset(POSTS[:5]), dataset())
    (prediction,) = fitted.predict(dataset([POSTS[5]]))
    assert all(span.type != "MISC" for span in prediction.spans)


def test_lists_of_posts_need_not_hold_all_types():
    with pytest.warns(UserWarning, match="1 × MISC"):
        fitted = CRF().fit(POSTS[:5], [POSTS[5]])
    assert fitted.labels == ("LOC", "MISC", "ORG", "PER")


def test_a_dataset_of_other_labels_is_refused():
    fitted = CRF().fit(dataset())
    other = dataset([Post("x", ["Rome"])], types=("PER", "GPE"))
    with pytest.raises(UsageError, match=r"has the types GPE, this model knows only PER, LOC, ORG, MISC"):
        fitted.predict(other)
    assert fitted.predict(other.remove_columns("ner_tags"))[0].id == "x"
    with pytest.raises(UsageError, match="expected the columns id, tokens, found text"):
        fitted.predict(Dataset.from_dict({"text": ["a"]}))
    names = Features(
        {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O"]))}
    )
    assert (
        fitted.predict(Dataset.from_list([{"id": "y", "tokens": ["a"], "ner_tags": [0]}], features=names))[0].id == "y"
    )


def test_relations_that_do_not_fit(encoder):
    backbone = small("relation", encoder)
    with pytest.raises(DataError, match="post tw-0: expected a head and a tail, found no relation"):
        backbone.fit(POSTS)
    with pytest.raises(DataError, match=r"post x: span \[3, 4\) does not fit 2 words"):
        backbone.fit([Post("x", ["a", "b"], relation=Relation((0, 1), (3, 4), "None"))])
    with pytest.raises(UsageError, match="expected a column relation"):
        backbone.fit(dataset())


def test_a_gpu_that_is_not_there_is_said(encoder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    backbone = TokenClassifier(encoder=encoder, training=Training(device="cuda"))
    with pytest.raises(UsageError, match=r"device='cuda': torch .* sees no GPU"):
        backbone.fit(dataset())
    with pytest.raises(UsageError, match="fp16' needs a GPU"):
        TokenClassifier(encoder=encoder, training=Training(precision="fp16")).fit(dataset())


def test_an_encoder_that_is_not_there_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no usable folder"):
        TokenClassifier(encoder=str(tmp_path / "empty")).fit(dataset())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Training(steps=0), "steps must be at least 1"),
        (lambda: Training(learning_rate=5.0), "learning_rate"),
        (lambda: Training(warmup=1.0), "warmup"),
        (lambda: Training(device="tpu"), "unknown device 'tpu'"),
        (lambda: Training(precision="int8"), "unknown precision"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_damaged_record_is_said(tmp_path):
    CRF().fit(dataset()).save(tmp_path)
    assert json.loads((tmp_path / "backbone.json").read_text())["labels"] == ["PER", "LOC", "ORG", "MISC"]
    (tmp_path / "backbone.json").write_text("{")
    with pytest.raises(Corrupt, match=r"backbone\.json: expected JSON, found malformed text"):
        CRF.load(tmp_path)


def test_scored_span_unpacks_like_a_span():
    prediction = Prediction("x", (ScoredSpan(0, 2, "PER", 0.5),), (0.5, 0.9))
    assert prediction.plain_spans() == [(0, 2, "PER")]
    assert importlib.import_module("hf_mner_aug.metrics.spans").score_spans(
        [prediction.plain_spans()], [[(0, 2, "PER")]]
    )
