"""Write a first features.py from a table of events and a table of labels, each guess with what it rests on.

Two things are asked and never guessed, since a wrong guess lets the future leak into training data: when a prediction is asked for,
and when its outcome is known.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.init.tables import TableProfile

SUMMARY = "write a first features.py from your own tables"

_WHY = "a wrong guess would let the future leak into training data, so headwater does not guess it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater init`."""
    parser.add_argument("events", metavar="EVENTS", help="what features are made of: .parquet or .csv")
    parser.add_argument("labels", metavar="LABELS", help="requests with their outcomes: .parquet or .csv; may be the same file")
    parser.add_argument("--output", default="features.py", metavar="FILE", help="the file to write (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite it")
    parser.add_argument(
        "--asked-at",
        metavar="COLUMN[-DURATION]",
        help="when a prediction is asked for: a column of LABELS, such as scheduled_at or scheduled_at-60m",
    )
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--known-at", metavar="COLUMN", help="the column of LABELS that says when the outcome was known")
    known.add_argument("--known-after", metavar="DURATION", help="how long after the request the outcome is known, such as 2h or 7d")
    parser.add_argument("--timezone", metavar="ZONE", help="the zone of times that have none, such as UTC or Europe/Oslo")
    parser.add_argument("--label", metavar="COLUMN", help="the outcome (default: guessed)")
    parser.add_argument("--keys", metavar="COLUMNS", help="whose events they are, such as user_id,card_id (default: guessed)")
    parser.add_argument("--event-time", metavar="COLUMN", help="when an event is known in full (default: the latest time in EVENTS)")
    parser.add_argument(
        "--request", metavar="COLUMNS", help="columns of LABELS that are known when asked, to be features themselves (default: none)"
    )


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Look at the tables, ask what cannot be guessed, and write the file."""
    place = Path(given.output)
    if place.exists() and not given.force:
        raise UsageError(f"{place} exists; give another --output, or --force to overwrite it")
    from headwater.init.guess import Answers, guess
    from headwater.init.tables import TableProfile
    from headwater.init.write import naive_columns, project_file

    events, labels = TableProfile(given.events), TableProfile(given.labels)
    asked, known_at, known_after = _times(given, labels)
    answers = {
        "asked_at": asked,
        "known_at": known_at,
        "known_after": known_after,
        "label": given.label,
        "event_time": given.event_time,
        "keys": _listed(given.keys),
        "request": _listed(given.request),
    }
    guesses = guess(events, labels, Answers(**answers))
    naive = naive_columns(events, guesses)
    zone = _timezone(given, naive) if naive else None
    full = Answers(**answers, timezone=zone)
    text = project_file(events, labels, full, guesses, _command(given, full))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    from headwater.cli.projects import load

    load(str(place))
    screen.say(
        f"wrote {place}: a {guesses.task} model of {guesses.label.name}, with features by {', '.join(k.name for k in guesses.keys)}. "
        "Read its comments: they say what was guessed, and from what"
    )
    screen.next("headwater", "backtest", "--project", str(place))


def _times(given: argparse.Namespace, labels: TableProfile) -> tuple[str, str | None, str | None]:
    """When a prediction is asked for, and at which column or after how long its outcome is known."""
    times = ", ".join(labels.moments)
    if not times:
        raise UsageError(f"{labels.path} has no column of times; labels need one that says when each prediction was asked for")
    asked = given.asked_at or _ask(
        f"When is a prediction asked for? A column of {labels.path} ({times}), or such as {next(iter(labels.moments))}-60m",
        f"say when a prediction is asked for: --asked-at COLUMN, or such as --asked-at {next(iter(labels.moments))}-60m ({labels.path} has the times {times})",
    )
    known = (
        given.known_at
        or given.known_after
        or _ask(
            f"When is its outcome known? A column ({times}), or how long after the request, such as 2h",
            f"say when the outcome is known: --known-at COLUMN ({times}), or --known-after DURATION after the request, such as --known-after 2h",
        )
    )
    is_column = known in labels.frame.columns and not given.known_after
    if not is_column and given.known_at is None:
        from headwater.definitions.durations import micros
        from headwater.errors import DefinitionError

        try:
            micros(known, "--known-after")
        except DefinitionError as error:
            raise UsageError(str(error)) from error
        return asked, None, known
    return asked, known, None


def _timezone(given: argparse.Namespace, naive: object) -> str:
    from headwater.definitions.durations import check_timezone
    from headwater.errors import DefinitionError

    zone: str = given.timezone or _ask(
        f"Which time zone are the times in {naive} in? Such as UTC or Europe/Oslo",
        f"the times in {naive} have no time zone: give --timezone, such as --timezone UTC",
    )
    try:
        check_timezone(zone, "--timezone")
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    return zone


def _ask(question: str, otherwise: str) -> str:
    """The answer of whoever sits at the terminal."""
    if not sys.stdin.isatty():
        raise UsageError(f"{otherwise}; {_WHY}")
    print(question, end="\n> ", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if not answer:
        raise UsageError(f"{otherwise}; {_WHY}")
    return answer


def _listed(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _command(given: argparse.Namespace, answers: object) -> str:
    """The command that writes the same file again without asking."""
    parts = ["headwater", "init", given.events, given.labels]
    for name in ("asked_at", "known_at", "known_after", "timezone", "label", "event_time"):
        value = getattr(answers, name)
        parts += [f"--{name.replace('_', '-')}", value] if value else []
    for name in ("keys", "request"):
        value = getattr(answers, name)
        parts += [f"--{name}", ",".join(value)] if value else []
    return shlex.join(parts)
