"""The notebooks of examples/ run from the top, offline, and are kept with their outputs."""

import re

import pytest
from generators import notebooks
from places import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
LARGEST = 80_000  # bytes, with outputs


def read(path):
    nbformat = pytest.importorskip("nbformat", reason="needs pip install 'hf-mner-aug[dev]'")
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_outputs(path):
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert any(cell.outputs for cell in cells)
    assert path.stat().st_size < LARGEST
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_page(path):
    page, cells = notebooks.page(path), read(path).cells
    assert page.startswith("# ")
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert all(cell.source in page for cell in cells[1:])
    assert all(output.text.strip() in page for output in outputs if output.output_type == "stream")
    assert page.count("<img ") == sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_page_names_each_notebook():
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+\.ipynb)`", page)) == {path.name for path in NOTEBOOKS}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="needs pip install 'hf-mner-aug[dev]'")
    pytest.importorskip("ipykernel", reason="needs pip install 'hf-mner-aug[dev]'")
    if path.stem in ("multimodal", "trainer"):
        pytest.importorskip("torch", reason="needs pip install 'hf-mner-aug[models]'")
    kept = read(path)
    run = nbclient.NotebookClient(
        read(path), timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for before, after in zip(kept.cells, run.cells, strict=True):
        if before.cell_type == "code":
            assert printed(after) == printed(before), before.source


def printed(cell):
    """Return the lines that a cell prints, without scores, which differ with the versions of libraries."""
    text = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    return re.sub(r"\b0\.\d+\b", "0.…", text)
