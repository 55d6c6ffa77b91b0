"""Backbones as members of a teacher: fitted on train, or saved in a folder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self

from hf_mner_aug.backbones import BACKBONES, Backbone, checkpoint, installed, task_of
from hf_mner_aug.backbones.detectors import bag_of
from hf_mner_aug.backbones.packed import load_folder, pack, unpack
from hf_mner_aug.backbones.settings import fit_named, parse_backbone
from hf_mner_aug.backbones.teachers import labelling
from hf_mner_aug.backbones.teachers.member import Opinion
from hf_mner_aug.draw import Draw
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.schema import Post
from hf_mner_aug.transform import Reject
from hf_mner_aug.untrusted.hosts import Host
from hf_mner_aug.untrusted.names import check_digest

PINNED = "sha256:"  # before the digest of a saved backbone in the store


@dataclass(frozen=True, slots=True)
class FittedHere:
    """A backbone that is fitted on train; the ``nth`` of those of one spec.

    Each has a seed of its own. If training draws no random number, all but the first learn from a bag: as many posts
    as train has, drawn with replacement (Breiman 1996).
    """

    spec: str
    nth: int = 0

    @classmethod
    def of(cls, spec: str, nth: int = 0) -> Self:
        """Return a member, its settings checked.

        Raises:
            UnknownName: there is no such backbone or setting.
            UsageError: a setting is out of range, or it predicts no typed entities from words alone.
        """
        _check(parse_backbone(spec), spec)
        return cls(spec, nth)

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.spec.partition(":")[0]

    @property
    def hosts(self) -> Mapping[str, Host]:
        """None: texts stay here."""
        return {}

    def fit(self, train: Sequence[Post], validation: Sequence[Post], seed: int) -> str:
        """Return the digest of the backbone, fitted on train; the best state on validation is kept."""
        backbone = parse_backbone(self.spec)
        if not backbone.seedless:
            backbone = replace(backbone, seed=seed + self.nth)
        elif self.nth:
            train = bag_of(train, Draw(f"teacher\0{seed}\0{self.nth}".encode()))
        return pack(fit_named(backbone, train, validation or None))

    def label(
        self, digest: str, texts: Sequence[Sequence[str]], *, types: Sequence[str], run: str
    ) -> list[Opinion | Reject]:
        """Return its opinion of each text."""
        return _opinions(self.name, digest, texts, types)


@dataclass(frozen=True, slots=True)
class Saved:
    """A backbone that is fitted already: the digest of its artifact, as ``sha256:DIGEST``, or its folder."""

    spec: str
    name: ClassVar[str] = "saved"
    hosts: ClassVar[Mapping[str, Host]] = MappingProxyType({})

    @property
    def pinned(self) -> str:
        """Its spec by digest; a folder is stored first.

        Raises:
            UsageError: the folder holds no backbone, or one that predicts no typed entities from words alone.
            Corrupt: a file is damaged.
        """
        if self.spec.startswith(PINNED):
            return self.spec
        model = load_folder(Path(self.spec))
        _check(model, self.spec)
        return f"{PINNED}{pack(model)}"

    def fit(self, train: Sequence[Post], validation: Sequence[Post], seed: int) -> str:
        """Return the digest of the backbone; nothing is trained.

        Raises:
            UsageError: train has a type that the backbone does not know; else as ``pinned``.
            NotFitted: it is not on this machine.
        """
        digest = self.pinned.removeprefix(PINNED)
        known = labels_of(unpack("", check_digest(digest, "teacher")))
        unknown = {entity.type for post in train for entity in post.entities} - set(known)
        if unknown:
            raise UsageError(f"teacher {self.spec}: {_of_other_types(known, sorted(unknown))}")
        return digest

    def label(
        self, digest: str, texts: Sequence[Sequence[str]], *, types: Sequence[str], run: str
    ) -> list[Opinion | Reject]:
        """Return its opinion of each text."""
        return _opinions("", digest, texts, types)


def is_saved(spec: str) -> bool:
    """Return whether a spec names a fitted backbone: its digest, or a folder; ``./crf`` where it is called as one."""
    return spec.startswith(PINNED) or (not _is_backbone(spec) and (Path(spec) / checkpoint.RECORD).is_file())


def is_path(spec: str) -> bool:
    """Return whether a spec names a folder instead of a backbone."""
    name = spec.partition(":")[0]
    return "/" in name or "\\" in name or (not _is_backbone(name) and Path(spec).is_dir())


def _is_backbone(name: str) -> bool:
    return name in {*BACKBONES, *installed()}


def labels_of(model: Backbone) -> tuple[str, ...]:
    """Return the entity types that a fitted backbone knows; empty if it does not say."""
    fitted = getattr(model, "fitted", None)
    found: tuple[str, ...] = getattr(model, "labels", ()) or (fitted.labels if fitted else ())
    return found


def _check(backbone: Backbone, spec: str) -> None:
    """Check that a backbone predicts typed entities from words alone."""
    told = f"teacher {spec}: a teacher labels entities with their types from words alone"
    if task_of(backbone) == "relations":
        raise UsageError(f"{told}: take a backbone for entities")
    if backbone.boundary:
        raise UsageError(f"{told}: leave out boundary=true")
    if backbone.reads_images:
        raise UsageError(f"{told}: pass use_images=false")


def _opinions(name: str, digest: str, texts: Sequence[Sequence[str]], types: Sequence[str]) -> list[Opinion | Reject]:
    model = unpack(name, digest)
    if unknown := set(labels_of(model)) - set(types):
        raise UsageError(f"teacher {model.name}: {_of_other_types(types, sorted(unknown), whose='the set')}")
    return [*labelling.label(model, digest, texts)]


def _of_other_types(known: Iterable[str], unknown: Iterable[str], whose: str = "it") -> str:
    return f"fitted on other types: {whose} knows {', '.join(known)}, not {', '.join(unknown)}: fit one on this set"
