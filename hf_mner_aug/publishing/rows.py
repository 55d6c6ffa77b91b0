"""The rows of a config: gold posts and the made posts that publishing keeps, with their counts."""

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.posts.hygiene import PICTURED, Guard, PictureUse
from hf_mner_aug.posts.listed_mentions import LISTED, name_key
from hf_mner_aug.publishing.cards import UNKNOWN, Weights, mark_entities
from hf_mner_aug.runs.ledger import Run
from hf_mner_aug.runs.parts import changed_splits
from hf_mner_aug.runs.recipe import parse_params
from hf_mner_aug.schema import AUGMENTED, Codec, Post, canonical_json, read_provenance
from hf_mner_aug.storage.picture_columns import rows_at_a_time
from hf_mner_aug.transform import Method, iterate_posts
from hf_mner_aug.transform.columns import added_columns
from hf_mner_aug.transform.weights import HEAVIEST, WEIGHT
from hf_mner_aug.untrusted.names import STUBS

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

BATCH = 100  # rows read at a time: bounds the memory that pictures take
EXAMPLES = 3


class ShownPictures:
    """Counts of the train pictures that made posts show, and of the posts that show each."""

    def __init__(self) -> None:
        self.made = 0
        self.uses: Counter[str] = Counter()

    def add(self, details: Mapping[str, Any]) -> None:
        """Count a made post by its method's notes."""
        if shown := details.get(PICTURED):
            self.made += 1
            self.uses.update(shown)

    def counts(self) -> dict[str, int]:
        """Return the numbers of posts and of different pictures, and how often the most frequent picture is shown."""
        return {"made": self.made, "sources": len(self.uses), "most": max(self.uses.values())} if self.made else {}


class WeightCounts:
    """The number of weights of made posts, their sum, and the least and the largest of them."""

    def __init__(self) -> None:
        self._n = 0
        self._sum = 0.0
        self._least, self._most = float(HEAVIEST), 0.0

    def add(self, made: "pa.Table") -> None:
        """Count the weights of made rows."""
        import pyarrow.compute as pc

        if not made.num_rows:
            return
        weights = pc.cast(made[WEIGHT], "float64")
        ends = pc.min_max(weights)
        self._n += made.num_rows
        self._sum += pc.sum(weights).as_py()
        self._least, self._most = min(self._least, ends["min"].as_py()), max(self._most, ends["max"].as_py())

    def facts(self, meaning: str) -> Weights | None:
        """Return what a card says of the weights; None if no row was counted."""
        if not self._n:
            return None
        mean, least, most = (round(value, 4) for value in (self._sum / self._n, self._least, self._most))
        return Weights(meaning=meaning, mean=mean, least=least, most=most)


class ListedCounts:
    """Counts of names of a user's list in made posts, and of those that held-out posts have and train lacks."""

    def __init__(self, gold: Mapping[str, "Dataset"] = MappingProxyType({})) -> None:
        self._gold = gold
        self._in_rows: dict[bool, set[str]] = {}  # mentions of gold rows that were counted: those of train, and others
        self._posts = 0
        self._names: Counter[str] = Counter()

    def add(self, details: Mapping[str, Any]) -> None:
        """Count a made post by its method's notes."""
        if names := details.get(LISTED):
            self._posts += 1
            self._names.update(map(name_key, names))

    def add_gold(self, table: "pa.Table", codec: Codec, split: str) -> None:
        """Note the mentions of gold rows of a published split, where there are no datasets to read."""
        mentions = self._in_rows.setdefault(split == "train", set())
        mentions.update(mention for post in _posts(table, codec) for mention in _mentions_of(post))

    def counts(self) -> dict[str, int]:
        """Return the numbers of made posts, mentions and different names; those held out, if there are such splits."""
        if not self._posts:
            return {}
        found = {"posts": self._posts, "mentions": self._names.total(), "names": len(self._names)}
        held_out = [split for split in self._gold if split != "train"]
        if held_out or False in self._in_rows:
            known = self._mentions(["train"] if held_out else []) | self._in_rows.get(True, set())
            given = (self._mentions(held_out) | self._in_rows.get(False, set())) - known
            given = {name for name in given if name in self._names}
            found |= {"held_out": len(given), "held_out_mentions": sum(self._names[name] for name in given)}
        return found

    def _mentions(self, splits: Sequence[str]) -> set[str]:
        return {
            mention
            for split in splits
            for post in iterate_posts(self._gold[split], Codec(self._gold[split].features), images=False)
            for mention in _mentions_of(post)
        }


