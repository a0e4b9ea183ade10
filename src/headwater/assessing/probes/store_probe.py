"""Readings of an online store, opened read-only: latency of reads, and agreement with training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headwater import clock
from headwater.definitions.level import without_level
from headwater.definitions.project import Project, stored
from headwater.errors import HeadwaterError
from headwater.monitoring.parity import Parity, parity
from headwater.monitoring.served_parity import served_parity
from headwater.results.measurement import Missing, Reading, measured
from headwater.state.record import stored_sections
from headwater.stores import OnlineStore
from headwater.stores.keyspace import opened_for, placed

KEYS, ROUNDS, SECONDS = 50, 500, 2.0
_ROWS = 1_000


@dataclass(frozen=True)
class StoreSeen:
    """The readings of a store.

    reads: p99 of a read of many keys. size: bytes taken. By view, row_bytes: of a key's section of
    its record; keys: stored; differs: the share of values.
    """

    reads: Reading
    size: Reading
    row_bytes: Mapping[str, Reading]
    keys: Mapping[str, Reading]
    differs: Mapping[str, Reading]


def of_store(
    project: Project,
    store: OnlineStore | str | None,
    folder: Path,
    *,
    logged: bool,
    compare: bool = True,
) -> StoreSeen:
    """Measure a store without writing; with `compare`, `logged` compares the served values rather
    than the current ones.
    """
    try:
        with opened_for(project.name, store, readonly=True) as opened:
            sizes, counts, places, features = {}, {}, [], 0
            for kept_view in stored(project):
                first = list(
                    itertools.islice(
                        stored_sections(opened, placed(opened, kept_view.view)), 10_000
                    )
                )
                if not first:
                    continue
                mean = float(np.mean([len(record) for _, record in first]))
                sizes[kept_view.view.name] = measured(
                    mean, "B", f"mean of {len(first):,} records of view {kept_view.name!r}"
                )
                counts[kept_view.view.name] = measured(
                    len(first), "", "records, counted up to 10,000"
                )
                places.append([key for key, _ in first[:KEYS]])
                features += len(kept_view.view.outputs)
            differs = _differs(project, opened, folder, logged=logged) if compare else {}
            size = measured(opened.size(), "B", "the size of the online store")
            return StoreSeen(_timed(opened, places, features), size, sizes, counts, differs)
    except HeadwaterError as error:
        return StoreSeen(Missing(str(error)), Missing(str(error)), {}, {}, {})


def _timed(store: OnlineStore, places: list[list[bytes]], features: int) -> Reading:
    """p99 of one read of up to 50 keys of every view."""
    wanted = [key for key_list in places for key in key_list]
    if not wanted:
        return Missing(
            "the store holds no record of the project's views; run `headwater materialize` or "
            "`headwater ingest`"
        )
    store.get(wanted)
    times: list[float] = []
    since = clock.stopwatch()
    while len(times) < ROUNDS and (clock.stopwatch() - since < SECONDS or len(times) < 20):
        began = clock.stopwatch()
        store.get(wanted)
        times.append(clock.stopwatch() - began)
    keys = max(map(len, places))
    source = (
        f"p99 of {len(times)} reads from this machine, {keys} keys x {features} features of "
        f"{len(places)} views each"
    )
    return measured(float(np.quantile(times, 0.99, method="higher")), "s", source)


def _differs(
    project: Project, store: OnlineStore, folder: Path, *, logged: bool
) -> dict[str, Reading]:
    """By view, the share of served values that differ from training's values of the same events."""
    parities: list[Parity] = []
    failed: dict[str, Reading] = {}
    if logged:
        try:
            parities = served_parity(project, store=store, data_dir=folder, rows=_ROWS)
        except HeadwaterError as error:
            return {view.name: Missing(str(error)) for view in project.all_views}
    else:
        for compared in stored(project):
            try:
                parities += parity(
                    project, [compared.name], store=store, data_dir=folder, rows=_ROWS
                )
            except HeadwaterError as error:
                failed[compared.view.name] = Missing(str(error))
    subject = "values served" if logged else "current values of the store"
    shares = {
        without_level(compared.view): measured(
            len(compared.mismatches) / compared.values,
            "share",
            f"{compared.values:,} {subject}, recomputed",
        )
        for compared in parities
        if compared.values
    }
    return failed | shares
