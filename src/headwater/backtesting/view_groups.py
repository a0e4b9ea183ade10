"""Units of an attribution, made fresh together: a view, the views of one source, or views that one
value depends on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from headwater.backtesting.levels import LevelRows
from headwater.backtesting.measurable import Measurability
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import UsageError, nearest

Groups = Literal["source"] | Mapping[str, Sequence[FeatureView | str]]
Costs = Mapping[FeatureView, float] | Mapping[str, float] | Mapping[FeatureView | str, float]


@dataclass(frozen=True)
class Unit:
    """Views that are fresh together, under one name; `joined` gives the reason if they were not
    grouped by the user.
    """

    name: str
    views: Sequence[FeatureView]
    joined: str = ""

    @property
    def sources(self) -> Sequence[str]:
        """The names of the sources that its views read."""
        return tuple(dict.fromkeys(view.source.name for view in self.views))


def find_units(model: Model, stale: Level, fresh: Level, groups: Groups | None) -> list[Unit]:
    """The units of the views that one level reads fresher than the other, in the service's order.

    Views that one request feature reads, or where one gives the key of another, are one unit: their
    values are computed together, and with one of them fresh alone they would be those of neither
    level.

    Raises:
        UsageError: no view differs between the levels, or `groups` names a view that does not.
    """
    service = model.features
    differ = [
        v for v in service.views if stale.freshness(v).fingerprint != fresh.freshness(v).fingerprint
    ]
    if not differ:
        raise UsageError(
            f"attribution(): every view of model {model.name!r} is as fresh at one level as at "
            "the other, so there is nothing to attribute; give a stale and a fresh Level, such "
            "as hw.Level(hw.batch('1d')) and hw.Level(hw.on_request())"
        )
    parts = _Parts([v.name for v in differ])
    name_of = _grouped(differ, groups, parts)
    requested = parts.copy()
    for names in _views_of(service).values():
        parts.join([v.name for v in differ if v.name in names])
    units = []
    for members in parts.all():
        views = [v for v in differ if v.name in members]
        labels = list(dict.fromkeys(name_of.get(v.name, v.name) for v in views))
        forced = len({requested.labels[v.name] for v in views}) > 1
        joined = (
            f"{', '.join(v.name for v in views)} are one, since a value is made of them together"
            if forced
            else ""
        )
        units.append(Unit(" + ".join(labels), views, joined))
    return units


def unmeasured(
    measurability: Measurability, names: tuple[str, str], units: Sequence[Unit]
) -> dict[str, str]:
    """The units without a view that can tell the two levels apart, and why."""
    state = measurability.between(*names)
    if state is None:
        return {}
    blind = {view.view: view for view in state.other_views}
    measured = {view.view for view in state.views}
    reasons = {}
    for unit in units:
        unmeasurable = [blind[view.name] for view in unit.views if view.name in blind]
        if unmeasurable and not measured & {view.name for view in unit.views}:
            reasons[unit.name] = measurability.reason(unmeasurable)
    return reasons


def check_levels(model: Model, stale: Level, fresh: Level) -> None:
    """Refuse levels that differ in more than views."""
    for name, level in zip(("stale", "fresh"), (stale, fresh), strict=True):
        if level.precomputed(model) is not None:
            raise UsageError(
                f"attribution(): predictions are precomputed at the {name} level, so part of the "
                "step is not due to features; give predictions=hw.on_request() to both levels"
            )
    if dict(stale.known_after) != dict(fresh.known_after):
        raise UsageError(
            "attribution(): the levels differ in known_after, which is not a property of views; "
            "give both the same"
        )
    if model.ranking is not None and model.ranking.candidates:
        raise UsageError(
            f"attribution() of model {model.name!r}: its candidates are retrieved separately at "
            "each level, so a view's gain would include retrieval; omit the candidates of the "
            "Ranking to rank the lists of the labels"
        )


def unit_costs(units: Sequence[Unit], costs: Costs | None) -> dict[str, float] | None:
    """The money a day of each unit, by its name: its own where that is given, else the sum over its
    views.

    Raises:
        UsageError: a name of nothing, a view without a cost, or one below 0.
    """
    if costs is None:
        return None
    by_name = {
        key.name if isinstance(key, FeatureView) else key: value for key, value in costs.items()
    }
    names = [u.name for u in units] + [v.name for u in units for v in u.views]
    for name, value in by_name.items():
        if name not in names:
            raise UsageError(
                f"view_costs names {name!r}, which no unit of this attribution is; "
                f"{nearest(name, names)}"
            )
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value < float("inf")
        ):
            raise UsageError(f"view_costs of {name!r} is {value!r}; give money a day, 0 or more")
    for unit in units:
        lacking = [v.name for v in unit.views if v.name not in by_name]
        if unit.name not in by_name and lacking:
            raise UsageError(
                f"view_costs lacks {lacking[0]!r}; give the cost a day of each view, 0 if it is "
                "free"
            )
    return {
        u.name: float(by_name[u.name])
        if u.name in by_name
        else float(sum(by_name[v.name] for v in u.views))
        for u in units
    }


def mixed_level(model: Model, stale: Level, fresh: Level, units: Collection[Unit]) -> Level:
    """The level at which these units are as fresh as at `fresh`, and all else as at `stale`."""
    chosen = {v.name for unit in units for v in unit.views}
    views = {
        v: (fresh if v.name in chosen else stale).freshness(v)
        for v in model.features.views_in_history
    }
    return Level(views, stale.predictions, stale.known_after)


def mixed_rows(
    model: Model, stale: LevelRows, fresh: LevelRows, units: Collection[Unit]
) -> LevelRows:
    """The features of `mixed_level`, out of the columns of the two levels: nothing is computed
    again, nor copied.
    """
    chosen = {v.name for unit in units for v in unit.views}
    views_of_feature = _views_of(model.features)
    columns = [
        (fresh if chosen & views_of_feature.get(name, set()) else stale).frame[name]
        for name in stale.frame.columns
    ]
    return LevelRows(pl.DataFrame(columns), stale.answered, stale.precomputed)


def _views_of(service: FeatureService) -> dict[str, set[str]]:
    """The views behind each feature that history supplies, by its name: its view, and the views of
    its keys.
    """
    by_feature = {ref.name: _behind(ref.view) for ref in service.refs}
    for feature in service.request_features:
        by_feature[feature.name] = {
            name for ref in feature.inputs.values() for name in _behind(ref.view)
        }
    return by_feature


def _behind(view: FeatureView) -> set[str]:
    keys = [filled.view for filled in view.request_keys.values() if isinstance(filled, FeatureRef)]
    return {view.name}.union(*map(_behind, keys))


def _grouped(views: Sequence[FeatureView], groups: Groups | None, parts: _Parts) -> dict[str, str]:
    """Join the requested groups; the group's name for each view that is in one."""
    if groups is None:
        return {}
    if groups == "source":
        by_group: dict[str, list[str]] = {}
        for view in views:
            by_group.setdefault(view.source.name, []).append(view.name)
    elif isinstance(groups, Mapping):
        by_group = {
            str(name): [m.name if isinstance(m, FeatureView) else m for m in members]
            for name, members in groups.items()
        }
    else:
        raise UsageError(
            f"groups is {groups!r}; give 'source', or a mapping from names to views, such as "
            "{'airport': [departures, queue]}"
        )
    names, seen = [v.name for v in views], set[str]()
    for name, members in by_group.items():
        for member in members:
            if member not in names:
                raise UsageError(
                    f"groups: {name!r} holds {member!r}, which is not a view that differs between "
                    f"the levels; {nearest(member, names)}"
                )
            if member in seen:
                raise UsageError(f"groups: view {member!r} is in two groups; a view is in one")
            seen.add(member)
        parts.join(members)
    return {member: name for name, members in by_group.items() for member in members}


class _Parts:
    """A partition of names, made coarser by joining."""

    def __init__(self, names: Sequence[str]) -> None:
        self.labels = {name: name for name in names}

    def copy(self) -> _Parts:
        copied = _Parts([])
        copied.labels = dict(self.labels)
        return copied

    def join(self, names: Sequence[str]) -> None:
        places = {self.labels[name] for name in names}
        for name, label in self.labels.items():
            if label in places:
                self.labels[name] = self.labels[names[0]]

    def all(self) -> list[list[str]]:
        """The parts, each and all in the order of the names."""
        return [
            [n for n, at in self.labels.items() if at == label]
            for label in dict.fromkeys(self.labels.values())
        ]
