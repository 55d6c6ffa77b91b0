"""Draw the pictures of the methods' pages: a post of the sample set, and what each method makes of it.

``python docs/pictures.py`` writes ``docs/methods/pictures/NAME.png``; names after it draw these methods alone.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from hf_mner_aug import load_sample
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.posts.pictures import open_rgb
from hf_mner_aug.schema import Codec, EncodedImage, Post, read_provenance

FOLDER = Path(__file__).parent / "methods" / "pictures"
# Of each method: its parameters, the post of the sample set, and the copies of it that are drawn.
SHOWN: Mapping[str, tuple[Mapping[str, Any], str, tuple[int, ...]]] = {
    "eda": ({"copies": 9}, "sample-train-0006", (0, 2, 8, 5)),
    "lsms": ({"copies": 9}, "sample-train-0005", (0, 1, 2, 7)),
    "llm_da": ({"copies": 9}, "sample-train-0007", (1, 2, 0, 8)),
    "daga": ({"copies": 2, "epochs": 10, "embedding": 64, "hidden": 128}, "sample-train-0005", (0, 1)),
    "melm": ({"copies": 3}, "sample-train-0005", (0, 1)),
    "mixgen": ({}, "sample-train-0005", (0,)),
    "gmda": ({}, "sample-train-0005", (0,)),
    "amia": ({}, "sample-train-0539", (0,)),
    "rmda": ({"copies": 1}, "sample-train-0058", (0,)),
    "memory_hard": ({"copies": 1}, "sample-train-0018", (0,)),
}
IN_ONE = ("eda", "lsms", "melm")  # their words are drawn with those that went

WIDTH, MARGIN, PICTURE, GAP = 780, 24, 216, 22  # pixels
SIZE, LINE = 30, 46
INK, FAINT, PAPER, EDGE, GONE, NEW = "#1f2430", "#667085", "#ffffff", "#d0d5dd", "#c0362c", "#1a7f37"
TINTS = {"PER": "#fde2c8", "LOC": "#cfe8cf", "ORG": "#d3e3fd", "MISC": "#e9d9f7"}


class Word(NamedTuple):
    """A word as it is drawn: its entity's type, whether it ends that, and the colour of its change."""

    text: str
    kind: str = ""
    last: bool = True
    color: str = ""


@dataclass(frozen=True)
class Shown:
    """A post as it is drawn."""

    caption: str
    words: Sequence[Word]
    picture: EncodedImage | None = None


def made_of(name: str) -> list[Shown]:
    """Return a post of the sample set and what a method makes of it."""
    settings, identity, copies = SHOWN[name]
    sample = load_sample()
    gold = sample["train"].select([sample["train"]["id"].index(identity)])
    method = method_class(name)(**settings).fit(sample["train"], validation=sample["validation"], progress=False)
    rows = method.map(gold)
    notes = [read_provenance(text, identity).get("details", {}) for text in rows["provenance"]]
    before, made = _posts(gold)[0], _posts(rows)
    shown = [Shown("before", words_of(before), before.images[0])]
    if method.content.sourceless:
        return [Shown(caption(name, notes[i]), words_of(made[i]), made[i].images[0]) for i in copies]
    if exhibits := method.exhibits():
        shown += [Shown("drawn for the text", (), picture) for picture in exhibits.stages([before])[0].values()]
    for copy in copies:
        words, picture = changed(before, made[copy], struck=name in IN_ONE), made[copy].images[0]
        shown.append(Shown(caption(name, notes[copy]), words, None if picture == before.images[0] else picture))
    return shown


def _posts(rows: Any) -> list[Post]:
    codec = Codec(rows.features)
    return [codec.to_post(row) for row in rows.with_format("arrow")[:].to_pylist()]


def words_of(post: Post) -> list[Word]:
    """Return the words of a post as they are drawn."""
    inside = {i: (e.type, i == e.end - 1) for e in post.entities for i in range(e.start, e.end)}
    return [Word(text, *inside.get(i, ("", True))) for i, text in enumerate(post.tokens)]


def changed(before: Post, after: Post, *, struck: bool) -> list[Word]:
    """Return the words of a made post, new ones in colour; with ``struck`` those that went stand there struck."""
    old, new, found = words_of(before), words_of(after), list[Word]()
    for kind, i, end, j, stop in SequenceMatcher(None, before.tokens, after.tokens, autojunk=False).get_opcodes():
        if kind == "equal":
            found += new[j:stop]
        else:
            found += [word._replace(kind="", color=GONE) for word in old[i:end] if struck]
            found += [word._replace(color=NEW) for word in new[j:stop]]
    return found


def caption(name: str, note: Mapping[str, Any]) -> str:
    """Return what a method says of a made post, in a few words."""
    told = {
        "eda": lambda: note["operation"],
        "lsms": lambda: note["operation"],
        "llm_da": lambda: {"entity": "other names", "both": "other names in another context"}.get(
            note["operation"], note["operation"]
        ),
        "daga": lambda: "written anew, with train's nearest picture",
        "melm": lambda: "words of entities predicted anew",
        "mixgen": lambda: f"mixed with {note['post_id']}",
        "amia": lambda: f"mixed: {note['matching_score']:.0%} of the original, as the two match",
        "gmda": lambda: "written for the same entities, with a picture for the text",
        "rmda": lambda: f"found in train: {note['post_id']}",
        "memory_hard": lambda: f"written for the pattern: {note['pattern']}",
    }
    return f"after: {told[name]()}"


def draw(shown: Sequence[Shown]) -> Image.Image:
    """Return the posts, one below the other."""
    canvas = Image.new("RGB", (WIDTH, 4000), PAPER)
    pen = ImageDraw.Draw(canvas)
    y = MARGIN
    for one in shown:
        pen.text((MARGIN, y), one.caption, FAINT, ImageFont.load_default(SIZE - 4))
        y += LINE - 6
        left, below = MARGIN, y
        if one.picture:
            picture = open_rgb(one.picture)
            size = (PICTURE, round(PICTURE * picture.height / picture.width))
            canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), (MARGIN, y))
            left, below = MARGIN + PICTURE + GAP, y + size[1]
        y = max(below, _draw_words(pen, one.words, left, y)) + GAP
    return canvas.crop((0, 0, WIDTH, y + MARGIN - GAP))


def _draw_words(pen: ImageDraw.ImageDraw, words: Sequence[Word], left: int, y: int) -> int:
    """Draw words, entities tinted, new ones underlined, others struck; return where they end."""
    font, small = ImageFont.load_default(SIZE), ImageFont.load_default(SIZE - 9)
    x = left
    for word in words:
        label = word.kind if word.last else ""
        of_text = int(pen.textlength(word.text, font))
        width = of_text + (int(pen.textlength(label, small)) + 8 if label else 0)
        if x + width > WIDTH - MARGIN and x > left:
            x, y = left, y + LINE
        if word.kind:
            pen.rounded_rectangle((x - 4, y, x + width + 4, y + LINE - 6), 5, TINTS.get(word.kind, EDGE))
        pen.text((x, y + 1), word.text, word.color or INK, font)
        if word.color:
            at = y + (LINE // 2 - 1 if word.color == GONE else LINE - 8)
            pen.line((x, at, x + of_text, at), word.color, 2)
        pen.text((x + of_text + 7, y + 9), label, FAINT, small)
        x += width + (14 if label else 8)
    return y + LINE


def main(names: Sequence[str]) -> None:
    """Draw the pictures of some methods, or of all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or METHODS:
        path = FOLDER / f"{name}.png"
        draw(made_of(name)).quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
