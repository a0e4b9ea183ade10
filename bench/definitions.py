"""The read of one key in process, for every definition: each function, over each kind of key, with
each kind of event ids.

`python -m bench.definitions EVENTS TURNS` prints JSON. The views of each kind of ids are written by
one writer into one store.

Each definition is a view of its own, measured alone and together with 27 features of 3 views and a
request feature, in turns with the numeric case (count, sum and max by an int64 key, without ids).
Each function has a source of its own: views of one source and the same keys share a record, and a
read would copy what 26 other functions keep. Every key has about a hundred events, of booleans too:
the events of others have null there. A read that finds no event is an error.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

import headwater as hw
from bench.measure import peak_mb
from bench.streams import BEGIN, DAY, WINDOWS, batch
from headwater.events.columns import STATUSES
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.validate import Acceptance
from headwater.online.feature_reader import OnlineFeatures
from headwater.state.view_state import State, encoded, schema_bytes
from headwater.stores import OnlineStore, keyspace
from headwater.stores.lmdb import LmdbStore

ENTITIES, EACH = 40, 20  # keys, and rows that are read of each definition in a turn
IDS: Mapping[str, str | None] = {"none": None, "integers": "id", "strings": "id_text"}
KEYS: Mapping[str, tuple[pl.DataType, Callable[[int], object]]] = {
    "int64": (pl.Int64(), lambda n: n),
    "int8": (pl.Int8(), lambda n: -n),
    "int16": (pl.Int16(), lambda n: -n),
    "int32": (pl.Int32(), lambda n: -n),
    "uint8": (pl.UInt8(), lambda n: n),
    "uint16": (pl.UInt16(), lambda n: n),
    "uint32": (pl.UInt32(), lambda n: 2**31 + n),
    "uint64": (pl.UInt64(), lambda n: 2**63 + n),
    "boolean": (pl.Boolean(), lambda n: n == 0 if n < 2 else None),
    "date": (pl.Date(), lambda n: date(2024, 1, 1) + timedelta(n)),
    "timestamp": (
        pl.Datetime("us", "UTC"),
        lambda n: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(n),
    ),
    "decimal": (pl.Decimal(12, 2), lambda n: Decimal(n) / 4),
    "string": (pl.String(), lambda n: f"u{n:05}"),
    "uuid": (pl.String(), lambda n: str(uuid.UUID(int=n + (1 << 120)))),
    "500 letters": (pl.String(), lambda n: "x" * 495 + f"{n:05}"),
    "category": (pl.Categorical(), lambda n: f"c{n}"),
}
COMPOSITE = {"int64 and string": ("int64", "string"), "int64 and date": ("int64", "date")}
BASE = [hw.count(), hw.sum("amount"), hw.max("amount")]
FUNCTIONS: Mapping[str, Sequence[hw.operations.Aggregation]] = {
    "count, sum, max": BASE,
    "mean, std, var": [hw.mean("amount"), hw.std("amount"), hw.var("amount")],
    "rate, fraction, ratio": [hw.rate(), hw.fraction("ok"), hw.ratio("amount", "n")],
    "last": [hw.last("amount")],
    "last of a string": [hw.last("shop")],
    "last of a timestamp": [hw.last("until")],
    "first of a date": [hw.first("day")],
    "since_last": [hw.since_last()],
    "latest": [hw.latest("shop", "amount")],
    "min, max of a string": [hw.min("shop"), hw.max("shop")],
    "min_by": [hw.min_by("n", by="amount")],
    "max_by of a string": [hw.max_by("shop", by="amount")],
    "decayed_sum": [hw.decayed_sum("amount", half_life="1h")],
    "decayed_mean": [hw.decayed_mean("amount", half_life="1h")],
    "open_count": [hw.open_count(until="until")],
    "open_age": [hw.open_age(until="until")],
    "last_n": [hw.last_n("amount", k=5)],
    "last_n of a string": [hw.last_n("shop", k=5)],
    "first_n, distinct": [hw.first_n("shop", k=5, distinct=True)],
    "count_distinct": [hw.count_distinct("shop")],
    "approx_percentile": [hw.approx_percentile("amount", q=0.9)],
    "mode": [hw.mode("shop")],
    "top_k": [hw.top_k("shop", k=3)],
    "collect_set": [hw.collect_set("shop", max_size=10)],
    "sum by a secondary key": [hw.sum("amount").by("shop", max_keys=5)],
    "ttl": BASE,
}
NUMERIC = ("count, sum, max", "int64", "none")
Named = tuple[str, str, str]


def main(events: str, turns: str) -> None:
    """Microseconds of the fastest turn, by function, key and ids: alone, its ratio to the numeric
    case, and next to the others.
    """
    frame = _events(int(events))
    results: dict[str, dict] = {}
    for ids, column in IDS.items():
        names = [(function, key, ids) for function in FUNCTIONS for key in (*KEYS, *COMPOSITE)]
        with tempfile.TemporaryDirectory() as folder:
            store = LmdbStore(Path(folder))
            sources = {
                function: _source(frame, column, f"payments{n}")
                for n, function in enumerate([*FUNCTIONS, "others"])
            }
            others = [_view(f"other{n}", sources["others"], ("int64",), BASE) for n in range(3)]
            views = {
                name: _view(f"v{n}", sources[name[0]], _key(name[1]), FUNCTIONS[name[0]], name[0])
                for n, name in enumerate(dict.fromkeys([NUMERIC, *names]))
            }
            for source in sources.values():
                now = _filled(
                    store,
                    frame,
                    [view for view in [*views.values(), *others] if view.source is source],
                )
            results |= {
                " / ".join(name): result
                for name, result in _measured(store, views, others, now, int(turns)).items()
                if name in names
            }
            store.close()
    print(json.dumps({"definitions": results, "events": int(events), "peak_mb": peak_mb()}))


def _key(name: str) -> tuple[str, ...]:
    return COMPOSITE.get(name, (name,))


def _events(count: int) -> pl.DataFrame:
    r = np.random.default_rng(3)
    of, ts = r.integers(0, ENTITIES, count), np.sort(r.integers(0, DAY, count)) + BEGIN
    keys = [
        pl.Series(name, [value(int(n)) for n in of], dtype) for name, (dtype, value) in KEYS.items()
    ]
    micros = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        [
            *keys,
            pl.Series("amount", np.round(r.lognormal(3, 1, count), 2)),
            pl.Series("n", r.integers(0, 50, count)),
            pl.Series("shop", [f"shop{n:03}" for n in r.integers(0, 300, count)]),
            pl.Series("ok", r.random(count) < 0.5),
            pl.Series("until", ts + r.integers(0, DAY // 12, count)).cast(micros),
            pl.Series("day", r.integers(0, 20_000, count).astype(np.int32)).cast(pl.Date),
            pl.Series("ts", ts).cast(micros),
            pl.Series("id", np.arange(count)),
            pl.Series("id_text", [str(uuid.UUID(int=int(n))) for n in r.permutation(count)]),
        ]
    )


def _source(frame: pl.DataFrame, ids: str | None, name: str) -> hw.Source:
    stream = hw.push(schema=dict(frame.schema), at_least_once=ids is None)
    return hw.Source(name, stream=stream, timestamp_field="ts", id_field=ids)


def _view(
    name: str,
    source: hw.Source,
    keys: Sequence[str],
    features: Sequence[hw.operations.Aggregation],
    function: str = "",
) -> hw.FeatureView:
    also = {"ttl": "6h"} if function == "ttl" else {}
    return hw.FeatureView(
        name,
        source=source,
        keys=list(keys),
        features=features,
        windows=WINDOWS,
        freshness=hw.streaming("2s"),
        **also,
    )


def _filled(store: OnlineStore, frame: pl.DataFrame, views: Sequence[hw.FeatureView]) -> int:
    """Ingest the events into all views; the time after the last."""
    writer = PartitionWriter(
        Acceptance(views[0].source, tuple(views), DAY), store, None, archive=False, filtered=False
    )
    now = 0
    for at in range(0, frame.height, max(frame.height // 4, 1)):
        records, now = batch(frame[at : at + max(frame.height // 4, 1)], at)
        writer.apply([records], now)
    values = {}
    for view, tiles in zip(views, writer.acceptance.tiles, strict=True):
        state = State(view.name, schema_bytes(tiles.schema), seeded=0, coverage="whole")
        values[keyspace.stream_state(view.tiles_fingerprint)] = encoded(state)
    views_of = {view.tiles_fingerprint: "whole" for view in views}
    writer.note(msgspec.structs.replace(writer.progress, views=views_of), values, {})
    return now


def _measured(
    store: OnlineStore,
    views: Mapping[Named, hw.FeatureView],
    others: Sequence[hw.FeatureView],
    now: int,
    turns: int,
) -> dict[Named, dict]:
    @hw.request_feature
    def share(price: float, usual: float | None = others[0]["max_amount_1d"]) -> float | None:
        return price / usual if usual else None

    numeric = _reading(
        OnlineFeatures(hw.FeatureService("numeric", [views[NUMERIC]]), store), ("int64",), now
    )
    results = {}
    for name, view in views.items():
        keys = _key(name[1])
        alone = OnlineFeatures(hw.FeatureService("alone", [view]), store)
        beside = OnlineFeatures(hw.FeatureService("beside", [view, *others, share]), store)
        sides = {
            "numeric": numeric,
            "alone": _reading(alone, keys, now),
            "beside": _reading(beside, dict.fromkeys([*keys, "int64"]), now, price=3.0),
        }
        times: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(turns + 1):
            for side, work in sides.items():
                begin = time.thread_time()
                work()
                if turn:
                    times[side].append((time.thread_time() - begin) / EACH * 1e6)
        of = {side: round(min(values), 2) for side, values in times.items()}
        results[name] = {**of, "ratio": round(of["alone"] / of["numeric"], 2)}
    return results


def _reading(
    features: OnlineFeatures, keys: Sequence[str] | Mapping[str, object], now: int, **more: object
) -> Callable[[], object]:
    rows = [
        {key: KEYS[key][1](n % 2 if key == "boolean" else n) for key in keys} | more
        for n in range(EACH)
    ]
    for row in rows:
        statuses = {
            STATUSES[code]
            for code in features.row(row, t=now).statuses[: len(features.service.feature_names)]
        }
        if statuses <= {"missing"}:
            raise AssertionError(
                f"no event of {row} was found by {features.service.feature_names[0]}"
            )
    return lambda: [features.row(row, t=now) for row in rows]


if __name__ == "__main__":
    main(*sys.argv[1:])
