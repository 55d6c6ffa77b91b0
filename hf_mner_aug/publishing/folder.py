"""From a run to a repo folder that ``load_dataset`` reads, and back: publish and verify."""

import contextlib
import functools
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import Corrupt, DataError, NothingMade, RecipeMismatch, UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.posts.hygiene import PICTURED, Guard, PictureUse, origins
from hf_mner_aug.publishing.cards import (
    AS_PUBLISHED,
    UNKNOWN,
    ConfigFacts,
    Note,
    Outside,
    SplitFacts,
    described,
    has_sections,
    mark_entities,
    render,
    split_names,
    without_sizes,
)
from hf_mner_aug.publishing.stubs import Retrieved, check_retrieved, stub_features, to_stubs
from hf_mner_aug.runs.funnel import nothing_made
from hf_mner_aug.runs.ledger import Run, beside, kept_parts, library_versions, part_tables, run
from hf_mner_aug.runs.recipe import Recipe, local_name, parse_params, source_posts
from hf_mner_aug.runs.source_facts import read_source
from hf_mner_aug.schema import AUGMENTED, NUMBERED, Codec, Post, canonical_json, read_provenance, split_tag, tag_names
from hf_mner_aug.stopping import keeping
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.fingerprint import Fingerprint, parquet_fingerprint
from hf_mner_aug.storage.locks import lock, stage, sweep
from hf_mner_aug.storage.parquet import read_features_of, reading, write_shards
from hf_mner_aug.storage.picture_files import is_inside, own_folders
from hf_mner_aug.storage.swap import put_back, swap, sync
from hf_mner_aug.transform import iterate_posts
from hf_mner_aug.untrusted.cards import CARD, read_card
from hf_mner_aug.untrusted.names import RESERVED, STUBS, check_columns, check_names, is_name
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetDict, Features

NOTE = "augmentation.json"
KEYS = ("id", *AUGMENTED)  # the columns of text that every row of a config has
BATCH = 100  # rows read at a time: bounds the memory that pictures take
EXAMPLES = 3
RECORD = "convert.json"  # in the folder of a converted set
OF_CONFIG = re.compile(rf"[\w.]+-\d{{5}}-of-\d{{5}}\.parquet|{re.escape(NOTE)}|\..*")  # the files of a config's folder


@dataclass(frozen=True)
class Published:
    """A config in a repo folder: where it is, what became of its posts and of columns, and its content fingerprint."""

    folder: Path
    config: str
    funnel: dict[str, Any]
    content_fingerprint: str
    columns: Mapping[str, list[str]] = field(default_factory=dict)
    pictures: Mapping[str, int] = field(default_factory=dict)  # as ``ConfigFacts`` has them


@dataclass(frozen=True)
class Verification:
    """Whether a config is what its augmentation.json says; ``difference`` names the first row that is not."""

    config: str
    expected: str
    found: str
    rerun: str | None = None
    difference: str = ""

    @property
    def ok(self) -> bool:
        """True where every fingerprint that was computed is the expected one."""
        return self.found == self.expected and self.rerun in (None, self.expected)


