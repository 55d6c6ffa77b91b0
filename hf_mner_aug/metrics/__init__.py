"""Scores of predicted entities: ``spans`` and ``grounding`` hold the arithmetic, without ``evaluate``.

``span_f1`` and ``gmner_f1`` wrap it as ``evaluate`` modules: ``evaluate.load(metrics.path("span_f1"))`` works offline.
"""

from pathlib import Path

from hf_mner_aug.exceptions import UnknownName

NAMES = (
    "span_f1",
    "gmner_f1",
)


def path(name: str) -> str:
    """Return the folder of a metric, for ``evaluate.load``.

    Raises:
        UnknownName: there is no such metric.
    """
    if name not in NAMES:
        raise UnknownName("metric", name, NAMES)
    return str(Path(__file__).parent / name)
