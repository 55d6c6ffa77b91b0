"""Sampling tokens so that a row's text depends on the row's own draw alone: Gumbel-max inside a logits processor.

``argmax(log p + g)`` with ``g`` independent standard Gumbel noise is a draw from ``p`` (Gumbel 1954; Maddison et al.
2014). The noise of a token at a step depends on the row's draw, the step and the token's id only: not on other rows,
the batch or a global generator, nor on the order of nearly equal logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch


def candidates(
    logits: "np.ndarray", *, temperature: float, top_k: int, top_p: float
) -> "tuple[np.ndarray, np.ndarray]":
    """Return the ids [n] of the tokens that may be drawn, in ascending order, and their log-probabilities [n].

    As in transformers: first the temperature, then the ``top_k`` highest logits (0: all; ties with the last are kept),
    then the fewest of these with a total probability of ``top_p``.

    Args:
        logits: [n_tokens], float64; ``-inf`` for forbidden tokens.
        temperature: above 0.
        top_k: tokens; 0 for all.
        top_p: in (0, 1].
    """
    import numpy as np
    from scipy.special import log_softmax

    ids = np.flatnonzero(np.isfinite(logits))
    scaled = logits[ids] / temperature
    if 0 < top_k < len(ids):
        inside = scaled >= np.partition(scaled, -top_k)[-top_k]
        ids, scaled = ids[inside], scaled[inside]
    log_probs = log_softmax(scaled)
    order = np.argsort(-log_probs, kind="stable")
    probs = np.exp(log_probs[order])
    inside = np.sort(order[np.cumsum(probs) - probs < top_p])
    return ids[inside], log_softmax(log_probs[inside])


def draw_token(logits: "np.ndarray", draw: Draw, *, temperature: float, top_k: int, top_p: float) -> int:
    """Return the id of a token drawn from logits [n_tokens], float64; with temperature 0 the likeliest one.

    Raises:
        UsageError: no logit is finite.
    """
    import numpy as np

    if not np.isfinite(logits).any():
        raise UsageError("the model gives no finite logits: its weights are broken, or take dtype='float32'")
    if temperature == 0:
        return int(np.nanargmax(logits))
    ids, log_probs = candidates(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    # Minus the logarithm of an exponential variable is Gumbel noise.
    noise = -np.log(draw.generator().standard_exponential(len(logits))[ids])
    return int(ids[np.argmax(log_probs + noise)])


@dataclass
class RowSampler:
    """A logits processor that leaves each row one token, chosen by its draw.

    ``generate`` is called with ``do_sample=False``, so it takes that token. ``forbidden`` [n_tokens] marks tokens that
    are never drawn.
    """

    draws: Sequence[Draw]
    forbidden: "torch.Tensor"
    temperature: float
    top_k: int
    top_p: float
    step: int = 0

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Return scores [n_rows, n_tokens] that are ``-inf`` except for each row's drawn token."""
        import torch

        allowed = scores.double().cpu().masked_fill(self.forbidden, float("-inf")).numpy()
        chosen = [
            draw_token(
                logits,
                draw.sub("token", self.step),
                temperature=self.temperature,
                top_k=self.top_k,
                top_p=self.top_p,
            )
            for logits, draw in zip(allowed, self.draws, strict=True)
        ]
        self.step += 1
        index = torch.tensor(chosen, device=scores.device)[:, None]
        return torch.full_like(scores, float("-inf")).scatter_(1, index, 0.0)
