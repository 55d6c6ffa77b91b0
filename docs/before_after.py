"""Draw ``assets/before-after.png``: a post of the sample set and the post that gmda makes of it.

Run it from the repository root: python docs/before_after.py
"""

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from hf_mner_aug import GMDA, load_sample
from hf_mner_aug.schema import Codec, Post

POST = "sample-train-0029"
COLOURS = {"PER": "#1f6feb", "LOC": "#1a7f37", "ORG": "#9a6700", "MISC": "#8250df"}
WIDTH, HEIGHT, SIDE, GAP = 760, 170, 140, 16  # of a card and its picture, in pixels


def draw_words(sheet: ImageDraw.ImageDraw, post: Post, left: int, top: int, right: int) -> None:
    """Draw a post's words between two edges, with its entities in the colour of their type."""
    font, small = ImageFont.load_default(19), ImageFont.load_default(12)
    types = {i: entity.type for entity in post.entities for i in range(entity.start, entity.end)}
    last = {entity.end - 1: entity.type for entity in post.entities}
    x, y = left, top
    for i, word in enumerate(post.tokens):
        label = f" {last[i]}" if i in last else ""
        width = sheet.textlength(word, font) + sheet.textlength(label, small)
        if x + width > right:
            x, y = left, y + 30
        colour = COLOURS.get(types.get(i, ""), "#24292f")
        sheet.text((x, y), word, colour, font)
        if label:
            sheet.text((x + sheet.textlength(word, font), y - 3), label, colour, small)
        x += int(width + sheet.textlength(" ", font)) + 1


def draw_card(post: Post, title: str) -> Image.Image:
    """Return a post as a card: its picture, a title and its words."""
    card = Image.new("RGB", (WIDTH, HEIGHT), "white")
    sheet = ImageDraw.Draw(card)
    sheet.rounded_rectangle((0, 0, WIDTH - 1, HEIGHT - 1), 10, outline="#d0d7de", width=2)
    picture = Image.open(io.BytesIO(post.images[0]["bytes"])).convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    card.paste(picture, (GAP + (SIDE - picture.width) // 2, (HEIGHT - picture.height) // 2))
    sheet.text((SIDE + 2 * GAP, GAP), title, "#57606a", ImageFont.load_default(15))
    draw_words(sheet, post, SIDE + 2 * GAP, GAP + 34, WIDTH - GAP)
    return card


def main() -> None:
    """Make the new post, and draw both one below the other."""
    train = load_sample()["train"]
    gmda = GMDA().fit(train)
    chosen = train.filter([POST].__contains__, input_columns="id")
    (gold,) = chosen.with_format("arrow")[:].to_pylist()
    (made,) = gmda.map(chosen).with_format("arrow")[:].to_pylist()
    cards = [
        draw_card(Codec(train.features).to_post(gold), "gold post"),
        draw_card(Codec(gmda.features).to_post(made), "made by gmda: new words, new picture, labels that fit"),
    ]
    page = Image.new("RGB", (WIDTH, 2 * HEIGHT + GAP), "white")
    for i, card in enumerate(cards):
        page.paste(card, (0, i * (HEIGHT + GAP)))
    page.quantize(128).save(Path(__file__).parent / "assets" / "before-after.png", optimize=True)


if __name__ == "__main__":
    main()
