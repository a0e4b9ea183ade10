"""The kept runs of a data directory: each with its typed result, as a table, and side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from headwater.definitions.definition import Readable
from headwater.errors import DataError, UsageError
from headwater.monitoring.parity import ParityRun
from headwater.results.assessment_result import AssessmentResult
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.experiment_result import ExperimentResult
from headwater.results.promise_result import DeliveryResult
from headwater.results.result import Result
from headwater.results.stored_runs import RunRecord, StoredRuns
from headwater.terminal.text import number_of

if TYPE_CHECKING:
    from rich.console import RenderableType

KINDS: Final[Mapping[str, type[Result]]] = {
    "backtest": BacktestResult,
    "attribution": AttributionResult,
    "assessment": AssessmentResult,
    "parity": ParityRun,
    "delivery": DeliveryResult,
    "experiment": ExperimentResult,
}
"""The kinds of runs, and the type of the result of each."""


@dataclass(frozen=True)
class KeptRun(Readable):
    """A kept run.

    Attributes:
        record: the user, the time, the definitions, code and data.
    """

    record: RunRecord
    _stored: StoredRuns

    @property
    def id(self) -> str:
        """The name of the run."""
        return self.record.id

    @property
    def data_dir(self) -> Path:
        """The data directory that has the run."""
        return self._stored.folder.parent

    @property
    def result(self) -> Result:
        """The typed result, such as a `BacktestResult`.

        Raises:
            DataError: it cannot be read, or another version of headwater wrote it.
        """
        kind = KINDS.get(self.record.kind)
        if kind is None:
            raise DataError(
                f"run {self.id} is of a kind that this version of headwater does not know: "
                f"{self.record.kind!r}"
            )
        try:
            return kind.from_dict(self._stored.result(self.record))
        except msgspec.ValidationError as error:
            raise DataError(
                f"run {self.id} was written by headwater {self.record.headwater}, and its result "
                f"is read no more: {error}"
            ) from error

    def to_dict(self) -> dict[str, object]:
        """The record and the result as JSON data."""
        return {**self.record.to_dict(), "result": self._stored.result(self.record)}

    def __str__(self) -> str:
        return str(self.record)


@dataclass(frozen=True)
class Runs(Readable):
    """Kept runs, the latest first: `runs[0]`, `runs["backtest-2026"]`, `for run in runs`."""

    records: Sequence[RunRecord]
    _stored: StoredRuns

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[KeptRun]:
        return (KeptRun(record, self._stored) for record in self.records)

    def __getitem__(self, key: int | str) -> KeptRun:
        """A run by its place, or by its id, the beginning of it, or "latest".

        Raises:
            UsageError: there is none, or several begin so.
        """
        return KeptRun(
            self.records[key] if isinstance(key, int) else self._stored.one(key), self._stored
        )

    def frame(self) -> pl.DataFrame:
        """One row each: id, kind, subject, at, by, engine, seconds, commit, sentence."""
        names = ("id", "kind", "subject", "at", "by", "engine", "seconds", "commit", "sentence")
        rows = [[getattr(record, name) for name in names] for record in self.records]
        schema = {name: pl.Float64 if name == "seconds" else pl.String for name in names}
        return pl.DataFrame(rows, schema, orient="row").with_columns(
            pl.col("at").str.to_datetime(time_zone="UTC")
        )

    def compare(self, *names: str) -> pl.DataFrame:
        """The figures of runs side by side: a row for each figure, a column for each run; null
        where a run has no such figure.

        Raises:
            UsageError: fewer than two runs, or one that is not there.
        """
        if len(names) < 2:
            raise UsageError("compare() takes two runs or more, by their ids")
        compared = [self._stored.one(name) for name in names]
        if len({record.id for record in compared}) < len(compared):
            raise UsageError(
                f"compare() was given one run twice: {', '.join(record.id for record in compared)}"
            )
        figures = dict.fromkeys(name for record in compared for name in record.figures)
        columns = {record.id: [record.figures.get(name) for name in figures] for record in compared}
        return pl.DataFrame(
            {"figure": list(figures), **columns},
            {"figure": pl.String, **dict.fromkeys(columns, pl.Float64)},
        )

    def differences(self, *names: str) -> dict[str, list[str]]:
        """What of definitions, data and code differs between runs: by name, what each run has (""
        where it has none).
        """
        compared = [self._stored.one(name) for name in names]
        sides: list[dict[str, str]] = [
            {
                **record.definitions,
                **{f"data of {name}": seen for name, seen in record.data.items()},
                "commit": record.commit,
                "engine": record.engine,
                "headwater": record.headwater,
            }
            for record in compared
        ]
        every = dict.fromkeys(name for side in sides for name in side)
        values = {name: [side.get(name, "") for side in sides] for name in every}
        return {name: sides for name, sides in values.items() if len(set(sides)) > 1}

    def table(self) -> RenderableType:
        """The runs as rich prints them."""
        from headwater.terminal.layout import ShownTable

        rows = [
            (
                record.id,
                record.subject,
                record.at[:16].replace("T", " "),
                record.by,
                record.engine,
                record.sentence,
            )
            for record in self.records
        ]
        return ShownTable("", ["run", "of", "at (UTC)", "by", "engine", "what came of it"], rows)

    def __str__(self) -> str:
        return f"{number_of(len(self.records), 'run')} in {self._stored.folder}"

    def _repr_html_(self) -> str:
        return self.frame()._repr_html_()


def runs(
    data_dir: str | Path | None = None, *, kind: str | None = None, subject: str | None = None
) -> Runs:
    """The runs that were kept: each backtest, attribution, assessment, comparison of parity, and of
    delivery with promise.

    Args:
        data_dir: the data directory; None is HEADWATER_DATA_DIR, else headwater's home.
        kind: only those of a kind, such as "backtest".
        subject: only those of a model, view or experiment.

    Raises:
        UsageError: an unknown kind.

    >>> import tempfile
    >>> len(runs(tempfile.mkdtemp()))
    0
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; give {', '.join(map(repr, KINDS))}")
    stored = StoredRuns(data_dir)
    return Runs(stored.records(kind=kind, subject=subject), stored)
