"""Evidence on one model from kept runs: its latest backtest, and the latest analysis of each of its
experiments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from headwater.errors import DataError
from headwater.results.backtest_result import BacktestResult
from headwater.results.evidence_result import ExperimentFinding
from headwater.results.experiment_result import ExperimentResult
from headwater.results.result import Result
from headwater.results.stored_runs import RunRecord, StoredRuns

R = TypeVar("R", bound=Result)


def latest_backtest(
    models: Collection[str], folder: str | Path | None = None
) -> BacktestResult | None:
    """The latest kept backtest of one of these models; `folder`: the data directory, as for
    `StoredRuns`.
    """
    stored = StoredRuns(folder)
    records = (record for record in stored.records(kind="backtest") if record.subject in models)
    return next(_results(stored, records, BacktestResult), None)


def kept_experiments(model: str, folder: str | Path | None = None) -> list[ExperimentFinding]:
    """The latest kept analysis of each experiment that has an arm with this model; `folder`: as for
    `latest_backtest`.
    """
    stored = StoredRuns(folder)
    latest: dict[str, RunRecord] = {}
    for record in stored.records(kind="experiment"):
        latest.setdefault(record.subject, record)
    return [
        ExperimentFinding(
            result.experiment,
            result.at,
            result.first_line,
            result.design,
            result.arms[0].level,
            [arm.level for arm in result.arms[1:]],
        )
        for result in _results(stored, latest.values(), ExperimentResult)
        if any(arm.model == model for arm in result.arms)
    ]


def with_experiments(result: BacktestResult, folder: str | Path | None = None) -> BacktestResult:
    """A backtest with the verdicts of experiments on its model; `folder`: as for
    `latest_backtest`.
    """
    return msgspec.structs.replace(result, experiments=kept_experiments(result.model, folder))


def _results(
    stored: StoredRuns, records: Iterator[RunRecord] | Collection[RunRecord], kind: type[R]
) -> Iterator[R]:
    """The results of runs, without those that another version of headwater wrote."""
    for record in records:
        try:
            yield kind.from_dict(stored.result(record))
        except (DataError, msgspec.ValidationError):
            continue
