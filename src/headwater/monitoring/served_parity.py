"""Parity of the serving log: the values served then, compared with what training would compute from
the same events.

Of a streaming view, a row is compared at the commit that it was read at: offline an event's "known"
is the place of its commit among those that rows were read at, so one pass of the kernel answers all
rows. Of a batch view, a row is compared at its cut. Request features are evaluated again on the
logged request. What a third party said cannot be computed: it is taken from the log.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from msgspec.structs import replace

from headwater import clock, settings
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import Feature, FeatureRef, FeatureView
from headwater.definitions.list_keys import MOST_LENGTH
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.engine.engines import engine_name
from headwater.errors import DataError, UsageError, nearest
from headwater.events.columns import status_name
from headwater.events.key_lists import KeyLists, key_lists
from headwater.ingestion.archive import SEQUENCE
from headwater.journal.serving_log_files import served
from headwater.journal.serving_log_rows import AT, LEVEL, PREFIX, REQUEST, VIEWS, sequences
from headwater.kernel.arrays import F64, I64, Bool
from headwater.monitoring.agreement import agree, agree_lists, same_values
from headwater.monitoring.offline_events import Offline
from headwater.monitoring.parity import (
    Mismatch,
    OfflineRequests,
    Parity,
    ParityRun,
    answer,
    keep_parity,
    sizes,
)
from headwater.online.request_features import request_feature
from headwater.online.view_reader import OnlineView
from headwater.stores import OnlineStore
from headwater.stores.keyspace import opened_for, placed
from headwater.training.resources import DEFAULT_RESOURCES, Resources

MADE = "made of the request"
_ROWS = 10_000


def served_parity(
    project: Project,
    views: Sequence[str] = (),
    *,
    store: OnlineStore | str | None = None,
    data_dir: str | Path | None = None,
    rows: int = _ROWS,
    since: datetime | str | None = None,
    seed: int = 0,
    resources: Resources | None = None,
) -> list[Parity]:
    """Compare what was served with what training computes of the same events, for every view of
    every model.

    Args:
        project: whose models.
        views: names of views; none is all of them, and request-time features.
        store: the online store that was read, or its URL; None is that of the settings. Its
            archive's last rows are still in it.
        data_dir: where the serving log and the archive of streams lie; None is headwater's home.
        rows: how many rows of each model at most, all as likely.
        since: rows that asked from then on.
        seed: of the draw of rows.
        resources: what the call may use: threads, progress.

    Raises:
        UsageError: a name that no view has.
        DataError: nothing was served, or a history or an archive cannot be read.
    """
    names = {v.name for m in project.models for v in m.features.views}
    for name in views:
        if name not in names:
            raise UsageError(
                f"project {project.name!r} has no view {name!r}; {nearest(name, names)}"
            )
    home = settings.home() if data_dir is None else Path(data_dir)
    by_view: dict[str, Parity] = {}
    nothing: list[DataError] = []
    with (
        opened_for(project.name, store, readonly=True) as opened,
        (resources or DEFAULT_RESOURCES).shown() as used,
    ):
        for number, model in enumerate(project.models):
            used.say("comparing", number, len(project.models))
            try:
                frame = _rows(model, home, rows, since, seed)
            except DataError as error:
                nothing.append(error)
                continue
            for level, level_rows in _by_level(frame):
                for comparison in _compared(
                    project, model, level, level_rows, views, _Context(opened, home, used)
                ):
                    by_view[comparison.view] = (
                        _added(by_view[comparison.view], comparison)
                        if comparison.view in by_view
                        else comparison
                    )
    if len(nothing) == len(project.models):
        raise nothing[0]
    return keep_parity(
        ParityRun(project.name, served=True, views=list(by_view.values())),
        home,
        engine_name(used.engine),
    )


def _rows(
    model: Model, folder: Path, rows: int, since: datetime | str | None, seed: int
) -> pl.DataFrame:
    """Some of the rows that were served for a model, or where it has none, by its service."""
    try:
        frame = served(folder, model=model.name, since=since)
    except DataError:
        frame = served(folder, service=model.features.name, since=since)
    every = frame.collect()
    return every[np.sort(np.random.default_rng(seed).permutation(every.height)[:rows])]


def _by_level(frame: pl.DataFrame) -> list[tuple[str | None, pl.DataFrame]]:
    levels = frame[LEVEL].unique(maintain_order=True).to_list()
    return [(level, frame.filter(pl.col(LEVEL).eq_missing(level))) for level in levels]


def _compared(
    project: Project,
    model: Model,
    level: str | None,
    rows: pl.DataFrame,
    views: Sequence[str],
    context: _Context,
) -> list[Parity]:
    """Compare what was served at a level; view names end with the level, as in the store."""
    end = "" if level is None else f"@{level}"
    try:
        service = project.variant(model.name, level).service
    except UsageError:
        at = clock.timestamp(rows.select(pl.col(AT).dt.epoch("us").max()).item())
        return [
            Parity(
                f"{model.name}{end}",
                rows.height,
                0,
                at,
                at,
                0,
                [],
                {"rows of a level that the project does not have": rows.height},
            )
        ]
    return [
        replace(comparison, view=f"{comparison.view}{end}")
        for comparison in _Served(service, rows, context).compared(views)
    ]


def _added(a: Parity, b: Parity) -> Parity:
    notes = Counter(a.notes) + Counter(b.notes)
    events = max(a.events, b.events)
    return Parity(
        a.view,
        a.rows + b.rows,
        a.values + b.values,
        max(a.T, b.T),
        max(a.K, b.K),
        events,
        [*a.mismatches, *b.mismatches],
        notes,
    )


@dataclass(frozen=True)
class _Context:
    """The store that was read, the folder of the archive, and what the comparison may use."""

    store: OnlineStore
    folder: Path
    resources: Resources


@dataclass
class _Served:
    """Rows of a serving log, and their recomputed values by feature name, for the views that are
    read.
    """

    service: FeatureService
    frame: pl.DataFrame
    context: _Context
    recomputed_values: dict[str, pl.Series] = field(default_factory=dict)

    def compared(self, names: Sequence[str]) -> Iterator[Parity]:
        for view in self.service.views:
            comparison = self._view(view)
            if comparison is not None and (not names or view.name in names):
                yield comparison
        if not names and (comparison := self._request_features()) is not None:
            yield comparison

    def _view(self, view: FeatureView) -> Parity | None:
        """A view's values; None where it is in no row."""
        if f"{view.name}__T" not in self.frame.columns or not view.root.freshness.stored:
            return None
        notes: Counter[str] = Counter()
        stream = view.root.freshness.streamed
        rows = self.frame.with_row_index("__row").filter(pl.col(f"{view.name}__T").is_not_null())
        same = rows[VIEWS].is_in(
            [
                text
                for text in rows[VIEWS].unique()
                if json.loads(text).get(view.name) == view.tiles_fingerprint
            ]
        )
        notes["rows of another definition of the view"] += int((~same).sum())
        rows = rows.filter(same)
        if any(
            isinstance(f, FeatureRef) and not self._available(f.name)
            for f in map(view.request_key, view.keys)
        ):
            notes["rows whose key came from a third-party response that was not logged"] += (
                rows.height
            )
            rows = rows.clear()
        if stream:
            notes["rows without a commit"] += rows[f"{view.name}__sequence"].null_count()
            rows = rows.filter(pl.col(f"{view.name}__sequence").is_not_null())
        T, K = (rows[f"{view.name}__{name}"].dt.epoch("us").to_numpy() for name in "TK")
        last_T, last_K = (clock.timestamp(int(times.max(initial=0))) for times in (T, K))
        comparison = Parity(view.name, rows.height, 0, last_T, last_K, 0, [], notes)
        queues = any(feature.aggregation.facts.queue for feature in self.service.needed[view.name])
        streamed = (
            _chains(rows[f"{view.name}__sequence"], T if queues else None)
            if stream
            else [_Chain(np.arange(rows.height), {}, K)]
        )
        for chain in streamed:
            if len(chain.rows):
                comparison = _added(
                    comparison, self._compare_chain(view, rows[chain.rows], T[chain.rows], chain)
                )
        return replace(comparison, notes=+Counter(comparison.notes))

    def _compare_chain(
        self, view: FeatureView, rows: pl.DataFrame, T: I64, chain: _Chain
    ) -> Parity:
        offline = Offline(
            placed(self.context.store, view.root),
            self.context.store,
            self.context.folder,
            self.context.resources,
        )
        events = (
            offline.committed(chain.known)
            if chain.known
            else offline.history(int(T.min()), int(T.max()), int(chain.K.max()))
        )
        key_frame, lists = self._keys(view, rows)
        row_index = np.arange(rows.height) if lists is None else lists.rows
        requests = OfflineRequests(key_frame, T[row_index], chain.K[row_index])
        features = self.service.needed[view.name]
        recomputed = answer(view.root, features, events, requests, self.context.resources)
        mismatches: list[Mismatch] = []
        values = fallbacks = 0
        for feature, of_keys, statuses in zip(
            features, recomputed.values, recomputed.statuses, strict=True
        ):
            name = f"{view.name}__{feature.name}"
            theirs = of_keys if lists is None else lists.lists(of_keys)
            offline_statuses = statuses if lists is None else lists.status_words(statuses)
            self._keep(name, rows, theirs)
            if status_name(name) not in rows.columns:
                continue  # it only feeds another feature
            logged_statuses = rows[status_name(name)].cast(pl.String)
            there = (logged_statuses.is_not_null() & (logged_statuses != "fallback")).to_numpy()
            fallbacks += int((logged_statuses == "fallback").sum())
            values += int(there.sum())
            logged = _typed(rows[name], theirs)

            def size_of(feature: Feature = feature) -> F64:
                return sizes(view.root, feature, events, requests, self.context.resources)

            alike = (
                agree(feature, logged, theirs, size_of)
                if lists is None
                else agree_lists(feature, logged, of_keys, lists, size_of)
            )
            same = (
                (logged_statuses == offline_statuses.cast(pl.String))
                .fill_null(value=False)
                .to_numpy()
            )
            for row in np.flatnonzero(there & ~(alike & same)).tolist():
                reason = (
                    "the value differs"
                    if not alike[row]
                    else (
                        f"the status is {logged_statuses[row]}, and offline {offline_statuses[row]}"
                    )
                )
                keys = {
                    **{key: self._filler(view, key, rows)[row] for key in view.keys},
                    REQUEST: rows[REQUEST][row],
                }
                mismatches.append(Mismatch(name, keys, logged[row], theirs[row], reason))
        notes = {"values that fell back": fallbacks} if fallbacks else {}
        return Parity(
            view.name, 0, values, clock.EPOCH, clock.EPOCH, events.height, mismatches, notes
        )

    def _keep(self, name: str, rows: pl.DataFrame, values: pl.Series) -> None:
        """Recomputed values, at their rows of the whole frame."""
        before = self.recomputed_values.get(name)
        placed = pl.DataFrame({"__row": rows["__row"], name: values})
        whole = self.frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("__row")).join(
            placed, on="__row", how="left", maintain_order="left"
        )
        self.recomputed_values[name] = (
            whole[name] if before is None else before.zip_with(before.is_not_null(), whole[name])
        )

    def _keys(self, view: FeatureView, rows: pl.DataFrame) -> tuple[pl.DataFrame, KeyLists | None]:
        """The view's keys of each row, as the store takes them; where one is a list, of each
        element, and the lists.
        """
        if not view.keys:
            return pl.DataFrame({"": pl.repeat(0, rows.height, eager=True)}), None
        dtypes = OnlineView(view.root, self.context.store).state.dtypes
        columns = {key: self._filler(view, key, rows) for key in view.keys}
        lists = None
        if view.list_key is not None:
            lists, elements = key_lists(
                columns[view.list_key.key], MOST_LENGTH, f"feature view {view.name!r}"
            )
            columns = {
                key: elements if key == view.list_key.key else column.gather(lists.rows)
                for key, column in columns.items()
            }
        return pl.DataFrame(
            [column.cast(dtypes[key], strict=False).alias(key) for key, column in columns.items()]
        ), lists

    def _filler(self, view: FeatureView, key: str, rows: pl.DataFrame) -> pl.Series:
        """What fills a key of the view, of each row."""
        filled = view.request_key(key)
        if isinstance(filled, FeatureRef):
            return (
                rows[filled.name]
                if filled.name in rows.columns
                else self.recomputed_values[filled.name].gather(rows["__row"])
            )
        return _request_column(filled, rows)

    def _request_features(self) -> Parity | None:
        """Request-time features: functions evaluated again on the logged inputs."""
        fields = self.frame.select(
            _request_column(name, self.frame).alias(name)
            for name in self.service.needed_by()
            if {name, f"{PREFIX}given_{name}"} & set(self.frame.columns)
        )
        every = [
            f for f in self.service.request_features if status_name(f.name) in self.frame.columns
        ]
        functions = [
            f for f in every if all(self._available(ref.name) for ref in f.inputs.values())
        ]
        values, mismatches = 0, []
        for function in functions:
            inputs = {p: self._input(ref.name) for p, ref in function.inputs.items()}
            logged_statuses = self.frame[status_name(function.name)].cast(pl.String)
            there = (logged_statuses.is_not_null() & (logged_statuses != "fallback")).to_numpy()
            chosen = np.flatnonzero(there)
            theirs = request_feature(
                function, fields[chosen], {p: series.gather(chosen) for p, series in inputs.items()}
            )
            logged = _typed(self.frame[function.name].gather(chosen), theirs)
            values += len(chosen)
            for row in np.flatnonzero(~_equal(logged, theirs)).tolist():
                keys = {
                    **fields.row(int(chosen[row]), named=True),
                    REQUEST: self.frame[REQUEST][int(chosen[row])],
                }
                mismatches.append(
                    Mismatch(function.name, keys, logged[row], theirs[row], "the value differs")
                )
        others = [
            ref.name
            for ref in self.service.refs
            if ref.view.third_party is not None and ref.name in self.frame.columns
        ]
        notes = {
            "values of third parties, taken from the log": len(others) * self.frame.height,
            "values computed from a third-party response that was not logged": (
                len(every) - len(functions)
            )
            * self.frame.height,
        }
        if not every and not others:
            return None
        at = clock.timestamp(self.frame.select(pl.col(AT).dt.epoch("us").max()).item())
        return Parity(MADE, self.frame.height, values, at, at, 0, mismatches, +Counter(notes))

    def _available(self, name: str) -> bool:
        """Whether a feature was logged or recomputed."""
        return name in self.frame.columns or name in self.recomputed_values

    def _input(self, name: str) -> pl.Series:
        """A feature that fills a parameter: as it was logged, else recomputed."""
        return self.frame[name] if name in self.frame.columns else self.recomputed_values[name]


