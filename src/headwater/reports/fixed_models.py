"""The differences between the very models that were fitted, next to those of the training procedure."""

from __future__ import annotations

from headwater.reports import wording
from headwater.reports.document import Table
from headwater.results.backtest_result import BacktestResult


def to_table(result: BacktestResult) -> Table | None:
    """A row for each difference in the headline; None where each level was trained once, since both are then the same."""
    procedure = {(step.from_, step.to): step for step in result.comparisons if step.metric == result.headline}
    pairs = [(procedure[step.from_, step.to], step) for step in result.fixed_models if (step.from_, step.to) in procedure]
    if all((again.low, again.high) == (fixed.low, fixed.high) for again, fixed in pairs):
        return None
    places = wording.places(result, result.headline)
    rows = [
        [
            f"{again.from_} {wording.ARROW} {again.to}",
            *(
                f"{wording.number(step.delta, places, signed=True)} {wording.interval(step.low, step.high, places)}"
                for step in (again, fixed)
            ),
        ]
        for again, fixed in pairs
    ]
    covers = "What an interval covers: the training procedure, trained again, on later periods; or these very models on later periods."
    return Table(covers, ["step", "training procedure", "these very models"], rows)
