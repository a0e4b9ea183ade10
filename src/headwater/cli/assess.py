"""Ask whether real time is right for a project: all of it on one page, or how ready it is and what each way of serving costs alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import assess_whole, options
from headwater.cli.command import Actions, Given, Verb, option, section, several, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.assessing.readiness import Places
    from headwater.results.cost_result import Cost
    from headwater.results.readiness_result import Readiness

_STYLES = {"green": "green", "amber": "yellow", "red": "red", "unknown": "dim"}


def whole(given: Given, screen: Screen) -> None:
    """Everything on one page; nothing that is looked at changes."""
    assess_whole.whole(given, screen, _places(given))


def cost_of_ways(given: Given, screen: Screen) -> None:
    """What each way of serving costs a day."""
    from headwater.assessing import prices
    from headwater.assessing.cost import cost
    from headwater.assessing.cost_inputs import Where

    if given.write_prices is not None:
        prices.write(Path(given.write_prices))
        screen.show_json({"prices": given.write_prices})
        screen.next("headwater", "assess", "cost", "--project", given.project, "--prices", given.write_prices)
        return
    where = Where(
        store=given.store,
        folder=options.data_dir(given),
        models=None if given.models is None else Path(given.models),
        prices=None if given.prices is None else Path(given.prices),
    )
    with screen.working("measuring"):
        found = cost(load(given.project).project, given.model, where, given.backtest)
    screen.show(cost_table(found), found.to_dict())
    if given.prices is None:
        screen.next("headwater", "assess", "cost", "--project", given.project, "--write-prices", "prices.toml")


def cost_table(found: Cost) -> RenderableType:
    """What each way costs a day and why, what moves it most, and every number with its origin."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from headwater.results.measurement import Missing

    ways = Table("way", "part", f"{found.currency} a day", "formula", box=box.SIMPLE_HEAD, show_edge=False)
    for way in found.ways:
        for part in way.parts:
            ways.add_row(way.name, part.name, f"{part.amount.value:,.4g}", part.arithmetic)
        total = str(way.total) if isinstance(way.total, Missing) else f"{way.total.value:,.4g}"
        widest = next((s for s in found.swings if s.way == way.name), None)
        moved = "" if widest is None else f"{widest.input} moves it most: {widest.cost_low:,.4g} at half, {widest.cost_high:,.4g} at twice"
        ways.add_row(way.name, "total", Text(total, style="bold"), moved)
    inputs = Table("symbol", "value", "origin", "source", box=box.SIMPLE_HEAD, show_edge=False)
    for name, reading in found.inputs.items():
        if isinstance(reading, Missing):
            inputs.add_row(name, "", "not measured", reading.reason)
        else:
            inputs.add_row(name, f"{reading.value:,.6g} {reading.unit}", reading.origin, reading.source)
    points = Table("step", "lift", f"{found.currency} a day more", "a day for 0.01", box=box.SIMPLE_HEAD, show_edge=False)
    for p in found.points:
        money = (r.reason if isinstance(r, Missing) else f"{r.value:,.4g}" for r in (p.extra, p.per_point))
        points.add_row(f"{p.from_} to {p.to}", f"{p.lift:+.4f} {p.metric}", *money)
    said = [Text(found.sentence)]
    for label, reading in (("break-even", found.break_even), ("waste of precomputing", found.waste)):
        said.append(Text(f"{label}: {reading}"))
    return Group(*said, Text(), ways, Text(), *((points, Text()) if found.points else ()), inputs)


def scorecard(given: Given, screen: Screen) -> None:
    """How ready the project is, measured."""
    from headwater.assessing.questions import read_answers, write_questions
    from headwater.assessing.readiness import readiness

    if given.write_questions is not None:
        write_questions(Path(given.write_questions))
        screen.show_json({"questions": given.write_questions})
        screen.next("headwater", "assess", "readiness", "--project", given.project, "--answers", given.write_questions)
        return
    places = _places(given)
    answers = None if given.answers is None else read_answers(Path(given.answers))
    with screen.working("looking"):
        found = readiness(load(given.project).project, places, answers)
    screen.show(readiness_table(found, every=given.show_all), found.to_dict())
    if answers is None:
        screen.next("headwater", "assess", "readiness", "--project", given.project, "--write-questions", "questions.toml")
    else:
        screen.next("headwater", "assess", "cost", "--project", given.project, *options.same_store(given))


def _places(given: Given) -> Places:
    """Where to look, as the options say."""
    from headwater.assessing.readiness import Places

    tables = dict(_pair(text) for text in given.source_table)
    if bool(tables) != (given.database is not None):
        raise UsageError("--database and --source-table belong together: --database postgresql://... --source-table SOURCE=TABLE")
    return Places(
        store=given.store,
        folder=options.data_dir(given),
        models=None if given.models is None else Path(given.models),
        database=given.database,
        tables=tables,
        records=given.records,
        watch=given.watch_for,
        freshness=given.freshness,
        budget=given.budget,
    )


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


_COMMON = [*options.project(), *options.store(), *options.models()]
_BUDGET = option("--budget", metavar="DURATION", help="how long an answer may take (default: the model's, else 100ms)")
_READINESS = section(
    "Readiness",
    [
        option("--write-questions", metavar="FILE", help="write what no program can measure as questions, and stop"),
        option("--answers", metavar="FILE", help="the answered file of questions"),
        option("--freshness", metavar="DURATION", help="the freshness to aim at where a view is no stream's (default: 1m)"),
        option("--database", metavar="URL", help="a PostgreSQL that holds the rows of sources, read in read-only transactions"),
        several("--source-table", old="--table", metavar="SOURCE=TABLE", help="which of its tables holds the rows of a source; repeatable"),
        option("--records", metavar="N", type=int, default=100_000, help="how many last records of a topic to read (default: {default})"),
        option(
            "--watch-for",
            old="--watch",
            metavar="SECONDS",
            type=float,
            default=10.0,
            help="how long to watch a topic for lag (default: {default})",
        ),
        switch("--show-all", old="--all", help="show green checks too"),
    ],
)
_COST = section(
    "Cost",
    [
        option("--prices", metavar="FILE", help="what things cost, and any other number that goes before what is measured (TOML)"),
        option("--write-prices", metavar="FILE", help="write the defaults as a price file to change, and stop"),
    ],
)
_BACKTEST = option("--backtest", metavar="FILE", help="what `headwater backtest --json` printed (default: none)")
_OF_WHOLE = [one for one in (*_READINESS, *_COST) if one.flag not in {"--write-questions", "--write-prices", "--show-all"}]

COMMAND = Actions(
    {
        "readiness": Verb(
            scorecard,
            [*_COMMON, *_READINESS, _BUDGET, *options.as_json()],
            help="Measure how ready the project is: a scorecard, and what is in the way of each view.",
            summary="the scorecard, measured",
        ),
        "cost": Verb(
            cost_of_ways,
            [*_COMMON, *_COST, _BACKTEST, *options.as_json()],
            help="Compute what each way of serving costs a day, from what is measured and from prices.",
            summary="what each way of serving costs a day",
        ),
        "interview": Verb(
            assess_whole.interview,
            assess_whole.INTERVIEW,
            help="Write a first features.py from answers, where there is no data yet.",
            summary="a first features.py where there is no data yet",
        ),
    },
    help=__doc__,
    default=Verb(
        whole,
        [*_COMMON, *assess_whole.OPTIONS, *_OF_WHOLE, _BUDGET, *options.as_json()],
        help=__doc__,
    ),
)
