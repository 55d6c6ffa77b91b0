"""A network with what belongs to it: trained, saved and loaded the same way, whatever it predicts.

The functions take a backbone that is a frozen dataclass with ``fitted: Fitted | None`` and a method ``assemble``, which
returns what makes its network, fresh or as a folder has it, and its tokenizer.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hf_mner_aug.backbones import checkpoint
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.training import Check
from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.untrusted.shapes import checked


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training leaves: the network, its tokenizer, the labels it knows, and the validation scores."""

    net: Any
    pieces: WordPieces
    labels: tuple[str, ...]
    history: tuple[Check, ...]


def learn(
    backbone: Any,
    build: Callable[[], Any],
    pieces: WordPieces,
    labels: tuple[str, ...],
    examples: Sequence[Any],
    collate: Callable[[Sequence[Any]], Any],
    score: Callable[[Any], float] | None,
) -> Any:
    """Return a fitted copy of a backbone, of the state with the best score (without one, the last)."""
    state, history = backbone.training.run(build, examples, collate, score, seed=backbone.seed)
    net = build()
    net.load_state_dict(state)
    return replace(backbone, fitted=Fitted(net.eval(), pieces, labels, history))


def fitted_of(backbone: Any) -> Fitted:
    """Return what training left.

    Raises:
        NotFitted: the backbone was not fitted.
    """
    if backbone.fitted is None:
        raise checkpoint.not_fitted(backbone.name)
    found: Fitted = backbone.fitted
    return found


def save(backbone: Any, folder: str | Path) -> None:
    """Write the weights, the tokenizer and the settings into a folder.

    Raises:
        NotFitted: the backbone was not fitted.
    """
    fitted = fitted_of(backbone)
    settings = asdict(replace(backbone, fitted=None))
    del settings["fitted"]
    about = {"labels": fitted.labels, "settings": settings, "history": [asdict(check) for check in fitted.history]}
    checkpoint.write_net(Path(folder), backbone.name, fitted.net, fitted.pieces.tokenizer, about)


def load(cls: Any, folder: str | Path) -> Any:
    """Return the backbone saved in a folder.

    Raises:
        UsageError: there is none, or one of another kind.
        Corrupt: a file is damaged.
    """
    record = checkpoint.read(Path(folder), cls.name)
    labels = tuple(record["labels"])
    backbone = cls(**checkpoint.settings(cls, record, Path(folder)))
    build, pieces = backbone.assemble(str(folder), labels)
    where = f"{Path(folder) / checkpoint.RECORD}: history"
    history = checked(record.get("history", []), tuple[Check, ...], where, error=Corrupt, advice="fit and save again")
    return replace(backbone, fitted=Fitted(build().eval(), pieces, labels, history))
