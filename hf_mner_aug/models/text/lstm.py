"""DAGA's language model of labelled texts (Ding et al. 2020): trained on a split, sampled without any request.

Numbers, and words seen once, are read as classes: by the tag before them and by their form (number, link, handle,
hashtag, capitalised word, other word, sign). A class that is drawn is filled with one of its words, so that neither
``<unk>`` nor ``N`` gets into a text. Deviates: the paper has one class of rare words and one of numbers; on 400 tweets
that class is 38% of all words, and when it is not drawn nine of ten texts do not end, since links do. Tags are words,
none of them is rare, and a draw that would break their grammar is excluded.

It runs on a CPU alone: a network of this size takes minutes there, and gives the same bytes for any batch.
"""

import functools
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.text.engine import Unwritten
from hf_mner_aug.models.text.labelled import is_tag, labelled_as
from hf_mner_aug.models.text.sampling import draw_token
from hf_mner_aug.need import need
from hf_mner_aug.posts.lexicon import repeat_by_count
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.values import Amount, BelowOne, Positive, check_ranges

if TYPE_CHECKING:
    from hf_mner_aug.models.text.lstm_net import LSTM

END, UNKNOWN = 0, 1  # ids: the end of a text; a word of validation that fits no class, never drawn
RECORD, WEIGHTS = "lstm.json", "model.safetensors"
HALVE, PATIENCE, CLIP = 0.5, 2, 5.0  # of the learning rate on a plateau, epochs before that; norm of the gradient
NUMBER = "number"
_FORMS = {
    NUMBER: re.compile(r"\d+(?:[.,:]\d+)*"),
    "link": re.compile(r"(?:https?|www)[:.\u2026].*", re.IGNORECASE | re.DOTALL),
    "handle": re.compile(r"@.+", re.DOTALL),
    "hashtag": re.compile(r"#.+", re.DOTALL),
    "sign": re.compile(r"[\W_]+"),
}


@dataclass(frozen=True, kw_only=True)
class LSTMSettings:
    """The settings of a training; the defaults are those of the paper.

    Args:
        embedding: dimensions of a word's vector; ``hidden`` those of the state.
        dropout: on both.
        learning_rate: of SGD; halved after three epochs without a lower loss.
        batch_size: texts per step.
        epochs: passes over train.
    """

    embedding: Positive = 300
    hidden: Positive = 512
    dropout: BelowOne = 0.5
    learning_rate: Amount = 1.0
    batch_size: Positive = 32
    epochs: Positive = 30
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, "lstm")


def form_of(word: str) -> str:
    """Return the form of a word: number, link, handle, hashtag, sign, capitalised or word."""
    found = next((form for form, pattern in _FORMS.items() if pattern.fullmatch(word)), None)
    return found or ("capitalised" if word[:1].isupper() else "word")


@dataclass(frozen=True)
class Vocabulary:
    """The words of train that occur twice, all tags, and the members of each class with their counts.

    A class is named by its form and tag (``number B-MISC``). Ids are ``END``, ``UNKNOWN``, the classes, the words.
    """

    words: Sequence[str]
    members: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> "Vocabulary":
        """Return the vocabulary of labelled texts [n_texts][n_words]."""
        counts = Counter(word for text in texts for word in text)
        members: dict[str, Counter[str]] = {}
        for text in texts:
            for tag, word in _with_tags(text):
                if not is_tag(word) and (counts[word] == 1 or form_of(word) == NUMBER):
                    members.setdefault(f"{form_of(word)} {tag}", Counter())[word] += 1
        classed = {word for found in members.values() for word in found}
        return cls(
            sorted(counts.keys() - classed),
            {name: dict(sorted(found.items())) for name, found in sorted(members.items())},
        )

    def __len__(self) -> int:
        return 2 + len(self.members) + len(self.words)

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """The ids of words."""
        return {word: 2 + len(self.members) + i for i, word in enumerate(self.words)}

    @functools.cached_property
    def tags(self) -> dict[str, int]:
        """The ids of tags."""
        return {word: i for word, i in self.ids.items() if is_tag(word)}

    @functools.cached_property
    def classes(self) -> dict[str, int]:
        """The ids of classes."""
        return {name: 2 + i for i, name in enumerate(self.members)}

    @functools.cached_property
    def _drawn_from(self) -> list[list[str]]:
        return [repeat_by_count(found.items()) for found in self.members.values()]

    def encode(self, text: Sequence[str]) -> list[int]:
        """Return the ids of a labelled text."""
        return [
            self.ids.get(word) or self.classes.get(f"{form_of(word)} {tag}", UNKNOWN) for tag, word in _with_tags(text)
        ]

    def word(self, i: int, draw: Draw) -> str:
        """Return the word of an id; of a class, one of its words."""
        at = i - 2 - len(self.members)
        return self.words[at] if at >= 0 else draw.choice(self._drawn_from[i - 2])

    def forbidden(self, tag: str, inside: str, *, may_end: bool, begun: Sequence[str] | None = None) -> list[int]:
        """Return the ids that are not drawn: ``UNKNOWN``, the classes of other tags, and what breaks the grammar.

        Args:
            tag: the one before, or an empty text after a word.
            inside: the type of the entity that the word before is in, or an empty text.
            may_end: whether the text may end here.
            begun: the types begun so far, where a text has one head and one tail, of one relation.
        """
        never = [UNKNOWN, *(i for name, i in self.classes.items() if name.partition(" ")[2] != tag)]
        never += [i for name, i in self.tags.items() if tag or (name[0] == "I" and name[2:] != inside)]
        if begun is not None:
            never += [i for name, i in self.tags.items() if name[0] == "B" and not _goes_with(name[2:], begun)]
        return [*never, END] if tag or not may_end else never