def _mentions_of(post: Post) -> Iterator[str]:
    """Yield a post's mentions as names are compared."""
    return (name_key(" ".join(post.tokens[entity.start : entity.end])) for entity in post.entities)


class Counts:
    """The counts taken while the rows of a config are written; those of weights only where rows are ``weighted``."""

    def __init__(
        self, codec: Codec, *, weighted: bool = False, gold: Mapping[str, "Dataset"] = MappingProxyType({})
    ) -> None:
        self.codec = codec
        self.listed = ListedCounts(gold)
        self.weights = WeightCounts() if weighted else None
        self.gold: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.gold_entities: Counter[str] = Counter()
        self.entities: Counter[str] = Counter()
        self.examples: list[str] = []
        self.licences: Counter[str] = Counter()
        self.inherited: Counter[str] = Counter()
        self.earlier: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self.originals = 0
        self.shown = ShownPictures()

    def add_gold(self, table: "pa.Table", split: str) -> None:
        """Count gold rows that are published, and the entities of those in train."""
        self.gold[split] += table.num_rows
        if split == "train":
            self.entities += _entity_types(table, self.codec)

    def add_source(self, table: "pa.Table", split: str) -> None:
        """Count the source's retrieved and made posts, and the entities of its train posts, published or replaced."""
        self.inherited += retrieved_posts(table)
        self.earlier += made_posts(table)
        self.originals += _with_pictures(table, self.codec.image_column)
        if split == "train":
            self.gold_entities += _entity_types(table, self.codec)

    def add_made(self, post: Post, split: str) -> None:
        """Count a made post, and keep the first ones of train as examples."""
        self.made[split] += 1
        count_origin(post.details, self.licences, self.masked)
        self.shown.add(post.details)
        self.listed.add(post.details)
        if split == "train":
            self.entities.update(entity.type for entity in post.entities)
            if len(self.examples) < EXAMPLES and post.entities:
                self.examples.append(mark_entities(post))

    def pictures(self) -> dict[str, int]:
        """Return the number of gold posts with pictures, and the counts of ``ShownPictures``."""
        return {"originals": self.originals, **self.shown.counts()}

    def by_type(self) -> dict[str, tuple[int, int]]:
        """Return the numbers of entities in train by type: of the gold posts, and of gold and made posts together."""
        return {kind: (self.gold_entities[kind], self.entities[kind]) for kind in sorted(self.entities)}

    def hide_made(self) -> None:
        """Count train's made posts as stubs, and drop the examples."""
        self.made[STUBS] = self.made.pop("train", 0)
        self.examples = []


def drop_check(
    method: Method, gold: Mapping[str, "Dataset"], n_made: int, *, replaced: bool = False
) -> Callable[[Post], str | None]:
    """Return a check of the posts made of a split, called in row order: the reason to drop a post, or None.

    A post that is kept counts for the posts after it. A post that replaces a gold post adds no row, so repetitions and
    leaks are looked for only with ``replaced``.

    Args:
        method: the method that made them.
        gold: the gold posts of all splits; all but train are held out.
        n_made: the number of posts made from the split.
        replaced: also find repetitions and leaks among posts that replace gold posts; publishing keeps these.
    """
    pictures, replaces = PictureUse(n_made), method.mode == "replace"
    if replaces and not replaced:
        return pictures.check

    def posts(split: str) -> Iterator[Post]:
        return iterate_posts(gold[split], Codec(gold[split].features), images=True)

    guard = Guard(
        posts("train"),
        lambda: (post for split in gold if split != "train" for post in posts(split)),
        same_text=method.content.pictures_only or replaces,
        comparable=method.content.comparable,
    )
    reduce = method.reduce()
    return lambda post: guard.check(post) or reduce(post) or pictures.check(post)


def is_made(methods: Sequence[str], method: str, n_gold: int, *, replaces: bool, start: int = 0) -> list[bool]:
    """Return for each row whether the config's method made it [n_rows]; all other rows are the config's gold posts.

    Posts that a method made before came with the source: they are gold here, and keep their own ``method``.

    Args:
        methods: the column ``method`` of some rows of a split [n_rows].
        method: the config's method.
        n_gold: the number of the split's gold posts, as augmentation.json has it: they come first, but for a method
            that replaces posts.
        replaces: whether the method replaces posts: made posts then stand in the places of their gold posts.
        start: the index of the first of these rows in the split.
    """
    if replaces:
        return [name == method for name in methods]
    return [i >= n_gold for i in range(start, start + len(methods))]


