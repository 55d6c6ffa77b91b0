import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hf_mner_aug.draw import Draw, draw

keys = st.tuples(st.integers(), st.text(max_size=5), st.integers(0, 9), st.text(max_size=8), st.integers(0, 99))


def numbers(key):
    """Return some of everything that a key gives; importable, so that another process can be asked."""
    stream = draw(*key)
    taken = [
        stream.random(),
        stream.integer(10),
        stream.choice("abc"),
        *stream.uniforms(20),
        *stream.shuffled(range(9)),
    ]
    return [*taken, stream.seed(), stream.sub("image", 1).random(), float(stream.generator().random())]


def many(n, kind=Draw.random):
    return [kind(draw(0, "eda", 1, str(i), 0)) for i in range(n)]


def test_a_draw_knows_which_copy_it_is_for():
    assert [draw(0, "eda", 1, "p1", copy).copy for copy in range(3)] == [0, 1, 2]
    assert draw(0, "eda", 1, "p1", 2).sub("image").copy == 2


def test_reference_values():
    """These may never change: with them, every row that was ever made would."""
    stream = draw(0, "eda", 1, "p1", 0)
    assert stream.key == b"0\0eda\x001\x000\0p1"
    assert [stream.random() for _ in range(3)] == [0.4241381243336946, 0.5824270553421229, 0.12821251014247537]
    assert [stream.integer(1000) for _ in range(4)] == [528, 369, 321, 802]
    assert stream.uniforms(2) == [0.2919325886759907, 0.4591931796167046]
    assert stream.shuffled("abcdef") == ["e", "b", "a", "f", "d", "c"]
    assert stream.sample(range(100), 3) == [83, 72, 95]
    assert stream.choice(range(100)) == 88
    assert stream.seed() == 8778685892483519552
    assert stream.sub("image", 2).random() == 0.5941089929547161
    assert stream.generator().integers(0, 1000, 3).tolist() == [319, 57, 634]


def test_first_numbers_are_the_hash_of_key_and_counter():
    """Worked out with hashlib alone: 16 words of 32 bits a block, taken from its end."""
    import hashlib

    block = hashlib.blake2b(b"7\0m\x002\x001\0id" + bytes(8)).digest()
    words = [int.from_bytes(block[i : i + 4], "little") for i in range(0, 64, 4)]
    stream = draw(7, "m", 2, "id", 1)
    assert [stream.random() for _ in range(16)] == [word / 2**32 for word in reversed(words)]
    second = hashlib.blake2b(b"7\0m\x002\x001\0id" + (1).to_bytes(8, "little")).digest()
    assert stream.random() == int.from_bytes(second[60:], "little") / 2**32


@given(keys)
def test_same_key_same_numbers(key):
    assert numbers(key) == numbers(key)


def test_every_part_of_the_key_counts():
    base = dict(seed=0, method="eda", version=1, post_id="a", copy=0)
    others = [
        dict(base, **change) for change in ({"seed": 1}, {"method": "b"}, {"version": 2}, {"post_id": "b"}, {"copy": 1})
    ]
    # Neighbouring fields do not run together either.
    others += [dict(base, copy=1, post_id="0"), dict(base, copy=10, post_id=""), dict(base, seed=-1)]
    firsts = [draw(**key).random() for key in (base, *others)]
    assert len(set(firsts)) == len(firsts)


def test_another_process_draws_the_same():
    some = [(0, "eda", 1, "p1", 0), (5, "lsms", 2, "\u00a0é😂", 3), (0, "eda", 1, "\ud800", 0)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(numbers, some)) == [numbers(key) for key in some]


@given(keys, st.integers(0, 40))
def test_sub_streams_do_not_depend_on_use(key, used):
    fresh, spent = draw(*key), draw(*key)
    spent.uniforms(used)
    assert fresh.sub("image", 1).uniforms(5) == spent.sub("image", 1).uniforms(5)
    assert fresh.seed() == spent.seed()
    spent.sub("text").random()
    spent.generator().random()
    rest = draw(*key).uniforms(used), spent.uniforms(3)
    again = draw(*key)
    assert (again.uniforms(used), again.uniforms(3)) == rest


