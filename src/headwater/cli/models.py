"""List the versions of fitted models, promote one, or roll back to the previous one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.models.registry import ModelRegistry, Version


def promote(args: Arguments, screen: Screen) -> None:
    """Serve a version from now on."""
    if not args.version.isdecimal():
        raise UsageError(f"VERSION is {args.version!r}; give an integer, as listed by `headwater models`")
    registry, model, level = _variant(args)
    if args.promise is not None:
        _keep_promise(args, registry, screen)
    _served(registry.promote(int(args.version), model, level), screen)


def _keep_promise(args: Arguments, registry: ModelRegistry, screen: Screen) -> None:
    """Write what the backtest of --promise promised of the version."""
    from headwater.assessing.lift import backtest_of
    from headwater.backtesting.promise import promised
    from headwater.models.promises import write_promise

    _, model, level = _variant(args)
    version = registry.version(int(args.version), model, level)
    promise = promised(backtest_of(args.promise), args.promise_level, describes=str(version.manifest.level.get("describe", "")))
    write_promise(version.folder, promise, version.manifest.fingerprint)
    screen.say(f"promise of {promise.level}: {promise.metric} {promise.promised.value:.4g}")


def rollback(args: Arguments, screen: Screen) -> None:
    """Serve the previous version."""
    registry, model, level = _variant(args)
    before = registry.before(model, level)
    if args.dry_run:
        screen.show(f"would serve {before}", {**_record(before, current=False), "dry_run": True})
        return
    if not options.confirmed(args, f"Serve {before} from now on?", undoable=True):
        screen.say("nothing was changed")
        return
    _served(registry.rollback(model, level), screen)


def _variant(args: Arguments) -> tuple[ModelRegistry, str, str]:
    """The registry, and the names of the model and the level."""
    from headwater.definitions.model_variant import AS_DEFINED
    from headwater.models.registry import ModelRegistry

    return ModelRegistry(args.models), load(args.project).project.model(args.model).name, args.level or AS_DEFINED


def _served(version: Version, screen: Screen) -> None:
    screen.say(f"{version} is served from now on")
    screen.show_json(_record(version, current=True))


def list_versions(args: Arguments, screen: Screen) -> None:
    """Every version of every model, or of one."""
    from headwater.models.registry import ModelRegistry

    registry = ModelRegistry(args.models)
    variants = [(m, level) for m, level in registry.variants() if args.model in (None, m) and args.level in (None, level)]
    versions = []
    for model, level in variants:
        current = registry.current(model, level).number
        versions += [(version, version.number == current) for version in registry.versions(model, level)]
    screen.show(
        _table(versions),
        {"folder": str(registry.folder), "versions": [_record(version, current=is_current) for version, is_current in versions]},
    )
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
    return None if promise is None else {"metric": promise.metric, "level": promise.level, **promise.promised.to_dict()}


def _table(versions: list[tuple[Version, bool]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    promises = [_promise(version) for version, _ in versions]
    kept = ["promised"] if any(promises) else []
    table = Table("model", "level", "version", "made", "rows", "measured", *kept, "estimator", box=box.SIMPLE_HEAD, show_edge=False)
    for (version, current), promise in zip(versions, promises, strict=True):
        manifest = version.manifest
        metrics = manifest.metrics.get("holdout") or manifest.metrics.get("training") or {}
        measured = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if value is not None)
        where = "" if not metrics else " (held out)" if "holdout" in manifest.metrics else " (training)"
        number = f"{version.number} served" if current else str(version.number)
        promised = [("" if promise is None else f"{promise['metric']} {promise['value']:.4g}") for _ in kept]
        row = (version.model, version.level, number, manifest.created_at, f"{manifest.rows:,}", measured + where, *promised)
        table.add_row(*row, manifest.estimator)
    return table


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
            [Positional("version", metavar="VERSION", help="the number of a version"), *_COMMON, *options.promise(), *options.as_json()],
            help="Serve a version from now on.",
            summary="serve a version",
            examples=["headwater models promote 3"],
        ),
        "rollback": Verb(
            rollback,
            [*_COMMON, *options.confirmation("served"), *options.as_json()],
            help="Serve the previous version; repeated, the one before it.",
            summary="serve the previous version",
            examples=["headwater models rollback"],
        ),
    },
    help=__doc__,
    default=_LIST,
)
