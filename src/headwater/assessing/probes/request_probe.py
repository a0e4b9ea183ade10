"""Readings of labels, the serving log and posted outcomes: label delay, new keys, and latency."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from headwater.assessing.probes.archive_probe import History
from headwater.assessing.probes.event_probe import quantile_seconds
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.model import Model
from headwater.errors import HeadwaterError
from headwater.events.read_events import TIME, collect
from headwater.journal.outcome_journal import outcomes
from headwater.journal.serving_log_files import served
from headwater.journal.serving_log_rows import AT, LATENCY, REQUEST
from headwater.kernel.as_of import as_of
from headwater.results.measurement import Missing, Number, Reading, measured
from headwater.training.positive_log import model_labels
from headwater.training.requests import Requests

_ROWS = 200_000


def of_labels(model: Model) -> tuple[dict[str, Reading], Requests | None]:
    """Label delay, share labelled, and training span; and the labelled requests."""
    try:
        requests = model_labels(model)
    except HeadwaterError as error:
        return dict.fromkeys(
            ("label_p50", "label_p95", "labelled", "training_span"), Missing(str(error))
        ), None
    labels, rows = model.labels, len(requests.t)
    assert requests.known_at is not None
    delays = pl.Series(requests.known_at - requests.t)
    by_column = labels.known_at_field is not None
    lost = sum(requests.left_out.values())
    labelled: Reading = measured(
        rows / (rows + lost),
        "share",
        f"{rows:,} of {rows + lost:,} rows of labels {labels.name!r} have an outcome",
    )
    source = f"known_at - request time, {rows:,} rows of labels {labels.name!r}"
    times = {
        name: _delay(quantile_seconds(delays, q), by_column, f"{name[-3:]} of {source}")
        for name, q in _QUANTILES.items()
    }
    span = (int(requests.t.max()) - int(requests.t.min())) / 1e6
    return {
        **times,
        "labelled": labelled,
        "training_span": measured(span, "s", f"first to last of {rows:,} labelled requests"),
    }, requests


_QUANTILES: Mapping[str, float] = {"label_p50": 0.5, "label_p95": 0.95}


def _delay(seconds: float, by_column: bool, source: str) -> Number:  # noqa: FBT001
    return (
        measured(seconds, "s", source)
        if by_column
        else Number(seconds, "s", "given", f"a rule: {source}")
    )


def of_log(model: Model, folder: Path) -> tuple[dict[str, Reading], pl.DataFrame | None]:
    """Readings of a model's serving log, and its latest rows."""
    try:
        try:
            lazy = served(folder, model=model.name)
        except HeadwaterError:
            lazy = served(folder, service=model.features.name)
        rows = lazy.sort(AT).tail(_ROWS).collect()
    except HeadwaterError as error:
        none = Missing(str(error))
        return {
            "latency": none,
            "joined": measured(0.0, "", f"no prediction log: {error}"),
            "age_ratio": none,
        }, None
    readings: dict[str, Reading] = {
        "latency": Missing("the serving log has no latency"),
        "joined": _joined(model, folder, rows),
    }
    times = rows[LATENCY].drop_nulls() if LATENCY in rows.columns else pl.Series(dtype=pl.Int64)
    if len(times):
        readings["latency"] = measured(
            quantile_seconds(times, 0.99),
            "s",
            f"p99 of {len(times):,} rows served, at the rate of the log",
        )
    return readings, rows


