"""The mixture over losses: scikit-learn's own, scored by eq. 8, monotone, told what was odd."""

import json
import math

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from hf_mner_aug.models.matching.mixture import SETTINGS, Mixture, fit_mixture, matching_score, posterior


def two_humps(n=400, seed=0):
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(0.2, 0.05, n), generator.normal(0.7, 0.1, n // 4)]).clip(0)


def test_eq_8_by_hand():
    mixture = Mixture(low=0.0, high=2.0, means=(0.25, 0.75), variances=(0.01, 0.04), weights=(0.6, 0.4))
    loss = 1.0  # 0.5 on the mixture's scale
    matched = 0.6 / math.sqrt(0.01) * math.exp(-(0.25**2) / 0.02)
    mismatched = 0.4 / math.sqrt(0.04) * math.exp(-(0.25**2) / 0.08)
    assert matching_score([loss], mixture) == pytest.approx([matched / (matched + mismatched)])


def test_losses_outside_those_of_train_count_as_its_ends():
    mixture = Mixture(low=0.0, high=1.0, means=(0.2, 0.8), variances=(0.01, 0.01), weights=(0.5, 0.5))
    assert matching_score([-3.0, 5.0], mixture) == pytest.approx(matching_score([0.0, 1.0], mixture))


def test_posterior_is_scikit_learns():
    losses = two_humps()
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    theirs = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(scaled[:, None])
    lower = int(theirs.means_.ravel().argmin())
    ours = fit_mixture(losses)
    assert ours.means == pytest.approx(sorted(theirs.means_.ravel()), abs=1e-8)
    assert posterior(ours.scale(losses), ours) == pytest.approx(
        theirs.predict_proba(scaled[:, None])[:, lower], abs=1e-6
    )


def test_score_falls_with_the_loss_and_tells_the_humps_apart():
    mixture = fit_mixture(two_humps())
    scores = matching_score(np.linspace(0, 1.2, 500), mixture)
    assert (np.diff(scores) <= 1e-9).all()
    assert matching_score([0.2], mixture)[0] > 0.95
    assert matching_score([0.8], mixture)[0] < 0.05


def test_a_wide_lower_component_is_made_monotone():
    generator = np.random.default_rng(0)
    losses = np.concatenate([generator.normal(0.5, 0.25, 600), generator.normal(0.6, 0.01, 400)])
    mixture = fit_mixture(losses)
    assert any("isotonic" in note for note in mixture.notes)
    raw = posterior(np.linspace(0, 1, 100), mixture)
    assert np.diff(raw).max() > 0.01
    assert (np.diff(matching_score(np.linspace(losses.min(), losses.max(), 500), mixture)) <= 0).all()


def test_more_iterations_are_taken_and_said(monkeypatch):
    assert not fit_mixture(two_humps()).notes
    monkeypatch.setitem(SETTINGS, "tol", 1e-9)
    assert "had not converged after 10 iterations" in fit_mixture(np.random.default_rng(3).beta(2, 5, 3000)).notes[0]


def test_equal_losses_say_nothing():
    mixture = fit_mixture([0.2] * 10)
    assert list(matching_score([0.0, 0.2, 3.0], mixture)) == [0.5, 0.5, 0.5]
    assert "equal" in mixture.notes[0]


def test_losses_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="found 2 with 1 that are not"):
        fit_mixture([0.1, float("nan")])
    with pytest.raises(ValueError, match="found 0"):
        fit_mixture([])


@pytest.mark.parametrize("losses", [two_humps(), [0.1, 0.1], [0.1, 0.5]])
def test_state_comes_back(losses):
    mixture = fit_mixture(losses)
    assert Mixture.from_dict(json.loads(json.dumps(mixture.to_dict()))) == mixture
