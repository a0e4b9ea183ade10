"""The first screen of a backtest in a terminal: the sentence, its conditions and the levels; the
whole table and the page have the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headwater.reports import attribution_words, audit_words, resolution_words, wording
from headwater.results.audit_result import acknowledgement_note
from headwater.results.backtest_result import BacktestResult
from headwater.terminal.layout import PROSE, Group, Printed, Shown, ShownTable
from headwater.terminal.text import wrapped

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

LINES: Final = 25
_BELOW: Final = 3  # lines that the command prints below: where the pages are, and the next command
_STYLES: Final = {"LEAK": "bold red", "EMPTY": "bold red", "SUSPECT": "red", "question": "yellow"}


def to_screen(result: BacktestResult) -> RenderableType:
    """The verdict, what it depends on, and the levels, in as many lines as a small terminal has.

    Conditions that do not fit are counted; the verdict, findings of the audit and levels are always
    there.
    """
    return Printed(_FirstScreen(result))


@dataclass(frozen=True)
class _FirstScreen:
    result: BacktestResult

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        columns = min(options.max_width, PROSE)
        blocking, levels = self.result.audit.blocking, _levels(self.result)
        head = [
            Shown(wording.verdict(self.result), "bold red" if blocking else "bold"),
            Shown(wording.rest(self.result)),
        ]
        foot = [Shown(line, "dim") for line in _foot(self.result)]
        lines = [part for part in (*head, *_findings(self.result)) if part.text]
        used = sum(len(wrapped(part.text, columns)) for part in (*lines, *foot)) + len(
            console.render_lines(levels, options, pad=False)
        )
        yield from lines
        yield from _fitting(_conditions(self.result), LINES - _BELOW - used - 2, columns)
        yield Group(Shown(""), levels, Shown(""), *foot)


def _findings(result: BacktestResult) -> list[Shown]:
    """What the audit found."""
    return [
        Shown(
            f"- {finding.severity}: {audit_words.finding_line(finding)}", _STYLES[finding.severity]
        )
        for finding in result.audit.findings
    ]


def _conditions(result: BacktestResult) -> list[Shown]:
    """What else the verdict depends on, the most important first."""
    attribution = attribution_words.below_the_first_line(result)
    lines = [
        *([] if attribution is None else [attribution.plan]),
        *wording.limits(result),
        acknowledgement_note(result.audit),
        *(f"{location}: {difference}" for location, difference in wording.exceptions(result)),
        *wording.not_in_training(result),
        *resolution_words.lines(result),
        wording.survivors(result),
        wording.new_keys(result),
        wording.money(result),
    ]
    return [Shown(f"- {line}") for line in lines if line]


def _fitting(conditions: list[Shown], room: int, columns: int) -> Iterator[Shown]:
    """The conditions that fit into so many lines, in order, and how many do not."""
    lengths = [len(wrapped(condition.text, columns)) for condition in conditions]
    fit = next(
        (n for n in range(len(lengths), 0, -1) if sum(lengths[:n]) + (n < len(lengths)) <= room), 0
    )
    yield from conditions[:fit]
    if hidden := len(conditions) - fit:
        yield Shown(
            f"- and {hidden} more condition{'s' * (hidden > 1)}: --verbose shows "
            f"{'them' if hidden > 1 else 'it'}"
        )


def _levels(result: BacktestResult) -> ShownTable:
    """A line for each level: the headline metric, and what it gains over the level that serves."""
    metric = result.headline
    decimals, judged = (
        wording.places(result, metric),
        {step.to: step for step in wording.judged(result)},
    )
    covered = any(level.coverage < 1 for level in result.levels)
    rows = []
    for level in result.levels:
        step, estimate = judged.get(level.name), level.metrics.get(metric)
        age = "" if level.age_seconds is None else f", {wording.duration(level.age_seconds)}"
        rows.append(
            [
                level.name,
                f"{level.kind_words}{age}",
                wording.NO_VALUE if estimate is None else wording.number(estimate.value, decimals),
                *([wording.share(level.coverage)] if covered else []),
                *(["" if step is None else wording.gain(step, decimals)] if judged else []),
                *(["" if step is None else wording.verdict_word(result, step)] if judged else []),
            ]
        )
    gain = [f"gain over {result.compared_with}", "verdict"] if judged else []
    return ShownTable(
        "",
        [
            "level",
            "kind, mean age",
            wording.metric_label(metric),
            *(["covered"] if covered else []),
            *gain,
        ],
        rows,
    )


def _foot(result: BacktestResult) -> list[str]:
    """How many rows there were, and what the audit and the brackets are."""
    split = result.split
    out = sum(split.left_out.values())
    left_out = f", {wording.count(out)} left out" if out else ""
    return [
        (
            f"{wording.count(split.train_rows)} rows train, {wording.count(split.test_rows)} "
            f"test{left_out}; audit: {audit_words.summary(result.audit)}"
        ),
        "all metrics, slices, intervals and checks: --verbose, or the report",
    ]
