"""The analysis of an experiment as users hold it: prints, and writes the decision page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from headwater.pages.paged import Paged
from headwater.results.experiment_result import ExperimentResult


@dataclass(frozen=True, repr=False)
class ExperimentAnalysis(Paged):
    """From exposures to a verdict. It prints as a table in a terminal and in a notebook; `result`
    holds every number.

    Attributes:
        result: typed values.
        exposures: those that are analysed, as they were logged.
        outcomes: a row for each unit that counts in the deciding metric: unit, arm, cluster,
            bucket, value, base, before, cold.
    """

    page_module = "experiment_page"
    result: ExperimentResult
    exposures: pl.DataFrame = field(repr=False, default_factory=pl.DataFrame)
    outcomes: pl.DataFrame = field(repr=False, default_factory=pl.DataFrame)

    @property
    def decision(self) -> str:
        """The verdict: "real-time", "stay batch", "inconclusive", "harm", "keep running" or
        "invalid".
        """
        return self.result.decision

    def export(self, folder: str | Path) -> Path:
        """Write exposures.parquet, outcomes.parquet, plan.json and a switchback's schedule.csv."""
        from headwater.experiments.experiment_export import write

        return write(self.result, self.exposures, self.outcomes, Path(folder))
