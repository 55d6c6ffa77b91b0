"""The matching score of AMIA: a two-component Gaussian mixture over triplet losses (Xu et al. 2025, eq. 8).

The mixture is fitted once on the losses of train, and scores any loss. Settings are NCR's (Huang et al. 2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SETTINGS = {"max_iter": 10, "tol": 1e-2, "reg_covar": 5e-4, "random_state": 0}
PATIENCE = 500  # iterations if ten are not enough


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Two Gaussians over losses scaled to [0, 1] by ``low`` and ``high``; the first is that of matched pairs.

    ``curve`` holds losses and scores to interpolate between if the posterior is not monotone in the loss; ``notes``
    are remarks on the fit.
    """

    low: float
    high: float
    means: tuple[float, ...]
    variances: tuple[float, ...]
    weights: tuple[float, ...]
    curve: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the mixture as JSON-like data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Mixture":
        """Return the mixture that ``to_dict`` wrote."""
        curve = data["curve"] and (tuple(data["curve"][0]), tuple(data["curve"][1]))
        lists = {name: tuple(data[name]) for name in ("means", "variances", "weights", "notes")}
        return cls(low=data["low"], high=data["high"], curve=curve, **lists)

    def scale(self, losses: "Sequence[float] | np.ndarray") -> "np.ndarray":
        """Return losses [n] on the scale of train; those outside its range are clipped to it."""
        import numpy as np

        return np.clip((np.asarray(losses, dtype=np.float64) - self.low) / (self.high - self.low), 0.0, 1.0)


def posterior(scaled: "np.ndarray", mixture: Mixture) -> "np.ndarray":
    """Return p(matched | loss) of scaled losses [n] (eq. 8)."""
    import numpy as np

    means, variances = np.array(mixture.means), np.array(mixture.variances)
    exponents = -((scaled[:, None] - means) ** 2) / (2 * variances) - np.log(variances) / 2 + np.log(mixture.weights)
    return 1 / (1 + np.exp(np.clip(exponents[:, 1] - exponents[:, 0], -700, 700)))


def matching_score(losses: "Sequence[float] | np.ndarray", mixture: Mixture) -> "np.ndarray":
    """Return θ [n], the posterior of the component with the lower mean, for triplet losses [n]."""
    import numpy as np

    if mixture.low == mixture.high:
        return np.full(len(losses), 0.5)
    scaled = mixture.scale(losses)
    return posterior(scaled, mixture) if mixture.curve is None else np.interp(scaled, *mixture.curve)


def fit_mixture(losses: "Sequence[float] | np.ndarray") -> Mixture:
    """Return the mixture of train losses [n].

    If ten iterations do not converge, more are run; if the posterior of the lower component rises with the loss
    somewhere (it does when that component is the wider one), isotonic regression makes it monotone. Both are noted.
    If all losses are equal, every score is 0.5.

    Raises:
        ValueError: there is no loss, or one is not finite.
    """
    import numpy as np
    from sklearn.isotonic import IsotonicRegression
    from sklearn.mixture import GaussianMixture

    values = np.asarray(losses, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"expected finite losses, found {len(values)} with {int((~np.isfinite(values)).sum())} that are not"
        )
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-12:
        note = "all triplet losses are equal: every matching score is 0.5"
        return Mixture(low=low, high=low, means=(0, 0), variances=(1, 1), weights=(0.5, 0.5), notes=(note,))
    scaled = (values - low) / (high - low)
    fitted, notes = _fit(scaled, GaussianMixture), []
    if not fitted.converged_:
        fitted = _fit(scaled, GaussianMixture, max_iter=PATIENCE)
        notes.append(
            f"the mixture had not converged after {SETTINGS['max_iter']} iterations: {fitted.n_iter_} were taken"
        )
    order = np.argsort(fitted.means_.ravel())
    # Rounded, so that the result does not depend on the last bit of a sum.
    parts = [np.round(part.ravel()[order], 9) for part in (fitted.means_, fitted.covariances_, fitted.weights_)]
    means, variances, weights = (tuple(part.tolist()) for part in parts)
    mixture = Mixture(low=low, high=high, means=means, variances=variances, weights=weights, notes=tuple(notes))
    grid = posterior(np.linspace(0, 1, 1001), mixture)
    if (np.diff(grid) <= 1e-9).all():
        return mixture
    isotonic = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(scaled, posterior(scaled, mixture))
    notes.append("the posterior was not monotone in the loss: isotonic regression made it so")
    curve = (tuple(isotonic.X_thresholds_.round(9).tolist()), tuple(isotonic.y_thresholds_.round(9).tolist()))
    return replace(mixture, curve=curve, notes=tuple(notes))


