"""An ``evaluate`` module: precision, recall and F1 of grounded entities. The counting is in ``metrics.grounding``."""

# evaluate's own parser reads these lines: one module per line.
from typing import Any

import datasets
import evaluate

from hf_mner_aug.metrics.grounding import read_entities, score_grounded

DESCRIPTION = """\
Precision, recall and F1 of grounded entities (GMNER): an entity is correct if its words, its type and its region are;
the region is correct if the box overlaps one of the gold boxes with an IoU above 0.5, or neither side has a box.
"""

CITATION = """\
@inproceedings{yu-etal-2023-grounded,
    title = "Grounded Multimodal Named Entity Recognition on Social Media",
    author = "Yu, Jianfei and Li, Ziyan and Wang, Jieming and Xia, Rui",
    booktitle = "Proceedings of the 61st Annual Meeting of the Association for Computational Linguistics",
    year = "2023",
}
"""

INPUTS = """\
Args:
    predictions: lists of entities, one list per post, each {"start": 0, "end": 2, "type": "PER", "boxes": [[x1, y1, x2,
        y2]]}; end is exclusive; a predicted entity has one box, or none: "boxes": [].
    references: the gold entities, each with any number of boxes: the column entities of a GMNER set.

Returns:
    precision, recall, f1, support (gold), predicted, correct, and the same of each type under per_type; the same
    without the region under mner; without the type (entity extraction and grounding) under eeg.
"""


class GmnerF1(evaluate.Metric):
    """Scores entities with boxes."""

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("int32")
        boxes = datasets.List(datasets.List(datasets.Value("float64")))
        entities = datasets.List({"start": number, "end": number, "type": datasets.Value("string"), "boxes": boxes})
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": entities, "references": entities}),
        )

    def _compute(self, predictions: list[list[dict]], references: list[list[dict]]) -> dict[str, Any]:
        found, gold = read_entities(predictions, "predictions"), read_entities(references, "references")
        return score_grounded(found, gold).to_dict()
