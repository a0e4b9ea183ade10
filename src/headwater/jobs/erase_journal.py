"""Erasing a key from the journal: requests that were served, third parties' answers, exposures of
experiments, and posted outcomes.

The files of each kind are closed, or become parquet; each one that has rows of the key is written
again without them, and takes the place of the one before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import IO, Final

import numpy as np
import polars as pl

from headwater.definitions.project import Project, served
from headwater.errors import DataError, StoreError
from headwater.jobs.erasure_receipt import ErasureJournal
from headwater.jobs.key_match import ErasedKey, any_matches
from headwater.journal.conversion import CONVERTED, DAMAGED, convert
from headwater.journal.exposure_rows import CLUSTER, UNIT, begin_of, exposures_in, record_of
from headwater.journal.format import EXPOSURES, OUTCOMES, RESPONSES, SERVED_ROWS, RecordKind
from headwater.journal.journal_files import close_all, journal_files
from headwater.journal.outcome_journal import file_of, posted_in
from headwater.journal.serving_log_files import read
from headwater.journal.serving_log_rows import PREFIX, REQUEST
from headwater.kernel.arrays import Bool

PLACES: Final = {
    SERVED_ROWS: "serving log",
    RESPONSES: "answers of third parties",
    EXPOSURES: "exposures",
    OUTCOMES: "outcomes",
}
"""What a receipt calls the files of a kind."""
_IDENTITY: Final = "identity"
_WAIT: Final = 30.0  # seconds


def erase_journal(
    folder: Path,
    kind: RecordKind,
    is_of: Callable[[pl.DataFrame], Bool],
    journal: ErasureJournal,
    *,
    columns: Collection[str] = (),
    within: str = "",
) -> None:
    """Rewrite the files of a kind without the rows of a key; a dry run counts them, in open files
    too.

    Args:
        folder: the data directory.
        kind: of the records.
        is_of: which rows are the key's, bool (rows). Rows of parquet files have `columns`; outcomes
            `identity`; exposures UNIT and CLUSTER.
        journal: notes the files, and those that nobody can read.
        columns: that `is_of` reads of a parquet file, where it has them.
        within: below this folder of the kind's alone.

    Raises:
        StoreError: a file is of another version, cannot be written, or its process does not close
            it.
    """
    for path in sorted(folder.glob(f"{kind.files}{DAMAGED}")):
        journal.not_searched(
            f"{PLACES[kind]}: {path}", "its header is damaged, so nobody can read it: delete it"
        )
    for path in closed_files(folder, kind, within, dry_run=journal.dry_run):
        rows, damaged = _rows(kind, path, columns)
        mask = is_of(rows)
        # damaged bytes, such as of a torn record, may hold the key too
        if mask.any() or damaged:
            journal.rewrite(path, PLACES[kind], int(mask.sum()), partial(_write, kind, path, ~mask))


def closed_files(
    folder: Path, kind: RecordKind, within: str = "", *, dry_run: bool = False
) -> list[Path]:
    """The files of a kind, which no process writes any more: closed, or converted. A dry run closes
    none, and lists open ones where they can be read.

    Raises:
        StoreError: as `erase_journal`.
    """
    files = journal_files(folder, kind, within)
    if kind not in CONVERTED:
        still_open = [] if dry_run else close_all(files, _WAIT)
        _check_closed(still_open)
        return journal_files(folder, kind, within)
    if not dry_run:
        _check_closed(convert(folder, kinds=(kind,), wait=_WAIT, close=True))
    tables = sorted((folder / kind.files.partition("/")[0]).rglob("*.parquet"))
    return [*tables, *files] if dry_run and kind is SERVED_ROWS else tables


def _check_closed(still_open: Sequence[Path]) -> None:
    if still_open:
        raise StoreError(
            f"the process that writes {still_open[0]} has not closed it for {_WAIT:.0f} seconds; "
            "end it, and run the same command again"
        )


def _rows(kind: RecordKind, path: Path, columns: Collection[str]) -> tuple[pl.DataFrame, int]:
    """The columns that identify the owners of a file's rows, and the number of damaged bytes."""
    if kind in CONVERTED:
        return _columns(path, columns), 0
    data, name = path.read_bytes(), str(path)
    if kind is OUTCOMES:
        posted, damaged = posted_in(data, name)
        names = {_IDENTITY: [row.identity for row in posted]}
        return pl.DataFrame(names, schema={_IDENTITY: pl.String}), damaged
    exposures, damaged = exposures_in(data, name)
    texts = {UNIT: [row.unit for row in exposures], CLUSTER: [row.cluster for row in exposures]}
    return pl.DataFrame(texts, schema={UNIT: pl.String, CLUSTER: pl.String}), damaged


