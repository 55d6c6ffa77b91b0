"""Knowledge about posts, for backbones that read it beside the words: asked of a model, or published by others."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from hf_mner_aug.asking.published import align, read_published
from hf_mner_aug.asking.requests import (
    CAPTION,
    CAPTION_SCHEMA,
    TELL,
    TELL_SCHEMA,
    Examples,
    Settings,
    caption_request,
    read_answer,
    tell_request,
)
from hf_mner_aug.backbones.knowledge import about, read_file
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.endpoint.engine import ChatEngine, open_endpoint
from hf_mner_aug.posts.hygiene import MADE_OF
from hf_mner_aug.posts.pictures import image_digest
from hf_mner_aug.progress import progress_bar
from hf_mner_aug.schema import Codec, Post, canonical_json, read_provenance
from hf_mner_aug.sources.loading import load_source
from hf_mner_aug.storage.artifacts import write_atomically
from hf_mner_aug.transform import Reject, iterate_posts
from hf_mner_aug.untrusted import hosts

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 64  # posts whose pictures are held at a time
GOLD = "gold"  # the method of a gold post
Key = tuple[str, str]  # the id of a post, and its words joined by blanks


class Asked(NamedTuple):
    """A post to ask about: whether a method made it, and the ids of the posts that it was made of."""

    post: Post
    made: bool
    sources: tuple[str, ...]

    @property
    def key(self) -> Key:
        """What a line of the file is about."""
        return self.post.id, " ".join(self.post.tokens)


@dataclass
class Told:
    """The result: how many gold and made posts have knowledge, why others have none, and the cost.

    Of a dry run, nothing is written, and the calls are those that it would make at most.
    """

    path: Path
    posts: int = 0
    gold: int = 0
    made: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)  # ids of posts without knowledge
    captions: int = 0
    unseen: int = 0
    usage: Mapping[str, float] = field(default_factory=dict)
    planned: str = ""

    def __str__(self) -> str:
        """Return the counts and the cost, a line each."""
        if self.planned:
            return self.planned
        lines = [f"{self.path}: {self.gold + self.made:,} of {self.posts:,} posts have knowledge ({self.gold:,} gold, "]
        lines[0] += f"{self.made:,} made)"
        if self.missing:
            why = ", ".join(f"{reason} {n:,}" for reason, n in sorted(self.missing.items()))
            lines.append(f"without: {why} ({', '.join(self.examples[:3])}{', …' * (len(self.examples) > 3)})")
        if self.captions or self.unseen:
            unseen = f", {self.unseen:,} pictures without a usable one" * bool(self.unseen)
            lines.append(f"captions: {self.captions:,}{unseen}")
        if self.usage:
            lines.append("calls: " + ", ".join(f"{name} {n:,g}" for name, n in self.usage.items()))
        return "\n".join(lines)


def knowledge(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    model: str = "",
    published: Sequence[str | Path] = (),
    images: str | Path | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    dry_run: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Told:
    """Write a text about each gold and made post of some sets, for ``knowledge_file=`` of backbones.

    A model is asked with the words, a caption of the picture that it is asked for first, and the labelled gold posts of
    train most like it; never with labels of the post itself. Answers are recorded, so that a run that was stopped goes
    on, and one that is repeated makes no call. Or files that others published are matched with the posts by text.

    Args:
        sources: datasets as ``load_source`` takes them: a folder, a Hub id, or ``DIR:config`` of augmented posts.
        out: the file, JSON lines with ``id``, ``text`` (the words) and ``knowledge``.
        model: ``endpoint:URL#MODEL``, with settings after a comma: ``max_tokens=512``, ``temperature=0``, ``shown=5``
            (examples), ``captions=false`` for a model that reads no pictures.
        published: files of words and tags without ids, in which the words after ``<EOS>`` are the knowledge.
        images: a further folder with the pictures that the data names.
        columns: the sources' names of our columns.
        dry_run: count calls and their price at most, or posts with published knowledge; send and write nothing.
        overwrite: replace the file.
        progress: show a bar.

    Raises:
        UsageError: neither a model nor published files, or both; there is no such source or file, ``out`` is there or a
            folder, or no post has knowledge in the end.
        DataError: a published file is damaged, or a source is.
        EndpointError: no request can be answered; earlier answers are kept.
    """
    if bool(model) == bool(published):
        raise UsageError("knowledge: pass either a model to ask (endpoint:URL#MODEL) or published files")
    if Path(out).is_dir():
        raise UsageError(f"{out} is a folder: name a file to write")
    if Path(out).exists() and not overwrite:
        raise UsageError(f"{out} is there: pass overwrite to replace it")
    chat = ChatEngine.of("model", model, Settings) if model else None
    if model and chat is None:
        raise UsageError(f"knowledge: expected model=endpoint:URL#MODEL, found {model.partition(':')[0]!r}")
    names = [sources] if isinstance(sources, str | Path) else list(sources)
    sets = [load_source(str(name), images=images, columns=columns) for name in names]
    told = Told(Path(out))
    if chat is None:
        rows = _match(sets, published, told)
    elif dry_run:
        return _plan(sets, chat, told)
    else:
        for host in chat.hosts().values():
            hosts.allow(*host)
        rows = _ask(sets, chat, told, progress)
    if not rows:
        why = ", ".join(f"{reason} {n}" for reason, n in sorted(told.missing.items())) or "there is no post with words"
        raise UsageError(f"knowledge: none of {told.posts} posts has any ({why}): nothing is written")
    if dry_run:
        told.planned = f"{told}\nnothing was written: a dry run"
    else:
        lines = (
            json.dumps({"id": name, "text": text, "knowledge": known}, ensure_ascii=False)
            for (name, text), known in rows.items()
        )
        write_atomically(Path(out), "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    return told


def with_knowledge(dataset: "Dataset", file: str | Path, column: str = "knowledge") -> "Dataset":
    """Return a dataset with a column of the texts of a file about its posts; null where it has none.

    Raises:
        UsageError: there is no such file, or the dataset has such a column.
        DataError: a line is damaged.
    """
    from datasets import Value

    if column in dataset.column_names:
        raise UsageError(f"the dataset has a column {column}: remove it, or name another")
    read = read_file(file)
    rows = dataset.select_columns(["id", "tokens"])
    found = [about([Post(row["id"], row["tokens"])], read).get(row["id"]) for row in rows]
    return dataset.add_column(column, found, feature=Value("string"))


# ---------------------------------------------------------------- posts


def _asked(splits: Mapping[str, "Dataset"], *, images: bool) -> Iterator[Asked]:
    """Yield the posts of a set that have words; a gold post's method is ``gold``, or there is no such column."""
    for rows in splits.values():
        beside = [name for name in ("method", "source_id", "provenance") if name in rows.column_names]
        others = rows.select_columns(beside) if beside else [{}] * len(rows)
        for post, row in zip(iterate_posts(rows, Codec(rows.features), images=images), others, strict=True):
            made = row.get("method", GOLD) != GOLD
            details = read_provenance(row.get("provenance"), f"post {post.id}").get("details", {}) if made else {}
            of = (row.get("source_id"), *details.get(MADE_OF, ())) if made else ()
            if post.tokens:
                yield Asked(post, made, tuple(name for name in of if isinstance(name, str)))


