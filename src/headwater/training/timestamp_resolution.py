"""How fine the timestamps of a source are, measured from the data, for each period of time.

A timestamp that was rounded down at resolution r lies before the time at which its event was known.
It counts as known at the timestamp until the source says otherwise by `known_after`, so a coarse
timestamp is a question to the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from headwater.definitions.checks import DAY, HOUR, SECOND, text, timestamp_text
from headwater.definitions.labels import Labels
from headwater.definitions.source import Source, bottom_of
from headwater.events.read_events import called, collect, selected, timestamp_micros
from headwater.kernel.arrays import I64, Bool
from headwater.results.resolution_result import Resolution, ResolutionPeriod, SourceResolution

SIZES: dict[Resolution, int] = {
    "day": DAY,
    "hour": HOUR,
    "minute": 60 * SECOND,
    "second": SECOND,
    "finer": 0,
}
"""Each resolution in microseconds."""
COARSE: Sequence[Resolution] = ("day", "hour", "minute")
"""Resolutions that are asked about: a second is shorter than any step between levels."""

_SAMPLE = 200_000
_CHUNKS = 64
_FEWEST = 12  # different timestamps that a resolution can be told from
_ON_GRID = 0.9


@dataclass(frozen=True)
class Grid:
    """A period whose timestamps have one resolution: `phase` is where they lie in a step of `size`;
    all in microseconds.
    """

    resolution: Resolution
    first: int
    last: int
    phase: int
    share: float

    @property
    def size(self) -> int:
        """The resolution in microseconds; 0 for finer than a second."""
        return SIZES[self.resolution]


@dataclass(frozen=True)
class MeasuredSource:
    """The grids of a source in order of time; none where there are too few timestamps. early: the
    share known before they happen.
    """

    source: Source
    column: str
    grids: Sequence[Grid]
    is_date: bool
    early: float

    @property
    def exact(self) -> bool:
        """Whether the source says that its timestamps are exact."""
        return (
            self.source.known_at_field is None
            and self.source.known_after_declared
            and self.source.delay == 0
        )

    def cell(self, K: I64, delay: int) -> I64:
        """Which step of the grid is the last one known by each K, at a delay of the events; int64
        like K.
        """
        if not self.grids or self.exact:
            return K - delay
        starts = np.array([grid.first for grid in self.grids[1:]], np.int64)
        at = np.searchsorted(starts, K - delay, side="right")
        sizes, phases = (
            np.array([getattr(grid, name) for grid in self.grids], np.int64)[at]
            for name in ("size", "phase")
        )
        late = self.is_date or self.source.known_at_field is not None
        delays = delay if late else np.maximum(delay, sizes)
        steps = np.maximum(sizes, 1)
        return ((K - delays - phases) // steps) * steps

    def same_grid(self, request_times: I64) -> bool:
        """Whether requests at these times (int64) lie on the grids too: a request counts no event
        of its own step, so none too early.
        """
        return len(np.unique(request_times)) >= _FEWEST and all(
            bool((request_times % grid.size == grid.phase).all())
            for grid in self.grids
            if grid.size
        )

    def result(self) -> SourceResolution:
        """What the measurement says, with the question that it leaves open."""
        by_field = self.source.known_at_field is not None
        known = None if by_field else self.source.delay / SECOND
        return SourceResolution(
            self.source.name, self.column, periods_of(self.grids), known, self._question()
        )

    def _question(self) -> str:
        coarse = next(
            (grid for name in COARSE for grid in self.grids if grid.resolution == name), None
        )
        if coarse is None or self.is_date or self.exact:
            return ""
        size = text(coarse.size)
        stamps = (
            f"the timestamps {self.column!r} of source {self.source.name!r} are whole "
            f"{coarse.resolution}s{self._when(coarse)}"
        )
        if self.source.known_at_field is not None:
            if self.early < 1 - _ON_GRID:
                return ""
            return (
                f"{stamps}, and in {self.early:.0%} of rows they lie before the event itself. "
                f"Were they rounded down? Then add {size} to them in select=, so that no event "
                "counts before it was known"
            )
        if not self.source.known_after_declared:
            return (
                f"{stamps}. Were they rounded down, or are they totals of a {coarse.resolution}? "
                f'Then give the source known_after="{size}", or more if the rows arrive later. If '
                'they are exact, give known_after="0s". Until then each event counts from its '
                "timestamp on"
            )
        if self.source.delay < coarse.size and coarse.phase % HOUR == 0:
            return (
                f"{stamps}, and known_after is {self.source.known_after}. If they were rounded "
                f"down, an event of the end of the {coarse.resolution} "
                f'counts before it happened; then give known_after="{size}" plus '
                f"{self.source.known_after}"
            )
        return ""

    def _when(self, coarse: Grid) -> str:
        if len(self.grids) == 1:
            return ""
        return f" from {timestamp_text(coarse.first)[:10]} to {timestamp_text(coarse.last)[:10]}"


def measured(source: Source) -> MeasuredSource:
    """Measure the timestamps at which the events of a source are known.

    At most 200,000 evenly spaced rows are looked at, in up to 64 chunks of time.

    Raises:
        DataError: the table or its timestamps cannot be read.
    """
    bottom = bottom_of(source)
    name = bottom.known_at_field or bottom.timestamp_field
    context = called(bottom)
    chosen = selected(
        bottom.table, bottom.select, bottom.filter, [bottom.timestamp_field, name], context
    )
    time, known = (
        timestamp_micros(column, chosen.schema, bottom.timezone, context, days=True)
        for column in (bottom.timestamp_field, name)
    )
    rows = int(collect(chosen.frame.select(pl.len()), context, streaming=True).item())
    every = max(1, rows // _SAMPLE)
    table = collect(
        chosen.frame.select(time.alias("time"), known.alias("known")).gather_every(every), context
    ).drop_nulls()
    early = float((table["known"] < table["time"]).mean() or 0.0) if table.height else 0.0  # type: ignore[arg-type]
    is_date = chosen.schema[name] == pl.Date
    return MeasuredSource(bottom, name, grids(table["known"].to_numpy()), is_date, early)


def request_times(labels: Labels) -> I64:
    """When the requests of the labels' table were made: int64, at most 200,000 evenly spaced rows.

    Raises:
        DataError: the table or its timestamps cannot be read.
    """
    context = f"labels {labels.name!r}"
    chosen = selected(labels.data, labels.select, labels.filter, [labels.timestamp_field], context)
    time = timestamp_micros(labels.timestamp_field, chosen.schema, labels.timezone, context)
    times = collect(chosen.frame.select(time.alias("time")), context)["time"].drop_nulls()
    return times.gather_every(max(1, len(times) // _SAMPLE)).to_numpy()


def request_steps(times: I64) -> tuple[I64, Sequence[Grid]]:
    """How long after its timestamp each request may have been made, if timestamps were rounded
    down: int64 microseconds; and the grids.

    Args:
        times: int64 microseconds UTC, the timestamps of the requests.

    >>> day = 86_400_000_000
    >>> steps, found = request_steps(np.arange(100) * day)
    >>> int(steps[0]) // day, found[0].resolution
    (1, 'day')
    """
    measured_grids = grids(times)
    if not any(grid.resolution in COARSE for grid in measured_grids):
        return np.zeros_like(times), measured_grids
    starts = np.array([grid.first for grid in measured_grids[1:]], np.int64)
    sizes = np.array(
        [grid.size if grid.resolution in COARSE else 0 for grid in measured_grids], np.int64
    )
    return sizes[np.searchsorted(starts, times, side="right")], measured_grids


def periods_of(measured_grids: Sequence[Grid]) -> list[ResolutionPeriod]:
    """The grids as a result holds them."""
    return [
        ResolutionPeriod(
            grid.resolution, timestamp_text(grid.first), timestamp_text(grid.last), grid.share
        )
        for grid in measured_grids
    ]


def grids(times: I64) -> list[Grid]:
    """The periods of these timestamps, each with its resolution.

    Args:
        times: int64 microseconds UTC, in any order.

    >>> day = 86_400_000_000
    >>> coarse, fine = np.arange(100) * day, 100 * day + np.arange(5_000) * 997_000_000
    >>> [(grid.resolution, grid.first // day) for grid in grids(np.concatenate([coarse, fine]))]
    [('day', 0), ('second', 100)]
    """
    values, rows = np.unique(times, return_counts=True)
    if len(values) < _FEWEST:
        return []
    chunks = min(_CHUNKS, max(1, len(values) // (2 * _FEWEST)))
    by_period: list[Grid] = []
    for chunk, weights in zip(
        np.array_split(values, chunks), np.array_split(rows, chunks), strict=True
    ):
        grid = _grid(chunk, weights)
        # the change is within the chunk
        if (
            by_period
            and grid.size < by_period[-1].size
            and (on := _beginning_on(chunk, by_period[-1]))
        ):
            by_period[-1], grid = (
                replace(by_period[-1], last=int(chunk[on - 1])),
                replace(grid, first=int(chunk[on])),
            )
        if by_period and by_period[-1].resolution == grid.resolution:
            by_period[-1] = Grid(
                grid.resolution,
                by_period[-1].first,
                grid.last,
                by_period[-1].phase,
                min(by_period[-1].share, grid.share),
            )
        else:
            by_period.append(grid)
    return by_period


def _grid(chunk: I64, weights: I64) -> Grid:
    """The coarsest grid that nearly all timestamps of a chunk lie on; weights: rows of each."""
    first, last = int(chunk[0]), int(chunk[-1])
    for name, size in SIZES.items():
        if size == 0:
            break
        rest = chunk % size
        values, inverse = np.unique(rest, return_inverse=True)
        phase = int(values[np.bincount(inverse, weights).argmax()])
        on = _of_day(rest, phase) if size == DAY else rest == phase
        share = float(weights[on].sum() / weights.sum())
        if share >= _ON_GRID:
            return Grid(name, first, last, phase, share)
    return Grid("finer", first, last, 0, 1.0)


def _beginning_on(chunk: I64, grid: Grid) -> int:
    """How many of the first timestamps of a chunk lie on a grid."""
    rest = chunk % grid.size
    off = ~(_of_day(rest, grid.phase) if grid.size == DAY else rest == grid.phase)
    return int(off.argmax())


def _of_day(rest: I64, phase: int) -> Bool:
    """Whether times of day equal `phase`, or are an hour off on one side: clocks change twice a
    year.
    """
    after, before = (np.isin(rest, (phase, (phase + shift) % DAY)) for shift in (HOUR, -HOUR))
    return after if after.sum() >= before.sum() else before
