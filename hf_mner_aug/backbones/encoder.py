"""Pretrained encoders and their tokenizers, aligned to words by hand: slow tokenizers give no alignment."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hf_mner_aug.backbones import checkpoint
from hf_mner_aug.errors import UsageError
from hf_mner_aug.need import need


class Pieces(NamedTuple):
    """The subwords of a post, and where the first subword of each word stands (no entry for words cut off)."""

    input_ids: list[int]
    first: list[int]


class WordPieces:
    """Splits words into subwords, one word at a time, so that any tokenizer is aligned.

    A word that has no subword (a lone variation selector) is the unknown one.
    """

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self._known: dict[str, list[int]] = {}
        alone = tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = tokenizer("a")["input_ids"]
        at = next(i for i in range(len(framed)) if framed[i : i + len(alone)] == alone)
        self.before, self.after = framed[:at], framed[at + len(alone) :]
        self.pad_id: int = tokenizer.pad_token_id or 0

    def subwords(self, word: str) -> list[int]:
        """Return the ids of a word's subwords: at least one."""
        if word not in self._known:
            # The space is what marks the start of a word for byte-level and sentencepiece tokenizers.
            ids = self.tokenizer(" " + word, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            unknown = self.tokenizer.unk_token_id
            self._known[word] = ids or [self.after[-1] if unknown is None else unknown]
        return self._known[word]

    def encode(self, words: Sequence[str]) -> Pieces:
        """Return the subwords of a post (words: [n_words]), whole words only, as many as fit."""
        ids, first = list(self.before), []
        for word in words:
            subwords = self.subwords(word)
            if len(ids) + len(subwords) + len(self.after) > self.limit:
                break
            first.append(len(ids))
            ids += subwords
        return Pieces(ids + self.after, first)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an encoder comes from; ``record`` is there where a whole network lies in the folder."""

    encoder: str
    folder: Path
    record: dict[str, Any] | None

    @classmethod
    def find(cls, encoder: str, backbone: str, labels: Sequence[str]) -> "Source":
        """Return where to read an encoder from: an id, a folder, or a folder that a backbone was saved in.

        Raises:
            UsageError: the folder holds a backbone of another kind or of other labels.
            Corrupt: it is damaged.
        """
        folder = Path(encoder)
        if not (folder / checkpoint.RECORD).is_file():
            return cls(encoder, folder, None)
        record = checkpoint.read(folder, backbone)
        checkpoint.check_labels(folder, record, labels)
        return cls(str(folder / checkpoint.ENCODER), folder, record)

    def read_weights(self, net: Any) -> None:
        """Load the weights of the whole network, where they lie in the folder."""
        if self.record:
            checkpoint.read_net(self.folder, net)


def load_tokenizer(encoder: str) -> Any:
    """Return the tokenizer of a folder or of an id on the Hub.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: there is no such tokenizer.
    """
    transformers = need("transformers", extra="models")
    return _found(transformers.AutoTokenizer.from_pretrained, encoder)


def load_encoder(source: Source) -> Any:
    """Return the encoder with its weights; only built where the weights are those of a whole network.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: there is no such encoder.
    """
    transformers = need("transformers", extra="models")
    if source.record:
        return transformers.AutoModel.from_config(_found(transformers.AutoConfig.from_pretrained, source.encoder))
    return _found(transformers.AutoModel.from_pretrained, source.encoder)


def longest_input(source: Source, tokenizer: Any, asked: int) -> int:
    """Return how many subwords an input may have: what is asked, or what the encoder takes where that is less.

    Raises:
        UsageError: there is no such encoder, or it is an encoder-decoder.
    """
    config = _found(need("transformers", extra="models").AutoConfig.from_pretrained, source.encoder)
    if config.is_encoder_decoder:
        raise UsageError(f"{source.encoder} is an encoder-decoder ({config.model_type}): expected one such as BERT")
    # RoBERTa counts positions from 2.
    positions = getattr(config, "max_position_embeddings", asked + 2) - 2
    return min(asked, tokenizer.model_max_length, positions)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing what every fresh head makes it print."""
    logging = need("transformers.utils.logging", extra="models")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _found(load: Callable[[str], Any], encoder: str) -> Any:
    try:
        with quiet():
            return load(encoder)
    except (OSError, ValueError) as error:
        kind = "folder" if Path(encoder).exists() else "folder or model id"
        raise UsageError(f"encoder {encoder!r}: no usable {kind} ({str(error).splitlines()[0]})") from error
