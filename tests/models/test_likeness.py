"""Posts ranked by sentence vectors: as the model ranks them, whatever is asked with it, computed once."""

import json
import random
import sqlite3

import numpy as np
import pytest
from tiny_language_model import WORDS

from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.models.search import open_corpus
from hf_mner_aug.models.search.train import TrainPosts
from hf_mner_aug.models.words import likeness
from hf_mner_aug.models.words.sentence import EncoderSimilarity
from hf_mner_aug.schema import Post

DRAW = random.Random(3)
TEXTS = [" ".join(DRAW.choices("abc", k=DRAW.randint(1, 9))) for _ in range(22)]


@pytest.fixture
def encoder(tmp_path_factory):
    """A folder with a tiny BERT of random weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    transformers.BertModel(config).eval().save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=["corpus", "train"])
def posts(request, tmp_path):
    if request.param == "train":
        return TrainPosts([Post(f"p{i}", text.split(), ()) for i, text in enumerate(TEXTS)])
    lines = [json.dumps({"id": f"p{i}", "text": text}) for i, text in enumerate(TEXTS)]
    (tmp_path / "posts.jsonl").write_text("\n".join(lines))
    index(str(tmp_path / "posts.jsonl"), tmp_path / "c.db")
    return open_corpus(tmp_path / "c.db")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(likeness, "BLOCK", 5)
    likeness._block.cache_clear()
    likeness._file.cache_clear()


def test_the_order_is_that_of_the_models_cosines(posts, encoder):
    (hits,) = likeness.find_alike(posts, encoder, ["a b c c"], 6)
    cosines = EncoderSimilarity(encoder)("a b c c", TEXTS)
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines, reverse=True)[:6], abs=1e-3)
    assert [hit.score for hit in hits] == pytest.approx([cosines[int(hit.id[1:])] for hit in hits], abs=1e-3)
    assert [hit.text for hit in hits] == [TEXTS[int(hit.id[1:])] for hit in hits]


def test_equal_posts_come_in_their_order_and_none_twice(posts, encoder):
    (hits,) = likeness.find_alike(posts, encoder, ["c b"], 100)
    keys = [(-hit.score, int(hit.id[1:])) for hit in hits]
    assert keys == sorted(keys)
    assert len({hit.id for hit in hits}) == len(TEXTS)


def test_the_posts_found_do_not_depend_on_the_other_texts(posts, encoder):
    asked = [text + " a b" for text in TEXTS[:7]]
    together = list(likeness.find_alike(posts, encoder, asked, 5))
    assert together == [next(likeness.find_alike(posts, encoder, [text], 5)) for text in asked]


def test_vectors_are_computed_once_and_go_on_where_they_were_cut(posts, encoder, monkeypatch):
    whole = list(likeness.find_alike(posts, encoder, ["a c"], 22))
    kept = likeness.kept_features.path_of(likeness._file(posts.fingerprint, encoder))
    with sqlite3.connect(kept) as file:
        assert file.execute("DELETE FROM features WHERE key IN ('10', '15')").rowcount == 2
    file.close()
    computed = []
    vectors = EncoderSimilarity.vectors
    monkeypatch.setattr(
        EncoderSimilarity, "vectors", lambda self, texts: computed.extend(texts) or vectors(self, texts)
    )
    likeness._block.cache_clear()
    likeness.prepare(posts, encoder)
    assert sorted(computed) == sorted(TEXTS[10:20])
    computed.clear()
    likeness._block.cache_clear()
    assert list(likeness.find_alike(posts, encoder, ["a c"], 22)) == whole
    assert computed == ["a c"]


def test_vectors_have_length_one(encoder):
    assert np.linalg.norm(likeness._unit(encoder, TEXTS), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_corpus_that_lacks_posts_in_between_is_damaged(tmp_path, encoder):
    (tmp_path / "posts.txt").write_text("\n".join(TEXTS))
    index(str(tmp_path / "posts.txt"), tmp_path / "c.db")
    with sqlite3.connect(tmp_path / "c.db") as file:
        file.execute("DELETE FROM posts WHERE rowid = 7")
    file.close()
    with pytest.raises(Corrupt, match=r"c\.db is damaged \(the posts from 6 to 10 are not all there\): delete it"):
        list(likeness.find_alike(open_corpus(tmp_path / "c.db"), encoder, ["a"], 3))
