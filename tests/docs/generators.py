"""The generators of docs/, and pages as they are built."""

import functools
import sys
import tempfile
from pathlib import Path

import pytest
from places import ROOT

sys.path.append(str(ROOT / "docs"))

from from_code import command_line, errors, floors, made_rows, methods, notebooks, python_names, walk
from from_code.markdown import prose

__all__ = [
    "command_line",
    "errors",
    "floors",
    "made_rows",
    "methods",
    "notebooks",
    "page",
    "prose",
    "python_names",
    "site",
    "walk",
]


@functools.cache
def page(path):
    """The Markdown of a page, complete."""
    import generate

    file = ROOT / "docs" / path
    return generate.complete(file.read_text(encoding="utf-8") if file.is_file() else generate.pages()[path], path)


@functools.cache
def site():
    """The folder of the built site; any warning fails."""
    pytest.importorskip("mkdocs", reason="needs pip install 'hf-mner-aug[docs]'")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tempfile.mkdtemp(prefix="site-")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=folder, strict=True))
    return Path(folder)
