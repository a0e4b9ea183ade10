"""Write training data: each labelled request with every feature as it would have been then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Given, Verb, option, switch
from headwater.cli.projects import Loaded, load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

    from headwater.definitions.level import Level
    from headwater.definitions.model import Model


def run(given: Given, screen: Screen) -> None:
    """Compute the features of every labelled request, and write them with their manifest."""
    if given.reproduce and (given.as_of or given.from_log is not None):
        raise UsageError("--reproduce takes the moment, and whether a log is read, from the manifest; leave --as-of and --from-log out")
    loaded = load(given.project)
    model, level = loaded.project.model(given.model), loaded.level(given.level)
    until = options.moment(given.as_of, "--as-of")
    options.output(given.output, "--output")
    from headwater.training import dataset

    with screen.progress() as tick:
        if given.reproduce:
            level = level or _level_of(dataset.read_manifest(given.reproduce), loaded)
            made = dataset.reproduce(model, given.reproduce, given.output, level=level, memory=given.memory, tick=tick)
        else:
            made = dataset.dataset(
                model,
                given.output,
                level=level,
                until=until,
                cache=not given.no_cache,
                memory=given.memory,
                tick=tick,
                from_log=options.log_of(given),
            )
    rows = made.rows.frame
    groups = _groups(model, rows)
    summary = {
        "output": str(made.path),
        "manifest": str(made.manifest_path),
        "digest": made.manifest["digest"],
        "model": model.name,
        "level": given.level,
        "rows": rows.height,
        "label": model.labels.label_name,
        "features": groups,
        "left_out": dict(made.rows.left_out),
    }
    again = ", the same to the bit" if given.reproduce else ""
    screen.show(_table(f"{rows.height:,} rows in {made.path}{again}", groups), summary)
    screen.left_out(made.rows.left_out)
    screen.say(f"manifest: {made.manifest_path}")
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    screen.next("headwater", "backtest", "--project", given.project, *chosen)


def _level_of(manifest: dict[str, object], loaded: Loaded) -> Level | None:
    """The project's level that the training set was made at; None for features as they are defined, and where none is it."""
    said = manifest["level"]
    assert isinstance(said, dict)
    return next((level for level in loaded.levels().values() if level.fingerprint == said["fingerprint"]), None)


def _groups(model: Model, rows: pl.DataFrame) -> list[dict[str, object]]:
    """For each view, and for the request's own, how many features and what share of their values is null."""
    names: dict[str, list[str]] = {}
    for name in model.features.feature_names:
        view, found, _ = name.partition("__")
        names.setdefault(view if found else "the request", []).append(name)
    nulls = rows.null_count().row(0, named=True)
    return [
        {"of": of, "count": len(mine), "null_share": sum(nulls[n] for n in mine) / (len(mine) * rows.height)} for of, mine in names.items()
    ]


def _table(title: str, groups: list[dict[str, object]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table("features of", "count", "null", title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for group in groups:
        table.add_row(str(group["of"]), str(group["count"]), f"{group['null_share']:.1%}")
    return table


COMMAND = Verb(
    run,
    [
        *options.project(),
        *options.level(),
        *options.as_of(),
        *options.memory(),
        option("--output", metavar="FILE", required=True, help="where the rows go; .parquet or .csv"),
        *options.from_log(),
        switch("--no-cache", help="compute every feature, also those that are unchanged since an earlier run"),
        option(
            "--reproduce",
            metavar="MANIFEST",
            help="make the training set of an earlier run once more, from its manifest, and check every bit",
        ),
        *options.as_json(),
    ],
    help=__doc__,
)