def publish(
    run: Run,
    out: str | Path,
    *,
    source: str = "",
    overwrite: bool = False,
    retrieved: Retrieved = "whole",
    into_existing: bool = False,
    allow_empty: bool = True,
) -> Published:
    """Write a run's config into a repo folder: Parquet, augmentation.json, and its section of the card.

    Other configs, and the rest of the card, are kept. Made posts that repeat another or leak from validation or test
    are dropped and counted. A failure leaves the folder as it was; killed anywhere, the folder holds the old config or
    the new one. Processes that publish into one folder wait for each other.

    Args:
        run: what ``augment`` returned.
        out: the repo folder.
        source: the folder or Hub id the posts came from, for the card.
        overwrite: replace a config of the same name that another recipe made.
        retrieved: publish posts from outside ``whole``, or ``ids-only``: where they are from and their labels, without
            words and pictures (``stubs``); the content fingerprint is in both cases that of the whole rows.
        into_existing: publish also into a folder that holds something else, whose files and card text are kept.
        allow_empty: publish a config without made posts, with a warning that says why; else ``NothingMade`` says it.

    Raises:
        NothingMade: no post was made, or all were dropped, and ``allow_empty`` is not set.
        UsageError: the run is one rank's share, ids-only is asked of a method that retrieves nothing, or the folder
            holds something else and ``into_existing`` is not set.
        RecipeMismatch: there is such a config and ``overwrite`` is not set.
        DataError: the folder's card has YAML that does not parse.
        TimeoutError: another process did not let go of the folder.
        OSError: the disk is full.
    """
    if run.world_size > 1:
        raise UsageError(f"this is rank {run.rank} of {run.world_size}: a run without a rank gathers and publishes all")
    out, recipe = Path(out), run.recipe
    check_retrieved(run.method, retrieved)
    free = functools.partial(check_free, out, recipe, overwrite=overwrite, into_existing=into_existing)
    free()
    features = run.method.features
    with stage(beside(out, "runs"), recipe.config) as room:
        place = room / recipe.config
        counts = Counts(Codec(features))
        sizes = {}
        for split in run.gold:
            rows = _published_rows(run, split, features, counts, made=retrieved == "whole")
            sizes[split] = write_split(rows, place, split, features)
        if retrieved == "ids-only":
            stubs = (to_stubs(table, features) for table in _made_rows(run, "train", counts))
            sizes[STUBS] = write_split(stubs, place, STUBS, stub_features(features))
            counts.hide_made()
            if not counts.made[STUBS]:  # datasets reads no table without rows
                _remove(place, sizes, STUBS)
        funnel: Any = {**run.counts, "dropped": dict(sorted(counts.dropped.items())), "kept": sum(counts.made.values())}
        if not funnel["kept"]:
            line = nothing_made(funnel, run.method)
            if not allow_empty:
                raise NothingMade(line, funnel)
            warnings.warn(line, stacklevel=2)
        content = fingerprint_of(place, sizes)
        facts = ConfigFacts(
            recipe=replace(recipe, source=f"local:{name}" if (name := local_name(recipe.source)) else recipe.source),
            source=read_source(source or recipe.source),
            splits={split: SplitFacts(counts.gold[split], counts.made[split], sizes[split]) for split in sizes},
            funnel=funnel,
            entities=counts.by_type(),
            examples=counts.examples,
            content_fingerprint=content.total,
            models=run.method.models,
            cautions=run.method.cautions,
            retrieved=retrieved if run.method.retrieves else "",
            licences=dict(sorted(counts.licences.items())) if run.method.retrieves else {},
            inherited=dict(sorted(counts.inherited.items())),
            earlier=dict(sorted(counts.earlier.items())),
            masked=dict(sorted(counts.masked.items())),
            columns=run.columns,
            outside=Outside(facts=run.method.facts, replaces=run.method.mode == "replace") if recipe.code else None,
            pictures=counts.pictures(),
        )
        note = {
            "artifact": run.method.artifact,
            "libraries": library_versions(),
            "recipe_fingerprint": recipe.fingerprint,
            **asdict(facts),
            "digests": {"columns": content.columns, "rows": content.rows},
        }
        with writing(out, "publish"):
            free()  # another process may have published meanwhile
            place_config(place, out, note, features)
    return Published(out, recipe.config, funnel, facts.content_fingerprint, facts.columns, facts.pictures)


@contextlib.contextmanager
def writing(out: Path, verb: str) -> Iterator[None]:
    """Hold a repo folder's lock to place configs in it. What a killed process left half done there is mended first.

    Raises:
        DataError: the folder's card has YAML that does not parse.
        TimeoutError: another process did not let go of the folder.
    """
    with lock(out, verb):
        sweep(out)
        put_back(out)
        _complete_card(out)
        yield


def place_config(place: Path, out: Path, note: dict[str, Any], features: "Features") -> None:
    """Put a staged config, with its augmentation.json and its section of the card, into a repo folder.

    The caller holds the folder by ``writing``. Between any two steps the config loads, the old or the new one: where
    their columns or sizes differ, by a card that does not say them.
    """
    facts = ConfigFacts.from_note(note)
    config, card = facts.recipe.config, out / CARD
    check_inside(out, config)
    before = read_card(card) if card.exists() else None
    text = render(before, facts, features, _name_of(out))
    new = described(text)[config]
    _write_note(place, note)
    sync(place)
    old = described(before).get(config, new) if before is not None else new
    if old != new:
        same_splits = split_names(old) == split_names(new)
        artifacts.write_atomically(card, without_sizes(before or "", config, same_splits=same_splits).encode())
        sync(out)
    swap(place, out / config)
    artifacts.write_atomically(card, text.encode())
    sync(out)


