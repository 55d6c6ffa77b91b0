"""A network fine-tuned to write labelled texts: resumable, in the state with the least validation loss.

GMDA's paper (Wang et al. 2024, section 3.3) fine-tunes InstructBLIP. With LoRA (Hu et al. 2022) the adapters and the
rows of the tags learn; with ``tune="qformer"`` the Q-Former's own weights, its query tokens and its projection to the
language model, without an adapter (table 5). Deviates: LoRA
reaches T5's ``k`` and ``wo`` and the Q-Former's ``query`` too, which the authors' code misses; a post without a picture
is shown the mean colour.

The paper's model has 4.02 billion parameters: 7.5 GiB in bfloat16. The 27.5 million that LoRA trains take 0.4 GiB, in
float32 with gradients and Adam's moments (the Q-Former: 2.8 GiB). The rest of a card of 24 GB is for activations, of
which checkpointing keeps one set per layer. ``python benchmarks/gmda_gpu.py --estimate`` counts this.
"""

import hashlib
import io
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import DataError, UsageError
from hf_mner_aug.models.device import find_device, find_dtype, quiet, resolved_revision, with_smaller_batches
from hf_mner_aug.models.text.adapters import autocast, compute_activations_twice, learnable
from hf_mner_aug.models.text.engine import TextRequest
from hf_mner_aug.models.text.finetuned import forget
from hf_mner_aug.models.text.network import RECORD, FitSettings, name_of_model, open_network
from hf_mner_aug.need import need
from hf_mner_aug.posts.pictures import image_bytes
from hf_mner_aug.schema import EncodedImage, canonical_json
from hf_mner_aug.storage import artifacts
from hf_mner_aug.untrusted.shapes import read_json
from hf_mner_aug.values import LATER

if TYPE_CHECKING:
    import torch

VERSION = 1  # of the training: raised when the same pairs give another adapter, which is then trained anew
QFORMER_VERSION = 2  # of the training with ``tune="qformer"``
# The settings that stand in the record, with which the network is opened again.
RECORDED = ("kind", "marks", "variant", "tune", "r", "alpha", "dropout", "max_instruction", "max_text")

Pair = tuple[TextRequest, str]


def fit(
    train: Sequence[Pair], validation: Sequence[Pair], *, settings: FitSettings, tags: Sequence[str]
) -> dict[str, str]:
    """Return the digest, under ``text_model``, of the weights with the lowest validation loss.

    After an interruption it continues from the last checkpoint with the same result; a finished training is not
    repeated. Without validation the last epoch counts.

    Args:
        train: requests, each with its linearised text.
        validation: the same.
        settings: see there.
        tags: those of the linearised texts: ``B-PER``, ``I-PER``, ….

    Raises:
        MissingExtra: torch, transformers or peft is not installed.
        UsageError: train is empty, there is no such model or GPU, the loss is not finite, or memory is too small for
            one post.
        OSError: the disk is full; the last checkpoint is kept.
    """
    torch = need("torch", extra="models")
    need("peft", extra="models")
    if not train:
        raise UsageError(f"{settings.kind}: train has no posts to learn from")
    base = {"model": name_of_model(settings.model), "revision": resolved_revision(settings.model, settings.revision)}
    device = find_device(settings.device)
    dtype = find_dtype(settings.dtype, device)
    key = _training_key(train, validation, settings, tags, base, dtype, device)
    folder = artifacts.cache_folder() / "text_models"
    finished, running = folder / f"{key}.json", folder / f"{key}.pt"
    if (digests := _finished(finished)) is not None:
        return digests
    forget()
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        training = Training(settings, tags, dtype, device)
        with quiet():
            training.run(train, validation, running)
        with tempfile.TemporaryDirectory() as temporary:
            training.network.write_weights(Path(temporary))
            record = {"base": base, "tags": list(tags), **training.record()}
            (Path(temporary) / RECORD).write_text(canonical_json(record), encoding="utf-8")
            digests = {"text_model": artifacts.save_folder(Path(temporary))}
    artifacts.write_atomically(finished, canonical_json(digests).encode())
    running.unlink(missing_ok=True)
    return digests