def published_splits(run: Run, folder: Path) -> dict[str, "Dataset"]:
    """Return the published splits that a run changes; their rows are in a folder that must outlive them."""
    import pyarrow as pa
    from datasets import Dataset

    splits, schema = {}, run.method.features.arrow_schema
    for split in changed_splits(run.method, run.gold):
        path = folder / f"{split}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for table in published_rows(run, split, Counts(Codec(run.method.features))):
                writer.write_table(table.cast(schema))
        splits[split] = Dataset.from_file(str(path))
    return splits


def published_rows(run: Run, split: str, counts: Counts, *, made: bool = True) -> Iterator["pa.Table"]:
    """Yield a split's rows: gold posts first, then the made posts (unless ``made`` is false).

    If a method replaces posts, each made post takes the place of its gold post; a gold post without one stays.
    """
    if run.method.mode == "replace":
        check = drop_check(run.method, run.gold, run.n_made_of(split))
        parts = [part for part in run.parts if part.split == split]
        for part, table in zip(parts, run.tables(split), strict=True):
            gold = run.gold[split].select(range(part.start, part.stop)).with_format("arrow")[:]
            yield from _replaced(table, _as_gold(gold, run.method), split, counts, check)
        return
    for table in run.gold[split].with_format("arrow").iter(rows_at_a_time(run.method.features)):
        gold = _as_gold(table, run.method)
        yield gold
        counts.add_gold(gold, split)
        counts.add_source(gold, split)
    if made:
        yield from made_rows(run, split, counts)


def made_rows(run: Run, split: str, counts: Counts) -> Iterator["pa.Table"]:
    """Yield the made posts of a split that publishing keeps."""
    if split not in changed_splits(run.method, run.gold):
        return
    check = drop_check(run.method, run.gold, run.n_made_of(split))
    for table in run.tables(split):
        yield from _kept(table, split, counts, check)


def _kept(made: "pa.Table", split: str, counts: Counts, check: Callable[[Post], str | None]) -> Iterator["pa.Table"]:
    """Yield the made rows that are kept, batch by batch."""
    import pyarrow as pa

    at_a_time = rows_at_a_time(counts.codec.features)
    for start in range(0, made.num_rows, at_a_time):
        batch, keep = made.slice(start, at_a_time), []
        for i, post in enumerate(_posts(batch, counts.codec)):
            if reason := check(post):
                counts.dropped[reason] += 1
                continue
            keep.append(i)
            counts.add_made(post, split)
        kept = batch if len(keep) == batch.num_rows else batch.take(pa.array(keep, pa.int64()))
        if counts.weights:
            counts.weights.add(kept)
        yield kept


def _replaced(
    made: "pa.Table", gold: "pa.Table", split: str, counts: Counts, check: Callable[[Post], str | None]
) -> Iterator["pa.Table"]:
    """Yield a part's made rows in the order of their gold rows, and the gold row if none was made or kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    made = pa.concat_tables([made.slice(0, 0), *_kept(made, split, counts, check)])
    left = gold.filter(pc.invert(pc.is_in(gold["id"], made["id"])))
    counts.add_gold(left, split)
    counts.add_source(gold, split)
    if not left.num_rows:
        yield made
        return
    places = {name: i for i, name in enumerate(gold["id"].to_pylist())}
    both = pa.concat_tables([made, left.cast(made.schema)])
    order = sorted(range(both.num_rows), key=[places[name] for name in both["id"].to_pylist()].__getitem__)
    yield both.take(pa.array(order, pa.int64()))


def _posts(table: "pa.Table", codec: Codec) -> Iterator[Post]:
    """Yield rows as posts, with the method's notes of made rows."""
    details: dict[str, Mapping[str, Any]] = {}  # many rows have the same note
    for row in table.to_pylist():
        post = codec.to_post(row)
        note = row.get("provenance")
        if note and note not in details:
            details[note] = read_provenance(note, f"post {post.id}").get("details", {})
        yield replace(post, details=details[note]) if note else post


