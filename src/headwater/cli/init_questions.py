"""The questions of `headwater init`: all are listed with their options before the first; Enter
takes the proposal in brackets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.cli.command import Arguments
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError, UsageError, nearest

if TYPE_CHECKING:
    from headwater.definitions.connectors import DateOrder
    from headwater.init.tables import TableProfile

NO_LABEL = "none"
CAUTIOUS = "7d"  # until an outcome is known; a longer time only leaves out rows
_ORDERS: tuple[DateOrder, DateOrder] = ("day-first", "month-first")


def assumed(args: Arguments, full: Arguments) -> list[str]:
    """What --yes answered, to be checked."""
    if not args.yes:
        return []
    names = [
        name
        for name in ("label", "request_time", "known_at", "timezone")
        if getattr(args, name) is None and getattr(full, name)
    ]
    took = ", ".join(f"--{name.replace('_', '-')} {getattr(full, name)}" for name in names)
    return (
        [
            (
                f"--yes took {took}: check each, since a wrong one lets the future leak into "
                "training data"
            )
        ]
        if names
        else []
    )


@dataclass(frozen=True)
class _Question:
    """A fact that is not guessed: the question on a terminal, the option that answers it, and the
    check of an answer (None: valid).

    proposal: what Enter takes. safe: whether --yes may take it too.
    """

    text: str
    option: str
    wrong: Callable[[str], str | None]
    proposal: str | None = None
    safe: bool = True


def answered(
    args: Arguments, screen: Screen, events: TableProfile, labels: TableProfile
) -> Arguments:
    """The options, completed by answers from the terminal.

    Raises:
        UsageError: options are missing without a terminal (one message names all of them); or an
            option is invalid.
    """
    full = Arguments(**vars(args))
    if args.dates not in (None, *_ORDERS):
        raise UsageError(f"--dates {args.dates}: give {' or '.join(_ORDERS)}")
    missing: list[str] = []
    _announce(full, screen, events, labels)
    full.dates = _if_open(full.dates, _dates(events, labels), missing, args, screen)
    full.label = _if_open(full.label, _label(args, screen, events, labels), missing, args, screen)
    if full.label != NO_LABEL:
        _ask_times(full, args, screen, labels, missing)
    naive = _naive(full, events, labels)
    if naive or full.timezone:
        full.timezone = _answer(
            full.timezone,
            _zone(naive, all_naive=_all_naive(events, labels)),
            missing,
            screen,
            yes=args.yes,
        )
    if missing:
        raise UsageError(
            f"give {'; and '.join(missing)}. A wrong guess would let the future leak into "
            "training data, so headwater does not guess"
        )
    return full


def _ask_times(
    full: Arguments, args: Arguments, screen: Screen, labels: TableProfile, missing: list[str]
) -> None:
    """When predictions are requested, and when their outcomes are known."""
    if not labels.time_columns:
        numbers = [c for c in labels.numbers if labels.distinct[c] > 1][:6]
        such = (
            (
                f"; if one of {', '.join(numbers)} is seconds or milliseconds since 1970, name it "
                "with --request-time"
            )
            if numbers
            else ""
        )
        raise UsageError(
            f"{labels.path} has no column of times; labels need the time of each request{such}"
        )
    full.request_time = _answer(
        full.request_time, _request_time(labels), missing, screen, yes=args.yes
    )
    if full.known_at is None and full.known_after is None:
        answer = _answer(None, _known_question(labels), missing, screen, yes=args.yes)
        full.known_at, full.known_after = (
            (answer, None) if answer in labels.time_columns else (None, answer)
        )
    elif full.known_after is not None and (wrong := _no_duration(full.known_after, labels)):
        raise UsageError(wrong)


def _if_open(
    value: str | None,
    question: _Question | None,
    missing: list[str],
    args: Arguments,
    screen: Screen,
) -> str | None:
    return (
        value
        if question is None or value is not None
        else _answer(None, question, missing, screen, yes=args.yes)
    )


def _dates(events: TableProfile, labels: TableProfile) -> _Question | None:
    """The order of day and month, where dates can be read both ways."""
    columns = {**labels.ambiguous, **events.ambiguous}
    if not columns:
        return None
    name, value = next(iter(columns.items()))
    return _Question(
        f"Is the day or the month first in {', '.join(columns)}, such as {value}? day-first or "
        "month-first",
        f"the order of dates such as {value} in {name}, which may be both: --dates day-first, or "
        "--dates month-first",
        lambda answer: (
            None
            if answer in _ORDERS
            else f"{answer!r} is not an order; give {' or '.join(_ORDERS)}"
        ),
        _shorter(events, labels),
        safe=False,
    )


def _shorter(events: TableProfile, labels: TableProfile) -> DateOrder:
    """The order of day and month that makes the dates of a table span less time: days that are read
    as months span years.
    """
    from headwater.init.tables import TableProfile

    table = events if events.ambiguous else labels
    name = next(iter(table.ambiguous))
    spans = []
    for order in _ORDERS:
        time = TableProfile(table.path, dates=order).time_columns.get(name)
        micros = [] if time is None else time.micros.drop_nulls().to_list()
        spans.append(float(max(micros) - min(micros)) if micros else float("inf"))
    return _ORDERS[spans.index(min(spans))]


def _label(
    args: Arguments, screen: Screen, events: TableProfile, labels: TableProfile
) -> _Question | None:
    """Which column is the outcome, where several could be and the user gave no table of labels or
    may choose.
    """
    from headwater.init.label_guess import LABEL_NAME, candidates

    possible = candidates(events, labels)
    if args.labels is None:
        named = [c for c in possible if LABEL_NAME.search(c)]
        could = (
            f"it could be {', '.join(possible[:6])}" if possible else "none of its columns could be"
        )
        return _Question(
            f"Which column of {events.path} is the outcome of a past request? "
            f"{', '.join(possible[:6])}, or {NO_LABEL} for sources and views only",
            f"LABELS, the table with outcomes; or --label COLUMN, the outcome in {events.path} "
            f"({could}); or --label {NO_LABEL} for sources and views only",
            lambda answer: _no_label(answer, possible),
            (named or [NO_LABEL])[0],
        )
    if len(possible) < 2 or args.yes or not screen.asks:
        return None  # the file names the others
    return _Question(
        f"Which column of {labels.path} is the outcome? {', '.join(possible[:6])}",
        f"the outcome: --label COLUMN ({', '.join(possible[:6])})",
        lambda answer: _no_label(answer, possible),
        possible[0],
    )


def _no_label(answer: str, possible: Sequence[str]) -> str | None:
    return (
        None
        if answer in (*possible, NO_LABEL)
        else f"{answer!r} cannot be the outcome; {nearest(answer, [*possible, NO_LABEL])}"
    )


def _request_time(labels: TableProfile) -> _Question:
    times = ", ".join(labels.time_columns)
    such = f"{next(iter(labels.time_columns))}-60m"
    return _Question(
        f"When is a prediction requested? A column of {labels.path} ({times}), or such as {such}",
        f"the request time: --request-time COLUMN, or such as --request-time {such} "
        f"({labels.path} has the times {times})",
        lambda answer: _no_asked(answer, labels),
        _earliest(labels),
    )


def _known_question(labels: TableProfile) -> _Question:
    times = ", ".join(labels.time_columns)
    return _Question(
        f"When is its outcome known? A column ({times}), or how long after the request, such as 2h",
        f"when the outcome is known: --known-at COLUMN ({times}), or --known-after DURATION after "
        "the request, such as --known-after 2h",
        lambda answer: None if answer in labels.time_columns else _no_duration(answer, labels),
        _latest(labels) or CAUTIOUS,
        safe=_latest(labels) is not None,
    )


def _earliest(labels: TableProfile) -> str | None:
    """The earliest time of the labels: later requests see more."""
    return (
        min(labels.time_columns.values(), key=lambda m: m.middle).name
        if labels.time_columns
        else None
    )


def _latest(labels: TableProfile) -> str | None:
    """The latest time of the labels, where there are several; one alone does not say when the
    outcome is known.
    """
    times = list(labels.time_columns.values())
    return max(times, key=lambda m: m.middle).name if len(times) > 1 else None


def _zone(naive: Sequence[str], *, all_naive: bool) -> _Question:
    return _Question(
        f"Which time zone are the times in {', '.join(naive)} in? Such as UTC or Europe/Oslo",
        f"the zone of the times in {', '.join(naive)}, which have none: --timezone ZONE, the zone "
        "of the clock that they were read from, such as --timezone Europe/Oslo",
        _no_zone,
        # one zone for all times keeps their order; a local time among others in UTC would not
        "UTC" if all_naive else None,
    )


def _no_asked(answer: str, labels: TableProfile) -> str | None:
    from headwater.init.guess import parse_asked

    try:
        column, _ = parse_asked(answer, labels.frame.columns)
    except HeadwaterError as error:
        return str(error)
    if column in labels.time_columns:
        return None
    problem = "is not a time" if column in labels.frame.columns else "is not a column"
    return (
        f"--request-time {answer}: {column!r} {problem} of {labels.path}; "
        f"{nearest(column, labels.time_columns)}"
    )


def _no_duration(answer: str, labels: TableProfile) -> str | None:
    from headwater.definitions.checks import micros

    try:
        micros(answer, "--known-after")
    except HeadwaterError as error:
        return f"{error}; or name a column of times: {', '.join(labels.time_columns)}"
    return None


def _no_zone(answer: str) -> str | None:
    from headwater.definitions.checks import check_timezone

    try:
        check_timezone(answer, "--timezone")
    except HeadwaterError as error:
        return str(error)
    return None


def _naive(args: Arguments, events: TableProfile, labels: TableProfile) -> list[str]:
    """The time columns without a zone that the file will use, as far as known."""
    from headwater.init.guess import parse_asked

    used = (
        [events.time_columns.get(args.event_time)]
        if args.event_time
        else list(events.time_columns.values())
    )
    request_time = (
        None
        if args.request_time is None
        else parse_asked(args.request_time, labels.frame.columns)[0]
    )
    used += [labels.time_columns.get(name) for name in (request_time, args.known_at) if name]
    used += [] if request_time or args.label == NO_LABEL else list(labels.time_columns.values())
    return list(
        dict.fromkeys(
            timestamp.name for timestamp in used if timestamp is not None and timestamp.naive
        )
    )


def _all_naive(events: TableProfile, labels: TableProfile) -> bool:
    return all(
        timestamp.naive for table in (events, labels) for timestamp in table.time_columns.values()
    )


def _announce(args: Arguments, screen: Screen, events: TableProfile, labels: TableProfile) -> None:
    """List every question with its option before the first is asked on a terminal."""
    if args.yes or not screen.asks:
        return
    naive, none = _naive(args, events, labels), args.label == NO_LABEL
    times = bool(labels.time_columns) and not none
    possible: Mapping[str, _Question | None] = {
        "dates": None if args.dates else _dates(events, labels),
        "label": None if args.label else _label(args, screen, events, labels),
        "request_time": _request_time(labels) if times and args.request_time is None else None,
        "known": _known_question(labels)
        if times and args.known_at is None and args.known_after is None
        else None,
        "timezone": _zone(naive, all_naive=_all_naive(events, labels))
        if naive and args.timezone is None
        else None,
    }
    questions = [question for question in possible.values() if question is not None]
    if len(questions) > 1:
        lines = [f"  {number}. {question.option}" for number, question in enumerate(questions, 1)]
        screen.say(
            "\n".join(
                [
                    (
                        f"{len(questions)} facts are asked for, each also an option; Enter takes "
                        "the answer in brackets:"
                    ),
                    *lines,
                ]
            )
        )


def _answer(
    value: str | None, question: _Question, missing: list[str], screen: Screen, *, yes: bool
) -> str | None:
    """The option, else the answer from the terminal, repeated until it is valid; without a
    terminal, add the option to `missing`.

    yes: take the proposal where there is a safe one.
    """
    if value is not None:
        if wrong := question.wrong(value):
            raise UsageError(wrong)
        return value
    if yes and question.safe and question.proposal is not None:
        return question.proposal
    if yes or not screen.asks:
        missing.append(question.option)
        return None
    while True:
        proposed = "" if question.proposal is None else f" [{question.proposal}]"
        line = screen.ask(f"{question.text}{proposed}")
        answer = line.strip() or question.proposal or ""
        if not line:  # the end of the input
            raise UsageError(f"give {question.option}")
        wrong = question.wrong(answer) if answer else question.option
        if not wrong:
            return answer
        screen.refuse(wrong)
