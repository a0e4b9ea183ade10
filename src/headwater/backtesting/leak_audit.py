"""The leak audit at run time: label rows counted before their outcome was known, and features too good to be true."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.backtesting.levels import LevelRows
from headwater.backtesting.split import Split
from headwater.connectors import scan
from headwater.definitions.aggregation import count
from headwater.definitions.columns import output_name, root_columns
from headwater.definitions.connectors import Frame
from headwater.definitions.enriched import bottom_of, enrich, table_columns
from headwater.definitions.feature_service import Enriched, FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.source import Source
from headwater.definitions.tasks import TASKS, TaskType
from headwater.events.read_events import Notes
from headwater.events.selection import collect, selected, timestamp_micros
from headwater.kernel.arrays import F64, I64, Bool
from headwater.results.estimate import LeakFinding
from headwater.training.feature_frames import enriched_events, feature_frames
from headwater.training.leak_checks import filter_columns, label_columns, label_known
from headwater.training.precomputed_rows import reading
from headwater.training.requests import Requests
from headwater.training.resources import Resources

_SAME = 0.9  # share of the labels' rows that must stand in a source's table for it to be the labels' own
_ALONE = 0.95  # an AUC (or rank correlation) that no honest feature reaches by itself
_FEWEST = 100  # rows that such a measure needs
_SAMPLE = 20_000
_LATE = 4_000_000_000_000_000  # beyond any time that rows ask at, and still a date that can be told
_MINE, _BOTH = "__mine_known", "__both_known"


def audit(
    model: Model, levels: Mapping[str, Level], requests: Requests, rows: Mapping[str, LevelRows], y: F64, parts: Split, threads: int | None
) -> list[LeakFinding]:
    """Every finding, at the freshest level; one that says so where there is none.

    Shares are those of at most 20,000 rows, evenly spaced.
    """
    freshest = list(levels)[-1]
    sample = _spread(np.arange(len(requests.t)))
    views, level, reads = reading(model, levels[freshest], requests.t[sample])
    at = Requests(requests.frame[sample], reads)
    results = [_label_rows(view, model, level, at, threads) for view in _furthest(views, level)]
    results += [_label_rows(view, model, Level(), events, threads, who) for view, events, who in _enriching(views, level)]
    findings = [finding for finding in results if finding is not None]
    findings += _implausible(rows[freshest].frame, y, np.flatnonzero(parts.train & rows[freshest].answered), model.task_type)
    if all(f.severity == "ok" for f in findings):
        looked = len({s.name for s in FeatureService("looked", list(views)).sources}) if views else 0
        message = f"no leak found: {looked} sources and {len(rows[freshest].frame.columns)} features looked at"
        findings.append(LeakFinding("clean", "ok", "all", [], 0.0, message))
    return findings


def _furthest(views: Sequence[FeatureView], level: Level) -> list[FeatureView]:
    """For each source, its view of the longest reach (of several, the one with the fewest keys) that reads history at this level."""

    def reach(view: FeatureView) -> tuple[float, int]:
        return max(np.inf if f.window.length is None else f.window.reach or 0 for f in view.outputs), -len(view.keys)

    best: dict[str, FeatureView] = {}
    for view in views:
        if view.source.history is None or not level.freshness(view).reads_events:
            continue
        if view.source.name not in best or reach(view) > reach(best[view.source.name]):
            best[view.source.name] = view
    return list(best.values())


def _enriching(views: Sequence[FeatureView], level: Level) -> Iterator[tuple[FeatureView, Requests, str]]:
    """The views that events are enriched with, the events that ask for them (at most 20,000, evenly spaced), and what to call these."""
    seen: set[str] = set()
    pending = [v for v in views if v.source.history is not None and level.freshness(v).reads_events]
    while pending:
        source = pending.pop(0).source
        while isinstance(source.history, Enriched):
            base, features = source.history.base, source.history.features
            if source.name not in seen and base.history is not None:
                seen.add(source.name)
                events = enriched_events(source)
                sample = events.take(_spread(np.arange(len(events.t))))
                yield from ((view, sample, f"the events of source {base.name!r}") for view in _furthest(features.views, Level()))
                pending += features.views
            source = base


def _label_rows(
    view: FeatureView, model: Model, level: Level, requests: Requests, threads: int | None, who: str = "requests"
) -> LeakFinding | None:
    """Whether events that are rows of the labels' own table count before their outcome is known.

    Sources count as they are defined: a level that asks what if events were known sooner claims nothing.
    """
    source, labels = view.source, model.labels
    bottom = bottom_of(source)
    matched = _matched(bottom, labels)
    if matched is None:
        return None
    early = _counts_early(view, source, matched.rows, level, requests, threads)
    share = float(early.mean())
    if share == 0:
        return None
    read = {
        c
        for v in (*model.features.views_within, *model.features.views_in_history)
        if v.source.name == source.name
        for c in _value_columns(v)
    }
    made_of_label = sorted({*(set(label_columns(source, labels)) & read), *filter_columns(source, labels)})
    used = sorted(c for c in read if not table_columns(source, c) <= _carried(model))
    says = f"It says that they are known at {_rule(bottom)}"
    shown = f"{share:.1%} of {who} count events of source {source.name!r} that are rows of the labels' own table"
    if made_of_label:
        message = (
            f"{shown} whose outcome was not known by then; columns read from them: {', '.join(made_of_label)}, which the label is made of. "
            f"{says}: give the source the timestamp when these columns are really known, or leave them out"
        )
        return LeakFinding("label rows", "leak", source.name, made_of_label, share, message)
    if used and matched.at_request:
        message = (
            f"{shown} whose outcome was not known by then; columns read from them: {', '.join(used)}. {says}, which follows from the request's "
            "own time: if they are known later, give the source the timestamp when they really are"
        )
        return LeakFinding("label rows", "warning", source.name, used, share, message)
    message = f"{shown}, before their outcome was known; columns read from them: {', '.join(used) or 'none that tells it'}. {says}"
    return LeakFinding("label rows", "ok", source.name, used, share, message)


def _counts_early(view: FeatureView, source: Source, matched: pl.DataFrame, level: Level, requests: Requests, threads: int | None) -> Bool:
    """Whether each request counts a row that would not be there, were rows known with their labels."""
    at = _MINE if source.window_on == "known_at" else source.timestamp_field
    corrected = _over(source, matched)
    as_said = dataclasses.replace(
        corrected, timestamp_field=at, known_at_field=_MINE, known_after="0s", window_on="timestamp", id_field=None, changes=None
    )
    furthest = max((f.window for f in view.outputs), key=lambda w: (w.length is None, w.reach or 0))
    pair = [
        FeatureView(
            name,
            source=dataclasses.replace(as_said, known_at_field=known),
            keys=view.keys,
            features=[count(name="count", windows=None if furthest.length is None else [furthest])],
            freshness=level.freshness(view),
            request_keys=view.request_keys,
        )
        for name, known in (("seen", _MINE), ("mature", _BOTH))
    ]
    frame = feature_frames(FeatureService("audit", pair), requests, {"": Level()}, Notes(), Resources(threads))[""]
    seen, mature = frame.get_columns()
    return np.asarray((seen > mature).to_numpy(), np.bool_)


def _over(source: Source, matched: pl.DataFrame) -> Source:
    """The source over these rows, or its base where it is enriched, with both times of each."""
    extra = [pl.col(_MINE), pl.col(_BOTH)]
    select = None if source.select is None else [*source.select, *extra]
    if isinstance(source.history, Enriched):
        return enrich(
            _over(source.history.base, matched), source.name, source.history.features.features, select=select, filter=source.filter
        )
    return dataclasses.replace(source, history=matched, select=select or matched.columns)


@dataclass(frozen=True)
class _Matched:
    """Rows of a source that are the labels' own, with when each is known and when with its label too.

    at_request: the time at which the source places them follows from the request's.
    """

    rows: pl.DataFrame
    at_request: bool


def _matched(source: Source, labels: Labels) -> _Matched | None:
    """The source's rows that are those of the labels' table; None where these are few.

    Rows are the same where all columns that both tables have are equal, and these tell rows apart.
    """
    mine, theirs = scan(source.table), scan(labels.data)
    schema, other = mine.collect_schema(), theirs.collect_schema()
    common = [c for c, d in schema.items() if other.get(c) == d]
    if source.timestamp_field not in common and len(common) < 2:
        return None
    what, of_labels = f"source {source.name!r}", f"labels {labels.name!r}"
    raw = [c for c in (labels.timestamp_field, labels.known_at_field) if c]
    kept = selected(labels.data, labels.select, None, raw, of_labels)
    times = [
        label_known(labels, kept.schema).alias("label_known"),
        timestamp_micros(labels.timestamp_field, kept.schema, labels.timezone, of_labels).alias("asked"),
    ]
    row_of = collect(theirs.select(common), of_labels).hash_rows(seed=1).rename("row")
    keyed = pl.DataFrame([row_of, *collect(kept.frame.select(times), of_labels)]).unique("row", keep="first")
    if keyed.height < _SAME * len(row_of):
        return None
    table = collect(mine, what)
    matching = pl.DataFrame([table.select(common).hash_rows(seed=1).rename("row")]).join(keyed, on="row", how="left", maintain_order="left")
    is_there = matching["asked"].is_not_null()
    if is_there.sum() < _SAME * keyed.height:
        return None
    table, matching = table.filter(is_there), matching.filter(is_there)
    own = [c for c in (source.timestamp_field, source.known_at_field) if c]
    chosen = selected(Frame(table), source.select, None, own, what)
    event = timestamp_micros(source.known_at_field or source.timestamp_field, chosen.schema, source.timezone, what, days=True)
    at = collect(chosen.frame.select(event.alias("at")), what)["at"]
    known = (at + source.delay).fill_null(_LATE)
    both = (
        pl.DataFrame([known.alias("a"), matching["label_known"].fill_null(_LATE).alias("b")])
        .select(pl.max_horizontal("a", "b"))
        .to_series()
    )
    as_times = [s.clip(upper_bound=_LATE).cast(pl.Datetime("us", "UTC")).alias(name) for s, name in ((known, _MINE), (both, _BOTH))]
    return _Matched(table.with_columns(as_times), source.delay == 0 and _follows((at - matching["asked"]).drop_nulls().to_numpy()))


def _follows(offset: I64) -> bool:
    """Whether a time lies before the request, or always as long after it: it then says nothing of when the outcome came."""
    return bool(len(offset)) and float(((offset <= 0) | (offset == np.median(offset))).mean()) > 0.99


def _value_columns(view: FeatureView) -> set[str]:
    """The columns that the view reads from an event besides its keys; an `until` is masked by time, so it cannot leak."""
    names = {c for a in view.features if not a.facts.queue for c in a.columns}
    return names.union(*(a.extra_columns for a in view.features))


def _carried(model: Model) -> frozenset[str]:
    """The columns of the labels' table that a request knows: those that the model asks of it, and those that the labels select
    besides the outcome and when it was known.
    """
    labels = model.labels
    names = {labels.timestamp_field, *model.features.needed_by()}
    if labels.select is not None:
        names |= {output_name(item) for item in labels.select} - {labels.label_name, labels.known_at_field or ""}
    return frozenset().union(*(_roots(labels.select, name) for name in names)) - labels.label_roots


def _roots(select: Sequence[str | pl.Expr] | None, name: str) -> frozenset[str]:
    """The columns of the labels' table that one that they select is made of."""
    item_or_name = next((item for item in select or () if output_name(item) == name), name)
    return root_columns(item_or_name)


