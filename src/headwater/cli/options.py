"""Options that several commands share."""

from __future__ import annotations

import argparse
import tempfile
import threading
from datetime import datetime, timedelta
from pathlib import Path

from headwater import clock, settings
from headwater.errors import UsageError


def project(parser: argparse.ArgumentParser, *, model: bool = True) -> None:
    """Which project, and which of its models."""
    parser.add_argument(
        "--project", default="features.py", metavar="FILE", help="the file that defines `project = hw.Project(...)` (default: %(default)s)"
    )
    if model:
        parser.add_argument("--model", metavar="NAME", help="which of the project's models; not needed where it has one")


def level(parser: argparse.ArgumentParser) -> None:
    """How fresh."""
    parser.add_argument(
        "--level",
        metavar="NAME",
        help="how fresh the features are: one of the project's levels, or of the usual ladder (default: as each view defines)",
    )


def until(parser: argparse.ArgumentParser) -> None:
    """How much is known."""
    parser.add_argument(
        "--until", metavar="TIME", help="take the rows whose outcome was known by then: ISO 8601 with an offset (default: now)"
    )


def memory(parser: argparse.ArgumentParser) -> None:
    """How much memory."""
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="what the process may hold while features are computed, such as 4GB: a larger history is worked on in parts on disk, and a run "
        "that was stopped goes on where it was (default: all in memory)",
    )


def from_log(parser: argparse.ArgumentParser) -> None:
    """Whether rows are those that were served."""
    parser.add_argument(
        "--from-log",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="take what was served, as the served log in this folder has it, with the outcomes that were posted (default: headwater's home)",
    )


def log_of(given: argparse.Namespace) -> Path | None:
    """The folder of the served log; None where rows come from the labels' table."""
    if given.from_log is None:
        return None
    return Path(given.from_log) if given.from_log else settings.home()


def catalog(parser: argparse.ArgumentParser) -> None:
    """Which catalog."""
    parser.add_argument(
        "--catalog",
        metavar="PLACE",
        help="a file for SQLite, or postgresql://user@host/name (default: HEADWATER_CATALOG, else catalog.sqlite in headwater's home)",
    )


def store(parser: argparse.ArgumentParser) -> None:
    """Which online store, and where what belongs to it is kept."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="the online store: lmdb:FOLDER or redis://host:port/db (default: HEADWATER_STORE, else LMDB in headwater's home)",
    )
    parser.add_argument(
        "--folder", metavar="FOLDER", help="where the archive of streams and refused records are kept (default: headwater's home)"
    )


def shared_store(parser: argparse.ArgumentParser) -> None:
    """Consent to a store that belongs to another project."""
    parser.add_argument(
        "--allow-shared-store",
        action="store_true",
        help="keep data in a store that belongs to another project, beside that one's; needed once for a project and a store",
    )


def models(parser: argparse.ArgumentParser) -> None:
    """Where versions of fitted models are kept."""
    parser.add_argument("--models", metavar="FOLDER", help="where versions of fitted models are kept (default: models in headwater's home)")


def same_store(given: argparse.Namespace) -> list[str]:
    """The options that name the store again, for the next command; a URL with a password is not repeated."""
    url = [] if given.store is None else ["--store", "URL" if "@" in given.store else given.store]
    return url + ([] if given.folder is None else ["--folder", given.folder])


def place(given: argparse.Namespace) -> Path:
    """The folder that was given, or headwater's home."""
    return settings.home() if given.folder is None else Path(given.folder)


def same_catalog(given: argparse.Namespace) -> list[str]:
    """The option that names the catalog again, for the next command; a URL is not repeated, since it may hold a password."""
    if given.catalog is None:
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


def same_models(given: argparse.Namespace) -> list[str]:
    """The option that names the registry of models again, for the next command."""
    return [] if given.models is None else ["--models", given.models]


def moment(text: str | None, flag: str) -> datetime | None:
    """The moment that an option names."""
    if text is None:
        return None
    from headwater.definitions.moments import EPOCH, parse_moment

    return EPOCH + timedelta(microseconds=parse_moment(text, flag))


def wait_until(due: int, stop: threading.Event) -> None:
    """Sleep until a time, microseconds, is over, or until `stop` is set."""
    while (left := (due - clock.now_micros()) / 1e6) >= 0 and not stop.is_set():
        stop.wait(min(left + 0.001, 30.0))  # a machine may sleep meanwhile


def as_json(parser: argparse.ArgumentParser) -> None:
    """JSON instead of a table."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table, and nothing else")


def tokens(parser: argparse.ArgumentParser) -> None:
    """Which file of tokens."""
    parser.add_argument(
        "--tokens", metavar="FILE", help="the file that keeps the hashes of tokens (default: tokens.json in headwater's home)"
    )


def tokens_file(given: argparse.Namespace) -> Path:
    """The file that was given, or the one in headwater's home."""
    return settings.home() / "tokens.json" if given.tokens is None else Path(given.tokens)
