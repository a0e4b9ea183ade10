"""The catalog's tables, in SQLite or PostgreSQL. There is one writer at a time, which holds a lock
from its read to its commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from headwater import disk, settings
from headwater.catalog.entry import Applied, CatalogEntry, CatalogState, EntryKey, Kind
from headwater.connectors import postgres_tables
from headwater.errors import CatalogError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

_LOCK = 0x6865616477  # of all that apply to one PostgreSQL database; any constant
# in the place of a project's name: the catalog is that of development environments
_DEVELOPMENT = "development."
_TABLES = sa.MetaData()
_SCHEMA = sa.Table("headwater_schema", _TABLES, sa.Column("version", sa.Integer, primary_key=True))
_PROJECTS = sa.Table(
    "headwater_projects",
    _TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
_OBJECTS = sa.Table(
    "headwater_objects",
    _TABLES,
    *(sa.Column(name, sa.Text, primary_key=True) for name in ("project", "kind", "name")),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("tiles", sa.Text),
    sa.Column("definition", sa.Text, nullable=False),  # JSON
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # ISO 8601 in UTC, since SQLite has no time with a zone
    sa.Column("applied_at", sa.Text, nullable=False),
)
_LOG = sa.Table(
    "headwater_log",
    _TABLES,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("changes", sa.Text, nullable=False),  # JSON
)

_SCHEMA_VERSION = 1


class Catalog:
    """The catalog at a file (SQLite) or a URL; nothing is opened or made until it is used.

    Args:
        at: a path, or a URL such as `postgresql://user@host/name`; None takes `settings.catalog()`.
        wait: how many seconds to wait for another process that is applying.

    Raises:
        UsageError: another kind of database.
        MissingExtraError: PostgreSQL without the extra `postgres`.
    """

    def __init__(self, at: str | PathLike[str] | None = None, *, wait: float = 30) -> None:
        self.wait = wait
        self._url = _url(fspath(at) if at is not None else settings.catalog())
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = _engine(self._url, wait)

    def __str__(self) -> str:
        return str(self._url.database) if self._sqlite else postgres_tables.shown(self._url)

    def held(self, project: str) -> CatalogState:
        """What it holds of `project`: a consistent snapshot, even during an apply; nothing before a
        catalog exists.

        Raises:
            CatalogError: it cannot be read, or a newer headwater wrote it.
        """
        with self._reading() as connection:
            return CatalogState() if connection is None else _held(connection, project)

    def version(self, project: str) -> int:
        """The version of `project` that it holds; 0 where there is none.

        Raises:
            CatalogError: as for `held`.
        """
        with self._reading() as connection:
            return 0 if connection is None else _version(connection, project)

    def log(self, project: str) -> list[Applied]:
        """Every apply that changed something, the first one first."""
        with self._reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                sa.select(_LOG).where(_LOG.c.project == project).order_by(_LOG.c.version)
            ).all()
        return [
            Applied(
                r.project,
                r.version,
                r.who,
                datetime.fromisoformat(r.at),
                tuple(json.loads(r.changes)),
            )
            for r in rows
        ]

    @contextmanager
    def changing(self, project: str) -> Iterator[tuple[CatalogState, CatalogWriter]]:
        """What it holds of `project`, and its writer; no other process writes until the block ends,
        and an error rolls all back.

        Raises:
            CatalogError: another process has been writing for longer than `wait`; it cannot be
                written, or a newer headwater wrote it.
            UsageError: this is a development environment, and the catalog is not one's.
        """
        with self._writing() as connection:
            if settings.reads() is not None:
                self._make_own(connection)
            yield _held(connection, project), CatalogWriter(connection, project)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection | None]:
        if self._sqlite and not Path(str(self._url.database)).is_file():
            yield None
            return
        engine = (
            self._engine
            if self._sqlite
            else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        with self._named_errors(), engine.begin() as connection:
            schema_version = self._schema(connection)
            yield None if schema_version is None else connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        if self._sqlite:
            try:
                disk.make_folder(Path(str(self._url.database)).parent)
                disk.create(Path(str(self._url.database)))
            except OSError as error:
                raise CatalogError(
                    f"the folder of the catalog {self} cannot be made: {error}"
                ) from error
        with (
            self._named_errors(),
            self._engine.execution_options(headwater_writes=True).begin() as connection,
        ):
            if not self._sqlite:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {round(self.wait * 1000)}"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            schema_version = self._schema(connection)
            if schema_version is None:
                _TABLES.create_all(connection)
                connection.execute(sa.insert(_SCHEMA).values(version=_SCHEMA_VERSION))
            yield connection

    def _make_own(self, connection: sa.Connection) -> None:
        """Mark a new catalog as that of a development environment. Nothing changes if it is marked
        already.
        """
        names = set(connection.execute(sa.select(_PROJECTS.c.name)).scalars())
        if names and _DEVELOPMENT not in names:
            raise UsageError(
                f"the catalog {self} was not written by a development environment, and one writes "
                "to a catalog of its own; name a new one with --catalog or HEADWATER_CATALOG"
            )
        if not names:
            connection.execute(sa.insert(_PROJECTS).values(name=_DEVELOPMENT, version=0))

    def _schema(self, connection: sa.Connection) -> int | None:
        """The version of the schema; None where there are no tables yet."""
        if not sa.inspect(connection).has_table(_SCHEMA.name):
            return None
        schema_version = connection.execute(sa.select(_SCHEMA.c.version)).scalar_one()
        if schema_version != _SCHEMA_VERSION:
            raise CatalogError(
                f"the catalog {self} was written by another version of headwater: its schema is "
                f"{schema_version}, and this one reads {_SCHEMA_VERSION}; use that version, or "
                "name another catalog"
            )
        return int(schema_version)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Errors of the database as ours, naming the catalog."""
        try:
            yield
        except DBAPIError as error:
            message = " ".join(str(error.orig).split())
            if getattr(error.orig, "sqlstate", None) == "55P03" or message == "database is locked":
                raise CatalogError(
                    f"another process has been applying to the catalog {self} for more than "
                    f"{self.wait:g} s; run again when it is done"
                ) from error
            raise CatalogError(
                f"the catalog {self} cannot be used: {message}; name one with --catalog or "
                "HEADWATER_CATALOG"
            ) from error
        except SQLAlchemyError as error:
            raise CatalogError(f"the catalog {self} cannot be used: {error}") from error


