"""The notebook of the repository runs from top to bottom, and carries no results of another day."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "first_look.ipynb"


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_and_every_cell_shows_something(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        *steps, last = ast.parse("".join(cell["source"])).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(steps, []), "cell", "exec"), names)
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        # As Jupyter asks: a picture, or a table; a path of what was written.
        picture = getattr(shown, "_repr_png_", None)
        assert (
            (picture is not None and picture().startswith(b"\x89PNG"))
            or hasattr(shown, "_repr_html_")
            or shown
        )
    assert {path.name for path in tmp_path.iterdir()} == {"effects.pdf", "industry.docx"}


def test_the_notebook_is_stripped():
    content = json.loads(NOTEBOOK.read_text("utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert content["metadata"]["kernelspec"]["name"] == "python3"
