"""Assess whether real time is right for a project, on one page; or only its readiness, or the cost
of each way of serving.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import assess_whole, options
from headwater.cli.command import Actions, Arguments, Verb, option, section, several, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.assessing.locations import Locations
    from headwater.results.cost_result import Cost
    from headwater.results.readiness_result import Readiness

_STYLES = {"green": "green", "amber": "yellow", "red": "red", "unknown": "dim"}


def whole(args: Arguments, screen: Screen) -> None:
    """The whole assessment on one page; it reads only."""
    assess_whole.whole(args, screen, _locations(args))


def cost_of_ways(args: Arguments, screen: Screen) -> None:
    """Print the daily cost of each way of serving."""
    from headwater.assessing import prices
    from headwater.assessing.cost import cost
    from headwater.assessing.locations import Locations

    if args.write_prices is not None:
        prices.write(Path(args.write_prices))
        screen.show_json({"prices": args.write_prices})
        screen.next(
            "headwater", "assess", "cost", "--project", args.project, "--prices", args.write_prices
        )
        return
    locations = Locations(
        store=args.store, data_dir=options.data_dir(args), models=args.models, prices=args.prices
    )
    with screen.working("measuring"):
        result = cost(load(args.project).project, args.model, locations, args.backtest)
    screen.show(cost_table(result), result.to_dict())
    if args.prices is None:
        screen.next(
            "headwater",
            "assess",
            "cost",
            "--project",
            args.project,
            "--write-prices",
            "prices.toml",
        )


def cost_table(cost: Cost) -> RenderableType:
    """The daily cost of each way with its formula, the most sensitive input, and every number with
    its origin.
    """
    from headwater.results.measurement import Missing
    from headwater.terminal.layout import Cell, Group, Shown, ShownTable

    ways: list[list[Cell]] = []
    for way in cost.ways:
        ways += [
            [way.name, component.name, f"{component.amount.value:,.4g}", component.arithmetic]
            for component in way.parts
        ]
        total = str(way.total) if isinstance(way.total, Missing) else f"{way.total.value:,.4g}"
        ways.append([way.name, "total", Shown(total, "bold"), ""])
    inputs = []
    for name, reading in cost.inputs.items():
        if isinstance(reading, Missing):
            inputs.append([name, "", "not measured", reading.reason])
        else:
            inputs.append(
                [name, f"{reading.value:,.6g} {reading.unit}", reading.origin, reading.source]
            )
    levels = []
    for level in cost.levels:
        money = (
            level.a_day.reason if isinstance(level.a_day, Missing) else f"{level.a_day.value:,.4g}"
        )
        levels.append(
            [
                level.level,
                f"{level.runs_a_day:,.4g}" if level.runs_a_day else "",
                money,
                level.arithmetic,
            ]
        )
    readings = (("break-even", cost.break_even), ("waste of precomputing", cost.waste))
    space, money = Shown(""), f"{cost.currency} a day"
    return Group(
        Shown("\n".join([cost.sentence, *(f"{label}: {reading}" for label, reading in readings)])),
        space,
        ShownTable("", ["way", "part", money, "formula"], ways),
        space,
        *(
            (ShownTable("", ["level", "runs a day", money, "formula"], levels), space)
            if levels
            else ()
        ),
        ShownTable("", ["symbol", "value", "origin", "source"], inputs),
    )


def scorecard(args: Arguments, screen: Screen) -> None:
    """Print the readiness of the project, as measured."""
    from headwater.assessing.questions import read_answers, write_questions
    from headwater.assessing.readiness import readiness

    if args.write_questions is not None:
        write_questions(Path(args.write_questions))
        screen.show_json({"questions": args.write_questions})
        screen.next(
            "headwater",
            "assess",
            "readiness",
            "--project",
            args.project,
            "--answers",
            args.write_questions,
        )
        return
    locations = _locations(args)
    answers = None if args.answers is None else read_answers(Path(args.answers))
    with screen.working("looking"):
        scores = readiness(load(args.project).project, locations, answers)
    screen.show(readiness_table(scores, every=args.show_all), scores.to_dict())
    if answers is None:
        screen.next(
            "headwater",
            "assess",
            "readiness",
            "--project",
            args.project,
            "--write-questions",
            "questions.toml",
        )
    else:
        screen.next(
            "headwater", "assess", "cost", "--project", args.project, *options.same_store(args)
        )


def _locations(args: Arguments) -> Locations:
    """The stores, logs and databases to check, from the options."""
    from headwater.assessing.locations import Locations

    tables = dict(_pair(text) for text in args.source_table)
    if bool(tables) != (args.database is not None):
        raise UsageError(
            "--database and --source-table belong together: --database postgresql://... "
            "--source-table SOURCE=TABLE"
        )
    return Locations(
        store=args.store,
        data_dir=options.data_dir(args),
        models=args.models,
        prices=getattr(args, "prices", None),
        database=args.database,
        tables=tables,
        records=args.records,
        watch=args.watch_for,
        freshness=args.freshness,
        budget=args.budget,
    )


def readiness_table(scores: Readiness, *, every: bool) -> RenderableType:
    """Each view's level and next blocker, the ladders, and the checks that are not green (or
    `every` one).
    """
    from headwater.terminal.layout import Group, Shown, ShownTable

    views = []
    for view in scores.views:
        b = view.blocker
        blocker = (
            "none" if b is None else Shown(f"{b.check}, {b.level}: {b.what}", _STYLES[b.state])
        )
        views.append(
            [view.view, view.reachable, view.possible, blocker, "" if b is None else b.remedy]
        )
    checks = []
    for finding in scores.findings:
        if every or finding.state != "green":
            state = Shown(finding.state, _STYLES[finding.state])
            checks.append(
                [
                    state,
                    f"{finding.check} {finding.title}",
                    finding.about,
                    finding.said,
                    finding.green,
                ]
            )
    rungs = [
        Shown(
            f"{ladder.name}: {ladder.rungs[ladder.reached]}; at best "
            f"{ladder.rungs[ladder.possible]}"
        )
        for ladder in (scores.online, scores.learning)
    ]
    counts = ", ".join(f"{count} {state}" for state, count in scores.counts().items())
    limits = [
        Shown(f"{name} = {reading}: {reading.source}")
        for name, reading in scores.assumed.items()
        if hasattr(reading, "source")
    ]
    space = Shown("")
    return Group(
        ShownTable("", ["view", "reachable now", "at best", "next blocker", "remedy"], views),
        space,
        *rungs,
        Shown(f"checks: {counts}"),
        space,
        ShownTable("", ["state", "check", "about", "found", "green"], checks),
        space,
        *limits,
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"{text!r} is not NAME=VALUE, such as payments=public.payments")
    return name, value


_COMMON = [*options.project(), *options.store(), *options.models()]
_BUDGET = option(
    "--budget",
    metavar="DURATION",
    help="latency budget of a response (default: the model's, else 100ms)",
)
_READINESS = section(
    "Readiness",
    [
        option(
            "--write-questions",
            metavar="FILE",
            help="write the questions that cannot be measured, and stop",
        ),
        option("--answers", metavar="FILE", help="the file of questions, answered"),
        option(
            "--freshness",
            metavar="DURATION",
            help="the target freshness of views without a stream (default: 1m)",
        ),
        option(
            "--database",
            metavar="URL",
            help="a PostgreSQL that holds the rows of sources, read in read-only transactions",
        ),
        several(
            "--source-table",
            metavar="SOURCE=TABLE",
            help="which of its tables holds the rows of a source; repeatable",
        ),
        option(
            "--records",
            metavar="N",
            type=int,
            default=100_000,
            help="how many last records of a topic to read (default: {default})",
        ),
        option(
            "--watch-for",
            metavar="SECONDS",
            type=float,
            default=10.0,
            help="how long to watch a topic for lag (default: {default})",
        ),
        switch("--show-all", help="show green checks too"),
    ],
)
_COST = section(
    "Cost",
    [
        option(
            "--prices",
            metavar="FILE",
            help="prices, and other numbers that override measured ones (TOML)",
        ),
        option(
            "--write-prices",
            metavar="FILE",
            help="write the defaults as a price file to change, and stop",
        ),
    ],
)
_BACKTEST = option(
    "--backtest", metavar="FILE", help="what `headwater backtest --json` printed (default: none)"
)
_OF_WHOLE = [
    flag
    for flag in (*_READINESS, *_COST)
    if flag.flag not in {"--write-questions", "--write-prices", "--show-all"}
]

COMMAND = Actions(
    {
        "readiness": Verb(
            scorecard,
            [*_COMMON, *_READINESS, _BUDGET, *options.as_json()],
            help=(
                "Measure the readiness of the project: a scorecard, and the blockers of each view."
            ),
            summary="the scorecard, measured",
            examples=["headwater assess readiness"],
        ),
        "cost": Verb(
            cost_of_ways,
            [*_COMMON, *_COST, _BACKTEST, *options.as_json()],
            help="Compute the daily cost of each way of serving, from measurements and prices.",
            summary="what each way of serving costs a day",
            examples=["headwater assess cost"],
        ),
        "interview": Verb(
            assess_whole.interview,
            assess_whole.INTERVIEW,
            help="Write a first features.py from answers, before there is any data.",
            summary="a first features.py before there is any data",
            examples=["headwater assess interview"],
        ),
    },
    help=__doc__,
    default=Verb(
        whole,
        [
            *_COMMON,
            *assess_whole.OPTIONS,
            *_OF_WHOLE,
            _BUDGET,
            *options.as_json(),
        ],
        help=__doc__,
        examples=[
            "headwater assess --output assess.html",
        ],
    ),
)
