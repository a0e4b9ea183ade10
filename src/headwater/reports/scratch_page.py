"""An assessment from scratch as sections: one HTML page, Markdown, and the terminal's tables are
written from them.
"""

from __future__ import annotations

from headwater.reports import document, wording
from headwater.reports.document import Block, Bullets, Section, Table, Text
from headwater.reports.page import render_plain
from headwater.results.scratch_result import ScratchResult


def to_sections(result: ScratchResult) -> list[Section]:
    """The sections, in reading order."""
    possible = (
        "Predictions can be computed before they are asked for"
        if result.precomputable
        else "Predictions cannot be precomputed"
    )
    rows = [[entry.name, ", ".join(entry.columns), entry.why] for entry in result.log]
    experiment: list[Block] = [Text(f"Plan for: {result.network.experiment}.")]
    if result.network.tells:
        experiment.append(Text(f"Why: {result.network.tells}."))
    if result.network.unanswered:
        experiment += [
            Text("Not answered; a yes may call for another experiment:"),
            Bullets(result.network.unanswered),
        ]
    return [
        Section(
            "precompute",
            "Can it be precomputed?",
            [
                Text(
                    f"{possible}: {result.reason}. An answer is due within "
                    f"{wording.duration(result.deadline_seconds)}."
                )
            ],
        ),
        Section("worth", "What a decision is worth", [Bullets(result.worth)]),
        Section(
            "log",
            "What to log from today on",
            [Table("One row each, appended", ("log", "columns", "what for"), rows)],
        ),
        Section("experiment", "The experiment", experiment),
        Section("expect", "What to expect", [Bullets(result.cautions)]),
    ]


def to_html(result: ScratchResult) -> str:
    """One self-contained page without scripts."""
    return render_plain(
        "scratch.html.j2", title="Where to begin", result=result, sections=to_sections(result)
    )


def to_markdown(result: ScratchResult) -> str:
    """The same as Markdown."""
    first = document.to_markdown(Section("verdict", result.first_line, [])).replace("## ", "# ", 1)
    return "\n\n".join([first, *map(document.to_markdown, to_sections(result))]) + "\n"
