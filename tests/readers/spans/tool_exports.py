"""Exports of annotation tools as sets: their posts, and what the report counts."""

import json

from hf_mner_aug.readers import read
from hf_mner_aug.schema import bio_to_spans


def write_lines(path, *records):
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def write_array(path, *records):
    """Write a JSON array."""
    path.write_text(json.dumps(records, ensure_ascii=False), "utf-8")
    return path


def posts(name, path, **options):
    """Return the entities of each post by its id: type and words."""
    reading = read(name, path, **options)
    names = reading.features["ner_tags"].feature.names
    found = {}
    for split in reading.splits:
        for row in reading.rows(split):
            spans = bio_to_spans([names[tag] for tag in row["ner_tags"]])
            found[row["id"]] = [(kind, " ".join(row["tokens"][start:end])) for start, end, kind in spans]
    return found


def counts(name, path, **options):
    """Return the counters of train that are not zero, of those that posts and spans left out have."""
    found = read(name, path, **options).report.splits["train"]
    kinds = ("bad_lines", "rejected", "unlabelled", "other_annotations", "rejected_spans", "discontinuous")
    kinds += ("left_relations", "nested_spans", "snapped", "empty_posts")
    return {kind: count for kind in kinds if (count := getattr(found, kind))}
