"""The notebooks of examples/ as pages: their text, their code, and the outputs that they are kept with."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "examples"


def pages() -> dict[str, str]:
    """Return the Markdown of each notebook by its path in docs/."""
    return {f"examples/{path.stem}.md": page(path) for path in sorted(FOLDER.glob("*.ipynb"))}


def page(path: Path) -> str:
    """Return a notebook as Markdown; its name stands below the title."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title, _, rest = "".join(cells[0]["source"]).partition("\n")
    parts = [title, f"`examples/{path.name}`, as it was run:", rest]
    for cell in cells[1:]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else _fenced(source, "python"))
        parts += [_output(output) for output in cell.get("outputs", ())]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    """Return an output as Markdown: a picture, or text."""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="a picture that the cell shows" src="data:image/png;base64,{data["image/png"].strip()}">'
    return _fenced("".join(output.get("text") or data.get("text/plain", "")).rstrip("\n"), "output")


def _fenced(text: str, language: str) -> str:
    return f"````{language}\n{text}\n````"
