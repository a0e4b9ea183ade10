"""Outcomes that an application posts as it learns them: records of the journal, on disk before they
are answered for.

The header of a file is the name of the labels, as JSON. Each other record is a post: msgpack of
when it was posted, in microseconds, and of its rows: which request it is of and what came of it,
both as JSON, and when that was known, if the row says so.

    FOLDER/outcomes/LABELS/WORKER-000001.open       while it is written
    FOLDER/outcomes/LABELS/WORKER-000001.segment    when it is complete

Outcomes are ordered by when they were known, when they were posted, and their content: files of
several processes and machines that come together are in the same order everywhere. What was posted
again is told when it is read.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from headwater import clock, disk, settings
from headwater.definitions.definition import cut
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.project import Project
from headwater.errors import DataError, StoreError, UsageError, nearest
from headwater.journal import format as records
from headwater.journal.format import record, scan
from headwater.journal.journal_files import (
    CLOSED,
    close_abandoned,
    close_all,
    content,
    journal_files,
)
from headwater.journal.outcome_rows import CheckedOutcome, Rules, frame_of, rules
from headwater.journal.writer import JournalWriter, RecordGroup

if TYPE_CHECKING:
    import polars as pl

OUTCOMES: Final = "outcomes"
_encode: Final = msgspec.msgpack.Encoder().encode
_Post = tuple[int, list[tuple[str, str, int | None]]]


class PostedOutcome(NamedTuple):
    """A row as it was posted; times in microseconds. known_at: None where the row does not say:
    when it was posted.
    """

    identity: str
    outcome: str
    known_at: int | None
    at: int


@dataclass(frozen=True)
class Added:
    """What became of posted rows: how many were accepted, and which were refused, by position, and
    why.
    """

    accepted: int
    refused: Sequence[tuple[int, str]] = field(default=())


class Outcomes:
    """The outcomes of one `Labels`. Any thread and any process may add.

    A row says which request it is of and what came of it: `request_id`, or the labels' keys (and
    `timestamp`, when the request asked), or both, where a request has several rows, as a ranking
    has; `outcome`; and `known_at` where that is not now. The same again counts once. Another
    outcome for the same request is a correction, known at its own time: both are kept.

    Args:
        folder: they stand in its subfolder `outcomes`.
        labels: whose outcomes.
        keys: the columns of a request that name it where no id does.

    Raises:
        UsageError: labels whose outcome is made of events.
        StoreError: the folder cannot be written.

    >>> import headwater as hw, tempfile
    >>> from headwater.testing.examples import churn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posted = Outcomes(folder, churn().labels, keys=["user"])
    ...     print(posted.add([{"request_id": "r1", "outcome": True}, {"request_id": "r2"}]))
    ...     posted.close()
    Added(accepted=1, refused=((1, "it has no 'outcome'"),))
    """

    def __init__(self, folder: str | Path, labels: Labels, *, keys: Sequence[str] = ()) -> None:
        if isinstance(labels.label, Outcome):
            raise UsageError(
                f"labels {labels.name!r}: the outcome is made of the events of source "
                f"{labels.label.source.name!r}; post those to "
                f"/v1/events/{labels.label.source.name}"
            )
        self.labels, self.folder = labels, Path(folder)
        self._outcomes_folder = self.folder / OUTCOMES / labels.name
        self._rules: Rules = rules(labels, keys)
        try:
            disk.own_folder(self._outcomes_folder.parent)
            disk.make_folder(self._outcomes_folder)
        except OSError as error:
            raise StoreError(
                f"{self._outcomes_folder} cannot be made: {error.strerror}; name another folder"
            ) from error
        close_abandoned(_files(self.folder, labels.name))
        self._writer = JournalWriter(records.OUTCOMES.most, records.OUTCOMES.every)
        self._group: RecordGroup = self._writer.group(
            self._outcomes_folder, records.OUTCOMES.begin(msgspec.json.encode(labels.name))
        )
        weakref.finalize(self, self._writer.close)  # where `close` is not called

    def __repr__(self) -> str:
        return f"Outcomes({cut(str(self._outcomes_folder), 80)!r})"

    @staticmethod
    def of(folder: str | Path, project: Project, labels: str) -> Outcomes:
        """The outcomes of the labels of that name, whose keys are the request columns that the
        models over them need.

        Raises:
            UsageError: no model has labels of that name.
        """
        models = [model for model in project.models if model.labels.name == labels]
        if not models:
            raise UsageError(
                f"project {project.name!r} has no labels {labels!r}; "
                f"{nearest(labels, [model.labels.name for model in project.models])}"
            )
        views = [view for model in models for view in model.features.views]
        columns = [
            view.request_key(key) for view in views if view.list_key is None for key in view.keys
        ]
        return Outcomes(
            folder,
            models[0].labels,
            keys=list(dict.fromkeys(c for c in columns if isinstance(c, str))),
        )

    def add(self, rows: Sequence[Mapping[str, object]]) -> Added:
        """Add rows; accepted rows are on disk when this returns. A bad row does not affect the
        others.

        It waits for the disk, so a server calls it in a thread; what several threads add meanwhile
        shares one sync.

        Raises:
            StoreError: the journal cannot be written; nothing of the rows was taken.
        """
        now = clock.now_micros()
        checked = [self._rules.check(row, now) for row in rows]
        refused = tuple(
            (index, outcome_or_error)
            for index, outcome_or_error in enumerate(checked)
            if isinstance(outcome_or_error, str)
        )
        accepted = [
            (row.identity, row.outcome, row.known_at)
            for row in checked
            if isinstance(row, CheckedOutcome)
        ]
        if accepted:
            try:
                self._writer.append(self._group, record(_encode((now, accepted))))
            except OSError as error:
                raise StoreError(
                    f"the journal of outcomes {self._outcomes_folder} cannot be written: "
                    f"{error.strerror or error}; nothing of this call was taken. Make room, or "
                    "give the right to write there, and send the same again"
                ) from error
        return Added(len(accepted), refused)

    def roll(self) -> list[Path]:
        """Close the files that are written, here and by other processes: what was added is in files
        that never change. All of these.
        """
        self._writer.rotate()
        return closed_outcomes(self.folder, self.labels.name)

    def close(self) -> None:
        """Close the file; what was added is on disk already."""
        self._writer.close()


def closed_outcomes(folder: Path, labels: str, wait: float = 5.0) -> list[Path]:
    """Close the files of some labels' outcomes; all that are closed. wait: seconds for the
    processes that write them.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        still_open = close_all(_files(folder, labels), wait)
    except OSError as error:
        raise StoreError(
            f"the files in {folder / OUTCOMES / labels} cannot be closed: {error.strerror or error}"
        ) from error
    return [
        path for path in _files(folder, labels) if path.suffix == CLOSED and path not in still_open
    ]


