"""Put the words and pictures of retrieved posts back into a config that has only their ids.

Each post is looked up by its id (in a corpus) or url (on the web), cut into words and masked as in the run, and taken
if the digests of its words and pictures are those of its stub. A post that is gone or was edited is left out and
counted.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.corpus import index
from hf_mner_aug.exceptions import Corrupt, DataError, UsageError
from hf_mner_aug.models.search import IMAGES, Hit, LocalCorpus, open_corpus
from hf_mner_aug.posts.tokenising import Style, word_style
from hf_mner_aug.publishing.cards import AS_PUBLISHED
from hf_mner_aug.publishing.folder import (
    NOTE,
    check_free,
    fingerprint_of,
    place_config,
    read_features,
    read_note,
    write_split,
    writing,
)
from hf_mner_aug.publishing.hub import download_config
from hf_mner_aug.publishing.rows import BATCH, Counts, weights_left
from hf_mner_aug.publishing.stubs import withheld
from hf_mner_aug.publishing.verify import verify_folder
from hf_mner_aug.runs.ledger import beside
from hf_mner_aug.runs.recipe import Recipe
from hf_mner_aug.schema import Codec, Post, read_provenance
from hf_mner_aug.storage.disk import room_for
from hf_mner_aug.storage.fingerprint import DIGEST, value_digest
from hf_mner_aug.storage.locks import stage
from hf_mner_aug.storage.parquet import reading
from hf_mner_aug.storage.swap import sync
from hf_mner_aug.transform import Reject, Retrieval, iterate_posts
from hf_mner_aug.transform.weights import has_weights
from hf_mner_aug.untrusted.names import STUBS

if TYPE_CHECKING:
    import pyarrow as pa

Origin = Mapping[str, str]  # the origin of a post, from its stub: post_id, url, …
# Returns the candidates for each post, best first, or a Reject with the reason why there are none.
LookUp = Callable[[Sequence[Origin]], Sequence[Sequence[Hit] | Reject]]


@dataclass(frozen=True)
class Hydrated:
    """A config with its posts restored, except those that are ``missing``, by reason."""

    folder: Path
    config: str
    restored: int
    missing: Mapping[str, int]
    content_fingerprint: str
    expected: str

    def __str__(self) -> str:
        """Return the numbers of restored and missing posts, and the fingerprint."""
        n = self.restored + sum(self.missing.values())
        left_out = ", ".join(f"{reason} {count}" for reason, count in self.missing.items())
        told = "as published" if self.content_fingerprint == self.expected else f"whole, it is {self.expected}"
        return (
            f"{self.restored} of {n} posts put back{f'; left out: {left_out}' if left_out else ''}\n"
            f"content fingerprint {self.content_fingerprint} ({told})"
        )


def in_corpus(corpus: LocalCorpus) -> LookUp:
    """Return a function that looks posts up by their ids in a corpus, the run's or another."""

    def look_up(origins: Sequence[Origin]) -> list[Sequence[Hit] | Reject]:
        found = corpus.posts({origin["post_id"] for origin in origins})
        return [found.get(origin["post_id"], ()) for origin in origins]

    return look_up


def on_web(fetch: Callable[[Sequence[str]], Sequence[Hit | Reject]]) -> LookUp:
    """Return a function that looks posts up by their urls; ``fetch`` returns a post or a Reject for each url."""

    def look_up(origins: Sequence[Origin]) -> list[Sequence[Hit] | Reject]:
        urls = list(dict.fromkeys(origin["url"] for origin in origins if "url" in origin))
        answers: dict[str, Hit | Reject] = dict(zip(urls, fetch(urls), strict=True))
        found = [answers[origin["url"]] if "url" in origin else Reject("no_url") for origin in origins]
        return [answer if isinstance(answer, Reject) else [answer] for answer in found]

    return look_up