@dataclass(frozen=True)
class _Chain:
    """Rows that were read at successive commits: their positions, and K as positions of commits, or
    as times.

    known: for each partition the last commit of the last row, and the place of the first of the
    chain's commits that has an event, or the time from which it was read.
    """

    rows: I64
    known: Mapping[str | None, tuple[int, pl.Expr]]
    K: I64


def _chains(logged: pl.Series, times: I64 | None = None) -> list[_Chain]:
    """The rows by the commits that they were read at, in as few chains as come of taking them in
    order.

    times: when each row asked, where K has to be a time, as ends of intervals are known at times;
    rows of a later commit in a chain then asked later. None has positions of commits, which several
    rows of one moment tell apart.
    """
    distinct = {text: sequences(text) for text in logged.unique().to_list()}
    remaining = sorted(distinct, key=lambda text: (sum(distinct[text].values()), text))
    logged_texts = logged.to_list()
    first: dict[str, int] = {}
    last_asked: dict[str, int] = {}
    if times is not None:
        for text, t in zip(logged_texts, times.tolist(), strict=True):
            first[text], last_asked[text] = (
                min(t, first.get(text, t)),
                max(t, last_asked.get(text, t)),
            )
    chains = []
    while remaining:
        chain = [remaining[0]]
        rest: list[str] = []
        for text in remaining[1:]:
            before, after = distinct[chain[-1]], distinct[text]
            grows = all(
                after.get(partition, -1) >= sequence for partition, sequence in before.items()
            )
            later = times is None or first[text] > last_asked[chain[-1]]
            (chain if grows and later else rest).append(text)
        remaining = rest
        position = {
            text: number if times is None else first[text] for number, text in enumerate(chain)
        }
        rows = np.array(
            [row for row, text in enumerate(logged_texts) if text in position], np.int64
        )
        last = distinct[chain[-1]]
        places = list(position.values())
        known = {
            partition: (
                last[partition],
                _first_that_has([distinct[text].get(partition, -1) for text in chain], places),
            )
            for partition in last
        }
        K = (
            np.array([position[logged_texts[row]] for row in rows.tolist()], np.int64)
            if times is None
            else times[rows]
        )
        chains.append(_Chain(rows, known, K))
    return chains


