"""Levels between a stale and a fresh one: trained on columns of the two, and judged on parts of the same test rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np

from headwater.backtesting.backtest import by_list
from headwater.backtesting.candidates import lists
from headwater.backtesting.evaluation import Judge
from headwater.backtesting.fit_options import Refits
from headwater.backtesting.fitting import Fitter
from headwater.backtesting.fold_training import LevelScores, Trainer
from headwater.backtesting.intervals import Evaluation, resample_weights
from headwater.backtesting.leak_audit import audit
from headwater.backtesting.levels import LevelRows, level_rows
from headwater.backtesting.split import Split, split_rows
from headwater.backtesting.view_groups import Unit, mixed_level, mixed_rows
from headwater.definitions.durations import DAY
from headwater.definitions.level import Level
from headwater.definitions.memory_sizes import Size
from headwater.definitions.model import Model
from headwater.definitions.rolling import Rolling
from headwater.errors import UsageError, nearest
from headwater.events.read_events import Notes
from headwater.kernel.arrays import I64, Bool
from headwater.metrics import Beside, Blocks, Metric
from headwater.models.fit import check_classes
from headwater.models.outcomes import Outcomes, outcomes
from headwater.results.estimate import LeakFinding
from headwater.training.label_rows import read_labels
from headwater.training.leak_checks import refuse_label_columns
from headwater.training.requests import Requests
from headwater.training.resources import Resources, Tick

Chosen = frozenset[str]
"""The names of the units that are fresh."""


@dataclass(frozen=True)
class Effort:
    """How much is trained and drawn, and with what."""

    refits: Refits
    resamples: int
    seed: int
    threads: int | None
    memory: Size | None
    tick: Tick | None


@dataclass(frozen=True)
class Mixtures:
    """Every set of units made fresh, trained when it is first asked for.

    stale, fresh: the two levels; names: what they are called. units: what can be fresh by itself.
    """

    model: Model
    stale: Level
    fresh: Level
    names: tuple[str, str]
    units: Sequence[Unit]
    metric: Metric
    split: str | datetime | Rolling | None
    effort: Effort
    _scores: dict[Chosen, LevelScores] = field(default_factory=dict)
    _values: dict[Chosen, float] = field(default_factory=dict)

    @property
    def all(self) -> Chosen:
        """The set of the fresh level."""
        return frozenset(unit.name for unit in self.units)

    @property
    def sets(self) -> Sequence[Chosen]:
        """The sets that were trained, in order."""
        return list(self._scores)

    def name(self, chosen: Chosen) -> str:
        """What the level of a set is called."""
        stale, fresh = self.names
        if not chosen:
            return stale
        lacking = [u.name for u in self.units if u.name not in chosen]
        if not lacking:
            return fresh
        if len(lacking) == 1 and len(self.units) > 2:
            return f"{fresh} without {lacking[0]}"
        return f"{stale} with {', '.join(u.name for u in self.units if u.name in chosen)}"

    def level(self, chosen: Chosen) -> Level:
        """The level of a set."""
        return mixed_level(self.model, self.stale, self.fresh, [u for u in self.units if u.name in chosen])

    def train(self, sets: Iterable[Chosen]) -> None:
        """Train those of these sets that were not yet."""
        new = [chosen for chosen in dict.fromkeys(sets) if chosen not in self._scores]
        if not new:
            return
        stale, fresh = self._ends
        rows = {self.name(chosen): mixed_rows(self.model, stale, fresh, [u for u in self.units if u.name in chosen]) for chosen in new}
        levels = {self.name(chosen): self.level(chosen) for chosen in new}
        effort, groups = self.effort, self.outcomes.groups
        resources = Resources(effort.threads, effort.memory)
        ranked = None if groups is None else lists(self.model, self.requests, groups, levels, rows, self.test, resources)
        trainer = Trainer(
            self._fitter, self.requests, self.parts, levels, rows, ranked, effort.refits, effort.threads, self._say, replays=False
        )
        scores = trainer.scores()
        self._scores.update({chosen: scores[self.name(chosen)] for chosen in new})

    def value(self, chosen: Chosen) -> float:
        """The metric of a set on the days that choose, so signed that more is better; minus infinity where it is undefined."""
        if chosen not in self._values:
            self.train([chosen])
            evaluation = self._judge([chosen]).evaluation(self.choosing, self._by_day.select(self.choosing))
            value = float(evaluation.values[0, 0])
            self._values[chosen] = -np.inf if np.isnan(value) else value if self.metric.higher_is_better else -value
        return self._values[chosen]

    def judged(self, sets: Iterable[Chosen], mask: Bool) -> Evaluation:
        """The metric of these sets on a part of the test rows, with resamples of the days of that part: `mask` is bool (test rows)."""
        chosen = list(dict.fromkeys(sets))
        self.train(chosen)
        blocks = self.resampled(mask)
        return self._judge(chosen).evaluation(mask, blocks)

    def resampled(self, mask: Bool) -> Blocks:
        """Resamples of the days of these test rows."""
        return resample_weights(self.days[mask], self.effort.resamples, self.effort.seed)

    def audit(self) -> list[LeakFinding]:
        """What the leak audit finds at the fresh level."""
        rows = {self.names[1]: self._ends[1]}
        return audit(self.model, {self.names[1]: self.fresh}, self.requests, rows, self.outcomes.y, self.parts, self.effort.threads)

    @cached_property
    def requests(self) -> Requests:
        """The labelled rows."""
        refuse_label_columns(self.model)
        return read_labels(self.model.labels, self.effort.memory, strings=self.model.task_type.classes)

    @cached_property
    def outcomes(self) -> Outcomes:
        """What became of them."""
        assert self.requests.label is not None
        return outcomes(self.model, self.requests.label, self.requests.frame)

    @cached_property
    def parts(self) -> Split:
        """The folds; both classes of a binary task stand on both sides."""
        split = split_rows(by_list(self.requests, self.outcomes), self.split)
        if self.model.task_type.positives:
            for rows, where in ((split.train, "before"), (split.test, "after")):
                check_classes(self.outcomes.y[rows], f"model {self.model.name!r}, rows {where} the split")
        return split

    @cached_property
    def test(self) -> I64:
        """The positions of the test rows."""
        return np.flatnonzero(self.parts.test)

    @cached_property
    def days(self) -> I64:
        """The day of each test row."""
        return by_list(self.requests, self.outcomes).t[self.test] // DAY

    @cached_property
    def choosing(self) -> Bool:
        """The test rows of every other day, which choose; the others report."""
        return np.asarray(np.unique(self.days, return_inverse=True)[1] % 2 == 0, np.bool_)

    @cached_property
    def _ends(self) -> tuple[LevelRows, LevelRows]:
        """The features of the two levels, in one pass."""
        resources = Resources(self.effort.threads, self.effort.memory, self.effort.tick)
        rows = level_rows(self.model, self.requests, {"stale": self.stale, "fresh": self.fresh}, Notes(), resources)
        return rows["stale"], rows["fresh"]

    @cached_property
    def _columns(self) -> dict[str, np.ndarray[tuple[int], np.dtype[np.generic]]]:
        frame = self.requests.frame
        for name in self.metric.columns:
            if name not in frame.columns:
                raise UsageError(
                    f"metric {self.metric.name!r} reads {name!r}, which the labels do not have; {nearest(name, frame.columns)}"
                )
        return {name: frame[name].to_numpy() for name in self.metric.columns}

    @cached_property
    def _fitter(self) -> Fitter:
        cuts = frozenset({self.metric.cut} if self.metric.cut else ())
        return Fitter(self.model, self.outcomes, self.metric, cuts, self._columns, None, None, self.effort.seed)

    def _judge(self, sets: Sequence[Chosen]) -> Judge:
        scores = {self.name(chosen): self._scores[chosen] for chosen in sets}
        levels = {self.name(chosen): self.level(chosen) for chosen in sets}
        beside = Beside(self.outcomes.groups, self._columns).select(self.test)
        y, t = self.outcomes.y[self.test], by_list(self.requests, self.outcomes).t[self.test]
        return Judge(self.model, levels, [self.metric], None, scores, t, y, beside, self._by_day)

    @cached_property
    def _by_day(self) -> Blocks:
        """The test rows by day, without resamples."""
        return resample_weights(self.days, 0)

    def _say(self, what: str, done: int, total: int) -> None:
        if self.effort.tick is not None:
            self.effort.tick(what, done, total)