def of_view(view: FeatureView, rows: pl.DataFrame | None) -> dict[str, Reading]:
    """The age of the view's served values relative to the age that training assumes, and the share
    of requests without a value.
    """
    name = f"{view.name}__age"
    if rows is None or name not in rows.columns:
        return {"age_ratio": Missing(f"the serving log has no ages of view {view.name!r}")}
    there = rows.filter(pl.col(name).is_not_null())
    if not there.height:
        return {"age_ratio": Missing(f"no value of view {view.name!r} was served")}
    ages = there[name].cast(pl.Duration("us")).dt.total_microseconds()
    t = there[AT].dt.epoch("us").to_numpy()
    _, known_at = as_of(view.freshness, t)
    served_age, theirs = (
        quantile_seconds(ages, 0.95),
        quantile_seconds(pl.Series(t - known_at), 0.95),
    )
    readings: dict[str, Reading] = {
        "served_age": measured(served_age, "s", f"p95 of {there.height:,} rows served")
    }
    if theirs > 0:
        source = (
            f"p95 served {served_age:,.3g} s / p95 that training assumes {theirs:,.3g} s, "
            f"{there.height:,} rows"
        )
        readings["age_ratio"] = measured(served_age / theirs, "x", source)
    else:
        readings["age_ratio"] = Missing(
            f"training assumes age 0 for view {view.name!r}, so no ratio exists"
        )
    statuses = [
        f"{feature}__status"
        for feature in view.feature_names
        if f"{feature}__status" in rows.columns
    ]
    if statuses:
        said_of = rows.select(pl.col(statuses[0]).cast(pl.String)).drop_nulls().to_series()
        if len(said_of):
            missing = int((said_of == "missing").sum())
            readings["cold"] = measured(
                missing / len(said_of),
                "share",
                f"{len(said_of):,} rows served, no event of the key in any window",
            )
    return readings


def cold(view: FeatureView, requests: Requests | None, past: History | None) -> Reading:
    """The share of labelled requests whose key has no event before them."""
    filled = [view.request_key(key) for key in view.keys]
    if (
        requests is None
        or past is None
        or not filled
        or view.list_key is not None
        or not all(isinstance(name, str) for name in filled)
    ):
        return Missing(
            "neither a serving log, nor both a history and labels with the view's keys, a key a row"
        )
    names = [str(name) for name in filled]
    if any(name not in requests.frame.columns for name in names):
        return Missing(
            "the labels lack "
            f"{', '.join(name for name in names if name not in requests.frame.columns)}"
        )
    first = collect(
        past.frame.group_by(list(view.keys)).agg(pl.col(TIME).min().alias("__first")),
        past.where,
        streaming=True,
    )
    rows = requests.frame.select(
        pl.col(n).alias(k) for n, k in zip(names, view.keys, strict=True)
    ).with_columns(pl.Series("__t", requests.t))
    try:
        both = rows.join(first, on=list(view.keys), how="left")
    except pl.exceptions.PolarsError as error:
        return Missing(f"keys of labels and history cannot be compared: {error}")
    none = (
        both["__first"].is_null() | (both["__first"] >= both["__t"]).fill_null(value=False)
    ).sum()
    if not both.height:
        return Missing("no labelled request")
    return measured(
        int(none) / both.height,
        "share",
        f"{rows.height:,} labelled requests, no earlier event of the key",
    )


def _joined(model: Model, folder: Path, rows: pl.DataFrame) -> Reading:
    """The share of posted outcomes whose request is in the log."""
    try:
        posted = outcomes(folder, model.labels)
    except HeadwaterError as error:
        return Missing(str(error))
    if REQUEST not in posted.columns or posted[REQUEST].null_count() == posted.height:
        return Missing("outcomes were posted by key, and none by request id")
    ids = posted.filter(pl.col(REQUEST).is_not_null())[REQUEST]
    first = rows[AT].min()
    late = (
        posted.filter(pl.col(REQUEST).is_not_null())["headwater_posted_at"] >= first
        if "headwater_posted_at" in posted.columns
        else None
    )
    ids = ids if late is None else ids.filter(late)
    if not len(ids):
        return Missing("no outcome was posted since the first row of the log")
    share = float(np.mean(ids.is_in(rows[REQUEST].unique().to_list()).to_numpy()))
    return measured(share, "share", f"{len(ids):,} posted outcomes, by request id")