class Training:
    """A training in progress: the network, its optimiser, its history and counts."""

    def __init__(self, settings: FitSettings, tags: Sequence[str], dtype: str, device: str) -> None:
        import torch

        self.settings = settings
        self.dtype, self.device = dtype, device
        self.draw = Draw(f"{settings.kind}\0{VERSION}\0{settings.seed}".encode())
        self.network = open_network(settings, tags, dtype)
        torch.manual_seed(self.draw.sub("adapters").seed())
        if settings.gradient_checkpointing:
            compute_activations_twice(self.network.net)
        self.network.adapt(settings)
        self.network.net.to(device)
        self.learnable = learnable(self.network.net)
        self.optimiser = torch.optim.Adam(self.learnable.values(), lr=settings.learning_rate)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.at_once = settings.batch_size
        self.counts: Counter[str] = Counter()

    def record(self) -> dict[str, Any]:
        """Return the record of the training."""
        return {
            "settings": {name: value for name, value in _chosen(self.settings).items() if name in RECORDED},
            "dtype": self.dtype,
            "history": self.history,
            "counts": dict(self.counts),
        }

    def run(self, train: Sequence[Pair], validation: Sequence[Pair], checkpoint: Path) -> None:
        """Train to the end, from the checkpoint if there is one, and leave the network in its best state."""
        import torch

        examples = self._read(train, "train")
        held_out = self._read(validation, "validation")
        self._resume(checkpoint)
        size = self.settings.batch_size
        steps = math.ceil(len(examples) / size)
        while self.step < steps * self.settings.epochs and not self._stale():
            epoch, place = divmod(self.step, steps)
            order = self.draw.sub("order", epoch).shuffled(range(len(examples)))
            loss = self._learn([examples[i] for i in order[place * size :][:size]])
            self._expect_finite(loss, "loss")
            self.step += 1
            if place == steps - 1:
                self._check(epoch, held_out)
            if place == steps - 1 or self.step % self.settings.checkpoint_steps == 0:
                self._keep(checkpoint)
        with torch.no_grad():
            for name, parameter in self.learnable.items():
                parameter.copy_(self.best[name])

    def _stale(self) -> bool:
        """Whether the last passes did not lower the validation loss."""
        losses = [math.inf if check["loss"] is None else check["loss"] for check in self.history]
        since = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return bool(self.settings.patience) and since >= self.settings.patience and min(losses) < math.inf

    def _read(self, pairs: Sequence[Pair], split: str) -> list[Any]:
        """Return pairs as token ids; count cut texts and missing or unreadable pictures."""
        counts: Counter[str] = Counter()
        examples = []
        for request, text in pairs:
            try:
                example, cut = self.network.example(request.instruction, request.image, text)
                self.network.pixels(example.image)
            except DataError:
                counts["images_unreadable"] += 1
                example, cut = self.network.example(request.instruction, None, text)
            counts.update(cut)
            counts["images_missing"] += example.image is None
            examples.append(example)
        for name, limit in (("texts_cut", "max_text"), ("instructions_cut", "max_instruction")):
            if counts[name]:
                at_most = getattr(self.settings, limit)
                warnings.warn(
                    f"{self.settings.kind}: {counts[name]} of {len(pairs)} {split} {name[:-4]} are longer than "
                    f"{limit}={at_most} tokens, and are cut",
                    stacklevel=5,
                )
        self.counts.update({f"{split}_{name}": n for name, n in (counts | {"posts": len(pairs)}).items() if n})
        return examples

    def _learn(self, examples: Sequence[Any]) -> float:
        """Take one step on a batch and return its loss: the mean over the tokens of all its texts."""
        import torch

        n_tokens = sum(len(example.text) for example in examples)

        def gradients(size: int) -> float:
            if size < self.at_once:
                self.at_once, self.counts["halved"] = size, self.counts["halved"] + 1
            self.optimiser.zero_grad()
            torch.manual_seed(self.draw.sub("dropout", self.step).seed())
            total = 0.0
            for loss, n in self._losses(examples, size):
                (loss * (n / n_tokens)).backward()
                total += loss.item() * n / n_tokens
            return total

        self.network.net.train()
        loss = with_smaller_batches(gradients, self.at_once)
        self.optimiser.step()
        return loss

    def _check(self, epoch: int, held_out: Sequence[Any]) -> None:
        """Compute the validation loss, and keep the state if it is the best so far."""
        import torch

        self.network.net.eval()

        def read(size: int) -> list[tuple[float, int]]:
            with torch.no_grad():
                return [(loss.item() * n, n) for loss, n in self._losses(held_out, size)]

        losses = with_smaller_batches(read, self.at_once)
        best = min((check["loss"] for check in self.history if check["loss"] is not None), default=math.inf)
        loss = sum(part for part, _ in losses) / sum(n for _, n in losses) if losses else None
        self._expect_finite(loss or 0.0, "validation loss")
        if loss is None or loss < best:
            self.best = {name: p.detach().to("cpu", copy=True) for name, p in self.learnable.items()}
        self.history.append({"epoch": epoch + 1, "loss": loss})

    def _expect_finite(self, loss: float, what: str) -> None:
        if not math.isfinite(loss):
            raise UsageError(
                f"{self.settings.kind}: the {what} is {loss} at step {self.step}: take a smaller learning_rate, "
                "or dtype='float32'"
            )

    def _losses(self, examples: Sequence[Any], size: int) -> "Iterator[tuple[torch.Tensor, int]]":
        """Yield the mean loss of each batch of ``size`` examples, and its number of tokens."""
        for first in range(0, len(examples), size):
            chosen = examples[first : first + size]
            batch = self.network.collate(chosen, [self.network.pixels(e.image) for e in chosen], learn=True)
            with autocast(self.device, self.dtype):
                loss = self.network.loss(batch)
            yield loss.float(), sum(len(example.text) for example in chosen)

    def _keep(self, path: Path) -> None:
        import torch

        state = {
            "weights": {name: parameter.detach().cpu() for name, parameter in self.learnable.items()},
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "history": self.history,
            "at_once": self.at_once,
            "counts": dict(self.counts),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        artifacts.write_atomically(path, buffer.getvalue())

    def _resume(self, path: Path) -> None:
        import torch

        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        with torch.no_grad():
            for name, parameter in self.learnable.items():
                parameter.copy_(state["weights"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = {name: weights.cpu() for name, weights in state["best"].items()}
        self.step, self.history, self.at_once = state["step"], state["history"], state["at_once"]
        self.counts = Counter(state["counts"])


def _chosen(settings: FitSettings) -> dict[str, Any]:
    """Return settings by name; those that came later are left out while they have their defaults."""
    later = {setting.name: setting.default for setting in fields(settings) if setting.metadata.get(LATER)}
    return {name: value for name, value in asdict(settings).items() if name not in later or value != later[name]}


def _training_key(
    train: Sequence[Pair],
    validation: Sequence[Pair],
    settings: FitSettings,
    tags: Sequence[str],
    base: dict[str, str],
    dtype: str,
    device: str,
) -> str:
    """Return a digest of everything that the result of a training depends on."""
    versions = [need(name, extra="models").__version__ for name in ("torch", "transformers", "peft")]
    chosen = {name: value for name, value in _chosen(settings).items() if name not in ("model", "revision", "device")}
    kind = device.partition(":")[0]
    version = QFORMER_VERSION if settings.tune == "qformer" else VERSION
    about = [version, versions, chosen, list(tags), base["revision"], dtype, kind]
    digest = hashlib.sha256(canonical_json(about).encode())
    for split in (train, validation):
        for request, text in split:
            picture = hashlib.sha256(_bytes(request.image)).hexdigest()
            digest.update(canonical_json([request.instruction, picture, text]).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _bytes(image: EncodedImage | None) -> bytes:
    """Return a picture's bytes, empty if it is missing."""
    return image_bytes(image) or b"" if image is not None else b""


def _finished(path: Path) -> dict[str, str] | None:
    """Return the digests of a finished training, if its artifacts are still here."""
    if not path.exists():
        return None
    try:
        digests: dict[str, str] = read_json(path, dict[str, str])
    except DataError:  # damaged: it is trained again
        return None
    there = all((artifacts.cache_folder() / "artifacts" / digest).exists() for digest in digests.values())
    return digests if there else None
