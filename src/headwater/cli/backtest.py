"""Train a model at several levels of freshness, and show what fresher features buy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import click

from headwater.cli import options
from headwater.cli.command import Given, Verb, option, optional
from headwater.cli.projects import Loaded, load
from headwater.cli.screen import Screen
from headwater.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from headwater.backtesting.backtest import Backtest
    from headwater.definitions.level import Level
    from headwater.definitions.model import Model
    from headwater.definitions.rolling import Rolling


def run(given: Given, screen: Screen) -> None:
    """Run the backtest, print it and write the report."""
    loaded = load(given.project)
    model = loaded.project.model(given.model)
    levels, slices = _levels(loaded, given.levels), _slices(loaded, given.slices)
    ends = None if given.attribution is None else _ends(loaded, model, levels, given.attribution)
    report = options.output(given.output, "--output")
    from headwater.backtesting.backtest import backtest

    with screen.progress() as tick:
        found = backtest(
            model,
            levels=levels,
            split=_split(given),
            refits=given.seeds,
            slices=slices,
            min_lift=given.min_lift,
            seed=given.seed,
            memory=given.memory,
            progress=tick or False,
        )
    if ends is not None:
        found = _attributed(found, loaded, ends, given, screen)
    found.write_html(report)
    screen.show(found.table(), {**found.to_dict(), "report": str(report)})
    screen.say(f"report: {report}")
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    screen.next("headwater", "train", "--project", given.project, *chosen)


def _attributed(found: Backtest, loaded: Loaded, ends: tuple[str, str], given: Given, screen: Screen) -> Backtest:
    """The backtest with what its views earn from freshness."""
    from headwater.backtesting.attribution import attribution

    levels = loaded.levels()
    with screen.progress() as tick:
        made = attribution(
            loaded.project.model(given.model),
            stale=levels[ends[0]],
            fresh=levels[ends[1]],
            names=ends,
            groups=given.groups,
            split=_split(given),
            refits=given.seeds,
            min_lift=given.min_lift,  # no slices: the backtest has judged them, with intervals widened for all of its steps
            seed=given.seed,
            memory=given.memory,
            progress=tick or False,
        )
    return replace(found, result=replace(found.result, attribution=made))


def _ends(loaded: Loaded, model: Model, compared: Mapping[str, Level], names: str) -> tuple[str, str]:
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


def _split(given: Given) -> str | Rolling | None:
    if given.folds is None and given.every is None:
        return cast("str | None", given.split)
    if given.split is None:
        raise UsageError("--folds and --every need --split, which says where the first fold is split")
    from headwater.definitions.rolling import rolling

    return rolling(given.split, every=given.every or "7d", folds=4 if given.folds is None else given.folds)


def _levels(loaded: Loaded, names: str | None) -> Mapping[str, Level]:
    levels = loaded.levels()
    chosen = list(levels) if names is None else [name.strip() for name in names.split(",")]
    for name in chosen:
        loaded.level(name)
    return {name: level for name, level in levels.items() if name in chosen}


def _slices(loaded: Loaded, variable: str | None) -> Mapping[str, pl.Expr] | None:
    if variable is None:
        return None
    found = loaded.names.get(variable)
    if not isinstance(found, dict):
        dicts = [name for name, value in loaded.names.items() if isinstance(value, dict) and not name.startswith("_")]
        raise UsageError(f"--slices {variable}: the project file has no dict of that name; {nearest(variable, dicts)}")
    return cast("Mapping[str, pl.Expr]", found)


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
        option("--folds", metavar="N", type=int, help="train anew N times from --split on, and test each time until the next"),
        option("--every", metavar="TIME", help="how long each fold tests (default: 7d)"),
        option(
            "--seeds", metavar="N", type=int, default=1, help="train each level N times, so that intervals hold for a model trained anew"
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
