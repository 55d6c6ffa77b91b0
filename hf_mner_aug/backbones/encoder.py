"""Pretrained encoders and their tokenizers, aligned to words here, since slow tokenizers give no alignment."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import regex

from hf_mner_aug.backbones import checkpoint
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import from_pretrained, quiet, split_model
from hf_mner_aug.need import UNUSABLE_MODEL, need
from hf_mner_aug.posts.scripts import WORD
from hf_mner_aug.schema import Post

TWEETS = "tweets"  # in the description of a saved network: handles and links are read as BERTweet's
TINY = "tiny"  # the encoder that needs no weights

_WORD = regex.compile(rf"{WORD}|\S", regex.V1)
# BERTweet was pretrained on tweets with these words in the place of handles and links (Nguyen et al. 2020, section 2).
HANDLE, LINK = "@USER", "HTTPURL"
_HANDLE = re.compile(r"@\w")
_LINK = re.compile(r"https?(?:[:/.\u2026]|$)|www\.\w", re.IGNORECASE)


class Pieces(NamedTuple):
    """The subwords of a post, and the position of each word's first one (no entry for words cut off)."""

    input_ids: list[int]
    first: list[int]


class WordPieces:
    """Splits words into subwords, one word at a time, so that any tokenizer is aligned.

    A word without subwords (a lone variation selector) becomes the unknown token. With ``tweets``, which is the default
    for BERTweet's tokenizer, handles and links are read as the words that it was pretrained with.
    """

    def __init__(self, tokenizer: Any, limit: int, *, tweets: bool | None = None) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self.tweets = is_bertweet(tokenizer) if tweets is None else tweets
        self._known: dict[str, list[int]] = {}
        alone = tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = tokenizer("a")["input_ids"]
        at = next(i for i in range(len(framed)) if framed[i : i + len(alone)] == alone)
        self.before, self.after = framed[:at], framed[at + len(alone) :]
        self.pad_id: int = tokenizer.pad_token_id or 0

    def subwords(self, word: str) -> list[int]:
        """Return the ids of a word's subwords: at least one."""
        if word not in self._known:
            # The space marks the start of a word for byte-level and sentencepiece tokenizers.
            read = as_in_bertweet(word) if self.tweets else word
            ids = self.tokenizer(" " + read, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            unknown = self.tokenizer.unk_token_id
            self._known[word] = ids or [self.after[-1] if unknown is None else unknown]
        return self._known[word]

    def encode(self, words: Sequence[str]) -> Pieces:
        """Return the subwords of a post (words: [n_words]): as many whole words as fit."""
        ids, first = list(self.before), []
        for word in words:
            subwords = self.subwords(word)
            if len(ids) + len(subwords) + len(self.after) > self.limit:
                break
            first.append(len(ids))
            ids += subwords
        return Pieces(ids + self.after, first)


def is_bertweet(tokenizer: Any) -> bool:
    """Return whether a tokenizer is that of BERTweet."""
    return type(tokenizer).__name__.startswith("Bertweet")


def as_in_bertweet(word: str) -> str:
    """Return a word as BERTweet was pretrained: ``@USER`` for a handle, ``HTTPURL`` for a link."""
    if _HANDLE.match(word):
        return HANDLE
    return LINK if _LINK.match(word) else word


@dataclass(frozen=True, slots=True)
class Source:
    """The source of an encoder.

    ``record`` is the description of a saved network in the folder, if it holds one; ``tiny`` are a new tokenizer and
    configuration without weights.
    """

    encoder: str
    folder: Path
    record: dict[str, Any] | None
    tiny: tuple[Any, Any] | None = None

    @classmethod
    def find(cls, encoder: str, backbone: str, labels: Sequence[str], train: Sequence[Post] = ()) -> "Source":
        """Return the source of an encoder: a Hub id, a folder, the folder of a saved backbone, or ``tiny``.

        Raises:
            UsageError: the folder holds a backbone of another kind or with other labels.
            Corrupt: it is damaged.
        """
        folder = Path(encoder)
        if encoder == TINY:
            return cls(encoder, folder, None, make_tiny(train))
        if not (folder / checkpoint.RECORD).is_file():
            return cls(encoder, folder, None)
        record = checkpoint.read(folder, backbone)
        checkpoint.check_labels(folder, record, labels)
        return cls(str(folder / checkpoint.ENCODER), folder, record)

    def read_weights(self, net: Any) -> None:
        """Load the weights of the whole network if the folder has them."""
        if self.record:
            checkpoint.read_net(self.folder, net)


def make_tiny(train: Sequence[Post]) -> tuple[Any, Any]:
    """Return a WordPiece tokenizer and the configuration of a small BERT, for trying things out without a download.

    The vocabulary is the words that occur in posts at least twice, and letters to spell the others. A repeated text, as
    in an augmented set, counts once: otherwise none of its words would be spelled.

    Raises:
        MissingExtra: transformers is not installed.
    """
    transformers = need("transformers", extra="models")
    texts = {tuple(post.tokens) for post in train}
    counts = Counter(word for text in texts for token in text for word in _WORD.findall(token.lower()))
    letters = sorted({letter for word in counts for letter in word})
    often = sorted(word for word, count in counts.items() if count > 1)
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = dict.fromkeys([*marks, *letters, *(f"##{letter}" for letter in letters), *often])
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, model_max_length=128)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=130,
    )
    return tokenizer, config


def load_tokenizer(source: Source) -> Any:
    """Return the tokenizer of an encoder.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: there is no such tokenizer.
    """
    transformers = need("transformers", extra="models")
    return source.tiny[0] if source.tiny else _found(transformers.AutoTokenizer, source.encoder)


def load_encoder(source: Source, kind: str = "AutoModel", settings: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Return the encoder, with its weights unless it is ``tiny`` or part of a saved network.

    ``kind`` is a class of transformers, ``settings`` are changes of the configuration.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: there is no such encoder.
    """
    model = getattr(need("transformers", extra="models"), kind)
    config = load_config(source)
    config.update(dict(settings))
    if source.record or source.tiny:
        return model.from_config(config, trust_remote_code=False)
    return _found(model, source.encoder, config=config, dtype="float32")  # of half a variant, too: it is trained


def longest_input(source: Source, tokenizer: Any, asked: int) -> int:
    """Return the maximum number of subwords of an input: ``asked``, or the encoder's own maximum if that is less.

    Raises:
        UsageError: there is no such encoder, or it is an encoder-decoder.
    """
    config = load_config(source)
    if config.is_encoder_decoder:
        raise UsageError(f"{source.encoder} is an encoder-decoder ({config.model_type}): expected one such as BERT")
    # RoBERTa counts positions from 2.
    positions = getattr(config, "max_position_embeddings", asked + 2) - 2
    return min(asked, tokenizer.model_max_length, positions)


def load_config(source: Source) -> Any:
    """Return the configuration of an encoder; raises as ``load_encoder``."""
    transformers = need("transformers", extra="models")
    return source.tiny[1] if source.tiny else _found(transformers.AutoConfig, source.encoder)


def _found(kind: Any, encoder: str, **options: Any) -> Any:
    """Return what a class of transformers loads of an encoder; only weights, which have options, have a variant."""
    model, revision, variant = split_model(encoder)
    try:
        with quiet():
            return from_pretrained(kind, model, revision, variant if options else None, **options)
    except UNUSABLE_MODEL as error:
        expected = "folder" if Path(model).exists() else "folder or model id"
        raise UsageError(f"encoder {encoder!r}: no usable {expected} ({str(error).splitlines()[0]})") from error
