"""Write a first features.py from a table of events and a table of labels, each guess with its
evidence.

A terminal is asked what a wrong guess would let leak into training data: the time of a prediction
request, when its outcome is known, and the zone of local times. Each question has an option. LABELS
may be left out: then a column of EVENTS is the outcome (--label), or there is none (--label none),
and the file has sources and views only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import init_from, init_questions
from headwater.cli.command import Arguments, Positional, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.init.guess import InitAnswers
    from headwater.init.tables import TableProfile

NO_LABEL = "none"


def run(args: Arguments, screen: Screen) -> None:
    """Read the tables, ask for facts that cannot be guessed, and write the file."""
    if args.feast:
        init_from.feast(args, screen)
        return
    if args.events is None:
        raise UsageError(
            "name the EVENTS that features are computed from, such as events.parquet; or give "
            "--feast REPO"
        )
    if args.known_at and args.known_after:
        raise UsageError(
            "give --known-at or --known-after: the column with the time when the outcome was "
            "known, or how long after the request that is"
        )
    path = init_from.output(args)
    events, labels = _tables(args)
    full = init_questions.answered(args, screen, events, labels)
    if full.dates is not None:
        events, labels = _tables(full)
    if full.label == NO_LABEL:
        _write_sources(full, events, path, screen)
    else:
        _write_project(args, full, events, labels, path, screen)


def _tables(args: Arguments) -> tuple[TableProfile, TableProfile]:
    """The tables of events and of labels; the same one if there is one."""
    from headwater.init.tables import TableProfile

    request = re.sub(r"\s*[+-]\s*\d+\s*[a-z]+$", "", args.request_time or "")
    times = [name for name in (args.request_time, request, args.known_at, args.event_time) if name]
    events = TableProfile(args.events, times, dates=args.dates)
    return events, events if args.labels is None else TableProfile(
        args.labels, times, dates=args.dates
    )


def _answers(args: Arguments) -> InitAnswers:
    from headwater.init.guess import InitAnswers

    return InitAnswers(
        request_time=args.request_time or "",
        known_at=args.known_at,
        known_after=args.known_after,
        timezone=args.timezone,
        label=args.label,
        event_time=args.event_time,
        keys=_listed(args.keys),
        request=_listed(args.request),
    )


def _write_project(
    args: Arguments,
    full: Arguments,
    events: TableProfile,
    labels: TableProfile,
    path: Path,
    screen: Screen,
) -> None:
    from headwater.init.guess import guess, label_remarks, remarks
    from headwater.init.left_out import sentence
    from headwater.init.write import naive_columns, project_file

    answers = _answers(full)
    guesses = guess(events, labels, answers)
    if not naive_columns(guesses):
        answers = replace(answers, timezone=None)
    init_from.write(path, project_file(events, labels, answers, guesses, _command(full, answers)))
    load(str(path))
    skipped = [
        (events, guesses.left_out),
        *([(labels, guesses.labels_left_out)] if labels is not events else []),
    ]
    named = [sentence(table.path, left_out, str(path)) for table, left_out in skipped if left_out]
    for remark in [
        *remarks(events, guesses),
        *label_remarks(labels, guesses),
        *named,
        *init_questions.assumed(args, full),
    ]:
        screen.say(remark)
    by = f"by {', '.join(k.name for k in guesses.keys)}" if guesses.keys else "over all events"
    screen.say(
        f"wrote {path}: a {guesses.label.task} model of {guesses.label.name}, with features {by}. "
        "Its comments give the evidence of each guess"
    )
    screen.next("headwater", "backtest", "--project", str(path))


def _write_sources(args: Arguments, events: TableProfile, path: Path, screen: Screen) -> None:
    """A file without a model, for events that have no outcome."""
    from headwater.init.guess import guess_events, remarks
    from headwater.init.left_out import sentence
    from headwater.init.write import naive_columns, sources_file

    answers = _answers(args)
    guesses = guess_events(events, replace(answers, label=None))
    if not naive_columns(guesses):
        answers = replace(answers, timezone=None)
    init_from.write(path, sources_file(events, answers, guesses, _command(args, answers)))
    named = [sentence(events.path, guesses.left_out, str(path))] if guesses.left_out else []
    for remark in [*remarks(events, guesses), *named]:
        screen.say(remark)
    screen.say(
        f"wrote {path}: sources and views, and no model, since no column is an outcome. A "
        "backtest needs a table of past requests: when each was made, its keys, its outcome, and "
        "when that was known. docs/assess.md says what to log for it"
    )
    screen.next("headwater", "init", args.events, "LABELS", "--force", "--output", str(path))


def _listed(text: str | None) -> Sequence[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _command(args: Arguments, answers: InitAnswers) -> str:
    """The command that writes the same file again without questions."""
    parts = ["headwater", "init", args.events, *([args.labels] if args.labels else [])]
    for name in ("request_time", "known_at", "known_after", "timezone", "label", "event_time"):
        value = getattr(answers, name)
        parts += [f"--{name.replace('_', '-')}", value] if value else []
    for name in ("keys", "request"):
        value = getattr(answers, name)
        parts += [f"--{name}", ",".join(value)] if value else []
    parts += ["--dates", args.dates] if args.dates else []
    return shlex.join(parts)


COMMAND = Verb(
    run,
    [
        Positional(
            "events",
            metavar="[EVENTS]",
            required=False,
            help=(
                "the events that features are computed from: .parquet, .csv or .jsonl; a file, a "
                "glob or a folder"
            ),
        ),
        Positional(
            "labels",
            metavar="[LABELS]",
            required=False,
            help="requests with their outcomes (default: the events, with --label)",
        ),
        option(
            "--feast",
            metavar="REPO",
            help=(
                "carry over the definitions of a Feast repository: the folder with "
                "feature_store.yaml"
            ),
        ),
        option(
            "--feast-python",
            metavar="PYTHON",
            help=(
                "the Python of the environment that has Feast (default: this one); it runs the "
                "files of the repository"
            ),
        ),
        option(
            "--output",
            metavar="FILE",
            default="features.py",
            help="the file to write (default: {default})",
        ),
        switch("--force", help="overwrite it"),
        switch(
            "--yes",
            help=(
                "ask nothing: take the proposals that are safe (request at the earliest time of "
                "LABELS, outcome known at the latest, UTC)"
            ),
        ),
        option(
            "--request-time",
            metavar="COLUMN[-DURATION]",
            help=(
                "the time of the request: a column of LABELS, such as scheduled_at or "
                "scheduled_at-60m"
            ),
        ),
        option(
            "--known-at",
            metavar="COLUMN",
            help="the column of LABELS with the time when the outcome was known",
        ),
        option(
            "--known-after",
            metavar="DURATION",
            help="how long after the request the outcome is known, such as 2h or 7d",
        ),
        option(
            "--timezone",
            metavar="ZONE",
            help="the zone of times that have none, such as UTC or Europe/Oslo",
        ),
        option(
            "--label",
            metavar="COLUMN",
            help="the outcome (default: guessed); none writes sources and views only",
        ),
        option(
            "--dates",
            metavar="ORDER",
            help="day-first or month-first, of dates such as 03/04/2026 that may be both",
        ),
        option(
            "--keys",
            metavar="COLUMNS",
            help="columns that identify the entity, such as user_id,card_id; customer=uid where "
            "labels say customer and events uid; none takes features over all events (default: by "
            "name, else by equal values)",
        ),
        option(
            "--event-time",
            metavar="COLUMN",
            help=(
                "when an event is known in full (default: one that no other time of its row "
                "exceeds, else the latest)"
            ),
        ),
        option(
            "--request",
            metavar="COLUMNS",
            help=(
                "columns of LABELS that are known at the request, as request fields (default: none)"
            ),
        ),
    ],
    help=__doc__,
    examples=[
        "headwater init events.parquet labels.parquet",
        "headwater init clicks.csv --label none  # sources and views only",
        "headwater init --feast feature_repo --feast-python ~/feast/bin/python",
    ],
)