def _complete_card(out: Path) -> None:
    """Put configs onto a folder's card that a killed process placed in the folder only."""
    card = out / CARD
    if card.is_symlink():
        return  # it will be refused
    text = before = read_card(card) if card.exists() else None
    known = described(text) if text is not None else {}
    for path in sorted(out.glob(f"*/{NOTE}")):
        folder = path.parent
        if folder.name in known:
            continue
        try:
            text = render(text, ConfigFacts.from_note(read_note(folder)), read_features(folder), _name_of(out))
        except (UsageError, OSError) as error:
            warnings.warn(f"{folder} is left off the card: {error}", stacklevel=4)
    if text is not None and text != before:
        artifacts.write_atomically(card, text.encode())


def _name_of(out: Path) -> str:
    """Return a folder's name, also where the path is ``.``."""
    return out.name if out.name not in ("", "..") else out.resolve().name


def check_inside(out: Path, config: str) -> None:
    """See that writing a config into a folder writes into no other one.

    Raises:
        UsageError: the config has no name, or its folder or the card is a link.
    """
    if not is_name(config) or config in RESERVED:
        raise UsageError(f"{out}: {config!r} is no name of a config")
    for path in (out / config, out / CARD):
        if path.is_symlink():
            raise UsageError(f"{path} is a link: put a folder or a file of its own there, or name another --out")


def check_free(out: Path, recipe: Recipe, *, overwrite: bool = False, into_existing: bool = False) -> None:
    """See that a folder can take a recipe's config.

    Raises:
        RecipeMismatch: another recipe's config has that name and ``overwrite`` is not set.
        UsageError: the path is a file, the folder holds something else and ``into_existing`` is not set, or the config
            would be replaced with files in it that are not its own; or as ``check_inside``.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder")
    check_inside(out, recipe.config)
    if not into_existing and (foreign := _foreign(out)):
        raise UsageError(
            f"{out} holds {foreign}, which is not of this package: name another folder, or publish beside it with "
            "--into-existing"
        )
    folder = out / recipe.config
    if not folder.exists():
        return
    if not (folder / NOTE).exists():
        raise RecipeMismatch(f"{folder} exists and was not made here: choose another --config-name or --out")
    names = {path.name for path in folder.iterdir()} - set(pages_of(recipe.config))  # pages are made again
    if added := min((name for name in names if not OF_CONFIG.fullmatch(name)), default=None):
        raise UsageError(f"{folder / added} is no file of the config, which would be replaced: move it elsewhere")
    if overwrite:
        return
    found = read_note(folder)["recipe_fingerprint"]
    if found != recipe.fingerprint:
        raise RecipeMismatch(
            f"{folder} was made by recipe {found[:12]}, this one is {recipe.fingerprint[:12]}: "
            "choose another --config-name, or --overwrite"
        )


def _foreign(out: Path) -> str | None:
    """Return a name in a folder that is neither empty, nor a repo folder of this package, nor a converted set.

    What is hidden (``.git``, ``.gitattributes``) does not count.
    """
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.exists() else []
    card = out / CARD
    if (
        RECORD in names
        or any(out.glob(f"*/{NOTE}"))
        or (card.is_file() and has_sections(card.read_text(encoding="utf-8-sig", errors="replace")))
    ):
        return None
    return CARD if CARD in names else next(iter(names), None)


def pages_of(config: str) -> list[str]:
    """Return the names of the pages that ``show`` and ``memory`` write, where they lie in a config's folder."""
    return [f"{config}.html", "memory.html"]


def only_config(folder: str | Path) -> str:
    """Return the name of the config that a repo folder holds.

    Raises:
        UsageError: it holds none, or several.
    """
    configs = sorted(path.parent.name for path in Path(folder).glob(f"*/{NOTE}"))
    if len(configs) != 1:
        found = f"several configs, name one: {', '.join(configs)}" if configs else "no config made here"
        raise UsageError(f"{folder} holds {found}" if Path(folder).is_dir() else f"there is no folder {folder}")
    return configs[0]


def read_note(folder: Path) -> dict[str, Any]:
    """Return a config's augmentation.json.

    Raises:
        UsageError: there is none.
        Corrupt: it does not parse, or a value has another type than its field.
        DataError: it is for another config than its folder's, a split has no proper name, or it or a Parquet file
            beside it is no file of the repo folder.
    """
    path = folder / NOTE
    check_own_files([path, *folder.glob("*.parquet")], folder.parent)
    try:
        note: dict[str, Any] = read_json(path, Note, error=Corrupt, advice=AS_PUBLISHED)
    except FileNotFoundError as error:
        configs = sorted(p.parent.name for p in folder.parent.glob(f"*/{NOTE}"))
        raise UsageError(f"no {path}: configs made here are {', '.join(configs) or 'none'}") from error
    check_names(note, folder)
    if not ConfigFacts.from_note(note, str(path)).splits:
        raise Corrupt(f"{path}: splits: expected train, found none: {AS_PUBLISHED}")
    return note