def _new(sets: Sequence[Mapping[str, "Dataset"]], *, images: bool) -> Iterator[tuple[int, Asked]]:
    """Yield the posts of several sets with the number of the set, each id and text once."""
    seen: set[Key] = set()
    for n, splits in enumerate(sets):
        for asked in _asked(splits, images=images):
            if asked.key not in seen:
                seen.add(asked.key)
                yield n, asked


def _miss(told: Told, asked: Asked, reason: str) -> None:
    told.missing[reason] += 1
    told.examples.append(asked.post.id)


def _count(told: Told, asked: Asked) -> None:
    told.gold += not asked.made
    told.made += asked.made


# ---------------------------------------------------------------- of a model


def _run_name(sets: Sequence[Mapping[str, "Dataset"]], chat: ChatEngine) -> str:
    """Return the name that the budget is counted under: one for the posts and the settings."""
    keys = [asked.key for _, asked in _new(sets, images=False)]
    about_it = canonical_json([chat.base_url, chat.model, repr(chat.settings), CAPTION, TELL, keys])
    return f"knowledge-{hashlib.sha256(about_it.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _plan(sets: Sequence[Mapping[str, "Dataset"]], chat: ChatEngine, told: Told) -> Told:
    """Return the number of calls, and their price at most."""
    pictures: set[str | None] = set()
    for _, asked in _new(sets, images=chat.settings.captions):
        told.posts += 1
        pictures.update(map(image_digest, asked.post.images[:1]))
    captions, price = len(pictures - {None}), chat.price()
    calls = told.posts + captions
    sent = "".join(f"knowledge sends posts to {host}\n" for host in chat.hosts().values())
    told.planned = sent + (
        f"{told.posts:,} posts: at most {calls:,} calls ({captions:,} for captions), less those that are on record, in "
        f"about {price.seconds * calls:.0f} seconds; USD: {price.usd * calls:.2g}\n"
        f"nothing was sent for this estimate, which assumes {price.told}"
    )
    return told