def hydrate(
    repo: str | Path,
    config: str,
    out: str | Path,
    *,
    corpus: str | Path | None = None,
    posts: str | Path | None = None,
    web: bool = False,
    look_up: LookUp | None = None,
    overwrite: bool = False,
    into_existing: bool = False,
) -> Hydrated:
    """Write a config that has only ids as a whole one into another folder; name one place to look posts up.

    Args:
        repo: the repo folder or Hub repo.
        config: the config's name.
        out: the repo folder to write.
        corpus: a file of ``corpus.index``.
        posts: an export of posts in a format of ``corpus.index``, such as JSON lines.
        web: fetch each post from its url, as it is today (``models.search.fetching`` has the limits).
        look_up: a function for any other place.
        overwrite: replace a config of the same name that another recipe made.
        into_existing: write into a folder that also holds other files.

    Raises:
        UsageError: there is no such config, it is whole, no post is found, or ``out`` is ``repo`` or holds other
            files.
        TimeoutError: another process did not release ``out`` in time.
        Corrupt: the config does not match its augmentation.json.
        DataError: the export does not match its format.
        EndpointError: the web cannot be used any more.
    """
    out = Path(out)
    folder = Path(repo) if Path(repo).is_dir() else download_config(str(repo), config)
    note = read_note(folder / config)
    if note.get("retrieved") != "ids-only":
        raise UsageError(f"{config} has whole posts: there is nothing to put back")
    method = Recipe.from_dict(note["recipe"]).build()
    retrieval = method.content.retrieval
    if retrieval is None:
        raise Corrupt(
            f"{folder / config / NOTE} says that {method.name} retrieved posts, which it does not: take the file that "
            "was published with the config"
        )
    if "train" not in note["splits"]:
        raise Corrupt(f"{folder / config / NOTE}: splits: expected train, found none: {AS_PUBLISHED}")
    if STUBS not in note["splits"]:
        raise UsageError(f"{config} holds no retrieved post: there is nothing to put back")
    if out.resolve() == folder.resolve():
        raise UsageError(f"{out} is published without the posts: name another folder with --out")
    if sum(map(bool, (corpus, posts, web, look_up))) != 1:
        raise UsageError("name one place to find the posts: --corpus FILE, --posts FILE, or --web")
    recipe = Recipe.from_dict(note["recipe"])
    free = partial(check_free, out, recipe, overwrite=overwrite, into_existing=into_existing, review=note.get("review"))
    free()
    checked = verify_folder(folder, config)
    if not checked.ok:
        raise Corrupt(f"{folder / config} does not match its augmentation.json: {checked.difference}")
    with tempfile.TemporaryDirectory() as temporary:
        if posts:
            corpus = index(str(posts), Path(temporary) / "posts.db").path
        if corpus:
            look_up = in_corpus(open_corpus(corpus))
        elif not look_up:
            column = Codec(read_features(folder / config)).image_column if retrieval.image else None
            most = IMAGES if column == "images" else int(column is not None)
            look_up = on_web(partial(_fetch, record=temporary, pictures=most))
        return _hydrate(folder / config, note, retrieval, look_up, out, str(posts or corpus or "the web"), free)


def _fetch(urls: Sequence[str], *, record: str, pictures: int) -> list[Hit | Reject]:
    """Fetch the posts at some urls, each with at most ``pictures``; no older record is used unless one is set."""
    from hf_mner_aug.models.search.fetching import web_settings
    from hf_mner_aug.models.search.web import fetch_pages, fetch_posts

    web = web_settings()
    web = web if web.record else replace(web, record=record)
    if pictures:
        return fetch_posts(urls, web, pictures)
    return [
        page if isinstance(page, Reject) else Hit(id=page.url, text=page.text, source="", score=0.0)
        for page in fetch_pages(urls, web)
    ]


def _hydrate(
    place: Path,
    note: dict[str, Any],
    retrieval: Retrieval,
    look_up: LookUp,
    out: Path,
    where: str,
    free: Callable[[], None],
) -> Hydrated:
    """Write the whole config in a staging folder, then move it into place if that is still free."""
    config, features = place.name, read_features(place)
    restorer = _Restorer(place, retrieval, look_up, weighted=bool(note.get("weights")))
    hidden = beside(out, config)
    with stage(hidden.parent, hidden.name) as room:
        new = room / config
        splits = {split: rows for split, rows in note["splits"].items() if split != STUBS}
        num_bytes = write_split(restorer.rows(), new, "train", features)
        counts, missing = restorer.counts, dict(sorted(restorer.missing.items()))
        if not counts.made["train"]:
            reasons = ", ".join(f"{reason} {count}" for reason, count in missing.items())
            raise UsageError(f"{where} has none of the posts of {config} ({reasons})")
        splits["train"] = {"gold": counts.gold["train"], "made": counts.made["train"], "num_bytes": num_bytes}
        for file in place.glob("*.parquet"):
            if any(split != "train" and file.name.startswith(f"{split}-") for split in splits):
                with room_for(out / config / file.name, file.stat().st_size):
                    shutil.copyfile(file, new / file.name)
                    sync(new / file.name)
        content = fingerprint_of(new, splits)
        dropped = {**note["funnel"]["dropped"], **missing}
        whole = {
            **note,
            "splits": splits,
            "funnel": {**note["funnel"], "dropped": dropped, "kept": counts.made["train"]},
            "entities": counts.by_type(),
            "examples": counts.examples,
            "content_fingerprint": content.total,
            "retrieved": "whole",
            "licences": dict(sorted(counts.licences.items())),
            "masked": dict(sorted(counts.masked.items())),
            "weights": weights_left(note, counts.weights),
            "digests": {"columns": content.columns, "rows": content.rows},
            "hydrated_from": note["content_fingerprint"],
        }
        with writing(out, "hydrate"):
            free()
            place_config(new, out, whole, features)
    return Hydrated(out, config, counts.made["train"], missing, content.total, note["content_fingerprint"])