def check_own_files(paths: Iterable[Path], repo: Path) -> None:
    """See that the files that are there lie in a repo folder, or in the cache of downloads that it is in.

    Raises:
        DataError: one is a link that leads out of it, or no file.
    """
    homes = own_folders(str(repo)) if repo.is_dir() else ()
    for path in paths:
        is_link = not any(is_inside(path, home) for home in homes)
        if path.exists() and (is_link or not path.is_file()):
            found = f"a link out of {repo}" if is_link else "none"
            raise DataError(f"{path}: expected a file, found {found}: put the file itself there")


def read_features(folder: Path, split: str | None = None) -> "Features":
    """Return the features of a config's whole rows, or of the rows of a split.

    Raises:
        Corrupt: there is no such file, one is damaged, lacks columns of every config, or has others than the rest.
    """
    files = folder.glob(f"{split or '*'}-*.parquet")
    whole = sorted(path for path in files if split or not path.name.startswith(f"{STUBS}-"))
    if not whole:
        raise Corrupt(f"{folder}: expected {split or 'train'}-*.parquet, found none: {AS_PUBLISHED}")
    features = read_features_of(whole[0])
    check_columns(features, str(folder))
    for name in KEYS:
        if getattr(features.get(name), "dtype", None) != "string":
            found = features.get(name, f"the columns {', '.join(features)}")
            raise Corrupt(f"{whole[0]}: expected a column {name} of text, found {found}: {AS_PUBLISHED}")
    for path in whole[1:]:
        if (others := read_features_of(path)) != features:
            differ = ", ".join(name for name in {**features, **others} if features.get(name) != others.get(name))
            raise Corrupt(f"{path}: expected the columns of {whole[0].name}, found other {differ}: {AS_PUBLISHED}")
    return features


def check_keys(table: "pa.Table", path: Path) -> None:
    """See that every row of a config says what it is and of which post.

    Raises:
        Corrupt: one does not.
    """
    for name in KEYS[:-1]:
        if name not in table.column_names or table.column(name).null_count:
            found = "a row without" if name in table.column_names else "no such column"
            raise Corrupt(f"{path}: expected {name} in every row, found {found}: {AS_PUBLISHED}")


def withdraw_posts(out: Path, ids: Iterable[str]) -> dict[str, int]:
    """Take posts, and what was made of them, out of every config of a folder; return the rows gone by config.

    An id means all posts that ``convert`` numbered as of it: 12 takes 12~2, too; 12~2 means itself alone.
    Fingerprints, counts and the card follow; made posts that go count as dropped, ``withdrawn``. The recipe is kept,
    but a rerun would bring the posts back.

    Raises:
        TimeoutError: another process did not let go of the folder.
    """
    gone = {}
    unwanted = set(ids)
    with writing(out, "withdraw"):
        for path in sorted(out.glob(f"*/{NOTE}")):
            gone[path.parent.name] = _withdraw_from(path.parent, unwanted)
    return gone


def verify_folder(folder: str | Path, config: str, *, rerun: bool = False, source: Any = None) -> Verification:
    """Recompute a config's content fingerprint, and with ``rerun`` make the config again and compare.

    Args:
        folder: the repo folder.
        config: the config's name.
        rerun: make it again in a temporary folder, from ``source`` or the Hub id it was made from; what came from the
            web comes from the record, and nobody is asked.
        source: the folder or Hub id of the source, or its splits; its content is checked.

    Raises:
        UsageError: there is no such config, or a rerun needs ``source``.
        Corrupt: a file does not parse or is truncated.
        DataError: the source has another content than the one the config was made from.
    """
    import tempfile

    place = Path(folder) / config
    note = read_note(place)
    found = fingerprint_of(place, note["splits"])
    expected = Fingerprint(note["content_fingerprint"], **note["digests"])
    difference = "" if found.total == expected.total else _spell_difference(place, expected, found)
    again = None
    if rerun:
        from hf_mner_aug.models.search.fetching import replaying

        recipe = Recipe.from_dict(note["recipe"])
        recipe, gold = source_posts(recipe, source)
        with tempfile.TemporaryDirectory() as temporary, replaying():
            run_and_publish(recipe, gold, Path(temporary) / "again", retrieved=note.get("retrieved") or "whole")
            made = fingerprint_of(Path(temporary) / "again" / config, note["splits"])
            again = made.total
            if again != expected.total:
                difference = "rerun: " + _spell_difference(Path(temporary) / "again" / config, expected, made)
    return Verification(config, expected.total, found.total, again, difference)


