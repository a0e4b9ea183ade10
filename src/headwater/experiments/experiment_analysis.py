"""The analysis of an experiment as users hold it: prints, and writes the decision page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from headwater.results.experiment_result import ExperimentResult

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class ExperimentAnalysis:
    """From exposures to a verdict. It prints as a table in a terminal and in a notebook; `result` holds every number.

    Attributes:
        result: typed values.
        exposures: those that are analysed, as they were logged.
        outcomes: a row for each unit that counts in the deciding metric: unit, arm, cluster, bucket, value, base, before, cold.
    """

    result: ExperimentResult
    exposures: pl.DataFrame = field(repr=False, default_factory=pl.DataFrame)
    outcomes: pl.DataFrame = field(repr=False, default_factory=pl.DataFrame)

    @property
    def decision(self) -> str:
        """The verdict: "real-time", "stay batch", "harm", "keep running" or "invalid"."""
        return self.result.decision

    def to_dict(self) -> dict[str, object]:
        """The result as JSON data."""
        return self.result.to_dict()

    def to_markdown(self) -> str:
        """The result as Markdown."""
        from headwater.reports.experiment_page import to_markdown

        return to_markdown(self.result)

    def write_html(self, path: str | Path) -> Path:
        """Write the decision page, which needs no network, and return its path."""
        from headwater.reports.experiment_page import to_html
        from headwater.reports.page import write_page

        return write_page(path, to_html(self.result))

    def export(self, folder: str | Path) -> Path:
        """Write exposures.parquet, outcomes.parquet, plan.json, schedule.csv and query.sql, whose main figure the query repeats."""
        from headwater.experiments.experiment_export import write

        return write(self.result, self.exposures, self.outcomes, Path(folder))

    def table(self) -> RenderableType:
        """The result as rich prints it."""
        from headwater.reports.experiment_page import to_table

        return to_table(self.result)

    def __repr__(self) -> str:
        from headwater.reports.experiment_page import to_text

        return to_text(self.result)

    def _repr_html_(self) -> str:
        from headwater.reports.experiment_page import to_notebook

        return to_notebook(self.result)
