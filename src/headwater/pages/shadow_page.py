"""The page of a shadow: how challengers that are never served would have answered."""

from __future__ import annotations

from headwater.pages import gap_section, wording
from headwater.pages.document import Block, Text
from headwater.pages.page import Condition, Fold, Page, split_sentence
from headwater.results.replay_result import ShadowArm, ShadowResult

_LIMIT = (
    "A shadow shows errors, latency and how decisions differ. No lift: its answers changed nothing."
)


def to_page(result: ShadowResult) -> Page:
    """All arms in one table, then a fold for each challenger."""
    sentence, effect = split_sentence(result.first_line)
    sides = {result.champion: result.served, **{arm.arm: arm.answered for arm in result.arms}}
    counted = f"{wording.count(result.requests)}, {wording.count(result.with_outcome)} with outcome"
    left_out = gap_section.left_out_line(result.left_out)
    return Page(
        "Shadow",
        [
            f"{result.experiment}, version {result.version}",
            f"{result.champion} serves",
            f"{result.since} to {result.until}",
        ],
        sentence,
        effect,
        rows=gap_section.answers_rows(sides),
        conditions=[Condition(_LIMIT, "not observable")],
        notes=[note for arm in result.arms for note in arm.notes],
        folds=[
            Fold("Arms", "", [gap_section.answers_table(sides)]),
            *(Fold(f"{arm.arm} against what was served", "", _gap(arm)) for arm in result.arms),
        ],
        foot=[("requests", counted), *([("not counted", left_out)] if left_out else [])],
    )


def _gap(arm: ShadowArm) -> list[Block]:
    if arm.gap is None:
        return [Text(f"Not scored: {arm.error}")]
    return gap_section.gap_blocks(arm.gap)
