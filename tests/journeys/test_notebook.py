"""In a notebook the Python API shows a progress bar while it trains, and a run shows its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tiny


def words(output: dict[str, Any]) -> str:
    """Everything that one output shows, whatever its form."""
    return output.get("text", "") + "".join(map(str, output.get("data", {}).values()))


def test_notebook(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    task = "text-classification"
    recipe = tiny.recipe(task, tiny.write(task, tmp_path))
    cells = [
        f"import os; os.environ['DANLU_LANG'] = 'en'\nimport danlu\nrun = danlu.train({recipe!r}, out={str(tmp_path / 'run')!r})",
        "run",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": Path(sys.executable).name, "language": "python"}
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    training, shown = (cell.outputs for cell in book.cells)
    said = "".join(words(output) for output in training)
    assert "Training on" in said
    assert "epoch 3" in said
    assert any(output.output_type == "display_data" for output in training)
    assert any("<iframe" in output.get("data", {}).get("text/html", "") for output in shown)
