"""Pages made from the code while the site is built: ``methods/*`` and ``reference/*``."""

from typing import Any

from mkdocs.structure.files import File, Files

METHODS = ("eda", "lsms", "mixgen", "gmda", "amia", "rmda", "memory_hard")


def pages() -> dict[str, str]:
    """Return the Markdown of each generated page by its path in docs/."""
    made = {"methods/index.md": "# Methods\n", "reference/cli.md": "# Command line\n", "design.md": "# Design\n"}
    made["reference/python.md"] = "# Python\n"
    return made | {f"methods/{name}.md": f"# {name}\n" for name in METHODS}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; one that is a file in docs/ is taken as it is."""
    for path, text in pages().items():
        if files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, content=text))
    return files
