"""Interleaving: which of two rankings the clicks of mixed lists prefer. It never says by how
much.
"""

from __future__ import annotations

from collections import Counter

import polars as pl

from headwater.experiments.request_labels import KNOWN, LABEL, MATURES, LabelsOf, request_labels
from headwater.experiments.team_draft import Preference, preference
from headwater.journal.exposure_rows import REQUEST, UNIT

LIST, TEAM = "list", "team"


def preferred(
    items: pl.DataFrame, labels: LabelsOf, left_out: Counter[str]
) -> tuple[Preference, int]:
    """The preference for the second ranking, and the number of lists whose clicks are final.

    Args:
        items: of the interleaved lists, as `read_interleaved` gives them: list, unit, at, position,
            item, team.
        labels: of the model whose items are ranked.
        left_out: gets counts of items that cannot be used.

    Raises:
        DataError: fewer than two units have a click.
    """
    shown = items.rename({LIST: REQUEST})
    clicks = request_labels(labels, shown, left_out).filter(pl.col(MATURES) <= labels.until)
    final = clicks.with_columns(
        pl.when(pl.col(KNOWN) <= labels.until).then(pl.col(LABEL)).fill_null(0.0).alias(LABEL)
    )
    named = shown.select(UNIT, REQUEST, "item", TEAM).unique(
        [UNIT, REQUEST, "item"], keep="first", maintain_order=True
    )
    by_list = (
        final.join(named, on=[UNIT, REQUEST, "item"], how="inner")
        .group_by(UNIT, REQUEST)
        .agg(
            *(
                pl.col(LABEL).filter(pl.col(TEAM) == team).sum().alias(f"team{team}")
                for team in (0, 1)
            )
        )
    )
    clicked = by_list.filter((pl.col("team0") + pl.col("team1")) > 0)
    second = (
        pl.when(pl.col("team1") > pl.col("team0"))
        .then(1.0)
        .when(pl.col("team1") == pl.col("team0"))
        .then(0.5)
        .otherwise(0.0)
    )
    by_unit = clicked.group_by(UNIT).agg(
        second.sum().alias("second"), (1.0 - second).sum().alias("first")
    )
    return preference(by_unit["first"].to_numpy(), by_unit["second"].to_numpy()), by_list.height
