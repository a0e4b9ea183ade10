"""Decide: what kept runs say of a model, the runs themselves, one by itself, and several side by
side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from headwater.console.console_context import ConsoleContext
from headwater.console.kept_decisions import decision_of, page_of_record, records, result_of
from headwater.console.page_types import ConsoleRequest, NotShown
from headwater.errors import HeadwaterError, UsageError, nearest
from headwater.pages import axis, figures, wording
from headwater.pages.document import Block, Cell, Figure, Section, Table, Text
from headwater.pages.page import Page
from headwater.results.backtest_result import BacktestResult
from headwater.results.result import Result
from headwater.results.stored_runs import RunRecord

R = TypeVar("R", bound=Result)
MOST_COMPARED: Final = 6
_LISTED: Final = 200


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
    decision = decision_of(context, chosen) if chosen else None
    record = None if decision is None else decision.record
    return {
        "models": names,
        "chosen": chosen,
        "decision": decision,
        "shown": None if record is None else _shown(context, record),
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
    facts = [
        *record.definitions.items(),
        *((f"data of {name}", seen) for name, seen in record.data.items()),
    ]
    facts += [("commit", record.commit), ("headwater", record.headwater)]
    return {
        "record": record,
        "shown": page_of_record(context, record),
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


def _shown(context: ConsoleContext, record: RunRecord) -> Page | None:
    """The page of a run; None where another version of headwater wrote it, as the run's own page
    says.
    """
    try:
        return page_of_record(context, record)
    except HeadwaterError:
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
