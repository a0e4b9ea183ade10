"""`headwater materialize MODEL`: its options and output."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Arguments, option, section
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped_where
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.definitions.connectors import Table
    from headwater.definitions.level import ModelVariant
    from headwater.definitions.project import Project
    from headwater.jobs.precompute import ActiveKeys, PrecomputeResult
    from headwater.models.serving_model import ServedModel

_MODEL_OPTIONS = ("level", "models", "fitted", "active", "keys_file", "database", "table", "files")


def model(project: Project, args: Arguments) -> str | None:
    """The model that is named; None where views are meant."""
    models = {definition.name for definition in project.models}
    views = {definition.name for definition in project.all_views}
    for name in args.names:
        if name in models & views:
            raise UsageError(
                f"{name!r} is both a view and a model of project {project.name!r}; rename one, so "
                "that either can be materialized"
            )
    named = [name for name in args.names if name in models]
    if named and len(args.names) > 1:
        raise UsageError(
            f"name views, or one model: {named[0]!r} is a model, and {len(args.names) - 1} more "
            "names were given"
        )
    if not named:
        if misplaced := model_options(args):
            raise UsageError(
                f"{misplaced[0]} is for predictions: name their model, one of: "
                f"{', '.join(sorted(models))}"
            )
        return None
    if args.full_refresh:
        raise UsageError(
            "--full-refresh is for views; all predictions of a model are recomputed at each cut"
        )
    return str(named[0])


def model_options(args: Arguments) -> list[str]:
    """The options for the predictions of one model that were given on the command line."""
    return [f"--{name.replace('_', '-')}" for name in _MODEL_OPTIONS if args.by_flag(name)]


def show(result: PrecomputeResult, screen: Screen) -> None:
    """Print the result."""
    screen.show(_table(result), _record(result))
    screen.left_out(result.left_out)


def run(project: Project, name: str, args: Arguments, screen: Screen, at: datetime | None) -> None:
    """Score, and with --watch score every cut when it is due."""
    from headwater.definitions.checks import micros
    from headwater.definitions.project import precomputed_of
    from headwater.jobs.materialize_model import materialize_model
    from headwater.jobs.sinks import PredictionTable
    from headwater.kernel.as_of import due_after
    from headwater.stores.keyspace import opened_for

    variant = _variant(project, name, args)
    precomputed = precomputed_of(variant)
    cuts = precomputed.freshness.schedule
    assert cuts is not None
    if args.table and not args.database:
        raise UsageError("--table names a table of --database; give its URL too")
    table = (
        PredictionTable(args.database, args.table or f"scores_{name}") if args.database else None
    )
    if args.fitted and args.by_flag("models"):
        raise UsageError(
            "give --models or --fitted: versions are kept in the one, a single model in the other"
        )
    if args.active is not None:
        micros(args.active, "--active")
    keys = _keys(args)
    with (
        opened_for(project.name, args.store, write=True, shared=args.allow_shared_store) as store,
        stopped_where(watching=args.watch) as stop,
    ):
        while not stop.is_set():
            fitted = _fitted(variant, args)
            with screen.progress() as on_progress:
                result = materialize_model(
                    variant,
                    fitted,
                    store=store,
                    at=at,
                    keys=keys,
                    sinks=[sink for sink in (table, args.files) if sink is not None],
                    resources=options.resources(args, on_progress),
                )
            show(result, screen)
            if not args.watch:
                break
            at = None
            options.wait_until(due_after(cuts, clock.now_micros()), stop)
    screen.next("headwater", "serve", "--project", args.project, *options.same_store(args))


def _variant(project: Project, name: str, args: Arguments) -> ModelVariant:
    variant = project.variant(name, args.level)
    if variant.precomputed is None:
        levels = [
            variant.name
            for variant in project.variants
            if variant.model.name == name
            and variant.precomputed is not None
            and variant.name in project.levels
        ]
        level_text = f"at level {args.level!r}" if args.level else "as defined"
        hint = (
            f"they are precomputed at {', '.join(map(repr, levels))}: name one with --level"
            if levels
            else "give it hw.precomputed(...)"
        )
        raise UsageError(
            f"predictions of model {name!r} are computed on request {level_text}; {hint}"
        )
    return variant


def _fitted(variant: ModelVariant, args: Arguments) -> ServedModel:
    from headwater.models.artifact import open_model
    from headwater.models.registry import ModelRegistry

    if args.fitted is not None:
        return open_model(Path(args.fitted), variant.model, allow_pickle=args.allow_pickle)
    return ModelRegistry(args.models).open(
        variant.model, variant.name, allow_pickle=args.allow_pickle
    )


def _keys(args: Arguments) -> Table | ActiveKeys | None:
    """The table of keys, or the active ones; a path is relative to the working folder, not to the
    project's.
    """
    if args.active is not None and args.keys_file is not None:
        raise UsageError("give --active or --keys-file: a list of keys is scored whole")
    if args.active is not None:
        from headwater.jobs.precompute import ActiveKeys

        return ActiveKeys(args.active)
    if args.keys_file is None:
        return None
    path = args.keys_file
    from headwater.definitions.connectors import as_table, is_url

    return as_table(path if is_url(path) else Path(path).absolute(), "--keys-file")


def _record(result: PrecomputeResult) -> dict[str, object]:
    before = None if result.before is None or result.done_before else _timestamp(result.before.T)
    return {
        "model": result.model,
        "level": result.level,
        "cut": _timestamp(result.cut.T),
        "known_until": _timestamp(result.cut.K),
        "published_at": _timestamp(result.cut.published_at),
        "model_version": result.cut.version,
        "cut_before": before,
        "keys_scored": result.cut.keys,
        "keys_unknown": result.unknown,
        "keys_inactive": result.inactive,
        "keys_skipped": result.skipped,
        "inactive_after_seconds": result.window // 1_000_000,
        "parts_made": result.parts[0],
        "parts": result.parts[1],
        "left_out": result.left_out,
        "was_there": result.done_before,
    }


def _timestamp(micros: int) -> str:
    return clock.timestamp(micros).isoformat()


def _table(result: PrecomputeResult) -> RenderableType:
    from headwater.definitions.checks import text
    from headwater.terminal.layout import ShownTable
    from headwater.terminal.text import moment

    idle = f"no event in {text(result.window)}"
    record = _record(result)
    cells = [
        result.model,
        result.level,
        *(moment(str(cut)) if cut else "-" for cut in (record["cut"], record["cut_before"])),
    ]
    if result.done_before:
        cells += [f"{result.cut.keys:,}, was there", "", "", ""]
    else:
        share = (
            f"{result.inactive:,} ({result.inactive / result.cut.keys:.0%})"
            if result.cut.keys
            else "0"
        )
        cells += [f"{result.cut.keys:,}", share, f"{result.skipped:,}", f"{result.unknown:,}"]
    return ShownTable(
        "", ["model", "level", "cut", "before", "keys scored", idle, "skipped", "unknown"], [cells]
    )


OPTIONS = section(
    "Precomputed predictions",
    [
        option(
            "--level",
            metavar="NAME",
            help="one of the project's levels (default: as the model defines)",
        ),
        *options.models(),
        option(
            "--fitted",
            metavar="FOLDER",
            help=(
                "a model that `headwater train --output` wrote (default: the version that is "
                "served at the level)"
            ),
        ),
        *options.allow_pickle(),
        option(
            "--active",
            metavar="WINDOW",
            help=(
                "score only keys with an event in so long before the cut, such as 30d (default: "
                "all)"
            ),
        ),
        option(
            "--keys-file",
            metavar="FILE",
            help="score only the keys in this parquet or CSV file, a path or a URL",
        ),
        option(
            "--database",
            metavar="URL",
            help="also replace a table in PostgreSQL: postgresql://user@host/name",
        ),
        option("--table", metavar="NAME", help="the table's name (default: scores_MODEL)"),
        option(
            "--files",
            metavar="FOLDER",
            help="also write parquet files into this folder, one folder a cut",
        ),
    ],
)
