"""Models of dbt as tables, found by the manifest that dbt writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headwater import settings
from headwater.connectors import contents, scan, state
from headwater.connectors.sql import sql
from headwater.definitions.checks import check_text
from headwater.definitions.connectors import Connector, Env, Table, as_table
from headwater.errors import DataError, DefinitionError, nearest

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class DbtModel(Connector, called="dbt"):
    """A model, seed, snapshot or source of a dbt project, as history or labels: the table that
    `dbt build` has made of it.

    Args:
        manifest: `target/manifest.json` of the project.
        name: of the model, as in `ref()`; of a source, `source.table`; or a unique id.
        url: of the database that has its table, as for `sql`; not needed for external models of
            dbt-duckdb, which are files.

    Raises:
        DefinitionError: an empty name.

    >>> dbt("target/manifest.json", "orders", url=Env("WAREHOUSE_URL"))
    DbtModel(orders of target/manifest.json)
    """

    manifest: str
    name: str
    _: KW_ONLY
    url: str | Env | None = field(default=None, repr=False, metadata={"fingerprint": False})

    is_remote = True

    def __post_init__(self) -> None:
        check_text(self.name, "dbt(): name", "the name of a model of dbt, as in ref()")

    def __str__(self) -> str:
        return f"{self.name} of {self.manifest}"

    def scan(self) -> pl.LazyFrame:
        """The rows of its table, or of its file where the model is external.

        Raises:
            DataError: no manifest, or no such model.
            DefinitionError: the model is a table of a database, and no url= is given.
        """
        return scan(self.table())

    def contents(self) -> dict[str, object]:
        """A hash of the rows or files."""
        return contents(self.table())

    def state(self) -> list[object]:
        """A value that changes when the table does."""
        return state(self.table()) or [self.contents()]

    def table(self) -> Table:
        """Where the model lies: a file, or a table of a database."""
        node = self._node()
        config: Mapping[str, Any] = node.get("config") or {}
        location = (
            config.get("location")
            or (config.get("external") or {}).get("location")
            or (node.get("meta") or {}).get("external_location")
        )
        if config.get("materialized") == "external" or (
            location and node.get("resource_type") == "source"
        ):
            path = str(
                location or f"{node.get('alias') or node['name']}.{config.get('format', 'parquet')}"
            ).format(name=node["name"])
            return as_table(path, f"dbt model {self.name!r}")
        if config.get("materialized") == "ephemeral":
            raise DataError(
                f"dbt model {self.name!r} is ephemeral: it has no table; materialize it as a "
                "table or view"
            )
        if self.url is None:
            raise DefinitionError(
                f"dbt model {self.name!r} is the table {_relation(node)} of a database; give its "
                "url=, such as hw.env('WAREHOUSE_URL')"
            )
        return sql(_relation(node), url=self.url)

    def _node(self) -> Mapping[str, Any]:
        path = settings.in_project(self.manifest)
        try:
            manifest = msgspec.json.decode(Path(path).read_bytes())
        except OSError as error:
            raise DataError(
                f"no manifest at {self.manifest}: {error.strerror}. `dbt parse` writes it to "
                "target/manifest.json"
            ) from error
        except msgspec.DecodeError as error:
            raise DataError(f"{self.manifest} is not a manifest of dbt: {error}") from error
        nodes = [
            n
            for section in ("nodes", "sources")
            for n in (manifest.get(section) or {}).values()
            if n.get("resource_type") in _TABLES
        ]
        chosen = [n for n in nodes if self.name in _names(n)]
        if not chosen:
            raise DataError(
                f"dbt has no model {self.name!r} in {self.manifest}; "
                f"{nearest(self.name, {n['name'] for n in nodes})}"
            )
        if len(chosen) > 1:
            raise DataError(
                f"{self.name!r} is {', '.join(n['unique_id'] for n in chosen)} in "
                f"{self.manifest}; give one of these"
            )
        node: Mapping[str, Any] = chosen[0]
        return node


_TABLES = {"model", "seed", "snapshot", "source"}


def _names(node: Mapping[str, Any]) -> set[str]:
    """The names that a user may use: its name, its full id, and `source.table` of a source."""
    names = {node["name"], node["unique_id"]}
    return names | {f"{node['source_name']}.{node['name']}"} if node.get("source_name") else names


def _relation(node: Mapping[str, Any]) -> str:
    if node.get("relation_name"):
        return str(node["relation_name"])
    table = node.get("alias") or node.get("identifier") or node["name"]
    return ".".join(
        f'"{name_part}"'
        for name_part in (node.get("database"), node.get("schema"), table)
        if name_part
    )


dbt = DbtModel
