"""Sentence similarity, the cosine of two sentence vectors, and the perplexity of a language model on sentences."""

import functools
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, Protocol, TypedDict, cast

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import find_device, from_pretrained, loading, split_model
from hf_mner_aug.models.search import words
from hf_mner_aug.need import need
from hf_mner_aug.untrusted.shapes import read_json

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH = 64  # sentences that are encoded at a time
WINDOW_TOKENS = 1024  # tokens that a language model takes at a time, of one text or of several
LONGEST = 1024  # tokens of a window if a language model states no limit
POOLING = "1_Pooling/config.json"  # of sentence-transformers
POOLER = "pooler"
_SUPERVISED = re.compile(r"(?<![a-z])sup-simcse", re.IGNORECASE)  # as its authors name such models; others are unsup-


class Similarity(Protocol):
    """A measure of how similar two texts are."""

    def __call__(self, text: str, others: Sequence[str]) -> list[float]:
        """Return the cosine of a text and each of some others."""

    def pairs(self, texts: Sequence[str], others: Sequence[str]) -> list[float]:
        """Return the cosine of each text [n] and the other text [n] at the same index."""


class TfidfSimilarity:
    """Cosine of TF-IDF vectors over ``search.words``, with weights from the given texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(analyzer=words).fit(texts)

    def __call__(self, text: str, others: Sequence[str]) -> list[float]:
        """Return the cosine of a text and each of some others."""
        vectors = self._vectorizer.transform([text, *others])
        return [float(cosine) for cosine in (vectors[1:] @ vectors[0].T).toarray().ravel()]

    def pairs(self, texts: Sequence[str], others: Sequence[str]) -> list[float]:
        """Return the cosine of each text [n] and the other one [n] in its place."""
        if not texts:
            return []
        products = self._vectorizer.transform(texts).multiply(self._vectorizer.transform(others))
        return [float(cosine) for cosine in products.sum(axis=1).flat]


class EncoderSimilarity:
    """Cosine of a pretrained encoder's sentence vectors, computed in single precision.

    Pooling follows sentence-transformers' ``1_Pooling``: the mean over subwords, their maximum, or the vector of the
    first one, which is also the default without ``1_Pooling``. The exception is a supervised SimCSE (Gao et al. 2021;
    ``SimCSE`` in their tool.py), whose vector is the output of the pooler on top of the first one.

    Args:
        encoder: a folder or an id on the Hub, with ``@revision``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, encoder: str, device: str = "auto") -> None:
        transformers = need("transformers", extra="models")
        model, revision, variant = split_model(encoder)
        self.device = find_device(device)
        self.pooling = _pooling(model, revision)
        self._tokenizer = from_pretrained(transformers.AutoTokenizer, model, revision)
        options = {"dtype": "float32", "output_loading_info": True}
        net, found = from_pretrained(transformers.AutoModel, model, revision, variant, **options)
        if self.pooling == POOLER and (net.pooler is None or any("pooler." in name for name in found["missing_keys"])):
            raise UsageError(f"encoder {encoder}: expected the weights of a supervised SimCSE's pooler, found none")
        self._model = net.eval().to(self.device)
        self._known: dict[str, torch.Tensor] = {}  # vectors [dim] of the texts of earlier pairs

    def __call__(self, text: str, others: Sequence[str]) -> list[float]:
        """Return the cosine of a text and each of some others."""
        torch = need("torch", extra="models")
        if not others:
            return []
        texts = [text, *others]
        vectors = torch.cat([self._encode(texts[first : first + BATCH]) for first in range(0, len(texts), BATCH)])
        return [float(c) for c in torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:])]

    def pairs(self, texts: Sequence[str], others: Sequence[str]) -> list[float]:
        """Return the cosine of each text [n] and the other one [n] in its place."""
        torch = need("torch", extra="models")
        if not texts:
            return []
        new = sorted(
            {*texts, *others} - self._known.keys(), key=lambda text: (len(text), text)
        )  # sorted, to reduce padding
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self._known.update(zip(batch, self._encode(batch), strict=True))
        ours, theirs = (torch.stack([self._known[text] for text in side]) for side in (texts, others))
        return [float(c) for c in torch.nn.functional.cosine_similarity(ours, theirs)]

    def vectors(self, texts: Sequence[str]) -> "np.ndarray":
        """Return the vectors [n, dim] of texts, computed as one batch."""
        found: np.ndarray = self._encode([*texts]).numpy()
        return found

    def _encode(self, texts: list[str]) -> "torch.Tensor":
        """Return the vectors [n, dim] of texts, on the CPU."""
        import torch

        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            output = self._model(**batch.to(self.device))
        if self.pooling == POOLER:
            return cast("torch.Tensor", output.pooler_output.cpu())
        return _pool(output.last_hidden_state, batch["attention_mask"].unsqueeze(-1), self.pooling).cpu()


def _pool(states: "torch.Tensor", mask: "torch.Tensor", pooling: str) -> "torch.Tensor":
    """Return the vectors [n, dim] of states [n, length, dim] under a mask [n, length, 1]."""
    if pooling == "mean":
        return (states * mask).sum(1) / mask.sum(1)
    return states.masked_fill(mask == 0, -math.inf).amax(1) if pooling == "max" else states[:, 0]


class Pooling(TypedDict):
    """The pooling file of sentence-transformers; older versions have a key for each mode."""

    pooling_mode: NotRequired[str | None]


