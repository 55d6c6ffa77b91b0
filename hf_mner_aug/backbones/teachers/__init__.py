"""Teachers: one or several backbones, fitted on train, or a chat model, that label texts whose labels are not certain.

Labels are voted (``vote``) and come with a confidence. A teacher learns from train only and is selected by validation
only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol, Self, TypeVar, cast

from hf_mner_aug.backbones.settings import committed_spec, pinned_spec, spec_computing, spec_models
from hf_mner_aug.backbones.teachers.backbone import FittedHere, Saved, is_path, is_saved
from hf_mner_aug.backbones.teachers.endpoint import ChatMember
from hf_mner_aug.backbones.teachers.member import Member as Member
from hf_mner_aug.backbones.teachers.member import Opinion as Opinion
from hf_mner_aug.backbones.teachers.vote import Labels as Labels
from hf_mner_aug.backbones.teachers.vote import vote
from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.models.endpoint.engine import checked_name, endpoint_models, run_name
from hf_mner_aug.schema import Entity, Post
from hf_mner_aug.transform import Costs, Method, Reject
from hf_mner_aug.untrusted.hosts import Host
from hf_mner_aug.values import ByContent, Computing, Named

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The members of a teacher, in the order of a method's parameter ``teacher``."""

    members: tuple[Member, ...]

    @classmethod
    def of(cls, specs: Sequence[str], members: int = 1) -> Self:
        """Return the teacher of some specs.

        Args:
            specs: each a backbone, as ``crf`` or ``token_classifier:encoder=DIR,steps=200``, the folder of a saved one,
                or a chat model, ``endpoint:URL#MODEL``.
            members: the number of backbones of each spec; of a folder and of a chat model there is one.

        Raises:
            UnknownName: there is no such backbone or setting.
            UsageError: there is no spec, a setting is out of range, a backbone cannot label words, or there are two
                endpoints.
        """
        if not specs:
            raise UsageError("teacher: expected a backbone at least, as crf, found none")
        found: list[Member] = []
        for spec in specs:
            if chat := ChatMember.of(spec):
                found.append(chat)
            elif not is_saved(spec) and is_path(spec):
                raise UsageError(
                    f"teacher {spec}: expected a backbone or the folder of a saved one, found "
                    f"{'a folder of something else' if Path(spec).is_dir() else 'no such folder'}: an encoder needs a "
                    f"backbone, as teacher=frozen_encoder_crf:encoder={spec}"
                )
            else:
                found += [Saved(spec)] if is_saved(spec) else [FittedHere.of(spec, nth) for nth in range(members)]
        if sum(isinstance(member, ChatMember) for member in found) > 1:
            raise UsageError("teacher: expected one endpoint at most: name one of them")
        return cls(members=tuple(found))

    @property
    def name(self) -> str:
        """The names of its members: ``3 crf, token_classifier``."""
        names = [member.name for member in self.members]
        counts = {name: names.count(name) for name in names}
        return ", ".join(name if n == 1 else f"{n} {name}" for name, n in counts.items())

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts that texts are sent to, by the parameter that names them."""
        return {name: host for member in self.members for name, host in member.hosts.items()}

    def costs(
        self,
        method: Method,
        texts: Callable[[Post], int],
        to_fit: Callable[[Iterable[Post]], tuple[int, int]] = lambda train: (0, 0),
    ) -> Costs | None:
        """Return the calls of a method that has ``texts`` labelled for a post; None without an endpoint.

        ``to_fit`` returns the least and most texts that its fit has labelled.
        """
        chats = (member for member in self.members if isinstance(member, ChatMember))
        return next((chat.costs(method, texts, to_fit) for chat in chats), None)

    @property
    def asks(self) -> bool:
        """Whether a member is behind an endpoint."""
        return any(isinstance(member, ChatMember) for member in self.members)

    def fit(self, train: Sequence[Post], validation: Sequence[Post], seed: int) -> dict[str, str]:
        """Return the digests of the members by name (``teacher-0``, …), for a method's files.

        They learn from train only; validation, which may be empty, selects their best states.

        Raises:
            UsageError: a post has a relation or a fine type, train has no entity, or a saved backbone knows other
                types.
        """
        if any(entity.fine for post in train for entity in post.entities):
            raise UsageError("labels=teacher: a teacher gives no fine types, and train has them: leave it out")
        if any(post.relation is not None for post in train):
            raise UsageError("labels=teacher: a teacher labels entities, and train has relations: leave it out")
        words, selects = ([replace(post, images=()) for post in posts] for posts in (train, validation))
        return {f"teacher-{i}": member.fit(words, selects, seed) for i, member in enumerate(self.members)}

    def label(
        self, files: Mapping[str, str], texts: Sequence[Sequence[str]], *, types: Sequence[str], run: str = ""
    ) -> list[Labels | Reject]:
        """Return the labels of each text, or why a member gives none.

        Args:
            files: a method's files, with the digests of ``fit``.
            texts: lists of words.
            types: the entity types of the set.
            run: the name under which calls of an endpoint are counted.

        Raises:
            NotFitted: a member is not on this machine.
            UsageError: a member knows other types than the set.
        """
        by_member = [
            member.label(files[f"teacher-{i}"], texts, types=types, run=run) for i, member in enumerate(self.members)
        ]
        return [self._voted(opinions) for opinions in zip(*by_member, strict=True)]

    def _voted(self, opinions: Sequence[Opinion | Reject]) -> Labels | Reject:
        refused = next((opinion for opinion in opinions if isinstance(opinion, Reject)), None)
        return refused or vote([opinion for opinion in opinions if isinstance(opinion, Opinion)], self.name)


class Taught(Protocol):
    """The parameters of a method whose posts may be labelled by a teacher."""

    @property
    def labels(self) -> str:
        """``method`` or ``teacher``."""
        ...

    @property
    def teacher(self) -> tuple[str, ...]:
        """The specs of the members."""
        ...

    @property
    def teacher_members(self) -> int:
        """The number of members of each spec."""
        ...

    @property
    def min_confidence(self) -> float:
        """The least confidence of a post."""
        ...

    @property
    def text(self) -> bool:
        """Whether posts get new words."""
        ...


def teacher_of(method: Taught) -> Teacher | None:
    """Return the teacher that a method's parameters name; None if it places labels itself.

    Raises:
        UnknownName: as ``Teacher.of``.
        UsageError: as ``Teacher.of``, or the method keeps the words of gold posts.
    """
    if method.labels != "teacher":
        return None
    if not method.text:
        raise UsageError("labels=teacher labels new words, and text=false keeps the gold post's: leave one of them out")
    return Teacher.of(method.teacher, method.teacher_members)


def label_texts(
    method: Taught, texts: Sequence[Sequence[str]], types: Sequence[str], files: Mapping[str, str]
) -> list[Labels | Reject]:
    """Return the labels of texts by a method's teacher, with the files and the types that the method learned.

    It raises as ``Teacher.label``.
    """
    teacher = teacher_of(method)
    assert teacher is not None
    return teacher.label(files, texts, types=types, run=run_name(cast("Method", method), files["posts"]))


def told_teacher(method: Taught, teacher: Teacher) -> tuple[str, ...]:
    """Return the sentences of a card on a method's teacher."""
    found = [
        f"Their labels are those of a teacher ({teacher.name}) where its confidence is {method.min_confidence:g} or "
        "more: nobody has checked them by hand. The column provenance has the confidence of each post's least sure "
        "entity."
    ]
    if any(isinstance(member, Saved) for member in teacher.members):
        found.append(
            "The teacher was trained before: whether it has seen posts of validation or test is not known here."
        )
    return tuple(found)


