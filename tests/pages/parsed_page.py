"""A small config, its page, and the elements of this."""

import io
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser

from datasets import Dataset, Features, Value
from PIL import Image as Pillow

from hf_mner_aug.pages.config import read_sheet
from hf_mner_aug.publishing.cards import ConfigFacts, SplitFacts
from hf_mner_aug.runs.ledger import run_folder
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import Codec, augmented_features
from hf_mner_aug.sources.facts import SourceFacts
from hf_mner_aug.storage.parquet import write_shards, write_table

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img/onerror=alert(2)>',
    "'onmouseover='x",
    "</style></p></body>",
    "{{7*7}}",
    "&lt;b&gt;",
    "\u202eevil\u2069",
    "nul\x00nul\x1b[31m",
    "x" * 500,
    "👩‍👩‍👧",
    "]]>-->",
]


TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title link style body header main section article h1 h2 h3 h4 p div dl dt dd ul li table "
        "caption thead tr th td mark small bdi del ins b figure figcaption img span details summary",
    )
)


HARMLESS = {0: "\\x00", 0x1B: "\\x1b", 0x202E: "\\u202e", 0x2069: "\\u2069"}


class Node(HTMLParser):
    """An element of a page, and the parser of it: tag, attributes, children (elements and text)."""

    def __init__(self, tag="", attributes=()):
        super().__init__()
        self.tag, self.attributes, self.children = tag, dict(attributes), []
        self.open = [self]

    def handle_starttag(self, tag, attrs):
        node = Node(tag, attrs)
        self.open[-1].children.append(node)
        if tag not in ("meta", "link", "img"):
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Node(tag, attrs))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.open[-1].children.append(data)

    def find(self, tag, classes=None):
        """Return the elements of a tag, of some class, in the order of the page."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                if child.tag == tag and (classes is None or classes in child.attributes.get("class", "").split()):
                    found.append(child)
                found += child.find(tag, classes)
        return found

    def find_all(self):
        """Return every element."""
        children = [child for child in self.children if isinstance(child, Node)]
        return children + [node for child in children for node in child.find_all()]

    def text(self, without=()):
        """Return the text inside, whitespace folded, without that of some tags."""
        parts = [
            c if isinstance(c, str) else c.text(without) for c in self.children if getattr(c, "tag", "") not in without
        ]
        return " ".join("".join(parts).split())


def parse(html):
    page = Node()
    page.feed(html)
    page.close()
    assert page.open == [page], "an element is not closed"
    return page


def look(folder, config="c", **chosen):
    return parse(read_sheet(folder, config, **chosen).to_html())


def cells(article):
    """Return the cells before and after of a card."""
    return article.find("section")


def words(cell):
    """Return a cell's text without the labels."""
    return cell.find("p", "text")[0].text(without=("small", "sup"))


def photo(width, height, kind="PNG", colour=(200, 30, 30), **options):
    buffer = io.BytesIO()
    Pillow.new("RGB", (width, height), colour).save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": f"x.{kind.lower()}"}


def write_config(folder, features, gold, made, *, others=None, rejects=(), split="train", copies=1):
    """Write a config ``c`` of posts as ``publish`` would: gold ones, and made ones with the id they are made of."""
    features = Features({**features, **(others or {})})
    codec, every = Codec(features), augmented_features(features)
    rows = []
    for post in gold:
        rows.append({**codec.to_row(post), "source_id": post.id, "method": "gold", "provenance": "{}"})
    for post, source in made:
        provenance = json.dumps({"params": {}, "seed": 0, "details": dict(post.details)})
        rows.append({**codec.to_row(post), "source_id": source, "method": "lsms", "provenance": provenance})
    extra = {name: [None] * len(rows) for name in others or ()}
    table = Dataset.from_dict({**extra, **{n: [r[n] for r in rows] for n in rows[0]}}, features=every)
    return write_rows(folder, table, len(gold), len(made), rejects=rejects, split=split, copies=copies)


def write_rows(folder, dataset, gold, made, *, rejects=(), split="train", copies=1):
    recipe = Recipe(method="lsms", config="c", copies=copies)
    write_shards([dataset.with_format("arrow")[:]], folder / "c", split, dataset.features)
    counts = {reason: sum(r["reason"] == reason for r in rejects) for reason in sorted({r["reason"] for r in rejects})}
    facts = ConfigFacts(
        recipe=recipe,
        source=SourceFacts("the <source>"),
        splits={split: SplitFacts(gold, made, 1)},
        funnel={"posts": made + len(rejects), "made": made, "rejected": counts, "dropped": {}, "kept": made},
        entities={},
        examples=(),
        content_fingerprint="0" * 64,
    )
    bound = {"recipe_fingerprint": recipe.fingerprint, "digests": {"columns": {}, "rows": {}}}
    (folder / "c" / "augmentation.json").write_text(json.dumps({**asdict(facts), **bound}))
    if rejects:
        columns = Features(
            {name: Value(kind) for name, kind in zip(rejects[0], ("string", "int32", "string", "string"), strict=True)}
        )
        path = run_folder(recipe, folder) / "rejected" / "00000.parquet"
        path.parent.mkdir(parents=True)
        write_table(path, Dataset.from_list(list(rejects), features=columns).with_format("arrow")[:], columns)
    return folder