def test_sub_streams_differ_by_all_of_their_name():
    root = draw(0, "m", 1, "p", 0)
    names = [("image",), ("image", 1), ("image", 11), ("image", 1, 1), ("imag", "e"), ("text",), ("",), (), ("image1",)]
    firsts = [root.random()] + [root.sub(*name).random() for name in names]
    firsts.append(root.sub("image").sub(1).random())
    assert len(set(firsts)) == len(firsts)
    assert root.sub("image", 1).key == root.sub("image", "1").key


@pytest.mark.parametrize("kind", [Draw.random, lambda d: d.uniforms(3)[-1], lambda d: d.sub("x").random()])
def test_floats_are_uniform(kind):
    found = many(20_000, kind)
    assert min(found) >= 0
    assert max(found) < 1
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_one_stream_is_uniform_and_uncorrelated():
    found = np.array(draw(1, "m", 1, "p", 0).uniforms(50_000))
    assert stats.kstest(found, "uniform").pvalue > 0.001
    for lag in (1, 15, 16, 17):
        assert abs(np.corrcoef(found[:-lag], found[lag:])[0, 1]) < 0.02


def test_neighbouring_keys_are_uncorrelated():
    copies = [np.array([draw(0, "m", 1, str(i), c).random() for i in range(5_000)]) for c in (0, 1)]
    assert abs(np.corrcoef(*copies)[0, 1]) < 0.04


@pytest.mark.parametrize("n", [2, 3, 7])
def test_integers_and_choices_are_uniform(n):
    counts = Counter(many(7_000, lambda d: d.integer(n)))
    assert sorted(counts) == list(range(n))
    assert stats.chisquare(list(counts.values())).pvalue > 0.001
    assert Counter(many(7_000, lambda d: d.choice(range(n)))) == counts


@pytest.mark.parametrize("k", [1, 2, 4])
def test_samples_are_uniform(k):
    counts = Counter(many(12_000, lambda d: tuple(d.sample("abcd", k))))
    assert len(counts) == {1: 4, 2: 12, 4: 24}[k]
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


@given(keys, st.lists(st.integers(), max_size=12), st.integers(0, 15))
def test_samples_are_parts_and_leave_their_source(key, items, k):
    before = list(items)
    taken = draw(*key).sample(items, k)
    assert len(taken) == min(k, len(items))
    assert not Counter(taken) - Counter(items)
    assert items == before
    assert sorted(draw(*key).shuffled(items)) == sorted(items)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_subsets_take_each_item_with_their_probability(probability):
    items = list(range(10))
    counts = Counter(item for found in many(2_000, lambda d: d.subset(items, probability)) for item in found)
    for item in items:
        # Four standard deviations: sqrt(2000 p (1 - p)).
        assert abs(counts[item] - 2_000 * probability) <= 4 * (2_000 * probability * (1 - probability)) ** 0.5
    assert draw(0, "m", 1, "p", 0).subset(items, 0.5) == [
        item for item, number in zip(items, draw(0, "m", 1, "p", 0).uniforms(10), strict=True) if number < 0.5
    ]


@given(keys, st.lists(st.integers(0, 20), max_size=8))
def test_uniforms_are_the_stream_in_chunks(key, sizes):
    """However a stream is cut, as many numbers are used."""
    stream = draw(*key)
    for size in sizes:
        assert len(stream.uniforms(size)) == size
    single = draw(*key)
    used = 16 * stream._block - len(stream._words)
    assert used == sum(sizes)
    for _ in range(used):
        single.random()
    assert single._block == -(-used // 16) or used == 0


def test_seed_fits_the_generators_of_libraries():
    seeds = many(1_000, Draw.seed)
    assert len(set(seeds)) == 1_000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert draw(0, "m", 1, "p", 0).generator().random() == draw(0, "m", 1, "p", 0).generator().random()
