"""List the results that were kept, show one, compare some, or log one to MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.cli import options
from headwater.cli.command import Actions, Arguments, Positional, Verb, option
from headwater.cli.screen import Screen
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.kept_runs.runs import Runs


def list_runs(args: Arguments, screen: Screen) -> None:
    """The runs, the latest first."""
    found_runs = _runs(args)
    screen.show(found_runs.table(), {"runs": [record.to_dict() for record in found_runs.records]})
    if not found_runs.records:
        screen.next("headwater", "backtest", "--project", args.project)
    elif len(found_runs.records) > 1:
        screen.next(
            "headwater", "runs", "compare", found_runs.records[1].id, found_runs.records[0].id
        )


def show(args: Arguments, screen: Screen) -> None:
    """One run: its record, and the page of its result."""
    from headwater.terminal.layout import ShownTable

    run = _runs(args)[args.run]
    record = run.record
    rows = [(name, f"{value:.6g}") for name, value in record.figures.items()]
    rows += [
        *record.definitions.items(),
        *((f"data of {name}", seen) for name, seen in record.data.items()),
    ]
    rows += [("engine", record.engine)] if record.engine else []
    rows += [
        ("commit", record.commit),
        ("headwater", record.headwater),
        ("by", record.by),
        ("at", record.at),
    ]
    page = None if args.output is None else options.output(args.output, "--output")
    screen.show(ShownTable(str(run), ["", ""], rows), run.to_dict())
    if page is not None:
        from headwater.kept_runs.run_page import page_of
        from headwater.pages.page_forms import to_html
        from headwater.pages.rendering import write_page

        write_page(page, to_html(page_of(run)))
        screen.say(f"page: {page}")


def compare(args: Arguments, screen: Screen) -> None:
    """The figures of several runs side by side, and what differs in definitions, data and code."""
    from headwater.terminal.layout import ShownTable

    found_runs = _runs(args)
    if len(args.runs) < 2:
        raise UsageError("give two runs or more; `headwater runs` lists them")
    names = [found_runs[name].id for name in args.runs]
    figures, differences = found_runs.compare(*names), found_runs.differences(*names)
    rows = [
        (str(name), *("" if value is None else f"{value:.4g}" for value in values))
        for name, *values in figures.iter_rows()
    ]
    rows += [(name, *values) for name, values in differences.items()]
    data = {
        "runs": names,
        "figures": {row[0]: row[1:] for row in figures.rows()},
        "differences": differences,
    }
    screen.show(ShownTable("", ["", *names], rows), data)


def log(args: Arguments, screen: Screen) -> None:
    """Log a run to MLflow tracking."""
    from headwater.kept_runs.mlflow_tracking import log_to_mlflow

    run = _runs(args)[args.run]
    number = log_to_mlflow(run, args.mlflow, args.experiment)
    screen.show(
        f"{run.id} is run {number} of MLflow's experiment {args.experiment}",
        {"run": run.id, "mlflow_run": number},
    )


def _runs(args: Arguments) -> Runs:
    from headwater.kept_runs.runs import runs

    return runs(
        options.data_dir(args), kind=getattr(args, "kind", None), subject=getattr(args, "of", None)
    )


_RUN = Positional("run", metavar="RUN", help="the id of a run, the beginning of it, or latest")
_COMMON = [*options.project(model=False), *options.logs(), *options.as_json()]
_LIST = Verb(
    list_runs,
    [
        option(
            "--kind",
            metavar="KIND",
            help="only backtest, attribution, assessment, parity, delivery or experiment",
        ),
        option("--of", metavar="NAME", help="only those of a model, project or experiment"),
        *_COMMON,
    ],
    help=__doc__,
    summary="list the runs, the latest first (default)",
    examples=["headwater runs list", "headwater runs --kind backtest"],
)

COMMAND = Actions(
    {
        "list": _LIST,
        "show": Verb(
            show,
            [
                _RUN,
                option("--output", metavar="FILE", help="write the page of its result"),
                *_COMMON,
            ],
            help="Show a run: its figures, definitions, data and code, and the page of its result.",
            summary="show a run, or write its page",
            examples=["headwater runs show latest --output report.html"],
        ),
        "compare": Verb(
            compare,
            [Positional("runs", metavar="RUN", nargs=-1, help="two runs or more"), *_COMMON],
            help="Compare the figures of runs, and what differs in definitions, data and code.",
            summary="compare runs",
            examples=["headwater runs compare backtest-20260312 backtest-20260319"],
        ),
        "log": Verb(
            log,
            [
                _RUN,
                option(
                    "--mlflow",
                    metavar="URI",
                    required=True,
                    help="the tracking server, such as http://127.0.0.1:5000",
                ),
                option(
                    "--experiment",
                    metavar="NAME",
                    default="headwater",
                    help="the experiment of MLflow (default: {default})",
                ),
                *_COMMON,
            ],
            help=(
                "Log a run to MLflow tracking: figures as metrics, definitions and data as "
                "parameters, the result as an artifact."
            ),
            summary="log a run to MLflow",
            examples=["headwater runs log latest --mlflow http://127.0.0.1:5000"],
        ),
    },
    help=__doc__,
    default=_LIST,
)
