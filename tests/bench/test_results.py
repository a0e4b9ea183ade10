"""The figures that are kept: every row of the bench, and a page that has them."""

import json
from pathlib import Path

from bench.rows import ROWS
from scripts import performance_table

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_has_a_result_or_a_reason():
    rows = json.loads((ROOT / "bench" / "results.json").read_text("utf-8"))
    assert [name for name in ROWS if name not in {row["row"] for row in rows}] == []
    assert [row["name"] for row in rows if row["ours"] is None and not row.get("skipped")] == []


def test_no_row_is_kept_whose_sides_differ():
    rows = json.loads((ROOT / "bench" / "results.json").read_text("utf-8"))
    assert [row["name"] for row in rows if row.get("equal") is False] == []


def test_the_page_has_the_rows_of_the_results():
    text, rows = (
        performance_table.PAGE.read_text("utf-8"),
        json.loads(performance_table.RESULTS.read_text("utf-8")),
    )
    assert performance_table.page(text, rows) == text
    assert performance_table.page(text, rows[1:]) != text
