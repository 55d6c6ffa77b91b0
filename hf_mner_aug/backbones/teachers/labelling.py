"""Labels of many texts by one fitted backbone: a chunk at a time, each kept in the cache.

What was labelled before a run was killed is not labelled again, nor a text that occurs twice. Labels are kept under the
digests of the backbone and of the text; memory holds the pass of one chunk through the backbone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hf_mner_aug.backbones import Backbone, Marginals, Prediction, ScoredSpan
from hf_mner_aug.backbones.teachers.member import Opinion
from hf_mner_aug.schema import Post
from hf_mner_aug.storage import kept_features

KEPT = "labels-1"  # the folder in the cache, by the form of what is kept
CHUNK = 1024  # texts that are labelled, and then kept, at a time


def label(model: Backbone, digest: str, texts: Sequence[Sequence[str]]) -> list[Opinion]:
    """Return the opinion of a fitted backbone, which has a digest, of each text [n_words]."""
    if hasattr(model, "cache"):  # of an encoder's states, which are much larger than the labels
        model = replace(model, cache=False)
    keys = [hashlib.sha256(json.dumps(list(tokens)).encode()).hexdigest() for tokens in texts]
    found: dict[str, Opinion] = {}
    for at in range(0, len(texts), CHUNK):
        chunk = dict(zip(keys[at : at + CHUNK], texts[at : at + CHUNK], strict=True))
        found |= _label(model, digest, {key: tokens for key, tokens in chunk.items() if key not in found})
    return [found[key] for key in keys]


def _label(model: Backbone, digest: str, texts: Mapping[str, Sequence[str]]) -> dict[str, Opinion]:
    """Return opinions of texts by their keys: those that are kept, and new ones, which are kept now."""
    found = {
        key: opinion for key, data in kept_features.read(digest, texts, KEPT).items() if (opinion := _unpack(data))
    }
    new = [key for key in texts if key not in found]
    if new:
        posts = [Post(key, list(texts[key])) for key in new]
        opinions = dict(zip(new, opinions_of(model, posts), strict=True))
        kept_features.write(digest, {key: _pack(opinion) for key, opinion in opinions.items()}, KEPT)
        found |= opinions
    return found


def opinions_of(model: Any, posts: Sequence[Post]) -> list[Opinion]:
    """Return the opinions of a backbone, with the probabilities of tags if it knows them."""
    if hasattr(model, "marginals"):
        return [_by_marginals(found) for found in model.marginals(posts)]
    return [_by_prediction(prediction) for prediction in model.predict(posts)]


def _is_cut(prediction: Prediction) -> bool:
    """Return whether the last words of a text were not read; these have the confidence 0."""
    return not all(prediction.word_confidences)


def _of_a_part(prediction: Prediction) -> Opinion:
    """Return the opinion of a text that was not read to its end: without confidence, since its labels are not all."""
    return Opinion(tuple(span._replace(confidence=0.0) for span in prediction.spans), outside=0.0)


def _by_marginals(found: Marginals) -> Opinion:
    """Return the opinion of a backbone that knows the probabilities of tags; they are in half precision, as kept."""
    import numpy as np

    if _is_cut(found.prediction):
        return _of_a_part(found.prediction)
    probabilities = np.asarray(found.probabilities, np.float16)
    outside = probabilities[:, found.tags.index("O")]
    return Opinion(found.prediction.spans, float(outside.min(initial=1)), found.tags, probabilities)


def _by_prediction(prediction: Prediction) -> Opinion:
    if _is_cut(prediction):
        return _of_a_part(prediction)
    inside = {i for span in prediction.spans for i in range(span.start, span.end)}
    outside = (p for i, p in enumerate(prediction.word_confidences) if i not in inside)
    unsure = (1 - span.confidence for span in prediction.spans)
    return Opinion(prediction.spans, min([*outside, *unsure], default=1.0))


def _pack(opinion: Opinion) -> bytes:
    head = json.dumps([opinion.spans, opinion.outside, opinion.tags], separators=(",", ":"), ensure_ascii=False)
    return head.encode() + b"\n" + (b"" if opinion.probabilities is None else opinion.probabilities.tobytes())


def _unpack(data: bytes) -> Opinion | None:
    """Return the opinion that was kept; None if the file was written by something else."""
    import numpy as np

    head, _, numbers = data.partition(b"\n")
    try:
        spans, outside, tags = json.loads(head)
        probabilities = np.frombuffer(numbers, np.float16).reshape(-1, len(tags)) if tags else None
        return Opinion(tuple(ScoredSpan(*span) for span in spans), outside, tuple(tags), probabilities)
    except (ValueError, TypeError):
        return None
