"""The engine on Spark: events and requests are dealt into buckets by key, and workers answer each with the local engine.

    events --mapInArrow(ReadEvents)--> [by id --mapInArrow(CountEvents)-->] union requests --by bucket--mapInArrow(AnswerRequests)--> values

Spark moves and repeats; which events count, how a partition that is larger than memory is split, and how a hot key is cut in time is the
local engine's. So values have the same bits.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl
from polars.io.plugins import register_io_source

from headwater import permissions, settings
from headwater.connectors import scan as scan_table
from headwater.connectors.files import found
from headwater.connectors.parquet import ENDING
from headwater.connectors.spark import SparkTable, narrowed, open_session, spark_errors
from headwater.definitions.connectors import Connector, Files, Frame, ParquetFiles, Table
from headwater.definitions.source import Source
from headwater.engine.checkpoint import read_json, renamed, workplace, write_json
from headwater.engine.local.compute import answer
from headwater.engine.local.local_engine import LocalEngine
from headwater.engine.local.partition import hash_of
from headwater.engine.local.states import reach_between
from headwater.engine.query import (
    EngineRun,
    EventQuery,
    FeatureValues,
    Query,
    RequestSet,
    StatePart,
    StateParts,
    StateQuery,
    States,
    reach_of,
)
from headwater.engine.spark.blobs import (
    COUNT,
    ERROR,
    EVENTS,
    NOTES,
    PIECE,
    REQUESTS,
    SCHEMA,
    Blob,
    frame_blobs,
    frame_of,
    raised,
    tables_of,
)
from headwater.engine.spark.request_frames import LEVEL, SET, request_frame, values_of
from headwater.engine.spark.worker_tasks import (
    AnswerRequests,
    CountEvents,
    Deal,
    MakeStates,
    ReadEvents,
    Reading,
    Task,
    run_task,
    versions,
)
from headwater.events.keys import compared_as
from headwater.events.read_events import Notes, Reach
from headwater.events.selection import IDENT, TIME, collect
from headwater.events.ties import TIE
from headwater.kernel.arrays import NOTHING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_MEMORY = 1_000_000_000  # bytes of a task, where the call gives no memory
_BUCKETS = 2  # times as many as partitions of a shuffle: hashes of buckets do not split evenly
_PARTITIONS = 32  # of a shuffle, where the server does not tell
_FEW_KEYS = 200_000  # whose hashes travel with a task, so that events of other keys are dropped where they are read
_UPLOAD = 8  # batches of a relation that is sent to the server


class SparkEngine:
    """As `Engine`, on Spark over Spark Connect, or in a session of PySpark.

    Args:
        session: a session, or the URL of a server of Spark Connect; None is the active session, or that of the settings.
    """

    def __init__(self, session: SparkSession | str | None = None) -> None:
        self.session = session

    def __repr__(self) -> str:
        return "SparkEngine()"

    def features(self, query: Query, requests: Sequence[RequestSet], run: EngineRun) -> list[list[FeatureValues]]:
        """As `Engine`; each task within `run.memory`."""
        reach = reach_of(requests, query.windows)
        if query.events is not None or reach is None:
            return LocalEngine().features(query, requests, run)
        keys, request_keys = query.keys, [r.keys for r in requests]
        job = _Job.of(self.session, query.source, keys, query.columns, reach, request_keys, run)
        light = replace(query, source=job.reading.source)
        none = answer(light, job.nothing, [r.take(NOTHING) for r in requests], EngineRun())  # refuses what must be, before Spark works
        types = compared_as(job.nothing.schema, keys, request_keys, job.subject) if keys else {}
        hashes = pl.concat([r.keys.drop_nulls(keys or None).with_columns(h=hash_of(types))["h"] for r in requests]).unique()
        deal = Deal(types, job.buckets, hashes if hashes.len() <= _FEW_KEYS else None)
        frames = [request_frame(number, r, keys) for number, r in enumerate(requests)]
        asking = job.relation(blob for frame in frames for blob in replace(deal, wanted=None).blobs(frame, REQUESTS))
        task = AnswerRequests(light, [frame.clear() for frame in frames], job.nothing, job.memory)
        answers: dict[tuple[int, int], list[pl.DataFrame]] = {}
        for blob in job.blobs(job.mapped(asking.unionAll(job.events(deal)).repartition("bucket"), task)):
            values = frame_of(blob)
            number, level = (int(values[name][0]) for name in (SET, LEVEL))
            answers.setdefault((number, level), []).append(values.drop(SET, LEVEL))
            if run.on_progress is not None:
                run.on_progress(values.height)
        return [
            [values_of(pl.concat(answers.pop((number, level)))) if len(r.t) else empty for level, empty in enumerate(by_level)]
            for number, (r, by_level) in enumerate(zip(requests, none, strict=True))
        ]

    def events(self, query: EventQuery, run: EngineRun) -> pl.DataFrame:
        """As `Engine`; the events are in the memory of this process."""
        if query.reach is None:
            return LocalEngine().events(query, run)
        columns = [] if query.newest else query.columns
        job = _Job.of(self.session, query.source, query.keys, columns, query.reach, query.request_keys, run)
        frames = [frame_of(blob) for blob in job.blobs(job.events(Deal({}, 1), newest=query.newest))]
        if query.newest:
            last = job.nothing.select(*query.keys, TIME)
            return pl.concat([last, *frames]).group_by(query.keys).agg(pl.col(TIME).max())
        return pl.concat([job.nothing, *frames], rechunk=True)

    @contextmanager
    def states(self, query: StateQuery[States], run: EngineRun) -> Iterator[StateParts[States]]:
        """As `Engine`; each task within `run.memory`. The states come to this machine's disk, for a run that was stopped too."""
        job = _Job.of(self.session, query.source, query.keys, query.columns, reach_between(query), [], run)
        base = 0 if query.before is None else query.before.T
        with workplace(query.name, f"{query.head.T}-{query.head.K}-{base}-spark-{job.buckets}") as folder:
            yield _states(job, query, run, folder / "states")