def _ask(sets: Sequence[Mapping[str, "Dataset"]], chat: ChatEngine, told: Told, progress: bool) -> dict[Key, str]:
    """Return the model's answers about posts; unusable ones are counted."""
    run, settings = _run_name(sets, chat), chat.settings
    shown = [Examples([a.post for a in _asked({"train": s["train"]}, images=False) if not a.made]) for s in sets]
    if settings.shown and not all(examples.posts for examples in shown):
        warnings.warn(
            "knowledge: train has no gold post of up to 60 words to show the model as an example", stacklevel=3
        )
    types = [Codec(splits["train"].features).types for splits in sets]
    rows: dict[Key, str] = {}
    captions: dict[str, str | None] = {}
    chunk: list[tuple[int, Asked]] = []

    def answer() -> None:
        _caption([asked.post for _, asked in chunk], chat, run, captions, told)
        requests = []
        for n, (post, _, without) in chunk:
            digest = image_digest(post.images[0]) if post.images else None
            examples = shown[n].nearest(post, settings.shown, without)
            requests.append(tell_request(post, captions.get(digest or ""), examples, types[n], settings))
        for (_, asked), reply in zip(chunk, chat.ask(requests, run), strict=True):
            found = read_answer(reply, TELL_SCHEMA)
            if isinstance(found, Reject):
                _miss(told, asked, found.reason)
            else:
                rows[asked.key] = found
                _count(told, asked)

    total = sum(1 for _ in _new(sets, images=False))
    for n, asked in progress_bar(_new(sets, images=settings.captions), shown=progress, total=total):
        told.posts += 1
        chunk.append((n, asked))
        if len(chunk) == AT_ONCE:
            answer()
            chunk = []
    if chunk:
        answer()
    told.usage = open_endpoint(chat.base_url, chat.model, run).usage.told()
    return rows


def _caption(posts: Sequence[Post], chat: ChatEngine, run: str, captions: dict[str, str | None], told: Told) -> None:
    """Add a caption of the first picture of each post, by the picture's digest; None where the answer is unusable."""
    if not chat.settings.captions:
        return
    firsts = {image_digest(post.images[0]): post.images[0] for post in posts if post.images}
    new = {digest: image for digest, image in firsts.items() if digest and digest not in captions}
    requests = [caption_request(image, chat.settings) for image in new.values()]
    for digest, reply in zip(new, chat.ask(requests, run), strict=True):
        found = read_answer(reply, CAPTION_SCHEMA)
        captions[digest] = None if isinstance(found, Reject) else found
        told.captions += captions[digest] is not None
        told.unseen += captions[digest] is None


# ---------------------------------------------------------------- of files


def _match(sets: Sequence[Mapping[str, "Dataset"]], published: Sequence[str | Path], told: Told) -> dict[Key, str]:
    """Return the published texts about posts; posts whose text is in no file are counted."""
    asked = [asked for _, asked in _new(sets, images=False)]
    found = align([one.post for one in asked], [post for path in published for post in read_published(path)])
    told.posts = len(asked)
    rows: dict[Key, str] = {}
    for i, one in enumerate(asked):
        if i in found:
            rows[one.key] = " ".join(found[i].split())
            _count(told, one)
        else:
            _miss(told, one, "not_published")
    return rows
