"""Labelled texts by a fine-tuned network, sampled row by row (``training`` fits it on a split).

Unwritten: empty_text, unfinished_text, unreadable_image
"""

import json
import tempfile
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.device import (
    count_limit,
    find_device,
    find_dtype,
    resolved_revision,
    with_smaller_batches,
)
from hf_mner_aug.models.text.adapters import autocast
from hf_mner_aug.models.text.engine import TextRequest, Unwritten
from hf_mner_aug.models.text.network import (
    RECORD,
    Dtype,
    Example,
    FitSettings,
    Kind,
    Network,
    name_of_model,
    open_network,
)
from hf_mner_aug.models.text.sampling import RowSampler
from hf_mner_aug.need import need
from hf_mner_aug.schema import canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.values import Amount, Count, Positive, Share, check_ranges


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """A fine-tuned network that writes a linearised text for each request (a ``TextEngine``).

    In float32 on a CPU a row's text does not depend on other rows. Elsewhere rows of one shape are computed in batches
    padded to ``batch_size``, so that every row is computed in the same shapes.

    Args:
        kind: of the network.
        model: as in ``FitSettings``; ``revision`` too.
        weights: the digest that ``fit`` returned under ``text_model``.
        temperature: 0 takes the likeliest token.
        top_k: tokens to choose from, 0 for all; ``top_p``: their least total probability.
        max_text: tokens after which an unfinished text is given up; 0 for the limit of the training.
        batch_size: texts at a time; halved when memory runs out.
    """

    name: ClassVar[str] = "fine-tuned"

    kind: Kind
    model: str
    revision: str | None = None
    weights: str
    temperature: Amount = 1.0
    top_k: Count = 50
    top_p: Share = 0.95
    max_text: Count = 0
    batch_size: Positive = 16
    dtype: Dtype = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_ranges(self, self.kind)

    def generate(self, requests: Sequence[TextRequest], draws: Sequence[Draw]) -> list[str | Unwritten]:
        """Return a linearised text for each request, or why there is none.

        Raises:
            MissingExtra: torch, transformers or peft is not installed.
            NotFitted: the weights are not on this machine.
            UsageError: they were trained on another base, there is no such model or GPU, or memory is too small for
                one text.
        """
        if not requests:
            return []
        loaded = self._load()
        written: dict[int, str | Unwritten] = {}
        groups: dict[Hashable, list[_Row]] = {}
        for i, (request, draw) in enumerate(zip(requests, draws, strict=True)):
            try:
                example, cut = loaded.network.example(request.instruction, request.image)
            except DataError as error:
                written[i] = Unwritten("unreadable_image", str(error))
                continue
            count_limit("instructions_cut", cut["instructions_cut"])
            groups.setdefault(loaded.network.shape(example), []).append(_Row(i, example, draw))
        for rows in groups.values():
            for first in range(0, len(rows), self.batch_size):
                written.update(self._write(loaded, rows[first : first + self.batch_size]))
        return [written[i] for i in range(len(requests))]

    def training(self) -> dict[str, Any]:
        """Return the record of the training: base, tags, settings, the loss of each epoch, and counts of cut inputs."""
        with tempfile.TemporaryDirectory() as folder:
            return _record(self.weights, Path(folder))

    # ------------------------------------------------------------ inside

    def _load(self) -> "_Loaded":
        device = find_device(self.device)
        return _load(self.kind, self.model, self.revision, self.weights, find_dtype(self.dtype, device), device)

    def _write(self, loaded: "_Loaded", rows: "list[_Row]") -> dict[int, str | Unwritten]:
        """Return the texts of rows of one shape, in smaller batches if memory runs out."""
        written: dict[int, str | Unwritten] = {}
        pixels: dict[int, Any] = {}
        for row in rows:
            try:
                pixels[row.i] = loaded.network.pixels(row.example.image)
            except DataError as error:
                written[row.i] = Unwritten("unreadable_image", str(error))
        readable = [row for row in rows if row.i in pixels]

        def attempt(size: int) -> list[str | Unwritten]:
            if size < (loaded.at_once or self.batch_size):
                loaded.at_once = size
                count_limit("text_batches_halved")
            parts = [readable[first : first + size] for first in range(0, len(readable), size)]
            return [text for part in parts for text in self._sample(loaded, part, pixels, size)]

        texts = with_smaller_batches(attempt, min(self.batch_size, loaded.at_once or self.batch_size))
        written.update(zip((row.i for row in readable), texts, strict=True))
        return written

    def _sample(
        self, loaded: "_Loaded", rows: "list[_Row]", pixels: dict[int, Any], size: int
    ) -> list[str | Unwritten]:
        """Return the texts of at most ``size`` rows; the last one is repeated to fill the batch."""
        import torch

        network, limit = loaded.network, self.max_text or loaded.network.max_text
        whole = [*rows, *[rows[-1]] * (size - len(rows))]
        batch = network.collate([row.example for row in whole], [pixels[row.i] for row in whole], learn=False)
        sampler = RowSampler(
            [row.draw for row in whole],
            network.forbidden(),
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )
        with torch.inference_mode(), autocast(network.device.type, loaded.dtype):
            ids = network.net.generate(
                **batch, logits_processor=[sampler], max_new_tokens=limit, do_sample=False, num_beams=1
            )
        if network.decoder_only:
            ids = ids[:, batch["input_ids"].shape[1] :]
        texts: list[str | Unwritten] = []
        for found in ids.tolist()[: len(rows)]:
            text = network.text_of(found)
            if text is None:
                texts.append(Unwritten("unfinished_text", f"no end after {limit} tokens"))
            else:
                texts.append(text or Unwritten("empty_text", "the model ends before the first word"))
        return texts


