"""Outcomes that an application posts as it learns them: durable before they are answered for, and rolled into files later.

A journal (SQLite, a commit that is synced) takes the rows; several processes may write to it. Its sequence numbers name the files that
rows are rolled into, so after a crash between a file and anything else, what a file holds is seen by its name and read once.

    FOLDER/outcomes/LABELS/journal.sqlite
    FOLDER/outcomes/LABELS/headwater_date=2024-05-01/all-000000000001-000000000512.parquet

The journal needs a disk of this machine: SQLite's locks do not hold on network file systems.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

from headwater import clock, permissions, settings
from headwater.definitions.durations import Duration, micros
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.project import Project
from headwater.definitions.readable import cut
from headwater.disk import sync
from headwater.engine.checkpoint import lock
from headwater.errors import DataError, StoreError, UsageError, nearest
from headwater.ingestion.archive_files import drop_drafts, durable, file_name, span
from headwater.journal.outcome_rows import SEQUENCE, CheckedOutcome, Rules, rules

OUTCOMES: Final = "outcomes"
JOURNAL = "journal.sqlite"
_WAIT = 30.0  # seconds for another process's commit
_MOST = 100_000  # rows in a file

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outcomes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    identity TEXT NOT NULL,     -- which request it is of: id, keys and time, as JSON
    outcome TEXT NOT NULL,      -- as JSON
    known_at INTEGER NOT NULL,  -- microseconds
    at INTEGER NOT NULL         -- when it was posted
);
CREATE INDEX IF NOT EXISTS by_identity ON outcomes (identity, known_at, sequence);
"""


@dataclass(frozen=True)
class Added:
    """What became of posted rows: how many were new, how many known already, and which were refused, by position, and why.

    corrections: how many of the accepted say something else than was known of the same request.
    """

    accepted: int
    copies: int
    corrections: int = 0
    refused: Sequence[tuple[int, str]] = field(default=())


@dataclass
class _OutcomeBatch:
    """The rows of one call, when it came, and what became of them."""

    rows: Sequence[CheckedOutcome]
    now: int
    accepted: int = 0
    corrections: int = 0
    error: StoreError | None = None
    settled: bool = False


