"""OpenMLDB's windows as headwater's: which events a frame holds, and at what moment to ask.

A frame is inclusive, [t - w, t]; headwater's window ends before T. So [t - w, t] is a window of w +
1 microsecond, asked at t + 1 microsecond, with hop="1us". Times stand in whole milliseconds, so
nothing else lies in that microsecond.

Of rows at one moment, OpenMLDB counts those that arrived before the row that asks. headwater knows
no arrival, only times and values, so there the arrival is made part of the time: the n-th row
stands n microseconds after its millisecond, the window's tail moves with hop="1ms", back to the
full millisecond, and the row asks just after its own place.
"""

import operator
import re
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

import headwater as hw

MILLISECOND = 1_000
DTYPES = {
    "bigint": pl.Int64, "bool": pl.Boolean, "date": pl.String, "double": pl.Float64, "float": pl.Float32, "int": pl.Int32,
    "int32": pl.Int32, "smallint": pl.Int16, "string": pl.String, "timestamp": pl.Int64,
}  # fmt: skip
FUNCTIONS = {
    "avg": hw.mean, "count": hw.count, "count_where": hw.count, "max": hw.max, "min": hw.min, "sum": hw.sum,
    "sum_where": hw.sum,
}  # fmt: skip
COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
}
MIRRORED = {"<": ">", "<=": ">=", "=": "=", "!=": "!=", ">": "<", ">=": "<="}

ROWS = "a frame of so many rows (ROWS)"
MAXSIZE = "MAXSIZE cuts the frame to so many rows"
PLACE = "the n-th row before another (lag, at, identity)"
NUMBERED = "rows at one moment, numbered"
ARRIVAL = "request mode with rows out of order"


@dataclass(frozen=True)
class Answer:
    """One value for each row of the main table, or why there is none; and what the mapping
    needed.
    """

    values: tuple[object, ...] | None
    reason: str | None = None
    uses: frozenset[str] = frozenset()


def answers(case, *, number=True):
    """By name, each column of a case that is computed over a window; rows at one moment are
    numbered, or the time alone counts.
    """
    return {
        s["as"]: _answer(case, s, case["window"]["windows"][s["over"]], number)
        for s in case["window"]["select"]
        if "agg" in s
    }


def _answer(case, wanted, frame, number):
    if wanted["agg"] not in FUNCTIONS:
        return Answer(None, PLACE)
    if frame["frame"] == "rows":
        return Answer(None, ROWS)
    main, keys = case["tables"][0], frame["partition_by"]
    rows = _rows(case, frame)
    asking = rows.tail(len(main["rows"]))
    if (
        "batch-unsupport" in (case["mode"] or "")
        and (asking["at"] < asking.select(pl.col("at").cum_max().over(keys))["at"]).any()
    ):
        return Answer(None, ARRIVAL)
    events = rows.head(len(rows) - len(asking)) if frame["instance_not_in_window"] else rows
    numbered = number and rows.select("at", *keys).is_duplicated().any()
    return _ask(events, asking, wanted, frame, dict(main["columns"]), numbered=numbered)


def _rows(case, frame):
    """The rows of the united tables, then those of the main one, with their milliseconds in `at`
    and their places in `nth`.
    """
    tables = {f"{{{i}}}": t for i, t in enumerate(case["tables"])} | {
        t["name"]: t for t in case["tables"]
    }
    joined = [*(tables[name] for name in frame["union"]), case["tables"][0]]
    columns = case["tables"][0]["columns"]
    assert all(t["columns"] == columns for t in joined)
    found = pl.DataFrame(
        [row for t in joined for row in t["rows"]],
        schema={n: DTYPES[d] for n, d in columns},
        orient="row",
    )
    assert not any(found.null_count().row(0))
    floats = [n for n in frame["partition_by"] if found.schema[n].is_float()]
    found = found.with_columns(pl.col(frame["order_by"]).cast(pl.Int64).alias("at")).with_row_index(
        "nth"
    )
    assert found.height < MILLISECOND
    # headwater refuses a float as a key
    return found.with_columns(pl.col(n).cast(pl.String) for n in floats)


