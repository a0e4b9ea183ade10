"""Write a first features.py from a table of events and a table of labels, each guess with what it rests on.

Two things are asked and never guessed, since a wrong guess lets the future leak into training data: when a prediction is asked for,
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
from headwater.cli.command import Given, Positional, Verb, option, switch
from headwater.cli.screen import Screen, visible
from headwater.errors import HeadwaterError, UsageError, nearest

if TYPE_CHECKING:
    from headwater.init.tables import TableProfile


def run(given: Given, screen: Screen) -> None:
    """Look at the tables, ask what cannot be guessed, and write the file."""
    if given.known_at and given.known_after:
        raise UsageError(
            "give --known-at or --known-after: a column that says when the outcome was known, or how long after the request it is"
        )
    place = Path(given.output)
    if place.exists() and not given.force:
        raise UsageError(f"{place} exists; give another --output, or --force to overwrite it")
    options.output(place, "--output")
    from headwater.init.guess import Answers, guess, remarks
    from headwater.init.tables import TableProfile
    from headwater.init.write import naive_columns, project_file

    events, labels = TableProfile(given.events), TableProfile(given.labels)
    answered = _answered(given, events, labels)
    full = Answers(
        asked_at=answered.asked_at,
        known_at=answered.known_at,
        known_after=answered.known_after,
        timezone=answered.timezone,
        label=given.label,
        event_time=given.event_time,
        keys=_listed(given.keys),
        request=_listed(given.request),
    )
    guesses = guess(events, labels, full)
    if not naive_columns(events, guesses):
        full = replace(full, timezone=None)
    text = project_file(events, labels, full, guesses, _command(given, full))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    from headwater.cli.projects import load

    load(str(place))
    for remark in remarks(events, guesses):
        screen.say(remark)
    screen.say(
        f"wrote {place}: a {guesses.task} model of {guesses.label.name}, with features by {', '.join(k.name for k in guesses.keys)}. "
        "Read its comments: they say what was guessed, and from what"
    )
    screen.next("headwater", "backtest", "--project", str(place))


@dataclass(frozen=True)
class _Question:
    """What is not guessed: how a terminal is asked for it, which option answers it, and what is wrong with an answer (None: nothing)."""

    text: str
    option: str
    wrong: Callable[[str], str | None]


def _asked_at(labels: TableProfile) -> _Question:
    times = ", ".join(labels.moments)
    such = f"{next(iter(labels.moments))}-60m"
    return _Question(
        f"When is a prediction asked for? A column of {labels.path} ({times}), or such as {such}",
        f"when a prediction is asked for: --asked-at COLUMN, or such as --asked-at {such} ({labels.path} has the times {times})",
        lambda answer: _no_asked(answer, labels),
    )


def _known(labels: TableProfile) -> _Question:
    times = ", ".join(labels.moments)
    return _Question(
        f"When is its outcome known? A column ({times}), or how long after the request, such as 2h",
        f"when the outcome is known: --known-at COLUMN ({times}), or --known-after DURATION after the request, such as --known-after 2h",
        lambda answer: None if answer in labels.moments else _no_duration(answer, labels),
    )


def _zone(naive: Sequence[str]) -> _Question:
    return _Question(
        f"Which time zone are the times in {', '.join(naive)} in? Such as UTC or Europe/Oslo",
        f"the zone of the times in {', '.join(naive)}, which have none: --timezone ZONE, such as --timezone UTC",
        _no_zone,
    )


def _no_asked(answer: str, labels: TableProfile) -> str | None:
    from headwater.init.guess import parse_asked

    try:
        column, _ = parse_asked(answer, labels.frame.columns)
    except HeadwaterError as error:
        return str(error)
    if column in labels.moments:
        return None
    what = "is not a time" if column in labels.frame.columns else "is not a column"
    return f"--asked-at {answer}: {column!r} {what} of {labels.path}; {nearest(column, labels.moments)}"


def _no_duration(answer: str, labels: TableProfile) -> str | None:
    from headwater.definitions.durations import micros

    try:
        micros(answer, "--known-after")
    except HeadwaterError as error:
        return f"{error}; or name a column of times: {', '.join(labels.moments)}"
    return None


def _no_zone(answer: str) -> str | None:
    from headwater.definitions.durations import check_timezone

    try:
        check_timezone(answer, "--timezone")
    except HeadwaterError as error:
        return str(error)
    return None


def _answered(given: Given, events: TableProfile, labels: TableProfile) -> Given:
    """The options, with answers from the terminal where they say nothing.

    Raises:
        UsageError: options are missing and nobody is at a terminal, all of them in one message; or one is wrong.
    """
    if not labels.moments:
        raise UsageError(f"{labels.path} has no column of times; labels need one that says when each prediction was asked for")
    full = Given(**vars(given))
    missing: list[str] = []
    full.asked_at = _answer(full.asked_at, _asked_at(labels), missing)
    if full.known_at is None and full.known_after is None:
        known = _answer(None, _known(labels), missing)
        full.known_at, full.known_after = (known, None) if known in labels.moments else (None, known)
    elif full.known_after is not None and (wrong := _no_duration(full.known_after, labels)):
        raise UsageError(wrong)
    naive = _naive(full, events, labels)
    if naive or full.timezone:
        full.timezone = _answer(full.timezone, _zone(naive), missing)
    if missing:
        raise UsageError(
            f"say {'; and '.join(missing)}. A wrong guess would let the future leak into training data, so headwater guesses none of it"
        )
    return full


def _naive(given: Given, events: TableProfile, labels: TableProfile) -> list[str]:
    """The columns of times without a zone that the file will use, as far as is known by now."""
    from headwater.init.guess import parse_asked

    used = [events.moments.get(given.event_time)] if given.event_time else list(events.moments.values())
    asked = None if given.asked_at is None else parse_asked(given.asked_at, labels.frame.columns)[0]
    used += [labels.moments.get(name) for name in (asked, given.known_at) if name]
    used += [] if asked else list(labels.moments.values())
    return list(dict.fromkeys(moment.name for moment in used if moment is not None and moment.naive))


def _answer(given: str | None, question: _Question, missing: list[str]) -> str | None:
    """The option, else the answer from the terminal, asked for again until it is right; without a terminal, note what is missing."""
    if given is not None:
        if wrong := question.wrong(given):
            raise UsageError(wrong)
        return given
    if not sys.stdin.isatty():
        missing.append(question.option)
        return None
    while True:
        print(visible(question.text), end="\n> ", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        answer = line.strip()
        if not line:  # the end of the input
            raise UsageError(f"say {question.option}")
        wrong = question.wrong(answer) if answer else question.option
        if not wrong:
            return answer
        print(visible(wrong), file=sys.stderr)


def _listed(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _command(given: Given, answers: object) -> str:
    """The command that writes the same file again without asking."""
    parts = ["headwater", "init", given.events, given.labels]
    for name in ("asked_at", "known_at", "known_after", "timezone", "label", "event_time"):
        value = getattr(answers, name)
        parts += [f"--{name.replace('_', '-')}", value] if value else []
    for name in ("keys", "request"):
        value = getattr(answers, name)
        parts += [f"--{name}", ",".join(value)] if value else []
    return shlex.join(parts)


COMMAND = Verb(
    run,
    [
        Positional("events", metavar="EVENTS", help="what features are made of: .parquet or .csv"),
        Positional("labels", metavar="LABELS", help="requests with their outcomes: .parquet or .csv; may be the same file"),
        option("--output", metavar="FILE", default="features.py", help="the file to write (default: {default})"),
        switch("--force", help="overwrite it"),
        option(
            "--asked-at",
            metavar="COLUMN[-DURATION]",
            help="when a prediction is asked for: a column of LABELS, such as scheduled_at or scheduled_at-60m",
        ),
        option("--known-at", metavar="COLUMN", help="the column of LABELS that says when the outcome was known"),
        option("--known-after", metavar="DURATION", help="how long after the request the outcome is known, such as 2h or 7d"),
        option("--timezone", metavar="ZONE", help="the zone of times that have none, such as UTC or Europe/Oslo"),
        option("--label", metavar="COLUMN", help="the outcome (default: guessed)"),
        option("--keys", metavar="COLUMNS", help="whose events they are, such as user_id,card_id (default: guessed)"),
        option("--event-time", metavar="COLUMN", help="when an event is known in full (default: the latest time in EVENTS)"),
        option(
            "--request", metavar="COLUMNS", help="columns of LABELS that are known when asked, to be features themselves (default: none)"
        ),
    ],
    help=__doc__,
)