class Outcomes:
    """The outcomes of one `Labels`. Any thread and any process may add.

    A row says which request it is of and what came of it: `request_id`, or the labels' keys (and `timestamp`, when the request asked),
    or both, where a request has several rows, as a ranking has; `outcome`; and `known_at` where that is not now. The same again is a
    copy. Another outcome for the same request is a correction, known at its own time: both are kept.

    Args:
        folder: they stand in its subfolder `outcomes`.
        labels: whose outcomes.
        keys: the columns of a request that name it where no id does.
        remember: how long a copy is told from a new row after it was rolled into a file.

    Raises:
        UsageError: labels whose outcome is made of events.
        StoreError: the folder cannot be written.

    >>> import headwater as hw, tempfile
    >>> from headwater.testing.examples import churn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posted = Outcomes(folder, churn().labels, keys=["user"])
    ...     print(posted.add([{"request_id": "r1", "outcome": True}, {"request_id": "r2"}]))
    ...     print(posted.add([{"request_id": "r1", "outcome": True}]).copies)
    ...     posted.close()
    Added(accepted=1, copies=0, corrections=0, refused=((1, "it has no 'outcome'"),))
    1
    """

    def __init__(self, folder: str | Path, labels: Labels, *, keys: Sequence[str] = (), remember: Duration = "30d") -> None:
        if isinstance(labels.label, Outcome):
            raise UsageError(
                f"labels {labels.name!r}: the outcome is made of the events of source {labels.label.source.name!r}; post those to "
                f"/v1/events/{labels.label.source.name}"
            )
        self.labels, self.place = labels, Path(folder) / OUTCOMES / labels.name
        self._rules: Rules = rules(labels, keys)
        self._remember = micros(remember, "outcomes: remember")
        self._lock = threading.Lock()
        self._waiting: deque[_OutcomeBatch] = deque()
        try:
            permissions.own_folder(self.place.parent)
            permissions.make_folder(self.place)
        except OSError as error:
            raise StoreError(f"{self.place} cannot be made: {error.strerror}; name another folder") from error
        with self._failing():
            self._journal = _open(self.place / JOURNAL)
        weakref.finalize(self, self._journal.close)  # where `close` is not called

    def __repr__(self) -> str:
        return f"Outcomes({cut(str(self.place), 80)!r})"

    @staticmethod
    def of(folder: str | Path, project: Project, labels: str) -> Outcomes:
        """The outcomes of the labels of that name, whose keys are the request columns that the models over them need.

        Raises:
            UsageError: no model has labels of that name.
        """
        models = [model for model in project.models if model.labels.name == labels]
        if not models:
            raise UsageError(
                f"project {project.name!r} has no labels {labels!r}; {nearest(labels, [model.labels.name for model in project.models])}"
            )
        views = [view for model in models for view in model.features.views]
        columns = [view.request_key(key) for view in views if view.list_key is None for key in view.keys]
        return Outcomes(folder, models[0].labels, keys=list(dict.fromkeys(c for c in columns if isinstance(c, str))))

    def add(self, rows: Sequence[Mapping[str, object]]) -> Added:
        """Take in rows; when this returns, those that were accepted are on disk. A bad row costs the others nothing.

        It waits for the disk, so a server calls it in a thread; what several threads add meanwhile shares one commit.

        Raises:
            StoreError: the journal cannot be written; nothing of the rows was taken.
        """
        now = clock.now_micros()
        checked = [self._rules.check(row, now) for row in rows]
        refused = tuple((index, outcome_or_error) for index, outcome_or_error in enumerate(checked) if isinstance(outcome_or_error, str))
        mine = _OutcomeBatch([outcome_or_error for outcome_or_error in checked if isinstance(outcome_or_error, CheckedOutcome)], now)
        if mine.rows:
            self._waiting.append(mine)
            with self._lock:
                if not mine.settled:  # else the previous holder of the lock has committed it
                    self._commit()
        if mine.error is not None:
            raise mine.error
        return Added(mine.accepted, len(mine.rows) - mine.accepted, mine.corrections, refused)

    def roll(self, *, least: int = 1) -> Path | None:
        """Move the rows of the journal into a file, where so many wait; the file. One process does, the others go on.

        Raises:
            StoreError: the file cannot be written; nothing is lost.
        """
        with self._failing(), _alone(self.place / "lock") as mine, closing(_open(self.place / JOURNAL)) as journal:
            rows = journal.execute(f"{_SELECT} LIMIT {_MOST}", (_last(rolled(self.place)),)).fetchall() if mine else []
            if len(rows) < max(least, 1):
                return None
            drop_drafts(self.place)
            first, last = rows[0][0], rows[-1][0]
            path = self.place / f"headwater_date={clock.timestamp(rows[-1][-1]):%Y-%m-%d}" / file_name(None, first, last)
            try:
                permissions.make_folder(path.parent)
                durable(self._rules.frame(rows), path)
            except (OSError, PolarsError) as error:
                raise StoreError(f"{path} cannot be written: {error}. Nothing is lost: the rows stay in the journal; make room") from error
            with _transaction(journal):
                old = clock.now_micros() - self._remember
                journal.execute("DELETE FROM outcomes WHERE sequence <= ? AND at < ?", (last, old))
            return path

    def close(self) -> None:
        """Close the journal; what was added is on disk already."""
        with self._lock:
            self._journal.close()

    def _commit(self) -> None:
        """Commit all that waits, or fail all of it: on any error, no other caller takes its batch for committed."""
        batches = [self._waiting.popleft() for _ in range(len(self._waiting))]
        failed: StoreError | None = None
        try:
            with self._failing(), _transaction(self._journal):
                for batch in batches:
                    additions = [self._add(row, batch.now) for row in batch.rows]
                    batch.accepted, batch.corrections = sum(new for new, _ in additions), sum(new and differs for new, differs in additions)
        except StoreError as error:
            failed = error
        except BaseException as error:
            failed = StoreError(f"the commit that these outcomes were part of failed with {type(error).__name__}; send the same again")
            raise
        finally:
            for batch in batches:
                batch.error, batch.settled = failed, True

    def _add(self, row: CheckedOutcome, now: int) -> tuple[bool, bool]:
        """Whether the row is new, and whether it differs from what was known."""
        return _insert(self._journal, (row.identity, row.outcome, row.known_at, now))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors of SQLite and of the disk in headwater's words."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the journal of outcomes {self.place / JOURNAL} cannot be used: {error}; nothing of this call was taken. Make room, or give the "
                "right to write there, and send the same again"
            ) from error


def merge(folder: Path, labels: str, rows: Sequence[tuple[str, str, int, int]]) -> int:
    """Add rows of another machine's journal, in its order, by the rule of posted rows: a copy is left out; how many were new.

    Args:
        folder: they go into its subfolder `outcomes`.
        labels: the name of their labels.
        rows: identity, outcome, known_at and posted at, as a journal has them.

    Raises:
        sqlite3.Error: the journal cannot be written.
    """
    permissions.own_folder(folder / OUTCOMES)
    place = permissions.make_folder(folder / OUTCOMES / labels)
    with closing(_open(place / JOURNAL)) as journal, _transaction(journal):
        return sum(_insert(journal, row)[0] for row in rows)


