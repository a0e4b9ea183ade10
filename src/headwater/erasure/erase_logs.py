"""Erasing a key from what serving wrote: the serving log, and posted outcomes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import sleep
from typing import Final

import polars as pl

from headwater import clock, permissions
from headwater.definitions.project import Project
from headwater.definitions.served_views import served
from headwater.engine.checkpoint import lock
from headwater.erasure.key_match import ErasedKey, any_matches
from headwater.erasure.receipt import ErasureJournal
from headwater.errors import StoreError
from headwater.journal.outcome_journal import JOURNAL, OUTCOMES, rolled
from headwater.journal.serving_log_conversion import convert
from headwater.journal.serving_log_files import SERVED, raw_segments, read
from headwater.journal.serving_log_rows import PREFIX, REQUEST

SERVING_LOG: Final = "serving log"
THIRD_PARTIES: Final = "answers of third parties"
ANSWERS: Final = "answers"
"""The folder that `headwater serve --log-third-party` writes to."""
_WAIT: Final = 30.0  # seconds


def request_keys(project: Project, key: ErasedKey) -> list[ErasedKey]:
    """The key as requests name it: by each alias of a view that fills its columns from columns of the request, and as it is."""
    views = [view for variant in served(project) for service in variant.services for view in service.views]
    keys = [key]
    for view in views:
        names = {name: column for name in view.keys if isinstance(column := view.request_key(name), str)}
        if key.columns <= names.keys():
            keys.append(key.renamed({name: names[name] for name in key.texts}))
    return list({tuple(sorted(named_key.texts.items())): named_key for named_key in keys}.values())


def converted(folder: Path, *, dry_run: bool) -> None:
    """Convert all segments of the serving log, so that files which can be rewritten have every row; a dry run reads the segments.

    Raises:
        StoreError: a segment is of another version, or its process does not close it.
    """
    left = [] if dry_run else convert(folder, wait=_WAIT, close=True)
    if left:
        raise StoreError(
            f"the process that writes {left[0]} has not closed it for {_WAIT:.0f} seconds; end it, and run the same command again"
        )


def erase_served(folder: Path, keys: Sequence[ErasedKey], journal: ErasureJournal) -> None:
    """Rewrite the files of the serving log without the rows of the key.

    Raises:
        StoreError: as `converted`; a file cannot be written.
    """
    converted(folder, dry_run=journal.dry_run)
    for path in _served_files(folder):
        if not any_matches(keys, _columns(path, keys)).any():
            continue
        rows = read([path]).collect()
        mask = any_matches(keys, rows)
        journal.rewrite(path, SERVING_LOG, int(mask.sum()), rows.filter(pl.Series(~mask)).write_parquet)


def erase_answers(folder: Path, keys: Sequence[ErasedKey], journal: ErasureJournal) -> None:
    """Rewrite the files of third parties' answers without those that a request of the key was given."""
    for path in sorted((folder / ANSWERS).rglob("*.parquet")):
        rows = pl.read_parquet(path, hive_partitioning=False)
        mask = any_matches(keys, rows)
        if mask.any():
            journal.rewrite(path, THIRD_PARTIES, int(mask.sum()), rows.filter(pl.Series(~mask)).write_parquet)


def erased_requests(folder: Path, keys: Sequence[ErasedKey]) -> set[str]:
    """The ids of the requests in the serving log whose rows all have the key: an outcome may name its request by the id alone."""
    gone: set[str] = set()
    stay: set[str] = set()
    for path in _served_files(folder):
        rows = _columns(path, keys)
        mask = any_matches(keys, rows)
        if mask.any():
            gone |= set(rows[REQUEST].filter(pl.Series(mask)))
            stay |= set(rows[REQUEST].filter(pl.Series(~mask)))
    return gone - stay


def erase_outcomes(folder: Path, keys: Sequence[ErasedKey], requests: set[str], journal: ErasureJournal) -> Mapping[str, int]:
    """Remove posted outcomes of the key from the journals and files of all labels; how many.

    Raises:
        StoreError: a journal or file cannot be written.
    """
    removed = 0
    root = folder / OUTCOMES
    for journal_folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not (journal_folder / JOURNAL).is_file():
            continue
        with _alone(journal_folder / "lock"):
            for path in rolled(journal_folder):
                rows = pl.read_parquet(path, hive_partitioning=False)
                mask = any_matches(keys, rows) | rows[REQUEST].is_in(list(requests)).fill_null(value=False).to_numpy()
                if mask.any():
                    journal.rewrite(path, OUTCOMES, int(mask.sum()), rows.filter(pl.Series(~mask)).write_parquet)
            removed += _journal(journal_folder / JOURNAL, keys, requests, dry_run=journal.dry_run)
    return {"outcomes that wait for their files": removed}


def _journal(path: Path, keys: Sequence[ErasedKey], requests: set[str], *, dry_run: bool) -> int:
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT, isolation_level=None)) as database:
            database.execute("PRAGMA secure_delete=ON")  # deleted rows are overwritten
            rows = database.execute("SELECT sequence, identity FROM outcomes").fetchall()
            gone = [(sequence,) for sequence, identity in rows if _is_of(identity, keys, requests)]
            if gone and not dry_run:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("DELETE FROM outcomes WHERE sequence = ?", gone)
                database.execute("COMMIT")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return len(gone)
    except sqlite3.Error as error:
        raise StoreError(f"the journal of outcomes {path} cannot be changed: {error}; run the same command again") from error


def _is_of(identity: str, keys: Sequence[ErasedKey], requests: set[str]) -> bool:
    request, _, named = json.loads(identity)
    row = dict(named)
    return any(key.is_in(row) for key in keys) or (request in requests and not row)


def _served_files(folder: Path) -> list[Path]:
    return [*sorted((folder / SERVED).rglob("*.parquet")), *raw_segments(folder / SERVED)]


def _columns(path: Path, keys: Sequence[ErasedKey]) -> pl.DataFrame:
    """The request ids of a file, and its columns that a key may stand in."""
    wanted = {REQUEST, *(name for key in keys for own in key.texts for name in (own, f"{PREFIX}given_{own}"))}
    rows = read([path])
    return rows.select(name for name in rows.collect_schema().names() if name in wanted).collect()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from rolling outcomes into files."""
    until = clock.stopwatch() + _WAIT
    with permissions.open_private(path, "ab") as file:
        while not lock(file):
            if clock.stopwatch() > until:
                raise StoreError(f"another process has held {path} for {_WAIT:.0f} seconds; stop it, and run the same command again")
            sleep(0.05)
        yield