class ReadOutcomes(NamedTuple):
    """The rows of a file, and how many of its bytes belong to none."""

    rows: list[PostedOutcome]
    damaged: int


def posted_in(data: bytes, name: str) -> ReadOutcomes:
    """The rows in a file of that name; damaged bytes are skipped.

    Raises:
        StoreError: the file has other records, or is of another version.
    """
    _, spans, damaged = scan(data, records.OUTCOMES, name)
    posts = (msgspec.msgpack.decode(data[begin:end], type=_Post) for begin, end in spans)
    return ReadOutcomes(
        [
            PostedOutcome(identity, outcome, known_at, at)
            for at, rows in posts
            for identity, outcome, known_at in rows
        ],
        damaged,
    )


def file_of(labels: str, rows: Iterable[PostedOutcome]) -> bytes:
    """A file with these rows, a record of each."""
    posts = (
        record(_encode((at, [(identity, outcome, known_at)])))
        for identity, outcome, known_at, at in rows
    )
    return records.OUTCOMES.begin(msgspec.json.encode(labels)) + b"".join(posts)


def outcomes(
    folder: str | Path | None, labels: Labels, *, files: Sequence[Path] | None = None
) -> pl.DataFrame:
    """All outcomes that were posted, by when they were known, when they were posted, and their
    content; corrections included.

    Columns: `headwater_request` (the id, null where keys name the request), `headwater_timestamp`
    (when it asked, where that was said), a column for each key that was said, `headwater_outcome`,
    `headwater_known_at`, `headwater_posted_at`, and `headwater_sequence`, the place in this order.

    Args:
        folder: where they were written; None is headwater's home.
        labels: whose.
        files: read these alone.

    Raises:
        DataError: none was posted.
        StoreError: a file of another version of the format.
    """
    home = settings.home() if folder is None else Path(folder)
    paths = _files(home, labels.name) if files is None else files
    rows = list(
        _each_once(row for path in paths for row in posted_in(content(path), str(path)).rows)
    )
    if not rows:
        raise DataError(
            f"no outcome of labels {labels.name!r} was posted to {home / OUTCOMES / labels.name}; "
            f"post them to /v1/outcomes/{labels.name}"
        )
    return frame_of(rows)


def _files(folder: Path, labels: str) -> list[Path]:
    return journal_files(folder, records.OUTCOMES, f"{OUTCOMES}/{labels}")


def _each_once(rows: Iterable[PostedOutcome]) -> Iterator[tuple[str, str, int, int]]:
    """Identity, outcome, known at and posted at, in order, without what was posted again.

    A row repeats what was known of its request if nothing else was known in between, or if it was
    said to be known at the same time. One that does not say when it was known repeats whatever was
    known before: it takes no correction back.
    """
    reported: dict[str, list[tuple[str, int]]] = {}
    for time, at, identity, outcome, dated in sorted(
        (
            row.at if row.known_at is None else row.known_at,
            row.at,
            row.identity,
            row.outcome,
            row.known_at is not None,
        )
        for row in rows
    ):
        earlier = reported.setdefault(identity, [])
        if earlier and (
            earlier[-1][0] == outcome
            or any(same == outcome and (not dated or when == time) for same, when in earlier)
        ):
            continue
        earlier.append((outcome, time))
        yield identity, outcome, time, at
