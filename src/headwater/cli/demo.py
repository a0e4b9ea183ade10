"""Backtest a model on real flights: will one arrive late? Then ingest a month live, and serve a week with an experiment. Five minutes."""

from __future__ import annotations

import json

from headwater import permissions
from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen


def run(args: Arguments, screen: Screen) -> None:
    """Prepare the data and the definitions, run the backtest, and write its report."""
    folder = permissions.own_folder(options.output(args.output, "--output", folder=True))  # reports, and a store of predictions
    from headwater.demo.demo import backtest
    from headwater.demo.flights import prepare
    from headwater.demo.live_month import live
    from headwater.reports.summary_page import beside
    from headwater.training.progress import BACKTEST

    with screen.working("reading the flights and the weather of 2013"):
        own = prepare(folder)
    if not own:
        screen.say(f"{folder / 'features.py'} differs from the demo's original; running it as it is. Delete it to restore the original")
    loaded = load(str(folder / "features.py"))
    screen.say("1 of 3: the model is backtested at five levels of freshness; this is the longest part")
    with screen.progress(BACKTEST) as on_progress:
        result = backtest(loaded.project, on_progress)
    report = result.write_html(folder / "report.html")
    summary = result.write_summary(beside(report))
    (folder / "backtest.json").write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    if not args.json:
        screen.show(result.table(), {})
    screen.say(f"report: {report}\nto forward: {summary}\ndefinitions: {folder / 'features.py'}")
    if args.no_live:
        screen.show_json(result.to_dict())
    else:
        screen.say("2 of 3: the flights of September are streamed into an online store, and served values compared with training")
        with screen.progress() as on_progress:
            month = live(loaded.project, folder, on_progress)
        screen.say(str(month))
        from headwater.demo.serve_week import in_service

        screen.say("3 of 3: a week is served, with an experiment")
        with screen.progress() as on_progress:
            week = in_service(loaded.project, folder, on_progress, backtest=result.result)
        screen.say(str(week))
        both = {"live": month.to_dict(), "service": week.to_dict()}
        (folder / "live.json").write_text(json.dumps(both, indent=1) + "\n", encoding="utf-8")
        screen.show_json({**result.to_dict(), **both})
    screen.next("headwater", "init", "EVENTS.parquet", "LABELS.parquet")


COMMAND = Verb(
    run,
    [
        option("--output", metavar="FOLDER", default="build/demo", help="where data, definitions and report go (default: {default})"),
        switch("--no-live", help="only the backtest"),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater demo", "headwater demo --output flights"],
)
