"""A backtest's definitions and assumptions in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.backtesting.row_blocks import MIN_BLOCKS
from headwater.backtesting.sign_flips import are_few
from headwater.definitions.evaluations import Evaluation, Refits
from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.source import Source
from headwater.results.backtest_result import Value
from headwater.results.blocks_result import BlocksResult


def definitions_text(model: Model, levels: Mapping[str, Level]) -> str:
    """The model, its labels, views and levels, a line each."""
    labels = model.labels
    known_text = (
        f"known {labels.known_after} after the request"
        if labels.known_after is not None
        else f"known at {labels.known_at_field}"
        if labels.known_at_field
        else "known at its horizon"
    )
    lines = [
        (
            f"model {model.name}: {model.task}, {len(model.features.feature_names)} features of "
            f"service {model.features.name}"
        ),
        (
            f"labels {labels.name}: {labels.label_name}, asked at {labels.timestamp_field}, "
            f"{known_text}"
        ),
    ]
    lines += [f"view {view.name}: {_view(view)}" for view in model.features.views_within]
    lines += [
        f"third party {http.name}: {_third_party(http)}" for http in model.features.http_features
    ]
    lines += [f"request field {f.name}: {f.dtype.__name__}" for f in model.features.request_fields]
    lines += [
        f"request feature {f.name}({', '.join(f.parameters)})"
        for f in model.features.request_features
    ]
    lines += [f"level {name}: {level.describe(model)}" for name, level in levels.items()]
    return "\n".join(lines)


def _view(view: FeatureView) -> str:
    keys = ", ".join(_key(view, key) for key in view.keys)
    functions = ", ".join(
        dict.fromkeys(f"{a.function}({', '.join(a.columns)})" for a in view.features)
    )
    windows = ", ".join(dict.fromkeys(f.window.suffix for f in view.outputs))
    source = view.source
    return (
        f"{functions} over {windows} by ({keys}) of source {source.name}{_events(source)}; "
        f"{view.freshness}"
    )


def _key(view: FeatureView, key: str) -> str:
    """A key, and what fills it."""
    filled = view.request_key(key)
    name = filled if isinstance(filled, str) else filled.name
    if view.list_key is not None and key == view.list_key.key:
        return f"{key} = each of {name}"
    return key if name == key else f"{key} = {name}"


def _third_party(http: HttpFeatures) -> str:
    source = http.view.source
    known_text = (
        f"answers of source {source.name}{_events(source)}, the latest before the request"
        if http.trains
        else "not in training"
    )
    return (
        f"{', '.join(http.response)} by ({', '.join(http.request)}) from {http.place}; {known_text}"
    )


def _events(source: Source) -> str:
    if isinstance(source.history, Enriched):
        return f" ({source.history}), known as late as the last of these"
    known_text = source.known_at_field or (
        f"{source.timestamp_field} + {source.known_after}"
        if source.delay
        else source.timestamp_field
    )
    return f" at {source.timestamp_field}, known at {known_text}"


def assumptions(model: Model, refits: Refits) -> Sequence[str]:
    """What holds only if the world does not react to the model."""
    paragraphs = """
The requests, events and outcomes are those of the past. A model that acts on its predictions
changes them: what it blocks, shows or prices leads to other events than were recorded.

Where requests share something (stock, drivers, attention, attackers), helping one changes another;
the lift of a live model can be smaller or larger than here. A randomised experiment in production
tells.

Each level's features are as old as its freshness promises. Jobs that fail or fall behind are older;
measured ages from a serving log show what production really gives.

