"""An ``evaluate`` module: strict span precision, recall and F1 of BIO tags. The counting is in ``metrics.spans``."""

# evaluate's own parser reads these lines: one module per line.
from typing import Any

import datasets
import evaluate

from hf_mner_aug.metrics.spans import score_tags
from hf_mner_aug.schema import Orphans

DESCRIPTION = """\
Precision, recall and F1 of entity spans: an entity is correct if its words and its type are. Micro and per type.
Equal to seqeval: its default mode with orphans="promote", its strict IOB2 mode with orphans="drop".
"""

INPUTS = """\
Args:
    predictions: lists of BIO tag names, one list per post: [["B-PER", "I-PER", "O"], ...].
    references: the gold tags, as many per post.
    orphans: how an I- that follows no B- or I- of its type is read: "promote" (the default) makes it B-, "drop" makes
        it O, "error" refuses it.

Returns:
    precision, recall, f1, support (gold), predicted, correct, and the same of each type under per_type.
"""


class SpanF1(evaluate.Metric):
    """Scores BIO tags."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(
        self, predictions: list[list[str]], references: list[list[str]], orphans: Orphans = "promote"
    ) -> dict[str, Any]:
        return score_tags(predictions, references, orphans=orphans).to_dict()
