"""Options of several values: ``--configs a b`` written as ``--configs a --configs b``, as typer reads it.

A value too many, such as the last in ``--configs a b REPO``, becomes the verb's own argument.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

LISTS = (
    "--ablations",
    "--augmentation-seeds",
    "--backbones",
    "--cells",
    "--configs",
    "--copies",
    "--fractions",
    "--keep",
    "--methods",
    "--recipes",
    "--seeds",
    "--split-by",
    "--splits",
    "--weights",
)


class Piece(NamedTuple):
    """An argument; ``option`` is set for a value of such an option, ``more`` for all its values but the first."""

    text: str
    option: str = ""
    more: bool = False
    own: bool = False  # an argument of the verb


def spread(arguments: list[str], command: Any = None) -> list[str]:
    """Return the arguments of a verb with the option's name before each of its values."""
    pieces = list(_pieces(arguments, _with_value(command), _lists(command)))
    for _ in range(_needed(command) - sum(piece.own for piece in pieces)):
        if not (spare := [i for i, piece in enumerate(pieces) if piece.more]):
            break
        taken = max(spare, key=lambda i: (_may_be_a_place(pieces[i].text), not pieces[i].text.isdecimal(), i))
        pieces.append(Piece(pieces.pop(taken).text, own=True))
    return [text for piece in pieces for text in ((piece.option, piece.text) if piece.more else (piece.text,))]


def _pieces(arguments: list[str], with_value: Collection[str], lists: Collection[str]) -> Iterator[Piece]:
    """Yield each argument with its role."""
    option, value_of_one, more = "", False, False
    for i, text in enumerate(arguments):
        if text == "--":
            yield Piece(text)
            yield from (Piece(rest, own=True) for rest in arguments[i + 1 :])
            return
        name, equals, _ = text.partition("=")
        if text.startswith("-") and not text[1:2].isdecimal():
            option, more = name if name in lists else "", bool(equals)
            value_of_one = name in with_value and not option and not equals
            yield Piece(text)
        elif option:
            yield Piece(text, option, more)
            more = True
        else:
            yield Piece(text, own=not value_of_one)
            value_of_one = False


def _lists(command: Any) -> Collection[str]:
    """Return those of the options that have several values in a verb: ``--copies`` has one in others."""
    single = {name for one in getattr(command, "params", ()) if not getattr(one, "multiple", True) for name in one.opts}
    return {*LISTS} - single


def _with_value(command: Any) -> set[str]:
    """Return the options of a verb that have a value."""
    return {name for one in getattr(command, "params", ()) if not getattr(one, "is_flag", False) for name in one.opts}


def _needed(command: Any) -> int:
    """Return how many arguments a verb needs, including its name."""
    return 1 + sum(one.param_type_name == "argument" and one.required for one in command.params) if command else 0


def _may_be_a_place(text: str) -> bool:
    """Return whether a value may be a repo: neither configs nor numbers are paths."""
    return "/" in text or Path(text).exists()
