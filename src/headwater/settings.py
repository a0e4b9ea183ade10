"""The only place that reads the environment."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from headwater.errors import UsageError


def environment() -> dict[str, str]:
    """All of it, for a process that is to have the same."""
    return dict(os.environ)


def use_environment(values: Mapping[str, str]) -> None:
    """Have this one alone, in a process that was forked from another one than it works for."""
    os.environ.clear()
    os.environ.update(values)


def share_processors() -> None:
    """Let threads of OpenMP (LightGBM, scikit-learn) wait without spinning, unless OMP_WAIT_POLICY
    is set; before these are loaded.

    Spinning threads take processors from those that they wait for: where other processes compute,
    training takes many times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def one_thread() -> None:
    """Let polars use one thread in this process, and in those that it starts; before it is
    loaded.
    """
    os.environ["POLARS_MAX_THREADS"] = "1"


def plan_by_pyiceberg() -> None:
    """Let pyiceberg plan polars' scans of Iceberg, unless POLARS_ICEBERG_PLANNER is set: polars
    warns where its own planner is missing.
    """
    os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")


def threads() -> int:
    """Number of threads of the kernels: HEADWATER_THREADS, else the number of cores."""
    value = os.environ.get("HEADWATER_THREADS", "")
    if not value:
        return os.cpu_count() or 1
    if not value.isdigit() or int(value) < 1:
        raise UsageError(f"HEADWATER_THREADS is {value!r}; give an integer of at least 1")
    return int(value)


def engine() -> str:
    """The name of the engine that reads tables and computes features: HEADWATER_ENGINE, else
    "local".
    """
    return os.environ.get("HEADWATER_ENGINE", "") or "local"


def use_engine(name: str) -> None:
    """Use this engine, also in processes that this one starts, unless HEADWATER_ENGINE is set."""
    os.environ.setdefault("HEADWATER_ENGINE", name)


def spark_remote() -> str | None:
    """The URL of a server of Spark Connect: SPARK_REMOTE."""
    return os.environ.get("SPARK_REMOTE") or None


def spark_local_folder() -> str | None:
    """On a worker of Spark: the first of its folders for files of a job; None is the system's."""
    return os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None


# the folder in force is the last one; of the process, since threads read files too
_PROJECT = [Path()]


@contextmanager
def project_folder(folder: Path) -> Iterator[None]:
    """In the block, relative paths of definitions and headwater's home are relative to this folder;
    else to the working folder.
    """
    _PROJECT.append(folder)
    try:
        yield
    finally:
        _PROJECT.pop()


def in_project(path: str | Path) -> Path:
    """A path as definitions name it, from the working folder."""
    return _PROJECT[-1] / path