def _goes_with(kind: str, begun: Sequence[str]) -> bool:
    """Return whether a head or tail is of the relation of those before, and the first of its kind."""
    new, others = labelled_as(kind), map(labelled_as, begun)
    return all(new.type != other.type and new.fine == other.fine for other in others)


def _with_tags(text: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each word of a labelled text after the tag before it, or an empty one."""
    before = ""
    for word in text:
        yield before, word
        before = word if is_tag(word) else ""


# ---------------------------------------------------------------- training


def fit(texts: Sequence[str], validation: Sequence[str], settings: LSTMSettings) -> str:
    """Return the digest of a language model trained on labelled texts.

    The loss on validation lowers the learning rate, without validation that on train. The last epoch counts: states
    before the rate has fallen are as good on validation, but half of their texts do not end.

    Raises:
        MissingExtra: torch is not installed.
        UsageError: train has no word, or the loss is not finite.
    """
    torch = need("torch", extra="models")
    read, held_out = ([text.split(" ") for text in split if text] for split in (texts, validation))
    if not read:
        raise UsageError("the language model needs posts with words, and train has none")
    vocabulary = Vocabulary.of(read)
    with torch.random.fork_rng(devices=[]):
        net, history = _train(
            [*map(vocabulary.encode, read)], [*map(vocabulary.encode, held_out)], vocabulary, settings
        )
    record = {
        "words": vocabulary.words,
        "members": vocabulary.members,
        "settings": asdict(settings),
        "history": history,
    }
    with tempfile.TemporaryDirectory() as temporary:
        need("safetensors.torch", extra="models").save_file(net.state_dict(), str(Path(temporary) / WEIGHTS))
        (Path(temporary) / RECORD).write_text(canonical_json(record), encoding="utf-8")
        return artifacts.save_folder(Path(temporary))


def _train(
    train: Sequence[list[int]], held_out: Sequence[list[int]], vocabulary: Vocabulary, settings: LSTMSettings
) -> "tuple[LSTM, list[dict[str, float]]]":
    """Return the trained network, and the loss of a word on train and validation after each epoch."""
    import torch

    from hf_mner_aug.models.text.lstm_net import LSTM, as_batch

    draw = Draw(f"lstm\0{settings.seed}".encode())
    torch.manual_seed(draw.sub("weights").seed())
    net = LSTM(len(vocabulary), settings.embedding, settings.hidden, settings.dropout)
    optimiser = torch.optim.SGD(net.parameters(), lr=settings.learning_rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=HALVE, patience=PATIENCE)
    history: list[dict[str, float]] = []
    for epoch in range(settings.epochs):
        net.train()
        torch.manual_seed(draw.sub("dropout", epoch).seed())
        order, total = draw.sub("order", epoch).shuffled(range(len(train))), 0.0
        for first in range(0, len(order), settings.batch_size):
            chosen = [train[i] for i in order[first : first + settings.batch_size]]
            optimiser.zero_grad()
            loss = net.loss(as_batch(chosen, END))
            (loss / len(chosen)).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimiser.step()
            total += loss.item()
        found = {"train": total / _n_words(train)}
        if held_out:
            found["validation"] = _loss(net, held_out, settings.batch_size) / _n_words(held_out)
        watched = found.get("validation", found["train"])
        if not math.isfinite(watched):
            raise UsageError(f"the loss is {watched} in epoch {epoch + 1}: take a smaller learning_rate")
        history.append(found)
        plateau.step(watched)
    return net, history


def _loss(net: "LSTM", texts: Sequence[list[int]], size: int) -> float:
    """Return the summed loss of the words of texts."""
    import torch

    from hf_mner_aug.models.text.lstm_net import as_batch

    net.eval()
    with torch.no_grad():
        return sum(
            net.loss(as_batch(list(texts[first : first + size]), END)).item() for first in range(0, len(texts), size)
        )


def _n_words(texts: Sequence[Sequence[int]]) -> int:
    """Return the number of words of texts, with their ends."""
    return sum(len(text) + 1 for text in texts)


# ---------------------------------------------------------------- sampling


def write(weights: str, draw: Draw, *, temperature: float, most_words: int, relation: bool) -> str | Unwritten:
    """Return a labelled text of a language model, well-formed, or ``unfinished_text``.

    Args:
        weights: the digest that ``fit`` returned.
        draw: of the text, which depends on it and on nothing else.
        temperature: 0 takes the likeliest word.
        most_words: words after which a text must end; tags do not count.
        relation: a text has one head and one tail, of one relation.

    Raises:
        MissingExtra: torch is not installed.
        NotFitted: the weights are not on this machine.
    """
    import numpy as np

    torch = need("torch", extra="models")
    net, vocabulary = _open(weights)
    text: list[str] = []
    tag, inside, n_words, last, state = "", "", 0, END, None
    begun: list[str] | None = [] if relation else None
    for step in range(2 * most_words + 1):  # a tag before each word, and the end
        with torch.inference_mode():
            logits, state = net(torch.tensor([[last]]), state)
        allowed = logits[0, 0].double().numpy()
        may_end = n_words > 0 and (begun is None or len(begun) == 2)
        allowed[vocabulary.forbidden(tag, inside, may_end=may_end, begun=begun)] = -np.inf
        last = draw_token(allowed, draw.sub("word", step), temperature=temperature, top_k=0, top_p=1.0)
        if last == END:
            return " ".join(text)
        text.append(vocabulary.word(last, draw.sub("member", step)))
        tag, inside = (text[-1], "") if is_tag(text[-1]) else ("", tag[2:])
        n_words += not tag
        if begun is not None and tag.startswith("B-"):
            begun.append(tag[2:])
        if n_words > most_words:
            break
    return Unwritten("unfinished_text", f"no end after {most_words} words")


def history(weights: str) -> list[dict[str, float]]:
    """Return the loss of a word on train and validation after each epoch; raises as ``artifacts.load_folder``."""
    with tempfile.TemporaryDirectory() as folder:
        found: list[dict[str, float]] = _record(weights, Path(folder))["history"]
        return found


@functools.lru_cache(maxsize=2)
def _open(weights: str) -> "tuple[LSTM, Vocabulary]":
    """Return a language model and its vocabulary."""
    from hf_mner_aug.models.text.lstm_net import LSTM

    with tempfile.TemporaryDirectory() as temporary:
        record: dict[str, Any] = _record(weights, Path(temporary))
        state = need("safetensors.torch", extra="models").load_file(str(Path(temporary) / WEIGHTS))
    vocabulary, settings = Vocabulary(record["words"], record["members"]), LSTMSettings(**record["settings"])
    net = LSTM(len(vocabulary), settings.embedding, settings.hidden, settings.dropout)
    net.load_state_dict(state)
    return net.eval(), vocabulary


def _record(weights: str, folder: Path) -> dict[str, Any]:
    """Unpack weights into a folder and return the record of their training."""
    artifacts.load_folder(weights, folder)
    if not (folder / RECORD).exists():
        raise UsageError(f"artifact {weights[:12]}: expected a language model, found none: pass what fit gave")
    found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return found
