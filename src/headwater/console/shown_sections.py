"""Sections of reports as the console shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from headwater.reports.document import Block, Figure, Figures, Section


def for_console(sections: Iterable[Section], prefix: str = "") -> list[Section]:
    """Sections without drawings, which have inline styles, and with names that are unique on a page
    of several results.

    prefix: before the names of sections and figures.
    """
    return [
        Section(prefix + section.name, section.heading, blocks_for_console(section.blocks, prefix))
        for section in sections
    ]


def blocks_for_console(blocks: Sequence[Block], prefix: str = "") -> list[Block]:
    """As `for_console`, of the blocks of a section."""
    return [_shown(block, prefix) for block in blocks]


def _shown(block: Block, prefix: str) -> Block:
    if isinstance(block, Figure):
        return replace(block, name=prefix + block.name, instead=None)
    if isinstance(block, Figures):
        return Figures(
            [replace(figure, name=prefix + figure.name, instead=None) for figure in block.figures]
        )
    return block
