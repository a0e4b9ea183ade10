"""Writes the rows of bench/results.json into docs/performance.md, between its two marks; --check
fails if they differ.

python scripts/performance_table.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "bench" / "results.json", ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- rows of bench/results.json -->", "<!-- end of the rows -->"


def table(rows: list[dict]) -> str:
    """A Markdown table: what was measured, ours, the peer's, their ratio with its range, the
    goal.
    """
    lines = ["| row | ours | peer | ratio | goal | |", "|---|---|---|---|---|---|"]
    for row in rows:
        if "skipped" in row:
            lines.append(f"| {row['name']} | | | | | not measured: {row['skipped']} |")
            continue
        compared = row["ratio"] is not None
        spread = (
            f" [{row['spread'][0]:g}, {row['spread'][1]:g}]"
            if compared and not row.get("absolute")
            else ""
        )
        cells = [
            row["name"] + (f"; peer: {row['peer_name']}" if row.get("peer_name") else ""),
            f"{row['ours']:,g} {row['unit']}",
            f"{row['peer']:,g} {row['unit']}" if row["peer"] is not None else "",
            f"{row['ratio']:g}{spread}" if compared else "",
            row["goal"] or "",
            {True: "met", False: "missed", None: ""}[row["met"]],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(text: str, rows: list[dict]) -> str:
    """The text with the table of these rows between its marks."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Write the table, or compare it."""
    text, rows = PAGE.read_text("utf-8"), json.loads(RESULTS.read_text("utf-8"))
    new = page(text, rows)
    if "--check" in sys.argv[1:]:
        if new != text:
            print(
                "docs/performance.md does not have the rows of bench/results.json: run "
                "scripts/performance_table.py"
            )
        return int(new != text)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
