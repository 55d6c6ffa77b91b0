"""Label Studio: tasks with the labels as predictions, and a labelling configuration.

Tasks are in its basic JSON format, https://labelstud.io/guide/tasks; labels to correct are predictions,
https://labelstud.io/guide/predictions; pictures are files that it serves, https://labelstud.io/guide/storage. Offsets
are code points: its editor converts them (``findRange`` in ``web/libs/editor/src/utils/selection-tools.js``).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from hf_mner_aug.exporting.layout import IMAGES, About, Outgoing, Target, labelled
from hf_mner_aug.readers.spans.label_studio import REJECTED, VERDICT

TASKS, CONFIG = "tasks.json", "label-config.xml"
LABEL, TEXT = "label", "text"  # names of the configuration's controls
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46b3b3", "#9a6324", "#808000", "#000075", "#808080")
GUIDE = f"""1. In this folder, start Label Studio so that it may read the pictures:

   ```bash
   export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
   export LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="$(dirname "$PWD")"
   label-studio start
   ```

2. Make a project; in Settings, Labeling Interface, Code, paste `{CONFIG}`.
3. Where there are pictures: in Settings, Cloud Storage, add a source storage of the type Local files with the absolute
   path of `{IMAGES}/`. Do not synchronise it: that would make a task of each picture.
4. Import `{TASKS}`. Each post opens with its labels as predictions.
5. Submit a post that is right, correct one that is not and submit it, and tick {REJECTED} (or skip the post) where it
   cannot be mended.
6. Export as JSON. Posts without an annotation are not in that file: they count as untouched."""


def write(posts: Iterator[Outgoing], folder: Path, about: About) -> None:
    """Write the tasks and the labelling configuration."""
    labels: set[str] = set()
    with (folder / TASKS).open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for i, post in enumerate(posts):
            task = _task(post, about)
            labels.update(region["value"]["labels"][0] for region in task["predictions"][0]["result"])
            file.write((",\n" if i else "\n") + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")
    (folder / CONFIG).write_text(_configuration(about.labels(sorted(labels)), about), encoding="utf-8", newline="\n")


def _task(post: Outgoing, about: About) -> dict[str, Any]:
    text, mentions = labelled(post.post, about.joiner)
    regions = [
        {
            "id": f"e{i}",
            "from_name": LABEL,
            "to_name": TEXT,
            "type": "labels",
            "value": {"start": start, "end": end, "text": surface, "labels": [label]},
        }
        for i, (start, end, label, surface) in enumerate(mentions)
    ]
    urls = [f"/data/local-files/?d={quote(f'{about.folder}/{IMAGES}/{name}')}" for name in post.pictures]
    shown = {"images": urls} if about.several else {"image": urls[0] if urls else ""}
    return {
        "data": {TEXT: text, **shown, **post.origin(about.config)},
        "meta": {"provenance": post.provenance},
        "predictions": [{"model_version": about.config, "result": regions}],
    }


def _configuration(labels: Sequence[str], about: About) -> str:
    """Return the labelling configuration, in which blanks of the text are kept."""
    shown = 'valueList="$images"' if about.several else 'value="$image"'
    choices = "\n".join(
        f"    <Label value={quoteattr(label)} background={quoteattr(COLOURS[i % len(COLOURS)])}/>"
        for i, label in enumerate(labels)
    )
    return f"""<View>
  <Style>.htx-text {{ white-space: pre-wrap; }}</Style>
  <Labels name="{LABEL}" toName="{TEXT}">
{choices}
  </Labels>
  <Text name="{TEXT}" value="$text"/>
  <Choices name="{VERDICT}" toName="{TEXT}" choice="single" showInline="true">
    <Choice value="{REJECTED}"/>
  </Choices>
  <Image name="image" {shown}/>
</View>
"""


TARGET = Target(
    name="label-studio",
    title="Label Studio",
    write=write,
    guide=GUIDE,
    reviews=True,
)
