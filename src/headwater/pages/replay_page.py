"""A replayed day as a page, as Markdown, for a terminal and for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.definitions.level import at_level
from headwater.pages import answers_page, gap_section, wording
from headwater.pages.document import Bullets, Section, Text
from headwater.results.replay_result import ReplayResult

if TYPE_CHECKING:
    from rich.console import RenderableType

_LIMIT = (
    "The requests are those of the day: what other answers would have changed in the world is not "
    "in them."
)


def to_section(result: ReplayResult) -> Section:
    """Both sides, their gap, and what limits it."""
    counted = (
        f"{wording.count(result.requests)} requests, {wording.count(result.with_outcome)} with a "
        "known outcome."
    )
    blocks = [
        Text(f"{counted} Failing: {', '.join(result.failed) or 'nothing'}."),
        gap_section.answers_table({"served": result.served, "replayed": result.replayed}),
        *gap_section.gap_blocks(result.gap),
        *([Bullets(list(result.notes))] if result.notes else []),
        *gap_section.left_out_line(result.left_out),
        Text(_LIMIT, "quiet"),
    ]
    return Section("replay", "Served and replayed", blocks)


def to_html(result: ReplayResult) -> str:
    """One self-contained page."""
    eyebrow = (
        f"Replay of {result.day} ({result.timezone}): "
        f"{at_level(result.model, result.replayed.level)}"
    )
    return answers_page.to_html(
        f"{result.model}: replay of {result.day}", eyebrow, result.first_line, [to_section(result)]
    )


def to_markdown(result: ReplayResult) -> str:
    """The same as Markdown."""
    return answers_page.to_markdown(result.first_line, [to_section(result)])


def to_table(result: ReplayResult) -> RenderableType:
    """The same for a terminal."""
    return answers_page.to_table(result.first_line, [to_section(result)])


def to_notebook(result: ReplayResult) -> str:
    """The same for a notebook."""
    return answers_page.to_notebook(result.first_line, [to_section(result)])
