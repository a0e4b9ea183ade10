"""Readings of a PostgreSQL table and its history, in one read-only transaction."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from headwater.connectors.postgres_tables import read_only
from headwater.errors import HeadwaterError
from headwater.results.measurement import Missing, Reading, measured

_SECONDS = 60.0  # for a statement
_ROWS = 1_000_000
NAMES = ("history_kept", "known_column", "known_delay", "span")


def of_table(
    url: str, name: str, *, time: str, keys: Sequence[str], known_column: str | None
) -> dict[str, Reading]:
    """How a table keeps history: versions per key, updates in place, a change log, when rows became
    known, and the span of time.

    Args:
        url: postgresql://user@host:port/database.
        name: of the table, with or without its schema.
        time, keys, known_column: columns; None for the last if no column says when a row became
            known.
    """
    try:
        engine = read_only(url, _SECONDS)
    except HeadwaterError as error:
        return dict.fromkeys(NAMES, Missing(str(error)))
    try:
        with engine.begin() as connection:
            return _read(connection, name, time, keys, known_column)
    except sa.exc.SQLAlchemyError as error:
        message = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return dict.fromkeys(NAMES, Missing(f"table {name!r}: {message}"))
    finally:
        engine.dispose()


def _read(
    connection: sa.Connection, name: str, time: str, keys: Sequence[str], known_column: str | None
) -> dict[str, Reading]:
    schema, _, bare = name.rpartition(".")
    columns = [time, *keys, *([known_column] if known_column else [])]
    table = sa.table(bare, *(sa.column(c) for c in columns), schema=schema or None)
    updates = connection.execute(
        sa.text("SELECT n_tup_upd FROM pg_stat_all_tables WHERE relid = to_regclass(:name)"),
        {"name": name},
    ).scalar()
    changes = connection.execute(_LOGGED, {"name": name}).scalar()
    readings: dict[str, Reading] = {
        "history_kept": _history(connection, table, keys, updates or 0, changes or 0)
    }
    if known_column is None:
        in_place = bool(updates)
        evidence = (
            f"no known-at column, and {updates:,} rows were updated in place"
            if in_place
            else "no known-at column; no row was updated"
        )
        readings["known_column"] = measured(
            0.0 if in_place else 0.5, "", f"table {name!r}: {evidence}"
        )
    else:
        readings["known_column"] = measured(
            1.0, "", f"table {name!r} has the column {known_column!r}"
        )
        late = sa.func.percentile_disc(0.99).within_group(
            sa.extract("epoch", table.c[known_column] - table.c[time])
        )
        delay = connection.execute(sa.select(late).select_from(table)).scalar()
        if delay is not None:
            readings["known_delay"] = measured(
                float(delay), "s", f"p99 of {known_column} - {time} in table {name!r}"
            )
    first, last = connection.execute(
        sa.select(sa.func.min(table.c[time]), sa.func.max(table.c[time]))
    ).one()
    readings["span"] = (
        Missing(f"table {name!r} has no row")
        if first is None
        else measured((last - first).total_seconds(), "s", f"table {name!r}")
    )
    return readings


def _history(
    connection: sa.Connection,
    table: sa.TableClause,
    keys: Sequence[str],
    updates: int,
    changes: int,
) -> Reading:
    if changes:
        return measured(
            1.0,
            "",
            f"table {table.name!r} is published for logical replication, so its change log can be "
            "read",
        )
    if not keys:
        return Missing(f"table {table.name!r}: no key column is named")
    counted = (
        sa.select(sa.func.count().label("n"))
        .select_from(table)
        .group_by(*(table.c[key] for key in keys))
        .limit(_ROWS)
        .subquery()
    )
    every, several = connection.execute(
        sa.select(sa.func.count(), sa.func.count().filter(counted.c.n > 1)).select_from(counted)
    ).one()
    if not every:
        return Missing(f"table {table.name!r} has no row")
    if several:
        return measured(
            1.0,
            "",
            f"{several:,} of {every:,} keys of table {table.name!r} have more than one version",
        )
    if updates:
        return measured(
            0.0,
            "",
            f"one row a key, {updates:,} updates in place, and no publication of table "
            f"{table.name!r}",
        )
    return measured(
        0.5,
        "",
        f"one row a key in table {table.name!r}, none updated since its statistics began, and no "
        "publication",
    )


_LOGGED = sa.text(
    "SELECT count(*) FROM pg_publication_tables p JOIN pg_class c ON c.relname = p.tablename JOIN "
    "pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schemaname WHERE c.oid = "
    "to_regclass(:name) AND current_setting('wal_level') = 'logical'"
)
