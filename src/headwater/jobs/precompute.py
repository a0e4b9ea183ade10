"""Precomputed predictions: all keys known at a cut are scored, and published atomically.

A run scores the keys in parts, each a file of the work folder, so that a killed run is resumed:
only missing parts are scored. When all are there, they are written into the online store next to
the current scores, and published by one commit; and, if asked, into a PostgreSQL table by one
transaction, and into a folder of parquet files by one rename. What a key is scored with is decided
by `training.precomputed_rows`, as in a backtest; but erased rows that the history still has count
nothing, and a key without others has no score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import polars as pl

from headwater import clock, disk
from headwater.definitions.checks import DAY, Duration
from headwater.definitions.definition import Readable
from headwater.definitions.level import ModelVariant
from headwater.definitions.model import Precomputed, precomputed_views
from headwater.definitions.project import fingerprint, precomputed_of
from headwater.engine.checkpoint import renamed, workplace
from headwater.errors import DataError, UsageError
from headwater.events.read_events import Notes
from headwater.ingestion.tombstones import ErasedRows
from headwater.jobs.entity_keys import SEEN, known_keys
from headwater.jobs.erased_events import erased_events, without_erased
from headwater.kernel.as_of import computable
from headwater.models.fit import Fitted
from headwater.state import prediction_codec
from headwater.state.prediction_codec import PrecomputedCut, PrecomputedState
from headwater.state.record import key_bytes
from headwater.state.view_state import schema_bytes
from headwater.stores import OnlineStore, keyspace
from headwater.training.precomputed_rows import known_rows, precomputed_lists, precomputed_rows
from headwater.training.requests import Requests
from headwater.training.resources import DEFAULT_RESOURCES, Resources

ITEMS, SCORES = "items", "scores"
"""The columns of a ranking's lists."""

_ROWS = 500_000  # keys in a part at most
_KEYS = 50_000  # whose records are written in one commit; of lists a fiftieth
_LISTED = 200  # candidates that a list of a ranking is reckoned with, where memory is bounded
_ROW = 64  # bytes that a feature of a row takes at most while it is computed
_RECENT = 30 * DAY


class Sink(Protocol):
    """A further destination of scores. Its contents are replaced atomically; a cut is visible as
    soon as it is written.
    """

    def check(self, columns: Sequence[str]) -> None:
        """Raise an error where these columns and `CUT_COLUMNS` do not fit, before anything is
        scored.
        """
        ...

    def holds(self, cut: PrecomputedCut) -> bool:
        """Whether that cut, of that version, is there."""
        ...

    def write(self, frames: Iterator[pl.DataFrame], cut: PrecomputedCut) -> None:
        """Put the scores of a cut there: of each frame the keys, then the scores or lists."""
        ...


@dataclass(frozen=True)
class KeySelection:
    """The keys to score: all that are known; those with an event in the last `active`; or only
    those `listed`.
    """

    active: int | None = None
    listed: pl.DataFrame | None = None


@dataclass(frozen=True)
class ActiveKeys(Readable):
    """The keys with an event in so long before the cut, such as "30d": what
    `materialize_model(keys=)` takes besides a table.

    >>> ActiveKeys("30d")
    ActiveKeys('30d')
    """

    within: Duration


@dataclass(frozen=True)
class PrecomputeResult(Readable):
    """What a run did.

    model, level: their names. cut: the one that can be read now, with how many keys were scored.
    before: the last one before it. unknown: listed keys that no event was known of by the cut.
    inactive: scored keys without an event in the last `window` microseconds before the cut.
    skipped: known keys that were left out as such. parts: how many were made by this run, and of
    how many. left_out: rows by reason, and erased keys, which have no score.
    """

    model: str
    level: str
    cut: PrecomputedCut
    before: PrecomputedCut | None
    unknown: int = 0
    inactive: int = 0
    skipped: int = 0
    window: int = _RECENT
    parts: tuple[int, int] = (0, 0)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def done_before(self) -> bool:
        """Whether the store had the cut already."""
        return self.before == self.cut