def _rule(source: Source) -> str:
    if source.known_at_field:
        return source.known_at_field
    return source.timestamp_field + (f" + {source.known_after}" if source.delay else "")


def _spread(rows: I64) -> I64:
    """At most `_SAMPLE` of the rows, evenly spaced."""
    return rows if len(rows) <= _SAMPLE else rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]


def _implausible(frame: pl.DataFrame, y: F64, train: I64, task: TaskType) -> list[LeakFinding]:
    """Features that by themselves nearly say the outcome: by their value, or by whether there is one."""
    rows = _spread(train)
    outcome, measure = y[rows], "AUC" if task.separates else "rank correlation"
    findings = []
    for series in frame[rows].get_columns():
        value = _numbers(series, outcome)
        there = series.is_not_null().to_numpy()
        measures = [(0.0, 0.0, "")] if there.all() else [(_alone(there.astype(np.float64), outcome, task), 1.0, "by being there or not")]
        if value is not None:
            known = ~np.isnan(value)
            measures.append((_alone(value[known], outcome[known], task), float(there.mean()), "by itself"))
        alone, share, how = max(measures)
        if alone >= _ALONE:
            message = f"the feature {series.name!r} reaches {measure} {alone:.3f} {how} on the training rows; check that it is known before the outcome"
            findings.append(LeakFinding("implausible feature", "warning", series.name, [series.name], share, message))
    return findings


