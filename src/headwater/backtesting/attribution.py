"""hw.evaluation.attribution: which views earn from freshness, one at a time and together, and which
can stay as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from headwater import clock
from headwater.backtesting.describe import how_sure
from headwater.backtesting.experiment_rows import judged_by, prepare, trained_model
from headwater.backtesting.freshness_subsets import Chosen, Mixtures
from headwater.backtesting.intervals import ResampledMetrics
from headwater.backtesting.levels import resolve_levels
from headwater.backtesting.measurable import Measurability, not_measurable
from headwater.backtesting.slices import user_slices
from headwater.backtesting.verdicts import in_metric, min_lifts
from headwater.backtesting.view_groups import (
    Costs,
    Groups,
    Unit,
    check_levels,
    find_units,
    unit_costs,
    unmeasured,
)
from headwater.connectors.snapshots import one_version
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.project import checked_call
from headwater.engine.engines import engine_name
from headwater.errors import UsageError, listed
from headwater.kernel.arrays import Bool
from headwater.pages import attribution_words
from headwater.results.attribution_result import (
    AttributionResult,
    Efficient,
    PathStep,
    SliceLift,
    UnitLift,
)
from headwater.results.estimate import Comparison, Estimate
from headwater.results.stored_runs import keep_run
from headwater.training.resources import DEFAULT_RESOURCES, Resources

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.pages.page import Page

# sets that one round of the search tries together; not the number of threads, on which no result
# depends
_AT_ONCE = 2
_NONE: Chosen = frozenset()


class Attribution(AttributionResult, frozen=True, kw_only=True):
    """Which views earn from freshness; `plan` is the result in a sentence.

    `units` are judged one at a time on all test days. The order of `path`, and where it stops, is
    chosen on every other test day (`choosing_days`); every lift of `path`, `lift`, `rest`, `share`
    and `efficient` is measured on the days between (`reporting_days`). `whole` is the fresh level
    over the stale one, on all test days. A unit in `not_measurable` reads timestamps that cannot
    tell the levels apart: it has no verdict, and no part in the plan or in the lift of `share`.
    `chosen` names the units that the plan makes fresh, `stay` those that can stay: all without a
    lift. `level` is the plan as a Level.
    """

    level: Level

    @property
    def plain(self) -> AttributionResult:
        """The data, without the level."""
        return AttributionResult(
            *(getattr(self, name) for name in AttributionResult.__struct_fields__)
        )

    def to_dict(self) -> dict[str, object]:
        """The attribution as JSON data: all but `level`, whose fresh views `fresh_views` names."""
        return self.plain.to_dict()

    def page(self) -> Page:
        """The page of the result, which every form is drawn from."""
        from headwater.pages.attribution_section import to_page

        return to_page(self)

    def table(self) -> RenderableType:
        """All of the page as rich prints it."""
        from headwater.pages.page_forms import to_terminal

        return to_terminal(self.page(), verbose=True)

    def __rich__(self) -> RenderableType:
        return self.table()

    def _repr_html_(self) -> str:
        from headwater.pages.page_forms import to_notebook

        return to_notebook(self.page())


@checked_call
def attribution(
    model: Model,
    levels: Mapping[str, Level | Freshness] | None = None,
    evaluation: Evaluation | None = None,
    *,
    groups: Groups | None = None,
    view_costs: Costs | None = None,
    share: float = 0.95,
    resources: Resources | None = None,
) -> Attribution:
    """Find the smallest set of fresh views with most of the lift from `stale` to `fresh`; the
    others can stay stale.

    The features of both levels are computed once; each set of fresh views is trained on columns of
    the two, and judged on the same requests. First every view alone, in both directions: made fresh
    where all else is stale, and made stale where all else is fresh. Then greedily: the view that
    adds the most to those that are fresh already (per money, where costs are given), until `share`
    of the lift is reached or nothing adds any. A view is tried again only while what it last added,
    or what was lost without it, exceeds what the best one adds now: exact where views add less the
    more of them are fresh.

    No day is used twice: every other test day chooses the order and where to stop, and the lifts of
    the path are those of the days between. The views one at a time are not chosen, and are judged
    on all test days.

    Args:
        model: what to train; see `backtest`.
        levels: two by name, stale first; of more, the first and last that read history and predict
            on request; None: the ladder's.
        evaluation: how they are judged, as in `backtest`; its headline metric is attributed. Its
            slices are judged too.
        groups: "source" makes the views of one source fresh together; a mapping from names to views
            makes groups of your own.
        view_costs: by view, source or group, what its freshness would cost more a day: the search
            then takes the best lift per money.
        share: of the lift, that the plan has to reach.
        resources: what the call may use: threads, memory, a cache, progress.

    Raises:
        UsageError: no view differs between the levels, one precomputes predictions, they differ in
            `known_after`, invalid groups or costs.
        DataError, LeakError: as `backtest`.

    Source: Nemhauser, Wolsey and Fisher, "An analysis of approximations for maximizing submodular
    set functions", 1978 (greedy); Minoux, "Accelerated greedy algorithms for maximizing submodular
    set functions", 1978 (trying again only what may be best).
    """
    if not 0 < share <= 1:
        raise UsageError(
            f"share is {share!r}; give a part of the lift above 0 and up to 1, such as 0.95"
        )
    trained, evaluation, compared = (
        trained_model(model),
        evaluation or Evaluation(),
        resolve_levels(levels),
    )
    names = (
        ends(trained, compared) if len(compared) != 2 else (next(iter(compared)), list(compared)[1])
    )
    stale, fresh = (compared[name] for name in names)
    check_levels(trained, stale, fresh)
    units = find_units(trained, stale, fresh, groups)
    money = unit_costs(units, view_costs)
    headline = judged_by(trained, evaluation).headline
    min_lift = (
        evaluation.min_lift.get(headline.name)
        if isinstance(evaluation.min_lift, Mapping)
        else evaluation.min_lift
    )
    attributed = dataclasses.replace(
        evaluation,
        metrics=[headline],
        costs=None,
        tune=None,
        min_lift=min_lift,
        refits=evaluation.refits or 0,
    )
    with one_version(), (resources or DEFAULT_RESOURCES).shown() as used:
        experiment = prepare(trained, {names[0]: stale, names[1]: fresh}, attributed, used)
        measurability = Measurability(
            trained,
            {names[0]: stale, names[1]: fresh},
            experiment.requests.t,
            experiment.split.test,
        )
        blind = unmeasured(measurability, names, units)
        result = _Attributing(
            Mixtures(experiment, stale, fresh, names, units), money, share, blind
        ).result()
    return keep_run("attribution", result.plan, result, model, engine=engine_name(used.engine))


def ends(model: Model, levels: Mapping[str, Level]) -> tuple[str, str]:
    """The names of the levels to compare by default: the first and the last one that read history
    and predict on request.

    Raises:
        UsageError: there are no two of them.
    """
    names = [
        name
        for name, level in levels.items()
        if level.reads_history(model) and level.precomputed(model) is None
    ]
    if len(names) < 2:
        raise UsageError(
            f"attribution of model {model.name!r} needs two levels that read history and predict "
            f"on request; found {listed(names) or 'none'}"
        )
    return names[0], names[-1]


@dataclass(frozen=True)
class _Attributing:
    mixtures: Mixtures
    costs: Mapping[str, float] | None
    share: float
    blind: Mapping[str, str] = field(default_factory=dict)  # units that cannot be measured, and why

    @property
    def top(self) -> Chosen:
        """All units that can be measured."""
        return self.mixtures.all - frozenset(self.blind)

    def result(self) -> Attribution:
        began, mix, experiment = clock.stopwatch(), self.mixtures, self.mixtures.experiment
        slices = experiment.evaluation.slices or {}
        # refused before anything is trained
        parts = user_slices(slices, experiment.requests.frame, experiment.split.test)
        mix.train(self._alone)
        path = self._path()
        last = path[-1] if path else _NONE
        everywhere = np.ones(len(experiment.test), np.bool_)
        evaluation = mix.judged(self._alone, everywhere)
        least = min_lifts(evaluation, experiment.judged.min_lift)[mix.metric.name]
        reported = mix.judged([_NONE, *path, self.top, mix.all, *self._efficient()], ~mix.choosing)
        whole = self._steps(evaluation, [(_NONE, mix.all)], least)[0]
        if self.blind and not self.top:
            whole = not_measurable(whole, "; ".join(dict.fromkeys(self.blind.values())))
        lift, rest = (
            self._steps(reported, [step], least)[0] for step in ((_NONE, last), (last, self.top))
        )
        worth, shown = bool(lift.low > least), bool(path) and lift.verdict == "LIFT"
        chosen = last if shown else _NONE
        result = Attribution(
            model=experiment.model.name,
            metric=mix.metric.name,
            higher_is_better=mix.metric.higher_is_better,
            stale=mix.names[0],
            fresh=mix.names[1],
            describes={
                name: level.describe(experiment.model)
                for name, level in zip(mix.names, (mix.stale, mix.fresh), strict=True)
            },
            values={name: evaluation.estimates(name)[mix.metric.name] for name in mix.names},
            min_lift=least,
            share_wanted=self.share,
            units=self._units(evaluation, least),
            path=self._reported(reported, path, least),
            chosen=[name for name in self._ordered(path) if name in chosen],
            stay=[
                unit.name
                for unit in mix.units
                if unit.name not in chosen and unit.name not in self.blind
            ],
            worth=worth,
            whole=whole,
            lift=lift if path else None,
            rest=rest if path else None,
            share=self._share(reported, last) if path else Estimate(np.nan, np.nan, np.nan),
            slices=[
                self._slice(
                    slice_mask.name, slice_mask.describes, slice_mask.mask, last, least, len(parts)
                )
                for slice_mask in parts
            ],
            efficient=self._efficiently(reported, least),
            cost=self._cost(chosen),
            cost_of_all=self._cost(mix.all),
            level=mix.level(chosen),
            fresh_views=[
                view.name for unit in mix.units if unit.name in chosen for view in unit.views
            ],
            plan="",
            notes=(),
            audit=mix.audit(),
            choosing_days=len(np.unique(experiment.blocks[mix.choosing])),
            reporting_days=reported.blocks,
            sets=len(mix.sets),
            seconds=clock.stopwatch() - began,
            intervals=how_sure(
                experiment.evaluation, experiment.row_blocks.result, experiment.refits
            ),
            joined=tuple(unit.joined for unit in mix.units if unit.joined),
            not_measurable=self.blind,
        )
        return msgspec.structs.replace(
            result,
            plan=attribution_words.plan(result, mix.level(last).kind(experiment.model)),
            notes=attribution_words.notes(result),
        )

    # ---- the search, on the days that choose

    @property
    def _alone(self) -> list[Chosen]:
        """The two levels, and every unit alone, in both directions."""
        mix = self.mixtures
        singles = [frozenset({unit.name}) for unit in mix.units]
        tops = dict.fromkeys([mix.all, self.top])
        return list(
            dict.fromkeys(
                [_NONE, *singles, *(top - single for top in tops for single in singles), *tops]
            )
        )

    def _path(self) -> list[Chosen]:
        """The sets of the greedy search, one unit more each."""
        mix, path, now = self.mixtures, list[Chosen](), _NONE
        top = self.top
        if not top:
            return []
        enough = mix.value(_NONE) + self.share * (mix.value(top) - mix.value(_NONE))
        # Upper bound of a unit's gain: its gain alone, or, since two units may help only together,
        # the loss without it.
        names = [unit.name for unit in mix.units if unit.name in top]
        most = {
            name: max(self._gain(_NONE, name), mix.value(top) - mix.value(top - {name}))
            for name in names
        }
        while most and not (path and mix.value(now) >= enough > mix.value(_NONE)):
            best = self._best(now, most)
            if self._gain(now, best) <= 0:
                if path or enough <= mix.value(_NONE):
                    break
                # no single unit has a gain: start with the one whose loss is largest
                best = max(most, key=lambda name: most[name])
            now |= {best}
            path.append(now)
            del most[best]
        return path

    def _best(self, now: Chosen, most: dict[str, float]) -> str:
        """The unit with the largest gain over `now`, per money; updates `most` with the measured
        gains.
        """
        if not now:  # all of them are trained
            return max(most, key=lambda name: self._worth(name, self._gain(now, name)))
        tried = set[str]()
        while True:
            order = sorted(
                (name for name in most if name not in tried),
                key=lambda name: self._worth(name, most[name]),
                reverse=True,
            )
            best = max(tried, key=lambda name: self._worth(name, most[name]), default=None)
            again = [
                n
                for n in order[:_AT_ONCE]
                if most[n] > 0
                and (best is None or self._worth(n, most[n]) > self._worth(best, most[best]))
            ]
            if not again:
                return order[0] if best is None else best
            self.mixtures.train(now | {name} for name in again)
            most.update({name: self._gain(now, name) for name in again})
            tried.update(again)

    def _gain(self, now: Chosen, name: str) -> float:
        return self.mixtures.value(now | {name}) - self.mixtures.value(now)

    def _worth(self, name: str, gain: float) -> tuple[float, float]:
        """The sort key of the search: lift per money, free units with a gain first; ties by
        lift.
        """
        if self.costs is None:
            return gain, gain
        cost = self.costs[name]
        return (gain / cost if cost else np.inf * np.sign(gain) if gain else 0.0), gain

    def _efficient(self) -> list[Chosen]:
        """The sets that no other set tried beats at its cost, from cheap to dear, on the days that
        choose.
        """
        if self.costs is None:
            return []
        mix, efficient, best = self.mixtures, list[Chosen](), self.mixtures.value(_NONE)
        for chosen in sorted(
            (chosen for chosen in mix.sets if chosen <= self.top),
            key=lambda units: (self._cost(units) or 0.0, -mix.value(units), len(units)),
        ):
            if mix.value(chosen) > best:
                efficient.append(chosen)
                best = mix.value(chosen)
        return efficient

    # ---- the report

    def _steps(
        self,
        evaluation: ResampledMetrics,
        steps: Sequence[tuple[Chosen, Chosen]],
        least: float,
        looks: int = 1,
    ) -> list[Comparison]:
        """Steps between sets; a step from a set to itself has no interval."""
        mix = self.mixtures
        return in_metric(
            evaluation, [(mix.name(a), mix.name(b)) for a, b in steps], 0, least, looks
        )

    def _units(self, evaluation: ResampledMetrics, least: float) -> list[UnitLift]:
        mix, singles = self.mixtures, [frozenset({unit.name}) for unit in self.mixtures.units]
        steps = dict.fromkeys(
            [
                *((_NONE, units) for units in singles),
                *((mix.all - units, mix.all) for units in singles),
            ]
        )
        judged = dict(zip(steps, self._steps(evaluation, list(steps), least), strict=True))
        lifts = [
            UnitLift(
                name=unit.name,
                views=[view.name for view in unit.views],
                sources=unit.sources,
                added=self._judged_step(unit, judged[_NONE, units]),
                removed=self._judged_step(unit, judged[mix.all - units, mix.all]),
                cost=None if self.costs is None else self.costs[unit.name],
            )
            for unit, units in zip(mix.units, singles, strict=True)
        ]
        return sorted(lifts, key=lambda unit: (unit.name in self.blind, -unit.added.delta))

    def _judged_step(self, unit: Unit, step: Comparison) -> Comparison:
        """The step of a unit, without a verdict where the timestamps cannot show it."""
        return not_measurable(step, self.blind[unit.name]) if unit.name in self.blind else step

    def _reported(
        self, evaluation: ResampledMetrics, path: Sequence[Chosen], least: float
    ) -> list[PathStep]:
        if not path:
            return []
        before = [_NONE, *path[:-1]]
        lifts = self._steps(evaluation, [(_NONE, chosen) for chosen in path], least)
        gains = self._steps(evaluation, list(zip(before, path, strict=True)), least)
        return [
            PathStep(
                next(iter(chosen - was)),
                self._ordered(path[: at + 1]),
                lift,
                gain,
                self._share(evaluation, chosen),
                self._cost(chosen),
            )
            for at, (was, chosen, lift, gain) in enumerate(
                zip(before, path, lifts, gains, strict=True)
            )
        ]

    def _share(self, evaluation: ResampledMetrics, chosen: Chosen) -> Estimate:
        """The part of the whole lift that a set has, on the days that report."""
        mix = self.mixtures
        stale, chosen_at, fresh = (
            evaluation.position(mix.name(units)) for units in (_NONE, chosen, self.top)
        )
        values, draws = evaluation.values[:, 0], evaluation.replicates[:, 0]
        whole = (values[fresh] - values[stale]) * (1 if mix.metric.higher_is_better else -1)
        if not whole > 0:
            return Estimate(np.nan, np.nan, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = (draws[chosen_at] - draws[stale]) / (draws[fresh] - draws[stale])
        share = float((values[chosen_at] - values[stale]) / (values[fresh] - values[stale]))
        return Estimate(share, *evaluation.sure(share, shares).interval())

    def _efficiently(self, evaluation: ResampledMetrics, least: float) -> list[Efficient]:
        choices = []
        for chosen in self._efficient():
            lift, cost = (
                self._steps(evaluation, [(_NONE, chosen)], least)[0],
                self._cost(chosen) or 0.0,
            )
            choices.append(
                Efficient(
                    self._ordered([chosen]),
                    cost,
                    lift,
                    cost / lift.delta if lift.delta > 0 else np.nan,
                )
            )
        return choices

    def _slice(
        self, name: str, describes: str, mask: Bool, last: Chosen, least: float, slices: int
    ) -> SliceLift:
        mix, looks = self.mixtures, 2 * slices
        reporting = mask & ~mix.choosing
        if not reporting.any():
            return SliceLift(name, describes, int(mask.sum()), None, None)
        whole = self._steps(mix.judged([_NONE, mix.all], mask), [(_NONE, mix.all)], least, looks)[0]
        if self.blind and not self.top:
            whole = not_measurable(whole, "; ".join(dict.fromkeys(self.blind.values())))
        lift = (
            self._steps(mix.judged([_NONE, last], reporting), [(_NONE, last)], least, looks)[0]
            if last
            else None
        )
        return SliceLift(name, describes, int(mask.sum()), whole, lift)

    def _ordered(self, path: Sequence[Chosen]) -> list[str]:
        """The units of the last of these sets, in the order in which they became fresh."""
        names: list[str] = []
        for chosen in path:
            names += [
                unit.name
                for unit in self.mixtures.units
                if unit.name in chosen and unit.name not in names
            ]
        return names

    def _cost(self, chosen: Chosen) -> float | None:
        return None if self.costs is None else float(sum(self.costs[name] for name in chosen))