def run_and_publish(
    recipe: Recipe,
    gold: "DatasetDict",
    out: Path,
    *,
    source: str = "",
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = False,
    storage: str | None = None,
    retrieved: Retrieved = "whole",
    into_existing: bool = False,
    learned: str | None = None,
    allow_empty: bool = True,
) -> Published:
    """Make a resolved recipe and publish it; raises as ``augment`` and ``publish``, the latter's before any work."""
    check_retrieved(recipe.build(), retrieved)
    check_free(out, recipe, overwrite=overwrite, into_existing=into_existing)
    done = run(recipe, gold, out=out, num_proc=num_proc, progress=progress, storage=storage, learned=learned)
    options: dict[str, Any] = {"into_existing": into_existing, "allow_empty": allow_empty}
    with keeping(lambda: kept_parts(done.folder, done.parts)):
        return publish(done, out, source=source, overwrite=overwrite, retrieved=retrieved, **options)


# ---------------------------------------------------------------- inside


class ShownPictures:
    """How many made posts show pictures of train posts, and each of these in how many."""

    def __init__(self) -> None:
        self.made = 0
        self.uses: Counter[str] = Counter()

    def add(self, details: Mapping[str, Any]) -> None:
        """Count a made post by what its method noted of it."""
        if shown := details.get(PICTURED):
            self.made += 1
            self.uses.update(shown)

    def counts(self) -> dict[str, int]:
        """Return the made posts, the different pictures, and in how many posts the most frequent one is, if any."""
        return {"made": self.made, "sources": len(self.uses), "most": max(self.uses.values())} if self.made else {}


class Counts:
    """What is counted while the rows of a config stream by."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
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
            for post in _posts(table, self.codec):
                self.entities.update(entity.type for entity in post.entities)

    def add_source(self, table: "pa.Table", split: str) -> None:
        """Count the source's retrieved and made posts, and the entities of its train posts, published or replaced."""
        self.inherited += _retrieved_posts(table)
        self.earlier += _made_posts(table)
        self.originals += _with_pictures(table, self.codec.image_column)
        if split == "train":
            for post in _posts(table, self.codec):
                self.gold_entities.update(entity.type for entity in post.entities)

    def add_made(self, post: Post, split: str) -> None:
        """Count a made post, and keep the first ones of train as examples."""
        self.made[split] += 1
        _count_origin(post.details, self.licences, self.masked)
        self.shown.add(post.details)
        if split == "train":
            self.entities.update(entity.type for entity in post.entities)
            if len(self.examples) < EXAMPLES and post.entities:
                self.examples.append(mark_entities(post))

    def pictures(self) -> dict[str, int]:
        """Return how many gold posts have pictures, and what made ones that show train's are of."""
        return {"originals": self.originals, **self.shown.counts()}

    def by_type(self) -> dict[str, tuple[int, int]]:
        """Return the entities of train by type: of the gold posts, and with the made ones."""
        return {kind: (self.gold_entities[kind], self.entities[kind]) for kind in sorted(self.entities)}

    def hide_made(self) -> None:
        """Count train's made posts as stubs, and show none of them."""
        self.made[STUBS] = self.made.pop("train", 0)
        self.examples = []


def _with_pictures(table: "pa.Table", column: str | None) -> int:
    """Return how many rows have a picture."""
    import pyarrow.compute as pc

    if column is None or not table.num_rows:
        return 0
    if column == "images":
        return int(pc.sum(pc.greater(pc.list_value_length(table[column]), 0)).as_py() or 0)
    return table.num_rows - table[column].null_count


def _count_origin(details: Mapping[str, Any], licences: Counter[str], masked: Counter[str], times: int = 1) -> None:
    """Count what a made post's details say of the post that was retrieved."""
    if "post_id" in details:
        licences[details.get("licence") or UNKNOWN] += times
    for kind, count in details.get("masked", {}).items():
        masked[kind] += times * count


