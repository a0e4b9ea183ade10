"""Apache Iceberg tables: a snapshot of a catalog's table, whose files polars scans; the one place
that needs the extra `iceberg`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import polars as pl

from headwater import settings
from headwater.connectors import remote
from headwater.connectors.snapshots import VersionedTable, version_within
from headwater.definitions.connectors import checked_location, checked_options, is_url
from headwater.errors import (
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    MissingExtraError,
    given,
    listed,
    nearest,
)

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

_METADATA = ".metadata.json"
_EMPTY = 0  # the version of a table that no row was ever written to; ids of snapshots are positive


@dataclass(frozen=True, eq=False, init=False)
class IcebergTable(VersionedTable, called="iceberg"):
    """A table of Apache Iceberg, as history or labels; needs the extra `headwater[iceberg]`.

    A call such as `dataset` or `backtest` reads one snapshot, which stands in its manifest or
    record, and `reproduce` reads that snapshot again. Files without an event in reach are not read,
    nor are columns that nothing needs. Deleted rows are left out.

    Args:
        table: `namespace.table` in a catalog; or the path or URL of a metadata file,
            `....metadata.json`, read without a catalog.
        catalog: the catalog's name in `.pyiceberg.yaml` or the environment; None is the default
            one.
        properties: further settings of the catalog and its store, as pyiceberg names them:
            `{"type": "rest", "uri": "https://catalog", "token": hw.env("TOKEN"), "s3.region":
            "eu-north-1"}`. They are in no fingerprint and never shown, except the address.
        snapshot_id: the id of a snapshot; None is the current one when a call first reads the
            table.

    Raises:
        DefinitionError: a table without a namespace, an id that is not a number, or properties that
            are not a mapping.

    >>> iceberg("shop.payments", properties={"type": "rest", "uri": "https://catalog.example.org"})
    IcebergTable(shop.payments)
    """

    table: str
    catalog: str | None = None
    properties: Mapping[str, object] = field(
        default_factory=dict, repr=False, metadata={"fingerprint": False}
    )
    snapshot_id: int | None = field(default=None, metadata={"fingerprint": "given"})
    address: str = field(default="", repr=False)

    def __init__(
        self,
        table: str | PathLike[str],
        *,
        catalog: str | None = None,
        properties: Mapping[str, object] | None = None,
        snapshot_id: int | None = None,
    ) -> None:
        if not isinstance(table, str | PathLike):
            raise DefinitionError(
                f"iceberg(): table is {given(table)}; give namespace.table, or the path of a "
                "metadata file"
            )
        name = fspath(table)
        if name.endswith(_METADATA):
            name = checked_location(name)
        elif "." not in name.strip(".") or "/" in name:
            raise DefinitionError(
                f"iceberg(): table is {name!r}; give namespace.table, such as 'shop.payments', or "
                f"the path of a metadata file that ends with {_METADATA}"
            )
        if snapshot_id is not None and (
            not isinstance(snapshot_id, int) or isinstance(snapshot_id, bool) or snapshot_id <= 0
        ):
            raise DefinitionError(
                f"iceberg(): snapshot_id is {given(snapshot_id)}; give the id of a snapshot, or "
                "None for the current one"
            )
        checked = checked_options(properties, "properties")
        uri = checked.get("uri", "")
        self._set(
            table=name,
            catalog=catalog,
            properties=checked,
            snapshot_id=snapshot_id,
            address=_address(uri) if isinstance(uri, str) else repr(uri),
        )

    def __str__(self) -> str:
        return (
            self.table
            if self.snapshot_id is None
            else f"snapshot {self.snapshot_id} of {self.table}"
        )

    def scan(self) -> pl.LazyFrame:
        """The rows of the snapshot, as a lazy frame: files, row groups and columns that are not
        needed are not read.

        Raises:
            MissingExtraError: pyiceberg is not installed.
            DataError: no such table or snapshot, or it cannot be read.
            ConnectError: the catalog or the object store does not answer, or refuses.
        """
        table = self._load()
        version = self._version(table)
        if version != _EMPTY and table.snapshot_by_id(version) is None:
            snapshots = [snapshot.snapshot_id for snapshot in table.metadata.snapshots]
            last = (
                f"; the last of its {len(snapshots)} snapshots is {snapshots[-1]}"
                if snapshots
                else ", and no snapshot at all"
            )
            raise DataError(
                f"{self.table} has no snapshot {version}{last}. An expired snapshot cannot be "
                "read again; give another snapshot_id=, or none"
            )
        try:
            refused = version != _EMPTY and _deletes_by_value(table, version)
            options = _storage_options(table)
            frame = (
                pl.scan_iceberg(table, storage_options=options).head(0)
                if version == _EMPTY
                else pl.scan_iceberg(
                    table, storage_options=options, snapshot_id=self._fixed(table, version)
                )
            )
            frame.collect_schema()
        except Exception as error:  # noqa: BLE001 (as in _load)
            raise self._error(error) from None
        if refused:
            raise DataError(
                f"{self.table} has equality delete files, which cannot be read; compact the table "
                "(rewrite_data_files), or let its writer delete by position or by copying"
            )
        return frame

    def version_read(self) -> int:
        """See `VersionedTable`: the id of the snapshot."""
        return self._version(self._load())

    def identity(self) -> dict[str, object]:
        """The catalog's name for the table, and the id that it got when it was created."""
        return {
            "iceberg": self.table,
            **({"catalog": self.catalog} if self.catalog is not None else {}),
            "id": str(self._load().metadata.table_uuid),
        }

    def state(self) -> list[object]:
        """As `contents`, and the schema, which may change without a new snapshot."""
        return [*super().state(), self._load().metadata.current_schema_id]

    def _version(self, table: Table) -> int:
        if self.snapshot_id is not None:
            return self.snapshot_id
        current = table.current_snapshot()
        return version_within(self, lambda: _EMPTY if current is None else current.snapshot_id)

    def _fixed(self, table: Table, version: int) -> int | None:
        """The snapshot to read with the columns it was written with; None for the current one, with
        the table's columns of today.
        """
        current = table.current_snapshot()
        is_current = (
            self.snapshot_id is None and current is not None and current.snapshot_id == version
        )
        return None if is_current else version

    def _load(self) -> Table:
        try:
            from pyiceberg.catalog import load_catalog
            from pyiceberg.exceptions import NoSuchTableError
            from pyiceberg.table import StaticTable
        except ModuleNotFoundError as error:
            raise MissingExtraError("pyiceberg", "iceberg") from error
        settings.plan_by_pyiceberg()
        properties = {name: str(value) for name, value in remote.resolved(self.properties).items()}
        try:
            if self.table.endswith(_METADATA):
                location = (
                    self.table
                    if is_url(self.table)
                    else settings.in_project(self.table).absolute().as_uri()
                )
                return StaticTable.from_metadata(location, properties)
            catalog = load_catalog(self.catalog, **properties)
            try:
                return catalog.load_table(self.table)
            except NoSuchTableError:
                raise DataError(
                    f"the catalog has no table {self.table!r}; {_tables_near(catalog, self.table)}"
                ) from None
        except HeadwaterError:
            raise
        except Exception as error:  # noqa: BLE001 (each catalog has errors of its own)
            raise self._error(error) from None

    def _error(self, error: Exception) -> DataError | ConnectError:
        if isinstance(error, ModuleNotFoundError) or "not installed" in str(error):
            return DataError(
                f"{self.table} cannot be read: {error}. Install what its catalog or store needs, "
                "such as pip install 'pyiceberg[glue]'"
            )
        if type(error).__module__.startswith(("requests", "sqlalchemy", "botocore")):
            text = remote.table_error(error, self.table, self.properties, "from its catalog")
            return ConnectError(
                f"{str(text).partition(' (Background')[0].rstrip('.')}. Check catalog= and "
                "properties=, and that the catalog can be reached"
            )
        if isinstance(error, ValueError) and "URI missing" in str(error):
            return DataError(
                f"{self.table}: nothing says where the catalog {self.catalog or 'default'!r} is; "
                "give properties={'uri': ...}, or describe it in .pyiceberg.yaml"
            )
        return remote.table_error(error, self.table, self.properties, "as an Iceberg table")


