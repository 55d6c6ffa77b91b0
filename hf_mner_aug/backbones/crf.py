"""A conditional random field over features of words: trains in seconds on a CPU, without pretrained weights.

Lafferty et al. 2001, by CRFsuite: L-BFGS with L1 and L2 penalties, so equal input gives an equal model. Features: the
word, its affixes and shape, the words up to two places away, and marks of tweets (handle, hashtag, URL); with a
lexicon, the types of the listed names that the word and its neighbours are of.
"""

import contextlib
import functools
import json
import math
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hf_mner_aug.backbones import Marginals, Prediction, checkpoint, splits
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.posts.lexicon import is_link
from hf_mner_aug.posts.name_lists import Lexicon, find_names, lexicon_of, read_names
from hf_mner_aug.posts.scripts import without_marks
from hf_mner_aug.schema import Post, bio_names
from hf_mner_aug.stopping import interrupts_blocked
from hf_mner_aug.storage import artifacts
from hf_mner_aug.storage.disk import disk_full
from hf_mner_aug.storage.pinned_files import LocalFile
from hf_mner_aug.values import Amount, Positive, check_ranges, later

if TYPE_CHECKING:
    import pycrfsuite

WEIGHTS = "model.crfsuite"
NO_NAMES: Lexicon = MappingProxyType({})
LONGEST_AFFIX = 4
REACH = 2  # neighbours on each side that give features
APART = 5_000  # posts; training on more runs in a separate process
TRAINING = """
import json, os, sys, threading
import pycrfsuite

trainer = pycrfsuite.Trainer(**json.loads(sys.stdin.readline()))
for line in iter(sys.stdin.readline, "\\n"):
    trainer.append(*json.loads(line or os._exit(1)))
threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()  # when whoever asks has ended
trainer.train(sys.argv[1])
os._exit(0)
"""


def word_shape(word: str) -> str:
    """Return a word's shape: ``iPhone5s`` gives ``xXxxxxdx``."""
    letters = without_marks(word)
    return "".join("X" if c.isupper() else "d" if c.isdigit() else "x" if c.isalpha() else c for c in letters)


def squeezed(shape: str) -> str:
    """Return a word's shape without repeats: ``Xxxxx`` gives ``Xx``."""
    return re.sub(r"(.)\1+", r"\1", shape)


@functools.lru_cache(maxsize=100_000)
def word_features(word: str) -> tuple[str, ...]:
    """Return the features of a word without its context."""
    lower, shape = word.lower(), word_shape(word)
    found = [f"word={word}", f"lower={lower}", f"shape={shape}", f"short={squeezed(shape)}"]
    for n in range(1, min(LONGEST_AFFIX, len(lower)) + 1):
        found += [f"prefix={lower[:n]}", f"suffix={lower[-n:]}"]
    flags = {
        "capital": word[:1].isupper(),
        "capitals": len(word) > 1 and word.isupper(),
        "digit": any(map(str.isdigit, word)),
        "handle": word.startswith("@"),
        "hashtag": word.startswith("#"),
        "url": is_link(word),
        "punctuation": not any(map(str.isalnum, word)),
    }
    return (*found, *(flag for flag, holds in flags.items() if holds))


def post_features(tokens: Sequence[str], lexicon: Lexicon = NO_NAMES) -> list[list[str]]:
    """Return the features of each word of a post, with those of its neighbours (tokens: [n_words])."""
    lower = [token.lower() for token in tokens]
    short = [squeezed(word_shape(token)) for token in tokens]
    found = []
    for i, token in enumerate(tokens):
        features = ["bias", *word_features(token)]
        for step in range(-REACH, REACH + 1):
            j = i + step
            if step == 0:
                continue
            if 0 <= j < len(tokens):
                features += [f"{step}:lower={lower[j]}", f"{step}:short={short[j]}"]
            else:
                features.append(f"{step}:none")
        if i:
            features.append(f"-1,0:lower={lower[i - 1]} {lower[i]}")
        if i + 1 < len(tokens):
            features.append(f"0,1:lower={lower[i]} {lower[i + 1]}")
        found.append(features)
    if lexicon:
        for features, named in zip(found, name_features(tokens, lexicon), strict=True):
            features += named
    return found


