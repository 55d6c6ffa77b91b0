import math

import numpy as np
import pytest

from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.models.words.vectors import (
    WordVectors,
    load_word_vectors,
    random_vector,
    read_word_vectors,
    save_word_vectors,
    train_word_vectors,
    weighted_sum,
)
from hf_mner_aug.schema import Post

# East, almost east, north, west, and one twice as long as "near".
PLANE = WordVectors(
    ("east", "near", "north", "west", "far"),
    np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0], [1.6, 1.2]], dtype=np.float32),
)


def test_neighbours_are_the_nearest_by_cosine_and_never_the_word_itself():
    (near,) = PLANE.neighbours(["east"], 3)
    assert [word for word, _ in near] == ["near", "far", "north"]  # of equals the first in the file
    assert [cosine for _, cosine in near] == pytest.approx([0.8, 0.8, 0.0], abs=1e-7)
    assert [[word for word, _ in found] for found in PLANE.neighbours(["north", "west"], 2)] == [
        ["near", "far"],
        ["north", "near"],
    ]
    assert len(PLANE.neighbours(["east"], 9)[0]) == 4
    assert PLANE.neighbours(["nowhere"]) == [[]]


def test_the_sum_is_weighted_by_the_softmax_of_the_cosines():
    cosines, vectors = [0.8, 0.0], np.array([[0.8, 0.6], [0.0, 1.0]])
    first = math.exp(0.8) / (math.exp(0.8) + 1)
    assert weighted_sum(cosines, vectors) == pytest.approx([0.8 * first, 0.6 * first + (1 - first)])
    # The two nearest of "east" have the same cosine, so half of each: their own vectors, not those of length 1.
    assert PLANE.augmentations(["east"], 2)[0] == pytest.approx([1.2, 0.9])


def test_augmentation_equals_brute_force_on_many_words():
    rng = np.random.default_rng(0)
    vectors = WordVectors(tuple(f"w{i}" for i in range(300)), rng.normal(size=(300, 20)).astype(np.float32))
    found = vectors.augmentations(vectors.words)
    unit = vectors.vectors.astype(np.float64) / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    for i in range(300):
        cosines = unit @ unit[i]
        cosines[i] = -2
        best = np.argsort(-cosines)[:4]
        weights = np.exp(cosines[best]) / np.exp(cosines[best]).sum()
        np.testing.assert_allclose(found[i], weights @ vectors.vectors[best], rtol=1e-5, atol=1e-6)
    # What else is asked for changes nothing.
    np.testing.assert_array_equal(vectors.augmentations(["w7"])[0], found[7])


def test_an_unknown_word_has_a_random_vector_of_its_own():
    bound = math.sqrt(3 / 200)
    one = random_vector("gr8", 200)
    assert np.array_equal(one, random_vector("gr8", 200))
    assert not np.array_equal(one, random_vector("gr9", 200))
    assert np.abs(one).max() <= bound
    assert np.abs(one).max() > 0.95 * bound
    assert abs(one.mean()) < 0.2 * bound
    assert one.var() == pytest.approx(1 / 200, rel=0.2)  # that of a uniform variable: bound**2 / 3
    np.testing.assert_array_equal(
        PLANE.augmentations(["gr8", "east"], 1)[0], random_vector("gr8", 2).astype(np.float32)
    )


def test_a_word_is_looked_up_as_it_is_and_then_in_lower_case():
    vectors = WordVectors(("us", "US", "them"), np.eye(3, dtype=np.float32))
    assert [vectors.row(word) for word in ("US", "us", "Us", "THEM", "we")] == [1, 0, 0, 2, None]


def write(folder, text):
    path = folder / "vectors.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_both_text_formats_are_read(header, tmp_path):
    vectors = read_word_vectors(write(tmp_path, f"{header}the 0.5 -1\n. . . 1e-1 2 \r\n\u00a0 0 0\n"))
    assert vectors.words == ("the", ". . .", "\u00a0")  # GloVe has words with spaces
    np.testing.assert_allclose(vectors.vectors, [[0.5, -1], [0.1, 2], [0, 0]])
    assert vectors.vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 1 2\nc 1\n", r"vectors\.txt line 3: expected a word and 2 numbers, found 1 numbers"),
        ("a 1 2\nb 1 2 3\n", "line 2: expected a word and 2 numbers, found 3 numbers"),
        ("2 3\na 1 2 3\nb 1 2\n", "line 3: expected a word and 3 numbers, found 2 numbers"),
        ("a 1 2\nb 1 x\n", "line 2: expected a word and 2 numbers, found 1 numbers"),
        ("a 1 2\nb 1 nan\n", "line 2: expected a word and 2 numbers, found 1 numbers"),
        ("alone\n", "line 1: expected a word and its numbers, found 0 numbers"),
        ("", "expected some word vectors, found 0"),
        ("3 2\na 1 2\n", "expected 3 word vectors, found 1: is the file complete"),
    ],
)
def test_a_damaged_file_is_said_with_its_line(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_word_vectors(write(tmp_path, text))


def test_a_file_that_cannot_serve_is_said(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_word_vectors(tmp_path / "none.txt")
    path = write(tmp_path, "chat 1 2\nchien 1 3\n")
    with pytest.raises(UsageError, match=r"none of its 2 words \(such as chat, chien\) occurs in train"):
        read_word_vectors(path, [Post("x", ["cat", "dog"])])
    assert read_word_vectors(path, [Post("x", ["cat", "Chat"])]).words == ("chat", "chien")
    path.write_bytes(b"\x80\x00\xff")
    with pytest.raises(DataError, match="as text in UTF-8"):
        read_word_vectors(path)


def test_trained_vectors_bring_words_of_like_contexts_together():
    texts = ["we love paris in spring", "we love rome in spring", "we love oslo in spring"]
    texts += ["the cat sat on a mat", "the dog sat on a mat", "the cow sat on a mat"]
    texts += [f"yes {text}" for text in texts]
    posts = [Post(str(i), text.split()) for i, text in enumerate(texts)]
    vectors = train_word_vectors(posts)
    assert vectors.dimensions < 50  # there are no more words than these
    nearest = {word: {near for near, _ in vectors.neighbours([word], 2)[0]} for word in ("paris", "cat")}
    assert nearest == {"paris": {"rome", "oslo"}, "cat": {"dog", "cow"}}
    again = train_word_vectors(posts)
    assert again.words == vectors.words
    np.testing.assert_array_equal(again.vectors, vectors.vectors)
    with pytest.raises(UsageError, match="0 words occur at least 2 times in the 1 posts of train"):
        train_word_vectors([Post("x", ["every", "word", "once"])])
    with pytest.raises(UsageError, match="0 words occur at least 2 times in the 2 posts of train"):
        train_word_vectors([Post("x", ["every", "word", "once"]), Post("x copy", ["every", "word", "once"])])


def test_vectors_survive_saving(tmp_path):
    odd = WordVectors(("\u00a0", 'say "hi"', "😂", "\ud83d"), np.arange(8, dtype=np.float32).reshape(4, 2))
    save_word_vectors(odd, tmp_path)
    loaded = load_word_vectors(tmp_path)
    assert loaded.words == odd.words
    np.testing.assert_array_equal(loaded.vectors, odd.vectors)
    (tmp_path / "word_vectors.safetensors").write_bytes(b"xx")
    with pytest.raises(Corrupt, match=r"word_vectors\.safetensors is damaged or missing"):
        load_word_vectors(tmp_path)
    with pytest.raises(Corrupt, match="damaged or missing"):
        load_word_vectors(tmp_path / "none")
