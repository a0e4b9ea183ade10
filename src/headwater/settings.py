"""The only place that reads the environment."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headwater.errors import UsageError


def share_processors() -> None:
    """Let threads of OpenMP (LightGBM, scikit-learn) wait without spinning, unless OMP_WAIT_POLICY is set; before these are loaded.

    Spinning threads take processors from those that they wait for: where other processes compute, training takes many times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def threads() -> int:
    """How many threads the kernels use: HEADWATER_THREADS, else every core."""
    given = os.environ.get("HEADWATER_THREADS", "")
    if not given:
        return os.cpu_count() or 1
    if not given.isdigit() or int(given) < 1:
        raise UsageError(f"HEADWATER_THREADS is {given!r}; give a whole number of at least 1")
    return int(given)


_PROJECT = [Path()]  # the folder in force is the last one; of the process, since threads read files too


@contextmanager
def project_folder(folder: Path) -> Iterator[None]:
    """In the block, relative paths of definitions and headwater's home lie in this folder; else in the working folder."""
    _PROJECT.append(folder)
    try:
        yield
    finally:
        _PROJECT.pop()


def in_project(path: str | Path) -> Path:
    """A path as definitions name it, from the working folder."""
    return _PROJECT[-1] / path


def on_disk(path: str | Path, what: str) -> Path:
    """A path of this machine that something is written to.

    Raises:
        UsageError: it is a URL, of which pathlib would make a folder named `s3:`.

    >>> on_disk("out/rows.parquet", "the output").name
    'rows.parquet'
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise UsageError(f"{what} {path} looks like a URL, and outputs are files of this machine; write it here, then copy it")
    return Path(path)


def has_home() -> bool:
    """Whether HEADWATER_HOME is set."""
    return "HEADWATER_HOME" in os.environ


def data_dir() -> str | None:
    """Where archive and logs are kept: HEADWATER_DATA_DIR; None where it is not set."""
    return os.environ.get("HEADWATER_DATA_DIR") or None


def overridden(key: str) -> bool:
    """Whether a variable of the environment goes before a key of headwater.toml; HEADWATER_HOME names a data directory too."""
    names = {"store": ["HEADWATER_STORE"], "data-dir": ["HEADWATER_DATA_DIR", "HEADWATER_HOME"], "catalog": ["HEADWATER_CATALOG"]}
    return any(os.environ.get(name) for name in names[key])


COMPLETE: Final = "HEADWATER_COMPLETE"  # what a shell sets to have a command line completed


def completing() -> str | None:
    """What a shell wants to have completed: HEADWATER_COMPLETE; None where no shell asks."""
    return os.environ.get(COMPLETE) or None


def home() -> Path:
    """Where headwater keeps what it makes: HEADWATER_HOME, else `.headwater` beside the project file, or in the working folder."""
    given = os.environ.get("HEADWATER_HOME")
    return in_project(".headwater") if given is None else on_disk(given, "HEADWATER_HOME")


def secret(name: str) -> str:
    """What the environment variable `name` says, for whoever connects; it goes into no message.

    Raises:
        UsageError: it is not set.
    """
    given = os.environ.get(name)
    if given is None:
        raise UsageError(f"the environment variable {name} is not set, and a definition says env({name!r}); set it before connecting")
    return given


def store() -> str:
    """Where the online store is, a URL: HEADWATER_STORE, else LMDB in `home()`."""
    return os.environ.get("HEADWATER_STORE", "") or f"lmdb:{home() / 'online'}"


def catalog() -> str:
    """Where the catalog lies, a file or a URL: HEADWATER_CATALOG, else a file in `home()`."""
    return os.environ.get("HEADWATER_CATALOG", "") or str(home() / "catalog.sqlite")


def notify_socket() -> str | None:
    """Where systemd wants to be told how the service is: NOTIFY_SOCKET; None where it did not start this process."""
    return os.environ.get("NOTIFY_SOCKET") or None


def who() -> str:
    """Who runs this, as `user@host`."""
    try:
        user = getpass.getuser()  # reads the environment first
    except (KeyError, OSError):  # a container may have no name for its user
        user = f"uid {os.getuid()}"
    return f"{user}@{platform.node()}"
