"""Tokens of instructions and of linearised texts: tags as single tokens, batches padded to common lengths."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.text.labelled import escape_word

if TYPE_CHECKING:
    import torch

IGNORED = -100  # a label without a loss
MESSAGE = "MESSAGE"  # its place in a chat template
# LLaMA 3's chat template writes the date of today: it is the same on all days.
_SAME_DAY = "{%- macro strftime_now(form) -%}01 Jan 2025{%- endmacro -%}"
MULTIPLE = 16  # tokens: lengths are padded to a multiple, so that a row's shape does not depend on other rows


@dataclass(frozen=True)
class Reader:
    """A tokenizer that reads everything as text: ``</s>``, ``<image>`` or a tag in a tweet is not a special token."""

    tokenizer: Any
    length: int
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, tokenizer: Any, length: int) -> "Reader":
        """Return the reader of up to ``length`` tokens, with the tokenizer's tokens before and after a text."""
        bare, framed = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
        start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
        return cls(tokenizer, length, framed[:start], framed[start + len(bare) :])

    @classmethod
    def of_chat(cls, tokenizer: Any, length: int) -> "Reader":
        """Return the reader of up to ``length`` tokens of a message, within the tokenizer's chat template.

        Raises:
            UsageError: the template does not take a message of a user.
        """
        before, after = chat_frame(tokenizer, MESSAGE)
        frame = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after)]
        return cls(tokenizer, length, *frame)

    def pieces(self, text: str) -> list[int]:
        """Return the ids of a text; special tokens in it become unknown ones."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        special = special_ids(self.tokenizer)
        unknown = [self.tokenizer.unk_token_id] * (self.tokenizer.unk_token_id is not None)
        return list(itertools.chain.from_iterable([i] if i not in special else unknown for i in ids))

    def read(self, text: str) -> tuple[list[int], bool]:
        """Return the ids of an instruction, framed, and whether it was cut."""
        ids, room = self.pieces(text), max(1, self.length - len(self.before) - len(self.after))
        return [*self.before, *ids[:room], *self.after], len(ids) > room


def chat_frame(tokenizer: Any, content: Any, template: str | None = None) -> tuple[str, str]:
    """Return the text before and after ``MESSAGE`` in a user's message within a chat template.

    Args:
        tokenizer: knows the special tokens.
        content: of the message: ``MESSAGE``, or a list of parts as the template takes them.
        template: in Jinja; by default the tokenizer's.

    Raises:
        UsageError: the template does not take such a message.
    """
    import jinja2

    shown = ""
    with contextlib.suppress(jinja2.TemplateError, TypeError, ValueError):
        shown = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # Qwen 3
            chat_template=_SAME_DAY + (template or tokenizer.get_chat_template()),
        )
    before, message, after = shown.partition(MESSAGE)
    if not message:
        raise UsageError("text_model: its chat template takes no message of a user alone: name another model")
    return before, after


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids that are not text: marks, images, sentinels and tags."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


# ---------------------------------------------------------------- tags


def tagged_ids(text: str, tags: Mapping[str, int], reader: Reader) -> list[int]:
    """Return the ids of a linearised text: one for each tag, and those of the words between."""
    ids: list[int] = []
    for tagged, run in itertools.groupby(text.split(" "), key=tags.__contains__):
        words = list(run)
        ids += [tags[word] for word in words] if tagged else reader.pieces(" ".join(words))
    return ids


def tagged_text(ids: Sequence[int], names: Mapping[int, str], tokenizer: Any) -> str:
    """Return the linearised text of ids without the end token (names: the tag of an id)."""
    parts: list[str] = []
    for tagged, run in itertools.groupby(ids, key=names.__contains__):
        if tagged:
            parts += [names[i] for i in run]
        else:
            # T5 has no backslash: the escape of a word that looks like a tag is lost, and restored here.
            words = decoded(list(run), tokenizer).split()
            parts += [word if word.startswith("\\") else escape_word(word) for word in words]
    return " ".join(parts)


def decoded(ids: Sequence[int], tokenizer: Any) -> str:
    """Return the text of ids, without special tokens."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def ended(ids: list[int], length: int, end: int) -> tuple[list[int], bool]:
    """Return ids with the end token, or cut to ``length`` without it: a network must not learn to stop there."""
    cut = len(ids) >= length
    return (ids[:length] if cut else [*ids, end]), cut


def add_tags(language: Any, tokenizer: Any, tags: Sequence[str]) -> dict[str, int]:
    """Make each tag one token and return their ids; its weights are the mean of those of its former pieces."""
    import torch
    from tokenizers import AddedToken

    pieces = {tag: tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in tags}
    tokenizer.add_tokens([AddedToken(tag, special=True, normalized=False) for tag in tags], special_tokens=True)
    ids = dict(zip(tags, tokenizer.convert_tokens_to_ids(list(tags)), strict=True))
    _grow(language, len(tokenizer))
    with torch.no_grad():
        for weight in {id(layer.weight): layer.weight for layer in _token_layers(language)}.values():
            weight[list(ids.values())] = torch.stack([weight[pieces[tag]].mean(0) for tag in tags])
    return ids


def _token_layers(language: Any) -> list[Any]:
    """Return the layers with a row for each token: embeddings and the output."""
    named = [module for name, module in language.named_modules() if name.rpartition(".")[2] == "embed_tokens"]
    return [*named, language.get_input_embeddings(), language.get_output_embeddings()]


def _grow(language: Any, n_tokens: int) -> None:
    """Grow the token layers of a language model to at least ``n_tokens`` rows.

    transformers' own ``resize_token_embeddings`` ties T5's output layer to its embedding, which Flan-T5's is not.
    """
    import torch

    grown: dict[int, torch.nn.Parameter] = {}
    for layer in _token_layers(language):
        weight = layer.weight
        if len(weight) >= n_tokens:
            continue
        if id(weight) not in grown:
            rows = torch.cat([weight.data, weight.data.new_zeros(n_tokens - len(weight), weight.shape[1])])
            grown[id(weight)] = torch.nn.Parameter(rows, requires_grad=False)
        layer.weight = grown[id(weight)]
        setattr(layer, "num_embeddings" if isinstance(layer, torch.nn.Embedding) else "out_features", n_tokens)
    if grown:
        language.config.vocab_size = n_tokens


def not_text(tokenizer: Any, n_rows: int, allowed: set[int]) -> "torch.Tensor":
    """Return the mask [n_rows] of rows of an output layer without a token, and of special tokens but those allowed."""
    import torch

    marks = torch.zeros(n_rows, dtype=torch.bool)
    marks[len(tokenizer) :] = True
    marks[sorted(special_ids(tokenizer) - allowed)] = True
    return marks


# ---------------------------------------------------------------- batches


def padded(length: int, multiple: int = MULTIPLE) -> int:
    """Return the least multiple that is not below a length, in tokens."""
    return -(-length // multiple) * multiple


def filled(
    rows: Sequence[Sequence[int]], value: int, *, left: bool = False, width: int = 0
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return rows as one padded tensor [n_rows, width] and its mask; a width of 0 is the least multiple of MULTIPLE."""
    import torch

    width = width or padded(max(map(len, rows)))
    fillings = [[value] * (width - len(row)) for row in rows]
    whole = [[*filling, *row] if left else [*row, *filling] for row, filling in zip(rows, fillings, strict=True)]
    masks = [[0] * len(filling) + [1] * len(row) for row, filling in zip(rows, fillings, strict=True)]
    return torch.tensor(whole), torch.tensor(masks if left else [mask[::-1] for mask in masks])
