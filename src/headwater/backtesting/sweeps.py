"""Levels for two questions: how soon outcomes must be known, and the gain of each of the two
transitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.definitions.checks import Duration, micros, text
from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Freshness, batch, on_request
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.model import Model, Precomputed, precomputed
from headwater.definitions.project import checked_call
from headwater.definitions.source import Source, bottom_of
from headwater.errors import UsageError
from headwater.training.leak_checks import filter_columns, label_columns

_NIGHTLY = batch("1d", delay="4h")


@checked_call
def sweep_known_after(
    model: Model,
    delays: Sequence[Duration],
    *,
    sources: Sequence[Source | Labels] | None = None,
    level: Level | None = None,
) -> dict[str, Level]:
    """A level for each delay, at which outcomes are known so long after what they are the outcome
    of.

    Known sooner, an outcome trains earlier and is in the features that are made of outcomes; known
    later, neither.

    Args:
        model: whose outcomes.
        delays: such as ["7d", "1d", "1h"], the slowest first.
        sources: the sources, and labels, that are known so soon; None takes the model's labels and
            every source that selects a column which the label is made of.
        level: the freshness of everything else; as defined where None.

    Raises:
        UsageError: no delays.
        DefinitionError: a delay that an outcome(...) with a horizon cannot have.

    >>> import headwater as hw, polars as pl
    >>> table = pl.DataFrame({"terminal": [1], "at": [0], "fraud": [False], "known": [0]})
    >>> disputes = hw.Source(
    ...     "disputes",
    ...     history=table,
    ...     timestamp_field="at",
    ...     known_at_field="known",
    ...     select=["terminal", "fraud"],
    ... )
    >>> view = hw.FeatureView(
    ...     "terminal",
    ...     source=disputes,
    ...     keys=["terminal"],
    ...     features=[hw.mean("fraud")],
    ...     windows=["7d"],
    ...     freshness=hw.batch("1d"),
    ... )
    >>> labels = hw.Labels(
    ...     "disputed", table=table, timestamp_field="at", label="fraud", known_at_field="known"
    ... )
    >>> model = hw.Model(
    ...     "fraud", task="binary", features=hw.FeatureService("v1", [view]), labels=labels
    ... )
    >>> for name, level in sweep_known_after(model, ["7d", "1d"]).items():
    ...     print(
    ...         name,
    ...         "|",
    ...         ", ".join(f"{given.name} {delay}" for given, delay in level.known_after.items()),
    ...     )
    known after 7d | disputed 7d, disputes 7d
    known after 1d | disputed 1d, disputes 1d
    """
    if isinstance(delays, str) or not len(delays):
        raise UsageError(
            f"sweep_known_after(delays={delays!r}): give a list of durations, such as ['7d', "
            "'1d', '1h']"
        )
    swept: tuple[Source | Labels, ...] = (
        (model.labels, *_of_outcomes(model)) if sources is None else tuple(sources)
    )
    base = level or Level()
    durations = {text(micros(delay, "sweep_known_after(delays)")) for delay in delays}
    if len(durations) < len(delays):
        raise UsageError(f"sweep_known_after(delays={list(delays)!r}): a delay is repeated")
    levels = {}
    for delay in delays:
        soon: dict[Source | Labels, Duration] = dict(base.known_after.items())
        soon.update(dict.fromkeys(swept, delay))
        levels[f"known after {text(micros(delay, 'a delay'))}"] = Level(
            base.features, base.predictions, soon
        )
    return levels


def _of_outcomes(model: Model) -> list[Source]:
    """The sources with events that tell an outcome; of an enriched source, the sources below it."""
    bottoms = {source.name: bottom_of(source) for source in model.features.sources}
    return [s for s in bottoms.values() if s.changes is None and (_names_columns(s, model.labels))]


def _names_columns(source: Source, labels: Labels) -> bool:
    return not isinstance(source.history, Enriched) and bool(
        label_columns(source, labels) or filter_columns(source, labels)
    )


@checked_call
def transitions(
    model: Model,
    *,
    nightly: Freshness = _NIGHTLY,
    fresh: Freshness | Mapping[FeatureView, Freshness] | None = None,
    keys: Sequence[str] | None = None,
) -> dict[str, Level]:
    """The standard levels of the two transitions to real time, starting with precomputed
    predictions.

    The first step, to predictions on request with features as old as before, also answers keys
    without a precomputed prediction, and reads fields of the request. The second makes the features
    fresher.

    Args:
        model: whose levels.
        nightly: when predictions are precomputed, and how old features are in the first two levels.
        fresh: the features of the last level; at the request time if None.
        keys: the keys of precomputed predictions, such as ["user"]; None takes those of the model's
            own `precomputed(...)`, or the one column that views are keyed by.

    Raises:
        UsageError: views have several keys, and none was named.

    >>> import headwater as hw, polars as pl
    >>> clicks = hw.Source(
    ...     "clicks", history=pl.DataFrame({"user": [1], "at": [0]}), timestamp_field="at"
    ... )
    >>> user = hw.FeatureView(
    ...     "user",
    ...     source=clicks,
    ...     keys=["user"],
    ...     features=[hw.count()],
    ...     windows=["1d"],
    ...     freshness=hw.batch("1d"),
    ... )
    >>> labels = hw.Labels(
    ...     "bought",
    ...     table=pl.DataFrame({"user": [1], "at": [0], "y": [0]}),
    ...     timestamp_field="at",
    ...     label="y",
    ...     known_after="1h",
    ... )
    >>> list(
    ...     transitions(
    ...         hw.Model(
    ...             "m", task="binary", features=hw.FeatureService("v1", [user]), labels=labels
    ...         )
    ...     )
    ... )
    ['precomputed', 'on request', 'fresher features']
    """
    chosen = tuple(keys) if keys is not None else _keys(model)
    live = fresh if fresh is not None else on_request()
    return {
        "precomputed": Level(nightly, precomputed(nightly, keys=chosen)),
        "on request": Level(nightly, on_request()),
        "fresher features": Level(live, on_request()),
    }


def _keys(model: Model) -> tuple[str, ...]:
    if isinstance(model.predictions, Precomputed):
        return model.predictions.keys
    items = (model.ranking.item,) if model.ranking is not None else ()
    named = {
        key
        for view in model.features.views
        if view.list_key is None
        for key in map(view.request_key, view.keys)
        if isinstance(key, str)
    } - set(items)
    if len(named) != 1:
        raise UsageError(
            f"transitions(): views of model {model.name!r} are keyed by "
            f"{', '.join(sorted(named)) or 'nothing'}; name the keys of the precomputed "
            "predictions, as in keys=['user']"
        )
    return tuple(named)
