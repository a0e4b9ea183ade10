"""Compare what a served model delivered, week by week, with what its backtest promised; a miss withdraws the recommendation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.watch_lift import flags, lift
from headwater.errors import DataError, HeadwaterError

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.results.level_lift_result import LevelLiftResult


def run(args: Arguments, screen: Screen) -> None:
    """Compare, print and write the page; the exit code is 1 where the promise was missed."""
    loaded = load(args.project)
    model = loaded.project.model(args.model)
    level = loaded.level(args.level)
    at = options.timestamp(args.at, "--at")
    page = options.output(args.output, "--output")
    markdown = None if args.markdown is None else options.output(args.markdown, "--markdown")
    from rich.console import Group

    from headwater.backtesting.delivery import watch
    from headwater.reports import level_lift_page

    promise = None
    if args.promise is not None:
        from headwater.assessing.lift import backtest_of
        from headwater.backtesting.promise import promised
        from headwater.definitions.level import Level

        promise = promised(backtest_of(args.promise), args.promise_level, describes=(level or Level()).describe(model))
    found = lift(args, loaded, screen).result if args.lift else None
    try:
        with screen.working("comparing"):
            delivery = watch(
                model,
                args.level,
                promise=promise,
                evaluation=loaded.project.evaluation,
                data_dir=options.data_dir(args),
                models=args.models,
                at=at,
            )
    except DataError as error:
        if found is None:
            raise
        screen.warning(f"promise against delivery is not shown: {error}")
        _alone(found, page, markdown, screen)
        return
    delivery.write_html(page, found)
    if markdown is not None:
        more = "" if found is None else f"\n{level_lift_page.to_markdown(found)}"
        markdown.write_text(delivery.to_markdown() + more, encoding="utf-8")
    if found is None:
        screen.show(delivery.table(), {**delivery.to_dict(), "page": str(page)})
    else:
        both = Group(delivery.table(), level_lift_page.to_table(found))
        screen.show(both, {**delivery.to_dict(), "level_lift": found.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    if delivery.withdrawn:
        screen.next("headwater", "parity", "--served", "--project", args.project)
        raise HeadwaterError(
            f"the promise of the backtest was missed in the week of {delivery.result.since}: its recommendation for {model.name} is withdrawn"
        )
    screen.next("headwater", "backtest", "--project", args.project, *chosen)


def _alone(found: LevelLiftResult, page: Path, markdown: Path | None, screen: Screen) -> None:
    """Lift by freshness of a model of which nothing was promised."""
    from headwater.reports import level_lift_page
    from headwater.reports.page import write_page

    write_page(page, level_lift_page.to_html(found))
    if markdown is not None:
        markdown.write_text(level_lift_page.to_markdown(found), encoding="utf-8")
    screen.show(level_lift_page.to_table(found), {"level_lift": found.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")


COMMAND = Verb(
    run,
    [
        *options.project(),
        *options.level(),
        *options.promise(),
        *options.models(),
        options.store()[0],
        *options.logs(),
        option("--at", metavar="TIME", help="the time of the comparison: ISO 8601 with an offset (default: now)"),
        option("--output", metavar="FILE", default="delivery.html", help="where the page goes (default: {default})"),
        option("--markdown", metavar="FILE", help="write the comparison as Markdown too"),
        *flags(),
        *options.memory(),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater watch", "headwater watch --lift"],
)