class CatalogWriter:
    """Writes to one project, within the transaction that has the lock."""

    def __init__(self, connection: sa.Connection, project: str) -> None:
        self._connection, self._project = connection, project

    def put(self, entries: Sequence[CatalogEntry], version: int, at: datetime) -> None:
        """Write entries; entries of the same kinds and names are replaced."""
        for entry in entries:
            table = _OBJECTS.c
            same_object = (
                (table.project == self._project)
                & (table.kind == entry.kind)
                & (table.name == entry.name)
            )
            self._connection.execute(sa.delete(_OBJECTS).where(same_object))
            self._connection.execute(
                sa.insert(_OBJECTS).values(
                    project=self._project,
                    kind=entry.kind,
                    name=entry.name,
                    fingerprint=entry.fingerprint,
                    tiles=entry.tiles,
                    definition=json.dumps(entry.definition),
                    live=entry.live,
                    version=version,
                    applied_at=at.isoformat(),
                )
            )

    def note(self, version: int, at: datetime, changes: Sequence[Mapping[str, object]]) -> None:
        """Make `version` the project's, and write down what made it."""
        self._connection.execute(sa.delete(_PROJECTS).where(_PROJECTS.c.name == self._project))
        self._connection.execute(sa.insert(_PROJECTS).values(name=self._project, version=version))
        entry = {"who": settings.who(), "at": at.isoformat(), "changes": json.dumps(list(changes))}
        self._connection.execute(
            sa.insert(_LOG).values(project=self._project, version=version, **entry)
        )


def _url(at: str) -> sa.URL:
    if "://" not in at:
        return sa.URL.create("sqlite", database=at)
    try:
        url = sa.make_url(at)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "the catalog's URL cannot be read; write postgresql://user:password@host:5432/name, "
            "or the path of an SQLite file"
        ) from error
    if url.drivername in postgres_tables.NAMES:
        return postgres_tables.with_driver(url)
    if url.drivername != "sqlite" or url.database in (None, "", ":memory:"):
        raise UsageError(
            f"the catalog is {postgres_tables.shown(url)!r}; it lies in an SQLite file (give its "
            "path) or in PostgreSQL (postgresql://user:password@host:5432/name)"
        )
    return url


def _engine(url: sa.URL, wait: float) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(
            url, poolclass=sa.NullPool, connect_args={"connect_timeout": max(2, round(wait))}
        )
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": wait})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: DBAPIConnection, _record: object) -> None:
        # else Python's driver begins a transaction late, and without the lock
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE"
            if connection.get_execution_options().get("headwater_writes")
            else "BEGIN"
        )

    return engine


def _version(connection: sa.Connection, project: str) -> int:
    return (
        connection.execute(
            sa.select(_PROJECTS.c.version).where(_PROJECTS.c.name == project)
        ).scalar_one_or_none()
        or 0
    )


def _held(connection: sa.Connection, project: str) -> CatalogState:
    version = _version(connection, project)
    projects: dict[str, dict[EntryKey, CatalogEntry]] = {project: {}}
    relevant = (_OBJECTS.c.project == project) | _OBJECTS.c.live
    for row in connection.execute(
        sa.select(_OBJECTS)
        .where(relevant)
        .order_by(_OBJECTS.c.project, _OBJECTS.c.kind, _OBJECTS.c.name)
    ):
        entry = CatalogEntry(
            kind=cast("Kind", row.kind),
            name=row.name,
            fingerprint=row.fingerprint,
            definition=json.loads(row.definition),
            tiles=row.tiles,
            live=row.live,
            version=row.version,
            applied_at=datetime.fromisoformat(row.applied_at),
        )
        projects.setdefault(row.project, {})[entry.key] = entry
    return CatalogState(version, projects.pop(project), projects)
