"""Measures of a config's made posts beside their gold posts, without training on them.

Similarity to the source, diversity and perplexity are the criteria of GMDA's table 7, which names neither the sentence
vectors nor n: here TF-IDF or an encoder, and n = 1 to 3.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hf_mner_aug.backbones import Backbone, Prediction
from hf_mner_aug.backbones.settings import parse_backbone
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.metrics.spans import score_spans
from hf_mner_aug.models.matching.engine import PairEncoder, TooFewPairs
from hf_mner_aug.models.matching.matcher import fit_folds
from hf_mner_aug.models.words.sentence import Similarity, TfidfSimilarity, open_encoder, open_language_model
from hf_mner_aug.posts.texts import normalise_text, text_key
from hf_mner_aug.publishing.rows import drop_check
from hf_mner_aug.schema import IMAGE_COLUMNS, Codec, Post, read_provenance
from hf_mner_aug.sources.loading import with_pictures
from hf_mner_aug.storage.fingerprint import content_fingerprint
from hf_mner_aug.studies.configs import Config, open_config
from hf_mner_aug.studies.page import spell_command
from hf_mner_aug.studies.quality_tables import FAULTS, SIZES, Column, QualityReport, meanings
from hf_mner_aug.studies.tables import public_name
from hf_mner_aug.studies.tasks import ENTITIES, Task, choose_task, found_in, viewed
from hf_mner_aug.transform import iterate_posts
from hf_mner_aug.untrusted.printable import for_markdown

if TYPE_CHECKING:
    from datasets import Dataset

TFIDF = "TF-IDF"
BATCH = 64  # posts whose pictures are held


# ---------------------------------------------------------------- measures


def count_ngrams(texts: Iterable[Sequence[str]], n: int) -> tuple[int, int]:
    """Return the numbers of different and of all n-grams of words in some texts [n_texts][n_words]."""
    counts = Counter(tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1))
    return len(counts), counts.total()


def diversity(texts: Sequence[Sequence[str]]) -> float | None:
    """Return the share of different n-grams among all, the mean for n = 1, 2, 3; None if all texts are too short.

    Li et al. 2016 (distinct-n), but divided by the n-grams and not by the words.
    """
    counts = [count_ngrams(texts, n) for n in SIZES]
    return fmean(unique / total for unique, total in counts) if all(total for _, total in counts) else None


def draw_words(posts: Sequence[Post], n_words: int) -> list[Sequence[str]]:
    """Return texts of posts drawn at random with ``n_words`` words in all; the last text is cut."""
    texts: list[Sequence[str]] = []
    for post in sorted(posts, key=lambda post: Draw(f"quality\0{post.id}".encode()).random()):
        if n_words <= 0:
            break
        texts.append(post.tokens[:n_words])
        n_words -= len(post.tokens)
    return texts


def count_faults(
    made: Iterable[Post], check: Callable[[Post], str | None], gold: Iterable[Post] | None
) -> dict[str, int]:
    """Return the number of made posts that publishing would drop, by reason.

    ``same_text`` counts those with the normalised text of a gold or earlier made post, whatever their labels.

    Args:
        made: the made posts of train, with their pictures.
        check: the result of ``publishing.rows.drop_check``.
        gold: the gold posts of train; None for a method that keeps texts: then there is no ``same_text``.
    """
    counts = Counter(dict.fromkeys(FAULTS, 0))
    texts = {"", *(text_key(post.tokens) for post in gold or ())}
    for post in made:
        if reason := check(post):
            counts[reason] += 1
        key = text_key(post.tokens)
        counts["same_text"] += bool(key) and key in texts
        texts.add(key)
    if gold is None:
        del counts["same_text"]
    return dict(counts)


def agrees(post: Post, prediction: Prediction, task: Task = ENTITIES) -> bool:
    """Return whether a backbone predicts a post's labels: its relation, or its entities as a task has them."""
    if prediction.relation is not None:
        return post.relation is not None and prediction.relation.type == post.relation.type
    return set(task.found(post, prediction)) == set(task.gold(post))


def label_scores(posts: Sequence[Post], predictions: Sequence[Prediction], task: Task) -> dict[str, float]:
    """Return the F1 of predicted labels against those of posts, and that of each part; nothing without parts."""
    found, gold = found_in(task, predictions, posts), [task.gold(post) for post in posts]
    scores = {task.f1: score_spans(found, gold).micro.f1} if task.views else {}
    views = task.views.items()
    return scores | {f"{name} F1": score_spans(viewed(v, found), viewed(v, gold)).micro.f1 for name, v in views}


