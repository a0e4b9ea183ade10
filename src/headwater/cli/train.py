"""Train a model on what was known by a moment, and keep it in a folder."""

from __future__ import annotations

import argparse

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen

SUMMARY = "train a model on what was known by a moment, and keep it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater train`."""
    options.project(parser)
    options.level(parser)
    options.until(parser)
    options.memory(parser)
    options.from_log(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the estimator (default: %(default)s)")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the model and its manifest go")


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Train and save."""
    loaded = load(given.project)
    model, level = loaded.project.model(given.model), loaded.level(given.level)
    until = options.moment(given.until, "--until")
    from headwater.pipelines.train import train

    with screen.progress() as tick:
        trained = train(model, level=level, until=until, seed=given.seed, memory=given.memory, tick=tick, from_log=options.log_of(given))
    manifest = trained.save(given.output)
    screen.say(f"{trained.fitted.description}, trained on {trained.rows:,} rows")
    screen.left_out(trained.left_out)
    screen.say(f"model: {manifest}")
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    screen.next("headwater", "backtest", "--project", given.project, *chosen)
