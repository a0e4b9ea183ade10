"""Write a first features.py from a table of events and a table of labels, each guess with its evidence.

Two facts are asked and never guessed, since a wrong guess lets the future leak into training data: the time of a prediction request,
and when its outcome is known.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Positional, Verb, option, switch
from headwater.cli.screen import Screen, visible
from headwater.errors import HeadwaterError, UsageError, nearest

if TYPE_CHECKING:
    from headwater.init.guess import InitAnswers
    from headwater.init.tables import TableProfile


def run(args: Arguments, screen: Screen) -> None:
    """Read the tables, ask for facts that cannot be guessed, and write the file."""
    if args.known_at and args.known_after:
        raise UsageError(
            "give --known-at or --known-after: the column with the time when the outcome was known, or how long after the request that is"
        )
    path = Path(args.output)
    if path.exists() and not args.force:
        raise UsageError(f"{path} exists; give another --output, or --force to overwrite it")
    options.output(path, "--output")
    from headwater.init.guess import InitAnswers, guess, label_remarks, remarks
    from headwater.init.tables import TableProfile
    from headwater.init.write import naive_columns, project_file

    events, labels = TableProfile(args.events), TableProfile(args.labels)
    answered = _answered(args, events, labels)
    full = InitAnswers(
        request_time=answered.request_time,
        known_at=answered.known_at,
        known_after=answered.known_after,
        timezone=answered.timezone,
        label=args.label,
        event_time=args.event_time,
        keys=_listed(args.keys),
        request=_listed(args.request),
    )
    guesses = guess(events, labels, full)
    if not naive_columns(guesses):
        full = replace(full, timezone=None)
    text = project_file(events, labels, full, guesses, _command(args, full))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    from headwater.cli.projects import load

    load(str(path))
    for remark in [*remarks(events, guesses), *label_remarks(labels, guesses), *assumed(args, full)]:
        screen.say(remark)
    screen.say(
        f"wrote {path}: a {guesses.task} model of {guesses.label.name}, with features by {', '.join(k.name for k in guesses.keys)}. "
        "Its comments give the evidence of each guess"
    )
    screen.next("headwater", "backtest", "--project", str(path))


def assumed(args: Arguments, answers: InitAnswers) -> list[str]:
    """What --yes answered, to be checked."""
    if not args.yes:
        return []
    names = [name for name in ("request_time", "known_at", "timezone") if getattr(args, name) is None and getattr(answers, name)]
    took = ", ".join(f"--{name.replace('_', '-')} {getattr(answers, name)}" for name in names)
    return [f"--yes took {took}: check each, since a wrong one lets the future leak into training data"] if names else []


@dataclass(frozen=True)
class _Question:
    """A fact that is not guessed: the question on a terminal, the option that answers it, and the check of an answer (None: valid)."""

    text: str
    option: str
    wrong: Callable[[str], str | None]
    proposal: str | None = None  # the answer of --yes, and of Enter


def _request_time(labels: TableProfile) -> _Question:
    times = ", ".join(labels.time_columns)
    such = f"{next(iter(labels.time_columns))}-60m"
    return _Question(
        f"When is a prediction requested? A column of {labels.path} ({times}), or such as {such}",
        f"the request time: --request-time COLUMN, or such as --request-time {such} ({labels.path} has the times {times})",
        lambda answer: _no_asked(answer, labels),
        _earliest(labels),
    )


def _known(labels: TableProfile) -> _Question:
    times = ", ".join(labels.time_columns)
    return _Question(
        f"When is its outcome known? A column ({times}), or how long after the request, such as 2h",
        f"when the outcome is known: --known-at COLUMN ({times}), or --known-after DURATION after the request, such as --known-after 2h",
        lambda answer: None if answer in labels.time_columns else _no_duration(answer, labels),
        _latest(labels),
    )


def _earliest(labels: TableProfile) -> str | None:
    """The earliest time of the labels: whatever is requested later sees more."""
    return min(labels.time_columns.values(), key=lambda m: m.middle).name if labels.time_columns else None


def _latest(labels: TableProfile) -> str | None:
    """The latest time of the labels, where there are several; one alone does not say when the outcome is known."""
    times = list(labels.time_columns.values())
    return max(times, key=lambda m: m.middle).name if len(times) > 1 else None


def _zone(naive: Sequence[str], *, all_naive: bool) -> _Question:
    return _Question(
        f"Which time zone are the times in {', '.join(naive)} in? Such as UTC or Europe/Oslo",
        f"the zone of the times in {', '.join(naive)}, which have none: --timezone ZONE, the zone of the clock that they were read from, such as "
        "--timezone Europe/Oslo",
        _no_zone,
        "UTC" if all_naive else None,  # one zone for all times keeps their order; a local time beside others in UTC would not
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
    return f"--request-time {answer}: {column!r} {problem} of {labels.path}; {nearest(column, labels.time_columns)}"


def _no_duration(answer: str, labels: TableProfile) -> str | None:
    from headwater.definitions.durations import micros

    try:
        micros(answer, "--known-after")
    except HeadwaterError as error:
        return f"{error}; or name a column of times: {', '.join(labels.time_columns)}"
    return None


def _no_zone(answer: str) -> str | None:
    from headwater.definitions.durations import check_timezone

    try:
        check_timezone(answer, "--timezone")
    except HeadwaterError as error:
        return str(error)
    return None


def _answered(args: Arguments, events: TableProfile, labels: TableProfile) -> Arguments:
    """The options, completed by answers from the terminal.

    Raises:
        UsageError: options are missing and there is no terminal (one message names all of them); or an option is invalid.
    """
    if not labels.time_columns:
        raise UsageError(f"{labels.path} has no column of times; labels need the time of each request")
    full = Arguments(**vars(args))
    missing: list[str] = []
    _announce(full, events, labels)
    full.request_time = _answer(full.request_time, _request_time(labels), missing, yes=args.yes)
    if full.known_at is None and full.known_after is None:
        known = _answer(None, _known(labels), missing, yes=args.yes)
        full.known_at, full.known_after = (known, None) if known in labels.time_columns else (None, known)
    elif full.known_after is not None and (wrong := _no_duration(full.known_after, labels)):
        raise UsageError(wrong)
    naive = _naive(full, events, labels)
    if naive or full.timezone:
        full.timezone = _answer(full.timezone, _zone(naive, all_naive=_all_naive(events, labels)), missing, yes=args.yes)
    if missing:
        raise UsageError(
            f"give {'; and '.join(missing)}. A wrong guess would let the future leak into training data, so headwater does not guess"
        )
    return full


def _naive(args: Arguments, events: TableProfile, labels: TableProfile) -> list[str]:
    """The time columns without a zone that the file will use, as far as known."""
    from headwater.init.guess import parse_asked

    used = [events.time_columns.get(args.event_time)] if args.event_time else list(events.time_columns.values())
    request_time = None if args.request_time is None else parse_asked(args.request_time, labels.frame.columns)[0]
    used += [labels.time_columns.get(name) for name in (request_time, args.known_at) if name]
    used += [] if request_time else list(labels.time_columns.values())
    return list(dict.fromkeys(timestamp.name for timestamp in used if timestamp is not None and timestamp.naive))


def _all_naive(events: TableProfile, labels: TableProfile) -> bool:
    return all(timestamp.naive for table in (events, labels) for timestamp in table.time_columns.values())


def _announce(args: Arguments, events: TableProfile, labels: TableProfile) -> None:
    """List every question with its option before the first is asked on a terminal."""
    if args.yes or not sys.stdin.isatty():
        return
    naive = _naive(args, events, labels)
    open_questions = [
        *([_request_time(labels)] if args.request_time is None else []),
        *([_known(labels)] if args.known_at is None and args.known_after is None else []),
        *([_zone(naive, all_naive=_all_naive(events, labels))] if naive and args.timezone is None else []),
    ]
    if len(open_questions) > 1:
        lines = [f"  {number}. {question.option}" for number, question in enumerate(open_questions, 1)]
        print(visible(f"{len(open_questions)} facts are asked for, each also an option:"), file=sys.stderr)
        print("\n".join(map(visible, lines)), file=sys.stderr, flush=True)


def _answer(value: str | None, question: _Question, missing: list[str], *, yes: bool) -> str | None:
    """The option, else the answer from the terminal, repeated until it is valid; without a terminal, add the option to `missing`.

    yes: take the proposal where there is one.
    """
    if value is not None:
        if wrong := question.wrong(value):
            raise UsageError(wrong)
        return value
    if yes and question.proposal is not None:
        return question.proposal
    if yes or not sys.stdin.isatty():
        missing.append(question.option)
        return None
    while True:
        print(visible(question.text), end="\n> ", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        answer = line.strip()
        if not line:  # the end of the input
            raise UsageError(f"give {question.option}")
        wrong = question.wrong(answer) if answer else question.option
        if not wrong:
            return answer
        print(visible(wrong), file=sys.stderr)


def _listed(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _command(args: Arguments, answers: object) -> str:
    """The command that writes the same file again without questions."""
    parts = ["headwater", "init", args.events, args.labels]
    for name in ("request_time", "known_at", "known_after", "timezone", "label", "event_time"):
        value = getattr(answers, name)
        parts += [f"--{name.replace('_', '-')}", value] if value else []
    for name in ("keys", "request"):
        value = getattr(answers, name)
        parts += [f"--{name}", ",".join(value)] if value else []
    return shlex.join(parts)


COMMAND = Verb(
    run,
    [
        Positional("events", metavar="EVENTS", help="the events that features are computed from: .parquet or .csv"),
        Positional("labels", metavar="LABELS", help="requests with their outcomes: .parquet or .csv; may be the same file"),
        option("--output", metavar="FILE", default="features.py", help="the file to write (default: {default})"),
        switch("--force", help="overwrite it"),
        switch(
            "--yes",
            help="ask nothing: the request is at the earliest time of LABELS, its outcome known at the latest, and times without a zone are UTC",
        ),
        option(
            "--request-time",
            old="--asked-at",
            metavar="COLUMN[-DURATION]",
            help="the time of the request: a column of LABELS, such as scheduled_at or scheduled_at-60m",
        ),
        option("--known-at", metavar="COLUMN", help="the column of LABELS with the time when the outcome was known"),
        option("--known-after", metavar="DURATION", help="how long after the request the outcome is known, such as 2h or 7d"),
        option("--timezone", metavar="ZONE", help="the zone of times that have none, such as UTC or Europe/Oslo"),
        option("--label", metavar="COLUMN", help="the outcome (default: guessed)"),
        option("--keys", metavar="COLUMNS", help="columns that identify the entity, such as user_id,card_id (default: guessed)"),
        option(
            "--event-time",
            metavar="COLUMN",
            help="when an event is known in full (default: one that no other time of its row exceeds, else the latest)",
        ),
        option("--request", metavar="COLUMNS", help="columns of LABELS that are known at the request, as request fields (default: none)"),
    ],
    help=__doc__,
)