def match_scores(
    pairs: Iterable[tuple[Sequence[str], Post, int]], encoders: "Sequence[PairEncoder]"
) -> tuple[list[float], int]:
    """Return the cosines of words and pictures, by numbered encoders, and the number of unreadable pictures."""
    import numpy as np

    scores: list[float] = []
    for batch in _batches(pairs):
        for number in sorted({number for *_, number in batch}):
            both = [(words, image) for words, post, at in batch if at == number for image in post.images]
            if not both:
                continue
            text = encoders[number].encode_text([normalise_text(words) for words, _ in both])
            image = encoders[number].encode_image([image for _, image in both])
            scores += np.einsum("ij,ij->i", text, image).tolist()
    read = [score for score in scores if score == score]
    return read, len(scores) - len(read)


def quality(
    repo: str | Path,
    configs: Sequence[str],
    *,
    encoder: str | None = None,
    language_model: str | None = None,
    clip: str | None = None,
    backbone: str | None = None,
    one_copy: bool = False,
    source: Any = None,
    images: str | Path | None = None,
) -> QualityReport:
    """Measure the made posts of configs' train splits beside their gold posts.

    Args:
        repo: a repo folder that ``publish`` wrote, or a Hub id.
        configs: augmented configs.
        encoder: a sentence encoder, a folder or Hub id: similarity by it, beside TF-IDF.
        language_model: a causal language model, a folder or Hub id: perplexity under it.
        clip: a model for ``models.matching.clip.load``; by default, a CCA fitted on the gold pairs scores texts and
            pictures.
        backbone: the backbone fitted on the gold posts to predict labels (default: ``crf``;
            ``relation_features`` for relations).
        one_copy: measure one made post of each gold post, the first one.
        source: the source of a method that replaces posts: a folder, a Hub id or splits.
        images: a further folder that pictures named by ``source`` may be read from.

    Raises:
        UsageError: a name is wrong, a config has no made posts, or ``clip`` is given and there are no pictures.
        MissingExtra: a model needs a package that is not installed.
        Corrupt: a config does not match its augmentation.json.
    """
    if not configs:
        raise UsageError("name at least one augmented config: lsms_10pct")
    options = {
        "--encoder": encoder,
        "--language-model": language_model,
        "--clip": clip,
        "--backbone": backbone,
        "--one-copy": one_copy,
        "--source": source if isinstance(source, str | Path) else None,
    }
    source = with_pictures(source, images)
    engines = _Engines(encoder, language_model, clip, backbone)
    subjects = [
        _subject(open_config(repo, name, images=True, source=source), one_copy) for name in dict.fromkeys(configs)
    ]
    golds: dict[str, _Gold] = {}
    for subject in subjects:
        golds.setdefault(subject.gold_key, _Gold(subject, engines))
    pictured = any(map(_pictured, (rows for s in subjects for rows in (s.made, s.gold["train"]))))
    if clip and not pictured:
        raise UsageError(f"{', '.join(s.config.name for s in subjects)}: no post has a picture: leave --clip out")
    made = {subject.config.name: list(_posts(subject.made)) for subject in subjects}
    groups = [*made.values(), *(gold.posts["train"] for gold in golds.values())]
    sampled = min(sum(len(post.tokens) for post in posts) for posts in groups)
    columns: list[Column] = []
    gold_of: dict[str, tuple[str, ...]] = {}
    for key, gold in golds.items():
        end = f" of {gold.subject.config.name}" if len(golds) > 1 else ""
        found = [replace(column, name=column.name + end) for column in gold.columns(sampled)]
        gold_of |= {s.config.name: tuple(c.name for c in found) for s in subjects if s.gold_key == key}
        columns += found
    for subject in subjects:
        columns.append(golds[subject.gold_key].measure(subject, made[subject.config.name], sampled))
    notes = [note for gold in golds.values() for note in gold.notes]
    predicted_by = public_name(backbone) if backbone else ", ".join(dict.fromkeys(s.task.backbone for s in subjects))
    labels = {"backbone": predicted_by, **engines.labels, "sampled": f"{sampled:,}"}
    return QualityReport(
        tuple(columns),
        gold_of,
        {subject.config.name: subject.config.fingerprint for subject in subjects},
        labels,
        (*meanings(columns, labels, one_copy), *dict.fromkeys(notes)),
        spell_command("quality", repo, options, *dict.fromkeys(configs)),
    )


# ---------------------------------------------------------------- inside


