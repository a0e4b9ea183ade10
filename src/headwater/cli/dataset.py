"""Write training data: each labelled request with every feature as it would have been then."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError, nearest

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

    from headwater.definitions.model import Model

SUMMARY = "write training data, each feature as it would have been then"

WRITERS = (".parquet", ".csv")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater dataset`."""
    options.project(parser)
    options.level(parser)
    options.until(parser)
    options.memory(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="where the rows go; .parquet or .csv")
    options.as_json(parser)


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Compute the features of every labelled request, and write them."""
    place = Path(given.output)
    if place.suffix not in WRITERS:
        raise UsageError(f"--output {given.output}: {nearest(place.suffix, WRITERS)}; the ending says the format")
    loaded = load(given.project)
    model, level = loaded.project.model(given.model), loaded.level(given.level)
    until = options.moment(given.until, "--until")
    from headwater.pipelines.train import training_set

    with screen.progress() as tick:
        found = training_set(model, level=level, until=until, memory=given.memory, tick=tick)
    rows = found.frame
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.suffix == ".csv":
        rows.write_csv(place)
    else:
        rows.write_parquet(place)
    groups = _groups(model, rows)
    summary = {
        "output": str(place),
        "model": model.name,
        "level": given.level,
        "rows": rows.height,
        "label": model.labels.label_name,
        "features": groups,
        "left_out": dict(found.left_out),
    }
    screen.show(_table(f"{rows.height:,} rows in {place}", groups), summary)
    screen.left_out(found.left_out)
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    screen.next("headwater", "backtest", "--project", given.project, *chosen)


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