def _entity_types(table: "pa.Table", codec: Codec) -> Counter[str]:
    """Return the number of entities of rows by type: each has one tag that begins it."""
    import pyarrow.compute as pc

    if not codec.tag_names:
        return Counter()
    tags = pc.value_counts(pc.list_flatten(table["ner_tags"])).to_pylist()
    counts = {codec.tag_names[tag["values"]]: tag["counts"] for tag in tags}
    return Counter({name[2:]: n for name, n in counts.items() if name.startswith("B-")})


def _as_gold(table: "pa.Table", method: Method) -> "pa.Table":
    """Return gold rows with the columns of an augmented config; values of an augmented source are kept."""
    import pyarrow as pa

    features = method.features
    values = {
        "source_id": table.column("id"),
        "method": ["gold"] * table.num_rows,
        "provenance": ["{}"] * table.num_rows,
    }
    for name in AUGMENTED:
        if name not in table.column_names:
            table = table.append_column(name, values[name] if name == "source_id" else pa.array(values[name]))
    if WEIGHT in added_columns(method):
        table = _with_weights(table, features)
    for name in set(features) - set(table.column_names):  # columns that a method adds to made posts
        table = table.append_column(name, pa.nulls(table.num_rows, features.arrow_schema.field(name).type))
    return table.select(list(features))


def _with_weights(table: "pa.Table", features: "Features") -> "pa.Table":
    """Return gold rows with a weight in each: 1, unless they have one already."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = features.arrow_schema.field(WEIGHT).type
    if WEIGHT not in table.column_names:
        return table.append_column(WEIGHT, pa.array([1.0] * table.num_rows, kind))
    place = table.column_names.index(WEIGHT)
    return table.set_column(place, WEIGHT, pc.fill_null(table[WEIGHT], 1.0).cast(kind))


def _with_pictures(table: "pa.Table", column: str | None) -> int:
    """Return how many rows have a picture."""
    import pyarrow.compute as pc

    if column is None or not table.num_rows:
        return 0
    if column == "images":
        return int(pc.sum(pc.greater(pc.list_value_length(table[column]), 0)).as_py() or 0)
    return table.num_rows - table[column].null_count


def count_origin(details: Mapping[str, Any], licences: Counter[str], masked: Counter[str], times: int = 1) -> None:
    """Count the origin of the retrieved post that a made post's details name."""
    if "post_id" in details:
        licences[details.get("licence") or UNKNOWN] += times
    for kind, count in details.get("masked", {}).items():
        masked[kind] += times * count


def weights_left(note: Mapping[str, Any], counts: WeightCounts | None) -> dict[str, Any] | None:
    """Return what augmentation.json says of the weights of the made posts that are left; None without weights."""
    facts = counts.facts(note["weights"]["meaning"]) if counts else None
    return asdict(facts) if facts else None


def retrieved_posts(table: "pa.Table") -> Counter[str]:
    """Return the number of rows that are, or were made from, retrieved posts, by licence."""
    licences: Counter[str] = Counter()
    for history in histories(table):
        for method, note in history:
            if "post_id" in note.get("details", {}) and _retrieves(method, canonical_json(note.get("params", {}))):
                licences[note["details"].get("licence") or UNKNOWN] += 1
                break
    return licences


def made_posts(table: "pa.Table", *, replaced: bool = False) -> Counter[str]:
    """Return the number of made rows by method; with ``replaced``, of made rows that were replaced by these."""
    methods = (h[1][0] for h in histories(table) if len(h) > 1) if replaced else table["method"].to_pylist()
    return Counter(method for method in methods if method != "gold")


def histories(table: "pa.Table") -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Yield the method and provenance of each row, followed by those of the row that it replaced, and so on."""
    rows = zip(*(table[name].to_pylist() for name in ("id", "method", "provenance")), strict=True)
    for name, method, text in rows:
        found = [(method, read_provenance(text, f"post {name}"))]
        while "of" in found[-1][1]:
            before = found[-1][1]["of"]
            found.append((before["method"], before["provenance"]))
        yield found


@functools.lru_cache(maxsize=16)
def _retrieves(method: str, params: str) -> bool:
    """Return whether a method with these parameters (JSON) retrieves posts; true if it is not known here."""
    try:
        cls = method_class(method)
        return cls(**parse_params(cls, json.loads(params))).content.retrieved
    except UsageError:
        return True
