"""Pages, and parts of pages, that are made from the code while the site is built.

A comment ``<!-- parameters -->`` on a line of its own, in small letters, stands for the part of that name (``PARTS``);
one with a capital is where a section of results begins.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from from_code import command_line, errors, floors, made_rows, methods, notebooks, python_names

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

PARTS: Mapping[str, Callable[[str], str]] = {
    "columns": made_rows.added,
    "deviations": methods.deviations,
    "engines": lambda _: floors.engines(),
    "errors": lambda _: errors.error_table(),
    "facts": methods.facts,
    "floors": lambda _: floors.floors(),
    "other_errors": lambda _: errors.other_parts(),
    "overview": lambda _: methods.overview(),
    "parameters": methods.parameters,
    "presets": methods.presets,
    "reason_index": lambda _: errors.reason_index(),
    "reasons": methods.reasons,
}
_PART = re.compile(r"^<!-- ([a-z_]+) -->$", re.MULTILINE)


def pages() -> dict[str, str]:
    """Return the Markdown of each generated page by its path in docs/."""
    return {"reference/cli.md": command_line.page(), **python_names.pages(), **notebooks.pages()}


def complete(text: str, path: str) -> str:
    """Return a page with its parts in the places of their comments; a method's page is called as the method is."""
    text = text.replace(" ± ", "\u00a0±\u00a0")  # no line ends inside a score
    return _PART.sub(lambda found: PARTS[found[1]](PurePosixPath(path).stem), text)


def on_files(files: "Files", config: Any) -> "Files":
    """Add the generated pages; one that is a file in docs/ is taken as it is."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        if files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Complete a page."""
    return complete(markdown, page.file.src_uri)
