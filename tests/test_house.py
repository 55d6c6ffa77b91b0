"""The rooms of the package: none imports itself over others, and CONTRIBUTING shows where each stands."""

import ast

from house import arrows, floors
from places import ROOT

MOST_LINES, MOST_OF_A_FUNCTION = 650, 60


def test_no_room_stands_above_itself():
    rooms = arrows()
    stack = floors(rooms)
    assert sorted(room for floor in stack for room in floor) == sorted(rooms)
    assert stack[-2:] == [["cli"], ["__main__"]]
    assert "exceptions" in stack[0]


def test_contributing_shows_every_room():
    shown = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Floors")[1]
    missing = [room for room in arrows() if room.removeprefix("models.") not in shown.split()]
    assert missing == []


def lengths(text):
    """Yield the functions of a module with their lines, without those of signature and docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[min(len(node.body) - 1, ast.get_docstring(node) is not None)]
            yield node.name, node.end_lineno - first.lineno + 1


def test_a_length_is_that_of_the_statements():
    text = 'def a(\n    b,\n):\n    """Do.\n\n    It.\n    """\n    b = (\n        1\n    )\n    return b\n'
    assert list(lengths(text)) == [("a", 4)]


def test_files_and_functions_are_short():
    folders = ("benchmarks", "dataset_scripts", "docs", "examples", "hf_mner_aug", "tests")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    long = [f"{path.name}: {n} lines" for path, text in texts.items() if (n := text.count("\n")) > MOST_LINES]
    long += [
        f"{path.name}: {name}: {n} lines"
        for path, text in texts.items()
        for name, n in lengths(text)
        if n > MOST_OF_A_FUNCTION
    ]
    assert long == []


def test_most_docstrings_are_one_line():
    docstrings = [
        found
        for path in (ROOT / "hf_mner_aug").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (found := ast.get_docstring(node))
    ]
    assert sorted(text.count("\n") for text in docstrings)[len(docstrings) // 2] == 0
