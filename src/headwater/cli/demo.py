"""Backtest a model on real flights: will one arrive late? Then ingest a month live, and serve a
week with an experiment. Five minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import clock, disk, settings
from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen

if TYPE_CHECKING:
    from headwater.backtesting.backtest import Backtest
    from headwater.definitions.project import Project
    from headwater.demo.live_month import Live
    from headwater.demo.serve_week import InService


def run(args: Arguments, screen: Screen) -> None:
    """Prepare the data and the definitions, run the backtest, the month and the week, and write
    their pages.
    """
    # reports, and a store of predictions
    folder = disk.own_folder(options.output(args.output, "--output", folder=True))
    began, computed = clock.stopwatch(), clock.processor_seconds()
    with settings.data_folder(folder):
        until = _run(args, screen, folder)
    took = clock.stopwatch() - began, clock.processor_seconds() - computed
    screen.say(f"done in {_minutes(took[0])}, {_minutes(took[1])} of processor time")
    screen.next("headwater", "console", *console_arguments(folder, until))


def _run(args: Arguments, screen: Screen, folder: Path) -> str:
    """Run each part; the time of the last request of the week, empty without one."""
    from headwater.demo.demo import backtest
    from headwater.demo.flights import prepare
    from headwater.pages.page_forms import to_terminal
    from headwater.training.progress import BACKTEST

    with screen.working("reading the flights and the weather of 2013"):
        prepared = prepare(folder)
    if not prepared:
        screen.say(
            f"{folder / 'features.py'} differs from the demo's original; running it as it is. "
            "Delete it to restore the original"
        )
    project = load(str(folder / "features.py")).project
    screen.say(
        "1 of 3: the model is backtested at five levels of freshness; this is the longest part"
    )
    with screen.progress(BACKTEST) as on_progress:
        result = backtest(project, on_progress)
    written = _write(result, folder)
    if not args.json:
        screen.show(to_terminal(result.page()), {})
    screen.say(written)
    if args.no_live:
        screen.show_json(result.to_dict())
        return ""
    result, month, week = _live(project, result, screen, folder)
    both = {"live": month.to_dict(), "service": week.to_dict()}
    (folder / "live.json").write_text(json.dumps(both, indent=1) + "\n", encoding="utf-8")
    screen.show_json({**result.to_dict(), **both})
    return week.until


def _live(
    project: Project, result: Backtest, screen: Screen, folder: Path
) -> tuple[Backtest, Live, InService]:
    """The backtest, with the verdict of the week's experiment in pages that are written again; the
    month and the week.
    """
    from dataclasses import replace

    from headwater.demo.live_month import live
    from headwater.demo.serve_week import in_service, write_definitions
    from headwater.results.kept_evidence import with_experiments

    screen.say(
        "2 of 3: the flights of September are streamed into an online store, and served values "
        "compared with training"
    )
    with screen.progress() as on_progress:
        month = live(project, folder, on_progress)
    screen.say(str(month))
    screen.say("3 of 3: a week is served, with an experiment")
    with screen.progress() as on_progress:
        week = in_service(project, folder, on_progress, backtest=result.result)
    screen.say(str(week))
    write_definitions(folder, result.result)
    tested = replace(result, result=with_experiments(result.result, folder))
    _write(tested, folder)
    return tested, month, week


def _write(result: Backtest, folder: Path) -> str:
    """Write the report and the result; the lines that name them."""
    report = result.write_html(folder / "report.html")
    (folder / "backtest.json").write_text(
        json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8"
    )
    return f"report: {report}\ndefinitions: {folder / 'features.py'}"


def console_arguments(folder: Path, until: str) -> list[str]:
    """The arguments of the console over what the demo keeps, as of the last request of its week."""
    if not until:
        return ["--project", str(folder / "features.py"), "--data-dir", str(folder)]
    from headwater.demo.serve_week import DEFINITIONS, STORE

    places = [
        "--store",
        f"lmdb:{folder / STORE}",
        "--data-dir",
        str(folder),
        "--models",
        str(folder / "models"),
    ]
    return ["--project", str(folder / DEFINITIONS), *places, "--at", until]


def _minutes(seconds: float) -> str:
    """A length of time as a person says it.

    >>> _minutes(234.4), _minutes(9.7)
    ('3 min 54 s', '10 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


COMMAND = Verb(
    run,
    [
        option(
            "--output",
            metavar="FOLDER",
            default="build/demo",
            help="where data, definitions and report go (default: {default})",
        ),
        switch("--no-live", help="only the backtest"),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater demo", "headwater demo --output flights"],
)
