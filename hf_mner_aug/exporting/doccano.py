"""Doccano: JSON Lines with ``text`` and ``label`` for a project of sequence labelling, and the list of labels.

Spans are ``[start, end, label]`` (``SpanLabel`` in ``backend/data_import/pipeline/label.py``); columns that are neither
text nor label become a post's metadata, and come back in its export. It stores offsets as its page counts them: in
UTF-16 units, unless the project counts grapheme clusters (its issue 2290). It shows no picture beside a text.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_mner_aug.exporting.label_studio import COLOURS
from hf_mner_aug.exporting.layout import IMAGES, REJECT, About, Outgoing, Target, labelled, reject_label, utf16
from hf_mner_aug.schema import canonical_json

POSTS, LABELS = "posts.jsonl", "labels.json"
_KEYS = "1234567890abcdefghijklmnopqrstuvwxyz"
GUIDE = f"""1. Make a project of the type Sequence Labeling. Leave "Count grapheme clusters as one character" off.
2. In Labels, import `{LABELS}`.
3. In Dataset, import `{POSTS}` as JSONL; the columns are `text` and `label`.
4. The picture of a post is in `{IMAGES}/`; its name stands in the post's metadata (Doccano shows no picture beside a
   text).
5. Correct the labels. Delete a post that cannot be mended, or give any of its words the label {REJECT}.
6. Export as JSONL. Posts that are not in that file count as untouched."""


def write(posts: Iterator[Outgoing], folder: Path, about: About) -> None:
    """Write the posts and the list of labels."""
    labels: set[str] = set()
    with (folder / POSTS).open("w", encoding="utf-8", newline="\n") as file:
        for post in posts:
            record = _record(post, about)
            labels.update(label for _, _, label in record["label"])
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    listed = [
        {
            "text": label,
            "prefix_key": None,
            "suffix_key": _KEYS[i] if i < len(_KEYS) else None,
            "background_color": COLOURS[i % len(COLOURS)],
            "text_color": "#ffffff",
        }
        for i, label in enumerate([*about.labels(sorted(labels)), reject_label(about.types)])
    ]
    (folder / LABELS).write_text(json.dumps(listed, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _record(post: Outgoing, about: About) -> dict[str, Any]:
    text, mentions = labelled(post.post, about.joiner)
    units = utf16(text)
    return {
        "text": text,
        "label": [[units[start], units[end], label] for start, end, label, _ in mentions],
        **post.origin(about.config),
        "image": ", ".join(f"{IMAGES}/{name}" for name in post.pictures),
        "provenance": canonical_json(post.provenance),
    }


TARGET = Target(
    name="doccano",
    title="Doccano",
    write=write,
    guide=GUIDE,
    reviews=True,
)