def _pooling(encoder: str, revision: str | None = None) -> str:
    """Return how an encoder (a folder or an id on the Hub) pools its states: ``cls``, ``mean``, ``max`` or ``pooler``.

    Raises:
        UsageError: it pools in another way.
        OSError: the Hub is unreachable.
    """
    path = Path(encoder) / POOLING
    if not Path(encoder).is_dir():
        from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            path = Path(hf_hub_download(encoder, POOLING, revision=revision))
        except LocalEntryNotFoundError:  # the Hub is unreachable; the cache may know that there is none
            if try_to_load_from_cache(encoder, POOLING, revision=revision) is not _CACHED_NO_EXIST:
                raise
        except EntryNotFoundError:
            pass
    if not path.is_file():
        # A snapshot in the Hub's cache has the model's name two folders up: models--ORG--NAME/snapshots/COMMIT.
        names = [Path(encoder).name, *(part for part in Path(encoder).parts if part.startswith("models--"))]
        return POOLER if any(map(_SUPERVISED.search, names)) else "cls"
    config = read_json(path, Pooling, advice="correct it, or use another encoder")
    # Older versions have a boolean for each: pooling_mode_cls_token, pooling_mode_mean_tokens, ….
    prefix = "pooling_mode_"
    modes = [name for name, on in config.items() if name.startswith(prefix) and on is True]
    said: str = config.get("pooling_mode") or "+".join(m.removeprefix(prefix).partition("_token")[0] for m in modes)
    if said == "mean_sqrt_len":
        return "mean"  # the direction is the same
    if said not in ("cls", "mean", "max"):
        raise UsageError(f"encoder {encoder}: expected pooling by cls, mean or max, found {said or 'none'}")
    return said


@functools.lru_cache(maxsize=2)
def open_encoder(encoder: str) -> EncoderSimilarity:
    """Return the similarity by an encoder: a folder or an id on the Hub, with ``@revision``.

    It runs on the GPU if there is one.

    Raises:
        MissingExtra: transformers or torch is not installed.
        UsageError: there is no such encoder.
    """
    with loading(encoder, "a sentence encoder", role="encoder"):
        return EncoderSimilarity(encoder)


class LanguageModel:
    """A causal language model of transformers, and the tokenizer it was trained with."""

    def __init__(self, model: Any, tokenizer: Any, device: str = "cpu") -> None:
        self._model = model.to(device).eval()
        self._tokenizer = tokenizer
        self._device = device
        self._limit = min(getattr(model.config, "max_position_embeddings", None) or LONGEST, LONGEST)

    def perplexity(self, texts: Sequence[str]) -> float | None:
        """Return e to the mean negative log-likelihood of all tokens of some texts; None if no token is predicted.

        Each text is scored by itself, after the tokenizer's beginning-of-sequence token; without one a text's first
        token is not predicted. In a text longer than the model's limit each token has at least half a window of context
        (https://huggingface.co/docs/transformers/perplexity).
        """
        windows = sorted(itertools.chain.from_iterable(map(self._windows, texts)), key=lambda window: len(window[0]))
        total, count = 0.0, 0
        while windows:
            size = max(1, WINDOW_TOKENS // len(windows[-1][0]))
            batch = windows[-size:]
            del windows[-size:]
            losses = self._losses(batch)
            total += math.fsum(losses)
            count += len(losses)
        return math.exp(total / count) if count else None

    def _windows(self, text: str) -> list[tuple[list[int], int]]:
        """Return the windows of a text: token ids, and the index of the first that no earlier window predicts."""
        start = [] if self._tokenizer.bos_token_id is None else [self._tokenizer.bos_token_id]
        ids = start + self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        windows, done = [], 1
        while done < len(ids):
            end = min(len(ids), self._limit if done == 1 else done + self._limit // 2)
            first = max(0, end - self._limit)
            windows.append((ids[first:end], done - first))
            done = end
        return windows

    def _losses(self, windows: Sequence[tuple[list[int], int]]) -> list[float]:
        """Return the negative log-likelihood of each token that the windows have to predict."""
        torch = need("torch", extra="models")
        longest = max(len(ids) for ids, _ in windows)
        tokens = torch.zeros((len(windows), longest), dtype=torch.long)
        mask, wanted = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
        for row, (ids, first) in enumerate(windows):
            tokens[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
            wanted[row, first : len(ids)] = True
        tokens = tokens.to(self._device)
        with torch.inference_mode():
            logits = self._model(input_ids=tokens, attention_mask=mask.to(self._device)).logits[:, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        found: list[float] = losses.cpu()[wanted[:, 1:]].tolist()
        return found


@functools.lru_cache(maxsize=1)
def open_language_model(name: str) -> LanguageModel:
    """Return a causal language model: a folder or an id on the Hub, on the GPU if there is one.

    Raises:
        MissingExtra: transformers or torch is not installed.
        UsageError: there is no such model, or it is not a causal language model.
    """
    transformers = need("transformers", extra="models")
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with loading(name, "a causal language model", role="language model"):
        model, revision, variant = split_model(name)
        config = from_pretrained(transformers.AutoConfig, model, revision)
        kinds = config.architectures or ()
        if not set(kinds) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
            raise UsageError(
                f"language model {name}: expected a causal one, as gpt2, found {', '.join(kinds) or 'no architecture'}"
            )
        tokenizer = from_pretrained(transformers.AutoTokenizer, model, revision)
        net = from_pretrained(transformers.AutoModelForCausalLM, model, revision, variant, dtype="float32")
    return LanguageModel(net, tokenizer, find_device("auto"))
