"""hw.operations.assess_scratch: where a team without a model and without data begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater import clock
from headwater.assessing.network import network
from headwater.assessing.questions import Answers, checked
from headwater.definitions.checks import Duration, micros, text
from headwater.definitions.evaluations import DecisionValue
from headwater.errors import UsageError
from headwater.reports.wording import listed
from headwater.results.assessment_parts import Effect, Network
from headwater.results.scratch_result import EventToLog, ScratchResult, Start

_HOUR, _DAY = 3_600, 86_400
_TEST_DAYS, _TRAIN_DAYS = 8, 24  # a verdict needs eight days of test, a quarter of the requests
SURVIVORS = (
    "Figures on cold starts will be too kind: logs hold only people who stayed. Log every request "
    "from today on, also of those who leave."
)


class ScratchAssessment(ScratchResult, frozen=True):
    """An assessment from scratch, which writes itself as a page."""

    def to_markdown(self) -> str:
        """The assessment as Markdown."""
        from headwater.reports.scratch_page import to_markdown

        return to_markdown(self)

    def write_html(self, path: str | Path) -> Path:
        """Write it as one self-contained HTML page, and return its path."""
        from headwater.reports.page import write_page
        from headwater.reports.scratch_page import to_html

        return write_page(path, to_html(self))


@dataclass(frozen=True)
class _Answers:
    """The answers, durations in seconds."""

    deadline: float
    known_before: float
    listable: bool
    outcome_after: float
    value: DecisionValue | None
    events: Sequence[str]
    key: str


def assess_scratch(
    *,
    deadline: Duration,
    known_before: Duration,
    listable: bool,
    outcome_after: Duration,
    events: Sequence[str],
    key: str = "user_id",
    value: DecisionValue | None = None,
    effects: Mapping[Effect, bool] | None = None,
) -> ScratchAssessment:
    """Where to begin without a model: precompute, or predict on request; what to log today; and the
    experiment to plan.

    Args:
        deadline: how long after it is asked for a prediction is still of use, such as "200ms" or
            "8h".
        known_before: how long before that it is known whom or what the prediction is about, such as
            "1d"; "0s" if only the request says.
        listable: whether everything that may be asked about can be listed ahead, such as all users.
        outcome_after: how long after the request its outcome is known, such as "30d".
        events: kinds of events that happen to the one who is asked about, such as ["logins",
            "payments"].
        key: what identifies that one, such as "user_id".
        value: what a decision is worth.
        effects: network effects, by name, as far as they are known: "supply", "adversaries",
            "feedback".

    Raises:
        UsageError: no event, or an answer that cannot be.

    >>> hw_start = assess_scratch(
    ...     deadline="200ms",
    ...     known_before="0s",
    ...     listable=False,
    ...     outcome_after="30d",
    ...     events=["payments"],
    ... )
    >>> print(hw_start)
    Predict on request, within 200ms, from the request alone; log payments from today on, and build no stream yet.
    >>> hw_start.first_backtest_days
    62.0
    """  # noqa: E501 (output as it is printed)
    if isinstance(events, str) or not [event for event in events if event.strip()]:
        raise UsageError(
            "events: give the kinds of events that happen to the one who is asked about, such as "
            "['logins', 'payments']"
        )
    seconds = {
        name: micros(duration, name) / 1e6
        for name, duration in (
            ("deadline", deadline),
            ("known_before", known_before),
            ("outcome_after", outcome_after),
        )
    }
    named = [event.strip() for event in events if event.strip()]
    parsed = _Answers(
        seconds["deadline"],
        seconds["known_before"],
        listable,
        seconds["outcome_after"],
        value,
        named,
        key,
    )
    answers: Answers = checked(
        {name: "yes" if yes else "no" for name, yes in (effects or {}).items()}, "effects: "
    )
    return _assessed(parsed, network(answers.effects))


def _assessed(parsed: _Answers, experiment: Network) -> ScratchAssessment:
    start, possible, reason = _start(parsed)
    return ScratchAssessment(
        at=clock.now().isoformat(timespec="seconds"),
        start=start,
        first_line=_first_line(parsed, start),
        precomputable=possible,
        reason=reason,
        deadline_seconds=parsed.deadline,
        worth=_worth(parsed.value),
        log=_log(parsed),
        first_backtest_days=_TRAIN_DAYS + _TEST_DAYS + parsed.outcome_after / _DAY,
        network=experiment,
        cautions=_cautions(parsed, start),
    )


def _start(parsed: _Answers) -> tuple[Start, bool, str]:
    """How to begin, whether predictions can be precomputed, and why."""
    ahead = _text(parsed.known_before)
    if parsed.listable and parsed.known_before >= _HOUR:
        return (
            "precompute",
            True,
            (
                f"all that may be asked about can be listed, {ahead} ahead: a job can predict for "
                "all of it before it is asked"
            ),
        )
    lacking = (
        "the entities of requests cannot be listed ahead"
        if not parsed.listable
        else f"it is known only {ahead} ahead, and a job takes longer"
    )
    if parsed.deadline >= _HOUR:
        return (
            "batch",
            False,
            (
                f"{lacking}; but an answer may take {_text(parsed.deadline)}, so a job each hour "
                "can score what was asked since"
            ),
        )
    return (
        "on request",
        False,
        (
            f"{lacking}, and the answer is due within {_text(parsed.deadline)}: the request itself "
            "has to be scored"
        ),
    )


def _first_line(parsed: _Answers, start: Start) -> str:
    events = listed(parsed.events)
    if start == "precompute":
        return (
            f"Precompute predictions with a nightly job; log {events} from today on, and build no "
            "service and no stream yet."
        )
    if start == "batch":
        return (
            f"Score requests with an hourly job; log {events} from today on, and build no service "
            "and no stream yet."
        )
    return (
        f"Predict on request, within {_text(parsed.deadline)}, from the request alone; log "
        f"{events} from today on, and build no stream yet."
    )


def _worth(value: DecisionValue | None) -> list[str]:
    """What a decision is worth, in sentences."""
    if value is None:
        return [
            (
                "Not known. Say what a hit is worth and a false alarm costs before anything is "
                "built: --value volume=...,acted_on=...,hit=..."
            )
        ]
    acted = value.volume * value.acted_on
    least = value.false_alarm / (value.hit + value.false_alarm)
    lines = [
        (
            f"{acted:,.6g} decisions are acted on a day. Were all of them right, they would bring "
            f"{_money(value.a_day(1.0))} a day: no model can bring more."
        ),
        (
            f"One more right of 100 that are acted on brings {_money(value.of_gain(0.01))} a day. "
            "A stream has to cost less than that for each."
        ),
    ]
    if least > 0:
        lines.append(
            f"It pays to act from {100 * least:.0f} right of 100 on; below that, false alarms "
            "cost more than hits bring."
        )
    return lines


def _log(parsed: _Answers) -> list[EventToLog]:
    """What to log from today on, the requests first."""
    key = parsed.key
    requests = EventToLog(
        "requests",
        ["request_id", key, "asked_at", "every field of the request"],
        "rows to train on: every request, acted on or not, with the fields as they were when it "
        "was asked",
    )
    outcomes = EventToLog(
        "outcomes",
        ["request_id", "outcome", "known_at"],
        "labels: when an outcome became known decides what may be trained on; a later correction "
        "is a new row",
    )
    actions = EventToLog(
        "actions",
        ["request_id", "score", "action", "share at random"],
        "what was done: a small share acted on at random keeps outcomes of what the model would "
        "have passed over",
    )
    events = [
        EventToLog(
            name,
            ["event_id", key, "happened_at (UTC)", "known_at", "its values"],
            "features: append rows, and never overwrite one",
        )
        for name in parsed.events
    ]
    return [requests, outcomes, actions, *events]


def _cautions(parsed: _Answers, start: Start) -> list[str]:
    days = _TRAIN_DAYS + _TEST_DAYS + parsed.outcome_after / _DAY
    lines = [
        (
            f"A first backtest is possible after about {days:,.0f} days of logs: {_TRAIN_DAYS} to "
            f"train on, {_TEST_DAYS} to test on, and {_text(parsed.outcome_after)} until the last "
            "outcome is known. It says which freshness pays."
        ),
        SURVIVORS,
    ]
    if start == "precompute":
        lines.append(
            "Who comes between two runs of the job has no prediction: decide what they get, and "
            "count them."
        )
    if start == "on request":
        lines.append(
            f"Measure how much of {_text(parsed.deadline)} is left after the network and the "
            "caller; decide what a late answer gets."
        )
    return lines


def _money(amount: float) -> str:
    return f"{amount:,.0f}" if abs(amount) >= 100 else f"{amount:,.3g}"


def _text(seconds: float) -> str:
    return text(round(seconds * 1e6))
