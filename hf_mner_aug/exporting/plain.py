"""Files for other programs: JSON Lines with character spans, words and tags in columns, spaCy's ``.spacy``."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from hf_mner_aug.exporting.layout import About, Outgoing, Target, label_of, labelled
from hf_mner_aug.need import need
from hf_mner_aug.schema import spans_to_bio

STEMS = {"validation": "valid"}  # names of splits in the usual files
ORIGINS = "origins.jsonl"
GUIDE = "`hf-mner-aug convert {name} {folder} --images {folder}/images{more} --out DIR` reads these files again."


def write_spans(posts: Iterator[Outgoing], folder: Path, about: About) -> None:
    """Write ``SPLIT.jsonl``: text and character spans in code points, with the origin of each post."""
    for split, group in groupby(posts, key=lambda post: post.split):
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            for post in group:
                file.write(json.dumps(_spans(post, about), ensure_ascii=False) + "\n")


def _spans(post: Outgoing, about: About) -> dict[str, Any]:
    text, mentions = labelled(post.post, about.joiner)
    spans = [{"start": start, "end": end, "label": label} for start, end, label, _ in mentions]
    origin = {name: value for name, value in post.origin(about.config).items() if name != "post_id"}
    shown = {"images": list(post.pictures)} if about.several else {"image": next(iter(post.pictures), None)}
    return {"id": post.post.id, "text": text, "spans": spans, **shown, **origin, "provenance": post.provenance}


def write_conll(posts: Iterator[Outgoing], folder: Path, about: About) -> None:
    """Write ``SPLIT.txt``: comments with the origin, a word, a tab and a BIO tag on each line, a blank line."""
    for split, group in groupby(posts, key=lambda post: post.split):
        with (folder / f"{STEMS.get(split, split)}.txt").open("w", encoding="utf-8", newline="\n") as file:
            for post in group:
                source = [f"# source_id {post.source_id}"] if post.source_id is not None else []
                told = [f"# id {post.post.id}", *source, f"# method {post.method}"]
                file.write("\n".join([*told, f"# config {about.config}", *_lines(post), "", ""]))


def write_imgid(posts: Iterator[Outgoing], folder: Path, about: About) -> None:
    """Write ``SPLIT.txt``: ``IMGID:`` and the stem of the post's pictures, which is its id wherever that can be one."""
    with (folder / ORIGINS).open("w", encoding="utf-8", newline="\n") as origins:
        for split, group in groupby(posts, key=lambda post: post.split):
            with (folder / f"{STEMS.get(split, split)}.txt").open("w", encoding="utf-8", newline="\n") as file:
                for post in group:
                    file.write("\n".join([f"IMGID:{post.stem}", *_lines(post), "", ""]))
                    origin = {**post.origin(about.config), "provenance": post.provenance}
                    origins.write(json.dumps(origin, ensure_ascii=False) + "\n")


def _lines(post: Outgoing) -> list[str]:
    tags = spans_to_bio([(e.start, e.end, label_of(e)) for e in post.post.entities], len(post.post.tokens))
    return [f"{word}\t{tag}" for word, tag in zip(post.post.tokens, tags, strict=True)]


def write_spacy(posts: Iterator[Outgoing], folder: Path, about: About) -> None:
    """Write ``SPLIT.spacy``: a DocBin whose docs have the set's own words, and their origin as user data.

    Raises:
        MissingExtra: spaCy is not installed.
    """
    tokens = need("spacy.tokens", extra="formats")
    vocab = need("spacy.vocab", extra="formats").Vocab()
    pack = need("srsly.msgpack", extra="formats").Packer(use_bin_type=True).pack
    for split, group in groupby(posts, key=lambda post: post.split):
        docs = tokens.DocBin()
        for post in group:
            words = list(post.post.tokens)
            tags = spans_to_bio([(e.start, e.end, label_of(e)) for e in post.post.entities], len(words))
            spaces = [bool(about.joiner)] * (len(words) - 1) + [False]
            docs.add(tokens.Doc(vocab, words=words, spaces=spaces, ents=tags))
            origin = {**post.origin(about.config), "images": list(post.pictures)}
            docs.user_data.append(pack({**origin, "provenance": json.dumps(post.provenance)}))
        docs.store_user_data = True  # only now: add would look for msgpack's plug-ins again for each doc
        docs.to_disk(folder / f"{split}.spacy")


TARGETS = (
    Target(
        name="spans",
        title="JSON Lines",
        write=write_spans,
        guide=GUIDE.replace("{more}", " --tokeniser {tokeniser}"),
    ),
    Target(
        name="conll",
        title="CoNLL columns",
        write=write_conll,
        guide=GUIDE.replace("{name}", "conll2003"),
        on_lines=True,
    ),
    Target(
        name="imgid",
        title="IMGID blocks",
        write=write_imgid,
        guide=GUIDE.replace("{name}", "conll") + f" The origin of each post stands in `{ORIGINS}`.",
        on_lines=True,
    ),
    Target(name="spacy", title="spaCy", write=write_spacy, guide=GUIDE),
)