def _deletes_by_value(table: Table, version: int) -> bool:
    """Whether the snapshot has equality delete files; only manifests of deletes are opened."""
    from pyiceberg.manifest import DataFileContent, ManifestContent

    snapshot = table.snapshot_by_id(version)
    manifests = (
        []
        if snapshot is None
        else [m for m in snapshot.manifests(table.io) if m.content == ManifestContent.DELETES]
    )
    entries = (entry for manifest in manifests for entry in manifest.fetch_manifest_entry(table.io))
    return any(entry.data_file.content == DataFileContent.EQUALITY_DELETES for entry in entries)


def _storage_options(table: Table) -> dict[str, object]:
    """The options for polars to read the files: the user's, and those of the catalog, such as
    credentials for this table.
    """
    properties = {
        name: value
        for name, value in table.io.properties.items()
        if name.startswith(("s3.", "gcs.", "adls.", "hdfs."))
    }
    if not properties:
        return {}
    plain = str(properties.get("s3.endpoint", "")).startswith("http:")
    return {**remote.DATA, **properties, **({"aws_allow_http": "true"} if plain else {})}


def _tables_near(catalog: Catalog, table: str) -> str:
    namespace = table.rpartition(".")[0]
    try:
        spaces = [".".join(name) for name in catalog.list_namespaces()]
        if namespace not in spaces and "." not in namespace:
            return (
                f"nor a namespace {namespace!r}; it has {listed(sorted(spaces)) or 'none'}. Check "
                "catalog= and properties="
            )
        return nearest(table, [".".join(name) for name in catalog.list_tables(namespace)])
    except Exception:  # noqa: BLE001 (only a hint: a catalog may refuse to list)
        return f"look at the namespace {namespace!r}"


iceberg = IcebergTable


def _address(uri: str) -> str:
    """The URL of a catalog without user, password and options."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if uri else ""
