"""Features: the catalogue, one definition, one feature with its statistics, and the explanation of
one value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import polars as pl

from headwater import clock
from headwater.catalog.lineage import lineage
from headwater.console.console_context import ConsoleContext
from headwater.console.drift_summary import drift_of
from headwater.console.explained_timeline import timeline
from headwater.console.lineage_layout import lineage_picture
from headwater.console.log_statistics import statistics_state
from headwater.console.page_types import ConsoleRequest, NotShown
from headwater.errors import HeadwaterError, UsageError
from headwater.monitoring.example_requests import features_command
from headwater.monitoring.explain import explain, typed_keys
from headwater.monitoring.explain_warmup import compile_recomputation
from headwater.monitoring.project_state import feature_summary, view_of
from headwater.monitoring.served_statistics import DAYS, feature_days, view_ages
from headwater.pages import figures
from headwater.pages.pictures import Curve
from headwater.pages.wording import duration
from headwater.results.lineage_result import KINDS, Lineage
from headwater.results.served_result import AgeDay, ValueDay

_SHOWN: Final = 100  # definitions on a page
_EVENTS: Final = 100
_KEY: Final = "key."
_UNITS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))


def graph_of(context: ConsoleContext) -> Lineage:
    """The project's lineage, which does not change while the console runs."""
    return context.cached("lineage", 3600.0, lambda: lineage(context.project))


