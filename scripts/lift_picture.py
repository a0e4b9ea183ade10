"""Draw docs/lift.svg from the demo's result, tests/golden/demo.json: .venv/bin/python -m
scripts.lift_picture
"""

from __future__ import annotations

from pathlib import Path

from headwater.pages import axis, figures, pictures
from headwater.results.backtest_result import BacktestResult
from scripts.demo_figures import kept

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "lift.svg"


def drawn(result: BacktestResult) -> str:
    """The lift curve of a backtest, as one SVG file."""
    picture = figures.lift_curve(result)
    assert picture is not None
    scheme = "<style>svg{color-scheme:light dark}</style>"
    head, body = pictures.svg(picture, axis.summary(result)).split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg" color="#777">{scheme}{body}\n'


if __name__ == "__main__":
    PICTURE.write_text(drawn(kept()), encoding="utf-8")
