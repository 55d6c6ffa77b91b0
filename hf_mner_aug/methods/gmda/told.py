"""Sentences on the texts and pictures of GMDA, for users of its rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_mner_aug.backbones import detectors as filters
from hf_mner_aug.backbones.teachers import teacher_of, told_teacher
from hf_mner_aug.models.image.engine import COLLAGE
from hf_mner_aug.models.text import TEMPLATES, free
from hf_mner_aug.storage.names import told_list

if TYPE_CHECKING:
    from hf_mner_aug.methods.gmda import GMDA


def cautions_of(method: "GMDA") -> tuple[str, ...]:
    """Return what users of a method's rows must know."""
    found = []
    if method.text and method.text_model == TEMPLATES:
        found.append(
            "The texts are other train posts with this post's entities written into them (the column "
            "provenance names them as made_of): what they say of these entities is made up."
        )
    elif method.text:
        told = " The column provenance names the train posts that it was shown as made_of." if method._chat else ""
        found.append(f"The texts are a model's: what they say of people, places and companies is made up.{told}")
    if method.ask == free.FREE:
        found.append(_told_free(method))
    found += told_list(method.mentions)
    if teacher := teacher_of(method):
        found += told_teacher(method, teacher)
    if method.artifact is not None and method._learns_to_write:
        found += _cut(method._text_engine().training())  # type: ignore[attr-defined]
    if method.artifact is not None:
        found += filters.told_sample(method.learned)
    if method.image if method.artifact is None else method._makes_pictures:
        found.append(_told_pictures(method))
    if method.artifact is not None and method._codec().boxed and method.learned["pictures"]:
        checked = "whether the new picture shows them there is not checked"
        told = "the detectors find them there in the new one" if method.check_boxes else checked
        found.append(f"Boxes are those of the original picture, on entities with the same words; {told}.")
    return tuple(found)


def _told_free(method: "GMDA") -> str:
    """Return a sentence on the texts that are asked for freely."""
    part = "In the" if method.free_share == 1 else f"In about {method.free_share:.0%} of the"
    labels = "" if method.labels == "teacher" else "names and labels may be wrong, no detector checks them, and "
    return (
        f"{part} texts (provenance: ask is free) the entities are the model's own as well: {labels}source_id only "
        "names the post by whose draw a text was made."
    )


def _told_pictures(method: "GMDA") -> str:
    """Return a sentence on the origin of the pictures, and on posts without one."""
    maker = (
        "collages of train pictures over" if method.image_model == COLLAGE else f"what {method.image_model} drew from"
    )
    missing = " Posts without one " + ("have one drawn for the text." if method.fill_missing else "stay without.")
    if method.artifact is not None and not method.learned["pictures"]:
        maker, missing = f"what {method.image_model} drew for the text, as no post of train has", ""
        return f"The pictures are {maker} one: their files say so (IPTC's DigitalSourceType)."
    return f"The pictures are {maker} the original: their files say so (IPTC's DigitalSourceType).{missing}"


def _cut(training: Mapping[str, Any]) -> list[str]:
    """Return sentences on texts that were cut, pictures that were unreadable and batches that were halved."""
    counts, limits, found = training["counts"], training["settings"], []
    for split in ("train", "validation"):
        cut = [
            f"{counts[f'{split}_{kind}_cut']} {kind} cut at {limits[limit]} tokens"
            for kind, limit in (("texts", "max_text"), ("instructions", "max_instruction"))
            if f"{split}_{kind}_cut" in counts
        ]
        if f"{split}_images_unreadable" in counts:
            cut.append(f"{counts[f'{split}_images_unreadable']} pictures that could not be read")
        if cut:
            found.append(f"The text model was given {counts[f'{split}_posts']} posts of {split}: {', '.join(cut)}.")
    if "halved" in counts:
        found.append(f"Memory ran out during training: batches were halved, times: {counts['halved']}.")
    return found
