"""A config's collection, provenance and limits in Croissant's vocabulary, as JSON-LD beside its data.

Croissant (https://docs.mlcommons.org/croissant) has properties for responsible AI (RAI), and takes those of the PROV
ontology. The Hub describes the files of a repo itself, so this file does not; it follows from augmentation.json alone.
"""

import json
from pathlib import Path
from typing import Any

from hf_mner_aug.publishing.cards import ConfigFacts
from hf_mner_aug.runs.funnel import outcomes
from hf_mner_aug.storage.artifacts import write_atomically

NAME = "croissant.json"
HUB = "https://huggingface.co/datasets/"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "isLiveDataset": "cr:isLiveDataset",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}


def write(facts: ConfigFacts, folder: Path) -> None:
    """Write a config's croissant.json into its folder."""
    data = json.dumps(describe(facts), indent=2, ensure_ascii=False).encode()
    write_atomically(folder / NAME, data + b"\n")


def describe(facts: ConfigFacts) -> dict[str, Any]:
    """Return the description of a config as JSON-LD."""
    recipe, about = facts.recipe, facts.method_facts
    gold, made = (sum(getattr(rows, kind) for rows in facts.splits.values()) for kind in ("gold", "made"))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": recipe.config,
        "description": f"{gold} gold posts of {facts.source.name} and {made} made posts: {recipe.method} {about.does} "
        f"({about.paper}).",
        "license": facts.license,
        "identifier": facts.content_fingerprint,
        **({"inLanguage": list(facts.source.language)} if facts.source.language else {}),
        "isLiveDataset": False,
        **_responsible(facts, gold, made),
        "prov:wasDerivedFrom": _source(facts),
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"{recipe.method}, version {recipe.version}, seed {recipe.seed}, preset {recipe.preset}",
            "identifier": recipe.fingerprint,
            "prov:used": [_source(facts), *({"@type": "prov:Entity", "prov:label": m.id} for m in facts.models)],
            "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": "hf_mner_aug"},
        },
    }


def _responsible(facts: ConfigFacts, gold: int, made: int) -> dict[str, Any]:
    """Return the properties of Croissant RAI."""
    recipe, about, retrieved = facts.recipe, facts.method_facts, bool(facts.retrieved or facts.inherited)
    kinds = ["Secondary Data Analysis", "Web Scraping" if retrieved else "Software Collection"]
    missing = outcomes(facts.funnel, recipe.copies)
    del missing["kept"]
    return {
        "rai:dataCollection": f"The {gold} gold posts are those of {facts.source.name}. The {made} made posts are a "
        f"program's: {recipe.method} {about.does}. It learns {about.learns}. Images: {about.images}. Boxes: "
        f"{about.boxes}.",
        "rai:dataCollectionType": kinds,
        "rai:dataCollectionMissingData": "; ".join(f"{name} {n}" for name, n in missing.items()) or "none",
        "rai:dataPreprocessingProtocol": [f"{name}={json.dumps(value)}" for name, value in recipe.params.items()],
        "rai:dataAnnotationProtocol": f"{_checked(facts)} Labels of gold posts are those of the source."
        f"{f' {facts.told_weights}' if facts.told_weights else ''}",
        "rai:machineAnnotationTools": ["hf_mner_aug", *(model.id for model in facts.models)],
        "rai:dataUseCases": "Training models for multimodal named entity recognition. Made posts are nobody's words.",
        "rai:dataLimitations": [*facts.cautions, "Text of made posts can be ungrammatical or false."],
        "rai:personalSensitiveInformation": "Posts that people wrote name real people and may show their faces.",
        "rai:dataReleaseMaintenancePlan": "hf-mner-aug withdraw removes a post and everything made from it.",
    }


def _checked(facts: ConfigFacts) -> str:
    """Return who decided on the labels of made posts."""
    if facts.review is None:
        return "Labels of made posts follow from how the posts were made, and were not checked by hand."
    made = facts.review.made
    return (
        f"People reviewed the made posts in {facts.review.tool}: {made.accepted} accepted, {made.corrected} corrected, "
        f"{made.rejected} rejected, {made.untouched} not decided on."
    )


def _source(facts: ConfigFacts) -> dict[str, Any]:
    """Return the source: a dataset of the Hub by its address, another one by its name."""
    source = facts.source
    known = {} if source.local else {"@id": f"{HUB}{source.name}"}
    return {**known, "@type": "prov:Entity", "prov:label": source.name, "identifier": facts.recipe.source_fingerprint}
