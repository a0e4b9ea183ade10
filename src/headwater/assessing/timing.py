"""CPU seconds of a prediction and of an event on this machine: a short timing of the real code, all
threads together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.model import Model
from headwater.errors import HeadwaterError
from headwater.events.read_events import IDENT, TIME, arrived, collect
from headwater.models.artifact import restored
from headwater.models.registry import ModelRegistry
from headwater.online.feature_reader import OnlineFeatures
from headwater.results.measurement import Missing, Reading, measured
from headwater.state.view_state import ViewTiles
from headwater.stores import OnlineStore, opened

SECONDS = 0.5  # that each timing takes at least
_BATCH = 10_000
_EVENTS = 20_000


def of_model(model: Model, folder: Path | None) -> dict[str, Reading]:
    """CPU seconds of a score in a batch of 10,000 (c_b), and alone (model)."""
    try:
        scorer = ModelRegistry(folder).open(model)
    except HeadwaterError as error:
        return dict.fromkeys(("c_b", "model"), Missing(str(error)))
    examples = scorer.manifest.examples if scorer.manifest is not None else []
    if not examples:
        return dict.fromkeys(
            ("c_b", "model"),
            Missing(
                f"version {scorer.version} of model {model.name!r} has no example rows to score"
            ),
        )
    rows = [restored(example, scorer.fitted.encoding) for example in examples]
    frame = pl.DataFrame(
        dict(zip(scorer.fitted.encoding.columns, map(list, zip(*rows, strict=True)), strict=True))
    )
    frame = frame[np.arange(_BATCH) % frame.height]
    try:
        batch, alone = _cpu(lambda: scorer.score(frame)) / _BATCH, _cpu(lambda: scorer.one(rows[0]))
    except HeadwaterError as error:
        return dict.fromkeys(("c_b", "model"), Missing(str(error)))
    subject = f"version {scorer.version} of model {model.name!r}"
    return {
        "c_b": measured(batch, "s", f"CPU of a row of {_BATCH:,}, {subject}, features not counted"),
        "model": measured(alone, "s", f"CPU of one row, {subject}"),
    }


def of_reads(
    model: Model, store: OnlineStore | str | None, requests: pl.DataFrame | None
) -> Reading:
    """CPU seconds of reading and computing the features of one request, from the store, opened
    read-only.
    """
    if requests is None or not requests.height:
        return Missing("no labelled request")
    try:
        with opened(store, readonly=True) as open_store:
            features = OnlineFeatures(model.features, open_store)
            features.warm()
            rows = requests.head(200).to_dicts()
            spent = _cpu(lambda: [features.row(row) for row in rows]) / len(rows)
    except HeadwaterError as error:
        return Missing(str(error))
    return measured(
        spent, "s", f"CPU of reading the features of one request, {len(rows)} labelled requests"
    )


def of_events(views: Sequence[FeatureView]) -> Reading:
    """CPU seconds of an event of a view: events of the history are aggregated to tiles and merged
    into records; nothing is written.
    """
    spent, count = 0.0, 0
    for view in views:
        try:
            events = _events(view)
            if not events.height:
                continue
            tiles = ViewTiles(view.root, dict(events.schema))
            last = int(events[TIME].max()) + 1  # type: ignore[arg-type]
            tiles.update(events.head(1), last, 0, lambda keys: [b""] * len(keys))
            spent += _cpu(
                lambda t=tiles, e=events, at=last: t.update(  # type: ignore[misc]
                    e, at, 0, lambda keys: [b""] * len(keys)
                )
            )
            count += events.height
        except HeadwaterError as error:
            return Missing(str(error))
    return (
        measured(spent / count, "s", f"CPU of an event of a view, {count:,} events")
        if count
        else Missing("no history with events")
    )


def _events(view: FeatureView) -> pl.DataFrame:
    """Some events of the view's history, in order."""
    keys = list(view.keys)
    lazy = arrived(view.source, keys, sorted(view.read_columns - set(keys)), [])
    rows = collect(lazy.head(_EVENTS), f"source {view.source.name!r}").filter(
        pl.col(TIME).is_not_null()
    )
    needed = [*keys, *([IDENT] if IDENT in rows.columns else [])]
    return rows.drop_nulls(needed).sort(TIME) if needed else rows.sort(TIME)


def _cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one call, the mean over at least half a second; the first call, which may
    compile, is not counted.
    """
    work()
    began, since, calls = time.process_time(), clock.stopwatch(), 0
    while calls == 0 or clock.stopwatch() - since < SECONDS:
        work()
        calls += 1
    return (time.process_time() - began) / calls