@dataclass(frozen=True, slots=True)
class _Row:
    """A request in progress: its index, its token ids, its draw."""

    i: int
    example: Example
    draw: Draw


@dataclass
class _Loaded:
    """A network in this process: its ``base`` with the adapters of ``weights``.

    ``at_once`` is the batch size after memory ran out.
    """

    base: Hashable
    network: Network
    dtype: str
    weights: str = ""
    at_once: int | None = None


_held: list[_Loaded] = []  # at most one: a base is gigabytes, and the adapters of another training are swapped in


def forget() -> None:
    """Free the memory of the network that writes, so that another can be trained or opened."""
    _held.clear()


def _load(kind: Kind, model: str, revision: str | None, weights: str, dtype: str, device: str) -> _Loaded:
    """Return the network of some weights; a base that is in memory only takes over their adapters."""
    asked = (kind, model, revision, dtype, device)
    if _held and (*_held[0].base[:5], _held[0].weights) == (*asked, weights):  # type: ignore[index]
        return _held[0]
    torch = need("torch", extra="models")
    need("peft", extra="models")
    with tempfile.TemporaryDirectory() as temporary, torch.random.fork_rng(devices=[]):
        folder = Path(temporary)
        record = _record(weights, folder)
        found = resolved_revision(model, revision)
        if found != record["base"]["revision"]:
            raise UsageError(
                f"text_model {weights[:12]} was trained on {record['base']['model']} "
                f"({record['base']['revision'][:12]}), not on {name_of_model(model)} ({found[:12]}): "
                "take that model and revision, or fit again"
            )
        settings = FitSettings(**{"kind": kind, "model": model, "revision": revision, **record["settings"]})
        if settings.kind != kind:
            raise UsageError(f"text_model {weights[:12]} is of the kind {settings.kind}, not {kind}: fit again")
        base = (*asked, canonical_json([record["base"], record["settings"], record["tags"]]))
        if not (_held and _held[0].base == base):
            forget()
            _held.append(_Loaded(base, open_network(settings, record["tags"], dtype), dtype))
        loaded = _held[0]
        loaded.weights = ""  # until they are whole
        loaded.network.read_weights(folder)
        loaded.network.net.eval().to(device)
        loaded.weights = weights
        return loaded


def _record(weights: str, folder: Path) -> dict[str, Any]:
    """Unpack weights into a folder and return the record of their training.

    Raises:
        NotFitted: they are not on this machine.
        Corrupt: they are damaged.
        UsageError: they are something else.
    """
    artifacts.load_folder(weights, folder)
    if not (folder / RECORD).exists():
        raise UsageError(f"artifact {weights[:12]}: expected a text model, found none: pass what fit gave")
    found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return found
