"""Training, saving and loading of a network backbone, the same for tags and relations.

The functions here, in ``tagging`` and in ``relation`` are methods of backbones that follow ``NetBackbone``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from hf_mner_aug.backbones import Backbone, checkpoint
from hf_mner_aug.backbones.encoder import TWEETS, WordPieces
from hf_mner_aug.backbones.knowledge import Knowledge
from hf_mner_aug.backbones.training import Check, Training
from hf_mner_aug.exceptions import Corrupt
from hf_mner_aug.schema import Post
from hf_mner_aug.untrusted.shapes import checked

if TYPE_CHECKING:
    from hf_mner_aug.models.vision import Vision


@dataclass(frozen=True, slots=True)
class Fitted:
    """The result of training: the network, its tokenizer, its labels, and the validation scores."""

    net: Any
    pieces: WordPieces
    labels: tuple[str, ...]
    history: tuple[Check, ...]


class NetBackbone(Backbone, Protocol):
    """A backbone with a network, which has ``tower`` (or None), ``slow`` and, for tags, ``chain`` (a CRF, or None)."""

    shape: ClassVar[tuple[str, ...]]  # settings that must equal those of a folder that training continues from
    view: ClassVar[str]  # the tower's output for a picture: ``grid`` or ``pyramid``; empty if no pictures are read

    @property
    def encoder(self) -> str:
        """The text encoder."""
        ...

    @property
    def max_length(self) -> int:
        """The maximum number of subwords read of a post."""
        ...

    @property
    def dropout(self) -> float:
        """The dropout of the layers on top of the encoder."""
        ...

    @property
    def vision(self) -> "Vision | None":
        """The settings of the vision tower; None if no pictures are read."""
        ...

    @property
    def no_images(self) -> str:
        """What to do if no post of a split has a picture: ``warn`` or ``refuse``."""
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
        """A function that makes a net from an encoder, the names of tags or relations, and a tower."""
        ...

    def assemble(
        self, encoder: str, labels: tuple[str, ...], train: Sequence[Post] = ()
    ) -> tuple[Callable[[], Any], WordPieces]:
        """Return a function that makes the network (new or saved), and its tokenizer."""
        ...

    def gallery(self, net_of: Callable[[], Any]) -> Any:
        """Return the reader of further inputs of posts, or None: see ``tagging.gallery``."""
        ...

    def gather(self, data: Mapping[str, tuple[Any, Sequence[Post]]]) -> list[Knowledge]:
        """Return the knowledge about the posts of each split, whose rows and posts are given."""
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
    """Train and return a fitted copy of a backbone with the best-scoring state (without a score, the last)."""
    state, history = backbone.training.run(build, examples, collate, score, seed=backbone.seed)
    net = build()
    net.load_state_dict(state)
    return replace(backbone, fitted=Fitted(net.eval(), pieces, labels, history))


def fitted_of(backbone: NetBackbone) -> Fitted:
    """Return the result of training.

    Raises:
        NotFitted: the backbone was not fitted.
    """
    if backbone.fitted is None:
        raise checkpoint.not_fitted(backbone.name)
    return backbone.fitted


def training_note(backbone: NetBackbone) -> str:
    """Return how each cell of a study is trained, for its report."""
    return f"Every cell takes {backbone.training.steps} optimiser steps; the best state on validation is kept."


def save(backbone: NetBackbone, folder: str | Path) -> None:
    """Write the weights, the tokenizer and the settings into a folder.

    Raises:
        NotFitted: the backbone was not fitted.
    """
    fitted = fitted_of(backbone)
    settings = asdict(replace(backbone, fitted=None))
    del settings["fitted"]
    about: dict[str, Any] = {"labels": fitted.labels, "settings": settings}
    about["history"] = [asdict(check) for check in fitted.history]
    if fitted.pieces.tweets:
        about[TWEETS] = True
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