def _first_that_has(commits: Sequence[int], places: Sequence[int]) -> pl.Expr:
    """The place of the first of these rising commits that has the event."""
    index = pl.lit(pl.Series(commits, dtype=pl.Int64)).search_sorted(
        pl.col(SEQUENCE).cast(pl.Int64), side="left"
    )
    # none of them has it
    return pl.lit(pl.Series([*places, places[-1] + 1], dtype=pl.Int64)).gather(index)


def _request_column(name: str, rows: pl.DataFrame) -> pl.Series:
    """A column of the request, as it was sent."""
    sent = f"{PREFIX}given_{name}"
    return rows[sent] if sent in rows.columns else rows[name]


def _typed(logged: pl.Series, computed: pl.Series) -> pl.Series:
    """The logged values in the dtype that training gives, where that says the same."""
    if logged.dtype == computed.dtype or (logged.dtype.is_nested() and computed.dtype.is_nested()):
        return logged
    cast = logged.cast(computed.dtype, strict=False)
    return cast if cast.null_count() == logged.null_count() else logged


def _equal(a: pl.Series, b: pl.Series) -> Bool:
    if a.dtype.is_nested() or a.dtype != b.dtype:
        return same_values(a, b)
    return np.asarray(a.eq_missing(b).to_numpy(), np.bool_)
