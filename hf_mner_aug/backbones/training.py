"""Training of networks: transformers' Trainer, the best state on validation, smaller batches when memory runs out."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.device import find_device, quiet, with_smaller_batches
from hf_mner_aug.values import Amount, BelowOne, Positive, Range, Rate, check_ranges

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
PREDICT_BATCH = 64


@dataclass(frozen=True, slots=True)
class Check:
    """The validation score after some optimiser steps."""

    step: int
    score: float


Learnt = tuple[dict[str, Any], tuple[Check, ...]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The settings of a training.

    Args:
        epochs: passes over train.
        steps: optimiser steps; overrides `epochs`.
        batch_size: posts per step, over all devices.
        learning_rate: of pretrained weights.
        head_learning_rate: of new weights.
        weight_decay: of AdamW.
        warmup: the share of steps in which the learning rates rise.
        checks: the number of validation checks; the best state is kept, of equal ones the first.
        device: `auto`, `cpu` or `cuda`.
        precision: `fp32`, `bf16`, `fp16`; `auto` is bf16 or fp16 on a GPU and fp32 elsewhere.
        weight: a column of train with the weight of each post's loss, 0 to 10; null is 1.
    """

    epochs: Positive = 12
    steps: Annotated[int | None, Range(1)] = None
    batch_size: Positive = 16
    learning_rate: Rate = 5e-5
    head_learning_rate: Rate = 1e-3
    weight_decay: Amount = 0.01
    warmup: BelowOne = 0.1
    checks: Positive = 12
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    weight: str | None = None

    def __post_init__(self) -> None:
        check_ranges(self, "training")

    def n_steps(self, n_posts: int) -> int:
        """Return the number of optimiser steps for some posts."""
        return self.steps or self.epochs * math.ceil(n_posts / self.batch_size)

    def run(
        self,
        build: Callable[[], "torch.nn.Module"],
        examples: Sequence[Any],
        collate: Callable[[Sequence[Any]], Any],
        score: Callable[["torch.nn.Module"], float] | None,
        *,
        seed: int,
    ) -> Learnt:
        """Train the network that ``build`` makes, and return its best state on the CPU and the validation scores.

        ``collate`` makes a batch of examples, ``score`` returns the validation score (without it the last state is
        kept). When memory runs out, training starts again with half the batch, twice the gradient accumulation, and a
        warning.

        Raises:
            UsageError: a GPU is requested and absent, or one post does not fit into memory.
        """
        device = find_device(self.device)

        def attempt(batch_size: int) -> Learnt:
            return self._attempt(build, examples, collate, score, seed, device, batch_size)

        return with_smaller_batches(attempt, self.batch_size)

    def _attempt(
        self,
        build: Callable[[], "torch.nn.Module"],
        examples: Sequence[Any],
        collate: Callable[[Sequence[Any]], Any],
        score: Callable[["torch.nn.Module"], float] | None,
        seed: int,
        device: str,
        batch_size: int,
    ) -> Learnt:
        import torch
        from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

        total = self.n_steps(len(examples))
        every = math.ceil(total / self.checks)
        half = self._half_precision(device)
        history: list[Check] = []
        best: dict[str, Any] = {}

        class KeepBest(TrainerCallback):
            """Scores on validation at regular steps, and keeps the best state."""

            def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
                if score is None or (state.global_step % every and state.global_step != total):
                    return
                bare = getattr(model, "module", model)
                bare.eval()
                found = Check(state.global_step, score(bare))
                bare.train()
                if not history or found.score > max(check.score for check in history):
                    best.update(_on_cpu(bare))
                history.append(found)

        set_seed(seed)
        net = build()
        with tempfile.TemporaryDirectory() as folder, quiet():
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=total,
                warmup_steps=round(self.warmup * total),
                gradient_accumulation_steps=self.batch_size // batch_size,
                bf16=half == "bf16",
                fp16=half == "fp16",
                seed=seed,
                use_cpu=device == "cpu",
                dataloader_pin_memory=device.startswith("cuda"),
                remove_unused_columns=False,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            devices = max(1, arguments.n_gpu) * arguments.world_size
            arguments.per_device_train_batch_size = max(1, batch_size // devices)
            trainer = Trainer(
                model=net,
                args=arguments,
                train_dataset=examples,
                data_collator=collate,
                optimizers=(torch.optim.AdamW(self._groups(net), weight_decay=self.weight_decay), None),
                callbacks=[KeepBest()],
            )
            # The Trainer assumes that a forward of **inputs divides its loss by num_items_in_batch itself.
            trainer.model_accepts_loss_kwargs = False
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return best or _on_cpu(net), tuple(history)

    def _rates(self, net: Any) -> dict[str, float]:
        """Return the learning rates of a network's parts by name; all others have ``head_learning_rate``.

        These are the parts in ``slow``, and a tower that is pretrained or has a learning rate of its own.
        """
        rates = dict.fromkeys(net.slow, self.learning_rate)
        if net.tower is not None and net.tower.pretrained:
            rates["tower"] = self.learning_rate
        if net.tower is not None and net.tower.learning_rate is not None:
            rates["tower"] = net.tower.learning_rate
        return rates

    def _groups(self, net: "torch.nn.Module") -> list[dict[str, Any]]:
        """Return the trainable parameters in groups of one learning rate; biases and norms do not decay."""
        rates = self._rates(net)
        groups: dict[tuple[float, bool], list[Any]] = {}
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                rate = rates.get(name.partition(".")[0], self.head_learning_rate)
                groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, **({} if decays else {"weight_decay": 0.0})}
            for (rate, decays), parameters in groups.items()
        ]

    def _half_precision(self, device: str) -> str | None:
        import torch

        if self.precision == "fp32" or (self.precision == "auto" and device == "cpu"):
            return None
        if self.precision == "fp16" and device == "cpu":
            raise UsageError("precision='fp16' needs a GPU: pass fp32, bf16 or auto")
        if self.precision == "auto":
            return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        return self.precision


def run_batches(
    net: "torch.nn.Module",
    examples: Sequence[Any],
    collate: Callable[[Sequence[Any]], dict[str, "torch.Tensor"]],
    call: Callable[[dict[str, "torch.Tensor"]], list[T]],
) -> list[T]:
    """Call a function on batches and return its result for each example, in order; batches are sorted by length."""
    import torch

    device = next(net.parameters()).device
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))

    def attempt(batch_size: int) -> list[T]:
        found: dict[int, T] = {}
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size]
            batch = {name: value.to(device) for name, value in collate([examples[i] for i in chosen]).items()}
            with torch.no_grad():
                found.update(zip(chosen, call(batch), strict=True))
        return [found[i] for i in range(len(examples))]

    return with_smaller_batches(attempt, PREDICT_BATCH)


def pad(rows: Sequence[Sequence[int]], value: int = 0) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return rows as one tensor [n_rows, longest], padded with a value, and its mask."""
    import torch

    longest = max(map(len, rows))
    padded = torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return padded, torch.arange(longest) < lengths[:, None]


def _on_cpu(net: "torch.nn.Module") -> dict[str, Any]:
    """Return a copy of a network's state on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in net.state_dict().items()}
