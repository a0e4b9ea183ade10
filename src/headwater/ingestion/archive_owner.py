"""Whose a folder of the archive is: a file in it names the project, and the development
environment, that writes to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from headwater import disk
from headwater.errors import UsageError
from headwater.ingestion.archive import unwritable
from headwater.stores import OnlineStore
from headwater.stores.keyspace import ScopedStore, environment

_NAME: Final = "owner"


def claim_folder(folder: Path, store: OnlineStore) -> None:
    """Note whose a source's folder is, where it has no owner.

    Raises:
        UsageError: another project writes to it, or another development environment.
        StoreError: it cannot be read or written.
    """
    if not isinstance(store, ScopedStore) or not store.project:
        return
    own, file = environment(store), folder / _NAME
    mine = f"project {store.project!r}" + (
        "" if own is None else f", development environment {own}"
    )
    try:
        if not file.exists():
            disk.replace_file(disk.make_folder(folder) / _NAME, f"{mine}\n".encode())
            return
        theirs = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise unwritable(folder, error) from error
    if theirs != mine:
        raise UsageError(
            f"the archive in {folder} is that of {theirs}, as its file {_NAME!r} says, and this "
            f"is {mine}: their events would mix. Give each a data directory of its own "
            "(--data-dir, HEADWATER_DATA_DIR). A project that was renamed keeps the archive when "
            f"you delete {file}"
        )