class _Engines:
    """The models that measure, and their names for the report."""

    def __init__(self, encoder: str | None, language_model: str | None, clip: str | None, backbone: str | None) -> None:
        self.backbone = parse_backbone(backbone) if backbone else None
        if self.backbone is not None and self.backbone.boundary:
            raise UsageError("labels are compared with their types: leave boundary=true out")
        self.language_model = open_language_model(language_model) if language_model else None
        self.encoders = {public_name(encoder): open_encoder(encoder)} if encoder else {}
        self.clip: PairEncoder | None = None
        if clip:
            from hf_mner_aug.models.matching.clip import load

            self.clip = load(clip)
        self.labels = {
            "language_model": public_name(language_model or "none"),
            "matcher": public_name(clip) if clip else "CCA",
        }


@dataclass(frozen=True, eq=False)
class _Subject:
    """A config and its made rows of train."""

    config: Config
    made: "Dataset"

    @cached_property
    def gold(self) -> "Mapping[str, Dataset]":
        """The gold posts of each split."""
        gold: Mapping[str, Dataset] = self.config.gold
        if not len(gold["train"]):
            raise UsageError(f"{self.config.name} has no gold train posts to compare with")
        return gold

    @property
    def task(self) -> Task:
        """The labels that it has."""
        return choose_task({self.config.name: self.gold["train"].features})

    @cached_property
    def gold_key(self) -> str:
        """The fingerprint of the gold posts without their pictures."""
        columns = [name for name in Codec(self.gold["train"].features).columns if name not in IMAGE_COLUMNS]
        return content_fingerprint({split: rows.select_columns(columns) for split, rows in self.gold.items()})


def _subject(config: Config, one_copy: bool) -> _Subject:
    train, rows = config.splits["train"], config.rows(made=True)
    if not rows:
        raise UsageError(f"{config.name} has no made posts in train: there is nothing to measure")
    if one_copy:
        first: dict[str, int] = {}
        sources, ids = train["source_id"][:], train["id"][:]
        for i in rows:  # a post without a source has in its id the one by whose draw it was made
            first.setdefault(sources[i] or ids[i].rpartition("+")[0], i)
        rows = sorted(first.values())
    return _Subject(config, train.select(rows))


