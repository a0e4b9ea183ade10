"""Score the challengers of a shadow on the requests that the champion answered, and write the
page.
"""

from __future__ import annotations

from headwater.cli import experiment_options, options
from headwater.cli.command import Arguments, Flag, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen


def score_shadow(args: Arguments, screen: Screen) -> None:
    """Score, print and write the page."""
    project = load(args.project).project
    at = options.timestamp(args.at, "--at")
    page = options.output(args.output, "--output")
    from headwater.experiments.shadow_analysis import shadow

    with screen.working("scoring"):
        analysis = shadow(
            project,
            args.name,
            data_dir=options.data_dir(args),
            models=args.models,
            at=at,
            store=args.store,
        )
    analysis.write_html(page)
    screen.show(analysis.table(), {**analysis.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")


def _places() -> list[Flag]:
    """Where models, logs and archived events are."""
    return [*options.models(), *options.store()]


COMMAND = Verb(
    score_shadow,
    [
        experiment_options.name(),
        *options.project(model=False),
        *_places(),
        option(
            "--at",
            metavar="TIME",
            help=(
                "requests before then, and outcomes known by then: ISO 8601 with an offset "
                "(default: now)"
            ),
        ),
        option(
            "--output",
            metavar="FILE",
            default="shadow.html",
            help="where the page goes (default: {default})",
        ),
        *options.as_json(),
    ],
    help=__doc__,
    summary="score a shadow's challengers, which are never served",
    examples=["headwater experiment shadow fresh_features"],
)