def _origin_of(stub: Mapping[str, Any]) -> dict[str, Any]:
    """Return the origin of a stub's post.

    Raises:
        DataError: the stub has no ``post_id``.
    """
    details: dict[str, Any] = read_provenance(stub["provenance"], f"post {stub['id']}").get("details", {})
    if "post_id" not in details:
        raise DataError(f"post {stub['id']}: provenance: expected details with a post_id, found none: {AS_PUBLISHED}")
    return details


class _Restorer:
    """Restores the rows of train, and counts them."""

    def __init__(self, place: Path, retrieval: Retrieval, look_up: LookUp, *, weighted: bool) -> None:
        from datasets import Dataset

        self._retrieval = retrieval
        self._look_up = look_up
        self._place = place
        self._features = read_features(place)
        self._withheld = withheld(self._features)
        self._codec = Codec(self._features)
        files = [str(path) for path in sorted(place.glob("train-*.parquet"))]
        self._gold: Dataset = Dataset.from_parquet(files, features=self._features)
        self._places = {name: i for i, name in enumerate(self._gold["id"])}
        self._style: Style = word_style(iterate_posts(self._gold, self._codec))
        self.counts = Counts(self._codec, weighted=weighted and has_weights(self._features))
        self.missing: Counter[str] = Counter()

    def rows(self) -> "Iterator[pa.Table]":
        """Yield the gold rows, then the restored rows of stubs whose posts were found."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for table in self._gold.with_format("arrow").iter(BATCH):
            self.counts.add_gold(table, "train")
            self.counts.add_source(table, "train")
            yield table
        for path in sorted(self._place.glob(f"{STUBS}-*.parquet")):
            with reading(path), pq.ParquetFile(path) as parquet:
                for batch in parquet.iter_batches(batch_size=BATCH):
                    yield self._restored(pa.Table.from_batches([batch]))

    def _restored(self, table: "pa.Table") -> "pa.Table":
        """Return whole rows for the stubs whose posts are found."""
        import pyarrow as pa

        stubs = table.to_pylist()
        details = [_origin_of(stub) for stub in stubs]
        keep: list[int] = []
        values: dict[str, list[Any]] = {name: [] for name in self._withheld}
        for i, found in enumerate(self._look_up(details)):
            post = self._find(stubs[i], found)
            if isinstance(post, Reject):
                self.missing[post.reason] += 1
                continue
            keep.append(i)
            self.counts.add_made(replace(post, details=details[i]), "train")
            row = self._codec.to_row(post)
            for name in values:
                values[name].append(row[name])
        table = table.take(pa.array(keep, pa.int64()))
        if self.counts.weights:
            self.counts.weights.add(table)
        for name, column in values.items():
            table = table.append_column(name, pa.array(column, self._features.arrow_schema.field(name).type))
        return table.select(list(self._features))

    def _find(self, stub: Mapping[str, Any], found: Sequence[Hit] | Reject) -> Post | Reject:
        """Return the post of a stub if it is among the candidates, else a Reject with the reason."""
        if isinstance(found, Reject):
            return found
        refused = Reject("gone")
        for hit in found:
            post = self._whole(stub, hit)
            if post is None:
                refused = Reject("edited")
                continue
            row = self._codec.to_row(post)
            other = [
                name
                for name, feature in self._withheld.items()
                if value_digest(row[name], feature).hex() != stub[name + DIGEST]
            ]
            if not other:
                return post
            refused = Reject("edited" if "tokens" in other else "other_picture")
        return refused

    def _whole(self, stub: Mapping[str, Any], hit: Hit) -> Post | None:
        """Return a stub with the words and pictures of a post; None if its labels do not fit the words."""
        how = self._retrieval
        words = how.words(hit, self._style) if how.text else self._gold_post(stub).tokens
        blank = dict.fromkeys(self._withheld)
        try:
            post = self._codec.to_post({**blank, **stub, "tokens": words})
        except DataError:
            return None
        return replace(how.mask(post), images=hit.images[:IMAGES] if how.image else self._gold_post(stub).images)

    def _gold_post(self, stub: Mapping[str, Any]) -> Post:
        """Return the gold post that a stub's post was retrieved for."""
        place = self._places[stub["id"].rpartition("+")[0]]
        return self._codec.to_post(self._gold.with_format("arrow")[place : place + 1].to_pylist()[0])
