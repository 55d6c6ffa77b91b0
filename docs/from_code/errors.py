"""The table of error types, and that of the reasons why posts are rejected or dropped."""

import ast
import inspect

from from_code.markdown import prose, table
from from_code.python_names import ROOT
from hf_mner_aug import exceptions
from hf_mner_aug.methods import METHODS, method_class
from hf_mner_aug.reasons import DROPPED, Reason


def error_types() -> list[type[exceptions.UsageError]]:
    """Return the types of errors that are the user's to mend."""
    return [found for _, found in inspect.getmembers(exceptions, inspect.isclass) if issubclass(found, Exception)]


def error_table() -> str:
    """Return what each type of error means, with its ``reason`` for programs and the exit code of the command line."""
    rows = (
        [f"[`{name}`](#hf_mner_aug.exceptions.{name})", _told(found.__doc__), f"`{_reason(found)}`", _exit(found)]
        for found in error_types()
        for name in [found.__name__]
    )
    return table(["error", "meaning", "reason", "exit code"], rows)


def _reason(found: type[exceptions.UsageError]) -> str:
    """Return the reason of a type of errors, or the usual one where each error has its own."""
    given = inspect.signature(found.__init__).parameters.get("reason")
    return str(given.default) if given else found.reason


def _exit(found: type[Exception]) -> str:
    return "3" if issubclass(found, exceptions.NothingMade) else "2"


def _told(docstring: str | None) -> str:
    return prose((docstring or "").strip().split("\n\n")[0])


def other_errors() -> dict[str, ast.ClassDef]:
    """Return the public types of errors that other modules define, by their full names."""
    known = {"OSError", *(found.__name__ for found in error_types())}
    classes = [
        (f"{'.'.join(path.relative_to(ROOT.parent).with_suffix('').parts).removesuffix('.__init__')}.{node.name}", node)
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and path.name != "exceptions.py"
    ]
    while more := {node.name for _, node in classes if known & {ast.unparse(base) for base in node.bases}} - known:
        known |= more
    return {
        name: node
        for name, node in classes
        if known & {ast.unparse(base) for base in node.bases} and not node.name.startswith("_")
    }


def other_parts() -> str:
    """Return the errors of other modules, for mkdocstrings."""
    return "\n\n".join(f"::: {name}\n    options:\n      heading_level: 3" for name in other_errors())


def all_reasons() -> dict[str, dict[str, Reason]]:
    """Return the reasons of all methods by their key; each by the name of the method, empty for those of publishing."""
    found: dict[str, dict[str, Reason]] = {}
    for name in METHODS:
        cls = method_class(name)
        for key, reason in {**cls.rejects, **cls.drops}.items():
            found.setdefault(key, {})[name] = reason
    return found | {key: {"": reason} for key, reason in DROPPED.items()}


def reason_index() -> str:
    """Return where each reason is explained."""
    rows = []
    for key, by_method in sorted(all_reasons().items()):
        meanings = dict.fromkeys(prose(reason.meaning) for reason in by_method.values())
        where = ", ".join(f"[{name}](../methods/{name}.md#reasons)" for name in by_method if name) or "publishing"
        rows.append([f"`{key}`", "; ".join(meanings), where])
    return table(["reason", "meaning", "what to do: see"], rows)