class _Gold:
    """The gold posts that some configs share, and the models fitted on those of train."""

    def __init__(self, subject: _Subject, engines: _Engines) -> None:
        self.subject = subject
        self.rows = subject.gold
        self.engines = engines
        self.notes: list[str] = []
        self.posts = {split: list(_posts(rows)) for split, rows in self.rows.items()}

    @cached_property
    def similarity(self) -> dict[str, Similarity]:
        """The similarity engines by name."""
        return {TFIDF: TfidfSimilarity(list(map(_text, self.posts["train"]))), **self.engines.encoders}

    @cached_property
    def chosen(self) -> Backbone:
        """The backbone, not fitted."""
        return self.engines.backbone or parse_backbone(self.subject.task.backbone)

    @cached_property
    def task(self) -> Task:
        """The labels that it predicts."""
        return choose_task({self.subject.config.name: self.rows["train"].features}, [self.chosen])

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone fitted on train."""
        assert self.task, "it is checked first"
        return self.chosen.fit(self.rows["train"], self.rows.get("validation"))

    @cached_property
    def matcher(self) -> tuple[list[Any], dict[str, int]]:
        """The encoders of texts and pictures, and by post id the number of one that was not fitted on the post."""
        if not any(map(_pictured, self.rows.values())):
            return [], {}
        if self.engines.clip is not None:
            return [self.engines.clip], {}
        try:
            return fit_folds(_posts(self.rows["train"], images=True))
        except TooFewPairs as error:
            self.notes.append(f"Texts and pictures were not scored: {for_markdown(error)}.")
            return [], {}

    def columns(self, sampled: int) -> Iterator[Column]:
        """Yield the columns of the gold posts."""
        train = self.posts["train"]
        others = train[len(train) // 2 :] + train[: len(train) // 2]
        yield Column(
            name="two gold posts",
            similarity=self._similarity(train, others),
            text_image=self._text_image("two gold posts", self._crossed()),
        )
        gold = self._column("gold train", train, self.rows["train"], sampled)
        yield replace(gold, similarity=dict.fromkeys(self.similarity, 1.0))
        if self.posts.get("validation"):
            yield self._column("gold validation", self.posts["validation"], self.rows["validation"], None)

    def measure(self, subject: _Subject, made: list[Post], sampled: int) -> Column:
        """Return the column of a config."""
        name, sources = subject.config.name, subject.made["source_id"][:]
        known = {post.id: post for post in self.posts["train"]}
        pairs = [(post, known[source]) for post, source in zip(made, sources, strict=True) if source in known]
        if free := sources.count(None):
            self.notes.append(
                f"{free} posts of {name} are made of no single gold post: they have no similarity to one."
            )
        if len(pairs) + free < len(made):
            self.notes.append(f"{len(made) - len(pairs) - free} posts of {name} have no source among its gold posts.")
        images = any(map(_pictured, (subject.made, *self.rows.values())))
        method = subject.config.method
        kept_texts = method.content.pictures_only or subject.config.replaces
        return replace(
            self._column(name, made, subject.made, sampled, sources),
            similarity=self._similarity(*map(list, zip(*pairs, strict=True))) if pairs else {},
            faults=count_faults(
                _posts(subject.made, images=images),
                drop_check(method, self.rows, subject.config.n_made, replaced=True),
                None if kept_texts else self.posts["train"],
            ),
        )

    def _column(
        self,
        name: str,
        posts: list[Post],
        rows: "Dataset",
        sampled: int | None,
        sources: Sequence[str | None] | None = None,
    ) -> Column:
        """Return the measures that need no other posts."""
        texts = [post.tokens for post in posts]
        model = self.engines.language_model
        predictions = self.backbone.predict(list(_posts(rows, images=True)) if self.backbone.reads_images else posts)
        origins: Sequence[str | None] = [post.id for post in posts] if sources is None else sources
        return Column(
            name=name,
            posts=len(posts),
            words=sum(map(len, texts)),
            ngrams=tuple(count_ngrams(texts, n) for n in SIZES),
            diversity=diversity(texts),
            sampled_diversity=None if sampled is None else diversity(draw_words(posts, sampled)),
            perplexity=None if model is None else model.perplexity(list(map(_text, posts))),
            text_image=self._text_image(
                name,
                (
                    (post.tokens, post, self._unseen_by(origin, i))
                    for i, (post, origin) in enumerate(zip(_posts(rows, images=True), origins, strict=True))
                ),
            ),
            consistency=fmean(agrees(*both, self.task) for both in zip(posts, predictions, strict=True)),
            label_scores=label_scores(posts, predictions, self.task),
        )

    def _similarity(self, posts: Sequence[Post], others: Sequence[Post]) -> dict[str, float]:
        """Return the mean cosine of pairs of posts, by engine."""
        ours, theirs = list(map(_text, posts)), list(map(_text, others))
        return {name: fmean(alike.pairs(ours, theirs)) for name, alike in self.similarity.items()}

    def _unseen_by(self, post: str | None, i: int) -> int:
        """Return the number of an encoder that was not fitted on a gold post."""
        encoders, fold = self.matcher
        return fold.get(post or "", i % len(encoders))

    def _crossed(self) -> Iterator[tuple[Sequence[str], Post, int]]:
        """Yield the words of each gold post with the pictures of the next one of the same encoder."""
        before: dict[int, Sequence[str]] = {}
        for i, post in enumerate(_posts(self.rows["train"], images=True)):
            if not post.images:
                continue
            number = self._unseen_by(post.id, i)
            if number in before:
                yield before[number], post, number
            before[number] = post.tokens

    def _text_image(self, name: str, pairs: Iterable[tuple[Sequence[str], Post, int]]) -> float | None:
        encoders, _ = self.matcher
        if not encoders:
            return None
        scores, unreadable = match_scores(pairs, encoders)
        if unreadable:
            self.notes.append(f"{unreadable} pictures of {name} cannot be read and were not scored.")
        return fmean(scores) if scores else None


def _posts(rows: "Dataset", *, images: bool = False) -> Iterator[Post]:
    """Yield rows as posts, with the method's notes of made rows."""
    found = iterate_posts(rows, Codec(rows.features), images=images)
    if "provenance" not in rows.column_names:
        yield from found
        return
    for post, note in zip(found, rows["provenance"], strict=True):
        yield replace(post, details=read_provenance(note, f"post {post.id}").get("details", {}))


def _pictured(rows: "Dataset") -> bool:
    """Return whether a post has a picture."""
    column = Codec(rows.features).image_column
    if column is None:
        return False
    tables = rows.select_columns([column]).with_format("arrow").iter(1000)
    return any(value.is_valid and (column == "image" or len(value)) for found in tables for value in found[column])


def _batches(pairs: Iterable[Any]) -> Iterator[list[Any]]:
    pairs = iter(pairs)
    while batch := list(itertools.islice(pairs, BATCH)):
        yield batch


def _text(post: Post) -> str:
    return " ".join(post.tokens)
