"""The result as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

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
from headwater.reports.terminal import VERDICT_STYLES, Printed, empty_table, plain
from headwater.results.audit_result import acknowledgement_note
from headwater.results.backtest_result import BacktestResult, LevelResult
from headwater.results.estimate import Comparison

if TYPE_CHECKING:
    from rich.table import Table

_WIDE = 100


def to_table(result: BacktestResult) -> RenderableType:
    """The result as rich prints it: the verdict, then levels, steps, slices, rows left out and the audit.

    It fits 100 columns; below that it drops the third metric. Where the console cannot write UTF-8
    everything is ASCII, and other characters in names are written as escapes.
    """
    return Printed(_Report(result))


@dataclass(frozen=True)
class _Report:
    """A renderable that reads the console's width and encoding when it is printed."""

    result: BacktestResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield _Writer(self.result, options.max_width >= _WIDE, options.ascii_only).report()


@dataclass(frozen=True)
class _Writer:
    """The tables for a known width and character set."""

    result: BacktestResult
    wide: bool
    ascii_only: bool

    def report(self) -> Group:
        parts: list[RenderableType] = [*self._verdict(), Text(), self._levels()]
        if any(level.replayed for level in self.result.levels):
            parts.append(self._note("Replayed: the freshest level's model, not retrained, on this level's features."))
        for table in (self._steps(), self._transitions(), self._folds(), self._slices()):
            if table is not None:
                parts += [Text(), table]
        attribution = attribution_words.below_the_first_line(self.result)
        if attribution is not None:
            parts += [Text(), attribution_section.to_table(attribution)]
        return Group(*parts, Text(), *self._foot())

    def text(self, text: str, style: str = "") -> Text:
        """A styled string for this console."""
        return plain(text, style, ascii_only=self.ascii_only)

    def _verdict(self) -> list[RenderableType]:
        audit = self.result.audit
        lines: list[RenderableType] = [self.text(wording.verdict(self.result), "bold red" if audit.blocking else "bold")]
        lines += [Padding(self.text(line, "red"), (0, 0, 0, 2)) for line in audit_words.blocking(audit)]
        lines += [
            self.text(line) for line in (wording.rest(self.result), *wording.limits(self.result), acknowledgement_note(audit)) if line
        ]
        lines += [Padding(self.text(line, "yellow"), (0, 0, 0, 2)) for line in audit_words.conditions(audit)]
        lines += [Padding(self.text(f"{where}: {what}", "yellow"), (0, 0, 0, 2)) for where, what in wording.exceptions(self.result)]
        lines += [self.text(line) for line in evidence_words.of_experiments(self.result)]
        return lines

    def _table(self, title: str) -> Table:
        return empty_table(title, ascii_only=self.ascii_only)

    def _levels(self) -> Table:
        metrics = self._metrics()
        replayed = any(level.replayed for level in self.result.levels)
        table = self._table("Levels")
        table.add_column("level\nkind, mean age", overflow="fold", max_width=24)
        for metric in metrics:
            table.add_column(self.text(wording.metric_label(metric)), overflow="fold", max_width=18)
        table.add_column("covered", overflow="fold", justify="right")
        if replayed:
            table.add_column("replayed", overflow="fold", justify="right")
        for level in self.result.levels:
            age = "" if level.age_seconds is None else f", {wording.duration(level.age_seconds)}"
            cells = [
                self._two_lines(level.name, f"{level.kind_words}{age}"),
                *(self._value(level, metric) for metric in metrics),
                self.text(wording.share(level.coverage)),
            ]
            table.add_row(*cells, *([self._replayed(level)] if replayed else []))
        return table

    def _two_lines(self, first: str, second: str) -> Text:
        return self.text(first).append("\n").append_text(self.text(second, "dim")) if second else self.text(first)

    def _metrics(self) -> list[str]:
        return recommendation_words.ordered_metrics(self.result)[: 3 if self.wide else 2]

    def _value(self, level: LevelResult, metric: str) -> Text:
        if metric not in level.metrics:
            return self.text(wording.NO_VALUE)
        decimals, value = wording.places(self.result, metric), level.metrics[metric]
        return self._two_lines(wording.number(value.value, decimals), wording.interval(value.low, value.high, decimals))

    def _replayed(self, level: LevelResult) -> Text:
        if self.result.headline not in level.replayed:
            return Text()
        return self.text(wording.number(level.replayed[self.result.headline], wording.places(self.result, self.result.headline)), "dim")

    def _steps(self) -> Table | None:
        metric = self.result.headline
        known = wording.shown_steps(self.result)
        if not known:
            return None
        table = self._table(f"Differences in {wording.metric_label(metric)} (+ is a gain)")
        both = self.wide and bool(fixed_models.by_step(self.result))
        for heading in ("step", "gain", "verdict", *([fixed_models.HEADING] if both else [])):
            table.add_column(heading, overflow="fold")
        for step in known:
            table.add_row(
                self.text(f"{step.from_} {wording.ARROW} {step.to}"),
                self.text(wording.gain(step, wording.places(self.result, metric))),
                self._word(step),
                *([self.text(fixed_models.gain(self.result, step), "dim")] if both else []),
            )
        return table

    def _word(self, step: Comparison) -> Text:
        word = wording.verdict_word(self.result, step)
        return self.text(word, VERDICT_STYLES.get(word, ""))

    def _transitions(self) -> Table | None:
        if not self.result.transitions:
            return None
        table = self._table("From precomputed predictions to real time")
        for heading in ("transition", "step", "covered", "of new keys"):
            table.add_column(heading, overflow="fold")
        for step in self.result.transitions:
            ends = [f"{wording.share(a)} {wording.ARROW} {wording.share(b)}" for a, b in (step.coverage, step.coverage_of_new)]
            table.add_row(
                self.text(str(step.number)), self.text(f"{step.from_} {wording.ARROW} {step.to}"), *(self.text(covered) for covered in ends)
            )
        return table

    def _folds(self) -> Table | None:
        if not self.result.folds:
            return None
        metric = self.result.headline
        table, decimals = self._table(f"{wording.metric_label(metric)} of each fold"), wording.places(self.result, metric)
        for heading in ("split", "rows", *(level.name for level in self.result.levels)):
            table.add_column(self.text(heading), overflow="fold", max_width=18)
        for fold in self.result.folds:
            values = [fold.values[level.name].get(metric, math.nan) for level in self.result.levels]
            table.add_row(
                self.text(fold.split[:10]),
                self.text(wording.count(fold.test_rows)),
                *(self.text(wording.number(value, decimals)) for value in values),
            )
        return table

    def _slices(self) -> Table | None:
        main = wording.main_step(self.result)
        if main is None or not self.result.slices:
            return None
        decimals = wording.places(self.result, self.result.headline)
        table = self._table(f"Slices: {main.from_} {wording.ARROW} {main.to}")
        for heading in ("slice", "rows", "gain", "verdict"):
            table.add_column(heading, overflow="fold", justify="right" if heading == "rows" else "left")
        for slice_result in self.result.slices:
            level_of = wording.like(slice_result.comparisons, main)
            gain = wording.gain(level_of[0], decimals) if level_of else wording.NO_VALUE
            judged = self._word(level_of[0]) if level_of else self.text(slice_result.note)
            named = self._two_lines(slice_result.name, slice_result.describes)
            table.add_row(named, self.text(wording.count(slice_result.rows)), self.text(gain), judged)
        return table

    def _foot(self) -> Sequence[RenderableType]:
        split = self.result.split
        out = ", ".join(f"{wording.count(rows)} {reason}" for reason, rows in split.left_out.items() if rows)
        total = self.result.seconds.get("total")
        took = f"; took {wording.duration(total)}" if total is not None else ""
        return [
            self.text(f"rows: {wording.count(split.train_rows)} train, {wording.count(split.test_rows)} test{took}"),
            self.text(f"left out: {out or 'none'}"),
            *(self.text(line, "yellow") for line in wording.not_in_training(self.result)),
            *(self.text(line, "yellow") for line in resolution_words.lines(self.result)),
            *self._audit(),
            *(self._note(line) for line in self.result.answered),
            *(
                self.text(line)
                for line in (wording.survivors(self.result), wording.new_keys(self.result), wording.money(self.result))
                if line
            ),
            *(self._note(line) for line in (wording.together(self.result), f"Brackets are {wording.intervals(self.result)}") if line),
        ]

    def _audit(self) -> Sequence[RenderableType]:
        """The audit: questions stand out, the checks do not; what stands below the verdict is not repeated."""
        audit = self.result.audit
        return [
            self.text(f"audit: {audit_words.summary(audit)}", "bold red" if audit.blocking else ""),
            *(Padding(self.text(line, "yellow"), (0, 0, 0, 2)) for line in audit_words.further_questions(audit)),
            *(Padding(self._note(line), (0, 0, 0, 2)) for line in audit_words.checks(audit)),
        ]

    def _note(self, line: str) -> Text:
        return self.text(line, "dim")
