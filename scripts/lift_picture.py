"""Draw docs/lift.svg from the demo's own result: make demo && .venv/bin/python scripts/lift_picture.py"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from headwater.reports.static_curve import lift_curve
from headwater.results.backtest_result import BacktestResult, LevelResult, TimeSplit
from headwater.results.estimate import Estimate


def drawn(found: dict) -> str:
    """The lift curve of a written backtest, as one SVG file."""
    levels = [
        LevelResult(
            name=level["name"],
            kind=level["kind"],
            describes=level["describes"],
            age_seconds=level["age_seconds"],
            metrics={name: Estimate(**value) for name, value in level["metrics"].items()},
            coverage=level["coverage"],
        )
        for level in found["levels"]
    ]
    said = ("model", "task", "headline", "higher_is_better", "min_lift", "positive_rate", "definitions", "fingerprint", "versions")
    result = BacktestResult(
        **{name: found[name] for name in said},
        levels=levels,
        paired=[],
        slices=[],
        leak_audit=[],
        split=TimeSplit("", "", "", 0, 0, {}, {}, []),
        seconds={},
        assumptions=[],
        estimator="",
        encoded={},
    )
    svg = str(lift_curve(result))
    return (
        svg[svg.index("<svg") : svg.index("</svg>") + 6].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" color="#777"', 1) + "\n"
    )


if __name__ == "__main__":
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo/backtest.json")
    Path("docs/lift.svg").write_text(drawn(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
