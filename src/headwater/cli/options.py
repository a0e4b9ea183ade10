"""Options that several commands share."""

from __future__ import annotations

import tempfile
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater import clock, settings
from headwater.cli.command import FILE, Arguments, Flag, option, optional, switch
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.cli.screen import Screen
    from headwater.training.arm_log import ArmLog
    from headwater.training.progress import OnProgress
    from headwater.training.resources import Resources


def project(*, model: bool = True) -> list[Flag]:
    """The options --project and --model; reads headwater.toml in the project's folder."""
    file = option(
        "--project",
        default="features.py",
        metavar="FILE",
        help="the file that defines `project = hw.Project(...)` (default: {default})",
        is_eager=True,
        callback=_read_file,
    )
    name = option(
        "--model", metavar="NAME", help="one of the project's models; not needed if it has only one"
    )
    return [file, name] if model else [file]


def _read_file(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Use the values of headwater.toml in the project's folder as defaults."""
    if not ctx.resilient_parsing:
        from headwater.cli.project_file import read

        file = read(value)
        if file is not None:
            file.use_settings()
            ctx.meta[FILE] = file
            ctx.default_map = file.defaults(ctx.command.name)
    return value


def level() -> list[Flag]:
    """The option --level."""
    shown = (
        "the freshness of features: one of the project's levels, or of the default ladder "
        "(default: as each view defines)"
    )
    return [option("--level", metavar="NAME", help=shown)]


def as_of() -> list[Flag]:
    """The option --as-of."""
    shown = "take the rows whose outcome was known by then: ISO 8601 with an offset (default: now)"
    return [option("--as-of", metavar="TIME", help=shown)]


def resources(
    args: Arguments, on_progress: OnProgress | None = None, *, cache: bool | None = None
) -> Resources:
    """What a call may use, by the options; no bar but the screen's own."""
    from headwater.training.resources import Resources

    return Resources(memory=args.memory, cache=cache, progress=on_progress or False)


def memory() -> list[Flag]:
    """The option --memory."""
    return [
        option(
            "--memory",
            metavar="SIZE",
            help=(
                "memory limit while features are computed, such as 4GB: a larger history is "
                "partitioned on disk, and a stopped run continues where it was (default: all in "
                "memory)"
            ),
        )
    ]


def from_log() -> list[Flag]:
    """The option --from-log."""
    return [
        optional(
            "--from-log",
            metavar="FOLDER",
            help=(
                "use served features from the serving log in this folder, with the posted "
                "outcomes (default: headwater's home)"
            ),
        )
    ]


def log_of(args: Arguments) -> Path | None:
    """The folder of the serving log; None where rows come from the labels' table."""
    if args.from_log is None:
        return None
    return Path(args.from_log) if args.from_log else data_dir(args)


def of_arm() -> list[Flag]:
    """The options --experiment and --arm, which go with --from-log."""
    shown = (
        "with --from-log: only rows that an arm of this experiment served, so that its model "
        "trains on its own clicks"
    )
    return [
        option("--experiment", metavar="NAME", help=shown),
        option("--arm", metavar="NAME", help="with --experiment, one of its arms"),
    ]


def rows_of_log(args: Arguments, arm: str | None = None) -> Path | ArmLog | None:
    """The serving log, or an arm's part of it; None where rows come from the labels' table. arm:
    None is that of --arm.

    Raises:
        UsageError: an arm without its experiment.
    """
    folder, arm = log_of(args), arm or args.arm
    if args.arm is not None and args.experiment is None:
        raise UsageError("--arm is an arm of an experiment; name it with --experiment")
    if folder is None or args.experiment is None or arm is None:
        return folder
    from headwater.training.arm_log import ArmLog

    return ArmLog(args.experiment, arm, folder)


def catalog() -> list[Flag]:
    """The option --catalog."""
    shown = (
        "a file for SQLite, or postgresql://user@host/name (default: HEADWATER_CATALOG, else "
        "catalog.sqlite in headwater's home)"
    )
    return [option("--catalog", metavar="URL", help=shown)]


def store() -> list[Flag]:
    """The options --store and --data-dir."""
    return [
        option(
            "--store",
            metavar="URL",
            help=(
                "the online store: lmdb:FOLDER, redis://host:port/db, postgresql://host/database, "
                "or a plugin's (default: HEADWATER_STORE, else LMDB in headwater's home)"
            ),
        ),
        option(
            "--data-dir",
            metavar="FOLDER",
            envvar="HEADWATER_DATA_DIR",
            help=(
                "where the archive of streams, logs and refused records are kept (default: "
                "HEADWATER_DATA_DIR, else headwater's home)"
            ),
        ),
        *reads(),
    ]


def reads() -> list[Flag]:
    """The option --reads."""
    shown = (
        "a production store: views that it has are read from there, and all others live in "
        "--store; nothing is written to it (default: HEADWATER_READS)"
    )
    return [option("--reads", metavar="URL", help=shown, callback=_read_production)]


def _read_production(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if not ctx.resilient_parsing:
        settings.read_production(value)
    return value


def logs() -> list[Flag]:
    """The option --data-dir of a command that reads logs, and no store."""
    (flag,) = (candidate for candidate in store() if candidate.flag == "--data-dir")
    return [flag]


def shared_store() -> list[Flag]:
    """The option --allow-shared-store."""
    shown = (
        "add this project to a store that another project uses; needed once for a project and a "
        "store"
    )
    return [switch("--allow-shared-store", help=shown)]


def models() -> list[Flag]:
    """The option --models."""
    shown = "where versions of fitted models are kept (default: models in headwater's home)"
    return [option("--models", metavar="FOLDER", help=shown)]


def promise() -> list[Flag]:
    """The options --promise and --promise-level."""
    shown = (
        "what the backtest promised: the output of `headwater backtest --json` (default: what the "
        "registry holds)"
    )
    level_shown = "the level of that backtest (default: the one as fresh as the served level)"
    return [
        option("--promise", metavar="FILE", help=shown),
        option("--promise-level", metavar="NAME", help=level_shown),
    ]


def allow_pickle() -> list[Flag]:
    """The option --allow-pickle."""
    shown = "load models in formats that run code when they are loaded: pickle, joblib and MLflow"
    return [switch("--allow-pickle", help=shown)]


def same_store(args: Arguments) -> list[str]:
    """The store options for the next command; a URL with a password is not repeated."""
    url = ["--store", shown_url(args.store, "URL")] if args.by_flag("store") else []
    production = ["--reads", shown_url(args.reads, "URL")] if args.by_flag("reads") else []
    return url + (["--data-dir", args.data_dir] if args.by_flag("data_dir") else []) + production


def shown_url(url: str, otherwise: str) -> str:
    """A store's URL, or `otherwise` where it may have a password.

    >>> shown_url("postgresql://u:secret@h/db", "the store")
    'the store'
    """
    return otherwise if "@" in url else url


def data_dir(args: Arguments) -> Path:
    """The folder of archive and logs: from the option, its variable or headwater.toml, else
    headwater's home.
    """
    named = getattr(args, "data_dir", None) or settings.data_dir() or args.file.get("data_dir")
    return settings.home() if named is None else Path(named)


def same_catalog(args: Arguments) -> list[str]:
    """The catalog option for the next command; a URL is not repeated, since it may have a
    password.
    """
    if not args.by_flag("catalog"):
        return []
    return ["--catalog", "URL" if "://" in args.catalog else args.catalog]


def output(path: str | Path, flag: str, *, folder: bool = False) -> Path:
    """The path of a file (or folder) that a long run will write, checked before the run; the check
    leaves no files behind.

    Raises:
        UsageError: it cannot be written.
    """
    target = settings.on_disk(path, flag)
    created: list[Path] = []
    try:
        if target.is_dir() and not folder:
            raise UsageError(f"{flag} {target} is a folder; name a file in it")
        if folder and target.exists() and not target.is_dir():
            raise UsageError(f"{flag} {target} is a file; name a folder")
        inside = target if folder else target.parent
        for parent in [*reversed(inside.parents), inside]:
            if not parent.exists():
                parent.mkdir()
                created.append(parent)
        if target.is_file():
            target.open("ab").close()
        else:
            with tempfile.TemporaryFile(dir=inside):
                pass
    except OSError as error:
        raise UsageError(
            f"{flag} {target} cannot be written: {error.strerror}; name another path, or make "
            "this one writable"
        ) from error
    finally:
        for parent in reversed(created):
            parent.rmdir()
    return target


def same_models(args: Arguments) -> list[str]:
    """The model registry option for the next command."""
    return ["--models", args.models] if args.by_flag("models") else []


def timestamp(text: str | None, flag: str) -> datetime | None:
    """The timestamp of an option."""
    if text is None:
        return None
    from headwater.definitions.checks import parse_timestamp

    return clock.timestamp(parse_timestamp(text, flag))


def wait_until(due: int, stop: threading.Event) -> None:
    """Sleep until after a time, in microseconds, or until `stop` is set."""
    while (seconds := (due - clock.now_micros()) / 1e6) >= 0 and not stop.is_set():
        clock.wait(min(seconds + 0.001, 30.0), stop)  # a machine may sleep meanwhile


def as_json() -> list[Flag]:
    """The option --json."""
    return [switch("--json", help="print JSON instead of a table, and nothing else")]


def tokens() -> list[Flag]:
    """The option --tokens."""
    shown = "the file that keeps the hashes of tokens (default: tokens.json in headwater's home)"
    return [option("--tokens", metavar="FILE", help=shown)]


def tokens_file(args: Arguments) -> Path:
    """The file of tokens: the option where a command has it, or tokens.json in headwater's home."""
    named = getattr(args, "tokens", None)
    return settings.home() / "tokens.json" if named is None else Path(named)


def confirmation(effect: str) -> list[Flag]:
    """The options --dry-run and --yes."""
    return [
        switch("--dry-run", help=f"only show what would be {effect}"),
        switch("--yes", help="do not ask for confirmation"),
    ]


def confirmed(args: Arguments, screen: Screen, question: str, *, undoable: bool = False) -> bool:
    """Whether the user confirms: by --yes, else at the terminal.

    undoable: whether the action can be undone, or loses nothing readable: then it needs no
    confirmation without a terminal.

    Raises:
        UsageError: no terminal to confirm on.
    """
    if args.yes:
        return True
    if not screen.asks:
        if undoable:
            return True
        raise UsageError(
            f"{question} No terminal to confirm; give --yes, or --dry-run to see what would happen"
        )
    return screen.agreed(question)
