"""The errors of this package, one exception type per kind of trouble.

Each carries a stable ``reason`` for programs and a message for people that names the row or path, what was expected,
what was found and what to do. The command line prints the message and exits with 2.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class UsageError(Exception):
    """The user can correct this: a wrong name, value, path or row."""

    reason = "usage"


class DataError(UsageError):
    """A row or a file does not hold what its format promises."""

    reason = "bad_data"


class NothingMade(UsageError):
    """A run made no post: the message says why and what to do, ``funnel`` counts the fate of the requested posts."""

    reason = "nothing_made"

    def __init__(self, message: str, funnel: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.funnel = funnel


class NotFitted(UsageError):
    """A method was called before ``fit``."""

    reason = "not_fitted"


class UnknownName(UsageError):
    """A name that is not in its table; the message gives the nearest and all valid names."""

    reason = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}valid are {', '.join(known) or 'none'}")
        self._arguments = (kind, name, known)

    def __reduce__(self) -> Any:  # a worker process raises it, too
        return type(self), self._arguments


class MissingExtra(UsageError):
    """A package of an optional extra is not installed."""

    reason = "missing_extra"


class RecipeMismatch(UsageError):
    """The content of an output folder was made by another recipe."""

    reason = "recipe_mismatch"


class Corrupt(UsageError):
    """A file that this package wrote earlier is damaged."""

    reason = "corrupt"


class HostNotAllowed(UsageError):
    """A recipe names a host that the user has not allowed: nothing was sent to it."""

    reason = "host_not_allowed"


class CodeNotAllowed(UsageError):
    """A recipe names a class of another package, which the user has not allowed: nothing was imported."""

    reason = "code_not_allowed"


class EndpointError(UsageError):
    """An endpoint cannot be used: ``reason`` says whether it is the key, the credit, the model, the address, ….

    Earlier answers are recorded; the same run, started again, continues from there.
    """

    def __init__(self, message: str, reason: str = "endpoint") -> None:
        super().__init__(message)
        self.reason = reason


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
