"""Inputs of the cost formulas: given values first, then measured ones, then defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater.assessing import prices, timing
from headwater.assessing.formulas import SYMBOLS, waste
from headwater.assessing.locations import Locations
from headwater.assessing.probes import archive_probe, request_probe
from headwater.assessing.probes import store_probe as of_store
from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.model import Model, Precomputed
from headwater.definitions.project import Project
from headwater.errors import HeadwaterError
from headwater.events.read_events import TIME, collect
from headwater.jobs.run_times import run_time, runs_of
from headwater.journal.serving_log_rows import AT, REQUEST
from headwater.results.measurement import Missing, Number, Reading, measured
from headwater.training.requests import Requests

_DAY = 86_400
_MICROS = 1_000_000


@dataclass(frozen=True)
class Inputs:
    """Every input by its symbol, the `wasted` share of precomputed predictions, and for each view
    its events a day, keys and tile.
    """

    readings: Mapping[str, Reading]
    wasted: Reading
    views: Mapping[str, Mapping[str, Reading]]


def inputs(project: Project, model: Model, locations: Locations) -> Inputs:
    """Measure the inputs; one that is neither given, measured nor a default is Missing."""
    folder = locations.folder
    _, labelled = request_probe.of_labels(model)
    _, logged = request_probe.of_log(model, folder)
    requests, origin = _measured_requests(model, logged, labelled)
    views = list(model.features.views)
    by_view = {view.name: _of_view(view) for view in views}
    seen = of_store.of_store(project, locations.store, folder, logged=False, compare=False)
    first = _entities(views)
    by_symbol: dict[str, Reading] = {
        **_rates(requests, origin),
        **_shape(model, views, requests),
        "U": first,
        "f": _refreshes(model, views),
        "E": _summed([by_view[v.name]["E"] for v in views], views),
        "A": _greatest([by_view[v.name]["A"] for v in views]),
        "tau": _greatest([by_view[v.name]["tau"] for v in views]),
        "v": Number(len(views), "views", "given", f"the views that model {model.name!r} reads"),
        "b": _row_bytes(seen),
        "S": seen.size,
        "c_e": timing.of_events(views),
        **_run_times(views, folder),
        **_timed(model, locations, labelled.frame if labelled is not None else None),
    }
    default_prices, user = (
        prices.defaults(),
        {
            **(prices.given(Path(locations.prices)) if locations.prices is not None else {}),
            **locations.overrides,
        },
    )
    if "s_run" in user and "e_run" not in user:
        by_symbol["e_run"] = Missing("s_run was given, and holds for each run")
    readings: dict[str, Reading] = {}
    for name in SYMBOLS:
        here: Reading = by_symbol.get(
            name, Missing("it was not measured; give it in the price file")
        )
        readings[name] = user.get(name) or (
            here if isinstance(here, Number) else default_prices.get(name) or here
        )
    return Inputs(readings, _wasted(requests, origin, model, readings), by_view)


# ---------------------------------------------------------------- requests


def _measured_requests(
    model: Model, logged: pl.DataFrame | None, labelled: Requests | None
) -> tuple[pl.DataFrame | None, str]:
    """Requests with t (microseconds) and their columns: of the serving log, else labelled ones."""
    if logged is not None and logged.height:
        return logged.with_columns(
            pl.col(AT).dt.epoch("us").alias("__t"), pl.col(REQUEST).alias("__request")
        ), "the serving log"
    if labelled is None:
        return None, ""
    frame = labelled.frame.with_columns(pl.Series("__t", labelled.t))
    group = pl.col(model.ranking.group) if model.ranking is not None else pl.int_range(pl.len())
    return frame.with_columns(group.alias("__request")), f"labels {model.labels.name!r}"


def _rates(requests: pl.DataFrame | None, origin: str) -> dict[str, Reading]:
    if requests is None or requests.height < 2:
        return {
            "R": Missing(
                "the number of requests is not known, since there is neither a serving log nor "
                "labels; give [R] in the price file"
            )
        }
    t = requests["__t"].to_numpy()
    seconds = (int(t.max()) - int(t.min())) / _MICROS
    if seconds <= 0:
        return {"R": Missing(f"all requests of {origin} have one timestamp")}
    number = requests["__request"].n_unique()
    return {
        "R": measured(
            number / seconds * _DAY,
            "1/day",
            f"{number:,} requests of {origin} in {seconds / _DAY:,.2f} days",
        )
    }


def _shape(
    model: Model, views: Sequence[FeatureView], requests: pl.DataFrame | None
) -> dict[str, Reading]:
    """The number of keys, rows and candidates per request."""
    keys = {tuple(str(view.request_key(key)) for key in view.keys) for view in views}
    readings: dict[str, Reading] = {
        "n_k": Number(
            len(keys), "keys", "given", f"distinct keys of the views of model {model.name!r}"
        ),
        "n_r": Number(
            len(views) / len(keys) if keys else 0.0,
            "rows",
            "given",
            "views a key: a record holds all features of a view",
        ),
    }
    if model.ranking is None:
        none = f"model {model.name!r} is not a ranking, and reads no rows of candidates"
        return {
            **readings,
            "k": Number(1, "pairs", "given", "one score a request"),
            "h": Number(1, "share", "given", none),
        }
    if requests is None:
        return {**readings, "k": Missing("the number of candidates per request is not known")}
    per_request = requests.height / requests["__request"].n_unique()
    return {**readings, "k": measured(per_request, "pairs", "candidates a request")}


def _wasted(
    requests: pl.DataFrame | None, origin: str, model: Model, readings: Mapping[str, Reading]
) -> Reading:
    """The share of precomputed predictions that are never requested, over the refresh windows of
    the known requests.
    """
    f, U = readings["f"], readings["U"]
    if requests is None or isinstance(f, Missing) or isinstance(U, Missing) or not U.value:
        return Missing("requests, refreshes or entities are not known")
    keys = _keyed(model)
    if not keys or any(key not in requests.columns for key in keys):
        return Missing(
            f"{origin} does not have the keys of the prediction lookup: {', '.join(keys) or 'none'}"
        )
    window = max(1, round(_DAY * _MICROS / f.value))
    by_window = requests.group_by(pl.col("__t") // window).agg(
        pl.struct(keys).n_unique().alias("n")
    )
    first, last = by_window["__t"].min(), by_window["__t"].max()
    whole = int(last) - int(first) + 1  # type: ignore[arg-type]
    counts = [*by_window["n"].to_list(), *[0] * (whole - by_window.height)]
    source = (
        f"{whole:,} refresh windows of {window / _MICROS:,.0f} s, distinct {', '.join(keys)} in "
        f"each, of {origin}"
    )
    return measured(waste(counts, U.value), "share", source)


def _keyed(model: Model) -> list[str]:
    """The request's columns that a precomputed prediction would be looked up by."""
    if isinstance(model.predictions, Precomputed):
        return list(model.predictions.keys)
    view = next((v for v in model.features.views if v.keys and v.list_key is None), None)
    return [] if view is None else [str(view.request_key(key)) for key in view.keys]


