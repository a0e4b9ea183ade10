"""Levels between a stale and a fresh one: trained on columns of the two, and judged on parts of the
same test rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from headwater.backtesting.experiment_rows import ExperimentRows
from headwater.backtesting.fold_training import LevelScores
from headwater.backtesting.intervals import ResampledMetrics, resample_weights
from headwater.backtesting.judging import Judge
from headwater.backtesting.levels import LevelRows
from headwater.backtesting.view_groups import Unit, mixed_level, mixed_rows
from headwater.definitions.level import Level
from headwater.kernel.arrays import Bool
from headwater.metrics import Blocks, Metric
from headwater.results.audit_result import AuditResult

Chosen = frozenset[str]
"""The names of the units that are fresh."""


@dataclass(frozen=True)
class Mixtures:
    """Every set of units made fresh, trained when it is first asked for.

    stale, fresh: the two levels; names: what they are called. units: what can be fresh by itself.
    """

    experiment: ExperimentRows
    stale: Level
    fresh: Level
    names: tuple[str, str]
    units: Sequence[Unit]
    _scores: dict[Chosen, LevelScores] = field(default_factory=dict)
    _values: dict[Chosen, float] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """The metric that is attributed."""
        return self.experiment.judged.headline

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
        return mixed_level(
            self.experiment.model,
            self.stale,
            self.fresh,
            [u for u in self.units if u.name in chosen],
        )

    def train(self, sets: Iterable[Chosen]) -> None:
        """Train the sets that are not trained yet."""
        new = [chosen for chosen in dict.fromkeys(sets) if chosen not in self._scores]
        if not new:
            return
        stale, fresh = self._ends
        units = {chosen: [unit for unit in self.units if unit.name in chosen] for chosen in new}
        rows = {
            self.name(chosen): mixed_rows(self.experiment.model, stale, fresh, units[chosen])
            for chosen in new
        }
        levels = {self.name(chosen): self.level(chosen) for chosen in new}
        scores = self.experiment.trainer(levels, rows, replays=False).scores()
        self._scores.update({chosen: scores[self.name(chosen)] for chosen in new})

    def value(self, chosen: Chosen) -> float:
        """The metric of a set on the days that choose, so signed that more is better; minus
        infinity where it is undefined.
        """
        if chosen not in self._values:
            self.train([chosen])
            evaluation = self._judge([chosen]).evaluation(
                self.choosing, self._by_block.select(self.choosing)
            )
            value = float(evaluation.values[0, 0])
            self._values[chosen] = (
                -np.inf if np.isnan(value) else value if self.metric.higher_is_better else -value
            )
        return self._values[chosen]

    def judged(self, sets: Iterable[Chosen], mask: Bool) -> ResampledMetrics:
        """The metric of these sets on a part of the test rows, with resamples of the days of that
        part: `mask` is bool (test rows).
        """
        chosen = list(dict.fromkeys(sets))
        self.train(chosen)
        return self._judge(chosen).evaluation(mask, self.experiment.resampled(mask))

    def audit(self) -> AuditResult:
        """What the audit finds at the fresh level."""
        name = self.names[1]
        return self.experiment.audit({name: self.fresh}, {name: self._ends[1]})

    @cached_property
    def choosing(self) -> Bool:
        """The test rows of every other day (or block), which choose; the others report."""
        return np.asarray(
            np.unique(self.experiment.blocks, return_inverse=True)[1] % 2 == 0, np.bool_
        )

    @cached_property
    def _ends(self) -> tuple[LevelRows, LevelRows]:
        """The features of the two levels, in one pass."""
        rows = self.experiment.level_rows({"stale": self.stale, "fresh": self.fresh})
        return rows["stale"], rows["fresh"]

    def _judge(self, sets: Sequence[Chosen]) -> Judge:
        scores = {self.name(chosen): self._scores[chosen] for chosen in sets}
        return self.experiment.judge(
            {self.name(chosen): self.level(chosen) for chosen in sets}, scores, self._by_block
        )

    @cached_property
    def _by_block(self) -> Blocks:
        """The test rows by block, without resamples."""
        return resample_weights(self.experiment.blocks, 0)