@dataclass(frozen=True)
class PrecomputeJob:
    """Scores of one variant by one fitted model, into one store.

    sinks: where else the scores of each cut go. resources: for computing features, and parts of
    scores.
    """

    variant: ModelVariant
    fitted: Fitted
    version: str
    store: OnlineStore
    selection: KeySelection = KeySelection()
    sinks: tuple[Sink, ...] = ()
    resources: Resources = DEFAULT_RESOURCES

    def run(self, t: int, *, wait: float = 60.0) -> PrecomputeResult:
        """Bring the scores to the cut that is to be read at `t`, microseconds, and to the one after
        it where that can be computed.

        A cut that was made is not made again, unless by another version of the model.

        Raises:
            UsageError: predictions on request.
            DataError: a history that cannot be read, or a model that reads what a job does not
                know.
            StoreError: the store cannot be written, or another run is under way.
        """
        freshness = self.precomputed.freshness.schedule
        assert freshness is not None
        self._check_model()
        for sink in self.sinks:
            sink.check([*self.precomputed.keys, *(self.names or (ITEMS, SCORES))])
        with self.store.lease(f"score-{self.fingerprint}", wait=wait):
            self.store.mend(prediction_codec.state_key(self.fingerprint))
            held = prediction_codec.read_precomputed(self.store, self.fingerprint)
            before = held.cuts[-1] if held is not None and held.cuts else None
            done = (
                None
                if before is None
                else PrecomputeResult(self.variant.model.name, self.variant.name, before, before)
            )
            for number, (T, K) in enumerate(computable(freshness, t)):
                last = None if done is None else done.cut
                again = (
                    number == 0
                    and last is not None
                    and last.T == T
                    and last.version != self.version
                )
                if last is None or last.T < T or again:
                    done = _ScoringRun(self, T, K).publish(before, None)
                elif last.T == T and not all(sink.holds(last) for sink in self.sinks):
                    done = _ScoringRun(self, T, K).publish(before, last)
            assert done is not None
            return done

    @cached_property
    def precomputed(self) -> Precomputed:
        """How predictions are precomputed."""
        return precomputed_of(self.variant)

    @cached_property
    def fingerprint(self) -> str:
        """See `fingerprint`."""
        return fingerprint(self.variant, self.store.namespace)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the scores: one, one for each class, or none where they are lists."""
        if self.fitted.task.lists and self.variant.model.task_type.lists:
            return ()
        return (
            tuple(f"score_{name}" for name in self.fitted.classes)
            if self.fitted.task.classes
            else ("score",)
        )

    def _check_model(self) -> None:
        served_names = self.variant.level.feature_names(self.variant.model)
        more = [name for name in self.fitted.encoding.columns if name not in served_names]
        if more:
            raise DataError(
                f"model {self.variant.model.name!r} was trained on {', '.join(more[:5])}, which a "
                f"job that precomputes for {list(self.precomputed.keys)} does not know; train it "
                f"at this level: headwater train --level {self.variant.name!r}"
            )
        clash = {*self.names, ITEMS, SCORES, SEEN, *prediction_codec.CUT_COLUMNS} & {
            *self.precomputed.keys
        }
        if clash:
            raise UsageError(
                f"precomputed(keys={list(self.precomputed.keys)}): {min(clash)!r} is also the "
                "name of a column that is written with the keys; rename it"
            )


class _ScoringRun:
    """One cut."""

    def __init__(self, job: PrecomputeJob, T: int, K: int) -> None:
        schedule = job.precomputed.freshness.schedule
        assert schedule is not None
        self.job, self.T, self.K = job, T, K
        self.t = T + schedule.delay
        self.notes = Notes()
        self.model, self.level = job.variant.model, job.variant.level
        self.window = _RECENT if job.selection.active is None else job.selection.active
        self.views = precomputed_views(self.model, job.precomputed)
        self.erased = erased_events(job.store, [view.source for view in self.views])

    def publish(
        self, before: PrecomputedCut | None, held: PrecomputedCut | None
    ) -> PrecomputeResult:
        """Score the missing keys, and publish all; to the sinks alone where the store has the cut
        already.
        """
        every = known_keys(
            self.model, self.level, self.t, self.job.selection.listed, self.job.resources.engine
        )
        keys, active = every, (every[SEEN] >= self.T - self.window).fill_null(value=False)
        if self.job.selection.active is not None:
            keys = every.filter(active)
        size = self._size()
        digest = hashlib.sha256(keys.hash_rows(seed=0).to_numpy().tobytes()).hexdigest()[:16]
        version = hashlib.sha256(self.job.version.encode()).hexdigest()[:8]
        without = "".join(erased.digest for erased in self.erased.values())
        state = f"{self.T}-{self.K}-{size}-{digest}-{version}{without}"
        with workplace(f"score-{self.job.fingerprint}", state) as folder:
            files, newly_made = self._parts(keys, size, folder)
            scored = pl.scan_parquet(files) if files else pl.LazyFrame(schema={SEEN: pl.Int64})
            count, idle = (
                scored.select(pl.len(), (pl.col(SEEN) < self.T - self.window).sum().alias("idle"))
                .collect()
                .row(0)
            )
            erased_keys = self._erased_keys(keys, scored)
            cut = self._store(files, keys.drop(SEEN), count) if held is None else held
            for sink in self.job.sinks:
                if not sink.holds(cut):
                    sink.write((frame.drop(SEEN) for frame in _frames(files, _KEYS)), cut)
        return PrecomputeResult(
            model=self.model.name,
            level=self.job.variant.name,
            cut=cut,
            before=before,
            unknown=keys.height - count - erased_keys,
            inactive=idle,
            skipped=every.height - keys.height,
            window=self.window,
            parts=(newly_made, len(files)),
            left_out={
                **self.notes.left_out,
                **({"erased keys": erased_keys} if erased_keys else {}),
            },
        )

    def _erased_keys(self, keys: pl.DataFrame, scored: pl.LazyFrame) -> int:
        """How many keys have no score since they were erased."""
        mask = np.zeros(keys.height, np.bool_)
        for view in self.views:
            of_view = keys.select(
                pl.col(column).alias(key)
                for key, column in ((key, view.request_key(key)) for key in view.keys)
                if isinstance(column, str) and column in keys.columns
            )
            erased = self.erased.get(view.source.name, ErasedRows()).within(of_view.columns)
            if erased.tombstones:
                mask |= erased.of_keys(of_view)
        if not mask.any():
            return 0
        lacking = (
            keys.lazy()
            .filter(pl.Series(mask))
            .join(scored, on=list(self.job.precomputed.keys), how="anti")
        )
        return lacking.collect().height

    def _size(self) -> int:
        """Keys in a part."""
        memory = self.job.resources.bytes
        if memory is None:
            return _ROWS
        row = (
            _ROW * (len(self.model.features.feature_names) + 8) * (1 if self.job.names else _LISTED)
        )
        return min(_ROWS, max(1000, memory // 4 // row))

    def _parts(self, keys: pl.DataFrame, size: int, folder: Path) -> tuple[list[Path], int]:
        """The files of all parts, and how many were made now."""
        files = [folder / f"part{first:012}.parquet" for first in range(0, keys.height, size)]
        count = 0
        for number, path in enumerate(files):
            self._say("scoring", number, len(files))
            if path.exists():
                continue
            scores = self._scores(keys[number * size : (number + 1) * size])
            with renamed(path) as draft:
                scores.write_parquet(disk.create(draft))
            count += 1
        self._say("scoring", len(files), len(files))
        return files, count

    def _scores(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The keys that have a score, SEEN, and their scores or lists."""
        requests = Requests(keys.drop(SEEN), np.full(keys.height, self.t))
        resources = without_erased(replace(self.job.resources, progress=False), self.erased)
        if not self.job.names:
            return self._lists(
                keys.filter(
                    pl.Series(known_rows(self.model, requests, self.level, self.notes, resources))
                ),
                resources,
            )
        rows = precomputed_rows(self.model, requests, self.level, self.notes, resources)
        known = pl.Series(rows.known)
        scores = self.job.fitted.score(self._input(rows.frame.filter(known))).reshape(
            int(known.sum()), len(self.job.names)
        )
        return keys.filter(known).with_columns(
            pl.Series(name, scores[:, i]) for i, name in enumerate(self.job.names)
        )

    def _lists(self, keys: pl.DataFrame, resources: Resources) -> pl.DataFrame:
        requests = Requests(keys.drop(SEEN), np.full(keys.height, self.t))
        rows = precomputed_lists(self.model, requests, self.level, self.notes, resources)
        score = self.job.fitted.score(self._input(rows.frame))
        order = np.lexsort((np.arange(len(score)), -score, rows.row))
        every = pl.DataFrame(
            {"row": rows.row[order], ITEMS: rows.item[order], SCORES: score[order]}
        )
        lists = every.group_by("row", maintain_order=True).agg(ITEMS, SCORES)
        numbered = keys.with_columns(
            pl.int_range(keys.height, dtype=pl.Int64, eager=True).alias("row")
        )
        return numbered.join(lists, on="row", how="inner", maintain_order="left").drop("row")

    def _input(self, frame: pl.DataFrame) -> pl.DataFrame:
        """With what only a request would tell null."""
        lacking = [name for name in self.job.fitted.encoding.columns if name not in frame.columns]
        return frame.with_columns(pl.lit(None).alias(name) for name in lacking)

    def _store(self, files: Sequence[Path], keys: pl.DataFrame, count: int) -> PrecomputedCut:
        """Write the records into the slot that is not being read, and mark them complete."""
        store, fp = self.job.store, self.job.fingerprint
        held = prediction_codec.read_precomputed(store, fp)
        fresh = PrecomputedState(
            self.model.name, self.job.variant.name, schema_bytes(dict(keys.schema))
        )
        now = (
            fresh
            if held is None
            else msgspec.structs.replace(fresh, cuts=held.cuts, making=held.making)
        )
        number = _next(now)
        begun = msgspec.structs.replace(now, making=number)
        self._say_state(begun, held)
        expected = {
            prediction_codec.state_key(fp): prediction_codec.encoded(begun)
        }  # expected, so that a log first store has a log of the records
        begin, end = keyspace.records(fp), prediction_codec.slot(number)
        written = 0
        for frame in _frames(files, _KEYS if self.job.names else max(1, _KEYS // 50)):
            record_keys = [
                begin + key + end
                for key in keyspace.shortened(key_bytes(frame.select(keys.columns)))
            ]
            store.commit(
                dict(zip(record_keys, self._records(frame, number), strict=True)), expected
            )
            written += frame.height
            self._say("writing", written, count)
        cut = PrecomputedCut(
            number,
            self.T,
            self.K,
            clock.now_micros(),
            self.job.version,
            count,
            list(self.job.names),
        )
        done = msgspec.structs.replace(begun, cuts=[*now.cuts, cut][-2:], making=None)
        self._say_state(done, begun)
        _sweep(store, fp, done)
        return cut

    def _records(self, frame: pl.DataFrame, number: int) -> list[bytes]:
        if self.job.names:
            return prediction_codec.packed(frame.select(self.job.names).to_numpy(), number)
        return prediction_codec.packed_lists(
            list(zip(frame[ITEMS].to_list(), frame[SCORES].to_list(), strict=True)), number
        )

    def _say_state(self, new: PrecomputedState, old: PrecomputedState | None) -> None:
        key = prediction_codec.state_key(self.job.fingerprint)
        self.job.store.commit(
            {key: prediction_codec.encoded(new)},
            {key: None if old is None else prediction_codec.encoded(old)},
        )

    def _say(self, step: str, done: int, total: int) -> None:
        self.job.resources.say(f"{step} {self.model.name}", done, total)


def _next(held: PrecomputedState) -> int:
    """The number of a run: greater than any before, also after a store lost data, and of the slot
    that is not being read.
    """
    last = held.cuts[-1].number if held.cuts else 0
    number = max(clock.now_micros(), last + 1, (held.making or 0) + 1)
    return number + (number - last + 1) % 2 if held.cuts else number


def _frames(files: Sequence[Path], rows: int) -> Iterator[pl.DataFrame]:
    for path in files:
        yield from pl.read_parquet(path).iter_slices(rows)


def _sweep(store: OnlineStore, fp: str, state: PrecomputedState) -> None:
    """Drop the records of keys that no cut which can be read has."""
    live, expected = (
        {cut.number for cut in state.cuts},
        {prediction_codec.state_key(fp): prediction_codec.encoded(state)},
    )
    unused = [
        key
        for key, record in store.scan(keyspace.records(fp))
        if prediction_codec.number_of(record) not in live
    ]
    for first in range(0, len(unused), _KEYS):
        store.commit(dict.fromkeys(unused[first : first + _KEYS]), expected)
