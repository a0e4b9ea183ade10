"""The page of a replayed day: what was served, and what would have been."""

from __future__ import annotations

from headwater.definitions.level import at_level
from headwater.pages import gap_section, wording
from headwater.pages.page import Condition, Fold, Page, split_sentence
from headwater.results.replay_result import ReplayResult

_LIMIT = (
    "The requests are those of the day: what other answers would have changed in the world is not "
    "in them."
)


def to_page(result: ReplayResult) -> Page:
    """Both sides, their gap, and what limits it."""
    sentence, effect = split_sentence(result.first_line)
    sides = {"served": result.served, "replayed": result.replayed}
    counted = f"{wording.count(result.requests)}, {wording.count(result.with_outcome)} with outcome"
    foot = {
        "requests": counted,
        "failing": ", ".join(result.failed),
        "not counted": gap_section.left_out_line(result.left_out),
    }
    return Page(
        "Replay",
        [
            at_level(result.model, result.replayed.level),
            f"{result.day} ({result.timezone})",
        ],
        sentence,
        effect,
        rows=gap_section.answers_rows(sides),
        conditions=[Condition(_LIMIT, "not observable")],
        notes=list(result.notes),
        folds=[
            Fold("Served and replayed", "", [gap_section.answers_table(sides)]),
            Fold("How they differ", "", gap_section.gap_blocks(result.gap)),
        ],
        foot=[(name, text) for name, text in foot.items() if text],
    )