def _retrieved_posts(table: "pa.Table") -> Counter[str]:
    """Return the licences of the posts from outside the train split that rows hold, or were made of, by number."""
    licences: Counter[str] = Counter()
    for history in _histories(table):
        for method, note in history:
            if "post_id" in note.get("details", {}) and _retrieves(method, canonical_json(note.get("params", {}))):
                licences[note["details"].get("licence") or UNKNOWN] += 1
                break
    return licences


def _made_posts(table: "pa.Table", *, replaced: bool = False) -> Counter[str]:
    """Return the methods that made rows, or with ``replaced`` the rows that these stand for, by number."""
    methods = (h[1][0] for h in _histories(table) if len(h) > 1) if replaced else table["method"].to_pylist()
    return Counter(method for method in methods if method != "gold")


def _histories(table: "pa.Table") -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Yield the method and provenance of each row, then those of the row that it replaced, and so on."""
    rows = zip(*(table[name].to_pylist() for name in ("id", "method", "provenance")), strict=True)
    for name, method, text in rows:
        found = [(method, read_provenance(text, f"post {name}"))]
        while "of" in found[-1][1]:
            before = found[-1][1]["of"]
            found.append((before["method"], before["provenance"]))
        yield found


@functools.lru_cache(maxsize=16)
def _retrieves(method: str, params: str) -> bool:
    """Say whether a method with these parameters (JSON) brings posts from outside; if it is not known here, it may."""
    try:
        cls = method_class(method)
        return cls(**parse_params(cls, json.loads(params))).retrieves
    except UsageError:
        return True


def _published_rows(
    run: Run, split: str, features: "Features", counts: Counts, *, made: bool = True
) -> Iterator["pa.Table"]:
    """Yield a split's rows: gold first, then what was made of it, unless that is left out.

    Where a method replaces posts, each made post stands in the place of its gold post; those without one stay gold.
    """
    if run.method.mode == "replace":
        pictures = PictureUse(run.n_made_of(split))
        parts = [part for part in run.parts if part.split == split]
        for part, table in zip(parts, part_tables(run, split), strict=True):
            gold = run.gold[split].select(range(part.start, part.stop)).with_format("arrow")[:]
            yield from _replaced(table, _as_gold(gold, features), split, counts, pictures)
        return
    for table in run.gold[split].with_format("arrow").iter(BATCH):
        gold = _as_gold(table, features)
        yield gold
        counts.add_gold(gold, split)
        counts.add_source(gold, split)
    if made:
        yield from _made_rows(run, split, counts)


def _made_rows(run: Run, split: str, counts: Counts) -> Iterator["pa.Table"]:
    """Yield what was made of a split's posts and is neither a repetition nor a leak."""
    import pyarrow as pa

    if not any(part.split == split for part in run.parts):
        return
    guard, reduce, pictures = _guard(run), run.method.reduce(), PictureUse(run.n_made_of(split))
    for table in part_tables(run, split):
        for start in range(0, table.num_rows, BATCH):
            batch = table.slice(start, BATCH)
            keep = []
            for i, post in enumerate(_posts(batch, counts.codec)):
                reason = guard.check(post) or reduce(post) or pictures.check(post)
                if reason:
                    counts.dropped[reason] += 1
                    continue
                keep.append(i)
                counts.add_made(post, split)
            yield batch if len(keep) == batch.num_rows else batch.take(pa.array(keep, pa.int64()))


