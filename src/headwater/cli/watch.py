"""Compare what a served model delivered, week by week, with what its backtest promised; a miss withdraws the recommendation."""

from __future__ import annotations

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError


def run(args: Arguments, screen: Screen) -> None:
    """Compare, print and write the page; the exit code is 1 where the promise was missed."""
    loaded = load(args.project)
    model = loaded.project.model(args.model)
    level = loaded.level(args.level)
    at = options.timestamp(args.at, "--at")
    page = options.output(args.output, "--output")
    markdown = None if args.markdown is None else options.output(args.markdown, "--markdown")
    from headwater.backtesting.delivery import watch

    promise = None
    if args.promise is not None:
        from headwater.assessing.lift import backtest_of
        from headwater.backtesting.promise import promised
        from headwater.definitions.level import Level

        promise = promised(backtest_of(args.promise), args.promise_level, describes=(level or Level()).describe(model))
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
    delivery.write_html(page)
    if markdown is not None:
        markdown.write_text(delivery.to_markdown(), encoding="utf-8")
    screen.show(delivery.table(), {**delivery.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    if delivery.withdrawn:
        screen.next("headwater", "parity", "--served", "--project", args.project)
        raise HeadwaterError(
            f"the promise of the backtest was missed in the week of {delivery.result.since}: its recommendation for {model.name} is withdrawn"
        )
    screen.next("headwater", "backtest", "--project", args.project, *chosen)


COMMAND = Verb(
    run,
    [
        *options.project(),
        *options.level(),
        *options.promise(),
        *options.models(),
        *options.logs(),
        option("--at", metavar="TIME", help="the time of the comparison: ISO 8601 with an offset (default: now)"),
        option("--output", metavar="FILE", default="delivery.html", help="where the page goes (default: {default})"),
        option("--markdown", metavar="FILE", help="write the comparison as Markdown too"),
        *options.as_json(),
    ],
    help=__doc__,
)
