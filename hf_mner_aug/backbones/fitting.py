"""A network with what belongs to it: trained, saved and loaded the same way, whatever it predicts.

The functions here, in ``tagging`` and in ``relation`` are methods of backbones that are a ``NetBackbone``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from hf_mner_aug.backbones import Backbone, checkpoint
from hf_mner_aug.backbones.encoder import WordPieces
from hf_mner_aug.backbones.knowledge import Knowledge
from hf_mner_aug.backbones.training import Check, Training
from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.schema import Post
from hf_mner_aug.untrusted.shapes import checked

if TYPE_CHECKING:
    from hf_mner_aug.models.vision import Vision


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training leaves: the network, its tokenizer, the labels it knows, and the validation scores."""

    net: Any
    pieces: WordPieces
    labels: tuple[str, ...]
    history: tuple[Check, ...]


class NetBackbone(Backbone, Protocol):
    """A backbone with a network. Its net has ``tower`` (or None), ``slow``, and for tags ``chain``: a CRF, or None."""

    shape: ClassVar[tuple[str, ...]]  # settings that must equal those of a folder that training goes on from
    view: ClassVar[str]  # what is seen of a picture: ``grid`` or ``pyramid``; empty where none is read

    @property
    def encoder(self) -> str:
        """The text encoder."""
        ...

    @property
    def max_length(self) -> int:
        """Subwords of a post that are read, at most."""
        ...

    @property
    def dropout(self) -> float:
        """The dropout of the layers on top of the encoder."""
        ...

    @property
    def vision(self) -> "Vision | None":
        """The tower that looks at pictures; None where none are read."""
        ...

    @property
    def no_images(self) -> str:
        """Where no post of a split has a picture: ``warn`` or ``refuse``."""
        ...

    @property
    def training(self) -> Training:
        """Steps, batch size and learning rates."""
        ...

    @property
    def fitted(self) -> Fitted | None:
        """The result of training, None before."""
        ...

    @property
    def network(self) -> Callable[..., Any]:
        """What makes a net of an encoder, the names of tags or relations, and a tower."""
        ...

    def assemble(
        self, encoder: str, labels: tuple[str, ...], train: Sequence[Post] = ()
    ) -> tuple[Callable[[], Any], WordPieces]:
        """Return what makes the network, fresh or as a folder has it, and its tokenizer."""
        ...

    def gallery(self, net_of: Callable[[], Any]) -> Any:
        """Return what a network is told of posts beside their subwords, or None: see ``tagging.gallery``."""
        ...

    def gather(self, data: Mapping[str, tuple[Any, Sequence[Post]]]) -> list[Knowledge]:
        """Return what is known of the posts of each split, of which the rows and the posts are given."""
        ...


N = TypeVar("N", bound=NetBackbone)


def learn(
    backbone: N,
    build: Callable[[], Any],
    pieces: WordPieces,
    labels: tuple[str, ...],
    examples: Sequence[Any],
    collate: Callable[[Sequence[Any]], Any],
    score: Callable[[Any], float] | None,
) -> N:
    """Return a fitted copy of a backbone, of the state with the best score (without one, the last)."""
    state, history = backbone.training.run(build, examples, collate, score, seed=backbone.seed)
    net = build()
    net.load_state_dict(state)
    return replace(backbone, fitted=Fitted(net.eval(), pieces, labels, history))


def fitted_of(backbone: NetBackbone) -> Fitted:
    """Return what training left.

    Raises:
        NotFitted: the backbone was not fitted.
    """
    if backbone.fitted is None:
        raise checkpoint.not_fitted(backbone.name)
    return backbone.fitted


def training_note(backbone: NetBackbone) -> str:
    """Return how long each cell of a study trains."""
    return f"Every cell takes {backbone.training.steps} optimiser steps; the best state on validation is kept."


def save(backbone: NetBackbone, folder: str | Path) -> None:
    """Write the weights, the tokenizer and the settings into a folder.

    Raises:
        NotFitted: the backbone was not fitted.
    """
    fitted = fitted_of(backbone)
    settings = asdict(replace(backbone, fitted=None))
    del settings["fitted"]
    about = {"labels": fitted.labels, "settings": settings, "history": [asdict(check) for check in fitted.history]}
    checkpoint.write_net(Path(folder), backbone.name, fitted.net, fitted.pieces.tokenizer, about)


def load(cls: type[N], folder: str | Path) -> N:
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
