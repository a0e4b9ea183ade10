"""Replay a day at another level, or with something failing: what would have been served and
decided, next to what was.
"""

from __future__ import annotations

from headwater.cli import options
from headwater.cli.command import Arguments, Flag, Positional, Verb, option, several
from headwater.cli.projects import load
from headwater.cli.screen import Screen


def run(args: Arguments, screen: Screen) -> None:
    """Replay, print, and write the page."""
    project = load(args.project).project
    at = options.timestamp(args.at, "--at")
    page = options.output(args.output, "--output")
    markdown = None if args.markdown is None else options.output(args.markdown, "--markdown")
    from headwater.experiments.replayed_day import ReplayOptions, replay_day
    from headwater.training.resources import Resources

    replay_options = ReplayOptions(
        args.timezone,
        at,
        options.data_dir(args),
        args.models,
        args.store,
        args.allow_pickle,
        Resources(memory=args.memory, progress=False),
    )
    with screen.working("replaying"):
        replayed = replay_day(
            project,
            args.day,
            model=args.model,
            level=args.level,
            fail=args.fail,
            options=replay_options,
        )
    replayed.write_html(page)
    if markdown is not None:
        markdown.write_text(replayed.to_markdown(), encoding="utf-8")
    screen.show(replayed.table(), {**replayed.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    screen.next("headwater", "backtest", "--project", args.project, *options.same_store(args))


def _location_options() -> list[Flag]:
    """Where store, logs and models are."""
    return [*options.models(), *options.store(), *options.allow_pickle()]


COMMAND = Verb(
    run,
    [
        Positional("day", metavar="DAY", help="the day, such as 2026-11-12"),
        *options.project(),
        *options.level(),
        several(
            "--fail",
            metavar="NAME",
            help=(
                "a view, a source or a third party that fails from the beginning of the day on; "
                "may be repeated"
            ),
        ),
        option(
            "--timezone",
            metavar="ZONE",
            default="UTC",
            help="of the day, such as Europe/Berlin (default: {default})",
        ),
        option(
            "--at",
            metavar="TIME",
            help="outcomes known by then count: ISO 8601 with an offset (default: now)",
        ),
        *_location_options(),
        *options.memory(),
        option(
            "--output",
            metavar="FILE",
            default="replay.html",
            help="where the page goes (default: {default})",
        ),
        option("--markdown", metavar="FILE", help="write the replay as Markdown too"),
        *options.as_json(),
    ],
    help=__doc__,
    examples=["headwater replay 2026-11-12 --level daily", "headwater replay 2026-11-12 --fail ip"],
)
