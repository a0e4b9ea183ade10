"""Options that several commands share."""

from __future__ import annotations

import sys
import tempfile
import threading
from datetime import datetime, timedelta
from pathlib import Path

import click

from headwater import clock, settings
from headwater.cli.command import FILE, Flag, Given, option, optional, switch
from headwater.errors import UsageError


def project(*, model: bool = True) -> list[Flag]:
    """Which project, and which of its models; the headwater.toml beside it is read."""
    file = option(
        "--project",
        default="features.py",
        metavar="FILE",
        help="the file that defines `project = hw.Project(...)` (default: {default})",
        is_eager=True,
        callback=_read_file,
    )
    name = option("--model", metavar="NAME", help="which of the project's models; not needed where it has one")
    return [file, name] if model else [file]


def _read_file(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Take the values of the headwater.toml beside the project as defaults."""
    if not ctx.resilient_parsing:
        from headwater.cli.project_file import read

        file = read(value)
        if file is not None:
            ctx.meta[FILE] = file
            ctx.default_map = file.defaults(ctx.command.name)
    return value


def level() -> list[Flag]:
    """How fresh."""
    shown = "how fresh the features are: one of the project's levels, or of the usual ladder (default: as each view defines)"
    return [option("--level", metavar="NAME", help=shown)]


def as_of() -> list[Flag]:
    """How much is known."""
    shown = "take the rows whose outcome was known by then: ISO 8601 with an offset (default: now)"
    return [option("--as-of", old="--until", metavar="TIME", help=shown)]


def memory() -> list[Flag]:
    """How much memory."""
    return [
        option(
            "--memory",
            metavar="SIZE",
            help="what the process may hold while features are computed, such as 4GB: a larger history is worked on in parts on disk, "
            "and a run "
            "that was stopped goes on where it was (default: all in memory)",
        )
    ]


def from_log() -> list[Flag]:
    """Whether rows are those that were served."""
    return [
        optional(
            "--from-log",
            metavar="FOLDER",
            help="take what was served, as the served log in this folder has it, with the outcomes that were posted (default: "
            "headwater's home)",
        )
    ]


def log_of(given: Given) -> Path | None:
    """The folder of the served log; None where rows come from the labels' table."""
    if given.from_log is None:
        return None
    return Path(given.from_log) if given.from_log else data_dir(given)


def catalog() -> list[Flag]:
    """Which catalog."""
    shown = "a file for SQLite, or postgresql://user@host/name (default: HEADWATER_CATALOG, else catalog.sqlite in headwater's home)"
    return [option("--catalog", metavar="URL", help=shown)]


def store() -> list[Flag]:
    """Which online store, and where what belongs to it is kept."""
    return [
        option(
            "--store",
            metavar="URL",
            help="the online store: lmdb:FOLDER or redis://host:port/db (default: HEADWATER_STORE, else LMDB in headwater's home)",
        ),
        option(
            "--data-dir",
            old="--folder",
            metavar="FOLDER",
            envvar="HEADWATER_DATA_DIR",
            help="where the archive of streams, logs and refused records are kept (default: HEADWATER_DATA_DIR, else headwater's home)",
        ),
    ]


def shared_store() -> list[Flag]:
    """Consent to a store that belongs to another project."""
    shown = "keep data in a store that belongs to another project, beside that one's; needed once for a project and a store"
    return [switch("--allow-shared-store", help=shown)]


def models() -> list[Flag]:
    """Where versions of fitted models are kept."""
    shown = "where versions of fitted models are kept (default: models in headwater's home)"
    return [option("--models", metavar="FOLDER", help=shown)]


def allow_pickle() -> list[Flag]:
    """Whether files that run code may be loaded."""
    shown = "load models in formats that run code when they are loaded: pickle, joblib and MLflow"
    return [switch("--allow-pickle", old="--trust", help=shown)]


def same_store(given: Given) -> list[str]:
    """The options that name the store again, for the next command; a URL with a password is not repeated."""
    url = ["--store", "URL" if "@" in given.store else given.store] if given.by_flag("store") else []
    return url + (["--data-dir", given.data_dir] if given.by_flag("data_dir") else [])


def data_dir(given: Given) -> Path:
    """The folder of archive and logs: that of the option, its variable or headwater.toml, else headwater's home."""
    named = getattr(given, "data_dir", None) or settings.data_dir() or given.file.get("data_dir")
    return settings.home() if named is None else Path(named)


def same_catalog(given: Given) -> list[str]:
    """The option that names the catalog again, for the next command; a URL is not repeated, since it may hold a password."""
    if not given.by_flag("catalog"):
        return []
    return ["--catalog", "URL" if "://" in given.catalog else given.catalog]


def output(path: str | Path, flag: str, *, folder: bool = False) -> Path:
    """The path of a file (or folder) that a long run will write, made sure of before it begins; nothing is there afterwards that was not.

    Raises:
        UsageError: it cannot be written.
    """
    place = settings.on_disk(path, flag)
    made: list[Path] = []
    try:
        if place.is_dir() and not folder:
            raise UsageError(f"{flag} {place} is a folder; name a file in it")
        if folder and place.exists() and not place.is_dir():
            raise UsageError(f"{flag} {place} is a file; name a folder")
        inside = place if folder else place.parent
        for parent in [*reversed(inside.parents), inside]:
            if not parent.exists():
                parent.mkdir()
                made.append(parent)
        if place.is_file():
            place.open("ab").close()
        else:
            with tempfile.TemporaryFile(dir=inside):
                pass
    except OSError as error:
        raise UsageError(f"{flag} {place} cannot be written: {error.strerror}; name another place, or make that one writable") from error
    finally:
        for parent in reversed(made):
            parent.rmdir()
    return place


def same_models(given: Given) -> list[str]:
    """The option that names the registry of models again, for the next command."""
    return ["--models", given.models] if given.by_flag("models") else []


def moment(text: str | None, flag: str) -> datetime | None:
    """The moment that an option names."""
    if text is None:
        return None
    from headwater.definitions.timestamps import EPOCH, parse_timestamp

    return EPOCH + timedelta(microseconds=parse_timestamp(text, flag))


def wait_until(due: int, stop: threading.Event) -> None:
    """Sleep until a time, microseconds, is over, or until `stop` is set."""
    while (left := (due - clock.now_micros()) / 1e6) >= 0 and not stop.is_set():
        stop.wait(min(left + 0.001, 30.0))  # a machine may sleep meanwhile


def as_json() -> list[Flag]:
    """JSON instead of a table."""
    return [switch("--json", help="print JSON instead of a table, and nothing else")]


def tokens() -> list[Flag]:
    """Which file of tokens."""
    shown = "the file that keeps the hashes of tokens (default: tokens.json in headwater's home)"
    return [option("--tokens", metavar="FILE", help=shown)]


def tokens_file(given: Given) -> Path:
    """The file that was given, or the one in headwater's home."""
    return settings.home() / "tokens.json" if given.tokens is None else Path(given.tokens)


def confirmation(what: str) -> list[Flag]:
    """To look first, or not to be asked."""
    return [switch("--dry-run", help=f"only show what would be {what}"), switch("--yes", help="do not ask for confirmation")]


def confirmed(given: Given, question: str, *, undoable: bool = False) -> bool:
    """Whether the user agrees: by --yes, else asked at the terminal.

    undoable: whether what is done can be undone, or loses nothing that can be read: it needs no consent where nobody can be asked.

    Raises:
        UsageError: nobody can be asked.
    """
    if given.yes:
        return True
    if not sys.stdin.isatty():
        if undoable:
            return True
        raise UsageError(f"{question} Nobody can be asked here; give --yes, or --dry-run to see what would happen")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
