"""Independent calls, such as the folds of a cross-validation: made here, or by the workers of a run's engine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Function = Callable[[Any, Any], Any]
Caller = Callable[[Function, Any, Mapping[str, Any]], Iterator[tuple[str, Any]]]


def call_here(function: Function, shared: Any, items: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Call ``function(shared, item)`` for each item in this process; yield name and result, in order."""
    for name, item in items.items():
        yield name, function(shared, item)


_caller: ContextVar[Caller] = ContextVar("caller", default=call_here)


def call_all(function: Function, shared: Any, items: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Call ``function(shared, item)`` for each item; yield name and result, in any order.

    The function is one of a module, and what it takes and returns is pickled where workers call it.
    """
    return _caller.get()(function, shared, items)


@contextmanager
def called_by(caller: Caller) -> Iterator[None]:
    """Have the calls of this block made by an engine's workers."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)
