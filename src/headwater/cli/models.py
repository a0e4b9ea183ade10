"""List the versions of fitted models, promote one, or roll back to the previous one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.taken_up import show_services
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.definitions.project import Project
    from headwater.models.registry import ModelRegistry, Version
    from headwater.models.running_services import ServingProcess


def promote(args: Arguments, screen: Screen) -> None:
    """Make a version the current one, if the definitions can serve it."""
    if not args.version.isdecimal():
        raise UsageError(
            f"VERSION is {args.version!r}; give an integer, as listed by `headwater models`"
        )
    from headwater.models.promotion import check_servable

    registry, project, model, level = _variant(args)
    version = registry.version(int(args.version), model, level)
    check_servable(project, registry, version, args.project)
    if args.promise is not None:
        _keep_promise(args, version, screen)
    _show(registry, project, registry.promote(version.number, model, level), screen)


def _keep_promise(args: Arguments, version: Version, screen: Screen) -> None:
    """Write what the backtest of --promise promised of the version."""
    from headwater.assessing.lift import backtest_of
    from headwater.backtesting.promise import promised
    from headwater.models.promises import write_promise

    promise = promised(
        backtest_of(args.promise),
        args.promise_level,
        describes=str(version.manifest.level.get("describe", "")),
    )
    write_promise(version.folder, promise, version.manifest.fingerprint)
    screen.say(f"promise of {promise.level}: {promise.metric} {promise.promised.value:.4g}")


def rollback(args: Arguments, screen: Screen) -> None:
    """Make the previous version current again, if the definitions can serve it."""
    from headwater.models.promotion import check_servable

    registry, project, model, level = _variant(args)
    before = registry.before(model, level)
    check_servable(project, registry, before, args.project)
    if args.dry_run:
        screen.show(
            f"would make {before}, current", {**_record(before, current=False), "dry_run": True}
        )
        return
    if not options.confirmed(args, screen, f"Make {before}, current?", undoable=True):
        screen.say("nothing was changed")
        return
    _show(registry, project, registry.rollback(model, level), screen)


def _variant(args: Arguments) -> tuple[ModelRegistry, Project, str, str]:
    """The registry, the project, and the names of the model and the level."""
    from headwater.definitions.level import AS_DEFINED
    from headwater.models.registry import ModelRegistry

    project = load(args.project).project
    return (
        ModelRegistry(args.models),
        project,
        project.model(args.model).name,
        args.level or AS_DEFINED,
    )


def _show(registry: ModelRegistry, project: Project, version: Version, screen: Screen) -> None:
    """Print what has become current, and what running services make of it."""
    screen.say(f"{version}, is current from now on")
    services = show_services(registry, project.name, version, screen)
    if not services:
        screen.say(
            f"no service that runs takes this model from {registry.folder}; the next one that "
            "starts serves it"
        )
    screen.show_json({**_record(version, current=True), "services": list(map(_service, services))})


def _service(process: ServingProcess) -> dict[str, object]:
    return {
        "url": process.url,
        "host": process.host,
        "pid": process.pid,
        "loaded": [
            {
                "model": loaded.model,
                "level": loaded.level,
                "version": loaded.version,
                "refused": loaded.refused,
                "looked_at": loaded.promoted,
            }
            for loaded in process.loaded
        ],
    }


def list_versions(args: Arguments, screen: Screen) -> None:
    """Every version of every model, or of one, and what running services answer with."""
    from headwater.definitions.level import at_level
    from headwater.models.promotion import sentences
    from headwater.models.registry import ModelRegistry
    from headwater.models.running_services import running_services

    registry = ModelRegistry(args.models)
    processes = running_services(registry.folder)
    variants = [
        (m, level)
        for m, level in registry.variants()
        if args.model in (None, m) and args.level in (None, level)
    ]
    versions, services = [], list[tuple[str, bool]]()
    for model, level in variants:
        current = registry.current(model, level)
        versions += [
            (version, version.number == current.number)
            for version in registry.versions(model, level)
        ]
        services += [
            (f"{at_level(model, level)}: {line}", follows)
            for line, follows in sentences(processes, current)
        ]
    records = [_record(version, current=is_current) for version, is_current in versions]
    screen.show(
        _table(versions),
        {
            "folder": str(registry.folder),
            "versions": records,
            "services": list(map(_service, processes)),
        },
    )
    for line, follows in services:
        (screen.say if follows else screen.warning)(line)
    if not versions:
        screen.next("headwater", "train", "--project", args.project)


def _record(version: Version, *, current: bool) -> dict[str, object]:
    manifest = version.manifest
    return {
        "model": version.model,
        "level": version.level,
        "version": version.number,
        "current": current,
        "created_at": manifest.created_at,
        "until": manifest.until,
        "rows": manifest.rows,
        "estimator": manifest.estimator,
        "metrics": manifest.metrics,
        "promise": _promise(version),
        "folder": str(version.folder),
    }


def _promise(version: Version) -> dict[str, object] | None:
    """What was promised of a version, and what became of it."""
    from headwater.models.promises import promise_of_version

    promise = promise_of_version(version)
    return (
        None
        if promise is None
        else {"metric": promise.metric, "level": promise.level, **promise.promised.to_dict()}
    )


def _table(versions: list[tuple[Version, bool]]) -> RenderableType:
    from headwater.terminal.layout import ShownTable
    from headwater.terminal.text import moment

    promises = [_promise(version) for version, _ in versions]
    promise_column = ["promised"] if any(promises) else []
    rows = []
    for (version, current), promise in zip(versions, promises, strict=True):
        manifest = version.manifest
        metrics = manifest.metrics.get("holdout") or manifest.metrics.get("training") or {}
        measured = ", ".join(
            f"{name} {value:.4g}" for name, value in metrics.items() if value is not None
        )
        measured_on = (
            "" if not metrics else " (held out)" if "holdout" in manifest.metrics else " (training)"
        )
        number = f"{version.number} current" if current else str(version.number)
        promised = [
            ("" if promise is None else f"{promise['metric']} {promise['value']:.4g}")
            for _ in promise_column
        ]
        cells = (
            version.model,
            version.level,
            number,
            moment(manifest.created_at),
            f"{manifest.rows:,}",
            measured + measured_on,
            *promised,
        )
        rows.append([*cells, manifest.estimator])
    return ShownTable(
        "",
        ["model", "level", "version", "made", "rows", "measured", *promise_column, "estimator"],
        rows,
    )


_COMMON = [*options.project(), *options.level(), *options.models()]
_LIST = Verb(
    list_versions,
    [*_COMMON, *options.as_json()],
    help=__doc__,
    summary="list every version (default)",
    examples=["headwater models", "headwater models list --json"],
)

COMMAND = Actions(
    {
        "list": _LIST,
        "promote": Verb(
            promote,
            [
                Positional("version", metavar="VERSION", help="the number of a version"),
                *_COMMON,
                *options.promise(),
                *options.as_json(),
            ],
            help=(
                "Make a version the current one, which services take up. It is refused where the "
                "project's definitions cannot serve it; a running service that cannot goes on "
                "with the one before, and is named."
            ),
            summary="make a version current",
            examples=["headwater models promote 3"],
        ),
        "rollback": Verb(
            rollback,
            [*_COMMON, *options.confirmation("made current"), *options.as_json()],
            help=(
                "Make the previous version current again; repeated, the one before it. It is "
                "refused where the project's definitions cannot serve it."
            ),
            summary="make the previous version current",
            examples=["headwater models rollback"],
        ),
    },
    help=__doc__,
    default=_LIST,
)