def on_disk(path: str | Path, name: str) -> Path:
    """A local path for output.

    Raises:
        UsageError: it is a URL, which pathlib would read as a folder named `s3:`.

    >>> on_disk("out/rows.parquet", "the output").name
    'rows.parquet'
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise UsageError(
            f"{name} {path} looks like a URL, and outputs are local files; write a local file, "
            "then copy it"
        )
    return Path(path)


def has_home() -> bool:
    """Whether HEADWATER_HOME is set."""
    return "HEADWATER_HOME" in os.environ


# the data directory in force is the last one; of the process, as the project's folder is
_DATA: list[Path] = []


@contextmanager
def data_folder(folder: Path) -> Iterator[None]:
    """In the block, this folder is the data directory, instead of the one that HEADWATER_DATA_DIR
    names.
    """
    _DATA.append(folder)
    try:
        yield
    finally:
        _DATA.pop()


def data_dir() -> str | None:
    """Where archive, logs and runs are kept: HEADWATER_DATA_DIR; None where it is not set."""
    return str(_DATA[-1]) if _DATA else os.environ.get("HEADWATER_DATA_DIR") or None


def archive_url() -> str | None:
    """The object store that has the archive: HEADWATER_ARCHIVE_URL, without a final slash; None
    where it is in the data directory.

    A development environment has its archive in its data directory: the URL may be that of
    production.

    Raises:
        UsageError: it is not the URL of an object store, or holds a password.
    """
    value = os.environ.get("HEADWATER_ARCHIVE_URL", "").rstrip("/")
    if value and (
        not re.match(r"(s3|s3a|gs|az|azure|abfs|abfss)://[^/:]+(/|$)", value) or "?" in value
    ):
        raise UsageError(
            "HEADWATER_ARCHIVE_URL is not the URL of an object store; give s3://bucket/prefix, "
            "gs:// or az://, and credentials in the variables of the store, such as "
            "AWS_ACCESS_KEY_ID"
        )
    return None if reads() is not None else value or None


def use_archive_url(url: str) -> None:
    """Use this object store for the archive, also in processes that this one starts, unless
    HEADWATER_ARCHIVE_URL is set.
    """
    os.environ.setdefault("HEADWATER_ARCHIVE_URL", url)


def overridden(key: str) -> bool:
    """Whether an environment variable overrides a key of headwater.toml; HEADWATER_HOME also sets
    the data directory.
    """
    names = {
        "store": ["HEADWATER_STORE"],
        "data-dir": ["HEADWATER_DATA_DIR", "HEADWATER_HOME"],
        "catalog": ["HEADWATER_CATALOG"],
        "reads": ["HEADWATER_READS"],
    }
    return any(os.environ.get(name) for name in names[key])


COMPLETE: Final = "HEADWATER_COMPLETE"  # set by a shell to complete a command line


def completing() -> str | None:
    """The completion instruction of a shell: HEADWATER_COMPLETE; None where it is not set."""
    return os.environ.get(COMPLETE) or None


def home() -> Path:
    """The folder of headwater's files: HEADWATER_HOME, else `.headwater` in the folder of the
    project file, or in the working folder.
    """
    value = os.environ.get("HEADWATER_HOME")
    return in_project(".headwater") if value is None else on_disk(value, "HEADWATER_HOME")


def secret(name: str) -> str:
    """The environment variable `name`, as a secret that no message may contain.

    Raises:
        UsageError: it is not set.
    """
    value = os.environ.get(name)
    if value is None:
        raise UsageError(
            f"the environment variable {name} is not set, and a definition uses env({name!r}); "
            "set it before connecting"
        )
    return value


def store() -> str:
    """Where the online store is, a URL: HEADWATER_STORE, else LMDB in `home()`."""
    return os.environ.get("HEADWATER_STORE", "") or f"lmdb:{home() / 'online'}"


_READS: list[str] = []  # the production store that this process reads; set by a command


def read_production(url: str | None) -> None:
    """Make this process a development environment that reads a production store; None:
    HEADWATER_READS decides.
    """
    _READS[:] = [] if url is None else [url]


def reads() -> str | None:
    """Which production store a development environment reads, a URL: HEADWATER_READS; None outside
    such an environment.
    """
    return next(iter(_READS), None) or os.environ.get("HEADWATER_READS") or None


def catalog() -> str:
    """Where the catalog lies, a file or a URL: HEADWATER_CATALOG, else a file in `home()`."""
    return os.environ.get("HEADWATER_CATALOG", "") or str(home() / "catalog.sqlite")


def webhook_secret() -> str:
    """The secret that signs alerts: HEADWATER_WEBHOOK_SECRET; "" where it is not set, and alerts
    are not signed.
    """
    return os.environ.get("HEADWATER_WEBHOOK_SECRET", "")


def service_token() -> str | None:
    """The token that commands send to a running service: HEADWATER_TOKEN; None where it is not
    set.
    """
    return os.environ.get("HEADWATER_TOKEN") or None


def notify_socket() -> str | None:
    """Where systemd wants to be told how the service is: NOTIFY_SOCKET; None where it did not start
    this process.
    """
    return os.environ.get("NOTIFY_SOCKET") or None


def keeps_runs() -> bool:
    """Whether results are kept as runs: yes, unless HEADWATER_RUNS is "off"."""
    value = os.environ.get("HEADWATER_RUNS", "on")
    if value not in ("on", "off"):
        raise UsageError(f"HEADWATER_RUNS is {value!r}; give on or off")
    return value == "on"


def who() -> str:
    """Who runs this, as `user@host`."""
    try:
        user = getpass.getuser()  # reads the environment first
    except (KeyError, OSError):  # a container may have no name for its user
        user = f"uid {os.getuid()}"
    return f"{user}@{platform.node()}"
