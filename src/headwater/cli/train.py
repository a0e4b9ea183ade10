"""Train a model as of a time, and keep it: as a new version for serving, or in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Flag, Verb, option
from headwater.cli.projects import LoadedProject, load
from headwater.cli.screen import Screen
from headwater.cli.taken_up import show_services
from headwater.errors import UsageError, nearest

if TYPE_CHECKING:
    from headwater.definitions.level import Level
    from headwater.definitions.model import Model
    from headwater.definitions.project import Project
    from headwater.results.promise_result import Promise
    from headwater.training.arm_log import ArmLog
    from headwater.training.train import Trained


def run(args: Arguments, screen: Screen) -> None:
    """Train and keep."""
    if args.output and args.models:
        raise UsageError(
            "give --models or --output: a version is kept in the one, a single model in the other"
        )
    if args.promise is not None and args.output:
        raise UsageError("--promise is kept with a version; leave out --output")
    if args.output and not args.promote:
        raise UsageError("--output writes a folder that is not served; leave out --no-promote")
    loaded = load(args.project)
    if args.experiment is not None:
        _train_arms(loaded, args, screen)
        return
    model, level = loaded.project.model(args.model), loaded.level(args.level)
    _train(loaded, args, screen, (model, level, args.level), options.rows_of_log(args))


def _train_arms(loaded: LoadedProject, args: Arguments, screen: Screen) -> None:
    """Train the model of an arm, or of each, at the arm's own level, and with --from-log on its own
    log.
    """
    from headwater.definitions.level import AS_DEFINED, at_level

    if args.model or args.level or args.output:
        raise UsageError(
            "--experiment takes models and levels from its arms; leave out --model, --level and "
            "--output"
        )
    experiment = loaded.project.experiment(args.experiment)
    arms = [arm for arm in experiment.arms if args.arm in (None, arm.name)]
    if not arms:
        raise UsageError(
            f"experiment {experiment.name!r} has no arm {args.arm!r}; "
            f"{nearest(args.arm, [arm.name for arm in experiment.arms])}"
        )
    trained = set[tuple[str, str]]()
    for arm in arms:
        variant = loaded.project.arm_variant(experiment, arm)
        if (arm.model.name, variant.name) in trained:
            screen.say(f"arm {arm.name}: {at_level(arm.model.name, variant.name)} was just trained")
            continue
        if variant.allow_staler and args.arm is None:
            screen.say(
                f"arm {arm.name} may be served staler than trained (allow_staler): it takes the "
                "model as defined"
            )
            continue
        trained.add((arm.model.name, variant.name))
        screen.say(f"arm {arm.name}:")
        level = None if variant.name == AS_DEFINED else variant.level
        name = None if level is None else variant.name
        _train(loaded, args, screen, (arm.model, level, name), options.rows_of_log(args, arm.name))


def _train(
    loaded: LoadedProject,
    args: Arguments,
    screen: Screen,
    model_at_level: tuple[Model, Level | None, str | None],
    log: Path | ArmLog | None,
) -> None:
    """Train one model at one level (None: as defined), and keep it."""
    model, level, level_name = model_at_level
    until, holdout = (
        options.timestamp(args.as_of, "--as-of"),
        options.timestamp(args.holdout, "--holdout"),
    )
    from headwater.models.registry import ModelRegistry
    from headwater.training.train import train

    promise = _promise(args, model, level)
    registry = ModelRegistry(args.models)
    options.output(
        args.output or registry.folder, "--output" if args.output else "--models", folder=True
    )
    with screen.progress() as on_progress:
        trained = train(
            model,
            level=level,
            level_name=level_name,
            as_of=until,
            holdout=holdout,
            seed=args.seed,
            from_log=log,
            resources=options.resources(args, on_progress),
        )
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    if args.output:
        manifest = trained.save(args.output)
        _say(trained, screen)
        screen.say(f"model: {manifest}")
        screen.next("headwater", "backtest", "--project", args.project, *chosen)
        return
    version = trained.register(registry, promote=args.promote, promise=promise)
    _say(trained, screen)
    current = registry.current(version.model, version.level).number == version.number
    screen.say(
        f"model: {version}, which {'is current' if current else 'waits to be promoted'}, in "
        f"{version.folder}"
    )
    if current:
        services = show_services(registry, loaded.project.name, version, screen)
        if args.experiment:
            screen.next(
                "headwater", "experiment", "plan", args.experiment, "--project", args.project
            )
        elif services:
            _lead_to_services(loaded.project, args, screen)
        else:
            _lead_to_serving(loaded.project, args, screen)
    else:
        level_given = ("--level", level_name) if level_name else ()
        screen.next(
            "headwater",
            "models",
            "promote",
            str(version.number),
            "--project",
            args.project,
            *chosen,
            *level_given,
        )


def _promise(args: Arguments, model: Model, level: Level | None) -> Promise | None:
    """What the backtest of --promise promised of the level."""
    if args.promise is None:
        return None
    from headwater.assessing.lift import backtest_of
    from headwater.backtesting.promise import promised
    from headwater.definitions.level import Level

    return promised(
        backtest_of(args.promise), args.promise_level, describes=(level or Level()).describe(model)
    )


def _lead_to_services(project: Project, args: Arguments, screen: Screen) -> None:
    """Lead to the catalog, where a service that is restarted would be stopped by definitions that
    are not applied; else to the status.
    """
    from headwater.catalog.plan import compare
    from headwater.models.registry import ModelRegistry

    planned = compare(project, registry=ModelRegistry(args.models))
    screen.next(
        "headwater",
        "plan" if planned.version and planned.changes else "status",
        "--project",
        args.project,
    )


def _lead_to_serving(project: Project, args: Arguments, screen: Screen) -> None:
    """Print how to serve, with what fills the online store and keeps it fresh where it does not
    exist yet, and how to predict then.
    """
    from headwater import settings
    from headwater.cli.project_file import read
    from headwater.definitions.project import stored
    from headwater.monitoring.example_requests import URL, prediction_command

    models = ("--models", args.models) if args.by_flag("models") else ()
    kind, _, folder = (args.file.get("store") or settings.store()).partition(":")
    freshness = [stored_view.view.freshness for stored_view in stored(project)]
    jobs = (
        ("--ingest", any(view_freshness.streamed for view_freshness in freshness)),
        ("--materialize", any(view_freshness.scheduled for view_freshness in freshness)),
    )
    new = kind == "lmdb" and not Path(folder.partition("?")[0]).exists()
    screen.next(
        "headwater",
        "serve",
        "--project",
        args.project,
        *models,
        *(flag for flag, needed in jobs if new and needed),
    )
    file = read(args.project)
    listen = str(file.sections.get("serve", {}).get("listen", "")) if file else ""
    url = f"http://{listen}".replace("0.0.0.0", "127.0.0.1") if listen else URL  # noqa: S104 (where a service listens, not where one is reached)
    if command := prediction_command(project, url, tokens=options.tokens_file(args).exists()):
        screen.say("to predict, in another terminal:")
        screen.command(command)


def _say(trained: Trained, screen: Screen) -> None:
    screen.say(f"{trained.fitted.description}, trained on {trained.rows:,} rows")
    screen.left_out(trained.left_out)
    for name, values in trained.metrics.items():
        screen.say(
            f"{name}: {', '.join(f'{metric} {value:.4g}' for metric, value in values.items())}"
        )


COMMAND = Verb(
    run,
    [
        *options.project(),
        *options.level(),
        *options.as_of(),
        option(
            "--holdout",
            metavar="TIME",
            help=(
                "also measure a model of the rows known before this time on those requested after "
                "it: ISO 8601 with an offset"
            ),
        ),
        *options.memory(),
        *options.from_log(),
        option(
            "--experiment",
            metavar="NAME",
            help=(
                "train every arm of this experiment at its own level; with --from-log, each on "
                "what it served"
            ),
        ),
        option("--arm", metavar="NAME", help="with --experiment, one of its arms"),
        option(
            "--seed", metavar="N", type=int, default=0, help="of the estimator (default: {default})"
        ),
        *options.promise(),
        *options.models(),
        Flag(
            ["--promote/--no-promote"],
            default=True,
            help=(
                "make the new version the current one; with --no-promote it waits for `headwater "
                "models promote` (the first one never does)"
            ),
        ),
        option(
            "--output",
            metavar="FOLDER",
            help="write the model and its manifest into a folder, instead of keeping a version",
        ),
    ],
    help=__doc__,
    examples=["headwater train", "headwater train --level hourly --as-of 2026-11-01T00:00:00Z"],
)
