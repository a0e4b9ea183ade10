"""Train a model at several levels of freshness, and show what fresher features buy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import click

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, optional
from headwater.cli.projects import LoadedProject, load
from headwater.cli.screen import Screen
from headwater.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from headwater.backtesting.backtest import Backtest
    from headwater.definitions.level import Level
    from headwater.definitions.model import Model
    from headwater.definitions.rolling import Rolling


def run(args: Arguments, screen: Screen) -> None:
    """Run the backtest, print it and write the report."""
    loaded = load(args.project)
    model = loaded.project.model(args.model)
    levels, slices = _levels(loaded, args.levels), _slices(loaded, args.slices)
    ends = None if args.attribution is None else _ends(loaded, model, levels, args.attribution)
    report = options.output(args.output, "--output")
    from headwater.backtesting.backtest import backtest

    with screen.progress() as tick:
        result = backtest(
            model,
            levels=levels,
            split=_split(args),
            refits=args.seeds,
            slices=slices,
            min_lift=args.min_lift,
            seed=args.seed,
            memory=args.memory,
            progress=tick or False,
        )
    if ends is not None:
        result = _attributed(result, loaded, ends, args, screen)
    result.write_html(report)
    screen.show(result.table(), {**result.to_dict(), "report": str(report)})
    screen.say(f"report: {report}")
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    screen.next("headwater", "train", "--project", args.project, *chosen)


def _attributed(result: Backtest, loaded: LoadedProject, ends: tuple[str, str], args: Arguments, screen: Screen) -> Backtest:
    """The backtest with what its views earn from freshness."""
    from headwater.backtesting.attribution import attribution

    levels = loaded.levels()
    with screen.progress() as tick:
        attributed = attribution(
            loaded.project.model(args.model),
            stale=levels[ends[0]],
            fresh=levels[ends[1]],
            names=ends,
            groups=args.groups,
            split=_split(args),
            refits=args.seeds,
            min_lift=args.min_lift,  # no slices: the backtest has judged them, with intervals widened for all of its steps
            seed=args.seed,
            memory=args.memory,
            progress=tick or False,
        )
    return replace(result, result=replace(result.result, attribution=attributed))


def _ends(loaded: LoadedProject, model: Model, compared: Mapping[str, Level], names: str) -> tuple[str, str]:
    """The names of the two levels between which views are attributed: those given, or the ends of what is compared."""
    from headwater.backtesting.attribution import ends

    if not names:
        return ends(model, compared)
    chosen = [name.strip() for name in names.split(",")]
    if len(chosen) != 2:
        raise UsageError(f"--attribution {names}: give two levels, such as --attribution daily,minute; there are {', '.join(compared)}")
    for name in chosen:
        loaded.level(name)
    return chosen[0], chosen[1]


def _split(args: Arguments) -> str | Rolling | None:
    if args.folds is None and args.every is None:
        return cast("str | None", args.split)
    if args.split is None:
        raise UsageError("--folds and --every need --split, which says where the first fold is split")
    from headwater.definitions.rolling import rolling

    return rolling(args.split, every=args.every or "7d", folds=4 if args.folds is None else args.folds)


def _levels(loaded: LoadedProject, names: str | None) -> Mapping[str, Level]:
    levels = loaded.levels()
    chosen = list(levels) if names is None else [name.strip() for name in names.split(",")]
    for name in chosen:
        loaded.level(name)
    return {name: level for name, level in levels.items() if name in chosen}


def _slices(loaded: LoadedProject, variable: str | None) -> Mapping[str, pl.Expr] | None:
    if variable is None:
        return None
    slices = loaded.names.get(variable)
    if not isinstance(slices, dict):
        dicts = [name for name, value in loaded.names.items() if isinstance(value, dict) and not name.startswith("_")]
        raise UsageError(f"--slices {variable}: the project file has no dict of that name; {nearest(variable, dicts)}")
    return cast("Mapping[str, pl.Expr]", slices)


COMMAND = Verb(
    run,
    [
        *options.project(),
        option(
            "--split",
            metavar="TIME",
            help="train before it, test after it: ISO 8601 with an offset (default: three quarters of the requests train)",
        ),
        option(
            "--levels",
            metavar="NAMES",
            help="some of the project's levels, such as daily,minute (default: all; the usual ladder where it has none)",
        ),
        option(
            "--slices",
            metavar="VARIABLE",
            help="the variable of the project file that holds slices: a dict of polars expressions over the labels",
        ),
        option("--min-lift", metavar="GAIN", type=float, help="the least gain in the headline metric that is worth having"),
        option("--folds", metavar="N", type=int, help="retrain N times from --split on, and test each model until the next"),
        option("--every", metavar="TIME", help="how long each fold tests (default: 7d)"),
        option(
            "--seeds",
            metavar="N",
            type=int,
            default=1,
            help="train each level N times, so that intervals include the variance of retraining",
        ),
        optional(
            "--attribution",
            metavar="STALE,FRESH",
            help="say too which views earn from freshness between two levels (default: of those compared, the first that reads history, "
            "and the last)",
        ),
        option(
            "--groups",
            metavar="source",
            type=click.Choice(["source"]),
            help="with --attribution: make the views of one source fresh together",
        ),
        option("--seed", metavar="N", type=int, default=0, help="of the resamples and the estimator (default: {default})"),
        option("--output", metavar="FILE", default="report.html", help="where the report goes (default: {default})"),
        *options.memory(),
        *options.as_json(),
    ],
    help=__doc__,
)
