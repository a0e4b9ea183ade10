"""Delta Lake tables: a version of the log, whose files polars scans; the one place that needs the
extra `delta`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING

import polars as pl

from headwater import settings
from headwater.connectors import remote
from headwater.connectors.snapshots import VersionedTable, version_within
from headwater.definitions.connectors import checked_location, checked_options, is_url, store_of
from headwater.errors import DataError, DefinitionError, MissingExtraError, given

if TYPE_CHECKING:
    from deltalake import DeltaTable

_FORMAT = "as a Delta table"


@dataclass(frozen=True, eq=False, init=False)
class DeltaLake(VersionedTable, called="delta"):
    """A table of Delta Lake, as history or labels; needs the extra `headwater[delta]`.

    A call such as `dataset` or `backtest` reads one version, which stands in its manifest or
    record, and `reproduce` reads that version again. Files without an event in reach are not read,
    nor are columns that nothing needs. Rows under deletion vectors are left out.

    Args:
        table: the path or URL of its folder; or a `deltalake.DeltaTable`, at the version that it
            was loaded at.
        version: the number of a version; None is the latest when a call first reads the table.
        storage_options: as of `parquet`.

    Raises:
        DefinitionError: a version that is not a number from 0, an unknown scheme, or a URL that
            holds a credential.

    >>> delta("s3://shop/payments", version=7)
    DeltaLake(version 7 of s3://shop/payments)
    """

    path: str
    version: int | None = field(default=None, metadata={"fingerprint": "given"})
    storage_options: Mapping[str, object] = field(
        default_factory=dict, repr=False, metadata={"fingerprint": False}
    )
    store: str = field(default="", init=False, repr=False, metadata={"fingerprint": "given"})

    def __init__(
        self,
        table: str | PathLike[str] | DeltaTable,
        *,
        version: int | None = None,
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        if version is not None and (
            not isinstance(version, int) or isinstance(version, bool) or version < 0
        ):
            raise DefinitionError(
                f"delta(): version is {given(version)}; give the number of a version, such as 7, "
                "or None for the latest"
            )
        if isinstance(table, str | PathLike):
            self._at(fspath(table), version, storage_options)
            return
        if type(table).__module__.partition(".")[0] != "deltalake" or not hasattr(
            table, "table_uri"
        ):
            raise DefinitionError(
                f"delta(): table is {given(table)}; give the path or URL of its folder, or a "
                "deltalake.DeltaTable"
            )
        at = table.version() if version is None else version
        options = table._storage_options if storage_options is None else storage_options  # noqa: SLF001 (as polars reads them)
        self._at(table.table_uri.removesuffix("/"), at, options)

    def _at(
        self, location: str, version: int | None, storage_options: Mapping[str, object] | None
    ) -> None:
        path = checked_location(location)
        options = checked_options(storage_options) if is_url(path) else {}
        self._set(path=path, version=version, storage_options=options, store=store_of(options))

    def __str__(self) -> str:
        return self.path if self.version is None else f"version {self.version} of {self.path}"

    def scan(self) -> pl.LazyFrame:
        """The rows of the version, as a lazy frame: files, row groups and columns that are not
        needed are not read.

        Raises:
            MissingExtraError: deltalake is not installed.
            DataError: no such table or version, its files were vacuumed, or polars cannot read a
                feature of it.
            ConnectError: an object store does not answer in time, or refuses.
        """
        newest = self._open()
        version = version_within(self, newest.version) if self.version is None else self.version
        table = newest if version == newest.version() else self._open(version)
        if table is not newest:
            self._check_files(set(table.file_uris()) - set(newest.file_uris()), version)
        try:
            frame = pl.scan_delta(table, storage_options=self._options(remote.DATA))
            frame.collect_schema()
        except Exception as error:  # noqa: BLE001 (deltalake raises errors of its own)
            raise remote.table_error(error, self.path, self.storage_options, _FORMAT) from None
        return frame

    def version_read(self) -> int:
        """See `VersionedTable`."""
        return (
            version_within(self, lambda: self._open().version())
            if self.version is None
            else self.version
        )

    def identity(self) -> dict[str, object]:
        """The path and the id of the table."""
        return {
            "delta": self.path,
            **({"store": self.store} if self.store else {}),
            "id": str(self._open().metadata().id),
        }

    def _open(self, version: int | None = None) -> DeltaTable:
        try:
            from deltalake import DeltaTable
            from deltalake.exceptions import TableNotFoundError
        except ModuleNotFoundError as error:
            raise MissingExtraError("deltalake", "delta") from error
        location = self.path if is_url(self.path) else str(settings.in_project(self.path))
        try:
            options = {name: str(value) for name, value in self._options(remote.FIRST).items()}
            table = DeltaTable(location, version, storage_options=options or None)
        except TableNotFoundError:
            raise DataError(
                f"no Delta table at {self.path}: it has no _delta_log. Give the table's own "
                "folder, or hw.parquet(path) for plain files"
            ) from None
        except Exception as error:
            if version is not None and (newest := self._open().version()) is not None:
                beyond = (
                    "the latest is" if version > newest else "its log was cleaned up; the latest is"
                )
                raise DataError(
                    f"{self.path} has no version {version}: {beyond} {newest}"
                ) from error
            raise remote.table_error(error, self.path, self.storage_options, _FORMAT) from None
        # deltalake names its files by the encoded path, and polars opens them as they are named
        if "%" in table.table_uri:
            raise DataError(
                f"{self.path}: a Delta table cannot be read from a path with spaces, % or other "
                "signs of URLs; rename its folders"
            )
        return table

    def _check_files(self, files: set[str], version: int) -> None:
        """Refuse an old version whose files are gone: only those that the latest version has not
        can be.
        """
        if not files:
            return
        try:
            pl.scan_parquet(
                sorted(files),
                missing_columns="insert",
                extra_columns="ignore",
                storage_options=self._options(remote.DATA),
            ).select(pl.len()).collect()
        except FileNotFoundError as error:
            raise DataError(
                f"version {version} of {self.path} cannot be read any more: a vacuum has removed "
                "files of it. Restore them, or read a version since then"
            ) from error
        except Exception as error:  # noqa: BLE001 (as above)
            raise remote.table_error(error, self.path, self.storage_options, _FORMAT) from None

    def _options(self, limits: Mapping[str, object]) -> dict[str, object]:
        return {**limits, **remote.resolved(self.storage_options)} if is_url(self.path) else {}


delta = DeltaLake
