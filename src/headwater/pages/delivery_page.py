"""The page of promise against delivery: the verdict, and the weeks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headwater.definitions.level import at_level
from headwater.pages import delivery_words, figures, wording
from headwater.pages.document import Bullets, Cell, Figure, Table, Text
from headwater.pages.page import Condition, Fold, Page, Row, Rows, Tone, split_sentence
from headwater.results.estimate import Estimate
from headwater.results.promise_result import DeliveryResult, WeekDelivered

_MOST_ROWS: Final = 6
_TONES: Final[Mapping[str, Tone]] = {"missed": "worse", "no miss shown": "within"}
_CHOICES: Final = ("no miss shown", "withdrawn", "too early", "not judged")


def to_page(result: DeliveryResult) -> Page:
    """The page; the latest weeks stand on the first screen."""
    sentence, effect = split_sentence(result.first_line)
    promise = result.promise
    left_out = "; ".join(f"{wording.count(n)} {why}" for why, n in result.left_out.items())
    foot = {"checked": result.checked_at[:16].replace("T", " "), "not counted": left_out}
    return Page(
        "Promise against delivery",
        [at_level(promise.model, result.served_level)],
        sentence,
        effect,
        result.withdrawn,
        [(name, name == result.state) for name in _CHOICES],
        _figure(result) if result.judged else None,
        _rows(result),
        list(_conditions(result)),
        list(_notes(result)),
        _next(result),
        [
            Fold("Every week", f"{len(result.weeks)} weeks", [_table(result)]),
            Fold(
                "How weeks are judged",
                "",
                [
                    Text(delivery_words.rule(result)),
                    *([Bullets(reasons)] if (reasons := delivery_words.reasons(result)) else []),
                ],
            ),
        ],
        [(name, text) for name, text in foot.items() if text],
    )


def _figure(result: DeliveryResult) -> Figure:
    label = wording.metric_label(result.promise.metric)
    caption = (
        "Dots are judged weeks with 95 % intervals; the band is the backtest's. Intervals that "
        "overlap do not decide; the shortfall does."
    )
    return Figure(figures.delivered(result, label), result.first_line, caption, f"{label} by week")


def _rows(result: DeliveryResult) -> Rows | None:
    places = delivery_words.places(result.promise)
    label = wording.metric_label(result.promise.metric)
    rows = [
        Row(
            week.week,
            week.reason,
            [wording.number(week.delivered.value, places), wording.count(week.with_outcome)],
            week.shortfall if math.isfinite(week.shortfall.value) else None,
            "no miss" if week.state == "no miss shown" else week.state,
            _TONES.get(week.state, "none"),
            chosen=week.state == "missed",
        )
        for week in result.weeks[-_MOST_ROWS:]
    ]
    headings = ["week of", "reason", label, "outcomes"]
    least = result.promise.margin if math.isfinite(result.promise.margin) else 0.0
    caption = "The latest weeks; a shortfall is worse than promised"
    return Rows(caption, headings, rows, "shortfall", places, least) if rows else None


def _conditions(result: DeliveryResult) -> Iterator[Condition]:
    yield Condition(delivery_words.promised(result.promise), "declared")
    if line := delivery_words.from_table(result):
        yield Condition(line, "observed")
    if result.unjudged:
        yield Condition(f"{result.unjudged}.", "not observable")


def _notes(result: DeliveryResult) -> Iterator[str]:
    recommended = result.promise.recommendation
    if recommended:
        named = "Withdrawn recommendation" if result.withdrawn else "The backtest's recommendation"
        yield f"{named}: {recommended}"
    if result.withdrawn:
        yield from (f"Check first: {cause}." for cause in delivery_words.CAUSES)


def _next(result: DeliveryResult) -> list[tuple[str, str]]:
    model = f"--model {result.promise.model}"
    if result.withdrawn:
        return [
            (f"headwater parity {model} --served", "whether values are served as in training"),
            (f"headwater backtest {model}", "on recent requests, for a new promise"),
        ]
    if result.state == "too early":
        return [(f"headwater watch {model}", "again, once more outcomes are known")]
    return []


def _table(result: DeliveryResult) -> Table:
    """A row for each week."""
    label = wording.metric_label(result.promise.metric)
    headings: list[str | Cell] = [
        "week of",
        "predictions",
        "with outcome",
        "defaults",
        f"{label} of the week",
        Cell(f"{label} delivered", "judged weeks"),
        Cell("shortfall", "positive: worse than promised"),
        Cell("p", "a miss below"),
        "verdict",
    ]
    caption = "Weeks, Monday to Sunday, UTC. Brackets are 95 % intervals."
    return Table(caption, headings, [_row(result, week) for week in result.weeks])


def _row(result: DeliveryResult, week: WeekDelivered) -> Sequence[str | Cell]:
    places = delivery_words.places(result.promise)
    judged = math.isfinite(week.p)
    bracket = _bracket(week.delivered, places)
    return [
        week.week,
        wording.count(week.requests),
        wording.count(week.with_outcome),
        wording.count(week.defaults),
        wording.number(week.value, places),
        Cell(
            wording.number(week.delivered.value, places),
            f"{bracket} from {week.window_from}" if bracket else "",
        ),
        Cell(
            wording.number(week.shortfall.value, places, signed=True),
            _bracket(week.shortfall, places),
        ),
        Cell(_probability(week.p), _probability(week.level)) if judged else wording.NO_VALUE,
        Cell(week.state, "", "chip harm" if week.state == "missed" else ""),
    ]


def _bracket(value: Estimate, places: int) -> str:
    return wording.interval(value.low, value.high, places)


def _probability(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
