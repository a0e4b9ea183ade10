"""Analyse an experiment, and write its decision page."""

from __future__ import annotations

from headwater.cli import experiment_options, options
from headwater.cli.command import Arguments, Positional, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import HeadwaterError, UsageError


def analyse_experiment(args: Arguments, screen: Screen) -> None:
    """Analyse, print and write the page; the exit code is 1 where an arm harms, or the experiment
    cannot be trusted.

    A winner whose guardrail is not proven is warned of: whether to serve it is not the tool's
    decision.
    """
    if args.break_even is not None and args.assessment is not None:
        raise UsageError(
            "--break-even and --assessment both give the gain that pays; give one of them"
        )
    loaded = load(args.project)
    at = options.timestamp(args.at, "--at")
    page = options.output(args.output, "--output")
    markdown = None if args.markdown is None else options.output(args.markdown, "--markdown")
    folder = None if args.export is None else options.output(args.export, "--export", folder=True)
    from headwater.assessing.lift import backtest_of
    from headwater.experiments.analyse_experiment import analyse
    from headwater.experiments.experiment_money import ExperimentEvidence
    from headwater.experiments.experiment_words import not_proven

    even: float | ExperimentEvidence = args.break_even or 0.0
    if args.assessment is not None:
        even = ExperimentEvidence.of_assessment(args.assessment)
    elif args.backtest is not None:
        even = ExperimentEvidence.of_backtest(
            backtest_of(args.backtest), least=args.break_even or 0.0
        )
    with screen.working("analysing"):
        analysis = analyse(
            loaded.project,
            args.name,
            data_dir=options.data_dir(args),
            models=args.models,
            at=at,
            break_even=even,
        )
    analysis.write_html(page)
    if markdown is not None:
        markdown.write_text(analysis.to_markdown(), encoding="utf-8")
    if folder is not None:
        analysis.export(folder)
        screen.say(f"export: {folder}")
    screen.show(analysis.table(), {**analysis.to_dict(), "page": str(page)})
    screen.say(f"page: {page}")
    result = analysis.result
    if result.decision == "real-time":
        for unproven in not_proven(
            [rail for rail in result.of_metric("guardrail") if rail.arm == result.arm],
            arms=len(result.arms),
        ):
            screen.warning(f"guardrail {unproven}")
    if result.decision == "inconclusive":
        screen.next("headwater", "experiment", "plan", args.name, *experiment_options.same(args))
    if analysis.decision in ("harm", "invalid"):
        raise HeadwaterError(analysis.result.first_line.rstrip("."))


COMMAND = Verb(
    analyse_experiment,
    [
        Positional("name", metavar="NAME", help="of the experiment"),
        *options.project(model=False),
        *options.models(),
        *options.logs(),
        option(
            "--at",
            metavar="TIME",
            help="analyse as of this time: ISO 8601 with an offset (default: now)",
        ),
        option(
            "--break-even",
            metavar="GAIN",
            type=float,
            help=(
                "the relative gain that pays for the fresher arm, such as 0.01 (default: the "
                "plan's)"
            ),
        ),
        option(
            "--assessment",
            metavar="FILE",
            help=(
                "what `headwater assess --json` printed: costs, worth and backtest (default: none)"
            ),
        ),
        option(
            "--backtest",
            metavar="FILE",
            help="what `headwater backtest --json` printed, shown next to it (default: none)",
        ),
        option(
            "--output",
            metavar="FILE",
            default="experiment.html",
            help="where the page goes (default: {default})",
        ),
        option("--markdown", metavar="FILE", help="write the page as Markdown too"),
        option(
            "--export",
            metavar="FOLDER",
            help=(
                "write exposures, outcomes, plan, schedule and SQL, to repeat the main figure "
                "elsewhere"
            ),
        ),
        *options.as_json(),
    ],
    help=__doc__,
    summary="the verdict of a started experiment, and its decision page",
    examples=["headwater experiment analyse fresh_features --output decision.html"],
)