def _replaced(
    made: "pa.Table", gold: "pa.Table", split: str, counts: Counts, pictures: PictureUse
) -> Iterator["pa.Table"]:
    """Yield a part's made rows in the order of their gold rows, and the gold row where none was made, or is kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keep = []
    for start in range(0, made.num_rows, BATCH):
        for i, post in enumerate(_posts(made.slice(start, BATCH), counts.codec), start):
            if reason := pictures.check(post):
                counts.dropped[reason] += 1
                continue
            keep.append(i)
            counts.add_made(post, split)
    if len(keep) < made.num_rows:
        made = made.take(pa.array(keep, pa.int64()))
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


def _guard(run: Run) -> Guard:
    """Return the guard against repetitions of gold train posts and leaks of every other split."""

    def posts(split: str) -> Iterator[Post]:
        return iterate_posts(run.gold[split], Codec(run.gold[split].features), images=True)

    return Guard(
        posts("train"),
        lambda: (post for split in run.gold if split != "train" for post in posts(split)),
        same_text=run.method.keeps_text,
        comparable=run.method.comparable,
    )


def _posts(table: "pa.Table", codec: Codec) -> Iterator[Post]:
    """Yield rows as posts, with what a method noted of a row it made."""
    for row in table.to_pylist():
        post = codec.to_post(row)
        note = row.get("provenance")
        yield replace(post, details=read_provenance(note, f"post {post.id}").get("details", {})) if note else post


def _as_gold(table: "pa.Table", features: "Features") -> "pa.Table":
    """Return gold rows with the columns of an augmented config; those of an augmented source are kept."""
    import pyarrow as pa

    values = {
        "source_id": table.column("id"),
        "method": ["gold"] * table.num_rows,
        "provenance": ["{}"] * table.num_rows,
    }
    for name in AUGMENTED:
        if name not in table.column_names:
            table = table.append_column(name, values[name] if name == "source_id" else pa.array(values[name]))
    for name in set(features) - set(table.column_names):  # what a method adds to the posts it makes
        table = table.append_column(name, pa.nulls(table.num_rows, features.arrow_schema.field(name).type))
    return table.select(list(features))


def _withdraw_from(folder: Path, unwanted: set[str]) -> int:
    """Take rows out of a config's files; return how many."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    note = read_note(folder)
    licences, masked = Counter(note.get("licences", {})), Counter(note.get("masked", {}))
    inherited, earlier, entities = (
        Counter(note.get("inherited", {})),
        Counter(note.get("earlier", {})),
        note["entities"],
    )
    features, method = read_features(folder), note["recipe"]["method"]
    outside = note.get("outside")
    replaces = outside["replaces"] if outside else method_class(method).mode == "replace"
    gone = made_gone = 0
    shown = ShownPictures()
    lost: set[str] = set()  # ids of rows that go; what was made of them stands behind them
    with stage(folder.parent, folder.name) as room:
        place = room / folder.name
        for split, files in _files(folder, note["splits"]).items():
            counts = note["splits"][split]

            def kept(
                split: str = split, files: list[Path] = files, counts: dict[str, int] = counts
            ) -> Iterator["pa.Table"]:
                nonlocal gone, made_gone
                row, first_made = 0, counts["gold"]
                for file in files:
                    with reading(file), pq.ParquetFile(file) as parquet:
                        for batch in parquet.iter_batches(batch_size=BATCH):
                            table = pa.Table.from_batches([batch])
                            check_keys(table, file)
                            bad = pa.array(_is_made_of(table, lost, _is_of(table, unwanted)), pa.bool_())
                            if replaces:
                                is_made = pc.equal(table["method"], method)
                            else:
                                is_made = pa.array([row + i >= first_made for i in range(table.num_rows)])
                            row += table.num_rows
                            gold, made = table.filter(pc.and_not(bad, is_made)), table.filter(pc.and_(bad, is_made))
                            gone += gold.num_rows + made.num_rows
                            made_gone += made.num_rows
                            counts["gold"] -= gold.num_rows
                            counts["made"] -= made.num_rows
                            for details in _details(made):
                                _count_origin(details, licences, masked, -1)
                            for details in _details(table.filter(pc.and_not(is_made, bad))):
                                shown.add(details)
                            inherited.subtract(_retrieved_posts(gold))
                            earlier.subtract(_made_posts(gold))
                            if replaces:
                                inherited.subtract(_retrieved_posts(made))
                                earlier.subtract(_made_posts(made, replaced=True))
                            if split in ("train", STUBS):
                                _uncount_entities(entities, gold, features, gold=True)
                                _uncount_entities(entities, made, features, gold=replaces)
                            yield table.filter(pc.invert(bad))

            counts["num_bytes"] = write_split(kept(), place, split, read_features(folder, split))
        if gone:
            note["licences"], note["masked"], note["inherited"] = dict(+licences), dict(+masked), dict(+inherited)
            note["earlier"] = dict(+earlier)
            note["entities"] = {kind: both for kind, both in entities.items() if both[1]}
            funnel = note["funnel"]
            funnel["kept"] -= made_gone
            if made_gone:
                funnel["dropped"]["withdrawn"] = funnel["dropped"].get("withdrawn", 0) + made_gone
            if STUBS in note["splits"] and not note["splits"][STUBS]["made"]:
                _remove(place, note["splits"], STUBS)
            content = fingerprint_of(place, note["splits"])
            note["content_fingerprint"] = content.total
            note["digests"] = {"columns": content.columns, "rows": content.rows}
            note["withdrawn"] = note.get("withdrawn", 0) + gone
            note["examples"] = []
            originals = {name: n for name, n in note.get("pictures", {}).items() if name == "originals"}
            note["pictures"] = {**originals, **shown.counts()}
            place_config(place, folder.parent, note, features)
    return gone


