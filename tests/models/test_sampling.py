"""Tokens drawn by Gumbel-max: the right distribution, the filters of transformers, and nothing but the row's draw."""

import numpy as np
import pytest

from hf_mner_aug.draw import draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.text.sampling import RowSampler, candidates, draw_token

ALL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}


def row_draw(i):
    return draw(0, "test", 1, f"row{i}", 0)


def test_candidates_worked_out_by_hand():
    logits = np.log([0.5, 0.25, 0.125, 0.125])
    ids, log_probs = candidates(logits, **ALL)
    assert ids.tolist() == [0, 1, 2, 3]
    assert np.exp(log_probs) == pytest.approx([0.5, 0.25, 0.125, 0.125])
    ids, log_probs = candidates(logits, temperature=1.0, top_k=2, top_p=1.0)
    assert ids.tolist() == [0, 1]
    assert np.exp(log_probs) == pytest.approx([2 / 3, 1 / 3])
    # 0.5 + 0.25 holds 0.75, so the third is needed for 0.76; at temperature 1/2 the first two hold 10/11 as squares.
    assert candidates(logits, temperature=1.0, top_k=0, top_p=0.75)[0].tolist() == [0, 1]
    assert candidates(logits, temperature=1.0, top_k=0, top_p=0.76)[0].tolist() == [0, 1, 2]
    squares = np.array([16, 4, 1, 1]) / 22
    assert np.exp(candidates(logits, temperature=0.5, top_k=0, top_p=1.0)[1]) == pytest.approx(squares)
    assert candidates(logits, temperature=1.0, top_k=3, top_p=1.0)[0].tolist() == [0, 1, 2, 3]  # the last two tie
    assert candidates(logits, temperature=1.0, top_k=0, top_p=1e-9)[0].tolist() == [0]
    assert candidates(np.array([-np.inf, 0.0, -np.inf]), temperature=1.0, top_k=2, top_p=0.9)[0].tolist() == [1]


def test_the_filters_are_those_of_transformers():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for seed in range(50):
        logits = np.random.default_rng(seed).normal(0, 3, 200)
        scores = torch.tensor(logits)[None]
        for warper in (
            transformers.TemperatureLogitsWarper(0.7),
            transformers.TopKLogitsWarper(50),
            transformers.TopPLogitsWarper(0.95),
        ):
            scores = warper(None, scores)
        ids, log_probs = candidates(logits, temperature=0.7, top_k=50, top_p=0.95)
        assert ids.tolist() == torch.isfinite(scores[0]).nonzero().flatten().tolist()
        assert np.exp(log_probs) == pytest.approx(scores[0].softmax(0)[ids].numpy(), rel=1e-9)


def test_tokens_come_as_often_as_they_should():
    probs = np.array([0.5, 0.3, 0.15, 0.05])
    drawn = [draw_token(np.log(probs), row_draw(i), **ALL) for i in range(8000)]
    expected = 8000 * probs
    chi_squared = ((np.bincount(drawn, minlength=4) - expected) ** 2 / expected).sum()
    assert chi_squared < 16.3  # 0.1% of such experiments give more, with 3 degrees of freedom
    steps = [draw_token(np.log(probs), row_draw(0).sub("token", i), **ALL) for i in range(8000)]
    assert ((np.bincount(steps, minlength=4) - expected) ** 2 / expected).sum() < 16.3


def test_temperature_nought_takes_the_likeliest_and_low_ones_nearly_do():
    logits = np.array([0.0, 3.0, 2.9, -np.inf])
    assert {draw_token(logits, row_draw(i), temperature=0.0, top_k=50, top_p=0.95) for i in range(50)} == {1}
    assert {draw_token(logits, row_draw(i), temperature=0.005, top_k=50, top_p=1.0) for i in range(50)} == {1}
    assert len({draw_token(logits, row_draw(i), temperature=1.0, top_k=50, top_p=1.0) for i in range(50)}) == 3


def test_a_row_is_drawn_by_its_own_draw_whatever_stands_beside_it():
    torch = pytest.importorskip("torch")
    forbidden = torch.zeros(100, dtype=torch.bool)
    forbidden[:50] = True
    scores = [torch.randn(8, 100, generator=torch.Generator().manual_seed(step)) for step in range(5)]
    before = torch.get_rng_state()

    def tokens(rows):
        sampler = RowSampler([row_draw(i) for i in rows], forbidden, 1.0, 50, 0.95)
        chosen = [sampler(None, step[rows]) for step in scores]
        assert all((step == 0).sum() == len(rows) and (step == -np.inf).sum() == 99 * len(rows) for step in chosen)
        return torch.stack([step.argmax(1) for step in chosen], 1)

    together = tokens(list(range(8)))
    assert (together >= 50).all()
    for i in range(8):
        assert torch.equal(tokens([i])[0], together[i])
    assert torch.equal(tokens([5, 2]), together[[5, 2]])
    assert torch.equal(torch.get_rng_state(), before)
    # The same scores under other draws give other tokens.
    other = RowSampler([row_draw(i + 100) for i in range(8)], forbidden, 1.0, 50, 0.95)
    assert not torch.equal(other(None, scores[0]).argmax(1), together[:, 0])


def test_a_rounding_changes_no_choice():
    logits = np.random.default_rng(0).normal(0, 2, 1000)
    noisy = logits * (1 + 1e-7 * np.random.default_rng(1).normal(size=1000))
    setting = {"temperature": 1.0, "top_k": 50, "top_p": 0.95}
    chosen = [
        (draw_token(logits, row_draw(i), **setting), draw_token(noisy, row_draw(i), **setting)) for i in range(500)
    ]
    assert all(a == b for a, b in chosen)


def test_broken_logits_are_told():
    with pytest.raises(UsageError, match="no finite logits"):
        draw_token(np.full(5, np.nan), row_draw(0), **ALL)
