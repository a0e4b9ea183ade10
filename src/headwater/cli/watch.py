"""Compare a served model with its backtest and its training.

What it delivered, week by week, is compared with what the backtest promised: a miss withdraws the
recommendation. Its features, day by day, are compared with those of training: a drift is an alert
only where a miss is shown too, or a share of statuses changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options, watch_alerts
from headwater.cli.command import Arguments, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Ended, Screen
from headwater.cli.watch_drift import drifted
from headwater.cli.watch_lift import flags, lift
from headwater.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.backtesting.delivery import Delivery
    from headwater.cli.projects import LoadedProject
    from headwater.results.drift_result import DriftResult
    from headwater.results.level_lift_result import LevelLiftResult
    from headwater.results.promise_result import DeliveryResult


def run(args: Arguments, screen: Screen) -> None:
    """Compare, print and write the page; the exit code is 1 where the promise was missed, or a
    drift is an alert.
    """
    loaded = load(args.project)
    model = loaded.project.model(args.model)
    page = options.output(args.output, "--output")
    markdown = None if args.markdown is None else options.output(args.markdown, "--markdown")

    lift_result = lift(args, loaded, screen).result if args.lift else None
    delivery, missing = None, None
    try:
        delivery = _delivery(args, loaded, screen)
    except DataError as error:
        missing = error
    drift = drifted(args, model, screen)  # after the comparison, which it asks for a loss
    if missing is not None and lift_result is None and drift is None:
        raise missing
    if missing is not None:
        screen.warning(f"promise against delivery is not shown: {missing}")
    _show(
        (None if delivery is None else delivery.result, drift, lift_result), page, markdown, screen
    )
    about = {
        "project": loaded.project.name,
        "model": model.name,
        "level": args.level or "as defined",
    }
    promised = None if delivery is None else delivery.result
    watch_alerts.send(args, watch_alerts.alerts_of(promised, drift, about), about, screen)
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    if delivery is not None and delivery.withdrawn:
        screen.next("headwater", "parity", "--served", "--project", args.project)
        raise Ended
    if drift is not None and drift.alerts:
        screen.next("headwater", "parity", "--served", "--project", args.project)
        raise Ended
    if delivery is not None:
        screen.next("headwater", "backtest", "--project", args.project, *chosen)


def _delivery(args: Arguments, loaded: LoadedProject, screen: Screen) -> Delivery:
    """Promise against delivery."""
    from headwater.backtesting.delivery import watch

    model, level = loaded.project.model(args.model), loaded.level(args.level)
    promise = None
    if args.promise is not None:
        from headwater.assessing.lift import backtest_of
        from headwater.backtesting.promise import promised
        from headwater.definitions.level import Level

        promise = promised(
            backtest_of(args.promise),
            args.promise_level,
            describes=(level or Level()).describe(model),
        )
    with screen.working("comparing"):
        return watch(
            model,
            args.level,
            promise=promise,
            evaluation=loaded.project.evaluation,
            data_dir=options.data_dir(args),
            models=args.models,
            at=options.timestamp(args.at, "--at"),
        )


def _show(
    results: tuple[DeliveryResult | None, DriftResult | None, LevelLiftResult | None],
    page: Path,
    markdown: Path | None,
    screen: Screen,
) -> None:
    """Print the results that there are, and write them as one page."""
    from headwater.pages import delivery_page, drift_page, level_lift_page, page_forms
    from headwater.pages.page import joined
    from headwater.pages.rendering import write_page

    delivery, drift, lift = results
    shown = joined(
        [
            *([] if delivery is None else [delivery_page.to_page(delivery)]),
            *([] if drift is None else [drift_page.to_page(drift)]),
            *([] if lift is None else [level_lift_page.to_page(lift)]),
        ]
    )
    write_page(page, page_forms.to_html(shown))
    if markdown is not None:
        markdown.write_text(page_forms.to_markdown(shown), encoding="utf-8")
    data = {} if delivery is None else delivery.to_dict()
    more = {"drift": drift, "level_lift": lift}
    data |= {name: result.to_dict() for name, result in more.items() if result is not None}
    screen.show(page_forms.to_terminal(shown), {**data, "page": str(page)})
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
        option(
            "--at",
            metavar="TIME",
            help="the time of the comparison: ISO 8601 with an offset (default: now)",
        ),
        option(
            "--output",
            metavar="FILE",
            default="delivery.html",
            help="where the page goes (default: {default})",
        ),
        option("--markdown", metavar="FILE", help="write the comparison as Markdown too"),
        *flags(),
        *watch_alerts.flags(),
        *options.memory(),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater watch", "headwater watch --lift"],
)