def _fit(scaled: "np.ndarray", kind: Any, **settings: Any) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(2, **{**SETTINGS, **settings}).fit(scaled[:, None])


def histogram_svg(losses: "Sequence[float] | np.ndarray", mixture: Mixture, *, bins: int = 40) -> str:
    """Return a figure of losses [n]: their histogram, the two components over it, and the matching score.

    The colours follow the surrounding page, light or dark.
    """
    import numpy as np

    width, height, left, bottom = 640, 280, 44, 36
    inner, tall = width - left - 44, height - bottom - 16
    span = (mixture.low, mixture.high if mixture.high > mixture.low else mixture.low + 1)
    counts, edges = np.histogram(losses, bins=bins, range=span)
    grid = np.linspace(*span, 200)
    step = (edges[1] - edges[0]) / (span[1] - span[0])
    curves = (
        [
            weight * np.exp(-((mixture.scale(grid) - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
            for mean, variance, weight in zip(mixture.means, mixture.variances, mixture.weights, strict=True)
        ]
        if mixture.high > mixture.low
        else []
    )
    top = max([counts.max(initial=1), *(len(losses) * step * curve.max() for curve in curves)])

    def x(value: float) -> float:
        return left + inner * (value - span[0]) / (span[1] - span[0])

    def line(values: "np.ndarray", style: str) -> str:
        points = " ".join(f"{x(at):.1f},{16 + tall * (1 - share):.1f}" for at, share in zip(grid, values, strict=True))
        return f'<polyline points="{points}" fill="none" stroke-width="2" {style}/>'

    bars = [
        f'<rect x="{x(edge) + 0.5:.1f}" y="{16 + tall * (1 - n / top):.1f}" width="{inner * step - 1:.1f}" '
        f'height="{tall * n / top:.1f}" fill="currentColor" opacity="0.25"/>'
        for edge, n in zip(edges, counts, strict=False)
    ]
    lines = [
        line(len(losses) * step * curve / top, f'stroke="{colour}"')
        for curve, colour in zip(curves, ("#2a9d5c", "#d1495b"), strict=False)
    ]
    lines.append(line(matching_score(grid, mixture), 'stroke="currentColor" stroke-dasharray="5 4"'))
    axis = height - bottom
    text = 'fill="currentColor" font-size="12" font-family="sans-serif"'
    labels = [
        f'<text x="{x(value):.0f}" y="{axis + 16}" text-anchor="middle" {text}>{value:.2f}</text>'
        for value in np.linspace(*span, 5)
    ]
    labels += [
        f'<text x="{left - 6}" y="24" text-anchor="end" {text}>{top:.0f}</text>',
        f'<text x="{left - 6}" y="{axis}" text-anchor="end" {text}>0</text>',
        f'<text x="{width - 40}" y="24" {text}>θ = 1</text>',
        f'<text x="{width - 40}" y="{axis}" {text}>θ = 0</text>',
        f'<text x="{left + inner / 2:.0f}" y="{height - 4}" text-anchor="middle" {text}>'
        "triplet loss of train pairs; green: matched, red: mismatched, dashed: matching score θ</text>",
    ]
    frame = f'<path d="M{left} 16V{axis}H{left + inner}" fill="none" stroke="currentColor"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="triplet losses and their mixture">{"".join([*bars, frame, *lines, *labels])}</svg>'
    )