def _columns(path: Path, columns: Collection[str]) -> pl.DataFrame:
    """The columns, of these, that a parquet file or a segment of the serving log has."""
    try:
        rows = read([path])
    except DataError:  # a segment that was begun just now
        return pl.DataFrame(schema={REQUEST: pl.String})
    return rows.select(name for name in rows.collect_schema().names() if name in columns).collect()


def _write(kind: RecordKind, path: Path, kept: Bool, file: IO[bytes]) -> object:
    """Write the kept rows of a file."""
    if kind in CONVERTED:
        return read([path]).collect().filter(pl.Series(kept)).write_parquet(file)
    data, name, folder = path.read_bytes(), str(path), path.parent
    if kind is OUTCOMES:
        return file.write(file_of(folder.name, compress(posted_in(data, name).rows, kept)))
    exposures = list(compress(exposures_in(data, name).exposures, kept))
    return file.write(begin_of(folder.parent.name, int(folder.name)) + record_of(exposures))


# ---------------------------------------------------------------- rows of a key


def request_keys(project: Project, key: ErasedKey) -> list[ErasedKey]:
    """The key under the names that requests use: of each alias of a view that fills its columns
    from columns of the request, and as it is.
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


def key_columns(keys: Sequence[ErasedKey]) -> set[str]:
    """The columns of the serving log that a key may stand in."""
    names = {name for key in keys for name in key.texts}
    return names | {f"{PREFIX}given_{name}" for name in names}


def erased_requests(folder: Path, keys: Sequence[ErasedKey], journal: ErasureJournal) -> set[str]:
    """The ids of the requests in the serving log whose rows all have the key: an outcome may name
    its request by the id alone.
    """
    erased: set[str] = set()
    stay: set[str] = set()
    for path in closed_files(folder, SERVED_ROWS, dry_run=journal.dry_run):
        rows = _columns(path, {REQUEST, *key_columns(keys)})
        mask = any_matches(keys, rows)
        if mask.any():
            erased |= set(rows[REQUEST].filter(pl.Series(mask)))
            stay |= set(rows[REQUEST].filter(pl.Series(~mask)))
    return erased - stay


def of_outcomes(
    keys: Sequence[ErasedKey], requests: Collection[str]
) -> Callable[[pl.DataFrame], Bool]:
    """Which outcomes name the key, or one of these requests alone."""

    def is_of(identity: str) -> bool:
        request, _, named = json.loads(identity)
        row = dict(named)
        return any(key.is_in(row) for key in keys) or (request in requests and not row)

    return lambda rows: np.array([is_of(text) for text in rows[_IDENTITY].to_list()], np.bool_)


def erase_exposures(
    folder: Path, project: Project, requests: Sequence[ErasedKey], journal: ErasureJournal
) -> None:
    """Remove the exposures of the key from the files of the project's experiments.

    requests: the key by the columns of requests.

    Raises:
        StoreError: as `erase_journal`.
    """
    by_name = {experiment.name: experiment for experiment in project.experiments}
    for experiment_folder in sorted((folder / PLACES[EXPOSURES]).glob("*")):
        experiment = by_name.get(experiment_folder.name)
        if experiment is None:
            journal.not_searched(
                f"exposures of {experiment_folder.name}",
                "the project has no such experiment: delete the folder where nobody needs it",
            )
            continue
        columns = {column for column, _ in experiment.columns}
        keys = [key for key in requests if key.columns and key.columns <= columns]
        if keys:
            is_of = partial(_of_exposures, keys, experiment.unit)
            within = f"{experiment_folder.parent.name}/{experiment_folder.name}"
            erase_journal(folder, EXPOSURES, is_of, journal, within=within)


def _of_exposures(keys: Sequence[ErasedKey], unit: str, rows: pl.DataFrame) -> Bool:
    mask = np.zeros(rows.height, np.bool_)
    for key in keys:
        named = (
            pl.col(UNIT if column == unit else CLUSTER).eq_missing(pl.lit(text, pl.String))
            for column, text in key.texts.items()
        )
        mask |= rows.select(pl.all_horizontal(named)).to_series().to_numpy()
    return mask
