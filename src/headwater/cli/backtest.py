"""Train a model at several levels of freshness, and show what fresher features buy."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import click

from headwater.cli import evaluation_options, options, questions_before
from headwater.cli.command import Arguments, Verb, option, optional, switch
from headwater.cli.projects import LoadedProject, load
from headwater.cli.screen import Screen
from headwater.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from headwater.backtesting.backtest import Backtest
    from headwater.definitions.evaluations import Evaluation
    from headwater.definitions.level import Level
    from headwater.definitions.model import Model


def run(args: Arguments, screen: Screen) -> None:
    """Run the backtest, print it and write the report."""
    if args.scores is not None:
        _judge_scores(args, screen)
        return
    loaded = load(args.project)
    evaluation_options.check_metrics(args)
    model = loaded.project.model(args.model)
    levels = _levels(loaded, model, args.levels)
    evaluation = evaluation_options.check_acknowledged(
        _evaluation(loaded, args), args, loaded, model
    )
    ends = None if args.attribution is None else _ends(loaded, model, levels, args.attribution)
    report = options.output(args.output, "--output")
    evaluation = questions_before.ask(args, screen, evaluation, list(levels))
    from headwater.backtesting.backtest import backtest
    from headwater.training.progress import BACKTEST

    with screen.progress(BACKTEST) as on_progress:
        result = backtest(
            model,
            levels,
            evaluation,
            models=args.models,
            resources=options.resources(args, on_progress),
        )
    if ends is not None:
        result = _attributed(result, loaded, ends, evaluation, args, screen)
    _write(result, report, args, screen)
    for command, _ in result.page().next[:1]:
        screen.next(*shlex.split(command), "--project", args.project)


def _write(result: Backtest, report: Path, args: Arguments, screen: Screen) -> None:
    """Print the first screen, or with --verbose all; write the report."""
    from headwater.pages.page_forms import to_terminal

    shown = to_terminal(result.page(), verbose=bool(args.verbose))
    screen.show(shown, {**result.to_dict(), "report": str(report)})
    result.write_html(report)
    screen.say(f"report: {report}")


def _judge_scores(args: Arguments, screen: Screen) -> None:
    """Judge predictions made elsewhere; no project is read."""
    from headwater.backtesting.backtest import backtest
    from headwater.definitions.model import Scores
    from headwater.training.progress import BACKTEST

    project = {
        "--slices": args.slices,
        "--split": args.split,
        "--folds": args.folds,
        "--every": args.every,
        "--seeds": args.seeds,
        "--refits": args.refits,
    }
    for flag, value in {
        **project,
        "--attribution": args.attribution,
        "--groups": args.groups,
    }.items():
        if value is not None:
            raise UsageError(
                f"{flag} does not apply to --scores: nothing is trained, and no project is read"
            )
    levels = None if args.levels is None else [name.strip() for name in args.levels.split(",")]
    names: dict[str, Any] = {
        name: value
        for name, value in {"id": args.id, "time": args.time, "label": args.label}.items()
        if value is not None
    }
    report = options.output(args.output, "--output")
    if "id" in names and "," in names["id"]:
        names["id"] = [name.strip() for name in names["id"].split(",")]
    evaluation = questions_before.ask(
        args, screen, evaluation_options.evaluation(args, None), levels or []
    )
    with screen.progress(BACKTEST) as on_progress:
        backtested = backtest(
            evaluation=evaluation,
            scores=Scores(args.scores, levels=levels, **names),
            resources=options.resources(args, on_progress),
        )
    _write(backtested, report, args, screen)
    screen.next("headwater", "init")


def _attributed(
    result: Backtest,
    loaded: LoadedProject,
    ends: tuple[str, str],
    evaluation: Evaluation,
    args: Arguments,
    screen: Screen,
) -> Backtest:
    """The backtest with what its views earn from freshness."""
    import msgspec

    from headwater.backtesting.attribution import attribution

    levels, model = loaded.levels(), loaded.project.model(args.model)
    # the backtest has judged them, with intervals widened for all of its steps
    plain = replace(evaluation, slices=None)
    with screen.progress() as on_progress:
        resources = options.resources(args, on_progress)
        attributed = attribution(
            model,
            {name: levels[name] for name in ends},
            plain,
            groups=args.groups,
            resources=resources,
        )
    return replace(
        result, result=msgspec.structs.replace(result.result, attribution=attributed.plain)
    )


def _ends(
    loaded: LoadedProject, model: Model, compared: Mapping[str, Level], names: str
) -> tuple[str, str]:
    """The names of the two levels between which views are attributed: those given, or the first and
    last compared level.
    """
    from headwater.backtesting.attribution import ends

    if not names:
        return ends(model, compared)
    chosen = [name.strip() for name in names.split(",")]
    if len(chosen) != 2:
        raise UsageError(
            f"--attribution {names}: give two levels, such as --attribution daily,minute; there "
            f"are {', '.join(compared)}"
        )
    for name in chosen:
        loaded.level(name)
    return chosen[0], chosen[1]


def _evaluation(loaded: LoadedProject, args: Arguments) -> Evaluation:
    """The project's evaluation, with the options that were given."""
    evaluation = evaluation_options.evaluation(args, loaded.project)
    slices = _slices(loaded, args.slices)
    if slices is not None:
        evaluation = replace(evaluation, slices=slices)
    if args.folds is None and args.every is None:
        return evaluation
    if not isinstance(evaluation.split, str | datetime):
        raise UsageError(
            "--folds and --every need --split, which says where the first fold is split"
        )
    from headwater.definitions.evaluations import rolling

    folds = rolling(
        evaluation.split, every=args.every or "7d", folds=4 if args.folds is None else args.folds
    )
    return replace(evaluation, split=folds)


