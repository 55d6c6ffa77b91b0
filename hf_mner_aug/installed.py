"""Methods, backbones and raw sets that installed packages offer by entry points.

An entry point names an object of a package that the user installed. So a recipe may use these names as it uses those of
this package, and no others.
"""

import importlib
import warnings
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Literal

from hf_mner_aug.exceptions import UsageError, first_line


@dataclass(frozen=True)
class Offer:
    """An entry point: ``spec`` is ``package.module:Name``, ``packages`` those that offer it, with their version."""

    kind: str
    name: str
    spec: str
    packages: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {' and '.join(self.packages)}"

    def load(self) -> Any:
        """Import the object.

        Raises:
            UsageError: several packages offer the name, or the import fails.
        """
        if len(self.packages) > 1:
            raise UsageError(f"{self}: expected one package to offer this name: uninstall the others")
        module, _, attribute = self.spec.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:  # whatever its code does when it is imported
            raise UsageError(
                f"{self} cannot be loaded from {self.spec}: {type(error).__name__}: {first_line(error)}: update or "
                f"uninstall {self.packages[0].partition(' ')[0]}"
            ) from error


def offers(kind: Literal["methods", "backbones", "readers"], taken: Container[str] = ()) -> dict[str, Offer]:
    """Return the entry points of a group by name, without those ``taken``; nothing is imported."""
    from importlib.metadata import entry_points

    found: dict[str, Offer] = {}
    try:
        for entry in entry_points(group=f"hf_mner_aug.{kind}"):
            package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package"
            before = found[entry.name].packages if entry.name in found else ()
            found[entry.name] = Offer(kind.removesuffix("s"), entry.name, _spec(entry.value), (*before, package))
    except (AttributeError, OSError, TypeError, ValueError) as error:  # of one, and so of all that come after it
        warnings.warn(f"entry points of an installed package cannot be read: {first_line(error)}", stacklevel=1)
    return {name: found[name] for name in sorted(found) if name not in taken}


def _spec(value: str) -> str:
    """Return the object reference of an entry point, without its extras."""
    return value.partition("[")[0].strip()