def _numbers(series: pl.Series, y: F64) -> F64 | None:
    """The feature as float64 (rows), NaN for missing; of a text, the mean outcome of its category in every second row, for the others."""
    if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Date) or isinstance(series.dtype, pl.Datetime | pl.Duration):
        return series.to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy()
    if series.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return None
    rows = pl.DataFrame({"text": series.cast(pl.String), "y": y, "taught": np.arange(len(y)) % 2 == 0})
    taught = rows.filter("taught").group_by("text").agg(pl.col("y").mean().alias("mean"))
    means = rows.join(taught, on="text", how="left", maintain_order="left")
    return means.select(pl.when(~pl.col("taught")).then("mean").fill_null(np.nan)).to_series().to_numpy()


def _alone(value: F64, y: F64, task: TaskType) -> float:
    """The AUC, in whichever direction, or the absolute rank correlation of one feature; 0.5 or 0 where it cannot be told."""
    if len(y) < _FEWEST or np.ptp(value) == 0 or np.ptp(y) == 0:
        return 0.0
    if task.classes:
        return max(_alone(value, (y == c) * 1.0, TASKS["binary"]) for c in np.unique(y))
    rank = pl.Series(value).rank("average").to_numpy()
    if task.positives:
        positives = y.sum()
        # Mann and Whitney, 1947: the share of pairs of a positive and a negative row that the ranks put in order.
        auc = (rank[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
        return float(max(auc, 1 - auc))
    return abs(float(np.corrcoef(rank, pl.Series(y).rank("average").to_numpy())[0, 1]))