def spark(session: SparkSession | str | None = None) -> SparkEngine:
    """Spark as the engine of a call: `hw.Resources(engine=hw.spark("sc://host:15002"))`.

    The workers' Python needs headwater of the same version. `Resources(memory=)` bounds each task; it is 1 GB where none is given.

    Args:
        session: a session of Spark Connect, of Databricks Connect or of PySpark; or the URL of a server of Spark Connect. None is the
            active session, or that of SPARK_REMOTE.

    >>> spark("sc://localhost:15002")
    SparkEngine()
    """
    return SparkEngine(session)


@dataclass(frozen=True)
class _Job:
    """Reading a source's events on Spark.

    read: the columns of the table that are read, and the condition that pushes down, as polars' optimizer finds them. nothing: no events.
    """

    session: SparkSession
    table: Table
    reading: Reading
    nothing: pl.DataFrame
    read: tuple[list[str], pl.Expr | None]
    run: EngineRun
    given: object

    @classmethod
    def of(
        cls,
        given: object,
        source: Source,
        keys: Sequence[str],
        columns: Sequence[str],
        reach: Reach,
        request_keys: Sequence[pl.DataFrame],
        run: EngineRun,
    ) -> _Job:
        """The job for events of a source in reach."""
        table = source.table
        schema = table.schema(given) if isinstance(table, SparkTable) else scan_table(table).collect_schema()
        near = _ends(keys, request_keys)
        probe = _Probe(schema)
        probing = Reading(replace(source, history=probe), keys, columns, reach, near).scan()
        collect(probing.frame if probing.whole is None else probing.whole, probing.subject)
        reading = Reading(replace(source, history=Frame(pl.DataFrame(schema=schema))), keys, columns, reach, near)
        scan = reading.scan()
        nothing = scan.counting(collect(scan.frame if scan.whole is None else scan.whole, scan.subject), Notes())
        nothing = nothing.drop([c for c in nothing.columns if c.startswith(TIE)])
        own = isinstance(table, SparkTable) and table.spark_frame(given).sparkSession
        return cls(own or open_session(given), table, reading, nothing, probe.read(), run, given)

    @property
    def subject(self) -> str:
        """The source's name in errors."""
        return f"source {self.reading.source.name!r}"

    @property
    def memory(self) -> int:
        """Bytes of a task."""
        return self.run.memory or _MEMORY

    @property
    def buckets(self) -> int:
        """How many buckets keys are dealt into."""
        with spark_errors(f"{self.subject}: Spark does not answer"):
            partitions = self.session.conf.get("spark.sql.shuffle.partitions", None)
        return _BUCKETS * (int(partitions) if partitions else _PARTITIONS)

    def events(self, deal: Deal, *, newest: bool = False) -> DataFrame:
        """The events that count, dealt; `newest`: of each key the last one."""
        counted = self.reading.source.id_field is None or newest
        first = deal if counted else Deal({IDENT: self.nothing.schema[IDENT]}, self.buckets)
        read = self.mapped(self._rows(), ReadEvents(self.reading, first, isinstance(self.table, SparkTable), newest))
        return read if counted else self.mapped(read.repartition("bucket"), CountEvents(self.reading, deal, self.memory))

    def mapped(self, frame: DataFrame, task: Task) -> DataFrame:
        """The blobs that a task makes of each partition."""
        return frame.mapInArrow(partial(run_task, versions(), _light(task)), SCHEMA)

    def blobs(self, frame: DataFrame) -> Iterator[Blob]:
        """Run, and give what comes of it, without notes, which are noted.

        Raises:
            DataError: of a worker.
            ConnectError: Spark cannot finish.
        """
        left_out: Counter[str] = Counter()
        with spark_errors(f"{self.subject}: Spark cannot compute it"):
            for bucket, kind, payload in frame.toLocalIterator():
                blob = Blob(bucket, kind, bytes(payload))
                if kind == ERROR:
                    raise raised(blob)
                if kind == NOTES:
                    rows, events = blob.counts
                    left_out.update(rows)
                    self.run.notes.events.update(events)
                else:
                    yield blob
        for reason, number in left_out.items():
            self.run.notes.leave_out(reason, number)

    def relation(self, blobs: Iterable[Blob]) -> DataFrame:
        """Blobs of this process as rows of Spark."""
        with spark_errors(f"{self.subject}: Spark does not take the rows of this process"):
            whole = None
            for table in tables_of(blobs, _UPLOAD):
                part = self.session.createDataFrame(table)
                whole = part if whole is None else whole.unionAll(part)
            return self.session.createDataFrame([], SCHEMA) if whole is None else whole

    def _rows(self) -> DataFrame:
        """The rows of the table, or its pieces."""
        columns, predicate = self.read
        if isinstance(self.table, SparkTable):
            return narrowed(self.table.spark_frame(self.given), columns, predicate)
        if isinstance(self.table, Files):
            pieces = _pieces(self.table)
            rows = self.relation(Blob(number, PIECE, pickle.dumps(piece)) for number, piece in enumerate(pieces))
            return rows.repartition(min(len(pieces), self.buckets), "bucket")
        frame = scan_table(self.table).select(columns)
        return self.relation(frame_blobs(0, EVENTS, collect(frame if predicate is None else frame.filter(predicate), self.subject)))


