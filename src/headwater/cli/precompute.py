"""`headwater materialize MODEL`: what it is given, and what it prints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Given, option, section
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped_where
from headwater.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.definitions.arm import Arm
    from headwater.definitions.connectors import Table
    from headwater.definitions.project import Project
    from headwater.jobs.precompute import Scored
    from headwater.models.serving_model import ServedModel

_OWN = ("level", "models", "fitted", "active", "keys_file", "database", "table", "files")


def model(project: Project, given: Given) -> str | None:
    """The model that is named; None where views are meant."""
    models = {one.name for one in project.models}
    views = {one.name for one in project.views}
    for name in given.names:
        if name in models & views:
            raise UsageError(
                f"{name!r} is both a view and a model of project {project.name!r}; rename one, so that either can be materialized"
            )
    named = [name for name in given.names if name in models]
    if named and len(given.names) > 1:
        raise UsageError(f"name views, or one model: {named[0]!r} is a model, and {len(given.names) - 1} more names were given")
    if not named:
        if found := own(given):
            raise UsageError(
                f"{found[0]} is for predictions: name the model whose predictions are to be made, one of: {', '.join(sorted(models))}"
            )
        return None
    if given.full_refresh:
        raise UsageError("--full-refresh is for views; the predictions of a model are all made at each cut")
    return str(named[0])


def own(given: Given) -> list[str]:
    """The options for the predictions of one model that were given on the command line."""
    return [f"--{name.replace('_', '-')}" for name in _OWN if given.by_flag(name)]


def show(made: Scored, screen: Screen) -> None:
    """Print what was made."""
    screen.show(_table(made), _said(made))
    screen.left_out(made.left_out)


def run(project: Project, name: str, given: Given, screen: Screen, at: datetime | None) -> None:
    """Score, and with --watch score every cut as soon as it can be."""
    from headwater.definitions.durations import micros
    from headwater.definitions.served_views import scoring_of
    from headwater.jobs.materialize_model import materialize_model
    from headwater.jobs.sinks import ScoreTable
    from headwater.kernel.batch_cuts import due_after
    from headwater.online_stores.ownership import opened_for

    arm = _arm(project, name, given)
    scoring = scoring_of(arm)
    cuts = scoring.freshness.schedule
    assert cuts is not None
    if given.table and not given.database:
        raise UsageError("--table names a table of --database; give its URL too")
    table = ScoreTable(given.database, given.table or f"scores_{name}") if given.database else None
    if given.fitted and given.by_flag("models"):
        raise UsageError("give --models or --fitted: versions are kept in the one, a single model in the other")
    if given.active is not None:
        micros(given.active, "--active")
    with (
        opened_for(project.name, given.store, write=True, shared=given.allow_shared_store) as store,
        stopped_where(watching=given.watch) as stop,
    ):
        while not stop.is_set():
            fitted = _fitted(arm, given)
            with screen.progress() as tick:
                made = materialize_model(
                    arm,
                    fitted,
                    store=store,
                    at=at,
                    active=given.active,
                    keys=None if given.keys_file is None else _keys(given.keys_file),
                    table=table,
                    files=given.files,
                    memory=given.memory,
                    tick=tick,
                )
            show(made, screen)
            if not given.watch:
                break
            at = None
            options.wait_until(due_after(cuts, clock.now_micros()), stop)
    screen.next("headwater", "serve", "--project", given.project, *options.same_store(given))


def _arm(project: Project, name: str, given: Given) -> Arm:
    arm = project.arm(name, given.level)
    if arm.scoring is None:
        ahead = [one.name for one in project.arms if one.model.name == name and one.scoring is not None and one.name in project.levels]
        what = f"at level {given.level!r}" if given.level else "as defined"
        hint = f"they are made ahead at {', '.join(map(repr, ahead))}: name one with --level" if ahead else "give it hw.precomputed(...)"
        raise UsageError(f"predictions of model {name!r} are made on request {what}; {hint}")
    return arm


def _fitted(arm: Arm, given: Given) -> ServedModel:
    from headwater.models.artifact import open_model
    from headwater.models.registry import ModelRegistry

    if given.fitted is not None:
        return open_model(Path(given.fitted), arm.model, trust=given.allow_pickle)
    return ModelRegistry(given.models).open(arm.model, arm.name, trust=given.allow_pickle)


def _keys(path: str) -> Table:
    """The table of keys; a path is from the working folder, as all that is typed, and not from the project's."""
    from headwater.definitions.connectors import as_table
    from headwater.definitions.urls import is_url

    return as_table(path if is_url(path) else Path(path).absolute(), "--keys-file")


def _said(made: Scored) -> dict[str, object]:
    before = None if made.before is None or made.done_before else _moment(made.before.T)
    return {
        "model": made.model,
        "level": made.level,
        "cut": _moment(made.cut.T),
        "known_until": _moment(made.cut.K),
        "published_at": _moment(made.cut.published_at),
        "model_version": made.cut.version,
        "cut_before": before,
        "keys_scored": made.cut.keys,
        "keys_unknown": made.unknown,
        "keys_inactive": made.inactive,
        "keys_skipped": made.skipped,
        "inactive_after_seconds": made.window // 1_000_000,
        "parts_made": made.parts[0],
        "parts": made.parts[1],
        "left_out": made.left_out,
        "was_there": made.done_before,
    }


def _moment(micros: int) -> str:
    return clock.moment(micros).isoformat()


def _table(made: Scored) -> RenderableType:
    from rich import box
    from rich.table import Table

    from headwater.definitions.durations import text

    idle = f"no event in {text(made.window)}"
    table = Table("model", "level", "cut", "before", "keys scored", idle, "skipped", "unknown", box=box.SIMPLE_HEAD, show_edge=False)
    said = _said(made)
    row = [made.model, made.level, str(said["cut"]), str(said["cut_before"] or "-")]
    if made.done_before:
        table.add_row(*row, f"{made.cut.keys:,}, was there", "", "", "")
    else:
        share = f"{made.inactive:,} ({made.inactive / made.cut.keys:.0%})" if made.cut.keys else "0"
        table.add_row(*row, f"{made.cut.keys:,}", share, f"{made.skipped:,}", f"{made.unknown:,}")
    return table


OPTIONS = section(
    "Predictions that are made ahead",
    [
        option("--level", metavar="NAME", help="one of the project's levels (default: as the model defines)"),
        *options.models(),
        option(
            "--fitted",
            metavar="FOLDER",
            help="a model that `headwater train --output` wrote (default: the version that is served at the level)",
        ),
        *options.allow_pickle(),
        option("--active", metavar="WINDOW", help="score only keys with an event in so long before the cut, such as 30d (default: all)"),
        option("--keys-file", old="--keys", metavar="FILE", help="score only the keys in this parquet or CSV file, a path or a URL"),
        option("--database", metavar="URL", help="also replace a table in PostgreSQL: postgresql://user@host/name"),
        option("--table", metavar="NAME", help="the table's name (default: scores_MODEL)"),
        option("--files", metavar="FOLDER", help="also write parquet files into this folder, one folder a cut"),
    ],
)