def _is_of(table: "pa.Table", unwanted: set[str]) -> list[bool]:
    """Say of each row whether a post of these ids is in it: itself, its gold post, a partner, what was retrieved."""
    named = zip(table["id"].to_pylist(), table["source_id"].to_pylist(), _histories(table), strict=True)
    rows = (
        {*ids, *(name for _, note in history for name in origins(note.get("details", {})))} for *ids, history in named
    )
    return [any(_means(unwanted, name) for name in row) for row in rows]


def _means(ids: set[str], name: str) -> bool:
    """Say whether a post is one of these, or numbered as of one."""
    return name in ids or bool((numbered := NUMBERED.fullmatch(name)) and numbered[1] in ids)


def _is_made_of(table: "pa.Table", lost: set[str], bad: list[bool]) -> list[bool]:
    """Say of each row whether it goes, or its id is of what was made of one that went; note the ids of those."""
    found = []
    for name, goes in zip(table["id"].to_pylist(), bad, strict=True):
        found.append(goes or name.rpartition("+")[0] in lost)
        if found[-1]:
            lost.add(name)
    return found


def _uncount_entities(entities: dict[str, list[int]], table: "pa.Table", features: "Features", *, gold: bool) -> None:
    """Take the entities of rows out of those counted: of gold and made posts, and with ``gold`` of gold posts, too.

    What replaces a gold post has its entities.
    """
    if "ner_tags" not in table.column_names:
        return
    names = tag_names(features, "ner_tags")
    for tag in (names[tag] for tags in table["ner_tags"].to_pylist() for tag in tags):
        prefix, kind = split_tag(tag)
        if prefix == "B":
            if kind not in entities:
                raise Corrupt(f"{NOTE}: entities: expected the type {kind} of the rows, found none: {AS_PUBLISHED}")
            entities[kind][0] -= gold
            entities[kind][1] -= 1


def _details(table: "pa.Table") -> Iterator[dict[str, Any]]:
    """Yield what the method noted of each row."""
    rows = zip(table["id"].to_pylist(), table["provenance"].to_pylist(), strict=True)
    return (read_provenance(note, f"post {name}").get("details", {}) for name, note in rows)


def write_split(rows: Iterable["pa.Table"], folder: Path, stem: str, features: "Features") -> int:
    """Write a split's rows and return the bytes that they take."""
    return sum(path.stat().st_size for path in write_shards(rows, folder, stem, features))


def _remove(folder: Path, splits: dict[str, Any], split: str) -> None:
    """Take a split without rows out again."""
    del splits[split]
    for path in folder.glob(f"{split}-*.parquet"):
        path.unlink()


def fingerprint_of(folder: Path, splits: Iterable[str]) -> Fingerprint:
    """Return the content fingerprint of a config's splits; stubs count as the train rows that they stand for.

    Raises:
        Corrupt: a split has no file, or one is damaged.
    """
    files = _files(folder, splits)
    if STUBS in files:
        files["train"] = files.get("train", []) + files.pop(STUBS)
    return parquet_fingerprint(files)


def _write_note(folder: Path, note: dict[str, Any]) -> None:
    data = json.dumps(note, indent=2, ensure_ascii=False).encode()
    artifacts.write_atomically(folder / NOTE, data + b"\n")


def _files(folder: Path, splits: Iterable[str]) -> dict[str, list[Path]]:
    """Return the Parquet files of a config's splits.

    Raises:
        Corrupt: a split has none.
    """
    files = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in splits}
    for split, found in files.items():
        if not found:
            raise Corrupt(f"{folder}: expected {split}-*.parquet, found none: {AS_PUBLISHED}")
    return files


def _spell_difference(folder: Path, expected: Fingerprint, found: Fingerprint) -> str:
    """Return where the rows of a folder differ from what is expected."""
    import pyarrow.dataset as pads

    difference = expected.difference(found)
    if difference is None:
        return "the features differ"
    split, row, columns = difference
    if row is None:
        return f"{split}: the columns {', '.join(columns)} are not the same"
    stubs = sorted(folder.glob(f"{STUBS}-*.parquet")) if split == "train" else []
    rows = pads.dataset([*_files(folder, [split])[split], *stubs]).to_table(columns=["id"]).column("id")
    name = rows[row].as_py() if row < len(rows) else "absent"
    return f"{split}, row {row} (post {name}) is the first that differs; columns that differ: {', '.join(columns)}"
