"""One page for every result: what a reader sees first, and what is folded below. Terminal, HTML,
notebook and Markdown are drawn from it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headwater.pages.document import Block, Figure
from headwater.results.estimate import Estimate

State = Literal["observed", "declared", "contradicted", "not observable"]
"""Of a condition: whether data have shown it, somebody said it, data have shown the opposite, or no
data can show it.
"""
Tone = Literal["wins", "within", "not proven", "worse", "none"]
"""Of a row: shape and colour of its last word."""


@dataclass(frozen=True)
class Row:
    """A row of the first table.

    note: below its name. value: its difference, which is drawn; None where there is none. state:
    what came of it, in a word or two. chosen: whether the sentence is about it.
    """

    name: str
    note: str
    cells: Sequence[str]
    value: Estimate | None = None
    state: str = ""
    tone: Tone = "none"
    chosen: bool = False


@dataclass(frozen=True)
class Rows:
    """The first table: at most six rows, whose differences share one axis.

    headings: of names and cells. title: of the differences. places: their decimals. least: the
    difference that is worth having; 0 where none is given.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Row]
    title: str = ""
    places: int = 3
    least: float = 0.0


@dataclass(frozen=True)
class Condition:
    """What the first sentence rests on. why: the evidence, and what answers it."""

    text: str
    state: State
    why: str = ""


@dataclass(frozen=True)
class Fold:
    """Details under a title. brief: what a reader knows without opening it."""

    title: str
    brief: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A result as people read it.

    kind, subject: of which result, and on what. sentence: the action with the weightiest condition
    that is only declared; effect: what it changes, in the unit of the picture. choices: what could
    have come out, and whether it did. notes: what else limits the sentence. next: commands, each
    with what it settles; a step that is no command has an empty one. foot: who made it, when, on
    what.
    """

    kind: str
    subject: Sequence[str]
    sentence: str
    effect: str = ""
    bad: bool = False
    choices: Sequence[tuple[str, bool]] = ()
    picture: Figure | None = None
    rows: Rows | None = None
    conditions: Sequence[Condition] = ()
    notes: Sequence[str] = ()
    next: Sequence[tuple[str, str]] = ()
    folds: Sequence[Fold] = ()
    foot: Sequence[tuple[str, str]] = ()


def split_sentence(line: str) -> tuple[str, str]:
    """The first sentence of a line, and the rest.

    >>> split_sentence("Stay daily. Hourly adds 0.3.")
    ('Stay daily.', 'Hourly adds 0.3.')
    """
    sentence, stop, rest = line.partition(". ")
    return sentence + stop.strip(), rest


def joined(pages: Sequence[Page]) -> Page:
    """Several results on one page: the first leads, the others are folds and conditions of it."""
    first, *others = pages
    return replace(
        first,
        bad=any(page.bad for page in pages),
        conditions=[condition for page in pages for condition in page.conditions],
        notes=[
            *(f"{page.kind}: {page.sentence} {page.effect}".strip() for page in others),
            *(note for page in pages for note in page.notes),
        ],
        next=[step for page in pages for step in page.next],
        folds=[
            *first.folds,
            *(
                replace(fold, title=f"{page.kind}: {fold.title}")
                for page in others
                for fold in page.folds
            ),
        ],
    )