def catalogue(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """The definitions that match a search, page by page."""
    text, kind = request.one("q"), request.one("kind")
    words = text.lower().split()
    chosen = [node for node in graph_of(context).search(text) if kind in ("", node.kind)]
    page = request.one("page", "1")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 6 else 1
    pages = max(1, -(-len(chosen) // _SHOWN))
    number = min(max(1, number), pages)
    rows = []
    for node in chosen[(number - 1) * _SHOWN : number * _SHOWN]:
        named = [
            name
            for name in node.features
            if not words or any(word in name.lower() for word in words)
        ]
        rows.append({"node": node, "features": named if node.kind == "view" else []})
    return {
        "rows": rows,
        "total": len(chosen),
        "text": text,
        "kind": kind,
        "kinds": [
            name for name in KINDS if any(node.kind == name for node in graph_of(context).nodes)
        ],
        "number": number,
        "pages": pages,
    }


def definition_page(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """One definition and its neighbours."""
    graph, name = graph_of(context), request.one("of")
    try:
        node = graph.node(name)
    except UsageError as error:
        raise NotShown(str(error)) from error
    around = context.cached(("around", name), 3600.0, lambda: lineage_picture(graph.around(name)))
    return {"heading": node.name, "node": node, "picture": around, "readers": graph.consumers(name)}


def feature_page(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """One feature: definition, freshness, values by day, comparisons, readers, requests to copy;
    and an explanation, if keys are given.
    """
    feature = request.names["feature"]
    try:
        view = view_of(context.project, feature)
    except UsageError as error:
        raise NotShown(str(error)) from error
    summary = context.cached(
        ("feature", feature),
        10.0,
        lambda: feature_summary(context.project, feature, context.data_dir, graph_of(context)),
    )
    days = context.cached(
        ("values", feature),
        10.0,
        lambda: feature_days(context.data_dir, feature, now=context.now()),
    )
    ages = context.cached(
        ("ages", view.name),
        10.0,
        lambda: view_ages(context.data_dir, [view.name], now=context.now()),
    ).get(view.name, [])
    drifts = drift_of(
        context,
        feature,
        [model for model in context.project.models if feature in model.features.feature_names],
    )
    context.summaries.once(
        f"explanation of {view.root.name}", partial(compile_recomputation, view.root)
    )
    return {
        "heading": feature,
        "feature": summary,
        "days": days[::-1],
        "values": values_chart(days),
        "ages": age_chart(ages, summary.promise),
        "age_days": ages[::-1],
        "statuses": sorted({status for day in days for status in day.statuses}),
        "curl": context.cached(
            ("curl", feature), 600.0, lambda: features_command(context.project, feature)
        ),
        "drift": drifts,
        "log": statistics_state(context),
        "last_days": DAYS,
        **_explanation(context, request, feature),
    }


def age_chart(days: list[AgeDay], promise: float | None) -> Curve | None:
    """Served ages by day: the median, 95 and 99 %, and the promise."""
    columns = [[getattr(day, name) for day in days] for name in ("median", "p95", "p99")]
    size, unit = _unit([seconds for column in columns for seconds in column if seconds is not None])
    lines = {
        name: [None if seconds is None else seconds / size for seconds in column]
        for name, column in zip(("median", "95 %", "99 %"), columns, strict=True)
    }
    limit = None if promise is None else (promise / size, f"promised: at most {duration(promise)}")
    return figures.by_day(f"age, {unit}", [day.day for day in days], lines, limit=limit)


def values_chart(days: list[ValueDay]) -> Curve | None:
    """The distribution of a number by day: the median in a band from 5 to 95 %."""
    columns = [[day.quantiles[n] if day.quantiles else None for day in days] for n in range(5)]
    lines = {"median, 5 to 95 %": columns[2], "25 %": columns[1], "75 %": columns[3]}
    band = (columns[0], columns[4])
    return figures.by_day("value", [day.day for day in days], lines, band=band, zero=False)


def _unit(seconds: Sequence[float]) -> tuple[float, str]:
    """The unit in which the largest of some times is at least 2."""
    most = max(seconds, default=0.0)
    return next((size, name) for size, name in _UNITS if most >= 2 * size or size == _UNITS[-1][0])


def _explanation(
    context: ConsoleContext, request: ConsoleRequest, feature: str
) -> Mapping[str, object]:
    """The explanation of a value, where the query has the keys; a refusal is shown next to the
    form.
    """
    view = view_of(context.project, feature).root
    name = f"{view.name}__{feature.partition('__')[2]}"
    key_texts = {key: request.one(f"{_KEY}{key}") for key in view.keys}
    at = request.one("at").strip()
    form: dict[str, object] = {
        "keys": key_texts,
        "at": at,
        "explained": None,
        "refused": "",
        "line": None,
        "events": [],
    }
    if not request.one("explain"):
        return form
    try:
        keys = typed_keys(context.project, name, key_texts)
        with context.opened_store() as store:
            explained = explain(
                context.project, name, keys, store=store, data_dir=context.data_dir, at=at or None
            )
    except HeadwaterError as error:
        return {**form, "refused": str(error)}
    shown = explained.first(_EVENTS)
    rows = shown.events.sort("timestamp", descending=True, nulls_last=True)
    columns = [
        column
        for column in rows.columns
        if column not in ("timestamp", "known_at", "why", "counts")
    ]
    events = [
        {
            "at": _moment(row["timestamp"]),
            "known": _moment(row["known_at"]),
            "values": [_value(row[column]) for column in columns],
            "why": row["why"],
            "counts": row["counts"],
        }
        for row in rows.to_dicts()
    ]
    counted = int(explained.events["counts"].sum())
    return {
        **form,
        "explained": explained,
        "counted": counted,
        "of": explained.events.height,
        "columns": columns,
        "events": events,
        "age": duration(explained.age) if explained.age >= 0 else f"-{duration(-explained.age)}",
        "online": _value(explained.online) if explained.served else None,
        "offline": _value(explained.offline),
        "agree": not explained.served or _value(explained.online) == _value(explained.offline),
        "times": [_moment(explained.at), _moment(explained.T), _moment(explained.K)],
        "line": timeline(rows, explained.T),
    }


def _moment(moment: object) -> str:
    """A timestamp with the digits that it has."""
    if moment is None:
        return "no time"
    text = clock.timestamp(moment) if isinstance(moment, int) else moment
    return f"{text:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + " UTC"


def _value(value: object) -> str:
    """A value of a feature or column in one line."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, timedelta):
        return duration(value.total_seconds())
    if isinstance(value, pl.Series):
        return str(value.to_list())
    return str(value)