def named_teacher(spec: str, where: str) -> str:
    """Return a member's spec with the content of what lies on this machine: a saved backbone, files and folders.

    Raises as ``Saved.pinned``, ``pinned_spec`` and ``checked_name``.
    """
    if is_saved(spec):
        return Saved(spec).pinned
    return checked_name(spec, where) if ChatMember.of(spec) else pinned_spec(spec, where)


def _of_backbone(what: Callable[[str], T], spec: str, otherwise: T) -> T:
    """Return what is asked of a backbone's spec; something else for a saved one, and for a model behind an endpoint."""
    return otherwise if is_saved(spec) or ChatMember.of(spec) else what(spec)


def teacher_models(spec: str) -> Sequence[Named]:
    """Return the models of a member; those of a saved backbone are not known."""
    return endpoint_models(spec) or _of_backbone(spec_models, spec, [])


TeacherSpec = Annotated[  # one of a parameter ``teacher``
    str,
    ByContent(
        named_teacher,
        lambda spec: _of_backbone(committed_spec, spec, spec),
        teacher_models,
        lambda spec: _of_backbone(spec_computing, spec, Computing() if is_saved(spec) else None),
    ),
]


def taught(post: Post, labels: Labels, *, least: float, require_entity: bool) -> Post | Reject:
    """Return a post with a teacher's entities, or why it is rejected.

    Its details get ``teacher``, ``confidence`` and ``agreement``: of the entity with the least of it, or that the text
    has no entity.

    Args:
        post: its words are those that were labelled.
        labels: of the teacher.
        least: the least confidence.
        require_entity: reject a text without an entity.
    """
    if not labels.spans and require_entity:
        return Reject("no_entity_found")
    confidence = round(min((span.confidence for span in labels.spans), default=labels.outside[0]), 2)
    if confidence < least:
        return Reject("unsure", _told(post.tokens, labels, confidence))
    details = {
        **post.details,
        "teacher": labels.teacher,
        "confidence": confidence,
        "agreement": round(min(labels.agreement, default=labels.outside[1]), 2),
    }
    return replace(post, entities=tuple(Entity(*span[:3]) for span in labels.spans), details=details)


def _told(tokens: Sequence[str], labels: Labels, confidence: float) -> str:
    if not labels.spans:
        return f"no entity: {confidence:.2f}"
    least = min(labels.spans, key=lambda span: span.confidence)
    return f"{' '.join(tokens[least.start : least.end])} as {least.type}: {confidence:.2f}"
