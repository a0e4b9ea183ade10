"""Ask whether real time is right for a project: how ready it is for fresher features, and what each way of serving costs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.assess.readiness_result import Readiness

SUMMARY = "measure how ready a project is for fresher features, and what they cost"
_STYLES = {"green": "green", "amber": "yellow", "red": "red", "unknown": "dim"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater assess`."""
    parser.add_argument("what", choices=["readiness", "cost"], help="readiness: the scorecard, measured; cost: money a day of each way")
    options.project(parser)
    options.store(parser)
    options.models(parser)
    readiness_options(parser.add_argument_group("readiness"))
    parser.add_argument("--budget", metavar="DURATION", help="how long an answer may take (default: the model's, else 100ms)")
    options.as_json(parser)


def readiness_options(group: argparse._ArgumentGroup) -> None:
    """The options of `headwater assess readiness`."""
    group.add_argument("--write-questions", metavar="FILE", help="write what no program can measure as questions, and stop")
    group.add_argument("--answers", metavar="FILE", help="the answered file of questions")
    group.add_argument("--freshness", metavar="DURATION", help="the freshness to aim at where a view is no stream's (default: 1m)")
    group.add_argument("--database", metavar="URL", help="a PostgreSQL that holds the rows of sources, read in read-only transactions")
    group.add_argument(
        "--table", action="append", default=[], metavar="SOURCE=TABLE", help="which of its tables holds the rows of a source; repeatable"
    )
    group.add_argument(
        "--records", type=int, default=100_000, metavar="N", help="how many last records of a topic to read (default: %(default)s)"
    )
    group.add_argument(
        "--watch", type=float, default=10.0, metavar="SECONDS", help="how long to watch a topic for lag (default: %(default)s)"
    )
    group.add_argument("--all", action="store_true", help="show green checks too")


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Look, and print; nothing that is looked at changes."""
    {"readiness": _readiness}[given.what](given, screen)


def _readiness(given: argparse.Namespace, screen: Screen) -> None:
    from headwater.assess.questions import read_answers, write_questions
    from headwater.assess.readiness import Places, readiness

    if given.write_questions is not None:
        write_questions(Path(given.write_questions))
        screen.show_json({"questions": given.write_questions})
        screen.next("headwater", "assess", "readiness", "--project", given.project, "--answers", given.write_questions)
        return
    tables = dict(_pair(text) for text in given.table)
    if bool(tables) != (given.database is not None):
        raise UsageError("--database and --table belong together: --database postgresql://... --table SOURCE=TABLE")
    places = Places(
        store=given.store,
        folder=options.place(given),
        models=None if given.models is None else Path(given.models),
        database=given.database,
        tables=tables,
        records=given.records,
        watch=given.watch,
        freshness=given.freshness,
        budget=given.budget,
    )
    answers = None if given.answers is None else read_answers(Path(given.answers))
    with screen.working("looking"):
        found = readiness(load(given.project).project, places, answers)
    screen.show(readiness_table(found, every=given.all), found.to_dict())
    if answers is None:
        screen.next("headwater", "assess", "readiness", "--project", given.project, "--write-questions", "questions.toml")
    else:
        screen.next("headwater", "assess", "cost", "--project", given.project, *options.same_store(given))


def readiness_table(found: Readiness, *, every: bool) -> RenderableType:
    """Each view's level and next blocker, the ladders, and the checks that are not green (or `every` one)."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    views = Table("view", "reachable now", "at best", "next blocker", "remedy", box=box.SIMPLE_HEAD, show_edge=False)
    for view in found.views:
        b = view.blocker
        what = Text("none") if b is None else Text(f"{b.check}, {b.level}: {b.what}", style=_STYLES[b.state])
        views.add_row(view.view, view.reachable, view.possible, what, "" if b is None else b.remedy)
    checks = Table("", "check", "about", "found", "green", box=box.SIMPLE_HEAD, show_edge=False)
    for finding in found.findings:
        if every or finding.state != "green":
            state = Text(finding.state, style=_STYLES[finding.state])
            checks.add_row(state, f"{finding.check} {finding.title}", finding.about, finding.said, finding.green)
    rungs = [
        Text(f"{ladder.name}: {ladder.rungs[ladder.reached]}; at best {ladder.rungs[ladder.possible]}")
        for ladder in (found.online, found.learning)
    ]
    counts = ", ".join(f"{count} {state}" for state, count in found.counts().items())
    limits = [Text(f"{name} = {reading}: {reading.source}") for name, reading in found.assumed.items() if hasattr(reading, "source")]
    return Group(views, Text(), *rungs, Text(f"checks: {counts}"), Text(), checks, Text(), *limits)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"{text!r} is not NAME=VALUE, such as payments=public.payments")
    return name, value