def name_features(tokens: Sequence[str], lexicon: Lexicon) -> list[list[str]]:
    """Return for each word the listed names that it and the words beside it are of (tokens: [n_words])."""
    marks = [[], *find_names(tokens, lexicon), []]
    found = []
    for i in range(1, len(marks) - 1):
        beside = [f"{step}:lexicon={mark}" for step in (-1, 1) for mark in marks[i + step]]
        found.append([f"lexicon={mark}" for mark in marks[i]] + beside)
    return found


def read_lexicon(path: str | None) -> Lexicon:
    """Return the names of a file; none without one.

    Raises:
        UsageError: the file cannot be read, or has no names.
        DataError: a line of it is not a type and a name.
    """
    if path is None:
        return NO_NAMES
    found = lexicon_of(read_names(path))
    if not found:
        raise UsageError(f"lexicon={path}: expected names in the file, found none")
    return found


def weighted(posts: Sequence[Post], weights: Sequence[float]) -> tuple[list[Post], float]:
    """Return each post as often as its weight asks, to a tenth, and the factor of the penalties that goes with it.

    CRFsuite weighs no post; likelihood and penalties times the same number have the same optimum.

    Raises:
        UsageError: every weight is below 0.05.
    """
    tenths = [round(10 * weight) for weight in weights]
    common = math.gcd(*tenths)
    if not common:
        raise UsageError("crf rounds weights to tenths, and every weight of train is below 0.05: multiply them")
    repeated = [post for post, n in zip(posts, tenths, strict=True) for _ in range(n // common)]
    return repeated, 10 / common


@dataclass(frozen=True, kw_only=True)
class CRF:
    """Linear-chain CRF over word features.

    Labels that are not in train are never predicted. ``seed`` has no effect: training draws no random number.

    Args:
        c1: the weight of the L1 penalty.
        c2: the weight of the L2 penalty.
        iterations: the maximum number of L-BFGS iterations.
        weight: a column of train with the weight of each post's likelihood, 0 to 10, rounded to tenths; null is 1.
        lexicon: a file of names, a type and a name on each line: whether a word is in one is a feature of it.
        boundary: predict entities without their types.
    """

    name: ClassVar[str] = "crf"
    seedless: ClassVar[bool] = True
    reads_images: ClassVar[bool] = False
    training: ClassVar[None] = None

    c1: Amount = 0.1
    c2: Amount = 0.1
    iterations: Positive = 100
    weight: str | None = None
    lexicon: LocalFile | None = None
    boundary: bool = False
    seed: int = 0
    types: Literal["coarse", "fine"] = later("coarse")
    labels: tuple[str, ...] = field(default=(), repr=False)
    names: Mapping[str, tuple[str, ...]] | None = field(default=None, repr=False, hash=False)
    model: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_ranges(self, self.name)

    @property
    def training_note(self) -> str:
        """How each cell of a study is trained, for its report."""
        return (
            f"Every cell has at most {self.iterations} iterations of L-BFGS over its whole train split; training has a "
            "single final state, so validation selects nothing. With more posts, repeated ones included, the penalties "
            "weigh less: this is what oversampling gains."
        )

    def fit(self, train: Any, validation: Any = None) -> Self:
        """Return a fitted copy; validation is only checked, since training has a single final state.

        Raises:
            UsageError: a split is empty or has other columns, train has no entity, or there is no such lexicon.
            DataError: a weight is not a number from 0 to 10, or a line of the lexicon is not a type and a name.
            DiskFull: there is no space for the model in the temporary folder.
            OSError: the training process died.
        """
        data = splits.entity_splits(train, validation, boundary=self.boundary, types=self.types, weight=self.weight)
        posts, scale = weighted(data.train, data.weights) if data.weights else (data.train, 1.0)
        names = read_lexicon(self.lexicon)
        params = {"c1": self.c1 * scale, "c2": self.c2 * scale, "max_iterations": self.iterations}
        options = {"algorithm": "lbfgs", "params": params, "verbose": False}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / WEIGHTS
            (_train_apart if len(posts) > APART else _train)(posts, names, options, path)
            model = path.read_bytes()
            if not _is_whole(model):
                raise disk_full(path)
            return replace(self, model=model, labels=data.labels, names=dict(names) or None)

    def predict(self, dataset: Any) -> list[Prediction]:
        """Return the spans of each post; a confidence is the lowest marginal of the span's tags.

        Raises:
            NotFitted: the backbone was not fitted.
            UsageError: the dataset lacks a column, or has types that the model does not know.
        """
        return [_prediction(tagger, post, tags) for tagger, post, tags in self._tagged(dataset)]

    def marginals(self, dataset: Any) -> list[Marginals]:
        """Return the spans of each post, with the marginals of all tags; raises as ``predict``."""
        import numpy as np

        names = bio_names(self.labels)
        learnt = set(_tagger(self._fitted()).labels())
        known = [(j, name) for j, name in enumerate(names) if name in learnt]
        found = []
        for tagger, post, tags in self._tagged(dataset):
            probabilities = np.zeros((len(tags), len(names)), np.float32)
            for i in range(len(tags)):
                for j, name in known:
                    probabilities[i, j] = tagger.marginal(name, i)
            found.append(Marginals(_prediction(tagger, post, tags), tuple(names), probabilities))
        return found

    def _tagged(self, dataset: Any) -> "Iterator[tuple[pycrfsuite.Tagger, Post, list[str]]]":
        """Yield each post with its tags and the tagger, whose marginals are those of this post."""
        tagger = _tagger(self._fitted())
        kind, labels = splits.kind_of(self.types), () if self.boundary else self.labels
        for post in splits.unlabelled(dataset, kind, labels):
            yield tagger, post, tagger.tag(post_features(post.tokens, self.names or NO_NAMES)) if post.tokens else []

    def save(self, folder: str | Path) -> None:
        """Write CRFsuite's model and the settings into a folder.

        Raises:
            NotFitted: the backbone was not fitted.
        """
        model = self._fitted()
        artifacts.write_atomically(Path(folder) / WEIGHTS, model)
        settings = asdict(self)
        del settings["model"]
        checkpoint.write(Path(folder), self.name, WEIGHTS, {"labels": settings.pop("labels"), "settings": settings})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the backbone saved in a folder.

        Raises:
            UsageError: there is none, or one of another kind.
            Corrupt: a file is damaged.
        """
        record = checkpoint.read(Path(folder), cls.name)
        model = (Path(folder) / WEIGHTS).read_bytes()
        settings = checkpoint.settings(cls, record, Path(folder))
        return cls(**{**settings, "model": model, "labels": tuple(record["labels"])})

    def _fitted(self) -> bytes:
        if self.model is None:
            raise checkpoint.not_fitted(self.name)
        return self.model


def _train(posts: Sequence[Post], names: Lexicon, options: Mapping[str, Any], path: Path) -> None:
    """Train on some posts and write the model."""
    import pycrfsuite

    trainer = pycrfsuite.Trainer(**options)
    for post in posts:
        trainer.append(post_features(post.tokens, names), splits.bio_tags(post))
    trainer.train(str(path))


def _train_apart(posts: Sequence[Post], names: Lexicon, options: Mapping[str, Any], path: Path) -> None:
    """Train in another process: CRFsuite holds the interpreter lock, so Ctrl-C would have to wait for it."""
    with interrupts_blocked():
        process = subprocess.Popen([sys.executable, "-P", "-c", TRAINING, path], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it has died
            process.stdin.write(f"{json.dumps(options)}\n")
            for post in posts:
                process.stdin.write(f"{json.dumps([post_features(post.tokens, names), splits.bio_tags(post)])}\n")
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait()
    finally:
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
    if process.returncode:
        raise OSError(f"crf: the training process ({len(posts)} posts) died, perhaps because memory ran out")


def _is_whole(model: bytes) -> bool:
    """Return whether a model file is complete: CRFsuite does not notice a full disk, and crashes on half a model.

    Its header of 48 bytes has the length of the file and the offset of the last section, which has its own length.
    """
    if len(model) < 48:
        return False
    size, last = struct.unpack_from("<4xI36xI", model)
    name, length = struct.unpack("<4sI", model[last : last + 8].ljust(8))
    return name == b"AFRF" and size == len(model) == last + length


def _prediction(tagger: "pycrfsuite.Tagger", post: Post, tags: list[str]) -> Prediction:
    return splits.read_prediction(post, tags, [tagger.marginal(tag, i) for i, tag in enumerate(tags)])


@functools.lru_cache(maxsize=4)
def _tagger(model: bytes) -> "pycrfsuite.Tagger":
    import pycrfsuite

    tagger = pycrfsuite.Tagger()
    tagger.open_inmemory(model)
    return tagger