def _refreshes(model: Model, views: Sequence[FeatureView]) -> Reading:
    job = model.predictions.freshness if isinstance(model.predictions, Precomputed) else None
    jobs = (
        fresh.schedule for fresh in (job, *(view.freshness for view in views)) if fresh is not None
    )
    every = [job.every for job in jobs if job is not None]
    if not every:
        return Number(
            1,
            "1/day",
            "default",
            "an assumption: a nightly job; nothing in the definitions is computed in batch",
        )
    return Number(
        _DAY * _MICROS / every[0],
        "1/day",
        "given",
        f"a batch cut every {every[0] / _MICROS:,.0f} s, by the definitions",
    )


# ---------------------------------------------------------------- views


def _of_view(view: FeatureView) -> dict[str, Reading]:
    """Events a day, keys with events in a typical tile, the tile, and the known entities."""
    hop = min(
        (f.window.hop for f in view.outputs if f.window.length is not None), default=60 * _MICROS
    )
    tau = Number(
        hop / _MICROS, "s", "given", f"the smallest hop of the windows of view {view.name!r}"
    )
    if isinstance(view.source.history, Enriched):
        none = Missing(f"source {view.source.name!r} is enriched")
        return {"E": none, "A": none, "U": none, "tau": tau}
    try:
        past = archive_probe.history(view.source, [view])
        rate = archive_probe.of_source(past)["events_per_second"]
        tiles = (
            pl.struct([*view.keys, (pl.col(TIME) // hop).alias("__tile")]).n_unique().alias("tiles")
        )
        keys = (
            pl.struct(list(view.keys)).n_unique().alias("keys")
            if view.keys
            else pl.lit(1).alias("keys")
        )
        first, last = pl.col(TIME).min().alias("a"), pl.col(TIME).max().alias("b")
        row = collect(past.frame.select(tiles, keys, first, last), past.where).row(0, named=True)
    except HeadwaterError as error:
        return {
            "E": Missing(str(error)),
            "A": Missing(str(error)),
            "U": Missing(str(error)),
            "tau": tau,
        }
    count = max(1, (row["b"] - row["a"]) // hop + 1) if row["a"] is not None else 1
    E: Reading = rate
    if isinstance(rate, Number):
        E = measured(rate.value * _DAY, "1/day", rate.source)
    active = measured(
        row["tiles"] / count,
        "keys",
        f"mean of {count:,} tiles of {hop / _MICROS:,.0f} s of {past.where}",
    )
    return {
        "E": E,
        "A": active,
        "U": measured(row["keys"], "entities", f"distinct {', '.join(view.keys)} in {past.where}"),
        "tau": tau,
    }


def _entities(views: Sequence[FeatureView]) -> Reading:
    first = next((view for view in views if view.keys), None)
    return Missing("no view has keys") if first is None else _of_view(first)["U"]


def _summed(rates: Sequence[Reading], views: Sequence[FeatureView]) -> Reading:
    """Events a day over the distinct sources."""
    by_source = {view.source.name: rate for view, rate in zip(views, rates, strict=True)}
    none = next((rate for rate in by_source.values() if isinstance(rate, Missing)), None)
    if none is not None or not by_source:
        return none or Missing("the model reads no view")
    numbers = [rate for rate in by_source.values() if isinstance(rate, Number)]
    return measured(sum(n.value for n in numbers), "1/day", "; ".join(n.source for n in numbers))


def _greatest(readings: Sequence[Reading]) -> Reading:
    numbers = [reading for reading in readings if isinstance(reading, Number)]
    return (
        max(numbers, key=lambda n: n.value)
        if numbers
        else next(iter(readings), Missing("the model reads no view"))
    )


def _row_bytes(seen: of_store.StoreSeen) -> Reading:
    numbers = [reading for reading in seen.row_bytes.values() if isinstance(reading, Number)]
    if not numbers:
        return Missing("the store holds no record")
    return measured(sum(n.value for n in numbers), "B", "; ".join(n.source for n in numbers))


def _timed(model: Model, locations: Locations, requests: pl.DataFrame | None) -> dict[str, Reading]:
    """CPU seconds of a prediction in batch and on request: the model alone, and reading its
    features if the store holds them.
    """
    timings = timing.of_model(model, locations.registry)
    read = timing.of_reads(model, locations.store, requests)
    alone = timings.pop("model")
    if not isinstance(alone, Number):
        return {**timings, "c_o": alone}
    if not isinstance(read, Number) or math.isnan(read.value):
        return {
            **timings,
            "c_o": measured(
                alone.value, "s", f"{alone.source}; reading features not counted: {read}"
            ),
        }
    return {
        **timings,
        "c_o": measured(alone.value + read.value, "s", f"{alone.source}, and {read.source}"),
    }


def _run_times(views: Sequence[FeatureView], folder: Path) -> dict[str, Reading]:
    """CPU seconds and events of one run of the job that keeps the views, as `headwater materialize`
    timed them.
    """
    runs = runs_of(folder)
    timed = {view.name: run_time(runs, view.name) for view in views}
    lacking = [name for name, run in timed.items() if run is None]
    timed_runs = [run for run in timed.values() if run is not None]
    if lacking or not timed_runs:
        reason = Missing(
            f"no run of {', '.join(lacking) or 'a view'} was timed, so it is computed from c_e; "
            "give it in the price file"
        )
        return {"s_run": reason, "e_run": reason}
    origin = (
        f"mean of {sum(run.runs for run in timed_runs)} runs of `headwater materialize`, of "
        f"{', '.join(timed)}"
    )
    return {
        "s_run": measured(sum(run.cpu_seconds for run in timed_runs), "s", f"CPU, {origin}"),
        "e_run": measured(sum(run.events for run in timed_runs), "events", origin),
    }


def plain(readings: Mapping[str, Reading]) -> dict[str, float]:
    """The values of the readings that are not Missing."""
    return {
        name: reading.value
        for name, reading in readings.items()
        if isinstance(reading, Number) and np.isfinite(reading.value)
    }