@dataclass(frozen=True, eq=False)
class _Probe(Connector):
    """A table without rows that notes what is read of it."""

    columns: Mapping[str, pl.DataType]
    reads: list[tuple[list[str], pl.Expr | None]] = field(default_factory=list, metadata={"fingerprint": False})

    def scan(self) -> pl.LazyFrame:
        """No row."""
        return register_io_source(self._note, schema=self.columns)

    def read(self) -> tuple[list[str], pl.Expr | None]:
        """All columns that were read; and the condition of the last reading, where it was the only one."""
        names = list(dict.fromkeys(name for columns, _ in self.reads for name in columns))
        return names, self.reads[-1][1] if len(self.reads) == 1 else None

    def _note(self, columns: list[str] | None, predicate: pl.Expr | None, _rows: int | None, _size: int | None) -> Iterator[pl.DataFrame]:
        names = list(self.columns) if columns is None else columns
        self.reads.append((names, predicate))
        yield pl.DataFrame(schema={name: self.columns[name] for name in names})


class _LightPickler(pickle.Pickler):
    """Pickles definitions without the rows of frames: a worker gets those that it needs on another road."""

    def reducer_override(self, value: object) -> Any:  # noqa: ANN401 (of pickle)
        if isinstance(value, Frame):
            return Frame, (pl.DataFrame(value.data).clear(),)
        return NotImplemented


def _light(task: Task) -> bytes:
    buffer = BytesIO()
    _LightPickler(buffer).dump(task)
    return buffer.getvalue()


def _pieces(table: Files) -> list[Files]:
    """Each parquet file of this machine; any other table in one piece."""
    if table.is_remote:
        return [table]
    path = settings.in_project(table.path).absolute()
    if not isinstance(table, ParquetFiles):
        return [replace(table, path=str(path))]
    return [replace(table, path=str(Path(name).absolute())) for name in found(table.path, ENDING)]


def _ends(keys: Sequence[str], request_keys: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The least and the greatest of one integer key that is asked for, in each frame."""
    if len(keys) != 1 or not all(frame.schema[keys[0]].is_integer() for frame in request_keys):
        return []
    ends = (pl.col(keys[0]).min(), pl.col(keys[0]).max())
    return [pl.concat([frame.select(end) for end in ends]) for frame in request_keys]


def _states(job: _Job, query: StateQuery[States], run: EngineRun, folder: Path) -> StateParts[States]:
    """The states in a file for each bucket with keys, made unless they are there."""
    left_out, counts = folder / "left_out.json", folder / "events.json"
    if not folder.exists():
        types = {key: job.nothing.schema[key] for key in query.keys}
        deal = Deal(types, job.buckets)
        task = MakeStates(replace(query, source=job.reading.source), deal, job.memory)
        with renamed(folder) as draft:
            permissions.make_folder(draft)
            events = {}
            for blob in job.blobs(job.mapped(job.events(deal).repartition("bucket"), task)):
                if blob.kind == COUNT:
                    events[str(blob.bucket)] = int(blob.payload)
                    continue
                with permissions.open_private(draft / str(blob.bucket), "ab") as file:
                    file.write(blob.payload)
            write_json(draft / left_out.name, dict(run.notes.left_out))
            write_json(draft / counts.name, events)
    run.notes.left_out.update(cast("dict[str, int]", read_json(left_out) or {}) if not run.notes.left_out else {})
    number = {int(bucket): cast("int", count) for bucket, count in (read_json(counts) or {}).items()}
    parts: list[Callable[[], StatePart[States]]] = [partial(_part, folder / str(bucket), count) for bucket, count in sorted(number.items())]
    return StateParts(f"spark {job.buckets} {len(parts)} {pl.__version__}", parts)


def _part(path: Path, events: int) -> StatePart[Any]:
    return StatePart(events, _unpickled(path))


def _unpickled(path: Path) -> Iterator[Any]:
    if not path.exists():  # events that make no states
        return
    with path.open("rb") as file:
        while file.peek(1):
            yield pickle.load(file)  # noqa: S301 (of our own workers)
