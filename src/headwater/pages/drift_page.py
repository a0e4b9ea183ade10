"""The page of drift since training: the verdict, and the features that moved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from headwater.definitions.level import at_level
from headwater.pages import drift_words, wording
from headwater.pages.document import Bullets, Cell, Table, Text
from headwater.pages.page import Condition, Fold, Page, Row, Rows, Tone, split_sentence
from headwater.results.drift_result import DriftResult, FeatureDrift
from headwater.results.estimate import Estimate

_MOST_ROWS: Final = 6
_TONES: Final[Mapping[str, Tone]] = {
    "alert": "worse",
    "shifted": "not proven",
    "no shift shown": "within",
}


def to_page(result: DriftResult) -> Page:
    """The page; the features that moved most stand on the first screen."""
    sentence, effect = split_sentence(result.first_line)
    expected = [str(check) for check in result.expectations]
    failed = [check for check in result.expectations if not check.holds]
    held = len(expected) - len(failed)
    conditions = [Condition(str(check), "contradicted") for check in failed]
    if held:
        conditions.append(Condition(f"{held} expectations of views hold.", "observed"))
    details = [line for feature in result.shifted for line in drift_words.details(feature)]
    return Page(
        "Drift",
        [at_level(result.model, result.level), f"version {result.version}"],
        sentence,
        effect,
        bool(result.alerts),
        rows=_rows(result),
        conditions=conditions,
        notes=details[:_MOST_ROWS],
        folds=[
            Fold("Every feature", f"{len(result.features)} features", [_table(result)]),
            Fold("How drift is judged", "", [Text(drift_words.RULE)]),
            *([Fold("Expectations of views", "", [Bullets(expected)])] if expected else []),
        ],
        foot=[
            ("checked", result.checked_at[:16].replace("T", " ")),
            ("trained until", result.trained_until[:10]),
        ],
    )


def _rows(result: DriftResult) -> Rows | None:
    rows = []
    for feature in result.features[:_MOST_ROWS]:
        day = feature.days[-1] if feature.days else None
        rows.append(
            Row(
                feature.feature,
                feature.reason or feature.since,
                [wording.NO_VALUE if day is None else _share(day.null_share)],
                None if day is None else Estimate(day.psi, math.nan, math.nan),
                feature.state,
                _TONES.get(feature.state, "none"),
                chosen=feature.state == "alert",
            )
        )
    more = len(result.features) - len(rows)
    caption = f"Features that are furthest from training{f'; {more} more below' if more else ''}"
    headings = ["feature", "since", "null"]
    return Rows(caption, headings, rows, "stability index (PSI)", 2) if rows else None


def _table(result: DriftResult) -> Table:
    """A row for each feature, on its latest day."""
    headings: list[str | Cell] = [
        "feature",
        "verdict",
        Cell("PSI", "by chance below"),
        Cell("null", "in training"),
        "what moved most",
        "statuses",
        "since",
        "rows of the day",
    ]
    return Table(
        f"Version {result.version}, trained until {result.trained_until[:10]}; the latest whole "
        "day, UTC.",
        headings,
        [_row(feature) for feature in result.features],
    )


def _row(feature: FeatureDrift) -> Sequence[str | Cell]:
    if not feature.days:
        return [feature.feature, Cell(feature.state, feature.reason), *[wording.NO_VALUE] * 6]
    day = feature.days[-1]
    chip = "chip harm" if feature.state == "alert" else ""
    return [
        feature.feature,
        Cell(feature.state, feature.reason, chip),
        Cell(wording.number(day.psi, 2), wording.number(day.limit, 2)),
        Cell(_share(day.null_share), _share(feature.reference[-1])),
        drift_words.moved_most(feature) if day.shifted else "",
        drift_words.statuses(feature) if day.status_shifted else "",
        feature.since,
        wording.count(day.rows),
    ]


def _share(share: float) -> str:
    return f"{share:.1%}"
