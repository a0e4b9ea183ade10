"""Write training data: each labelled request with every feature as it would have been then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import LoadedProject, load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

    from headwater.definitions.level import Level
    from headwater.definitions.model import Model


def run(args: Arguments, screen: Screen) -> None:
    """Compute the features of every labelled request, and write them with their manifest."""
    if (args.experiment is None) != (args.arm is None) or (
        args.arm is not None and args.from_log is None
    ):
        raise UsageError(
            "--experiment, --arm and --from-log go together: the rows that an arm of an "
            "experiment served"
        )
    if args.reproduce and (args.as_of or args.from_log is not None):
        raise UsageError(
            "--reproduce takes the time and the log from the manifest; leave out --as-of and "
            "--from-log"
        )
    loaded = load(args.project)
    model, level = (
        loaded.project.model(args.model),
        loaded.level(args.level),
    )
    until = options.timestamp(args.as_of, "--as-of")
    options.output(args.output, "--output")
    from headwater.training import dataset

    with screen.progress() as on_progress:
        if args.reproduce:
            level = level or _level_of(dataset.read_manifest(args.reproduce), loaded)
            training_set = dataset.reproduce(
                model,
                args.reproduce,
                args.output,
                level=level,
                resources=options.resources(args, on_progress),
            )
        else:
            training_set = dataset.dataset(
                model,
                args.output,
                level=level,
                as_of=until,
                from_log=options.rows_of_log(args),
                resources=options.resources(args, on_progress, cache=not args.no_cache),
            )
    rows = training_set.rows.frame
    groups = _groups(model, rows)
    summary = {
        "output": str(training_set.path),
        "manifest": str(training_set.manifest_path),
        "digest": training_set.manifest["digest"],
        "model": model.name,
        "level": args.level,
        "rows": rows.height,
        "label": model.labels.label_name,
        "features": groups,
        "left_out": dict(training_set.rows.left_out),
    }
    again = ", the same to the bit" if args.reproduce else ""
    screen.show(_table(f"{rows.height:,} rows in {training_set.path}{again}", groups), summary)
    screen.left_out(training_set.rows.left_out)
    screen.say(f"manifest: {training_set.manifest_path}")
    chosen = ("--model", model.name) if len(loaded.project.models) > 1 else ()
    screen.next("headwater", "backtest", "--project", args.project, *chosen)


def _level_of(manifest: dict[str, object], loaded: LoadedProject) -> Level | None:
    """The project's level of a training set; None for each view's own freshness, and for an unknown
    level.
    """
    entry = manifest["level"]
    assert isinstance(entry, dict)
    return next(
        (level for level in loaded.levels().values() if level.fingerprint == entry["fingerprint"]),
        None,
    )


def _groups(model: Model, rows: pl.DataFrame) -> list[dict[str, object]]:
    """Number of features and share of null values, for each view and for request features."""
    names: dict[str, list[str]] = {}
    for name in model.features.feature_names:
        view, separator, _ = name.partition("__")
        names.setdefault(view if separator else "the request", []).append(name)
    nulls = rows.null_count().row(0, named=True)
    return [
        {
            "of": source,
            "count": len(features),
            "null_share": sum(nulls[n] for n in features) / (len(features) * rows.height),
        }
        for source, features in names.items()
    ]


def _table(title: str, groups: list[dict[str, object]]) -> RenderableType:
    from headwater.terminal.layout import ShownTable

    return ShownTable(
        title,
        ["features of", "count", "null"],
        [[group["of"], group["count"], f"{group['null_share']:.1%}"] for group in groups],
    )


COMMAND = Verb(
    run,
    [
        *options.project(),
        *options.level(),
        *options.as_of(),
        *options.memory(),
        option(
            "--output", metavar="FILE", required=True, help="where the rows go; .parquet or .csv"
        ),
        *options.from_log(),
        *options.of_arm(),
        switch(
            "--no-cache",
            help="compute every feature, also those that are unchanged since an earlier run",
        ),
        option(
            "--reproduce",
            metavar="MANIFEST",
            help=(
                "recompute the training set of an earlier run from its manifest, and check that "
                "it is equal to the bit"
            ),
        ),
        *options.as_json(),
    ],
    help=__doc__,
    examples=[
        "headwater dataset --output train.parquet",
        "headwater dataset --reproduce train.manifest.json --output again.parquet",
    ],
)