def _levels(loaded: LoadedProject, model: Model, names: str | None) -> Mapping[str, Level]:
    from headwater.backtesting.levels import usual_levels

    levels = loaded.levels() if loaded.project.levels or names is not None else usual_levels(model)
    chosen = list(levels) if names is None else [name.strip() for name in names.split(",")]
    for name in chosen:
        loaded.level(name)
    return {name: level for name, level in levels.items() if name in chosen}


def _slices(loaded: LoadedProject, variable: str | None) -> Mapping[str, pl.Expr] | None:
    if variable is None:
        return None
    slices = loaded.names.get(variable)
    if not isinstance(slices, dict):
        dicts = [
            name
            for name, value in loaded.names.items()
            if isinstance(value, dict) and not name.startswith("_")
        ]
        raise UsageError(
            f"--slices {variable}: the project file has no dict of that name; "
            f"{nearest(variable, dicts)}"
        )
    return cast("Mapping[str, pl.Expr]", slices)


COMMAND = Verb(
    run,
    [
        *options.project(),
        option(
            "--split",
            metavar="TIME",
            help=(
                "train before it, test after it: ISO 8601 with an offset (default: the project's, "
                "else three quarters of the requests train)"
            ),
        ),
        option(
            "--levels",
            metavar="NAMES",
            help=(
                "some of the project's levels, such as daily,minute (default: all; the usual "
                "ladder where it has none)"
            ),
        ),
        option(
            "--slices",
            metavar="VARIABLE",
            help=(
                "the variable of the project file that holds slices: a dict of polars expressions "
                "over the labels (default: the project's)"
            ),
        ),
        option(
            "--min-lift",
            metavar="GAIN",
            type=float,
            help=(
                "the least gain in the headline metric that is worth having (default: the "
                "project's)"
            ),
        ),
        option(
            "--scores",
            metavar="FILE",
            help=(
                "judge predictions made elsewhere, without a project: a parquet or csv file with "
                "the columns id, time, label and one of scores for each level, from stale to fresh"
            ),
        ),
        option(
            "--id",
            metavar="COLUMNS",
            help="with --scores: the columns that identify a request (default: id)",
        ),
        option("--time", metavar="COLUMN", help="with --scores: the request time (default: time)"),
        option("--label", metavar="COLUMN", help="with --scores: the outcome (default: label)"),
        option(
            "--folds",
            metavar="N",
            type=int,
            help="retrain N times from --split on, and test each model until the next",
        ),
        option("--every", metavar="TIME", help="how long each fold tests (default: 7d)"),
        option(
            "--seeds",
            metavar="N",
            type=int,
            help=(
                "train each level with N seeds, over which values are means (default: the "
                "project's, else 1)"
            ),
        ),
        *evaluation_options.FLAGS,
        optional(
            "--attribution",
            metavar="STALE,FRESH",
            help=(
                "say too which views earn from freshness between two levels (default: of those "
                "compared, the first that reads history, and the last)"
            ),
        ),
        option(
            "--groups",
            metavar="source",
            type=click.Choice(["source"]),
            help="with --attribution: make the views of one source fresh together",
        ),
        option(
            "--seed",
            metavar="N",
            type=int,
            help="of the resamples and the estimator (default: the project's, else 0)",
        ),
        option(
            "--output",
            metavar="FILE",
            default="report.html",
            help="where the report goes (default: {default})",
        ),
        switch(
            "--verbose",
            help=(
                "print every table: all metrics, steps, slices, what was left out, and what the "
                "audit checked"
            ),
        ),
        *options.models(),
        *options.memory(),
        *options.as_json(),
    ],
    help=__doc__,
    examples=[
        "headwater backtest",
        "headwater backtest --levels daily,hourly,instant --output report.html",
    ],
)
