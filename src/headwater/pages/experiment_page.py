"""The decision page of an experiment: as HTML, as Markdown, for a terminal and for a notebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headwater.pages import document, evidence_words, experiment_section, wording
from headwater.pages.document import Section
from headwater.pages.rendering import render, render_page
from headwater.results.experiment_result import ExperimentResult
from headwater.terminal.layout import Group, Printed, Shown, ShownTable

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {
    "real-time": "bold green",
    "harm": "bold red",
    "invalid": "bold red",
    "stay batch": "bold",
    "inconclusive": "bold yellow",
    "keep running": "bold",
}
_CHIPS = {
    "real-time": "chip lift",
    "harm": "chip harm",
    "invalid": "chip harm",
    "inconclusive": "chip warn",
}


def to_html(result: ExperimentResult) -> str:
    """One self-contained page."""
    title = f"{result.experiment}: {result.decision}"
    return render_page(
        "experiment.html.j2",
        title=title,
        result=result,
        chip=chip(result),
        look=look(result),
        backtest=evidence_words.of_backtest(result),
        sections=experiment_section.to_sections(result),
    )


def chip(result: ExperimentResult) -> str:
    """The class of the decision's label."""
    return _CHIPS.get(result.decision, "chip")


def look(result: ExperimentResult) -> str:
    """Which look the verdict is of, in words."""
    if not result.look:
        return f"before the first of {result.looks} looks"
    if not result.information:
        return f"look {result.look} of {result.looks}"
    share = wording.share(min(result.information[-1], 1.0))
    if result.information_by == "units":
        return f"look {result.look} of {result.looks}, {share} of the planned units"
    units = (
        f", with {wording.count(result.matured[-1])} units whose outcomes are final"
        if result.matured
        else ""
    )
    return f"look {result.look} of {result.looks}, {share} of the planned time{units}"


def to_markdown(result: ExperimentResult) -> str:
    """The same as Markdown."""
    first = document.to_markdown(Section("verdict", result.first_line, [])).replace("## ", "# ", 1)
    rule = " ".join(filter(None, [f"{look(result)}.", result.advice, result.rule]))
    backtest = Section(
        "backtest", "Backtest", [document.Text(line) for line in evidence_words.of_backtest(result)]
    )
    sections = [
        Section("rule", "Rule", [document.Text(rule)]),
        *([backtest] if backtest.blocks else []),
        *experiment_section.to_sections(result),
    ]
    return "\n\n".join([first, *map(document.to_markdown, sections)]) + "\n"


def to_table(result: ExperimentResult) -> RenderableType:
    """The verdict, the metrics and the checks, for a terminal."""
    metrics = [
        (
            metric.metric,
            metric.arm,
            metric.role,
            experiment_section.percent(metric.lift.value),
            (
                f"{experiment_section.percent(metric.lift.low)} to "
                f"{experiment_section.percent(metric.lift.high)}"
            )
            if math.isfinite(metric.lift.low)
            else "",
            wording.count(metric.units),
            ": ".join(filter(None, [metric.state, metric.note])),
        )
        for metric in result.metrics
    ]
    checks = [
        (line.check, line.status, line.evidence) for line in result.health if line.status != "ok"
    ]
    return Printed(
        Group(
            Shown(result.first_line, _STYLES[result.decision]),
            Shown(f"{look(result)}; plan {result.digest}"),
            *([Shown(result.advice)] if result.advice else []),
            *map(Shown, evidence_words.of_backtest(result)),
            *(
                [
                    ShownTable(
                        "Metrics",
                        ["metric", "arm", "role", "change", "interval", "units", "note"],
                        metrics,
                    )
                ]
                if metrics
                else []
            ),
            *(
                [ShownTable("Checks that are not ok", ["check", "status", "evidence"], checks)]
                if checks
                else [Shown("every check of health is ok")]
            ),
            *(Shown(line) for line in experiment_section.gaps(result)),
        )
    )


def to_text(result: ExperimentResult) -> str:
    """The table as plain text."""
    return repr(to_table(result))


def to_notebook(result: ExperimentResult) -> str:
    """A fragment of HTML for `_repr_html_`, without scripts."""
    gains, health = (
        experiment_section.gain_section(result),
        experiment_section.health_section(result),
    )
    rails = experiment_section.guardrail_section(result)
    lines = [*filter(None, [result.advice]), *evidence_words.of_backtest(result)]
    blocks: list[document.Block] = [document.Text(line) for line in lines]
    blocks += [
        block
        for section in (gains, rails, health)
        for block in section.blocks
        if block.shape != "figure"
    ]
    return render(
        "delivery_notebook.html.j2",
        result=result,
        section=Section("experiment", result.first_line, blocks),
    )
