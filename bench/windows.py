"""Point-in-time windows through the public call, compared with a bare sort of the same events and
with DuckDB.

python -m bench.windows CASE EVENTS REPEATS THREADS LIMIT      one case in this process; prints JSON
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence

import polars as pl

from bench.data import Made, Shape, make
from bench.measure import in_turns, peak_mb, seconds

SHAPES = {
    "integer keys": {},
    "integer keys, shuffled": {"shuffled": True},
    "string keys, known_at, ids": {"text": True, "known": True, "ids": True},
    "5 % late": {"late": 0.05},
}
WINDOWS = ("1h", "1d", "7d")
LENGTHS = (3_600_000_000, 86_400_000_000, 604_800_000_000)
FUNCTIONS = ("count", "sum", "mean", "max")


def view_of(generated: Made, hop: str | None = None):
    """The 12 features: count, sum, mean and max over an hour, a day and a week."""
    import headwater as hw

    optional = {"known_at_field": "known_at", "id_field": "id"}
    fields = {
        field: column for field, column in optional.items() if column in generated.events.columns
    }
    columns = [c for c in generated.events.columns if c != "at"]
    return over(
        hw.Source(
            "payments", history=generated.events, timestamp_field="at", select=columns, **fields
        ),
        hop,
    )


def over(source, hop: str | None = None):
    """The view of these features over a source with `user` and `amount`."""
    import headwater as hw

    features = [hw.count(), hw.sum("amount"), hw.mean("amount"), hw.max("amount")]
    return hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=features,
        windows=WINDOWS,
        hop=hop,
        freshness=hw.on_request(),
    )


def features_of(generated: Made, hop: str | None = None) -> pl.DataFrame:
    """The 12 features of every row."""
    import headwater as hw

    return hw.get_historical_features(view_of(generated, hop), generated.rows)


def beside_sort(case: str, events: int, repeats: int) -> dict:
    """Ours, a sort of one packed column, and a sort by two columns, in turns."""
    generated = make(Shape(events, max(events // 10, 1), **SHAPES[case]))
    packed = pl.DataFrame(
        {"at": (generated.key << 42) | generated.time, "amount": generated.amount}
    )
    columns = pl.DataFrame({"key": generated.key, "at": generated.time, "amount": generated.amount})
    sides = {
        "ours": lambda: features_of(generated),
        "peer": lambda: packed.sort("at"),
        "two columns": lambda: columns.sort("key", "at"),
    }
    first, _ = seconds(sides["ours"])
    times = in_turns(sides, repeats, warm=["peer"])
    return {
        **times,
        "first_call": round(first, 3),
        "peak_mb": round(peak_mb()),
        "events": events,
        "rows": generated.rows.height,
    }


def range_windows(generated: Made):
    """The same 12 features as DuckDB's RANGE windows over events and rows together: a connection
    and its query.
    """
    import duckdb

    connection = duckdb.connect()
    events = pl.DataFrame(
        {"k": generated.key, "t": generated.time, "v": generated.amount}
    ).to_arrow()
    requests = (
        pl.DataFrame({"k": generated.rows["user"], "t": generated.rows["timestamp"].dt.epoch("us")})
        .with_row_index("i")
        .to_arrow()
    )
    connection.register("events", events)
    connection.register("asked", requests)
    calls = {"count": "count(v)", "sum": "sum(v)", "mean": "avg(v)", "max": "max(v)"}
    made_of = ", ".join(
        f"{calls[f]} over w{w} as {f}_{name}" for f in FUNCTIONS for w, name in enumerate(WINDOWS)
    )
    over = ", ".join(
        f"w{w} as (partition by k order by t range between {length - 1} preceding and current row)"
        for w, length in enumerate(LENGTHS)
    )
    query = f"""
        with both_ as (select k, t, v, null::bigint as i from events union all select k, t - 1, null, i from asked)
        select i, {made_of} from both_ window {over} qualify i is not null
    """
    return connection, query


def beside_duckdb(events: int, repeats: int, threads: int, limit: float) -> dict:
    """Ours and DuckDB in turns on the same data; DuckDB is interrupted after `limit` seconds, which
    then count as its time.
    """
    generated = make(Shape(events, max(events // 10, 1)))
    connection, query = range_windows(generated)
    connection.execute(f"set threads = {threads}")
    answers: dict[str, pl.DataFrame] = {}
    stopped: list[float] = []

    def theirs() -> None:
        timer = threading.Timer(limit, connection.interrupt)
        timer.start()
        begin = time.perf_counter()
        try:
            answers["peer"] = pl.from_arrow(connection.execute(query).to_arrow_table())
        except Exception:
            if time.perf_counter() - begin < limit:
                raise
            stopped.append(limit)
        finally:
            timer.cancel()

    def ours() -> None:
        answers["ours"] = features_of(generated, "10ms")

    ours()
    times = in_turns({"ours": ours, "peer": theirs}, repeats)
    extra = (
        {"interrupted": len(stopped), "peer_limit": limit}
        if stopped
        else {"equal": equal(answers["ours"], answers["peer"])}
    )
    return {**times, "events": events, "rows": generated.rows.height, **extra}


def equal(ours: pl.DataFrame, theirs: pl.DataFrame, windows: Sequence[str] = WINDOWS) -> bool:
    """Whether the answers agree: counts and maxima exactly, sums and means to one part in a
    billion.
    """
    theirs = theirs.sort("i")
    for function in FUNCTIONS:
        for window in windows:
            name = (
                "user__count_" + window
                if function == "count"
                else f"user__{function}_amount_{window}"
            )
            mine, other = (
                ours[name].cast(pl.Float64),
                theirs[f"{function}_{window}"].cast(pl.Float64),
            )
            if function == "sum":
                other = other.fill_null(0)  # SQL's sum of nothing
            if not (mine.is_null() == other.is_null()).all():
                return False
            off = ((mine - other).abs() - 1e-9 * mine.abs()).fill_null(0).max()
            if off is not None and off > (0 if function in {"count", "max"} else 1e-9):
                return False
    return True


if __name__ == "__main__":
    case, events, repeats, threads, limit = (
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        int(sys.argv[4]),
        float(sys.argv[5]),
    )
    print(
        json.dumps(
            beside_duckdb(events, repeats, threads, limit)
            if case == "duckdb"
            else beside_sort(case, events, repeats)
        )
    )
