"""The preset ``paper`` of memory_hard, after a summary of Liu et al. 2026, not the paper's text.

The summary is second-hand, and nobody here has checked it against the paper: ten folds; hard is any prediction unlike
its label; four errors at the top of the tree; patterns of clusters, merged by a language model over each error; posts
judged by a language model instead of by backbones; new pictures whose caption is like their description (cosine 0.5);
Stable Diffusion 3.5 Large. What it does not say is as elsewhere in this package: prompts, the clusters, the sentence
encoder, that suspected label errors are set aside, that drafts must differ from train, and that the model that writes
also judges (the paper is said to fine-tune one).
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods.memory_hard.pictures import readable_picture
from hf_mner_aug.models.patterns import chat_engine
from hf_mner_aug.models.patterns.endpoint import PatternEndpoint
from hf_mner_aug.models.patterns.engine import PatternEngine
from hf_mner_aug.reasons import Reason
from hf_mner_aug.schema import Post

PIECES = ("hard", "coarse", "merge", "judge", "shows_images", "caption_similarity")
ASKING = ("merge", "judge", "shows_images", "caption_similarity")  # those that need a language model
PRESET: Mapping[str, Any] = {
    "folds": 10,
    "seeds": 1,
    "hard": "any",
    "spurious": True,
    "coarse": True,
    "merge": True,
    "judge": True,
    "detector": "",
    "shows_images": True,
    "caption_similarity": 0.5,
    "encoder": "princeton-nlp/sup-simcse-roberta-large",
    "image_model": "stabilityai/stable-diffusion-3.5-large",
    "steps": 28,
    "guidance": 3.5,
}
REJECTS: Mapping[str, Reason] = {
    "unsupported": Reason(
        "the language model says that the text does not support the labels",
        "name another model",
        ("attempts=6",),
    ),
    "unlike_picture": Reason(
        "the new picture's description is unlike what the picture was drawn for",
        "name another pipeline, or pass a lower `caption_similarity`",
    ),
}
STABILITY = "stabilityai/stable-diffusion-3.5"


def check(method: Any) -> None:
    """Raise UsageError if a piece of the preset lacks what it needs, or ``encoder`` the piece that it is for."""
    given = [name for name in ASKING if getattr(method, name)]
    if given and chat_engine(method.engine) is None:
        raise UsageError(
            f"memory_hard: {', '.join(given)} (of the preset paper) ask a language model, and engine="
            f"{method.engine.partition(':')[0]} has none: pass engine=endpoint:URL#MODEL"
        )
    if bool(method.caption_similarity) != bool(method.encoder):
        raise UsageError(
            "memory_hard: caption_similarity compares sentences by an encoder: pass both, encoder=ID, or none of them"
        )
    if method.merge and not method.tree:
        raise UsageError("memory_hard: merge is for patterns, and tree=false has none: leave one of them out")


def looks(method: Any) -> tuple[str, ...]:
    """Return the parameters for which a method's language model looks at pictures."""
    compares = method.image and bool(method.caption_similarity)
    return ("shows_images",) * method.shows_images + ("caption_similarity",) * compares


def cautions(method: Any) -> list[str]:
    """Return sentences for the card on the pieces that a method uses, its server's eyes and its pictures' licence."""
    found = []
    if used := [name for name in PIECES if name in method.params]:
        found.append(f"{', '.join(used)}: after a summary of the paper, not its text, and not checked against it.")
    fitted = method.artifact is not None
    if fitted and method.learned.get("sees") is False:
        without = " and ".join(looks(method))
        found.append(
            f"The language model saw no pictures (train has none, or its server takes none): {without} had no effect."
        )
    drawn = method.image and (not fitted or method.learned["pictures"] or method.fill_missing)
    if drawn and method.image_model.startswith(STABILITY):
        found.append(
            f"{method.image_model.partition('@')[0]} is under the Stability AI Community License: commercial use is "
            "free below a yearly revenue of USD 1 million, and its acceptable use policy holds for the pictures."
        )
    return found


def sees(method: Any, engine: PatternEngine, posts: Iterable[Post]) -> bool:
    """Return whether the language model takes pictures, tried with one of train; tell where it does not."""
    assert isinstance(engine, PatternEndpoint)
    picture = next((image for post in posts if (image := readable_picture(post))), None)
    refused = engine.sees(picture) if picture else "no post of train has a picture"
    if refused:
        told = " and ".join(looks(method))
        warnings.warn(f"memory_hard: {told} without effect: {refused}", stacklevel=4)
    return not refused
