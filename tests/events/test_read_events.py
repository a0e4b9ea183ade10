"""Reading the events of a source: which rows count, and how their columns lie in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.events.read_events import TIME, Notes, Reach, read_events

START = datetime(2024, 1, 1, tzinfo=UTC)
N = 300_000  # more than polars reads as one chunk


def _events() -> pl.DataFrame:
    """An event a second, some without a user, one in a thousand a duplicate."""
    number = pl.Series(range(N))
    frame = pl.DataFrame({"n": number}).select(
        pl.when(pl.col("n") % 7 != 0)
        .then(pl.format("user number {}", pl.col("n") % 50))
        .alias("user"),
        (pl.lit(START) + pl.duration(seconds=pl.col("n"))).alias("at"),
        (pl.col("n") * 0.1).alias("amount"),
        (pl.col("n") - (pl.col("n") % 1000 == 999).cast(pl.Int64)).alias("id"),
    )
    return pl.concat([frame[: N // 3], frame[N // 3 :]])


def _source(history: pl.DataFrame | str, *, ids: bool) -> hw.Source:
    return hw.Source(
        "payments",
        history=history,
        timestamp_field="at",
        select=["user", "amount", "id"],
        id_field="id" if ids else None,
        id_horizon="1d",
    )


def _tables(tmp_path: Path) -> list[pl.DataFrame | str]:
    path = tmp_path / "events.parquet"
    _events().write_parquet(path, row_group_size=10_000)
    return [_events(), _events().reverse(), str(path)]


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize(
    ("first", "last"),
    [(None, N), (1000, N - 1000), (0, 1000), (N + 1, N + 2)],
    ids=["all", "within", "beginning", "none"],
)
def test_columns_lie_in_one_chunk_with_the_rows_in_reach(
    tmp_path: Path, first: int | None, last: int, *, ids: bool
) -> None:
    start = int(START.timestamp()) * 1_000_000
    reach = Reach(
        None if first is None else start + first * 1_000_000,
        start + last * 1_000_000,
        start + last * 1_000_000,
    )
    seconds = [s for s in range(first or 0, min(last, N)) if not ids or s % 1000 != 999]
    for table in _tables(tmp_path):
        events = read_events(_source(table, ids=ids), ["user"], ["amount"], reach, [], Notes())
        assert set(events.n_chunks("all")) == {1}
        assert events.sort(TIME)[TIME].to_list() == [start + s * 1_000_000 for s in seconds]


@pytest.mark.parametrize("ids", [False, True])
def test_a_frame_and_its_files_give_equal_features(tmp_path: Path, *, ids: bool) -> None:
    rows = pl.DataFrame({"user": [f"user number {i % 60}" for i in range(2000)]}).with_columns(
        timestamp=pl.lit(START) + pl.duration(seconds=20_000 + 100 * pl.int_range(pl.len()))
    )
    answers = []
    for table in _tables(tmp_path):
        functions = [hw.count(), hw.sum("amount"), hw.last("amount")]
        view = hw.FeatureView(
            "user",
            source=_source(table, ids=ids),
            keys=["user"],
            features=functions,
            windows=["1h"],
            freshness=hw.on_request(),
        )
        answers.append(hw.get_historical_features(view, rows))
    assert answers[0]["user__count_1h"].sum() > 0
    assert answers[0].equals(answers[1])
    assert answers[0].equals(answers[2])


def test_a_frame_that_is_in_reach_is_not_copied() -> None:
    frame = _events().rechunk()
    inside = (START + timedelta(seconds=100), START + timedelta(seconds=N - 100))
    first, last = (int(at.timestamp()) * 1_000_000 for at in inside)
    events = read_events(
        _source(frame, ids=False), ["user"], ["amount"], Reach(first, last, last), [], Notes()
    )
    offset = events["amount"].to_numpy().ctypes.data - frame["amount"].to_numpy().ctypes.data
    assert offset == 100 * 8
