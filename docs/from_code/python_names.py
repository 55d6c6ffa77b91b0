"""The reference of Python names: which modules are documented, their public names, and the pages of them."""

import ast
import inspect
import pkgutil
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hf_mner_aug
from from_code.command_line import commands
from hf_mner_aug import backbones, metrics
from hf_mner_aug.methods import METHODS

ROOT = Path(hf_mner_aug.__file__).parent
PACKAGE = "hf_mner_aug"
_OF_METHODS = (
    "Each is a [`Method`](python/transform.md#hf_mner_aug.transform.Method), which has `fit`, `map` and `features`, "
    "and the parameters `seed`, `copies` and `keep`. [Methods](../methods/index.md) has a page for each."
)


def _below(package: object) -> tuple[str, ...]:
    """Return the names of a package and of its modules, without ``hf_mner_aug.``."""
    name, path = package.__name__, package.__path__  # type: ignore[attr-defined]
    found = pkgutil.walk_packages(path, f"{name}.")
    return tuple(one.removeprefix(f"{PACKAGE}.") for one in (name, *sorted(module.name for module in found)))


# Title, introduction and modules of each page. Other modules may change freely until 1.0.
PAGES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "posts": ("Posts and columns", "The rows of a set as posts, and back.", ("schema",)),
    "methods": (
        "Methods",
        "The table of methods, and the functions of each paper. The classes are on [the page of the package]"
        "(../python.md).",
        ("methods", *(f"methods.{name}" for name in METHODS)),
    ),
    "transform": (
        "Writing a method",
        "What a method of your own is made of; [Extending](../../extending.md) shows one.",
        ("transform", "draw", "reasons", "values"),
    ),
    "data": ("Sets", "Raw sets, the drawn sample set, corpora.", ("readers", "conversion", "sample", "corpus")),
    "backbones": ("Backbones", "Models that learn from posts.", _below(backbones)),
    "metrics": ("Metrics", "Scores of predicted entities.", _below(metrics)),
    "search": ("Searching and asking", "Corpora, and servers.", ("models.search", "models.endpoint")),
}


def source_of(module: str) -> Path:
    """Return the file of a module of this package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def public_names(module: str) -> tuple[str, ...]:
    """Return a module's public functions and classes: of its ``__all__``, or those that it defines or re-exports."""
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    listed = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    if listed:
        return tuple(name for name in ast.literal_eval(listed[0]) if not name.isupper())
    return tuple(dict.fromkeys(name for name in _defined(tree) if not name.isupper()))


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)


def package_page() -> str:
    """Return the page of the names of the package itself: verbs, methods, and what else there is."""
    found = {name: getattr(hf_mner_aug, name) for name in hf_mner_aug.__all__}
    methods = [name for name in found if name in METHODS.values()]
    verbs = [name for name in commands() if name in found] + ["publish"]
    groups = {
        "Verbs": (verbs, ""),
        "Methods": (methods, "      members: false\n"),
        "Other names": ([name for name in found if name not in {*verbs, *methods}], ""),
    }
    modules = "\n".join(f"- [{title}](python/{page}.md)" for page, (title, _, _) in PAGES.items())
    parts = [
        "# Python",
        "Every verb of the command line is a function of `hf_mner_aug`, every method a class; all names are imported "
        "when first used. The names on this page and on these stay; anything else may change until 1.0:",
        modules,
    ]
    for title, (names, options) in groups.items():
        parts += [f"## {title}", *(_name(name, options) for name in names)]
    return "\n\n".join(parts).replace("## Methods\n", f"## Methods\n\n{_OF_METHODS}\n") + "\n"


def _name(name: str, options: str) -> str:
    return f"::: {PACKAGE}.{name}\n    options:\n      heading_level: 3\n{options}".rstrip()


def results() -> tuple[str, ...]:
    """Return the classes that verbs return and no other page has, by their full names."""
    elsewhere = {f"{PACKAGE}.{module}" for _, _, modules in PAGES.values() for module in modules}
    verbs = (getattr(hf_mner_aug, name) for name in hf_mner_aug.__all__)
    kinds = [kind for verb in verbs if inspect.isfunction(verb) for kind in _returned(verb)]
    own = [kind for kind in kinds if inspect.isclass(kind) and kind.__module__.startswith(f"{PACKAGE}.")]
    return tuple(dict.fromkeys(f"{k.__module__}.{k.__name__}" for k in own if k.__module__ not in elsewhere))


def _returned(verb: Any) -> tuple[Any, ...]:
    """Return the type that a function returns, and those inside it."""
    kind = verb.__annotations__["return"]
    if isinstance(kind, str):
        kind = getattr(sys.modules[verb.__module__], kind, None)
    return kind, *typing.get_args(kind)


def results_page() -> str:
    """Return the page of what verbs return."""
    parts = ["# Results", "What the verbs return. Printed, each says what the command line prints."]
    return "\n\n".join([*parts, *(f"::: {name}" for name in results())]) + "\n"


def module_page(page: str) -> str:
    """Return a page of modules: each with its docstring and public names."""
    title, introduction, modules = PAGES[page]
    return "\n\n".join([f"# {title}", introduction, *(_module(name) for name in modules if public_names(name))]) + "\n"


def _module(name: str) -> str:
    left_out = set(hf_mner_aug.__all__) if name.startswith("methods.") else set()
    names = [found for found in public_names(name) if found not in left_out]
    options = (
        f"    options:\n      members: [{', '.join(names)}]\n" if names else "    options:\n      members: false\n"
    )
    return f"::: {PACKAGE}.{name}\n{options}"


def pages() -> dict[str, str]:
    """Return the pages by their path in docs/."""
    return {"reference/python.md": package_page(), "reference/python/results.md": results_page()} | {
        f"reference/python/{page}.md": module_page(page) for page in PAGES
    }
