"""The source code of a class outside this package, which its rows depend on."""

import hashlib
import inspect
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_mner_aug.transform import Method


def source_of(cls: type) -> str:
    """Return a digest of the source of the modules outside this package that a class and its bases are written in.

    If a module has no file (a notebook), it is a digest of the code of the class's own functions.
    """
    package = __name__.partition(".")[0]
    digest = hashlib.sha256()
    outside = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in (package, "builtins")]
    for base in outside:
        try:
            digest.update(inspect.getsource(sys.modules[base.__module__]).encode("utf-8", "surrogatepass"))
        except (KeyError, OSError, TypeError):
            for name, value in sorted(vars(base).items()):
                digest.update(_code_of(name, value).encode("utf-8", "surrogatepass"))
    return digest.hexdigest() if outside else ""


def source_digest(cls: "type[Method]") -> str:
    """Return the sha256 of the source of a class outside this package; empty for our own classes."""
    return cls._source


def _code_of(name: str, value: Any) -> str:
    """Return a class's attribute as text that is the same in every process: a function by its code."""
    value = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
    code = getattr(value, "__code__", None)
    if code is None:
        return f"{name}={value!r}" if isinstance(value, str | int | float | tuple | bool | None) else name
    consts = [
        _code_of("", SimpleNamespace(__code__=const))
        if inspect.iscode(const)
        else str(sorted(map(repr, const)) if isinstance(const, frozenset) else repr(const))
        for const in code.co_consts
    ]
    return f"{name}:{code.co_code.hex()}{code.co_names}{code.co_varnames}{consts}"
