"""Draw docs/lift.svg from the demo's own result: make demo && .venv/bin/python scripts/lift_picture.py"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from headwater.reports import to_notebook
from headwater.results.backtest_result import BacktestResult


def drawn(result: BacktestResult) -> str:
    """The lift curve of a backtest, as one SVG file."""
    svg = to_notebook(result)
    return (
        svg[svg.index("<svg") : svg.index("</svg>") + 6].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" color="#777"', 1) + "\n"
    )


if __name__ == "__main__":
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo/backtest.json")
    Path("docs/lift.svg").write_text(drawn(BacktestResult.from_dict(json.loads(source.read_text(encoding="utf-8")))), encoding="utf-8")
