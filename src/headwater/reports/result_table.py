"""The result as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.reports import (
    attribution_section,
    attribution_words,
    audit_words,
    evidence_words,
    fixed_models,
    recommendation_words,
    resolution_words,
    wording,
)
from headwater.results.audit_result import acknowledgement_note
from headwater.results.backtest_result import BacktestResult, LevelResult
from headwater.terminal.layout import Cell, Group, Printed, Shown, ShownTable

if TYPE_CHECKING:
    from rich.console import RenderableType

_METRICS = 3  # in the table of levels; the page has all


def to_table(result: BacktestResult) -> RenderableType:
    """The result as rich prints it: the verdict, then levels, steps, slices, rows left out and the
    audit.
    """
    return Printed(_Writer(result).report())


@dataclass(frozen=True)
class _Writer:
    """The sentences and tables of a result."""

    result: BacktestResult

    def report(self) -> Group:
        parts: list[RenderableType] = [*self._verdict(), Shown(""), self._levels()]
        if any(level.replayed for level in self.result.levels):
            parts.append(
                self._note(
                    "Replayed: the freshest level's model, not retrained, on this level's features."
                )
            )
        for table in (self._steps(), self._folds(), self._slices()):
            if table is not None:
                parts += [Shown(""), table]
        attribution = attribution_words.below_the_first_line(self.result)
        if attribution is not None:
            parts += [Shown(""), attribution_section.to_table(attribution)]
        return Group(*parts, Shown(""), *self._foot())

    def _verdict(self) -> list[RenderableType]:
        audit = self.result.audit
        lines: list[RenderableType] = [
            Shown(wording.verdict(self.result), "bold red" if audit.blocking else "bold")
        ]
        lines += [Shown(f"  {line}", "red") for line in audit_words.blocking(audit)]
        lines += [
            Shown(line)
            for line in (
                wording.rest(self.result),
                *wording.limits(self.result),
                acknowledgement_note(audit),
            )
            if line
        ]
        lines += [Shown(f"  {line}", "yellow") for line in audit_words.conditions(audit)]
        lines += [
            Shown(f"  {location}: {difference}", "yellow")
            for location, difference in wording.exceptions(self.result)
        ]
        lines += [Shown(line) for line in evidence_words.of_experiments(self.result)]
        return lines

    def _levels(self) -> ShownTable:
        metrics = recommendation_words.ordered_metrics(self.result)[:_METRICS]
        replayed = any(level.replayed for level in self.result.levels)
        rows = []
        for level in self.result.levels:
            age = "" if level.age_seconds is None else f", {wording.duration(level.age_seconds)}"
            cells: list[Cell] = [
                _two_lines(level.name, f"{level.kind_words}{age}"),
                *(self._value(level, metric) for metric in metrics),
                wording.share(level.coverage),
            ]
            rows.append([*cells, *([self._replayed(level)] if replayed else [])])
        headings = [
            "level\nkind, mean age",
            *map(wording.metric_label, metrics),
            "covered",
            *(["replayed"] if replayed else []),
        ]
        return ShownTable("Levels", headings, rows, right=range(1 + len(metrics), len(headings)))

    def _value(self, level: LevelResult, metric: str) -> Cell:
        if metric not in level.metrics:
            return wording.NO_VALUE
        decimals, value = wording.places(self.result, metric), level.metrics[metric]
        return _two_lines(
            wording.number(value.value, decimals), wording.interval(value.low, value.high, decimals)
        )

    def _replayed(self, level: LevelResult) -> Cell:
        if self.result.headline not in level.replayed:
            return ""
        return Shown(
            wording.number(
                level.replayed[self.result.headline],
                wording.places(self.result, self.result.headline),
            ),
            "dim",
        )

    def _steps(self) -> ShownTable | None:
        metric = self.result.headline
        steps = wording.shown_steps(self.result)
        if not steps:
            return None
        both = bool(fixed_models.by_step(self.result))
        rows = [
            [
                f"{step.from_} {wording.ARROW} {step.to}",
                wording.gain(step, wording.places(self.result, metric)),
                wording.verdict_word(self.result, step),
                *([Shown(fixed_models.gain(self.result, step), "dim")] if both else []),
            ]
            for step in steps
        ]
        title = f"Differences in {wording.metric_label(metric)} (+ is a gain)"
        return ShownTable(
            title, ["step", "gain", "verdict", *([fixed_models.HEADING] if both else [])], rows
        )

    def _folds(self) -> ShownTable | None:
        if not self.result.folds:
            return None
        metric = self.result.headline
        decimals, levels = (
            wording.places(self.result, metric),
            [level.name for level in self.result.levels],
        )
        rows = [
            [
                fold.split[:10],
                wording.count(fold.test_rows),
                *(
                    wording.number(fold.values[level].get(metric, math.nan), decimals)
                    for level in levels
                ),
            ]
            for fold in self.result.folds
        ]
        return ShownTable(
            f"{wording.metric_label(metric)} of each fold", ["split", "rows", *levels], rows
        )

    def _slices(self) -> ShownTable | None:
        main = wording.main_step(self.result)
        if main is None or not self.result.slices:
            return None
        decimals = wording.places(self.result, self.result.headline)
        rows = []
        for slice_result in self.result.slices:
            level_of = wording.like(slice_result.comparisons, main)
            gain = wording.gain(level_of[0], decimals) if level_of else wording.NO_VALUE
            judged = (
                wording.verdict_word(self.result, level_of[0]) if level_of else slice_result.note
            )
            named = _two_lines(slice_result.name, slice_result.describes)
            rows.append([named, wording.count(slice_result.rows), gain, judged])
        return ShownTable(
            f"Slices: {main.from_} {wording.ARROW} {main.to}",
            ["slice", "rows", "gain", "verdict"],
            rows,
            right=[1],
        )

    def _foot(self) -> Sequence[RenderableType]:
        split = self.result.split
        out = ", ".join(
            f"{wording.count(rows)} {reason}" for reason, rows in split.left_out.items() if rows
        )
        total = self.result.seconds.get("total")
        took = f"; took {wording.duration(total)}" if total is not None else ""
        return [
            Shown(
                f"rows: {wording.count(split.train_rows)} train, {wording.count(split.test_rows)} "
                f"test{took}"
            ),
            Shown(f"left out: {out or 'none'}"),
            *(Shown(line, "yellow") for line in wording.not_in_training(self.result)),
            *(Shown(line, "yellow") for line in resolution_words.lines(self.result)),
            *self._audit(),
            *(self._note(line) for line in self.result.answered),
            *(
                Shown(line)
                for line in (
                    wording.survivors(self.result),
                    wording.new_keys(self.result),
                    wording.money(self.result),
                )
                if line
            ),
            *(
                self._note(line)
                for line in (
                    wording.together(self.result),
                    f"Brackets are {wording.intervals(self.result)}",
                )
                if line
            ),
        ]

    def _audit(self) -> Sequence[RenderableType]:
        """The audit: questions stand out, the checks do not; the questions below the verdict are
        not repeated.
        """
        audit = self.result.audit
        return [
            Shown(f"audit: {audit_words.summary(audit)}", "bold red" if audit.blocking else ""),
            *(Shown(f"  {line}", "yellow") for line in audit_words.further_questions(audit)),
            *(self._note(f"  {line}") for line in audit_words.checks(audit)),
        ]

    def _note(self, line: str) -> Shown:
        return Shown(line, "dim")


def _two_lines(first: str, second: str) -> Cell:
    return (Shown(first), Shown(second, "dim")) if second else first