def _insert(journal: sqlite3.Connection, row: tuple[str, str, int | None, int]) -> tuple[bool, bool]:
    """Add identity, outcome, known_at (None: when it is posted) and posted at; whether the row is new, and differs from what was known."""
    identity, outcome, known_at, now = row
    known = journal.execute("SELECT outcome, known_at FROM outcomes WHERE identity = ? ORDER BY known_at, sequence", (identity,)).fetchall()
    if known:
        latest, at = known[-1]
        again = any(earlier == outcome for earlier, _ in known)
        if latest == outcome or (again and (known_at is None or known_at <= at)):
            return False, False
    values = (identity, outcome, now if known_at is None else known_at, now)
    journal.execute("INSERT INTO outcomes (identity, outcome, known_at, at) VALUES (?, ?, ?, ?)", values)
    return True, bool(known)


_SELECT = "SELECT sequence, identity, outcome, known_at, at FROM outcomes WHERE sequence > ? ORDER BY sequence"


def outcomes(folder: str | Path | None, labels: Labels, *, files: Sequence[Path] | None = None) -> pl.DataFrame:
    """All outcomes that were posted, in the order in which they were, corrections included.

    Columns: `headwater_request` (the id, null where keys name the request), `headwater_timestamp` (when it asked, where that was said),
    a column for each key that was said, `headwater_outcome`, `headwater_known_at`, `headwater_posted_at`, `headwater_sequence`.

    Args:
        folder: where they were written; None is headwater's home.
        labels: whose.
        files: read these alone, and not what waits in the journal.

    Raises:
        DataError: none was posted.
    """
    journal_folder = (settings.home() if folder is None else Path(folder)) / OUTCOMES / labels.name
    waiting: list[tuple[int, str, str, int, int]] = []
    if files is None:
        if (journal_folder / JOURNAL).is_file():
            with closing(open_readonly(journal_folder / JOURNAL)) as journal:
                waiting = journal.execute(_SELECT, (-1,)).fetchall()
        files = rolled(journal_folder)  # after the journal, so that rolling meanwhile loses none
        waiting = [row for row in waiting if row[0] > _last(files)]
    parts = [pl.read_parquet(path, hive_partitioning=False) for path in files]
    parts += [rules(labels, ()).frame(waiting)] if waiting else []
    if not parts:
        raise DataError(f"no outcome of labels {labels.name!r} was posted to {journal_folder}; post them to /v1/outcomes/{labels.name}")
    return pl.concat(parts, how="diagonal_relaxed").sort(SEQUENCE)


def rolled(journal_folder: Path) -> list[Path]:
    """The files of some outcomes, in the order of their rows."""
    return sorted(journal_folder.glob("headwater_date=*/*.parquet"), key=lambda path: span(path)[0])


def _last(files: Sequence[Path]) -> int:
    return max((span(path)[1] for path in files), default=-1)


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        _create(path)
    permissions.create(path)  # the other files of SQLite get its mode
    journal = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        journal.execute("PRAGMA journal_mode=WAL")
        journal.execute("PRAGMA synchronous=FULL")  # each commit is synced to the disk
    except BaseException:
        journal.close()
        raise
    return journal


def _create(path: Path) -> None:
    """An empty journal, which appears when it has its table: whoever finds it can read it."""
    with permissions.open_private(path.with_suffix(".lock"), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():  # another process came first
            return
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)  # of a process that was killed
        with closing(sqlite3.connect(permissions.create(draft), isolation_level=None)) as journal:
            journal.execute("PRAGMA journal_mode=OFF")
            journal.executescript(_SCHEMA)
        draft.rename(path)
        sync(path.parent)


def open_readonly(path: Path) -> sqlite3.Connection:
    """The journal, only to be read: SQLite creates no other file.

    Where there is no write-ahead log, all commits are in the file, and a writer that comes now begins such a log first. Where
    there is one, it is read too.
    """
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", timeout=_WAIT, uri=True)


@contextmanager
def _transaction(journal: sqlite3.Connection) -> Iterator[None]:
    journal.execute("BEGIN IMMEDIATE")
    try:
        yield
        journal.execute("COMMIT")
    except BaseException:
        if journal.in_transaction:
            journal.execute("ROLLBACK")
        raise


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether no other process holds the lock; it is given back, at the latest when this process ends."""
    with permissions.open_private(path, "ab") as file:
        yield lock(file)
