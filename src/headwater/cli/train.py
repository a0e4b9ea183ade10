"""Train a model on what was known by a moment, and keep it: as a new version of what is served, or in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Flag, Given, Verb, option
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.definitions.project import Project
    from headwater.training.train import Trained


def run(given: Given, screen: Screen) -> None:
    """Train and keep."""
    if given.output and given.models:
        raise UsageError("give --models or --output: a version is kept in the one, a single model in the other")
    if given.output and not given.promote:
        raise UsageError("--output writes a folder that nothing is served from; leave --no-promote out")
    loaded = load(given.project)
    model, level = loaded.project.model(given.model), loaded.level(given.level)
    until, holdout = options.moment(given.as_of, "--as-of"), options.moment(given.holdout, "--holdout")
    from headwater.models.registry import ModelRegistry
    from headwater.training.train import train

    registry = ModelRegistry(given.models)
    options.output(given.output or registry.folder, "--output" if given.output else "--models", folder=True)
    with screen.progress() as tick:
        trained = train(
            model,
            level=level,
            level_name=given.level,
            until=until,
            holdout=holdout,
            seed=given.seed,
            memory=given.memory,
            tick=tick,
            from_log=options.log_of(given),
        )
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    if given.output:
        manifest = trained.save(given.output)
        _say(trained, screen)
        screen.say(f"model: {manifest}")
        screen.next("headwater", "backtest", "--project", given.project, *chosen)
        return
    version = trained.register(registry, promote=given.promote)
    _say(trained, screen)
    served = registry.current(version.model, version.level).number == version.number
    screen.say(f"model: {version}, {'which is served from now on' if served else 'which waits to be promoted'}, in {version.folder}")
    if served:
        screen.next("headwater", _next(loaded.project, given), "--project", given.project)
    else:
        level_given = ("--level", given.level) if given.level else ()
        screen.next("headwater", "models", "promote", str(version.number), "--project", given.project, *chosen, *level_given)


def _next(project: Project, given: Given) -> str:
    """What is to be done for the model to be served: fill the online store, where there is none and a view reads one."""
    from headwater import settings
    from headwater.definitions.served_views import stored

    kind, _, folder = (given.file.get("store") or settings.store()).partition(":")
    views = [one.view for one in stored(project)]
    if not views or kind != "lmdb" or Path(folder.partition("?")[0]).exists():
        return "serve"
    return "materialize" if any(view.freshness.scheduled for view in views) else "ingest"


def _say(trained: Trained, screen: Screen) -> None:
    screen.say(f"{trained.fitted.description}, trained on {trained.rows:,} rows")
    screen.left_out(trained.left_out)
    for name, found in trained.metrics.items():
        screen.say(f"{name}: {', '.join(f'{metric} {value:.4g}' for metric, value in found.items())}")


COMMAND = Verb(
    run,
    [
        *options.project(),
        *options.level(),
        *options.as_of(),
        option(
            "--holdout",
            metavar="TIME",
            help="also measure, on the rows that asked from then on, a model of those known before: ISO 8601 with an offset",
        ),
        *options.memory(),
        *options.from_log(),
        option("--seed", metavar="N", type=int, default=0, help="of the estimator (default: {default})"),
        *options.models(),
        Flag(
            ["--promote/--no-promote"],
            default=True,
            help="serve the new version from now on; with --no-promote it waits for `headwater models promote` (the first one never does)",
        ),
        option("--output", metavar="FOLDER", help="write the model and its manifest into a folder, instead of keeping a version"),
    ],
    help=__doc__,
)