Intervals come from resampling parts of the test period (MODEL was trained TIMES a level): they hold
for days like these, not for a season or a shock that the data do not contain.
"""
    fits = refits.seeds + refits.days
    times = "once" if fits == 1 else f"{fits} times"
    return tuple(
        " ".join(paragraph.split())
        for paragraph in paragraphs.replace("MODEL", model.name)
        .replace("TIMES", times)
        .strip()
        .split("\n\n")
    )


def how_sure(
    evaluation: Evaluation,
    blocks: BlocksResult,
    refits: Refits | None,
    seconds: Mapping[str, float] | None = None,
) -> str:
    """How intervals were made, what they cover and what that cost, in sentences.

    Args:
        evaluation: with the resamples.
        blocks: that were resampled.
        refits: of each level; None where nothing was trained.
        seconds: "refits" and "total", where they were measured.

    >>> days = BlocksResult("days", 30, 30, "", "as asked for")
    >>> how_sure(Evaluation(resamples=500), days, Refits(0))
    '95 % intervals from 500 resamples of 30 test days (as asked for). Each level was trained once: intervals cover the fitted models only.'
    >>> how_sure(Evaluation(), days, Refits(5), {"refits": 12.0, "total": 40.0})[-57:]
    'Each level was trained 6 times: refits took 12 s of 40 s.'
    >>> how_sure(Evaluation(), BlocksResult("days", 9, 9, "", "as asked for", 1.2), Refits(0))[:114]
    '95 % intervals by turned signs of 9 test days; a few have most rows: they weigh like 1.2 equal ones (as asked for)'
    >>> how_sure(Evaluation(), BlocksResult("hours", 48, 2, "on these 2 days", "hours"), Refits(0))[
    ...     -68:
    ... ]
    'They hold on these 2 days: no other day was seen, so none is a LIFT.'
    """  # noqa: E501
    drawn = (
        f"{blocks.count:,} test {blocks.describes}"
        if blocks.describes in ("days", "hours")
        else f"{blocks.count:,} {blocks.describes} of the test"
    )
    start = f"95 % intervals from {evaluation.resamples:,} resamples of {drawn} ({blocks.why})"
    if blocks.effective is not None and are_few(blocks.effective) and blocks.count >= MIN_BLOCKS:
        uneven = f"a few have most rows: they weigh like {blocks.effective:.1f} equal ones"
        start = f"95 % intervals by turned signs of {drawn}; {uneven} ({blocks.why})"
    lacks = "no other day was seen" if blocks.periods < MIN_BLOCKS else "they depend on one another"
    end = f" They hold {blocks.on}: {lacks}, so none is a LIFT." if blocks.on else ""
    if refits is None:
        return f"{start}. Nothing was trained here: intervals cover these scores only.{end}"
    fits = refits.days + refits.seeds
    took = (
        f": refits took {_seconds(seconds['refits'])} of {_seconds(seconds['total'])}"
        if seconds and "refits" in seconds
        else ""
    )
    cost = f" Each level was trained {fits} times{took}."
    if refits.days:
        seeds = "" if refits.seeds == 1 else f"; values are means over {refits.seeds} seeds"
        covers = (
            "They cover the lift of the training procedure, trained again, on later periods like "
            "these"
        )
        return (
            f"{start} and {refits.days} refits on random halves of the training days. "
            f"{covers}{seeds}.{cost}{end}"
        )
    if refits.seeds > 1:
        covers = "They hold for models trained again on the same days"
        return (
            f"{start} and {refits.seeds} fits with other seeds, over which values are means. "
            f"{covers}.{cost}{end}"
        )
    return f"{start}. Each level was trained once: intervals cover the fitted models only.{end}"


def _seconds(seconds: float) -> str:
    """A length of time in seconds, never with an exponent.

    >>> _seconds(1133.4), _seconds(12.0), _seconds(0.0421)
    ('1,133 s', '12 s', '0.042 s')
    """
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def value_of(evaluation: Evaluation) -> Value | None:
    """The worth of a decision, as a result holds it."""
    value = evaluation.value
    if value is None:
        return None
    return Value(
        value.volume, value.acted_on, value.hit, value.false_alarm, value.late, dict(value.costs)
    )
