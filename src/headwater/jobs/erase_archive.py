"""Erasing a key from the files of a source: the archive, filtered rows and dead letters, in a
folder or on an object store.
"""

from __future__ import annotations

import io

import polars as pl

from headwater import settings
from headwater.definitions.source import Source
from headwater.ingestion.archive import FOLDERS, ArchiveObject, ParquetFile, Roller, every_part
from headwater.jobs.erase_stream import StreamState
from headwater.jobs.erasure_receipt import ErasureJournal
from headwater.stores import OnlineStore


def erase_parts(roller: Roller, state: StreamState, journal: ErasureJournal) -> int:
    """Rewrite each file or object that holds rows of the key; how many payloads could not be read.

    Raises:
        ConnectError: an object store does not answer, or refuses.
        StoreError: a file cannot be written.
    """
    folder_name, unread = FOLDERS[roller.space], 0
    for part in every_part(roller.folder, roller.source):
        rows = part.read()
        mask, lost = state.rows_of(roller.space, rows)
        unread += lost
        if not mask.any():
            continue
        remaining = rows.filter(pl.Series(~mask))
        if isinstance(part, ParquetFile):
            journal.rewrite(part.path, folder_name, int(mask.sum()), remaining.write_parquet)
        elif isinstance(part, ArchiveObject):
            body = io.BytesIO()
            remaining.write_parquet(body)
            journal.rewrite_object(part.address, folder_name, int(mask.sum()), body.getvalue())
    return unread


def note_objects(source: Source, store: OnlineStore, journal: ErasureJournal) -> None:
    """Note the possible remains in an archive on an object store: nothing locks it, and it may keep
    earlier versions.
    """
    url = settings.archive_url()
    if url is None:
        return
    journal.not_searched(
        f"earlier versions of objects in {url}", "delete them, if the bucket keeps versions"
    )
    if store.capabilities.multi_process:
        journal.not_searched(
            f"objects of source {source.name} that ingestion was writing",
            "an object store has no lock: if `headwater ingest` was running, run the same command "
            "again",
        )
