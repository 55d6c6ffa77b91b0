"""Methods that users write: found by ``package.module:Class``, and imported only if the user named them.

A recipe is data and may come from a stranger; importing a class that it names would run the stranger's code. So a class
is used only if its module is already imported, or if the user named it: in a call, as ``--method``, in
``HF_MNER_AUG_CODE``, or by installing a package that offers it as an entry point (``installed.offers``).
"""

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from hf_mner_aug.exceptions import CodeNotAllowed, UsageError
from hf_mner_aug.installed import Offer
from hf_mner_aug.transform import Facts, Method

VARIABLE = "HF_MNER_AUG_CODE"  # shout.methods:Shout,other:Other
_SPEC = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_known: dict[str, type[Method]] = {}  # classes that the user named, or of which this process had an object


def is_class_name(text: str) -> bool:
    """Return whether a text names a class: ``package.module:Class``."""
    return bool(_SPEC.fullmatch(text))


def name_of(cls: type[Method]) -> str:
    """Return the name of a class, by which this process finds it from now on.

    Raises:
        UsageError: the class has no method's name or facts.
    """
    name = f"{cls.__module__}:{cls.__qualname__}"
    _check_class(cls, name)
    _known[name] = cls
    return name


def named_by_user(name: str) -> type[Method]:
    """Return a class that the user named; modules in the current folder are found too.

    Raises:
        UsageError: there is no such module or class, or it is not a method.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    _known[name] = _imported(name)
    return _known[name]


def offered(offer: Offer) -> type[Method]:
    """Return the class that an installed package offers as a method.

    Raises:
        UsageError: it cannot be imported, is not a method, or has another name.
    """
    found = _method(offer.load(), str(offer))
    if found.name != offer.name:
        raise UsageError(f"{offer}: expected the name of its class, {found.name!r}: correct the entry point")
    return found


def named_by_recipe(name: str) -> type[Method]:
    """Return a class that a recipe names.

    Raises:
        CodeNotAllowed: its module is not imported, and the user has not named it.
        UsageError: as ``named_by_user``.
    """
    if name in _known:
        return _known[name]
    if name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        return named_by_user(name)
    if not is_class_name(name) or name.partition(":")[0] not in sys.modules:
        raise CodeNotAllowed(
            f"the recipe names the class {name!r}, whose code would run: nothing was imported; allow it with "
            f"--method {name} or {VARIABLE}={name}, or import it first"
        )
    return _imported(name)


def _imported(name: str) -> type[Method]:
    if not is_class_name(name):
        raise UsageError(f"{name!r}: expected a class as package.module:Class")
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise UsageError(f"{name}: {error}: install it, or run where {module.replace('.', '/')}.py lies") from error
    return _method(found, name)


def _method(found: Any, name: str) -> type[Method]:
    """Return an object that was found under a name, checked to be a method's class."""
    if not isinstance(found, type) or not issubclass(found, Method):
        raise UsageError(f"{name}: expected a class of Method with a name, found {found!r}")
    _check_class(found, name)
    return found


def _check_class(cls: type[Method], name: str) -> None:
    """Check that a class has a name, and the facts that cards and pages show."""
    if not hasattr(cls, "name"):
        raise UsageError(f"{name}: expected a class of Method with a name, found none: name: ClassVar[str] = 'shout'")
    if not isinstance(getattr(cls, "facts", None), Facts):
        raise UsageError(
            f"{name}: expected facts, for cards and pages, found none: facts: ClassVar[Facts] = Facts(does='…', "
            "paper='…', learns='…', images='…', boxes='…'), with Facts of hf_mner_aug.transform"
        )
