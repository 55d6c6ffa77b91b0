"""The floors of the package, as the linter's contract in pyproject.toml has them."""

import ast
import tomllib
from pathlib import Path

from from_code.markdown import first_sentence, table
from from_code.python_names import source_of

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def contract(name: str) -> list[list[str]]:
    """Return the rooms of each floor of a contract, the highest first."""
    contracts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(found["layers"] for found in contracts if found["id"] == name)
    return [[room.strip("() ") for room in layer.split("|")] for layer in layers]


def floors() -> str:
    """Return the rooms of the package by floor, each with what its docstring says."""
    return _table(contract("floors"), "")


def engines() -> str:
    """Return the roles of engines in ``models`` by floor."""
    return _table(contract("engines"), "models.")


def _table(layers: list[list[str]], package: str) -> str:
    rows = [
        [f"`{room}`", _told(f"{package}{room}"), str(len(layers) - height)]
        for height, layer in enumerate(layers)
        for room in layer
    ]
    return table(["room", "what it holds", "floor"], rows)


def _told(module: str) -> str:
    return first_sentence(ast.get_docstring(ast.parse(source_of(module).read_text(encoding="utf-8"))))
