import numpy as np
import pytest

from hf_mner_aug.studies.significance import holm, paired_bootstrap, rates, resample


def test_rates_from_counts():
    found = rates(np.array([[2, 4, 8], [0, 0, 3], [0, 0, 0]]))
    assert found.tolist() == [[0.5, 0.25, 1 / 3], [0, 0, 0], [0, 0, 0]]


def test_a_bootstrap_by_hand():
    # Two posts with one entity each and one span predicted: ours is right in the first, theirs in none.
    ours, theirs = np.array([[[1, 1, 1], [0, 1, 1]]]), np.array([[[0, 1, 1], [0, 1, 1]]])
    samples = np.array([[1, 1], [2, 0], [0, 2]])  # differences 0.5, 1 and 0
    found = paired_bootstrap(ours, theirs, samples)
    assert found.delta == 0.5
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    assert found.p == 1.0  # one of three is not above 0: 2 × (1 + 1) / (3 + 1)
    assert found.detectable == pytest.approx(2.8 * 0.5)


def test_the_mean_over_runs_is_what_is_compared():
    # F1 of two runs 1 and 0.5 (mean 0.75), against one run of 0.5; the runs differ in number.
    ours = np.array([[[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [0, 1, 1]]])
    theirs = ours[1:]
    samples = np.array([[1, 1], [0, 2], [0, 2]])  # 0.25, 0.5, 0.5: all above 0
    found = paired_bootstrap(ours, theirs, samples)
    assert found.delta == 0.25
    assert found.p == 2 * (0 + 1) / (3 + 1)
    back = paired_bootstrap(theirs, ours, samples)
    assert (back.delta, back.low, back.high) == (-found.delta, -found.high, -found.low)
    assert back.p == found.p


def test_equal_runs_do_not_differ_and_a_clear_gain_is_found():
    rng = np.random.default_rng(0)
    correct = rng.random((2, 400)) < 0.5
    counts = np.stack([correct, np.ones_like(correct), np.ones_like(correct)], axis=-1).astype(int)
    samples = resample(400, 500)
    same = paired_bootstrap(counts, counts[::-1], samples)
    assert (same.delta, same.p) == (0, 1)
    better = counts.copy()
    better[:, :80, 0] = 1
    gain = paired_bootstrap(better, counts, samples)
    assert gain.low < gain.delta < gain.high
    assert gain.low > 0
    assert gain.p == 2 / 501, "no number of samples shows that p is 0"


@pytest.mark.parametrize(("n_posts", "least"), [(1, 1.0), (3, 0.25), (6, 1 / 32), (12, 2 / 1001)])
def test_few_posts_show_little_however_clear_they_are(n_posts, least):
    right, wrong = np.array([[[1, 1, 1]] * n_posts]), np.array([[[0, 1, 1]] * n_posts])
    assert paired_bootstrap(right, wrong, resample(n_posts, 1000)).p == pytest.approx(least)


def test_samples_are_posts_drawn_with_replacement():
    samples = resample(50, 200, seed=3)
    assert samples.shape == (200, 50)
    assert (samples.sum(axis=1) == 50).all()
    assert 0.9 < samples.mean() < 1.1
    assert samples.max() > 2
    assert (samples == resample(50, 200, seed=3)).all()
    assert (samples != resample(50, 200, seed=4)).any()


def test_holm_by_hand():
    # In order: 0.01 × 4, then 0.02 × 3 = 0.06, 0.03 × 2 = 0.06, and 0.04 × 1, which may not be below 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []
