"""Options that the actions of `headwater experiment` share."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Flag, Positional, option, switch

if TYPE_CHECKING:
    from headwater.experiments.experiment_planning import ExperimentPlaces


def name() -> Positional:
    """The argument NAME."""
    return Positional("name", metavar="NAME", help="of an experiment of the project")


def places() -> list[Flag]:
    """Where models, views, logs and history are."""
    return [
        *options.models(),
        *options.store(),
        *options.from_log(),
        switch("--no-history", help="read no history: no power, no duration, no A/A test"),
    ]


def places_of(args: Arguments) -> ExperimentPlaces:
    """The same, of a command line."""
    from headwater.experiments.experiment_planning import ExperimentPlaces

    return ExperimentPlaces(
        models=args.models,
        store=args.store,
        data_dir=options.log_of(args) or options.data_dir(args),
        log=args.from_log is not None,
        history=not args.no_history,
    )


def author() -> list[Flag]:
    """The option --by."""
    return [
        option(
            "--by",
            metavar="AUTHOR",
            help="who does it, for the record (default: the user of the system)",
        )
    ]


def author_of(args: Arguments) -> str:
    """The author: as given, else the name of the system's user, or its number."""
    if args.by:
        return str(args.by)
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def same(args: Arguments) -> list[str]:
    """The options for the next command: project, models, store."""
    repeated = ["--project", args.project, *options.same_models(args)]
    if getattr(args, "store", None) is not None:
        repeated += options.same_store(args)
    elif args.by_flag("data_dir"):
        repeated += ["--data-dir", args.data_dir]
    return repeated
