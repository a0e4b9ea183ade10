"""The leak audit at run time: label rows counted before their outcome was known, and features too good to be true."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from headwater.backtesting.intervals import evaluate
from headwater.backtesting.levels import LevelRows
from headwater.backtesting.metrics import Blocks, resolve
from headwater.backtesting.result import LeakFinding
from headwater.backtesting.split import Split
from headwater.compute.arrays import F64
from headwater.connectors import scan
from headwater.definitions.aggregation import count
from headwater.definitions.columns import output_name, root_columns
from headwater.definitions.connectors import Frame
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.source import Source
from headwater.engines.events import Notes
from headwater.engines.reading import collect, moment, selected
from headwater.pipelines.historical import feature_frames
from headwater.pipelines.leaks import label_columns, label_known
from headwater.pipelines.requests import Requests

_SAME = 0.9  # share of the labels' rows that must stand in a source's table for it to be the labels' own
_ALONE = 0.95  # an AUC (or rank correlation) that no honest feature reaches by itself
_SAMPLE = 50_000
_LABEL_KNOWN, _BOTH_KNOWN = "__label_known", "__both_known"


def audit(
    model: Model, levels: Mapping[str, Level], requests: Requests, rows: Mapping[str, LevelRows], y: F64, parts: Split, threads: int | None
) -> list[LeakFinding]:
    """Every finding, at the freshest level; one that says so where there is none."""
    freshest = list(levels)[-1]
    findings: list[LeakFinding] = []
    if levels[freshest].reads_history(model):
        for view in _representatives(model):
            finding = _label_rows(view, model, levels[freshest], requests, threads)
            if finding is not None:
                findings.append(finding)
    findings += _implausible(rows[freshest].frame, y, np.flatnonzero(parts.train), model.task)
    if all(f.severity == "ok" for f in findings):
        looked = len({v.source.name for v in model.features.views})
        findings.append(
            LeakFinding(
                "clean", "ok", "all", [], 0.0, f"no leak found: {looked} sources and {len(rows[freshest].frame.columns)} features looked at"
            )
        )
    return findings


def _representatives(model: Model) -> list[FeatureView]:
    """For each source, its view of the longest reach; aliases see the same rows."""
    best: dict[str, FeatureView] = {}
    for view in model.features.views:
        if view.source.history is not None and (view.source.name not in best or len(view.keys) < len(best[view.source.name].keys)):
            best[view.source.name] = view
    return list(best.values())


def _label_rows(view: FeatureView, model: Model, level: Level, requests: Requests, threads: int | None) -> LeakFinding | None:
    """Whether events that are rows of the labels' own table count before their outcome is known."""
    source, labels = level.source(view), model.labels
    matched = _matched(source, labels)
    if matched is None:
        return None
    counts = _counts(view, source, matched, level, requests, threads)
    early = (counts["seen__count"] - counts["mature__count"]).to_numpy() > 0
    share = float(early.mean())
    if share == 0:
        return None
    read = {c for v in model.features.views if v.source is view.source for c in _value_columns(v)}
    used = sorted(_used(view.source, labels, read))
    made_of_label = sorted(set(label_columns(source, labels)) & read)
    at_request = _roots(source, source.timestamp_field) <= _request_roots(labels)
    leaks = bool(made_of_label) or (at_request and bool(used))
    named = ", ".join(made_of_label or used) or "none but the count"
    if leaks:
        message = (
            f"{share:.1%} of requests count events of source {source.name!r} that are rows of the labels' own table whose outcome was not known "
            f"by then; columns read from them: {named}. "
            f"They are said to be known at {source.known_at_field or source.timestamp_field}, the request's own moment: place the source at the "
            "timestamp when these columns are really known."
        )
        return LeakFinding("label rows", "leak", source.name, made_of_label or used, share, message)
    message = (
        f"{share:.1%} of requests count rows of the labels' own table before their outcome was known; source {source.name!r} reads {named} from them, "
        f"which it declares known at {source.known_at_field or source.timestamp_field}."
    )
    return LeakFinding("label rows", "ok", source.name, used, share, message)


def _counts(
    view: FeatureView, source: Source, matched: pl.DataFrame, level: Level, requests: Requests, threads: int | None
) -> pl.DataFrame:
    """How many label rows each request counts, as the source says they are known, and as their labels are."""
    extra = [pl.col(_LABEL_KNOWN), pl.col(_BOTH_KNOWN)]
    select = None if source.select is None else [*source.select, *extra]
    # The whole of a table without `select` was looked at before; here its later columns are ours.
    select = select or [pl.col(c) for c in matched.columns]
    base = Source(
        source.name,
        history=matched,
        timestamp_field=source.timestamp_field,
        select=select,
        filter=source.filter,
        known_at_field=source.known_at_field,
        known_after=source.known_after,
        timezone=source.timezone,
    )
    mature = Source(
        source.name,
        history=matched,
        timestamp_field=source.timestamp_field,
        select=select,
        filter=source.filter,
        known_at_field=_BOTH_KNOWN,
        timezone=source.timezone,
    )
    longest = max((f.window for f in view.outputs), key=lambda w: (w.length is None, w.length or 0))
    windows = None if longest.length is None else [longest]
    pair = [
        FeatureView(
            name,
            source=s,
            keys=view.keys,
            features=[count(name="count", windows=windows)],
            freshness=level.freshness(view),
            request_keys=view.request_keys,
        )
        for name, s in (("seen", base), ("mature", mature))
    ]
    plain = Requests(requests.frame, requests.t)
    frame = feature_frames(FeatureService("audit", pair), plain, {"": Level()}, Notes(), threads=threads)[""]
    return frame.rename({c: c.split("__")[0] + "__count" for c in frame.columns})


