"""Searchers for posts that name some entities, by name: the train split or a local corpus; the web is in ``web``."""

import functools
from pathlib import Path
from typing import Annotated

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.search.corpus import LocalCorpus as LocalCorpus
from hf_mner_aug.models.search.corpus import open_corpus
from hf_mner_aug.models.search.engine import HEADS as HEADS
from hf_mner_aug.models.search.engine import IMAGES as IMAGES
from hf_mner_aug.models.search.engine import WEB_REASONS as WEB_REASONS
from hf_mner_aug.models.search.engine import Hit as Hit
from hf_mner_aug.models.search.engine import Listed as Listed
from hf_mner_aug.models.search.engine import Query as Query
from hf_mner_aug.models.search.engine import Require as Require
from hf_mner_aug.models.search.engine import Searcher as Searcher
from hf_mner_aug.models.search.engine import found_words as found_words
from hf_mner_aug.models.search.engine import phrase_words as phrase_words
from hf_mner_aug.models.search.engine import words as words
from hf_mner_aug.models.search.train import TrainPosts as TrainPosts
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.posts import open_posts
from hf_mner_aug.untrusted.names import check_digest
from hf_mner_aug.values import ByContent

TRAIN = "train"
PINNED = "sha256:"


@functools.lru_cache(maxsize=8)
def open_engine(name: str, *, posts: str) -> TrainPosts | LocalCorpus:
    """Return the searcher of ``train``, or of a corpus as ``pinned_engine`` names it.

    Args:
        name: its name.
        posts: the digest of the train posts (``storage.posts``).

    Raises:
        NotFitted: the train posts are not on this machine.
        UsageError: no corpus of that content is known here, or the file has changed.
    """
    if name == TRAIN:
        return TrainPosts(open_posts(posts))
    fingerprint = name.removeprefix(PINNED)
    try:
        path = _note_of(fingerprint).read_text()
    except FileNotFoundError as error:
        raise UsageError(
            f"no corpus with fingerprint {fingerprint[:12]} is known on this machine: name its file with corpus=FILE"
        ) from error
    found = open_corpus(path)
    if found.fingerprint != fingerprint:
        raise UsageError(
            f"{path} is another corpus than the one that was fitted: expected fingerprint {fingerprint[:12]}, found "
            f"{found.fingerprint[:12]}: index the same sources, or name the file with corpus=FILE"
        )
    return found


def pinned_engine(name: str) -> str:
    """Return the name of a searcher, with the content of a corpus for its file; this machine keeps where it lies.

    Raises:
        UsageError: there is no such corpus.
    """
    if name == TRAIN or name.startswith(PINNED):
        return name
    corpus = open_corpus(name)
    artifacts.write_atomically(_note_of(corpus.fingerprint), str(corpus.path).encode())
    return PINNED + corpus.fingerprint


def named_corpus(name: str, where: str) -> str:
    """Return ``pinned_engine`` of a corpus; the web (``serper``) as it is."""
    return name if name.partition(":")[0] == "serper" else pinned_engine(name)


CorpusName = Annotated[str, ByContent(named_corpus)]  # a parameter ``corpus``


def _note_of(fingerprint: str) -> Path:
    """Return the file with the path of a corpus on this machine."""
    return artifacts.cache_folder() / "corpora" / check_digest(fingerprint, "corpus")
