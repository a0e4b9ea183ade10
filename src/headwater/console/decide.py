"""Decide: what kept runs say of a model, the runs themselves, one by itself, and several side by
side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from headwater.console.console_context import ConsoleContext
from headwater.console.kept_decisions import decision_of, records, result_of
from headwater.console.page_types import ConsoleRequest, NotShown
from headwater.errors import HeadwaterError, UsageError, nearest
from headwater.kept_runs.run_page import page_of
from headwater.kept_runs.runs import KINDS, KeptRun
from headwater.pages import attribution_section, axis, backtest_page, figures, wording
from headwater.pages.assessment_page import cost_blocks
from headwater.pages.document import Block, Cell, Figure, Section, Table, Text
from headwater.results.assessment_result import AssessmentResult
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.cost_result import Cost
from headwater.results.readiness_result import Finding, Readiness
from headwater.results.result import Result
from headwater.results.stored_runs import RunRecord

R = TypeVar("R", bound=Result)
MOST_COMPARED: Final = 6
_LISTED: Final = 200
_COLOURS: Final = 6  # series of the style sheet


def decide(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """The variables of the page on one model: the query's, else the first with a run.

    Raises:
        NotShown: no model of that name.
    """
    names = [model.name for model in context.project.models]
    subjects = {record.subject for record in records(context)}
    chosen = request.one("model") or next(
        (name for name in names if name in subjects), next(iter(names), "")
    )
    if chosen and chosen not in names:
        raise NotShown(f"the project has no model {chosen[:100]!r}; {nearest(chosen[:100], names)}")
    run_records = records(context, chosen) if chosen else []
    backtest, assessment = (
        _latest(context, run_records, BacktestResult),
        _latest(context, run_records, AssessmentResult),
    )
    attribution = _latest(context, run_records, AttributionResult)
    evidence = assessment.result if backtest is None and assessment is not None else backtest
    earned = attribution or (assessment.attribution if assessment is not None else None)
    shown: list[Section] = []
    if evidence is not None:
        shown += [
            Section(
                "levels",
                "Levels",
                [
                    *filter(None, [backtest_page.curve(evidence)]),
                    backtest_page.metrics_table(evidence),
                ],
            )
        ]
    if isinstance(earned, AttributionResult):
        earns = [Text(earned.plan), *attribution_section.to_blocks(earned)]
        shown.append(Section("attribution", "Which views earn from freshness", earns))
    if assessment is not None and isinstance(assessment.cost, Cost):
        shown.append(Section("cost", "Cost", cost_blocks(assessment.cost)))
    return {
        "models": names,
        "chosen": chosen,
        "decision": decision_of(context, chosen) if chosen else None,
        "sections": shown,
        "checklist": checklist(assessment.readiness)
        if assessment is not None and isinstance(assessment.readiness, Readiness)
        else None,
        "runs": [
            record
            for record in records(context)
            if record.subject == chosen or record.subject not in names
        ][:_LISTED],
        "most": MOST_COMPARED,
        "file": context.file,
    }


def run(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """The variables of a run's own page.

    Raises:
        NotShown: no run is kept under this id.
        DataError: its result cannot be read.
    """
    record = _record(context, request.names["run"])
    shown = context.cached(
        ("sections", record.id, len(records(context))),
        3600.0,
        lambda: page_of(KeptRun(record, context.stored_runs)),
    )
    facts = [
        *record.definitions.items(),
        *((f"data of {name}", seen) for name, seen in record.data.items()),
    ]
    facts += [("commit", record.commit), ("headwater", record.headwater)]
    return {
        "record": record,
        "shown": shown,
        "facts": Section(
            "made-of",
            "Made of",
            [
                Table(
                    "Definitions, data and code",
                    ["what", "fingerprint or place"],
                    [list(fact) for fact in facts if fact[1]],
                )
            ],
        ),
    }


def compare(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """The variables of the page with runs side by side.

    Raises:
        UsageError: fewer than two runs, or too many.
    """
    ids = list(dict.fromkeys(request.every("run")))
    if not 2 <= len(ids) <= MOST_COMPARED:
        raise UsageError(f"choose 2 to {MOST_COMPARED} runs to compare; {len(ids)} were chosen")
    compared = [_record(context, name) for name in ids]
    all_runs = context.runs()
    places = dict(all_runs.differences(*ids))
    results = [
        (record, result)
        for record in compared
        if isinstance(result := _readable(context, record), BacktestResult)
    ]
    heads: list[str | Cell] = ["", *(_heading(record) for record in compared)]
    blocks: list[Block] = [Table("Figures", heads, _figure_rows(compared))]
    parts = [*_curves(results), Section("figures", "Side by side", blocks)]
    rows = [
        [name, *(value or wording.NO_VALUE for value in values)] for name, values in places.items()
    ]
    differing: Block = (
        Table("Definitions, data and code that differ", heads, rows)
        if rows
        else Text("Definitions, data and code are the same.")
    )
    return {
        "runs": compared,
        "sections": [*parts, Section("differences", "What differs", [differing])],
    }


def checklist(readiness: Readiness) -> Sequence[tuple[str, Sequence[Finding]]]:
    """The checks by what they are about, the worst first."""
    order = ["red", "unknown", "amber", "green"]
    groups: dict[str, list[Finding]] = {}
    for finding in sorted(readiness.findings, key=lambda finding: order.index(finding.state)):
        groups.setdefault(finding.about, []).append(finding)
    return list(groups.items())


def _latest(context: ConsoleContext, run_records: Sequence[RunRecord], kind: type[R]) -> R | None:
    for record in run_records:
        if KINDS.get(record.kind) is kind and isinstance(
            result := _readable(context, record), kind
        ):
            return result
    return None


def _readable(context: ConsoleContext, record: RunRecord) -> Result | None:
    """The result of a run; None where another version of headwater wrote it, as the run's own page
    says.
    """
    try:
        return result_of(context, record)
    except HeadwaterError:
        return None


def _record(context: ConsoleContext, name: str) -> RunRecord:
    every = {record.id: record for record in records(context)}
    if name not in every:
        raise NotShown(f"no run {name[:100]!r} is kept; {nearest(name[:100], every)}")
    return every[name]


def _heading(record: RunRecord) -> Cell:
    return Cell(record.subject, f"{record.kind}, {record.at[:16].replace('T', ' ')}")


def _figure_rows(compared: Sequence[RunRecord]) -> list[list[str | Cell]]:
    names = dict.fromkeys(name for record in compared for name in record.figures)
    return [
        [
            name,
            *(
                f"{record.figures[name]:.4g}" if name in record.figures else wording.NO_VALUE
                for record in compared
            ),
        ]
        for name in names
    ]


def _curves(results: Sequence[tuple[RunRecord, BacktestResult]]) -> list[Section]:
    """The curves of backtests with the same headline metric in one figure."""
    metric = results[0][1].headline if results else ""
    drawn = [
        (record, result)
        for record, result in results
        if result.headline == metric and axis.points(result)
    ]
    if len(drawn) < 2:
        return []
    label = wording.metric_label(metric)
    says = "; ".join(
        f"{record.subject} of {record.at[:10]}: {axis.summary(result)}" for record, result in drawn
    )
    named = {f"{record.subject} {record.at[:16]}": result for record, result in drawn}
    figure = Figure(
        figures.lift_curves(named),
        says,
        f"{label} by feature age, one line for each backtest. Bars are 95 % intervals.",
    )
    return [Section("curves", f"{label} by feature age", [figure])]
