"""The reasons to reject posts: their meaning, remedies if they reject too many, and those that methods share."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """The meaning of a reason to reject posts, and how to accept more of them.

    ``settings`` are parameters as ``--set`` takes them, ``advice`` is another remedy: a clause that can follow "or".
    """

    meaning: str
    advice: str = ""
    settings: tuple[str, ...] = ()

    def advise(self, tried: Collection[str] = ()) -> str:
        """Return what to do, without the settings already ``tried``; empty if nothing is left."""
        left = " ".join(f"--set {setting}" for setting in self.settings if setting not in tried)
        return ", or ".join(filter(None, [f"try `{left}`" if left else "", self.advice]))

    def __str__(self) -> str:
        return "; ".join(filter(None, [self.meaning, self.advise()]))


UNREADABLE_IMAGE: Mapping[str, Reason] = {
    "unreadable_image": Reason(
        "a picture cannot be decoded", "replace the pictures that `hf-mner-aug validate` names, or leave them out"
    )
}
WORD_COUNT: Mapping[str, Reason] = {
    "word_count": Reason("the text has too few words, or too many", "take longer posts", ("least_words=1",))
}
# Why a teacher's labels (``backbones.teachers``) are not taken.
TEACHER: Mapping[str, Reason] = {
    "no_entity_found": Reason("the teacher finds no entity in the text", "take other texts", ("require_entity=false",)),
    "unsure": Reason(
        "the teacher's confidence in an entity is below `min_confidence`",
        "take a stronger teacher: `--set teacher=BACKBONE`",
        ("min_confidence=0.3",),
    ),
    "no_answer": Reason("the endpoint gives no text", "name another model, or raise its `max_tokens`"),
    "not_json": Reason("the answer is not JSON", "name another model, or raise its `max_tokens`"),
    "off_schema": Reason("the answer is JSON of another form", "name another model"),
    "not_in_text": Reason("a mention of the answer is not in its text", "name another model"),
    "malformed": Reason("the answer's spans overlap, or are of an unknown type", "name another model"),
}
# What a teacher notes on the posts that it labels, as numbers from 0 to 1.
TEACHER_SCORES: Mapping[str, str] = {
    "confidence": "the teacher's confidence in the post's least sure entity",
    "agreement": "the share of the teacher's members that find the entity that fewest of them find",
}
# Made posts that publishing drops, whatever the method.
DROPPED: Mapping[str, Reason] = {
    "duplicate": Reason("a gold or earlier post has the same words and labels", "take another seed, or another method"),
    "leak_id": Reason("it comes from a post of validation or test", "take other posts as train or as corpus"),
    "leak_text": Reason("its text occurs in validation or test", "take other posts as train or as corpus"),
    "leak_image": Reason("its picture occurs in validation or test", "take other posts as train or as corpus"),
    "picture_used": Reason(
        "too many made posts show the same train picture", "fit on more posts with pictures, or name a pipeline"
    ),
}
# Why an image engine returns no picture.
NO_PICTURE: Mapping[str, Reason] = {
    "unsafe_image": Reason("a model calls the new picture unsafe", "name another pipeline"),
    "black_image": Reason("the new picture is black, the output of a safety checker", "name another pipeline"),
    "no_region": Reason(
        "no other train post with a picture shares a word with the text",
        "fit on more posts with pictures, or name a pipeline",
    ),
}
NO_ORIGINAL: Mapping[str, Reason] = {
    "no_original": Reason(
        "the post has no picture that can be restyled", "take posts with pictures, or name another image model"
    )
}
