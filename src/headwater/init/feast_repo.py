"""A Feast repository as data, read by the Python that has Feast installed."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from headwater.errors import DataError, UsageError

_SCRIPT = Path(__file__).with_name("feast_script.py")
_WAIT = 120  # seconds; Feast takes seven to import


class FeastField(msgspec.Struct, frozen=True):
    """A column and its type, in Feast's words."""

    name: str
    dtype: str


class FeastSource(msgspec.Struct, frozen=True):
    """A data source; kind is the name of its class."""

    kind: str
    name: str
    path: str | None
    table: str | None
    format: str
    timestamp_field: str | None
    created: str | None
    field_mapping: Mapping[str, str]
    batch: FeastSource | None
    servers: str | None
    topic: str | None
    message: str
    schema: Sequence[FeastField]


class FeastAggregation(msgspec.Struct, frozen=True):
    """An aggregation of a stream feature view; window in seconds."""

    column: str
    function: str
    window: float | None
    name: str | None


class FeastView(msgspec.Struct, frozen=True):
    """A feature view; ttl in seconds. transformed: whether a function makes its columns. of_views:
    the views that it is made of.
    """

    name: str
    keys: Sequence[str]
    features: Sequence[FeastField]
    ttl: float | None
    source: FeastSource | None
    batch: FeastSource | None
    aggregations: Sequence[FeastAggregation]
    transformed: bool
    of_views: Sequence[str]
    description: str
    owner: str
    tags: Mapping[str, str]


class FeastProjection(msgspec.Struct, frozen=True):
    """Features of a view that something reads; alias and keys where a service renames them."""

    view: str
    features: Sequence[str]
    alias: str | None = None
    keys: Mapping[str, str] = {}


class FeastOnDemandView(msgspec.Struct, frozen=True):
    """An on demand feature view. imports: statements that its function needs. others: further names
    of its module that it uses.
    """

    name: str
    mode: str
    singleton: bool
    function: str
    code: str
    imports: Sequence[str]
    others: Sequence[str]
    features: Sequence[FeastField]
    views: Sequence[FeastProjection]
    request: Sequence[FeastField]
    writes: bool


class FeastService(msgspec.Struct, frozen=True):
    """A feature service."""

    name: str
    members: Sequence[FeastProjection]
    description: str


class FeastRepo(msgspec.Struct, frozen=True):
    """All definitions. others: objects that have no counterpart."""

    version: str
    project: str | None
    views: Sequence[FeastView]
    on_demand: Sequence[FeastOnDemandView]
    services: Sequence[FeastService]
    others: Sequence[str]


def read_feast_repo(repo: Path, python: str) -> FeastRepo:
    """The definitions of a repository, as `feast apply` collects them: its Python files are run.

    Args:
        repo: the folder with feature_store.yaml.
        python: the interpreter of the environment that has Feast.

    Raises:
        UsageError: no such folder or interpreter, or Feast is not installed there.
        DataError: the repository's files fail; the message has their error.
    """
    if not repo.is_dir():
        raise UsageError(
            f"no folder {repo}; give the folder of the Feast repository, the one with "
            "feature_store.yaml"
        )
    if not (repo / "feature_store.yaml").is_file():
        raise UsageError(
            f"{repo} has no feature_store.yaml; give the folder of the Feast repository, the one "
            "that `feast apply` runs in"
        )
    try:
        done = subprocess.run(  # noqa: S603
            [python, str(_SCRIPT), str(repo)],
            capture_output=True,
            text=True,
            timeout=_WAIT,
            check=False,
        )
    except OSError as error:
        raise UsageError(
            f"{python} does not run: {error.strerror}; give --feast-python, the Python of the "
            "environment that has Feast"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"the files of {repo} took more than {_WAIT} s to run") from error
    if done.returncode:
        last = (
            done.stderr.strip().splitlines()[-1]
            if done.stderr.strip()
            else f"exit code {done.returncode}"
        )
        if last == "ModuleNotFoundError: No module named 'feast'":
            raise UsageError(
                f"{python} has no Feast; give --feast-python, the Python of the environment that "
                "has it, such as .venv/bin/python"
            )
        raise DataError(
            f"the Feast repository {repo} cannot be read: {last}. `feast apply` in that folder "
            "shows where"
        )
    return msgspec.json.decode(done.stdout, type=FeastRepo)
