"""Erasing a key from what serving wrote: the serving log, and posted outcomes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Final

import polars as pl

from headwater.definitions.project import Project, served
from headwater.erasure.key_match import ErasedKey, any_matches
from headwater.erasure.receipt import ErasureJournal
from headwater.errors import DataError, StoreError
from headwater.journal import format as records
from headwater.journal.conversion import convert
from headwater.journal.journal_files import close_all, journal_files
from headwater.journal.outcome_journal import OUTCOMES, file_of, posted_in
from headwater.journal.serving_log_files import SERVED, raw_segments, read
from headwater.journal.serving_log_rows import PREFIX, REQUEST

SERVING_LOG: Final = "serving log"
THIRD_PARTIES: Final = "answers of third parties"
ANSWERS: Final = "answers"
"""The folder that `headwater serve --log-third-party` writes to."""
_WAIT: Final = 30.0  # seconds


def request_keys(project: Project, key: ErasedKey) -> list[ErasedKey]:
    """The key as requests name it: by each alias of a view that fills its columns from columns of
    the request, and as it is.
    """
    views = [
        view
        for variant in served(project)
        for service in variant.services
        for view in service.views
    ]
    keys = [key]
    for view in views:
        names = {
            name: column for name in view.keys if isinstance(column := view.request_key(name), str)
        }
        if key.columns <= names.keys():
            keys.append(key.renamed({name: names[name] for name in key.texts}))
    return list({tuple(sorted(named_key.texts.items())): named_key for named_key in keys}.values())


def converted(
    folder: Path, kind: records.RecordKind = records.SERVED_ROWS, *, dry_run: bool
) -> None:
    """Convert all files of a kind, so that files which can be rewritten have every row; a dry run
    reads the segments.

    Raises:
        StoreError: a segment is of another version, or its process does not close it.
    """
    left = [] if dry_run else convert(folder, kinds=(kind,), wait=_WAIT, close=True)
    if left:
        raise _not_closed(left[0])


def erase_served(folder: Path, keys: Sequence[ErasedKey], journal: ErasureJournal) -> None:
    """Rewrite the files of the serving log without the rows of the key.

    Raises:
        StoreError: as `converted`; a file cannot be written.
    """
    converted(folder, dry_run=journal.dry_run)
    for path in _served_files(folder, journal):
        if not any_matches(keys, _columns(path, keys)).any():
            continue
        rows = read([path]).collect()
        mask = any_matches(keys, rows)
        journal.rewrite(
            path, SERVING_LOG, int(mask.sum()), rows.filter(pl.Series(~mask)).write_parquet
        )


def erase_answers(folder: Path, keys: Sequence[ErasedKey], journal: ErasureJournal) -> None:
    """Rewrite the files of third parties' answers without those that a request of the key was
    given; a dry run does not see open ones.

    Raises:
        StoreError: a file cannot be written, or its process does not close it.
    """
    converted(folder, records.RESPONSES, dry_run=journal.dry_run)
    for path in sorted((folder / ANSWERS).rglob("*.parquet")):
        rows = pl.read_parquet(path, hive_partitioning=False)
        mask = any_matches(keys, rows)
        if mask.any():
            journal.rewrite(
                path, THIRD_PARTIES, int(mask.sum()), rows.filter(pl.Series(~mask)).write_parquet
            )


def erased_requests(folder: Path, keys: Sequence[ErasedKey], journal: ErasureJournal) -> set[str]:
    """The ids of the requests in the serving log whose rows all have the key: an outcome may name
    its request by the id alone.
    """
    gone: set[str] = set()
    stay: set[str] = set()
    for path in _served_files(folder, journal):
        rows = _columns(path, keys)
        mask = any_matches(keys, rows)
        if mask.any():
            gone |= set(rows[REQUEST].filter(pl.Series(mask)))
            stay |= set(rows[REQUEST].filter(pl.Series(~mask)))
    return gone - stay


def erase_outcomes(
    folder: Path, keys: Sequence[ErasedKey], requests: set[str], journal: ErasureJournal
) -> None:
    """Rewrite the files of posted outcomes of all labels without those of the key; they are closed
    first, and a dry run reads open ones.

    Raises:
        StoreError: a file cannot be written, or its process does not close it.
    """
    left = [] if journal.dry_run else close_all(journal_files(folder, records.OUTCOMES), _WAIT)
    if left:
        raise _not_closed(left[0])
    for path in journal_files(folder, records.OUTCOMES):
        rows, damaged = posted_in(path.read_bytes(), str(path))
        kept = [row for row in rows if not _is_of(row.identity, keys, requests)]
        # damaged bytes, such as of a torn record, may hold the key too
        if len(kept) < len(rows) or damaged:
            content = file_of(path.parent.name, kept)
            journal.rewrite(path, OUTCOMES, len(rows) - len(kept), partial(_write, content))


def _write(content: bytes, file: IO[bytes]) -> object:
    return file.write(content)


def _not_closed(path: Path) -> StoreError:
    return StoreError(
        f"the process that writes {path} has not closed it for {_WAIT:.0f} seconds; end it, and "
        "run the same command again"
    )


def _is_of(identity: str, keys: Sequence[ErasedKey], requests: set[str]) -> bool:
    request, _, named = json.loads(identity)
    row = dict(named)
    return any(key.is_in(row) for key in keys) or (request in requests and not row)


def _served_files(folder: Path, journal: ErasureJournal) -> list[Path]:
    """The files of the serving log; segments, which are converted before anything is rewritten, are
    of a dry run alone.
    """
    return [
        *sorted((folder / SERVED).rglob("*.parquet")),
        *(raw_segments(folder / SERVED) if journal.dry_run else ()),
    ]


def _columns(path: Path, keys: Sequence[ErasedKey]) -> pl.DataFrame:
    """The request ids of a file, and its columns that a key may stand in."""
    wanted = {
        REQUEST,
        *(name for key in keys for own in key.texts for name in (own, f"{PREFIX}given_{own}")),
    }
    try:
        rows = read([path])
    except DataError:  # a segment that was begun just now
        return pl.DataFrame(schema={REQUEST: pl.String})
    return rows.select(name for name in rows.collect_schema().names() if name in wanted).collect()