def _matched(source: Source, labels: Labels) -> pl.DataFrame | None:
    """The source's table with when the outcome of each row was known, if its rows are those of the labels' table.

    Rows are the same where all columns that both tables have are equal, and these tell rows apart.
    """
    mine, theirs = scan(source.table), scan(labels.data)
    schema, other = mine.collect_schema(), theirs.collect_schema()
    common = [c for c, d in schema.items() if other.get(c) == d]
    if source.timestamp_field not in common and len(common) < 2:
        return None
    kept = selected(
        labels.data, labels.select, None, [c for c in (labels.timestamp_field, labels.known_at_field) if c], f"labels {labels.name!r}"
    )
    known = collect(kept.frame.select(label_known(labels, kept.schema).alias(_LABEL_KNOWN)), "labels")[_LABEL_KNOWN]
    row_of = collect(theirs.select(common), "labels").hash_rows(seed=1).rename("__row")
    table = collect(mine, f"source {source.name!r}")
    keyed = pl.DataFrame([row_of, known.fill_null(2**61)]).unique("__row")
    if keyed.height < _SAME * len(row_of):
        return None
    joined = table.with_columns(table.select(common).hash_rows(seed=1).alias("__row")).join(keyed, on="__row", how="inner")
    if joined.height < _SAME * keyed.height:
        return None
    what = f"source {source.name!r}"
    chosen = selected(Frame(joined), source.select, None, [c for c in (source.timestamp_field, source.known_at_field) if c], what)
    mine_known = collect(
        chosen.frame.select(
            (moment(source.known_at_field or source.timestamp_field, chosen.schema, source.timezone, what) + source.delay).alias("k")
        ),
        what,
    )["k"]
    both = pl.Series(_BOTH_KNOWN, np.maximum(mine_known.fill_null(2**61).to_numpy(), joined[_LABEL_KNOWN].to_numpy()))
    # Beyond any time that rows ask at, and still a date that can be told.
    far = pl.lit(4_000_000_000_000_000)
    as_time = [pl.min_horizontal(pl.col(c), far).cast(pl.Datetime("us", "UTC")) for c in (_LABEL_KNOWN, _BOTH_KNOWN)]
    return joined.drop("__row").with_columns(both).with_columns(as_time)


def _value_columns(view: FeatureView) -> set[str]:
    """What the view reads from an event beside its keys; an `until` is masked by time, so it tells nothing early."""
    names = {c for a in view.features if not a.function.startswith("open_") for c in a.columns}
    return names | {a.where for a in view.features if a.where}


def _used(source: Source, labels: Labels, columns: set[str]) -> set[str]:
    """The columns whose values the request does not carry itself."""
    carried = _request_roots(labels)
    return {c for c in columns if not _roots(source, c) <= carried}


def _roots(source: Source, column: str) -> frozenset[str]:
    made = next((i for i in source.select or () if output_name(i) == column), column)
    return root_columns(made)


def _request_roots(labels: Labels) -> frozenset[str]:
    made = next((i for i in labels.select or () if output_name(i) == labels.timestamp_field), labels.timestamp_field)
    return root_columns(made)


def _implausible(frame: pl.DataFrame, y: F64, train: np.ndarray[tuple[int], np.dtype[np.int64]], task: str) -> list[LeakFinding]:
    """Features that by themselves nearly say the outcome."""
    rows = train if len(train) <= _SAMPLE else train[np.linspace(0, len(train) - 1, _SAMPLE).astype(np.int64)]
    findings = []
    for series in frame[rows].get_columns():
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            continue
        known = series.is_not_null().to_numpy()
        if known.sum() < max(100, 0.01 * len(rows)):
            continue
        alone = _alone(series.filter(pl.Series(known)).cast(pl.Float64).to_numpy(), y[rows][known], task)
        if alone >= _ALONE:
            measure = "AUC" if task == "binary" else "rank correlation"
            message = f"the feature {series.name!r} reaches {measure} {alone:.3f} by itself on the training rows; check that it is known before the outcome"
            findings.append(LeakFinding("implausible feature", "warning", series.name, [series.name], float(known.mean()), message))
    return findings


def _alone(value: F64, y: F64, task: str) -> float:
    if len(np.unique(y)) < 2 or len(np.unique(value)) < 2:
        return 0.5
    if task == "binary":
        rank = pl.Series(value).rank("average").to_numpy()
        auc = float(evaluate(resolve(["auc"], "binary"), y, {"": rank / len(rank)}, Blocks.whole(len(y))).values[0, 0])
        return max(auc, 1 - auc)
    return abs(float(np.corrcoef(pl.Series(value).rank().to_numpy(), pl.Series(y).rank().to_numpy())[0, 1]))
