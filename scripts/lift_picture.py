"""Draw docs/lift.svg from the demo's result, tests/golden/demo.json: .venv/bin/python -m
scripts.lift_picture
"""

from __future__ import annotations

from pathlib import Path

from headwater.reports import to_notebook
from headwater.results.backtest_result import BacktestResult
from scripts.demo_figures import kept

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "lift.svg"


def drawn(result: BacktestResult) -> str:
    """The lift curve of a backtest, as one SVG file."""
    svg = to_notebook(result)
    return (
        svg[svg.index("<svg") : svg.index("</svg>") + 6].replace(
            "<svg", '<svg xmlns="http://www.w3.org/2000/svg" color="#777"', 1
        )
        + "\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(drawn(kept()), encoding="utf-8")