def _ask(events, asking, wanted, frame, types, *, numbered):
    whole, at_now = MILLISECOND if numbered else 1, frame["end"] == 0 and not frame["end_open"]
    stays = at_now and not frame["exclude_current_row"]  # the row that asks is in its own frame
    # but is not an event of it
    own = stays and (frame["exclude_current_time"] or frame["instance_not_in_window"])
    place = pl.col("nth") if numbered else pl.lit(0)
    start = frame["start"] * MILLISECOND - whole * frame["start_open"]
    if frame["end"]:  # [t - start, t - end]
        after = pl.lit(0 if frame["end_open"] else whole)
        end = frame["end"] * MILLISECOND
        window = hw.window(
            _us(start - end + whole * (not frame["end_open"])), offset=_us(end), hop=_us(whole)
        )
    else:
        inclusive = at_now and not frame["exclude_current_time"]
        # at its own place the row does not see itself
        just = int(inclusive and (stays or frame["instance_not_in_window"]))
        after = place + just if inclusive else pl.lit(0)
        window = hw.window(_us(start + (0 if numbered else just)), hop=_us(whole))

    column, *conditions = wanted["arg"]
    where = "counts" if wanted["agg"].endswith("_where") else None
    columns = () if column == "*" else (column,)
    source = hw.Source(
        "rows",
        history=events.with_columns(_moment(pl.col("at"), place)),
        timestamp_field="at",
        select=list(dict.fromkeys([*frame["partition_by"], *columns]))
        + ([_condition(conditions[0]).alias(where)] if where else []),
    )
    features = [
        FUNCTIONS[wanted["agg"]](*columns, where=where, name="value"),
        hw.count(*columns, where=where, name="values"),
        hw.count(name="events"),
    ]
    view = hw.FeatureView(
        "w",
        source=source,
        keys=frame["partition_by"],
        features=features,
        windows=[window],
        freshness=hw.on_request(),
    )
    value, values, counted = (view[name] for name in view.feature_names)
    asked = asking.with_columns(_moment(pl.col("at"), after).alias("timestamp"))
    wanted_features = [view]
    if own:
        assert where is None
        wanted_features.append(
            _with_own(
                wanted["agg"], float if types[column] in ("float", "double") else int, value, values
            )
        )
        asked = asked.with_columns(pl.col(column).alias("own"))
    found = hw.get_historical_features(wanted_features, asked)
    if frame["maxsize"] is not None and int(found[counted.name].max()) + own > frame["maxsize"]:
        return Answer(None, MAXSIZE)
    made = found.columns[-1] if own else value.name
    nothing = (
        pl.col(values.name) == 0
        if wanted["agg"].startswith("sum") and not own
        else pl.lit(value=False)
    )
    uses = _uses(frame, own=own, numbered=numbered, nothing=found.select(nothing.any()).item())
    return Answer(tuple(found.select(pl.when(~nothing).then(pl.col(made)))[made]), uses=uses)


def _with_own(aggregate, kind, value, values):
    """What the events say, joined with the row's own value, which is a field of the request."""

    def total(own: kind, before: kind = value) -> kind:
        return before + own

    def quantity(own: kind, before: int = value) -> int:
        return before + 1

    def average(own: kind, before: float | None = value, n: int = values) -> float:
        return (own + (before or 0) * n) / (n + 1)

    def least(own: kind, before: kind | None = value) -> kind:
        return own if before is None else min(before, own)

    return hw.request_feature(
        {"sum": total, "count": quantity, "avg": average, "min": least}[aggregate]
    )


def _condition(text):
    left, sign, right = re.fullmatch(r"\s*(\w+)\s*([<>!=]+)\s*(\S+)\s*", text).groups()
    if left[0].isdigit():
        left, sign, right = right, MIRRORED[sign], left
    truth = right.strip('"')
    return COMPARE[sign](
        pl.col(left), pl.lit(truth == "true" if truth in ("true", "false") else float(truth))
    )


def _moment(milliseconds, microseconds):
    return (
        (milliseconds * MILLISECOND + microseconds)
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC")
    )


def _us(number):
    return timedelta(microseconds=int(number))


def _uses(frame, *, own, numbered, nothing):
    return frozenset(
        name
        for name, needed in {
            "an open start": frame["start_open"],
            "an open end": frame["end_open"],
            "an end n before t (offset)": frame["end"] > 0,
            "EXCLUDE CURRENT_TIME": frame["exclude_current_time"],
            "EXCLUDE CURRENT_ROW": frame["exclude_current_row"],
            "INSTANCE_NOT_IN_WINDOW": frame["instance_not_in_window"],
            "UNION": frame["union"],
            "several keys": len(frame["partition_by"]) > 1,
            "MAXSIZE that never cuts": frame["maxsize"] is not None,
            NUMBERED: numbered,
            "the row's own value, by a request feature": own,
            "a sum of nothing: 0, read as NULL": nothing,
        }.items()
        if needed
    )
