"""A shadow as a page, as Markdown, for a terminal and for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.pages import answers_page, gap_section, wording
from headwater.pages.document import Block, Bullets, Section, Text
from headwater.results.replay_result import ShadowArm, ShadowResult

if TYPE_CHECKING:
    from rich.console import RenderableType

_LIMIT = (
    "A shadow shows errors, latency and how decisions differ. No lift: its answers changed nothing."
)


def to_sections(result: ShadowResult) -> list[Section]:
    """All arms in one table, then a section for each challenger."""
    sides = {result.champion: result.served, **{arm.arm: arm.answered for arm in result.arms}}
    counted = f"{wording.count(result.requests)} requests from {result.since} to {result.until}, "
    blocks: list[Block] = [
        Text(f"{counted}{wording.count(result.with_outcome)} with a known outcome."),
        gap_section.answers_table(sides),
        *gap_section.left_out_line(result.left_out),
        Text(_LIMIT, "quiet"),
    ]
    return [Section("arms", "Arms", blocks), *map(_challenger, result.arms)]


def _challenger(arm: ShadowArm) -> Section:
    blocks: list[Block] = (
        [Text(f"Not scored: {arm.error}")] if arm.gap is None else gap_section.gap_blocks(arm.gap)
    )
    if arm.notes:
        blocks.append(Bullets(list(arm.notes)))
    return Section(f"arm-{arm.arm}", f"{arm.arm} against what was served", blocks)


def to_html(result: ShadowResult) -> str:
    """One self-contained page."""
    eyebrow = f"Shadow {result.experiment}, version {result.version}: {result.champion} serves"
    return answers_page.to_html(
        f"{result.experiment}: shadow", eyebrow, result.first_line, to_sections(result)
    )


def to_markdown(result: ShadowResult) -> str:
    """The same as Markdown."""
    return answers_page.to_markdown(result.first_line, to_sections(result))


def to_table(result: ShadowResult) -> RenderableType:
    """The same for a terminal."""
    return answers_page.to_table(result.first_line, to_sections(result))


def to_notebook(result: ShadowResult) -> str:
    """The same for a notebook."""
    return answers_page.to_notebook(result.first_line, to_sections(result))
