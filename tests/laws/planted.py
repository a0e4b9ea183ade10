"""`planted` and `compared`: rows of events in, values out, as headwater computes them and as the naive reference
must too.
"""

from datetime import UTC, datetime, timedelta

import polars as pl

import headwater as hw
from headwater.testing import cases
from headwater.testing.conformance import compare
from headwater.testing.naive import agree, evaluate

BASE = datetime(2024, 3, 10, 12, tzinfo=UTC)  # on every hop's grid
TIMES = ("at", "known", "until", "moment")


def planted(
    feature,
    events,
    asked,
    *,
    window="1h",
    freshness=None,
    keys=("key",),
    schema=None,
    select=None,
    statuses=False,
    ttl=None,
    hop=None,
    base=BASE,
    **rules,
):
    """The value of one feature for each request.

    events: dicts; the times are microseconds after `base`, the key is 1 where not given.
    asked: microseconds after `base`, or dicts of keys with "timestamp".
    """
    events = [_timed(e, base) for e in events]
    rows = [_timed(r if isinstance(r, dict) else {"timestamp": r}, base) for r in asked]
    frame = (
        pl.DataFrame(events, schema_overrides=_schema(events, schema), infer_schema_length=None)
        if events
        else pl.DataFrame(schema=_schema([], schema))
    )
    if not events:
        rules["known_at_field"] = None
    chosen = [c for c in frame.columns if c not in ("until", "known")] if select is None else select
    late = rules.pop("known_at_field", "known" if "known" in frame.columns else None)
    source = hw.Source(
        "events", history=frame, timestamp_field="at", known_at_field=late, select=chosen, **rules
    )
    view = hw.FeatureView(
        "view",
        source=source,
        keys=keys,
        features=[feature],
        windows=None if window is None else [window],
        freshness=freshness or hw.on_request(),
        ttl=ttl,
        hop=hop,
    )
    asks = pl.DataFrame(
        rows,
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")}
        | {k: frame.schema[k] for k in keys if k in rows[0]},
    )
    found = hw.get_historical_features(view, asks, statuses=True)
    answers = evaluate(view, events, rows)
    names = view.feature_names
    for name in names:
        for place, value in enumerate(found[name].to_list()):
            expected = answers[place][name]
            assert agree(expected, value, squared=feature.function == "std"), (
                f"row {place}: {value!r}, and the naive reference says {expected}"
            )
        assert found[f"{name}__status"].to_list() == [a[name].status for a in answers], name
    if statuses:
        return found[f"{names[0]}__status"].to_list()
    return (
        found[names[0]].to_list()
        if len(names) == 1
        else [tuple(row) for row in found.select(names).rows()]
    )


def _timed(row, base):
    given = {"key": 1, **row}
    return {
        k: base + timedelta(microseconds=v)
        if (k in TIMES or k == "timestamp") and isinstance(v, int)
        else v
        for k, v in given.items()
    }


def _schema(events, schema):
    names = {name for event in events for name in event} | {"at", "key"}
    return (
        {name: pl.Datetime("us", "UTC") for name in TIMES if name in names}
        | ({} if events else {"key": pl.Int64()})
        | (schema or {})
    )


def compared(
    feature, events, asked=(0,), *, window="1h", freshness=None, ttl=None, dtype=False, **rules
):
    """The feature's value for each request, of events in the columns of `headwater.testing.cases`.

    `at`, `known` and `asked` are microseconds after cases.BASE (a request may be a dict of "key" and
    "timestamp"); the key is 1 where not given.
    """
    late = any("known" in event for event in events)
    source = hw.Source(
        "events", timestamp_field="at", known_at_field="known" if late else None, **rules
    )
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[feature],
        windows=[window],
        freshness=freshness or hw.on_request(),
        ttl=ttl,
    )
    given = cases.Case(view, [_row(e) for e in events], [_asked(t) for t in asked])
    found = compare(given)[view.feature_names[0]]
    return found.dtype if dtype else found.to_list()


def _asked(request):
    given = request if isinstance(request, dict) else {"key": 1, "timestamp": request}
    return given | {"timestamp": _moment(given["timestamp"])}


def _row(event):
    times = {"known": event.get("known", event["at"]), "at": event["at"]}
    return (
        dict.fromkeys(cases.SCHEMA)
        | {"key": 1}
        | event
        | {name: _moment(t) for name, t in times.items()}
    )


def _moment(t):
    return cases.BASE + timedelta(microseconds=t)
