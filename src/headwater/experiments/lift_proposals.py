"""Changes of freshness that would pay, each as `plan` would show it, with its money and its worst
week. Nothing is changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from headwater.catalog.diff import changes
from headwater.catalog.entry import CatalogState
from headwater.catalog.serialize import describe
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.errors import HeadwaterError
from headwater.experiments.monitored_rows import MonitoredRows
from headwater.results.level_lift_result import Alternative, ProposedChange

_ADVERSARIES = (
    "adversaries react to predictions, so requests of the past do not show what a staler level "
    "would do to them: run an experiment first"
)


def proposed(
    rows: MonitoredRows, alternatives: Sequence[Alternative], levels: Mapping[str, Level]
) -> list[ProposedChange]:
    """At most one change: a staler level that loses less than it saves, else views together, else a
    fresher level that pays.

    Args:
        alternatives: as they were judged. levels: of each, by its name.
    """
    nothing = [alternative for alternative in alternatives if alternative.state == "earned nothing"]
    staler = [alternative for alternative in nothing if alternative.kind == "staler"]
    together = [alternative for alternative in nothing if alternative.kind == "together"]
    single = [alternative for alternative in nothing if alternative.kind == "without"]
    fresher = [
        alternative
        for alternative in alternatives
        if alternative.kind == "fresher" and alternative.state == "earns"
    ]
    order = [
        *staler,
        *together,
        *sorted(single, key=lambda alternative: alternative.lift.high),
        *fresher,
    ]
    return [_change(rows, order[0], levels[order[0].name])] if order else []


def _change(rows: MonitoredRows, alternative: Alternative, level: Level) -> ProposedChange:
    lines, why_not = _lines(rows.model, rows.levels[rows.served], level)
    evaluation = rows.options.evaluation
    if evaluation is not None and evaluation.adversaries and alternative.experiment is None:
        why_not = _ADVERSARIES
    fresher = alternative.kind == "fresher"
    money = (
        f"what {'it costs' if fresher else 'it saves'} is not known: give the costs of levels and "
        "views"
    )
    if alternative.saved is not None:
        money = (
            f"it {'costs' if fresher else 'saves'} {alternative.saved:,.2f} "
            f"{rows.options.currency} a day"
        )
    worst = ""
    if alternative.worst_week:
        verb = "gained" if fresher else "lost"
        week = f"in its {'best' if fresher else 'worst'} week, that of {alternative.worst_week}"
        worst = f"{week}, it would have {verb} {alternative.worst_lift:.4f}"
    return ProposedChange(alternative.name, alternative.freshness, lines, money, worst, why_not)


def _lines(model: Model, served: Level, level: Level) -> tuple[list[str], str]:
    """The definitions that change, as a plan writes them; and why they cannot."""
    try:
        old, new = (describe(Project(model.name, [_at(model, at)])) for at in (served, level))
    except HeadwaterError as error:
        return [], str(error)
    lines = []
    for change in changes(CatalogState(1, old), new, frozenset()):
        if change.kind == "view":
            lines.append(
                f"~ view {change.name}  "
                f"{change.action}{', needs backfill' if change.needs_backfill else ''}"
            )
            lines += [f"    {detail}" for detail in change.details]
    return lines, ""


def _at(model: Model, level: Level) -> Model:
    """The model as it would be defined to serve at a level."""
    predictions = model.predictions if level.predictions is None else level.predictions
    return dataclasses.replace(model, features=level.service(model), predictions=predictions)
