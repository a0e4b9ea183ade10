"""The engine on Spark: events and requests are dealt into buckets by key, and workers answer each
with the local engine.

    events --mapInArrow(ReadEvents)--> [by id --mapInArrow(CountEvents)-->] union requests --by
    bucket--mapInArrow(AnswerRequests)--> values

Spark moves and repeats; which events count, how a partition that is larger than memory is split,
and how a hot key is cut in time is the local engine's. So values have the same bits.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from headwater import disk
from headwater.connectors.spark import open_session, spark_errors
from headwater.engine.checkpoint import read_json, renamed, workplace, write_json
from headwater.engine.local.compute import answer
from headwater.engine.local.local_engine import LocalEngine, reach_between
from headwater.engine.local.spill import hash_of
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
    LEVEL,
    REQUESTS,
    SET,
    frame_of,
    request_frame,
    values_of,
)
from headwater.engine.spark.rows_job import RowsJob
from headwater.engine.spark.spark_job import SparkJob, collected, mapped
from headwater.engine.spark.worker_tasks import (
    AnswerRequests,
    Deal,
    MakeStates,
    TellVersions,
)
from headwater.events.keys import compared_as
from headwater.events.read_events import TIME
from headwater.kernel.arrays import NOTHING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from headwater.connectors.spark import SparkOutput, SparkTable
    from headwater.definitions.connectors import Table
    from headwater.engine.row_work import RowWork, WrittenRows

# up to so many, their hashes travel with a task: events of other keys are dropped at the read
_FEW_KEYS = 200_000
_WORKERS_SEEN = 8  # tasks that tell the versions of their workers


class SparkEngine:
    """As `Engine`, on Spark over Spark Connect, or in a session of PySpark.

    Args:
        session: a session, or the URL of a server of Spark Connect; None is the active session, or
            that of the settings.
    """

    def __init__(self, session: SparkSession | str | None = None) -> None:
        self.session = session

    def __repr__(self) -> str:
        return "SparkEngine()"

    def features(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun
    ) -> list[list[FeatureValues]]:
        """As `Engine`; each task within `run.memory`."""
        reach = reach_of(requests, query.windows)
        if query.events is not None or reach is None:
            return LocalEngine().features(query, requests, run)
        keys, request_keys = query.keys, [r.keys for r in requests]
        job = SparkJob.for_source(
            self.session, query.source, keys, query.read_columns, reach, request_keys, run
        )
        light = replace(query, source=job.reading.source)
        nothing = light.without_erased(job.nothing)
        # raises the errors of the query before Spark works
        none = answer(light, nothing, [r.take(NOTHING) for r in requests], EngineRun())
        types = compared_as(job.nothing.schema, keys, request_keys, job.subject) if keys else {}
        hashes = pl.concat(
            [r.keys.drop_nulls(keys or None).with_columns(h=hash_of(types))["h"] for r in requests]
        ).unique()
        deal = Deal(types, job.buckets, hashes if hashes.len() <= _FEW_KEYS else None)
        frames = [request_frame(number, r, keys) for number, r in enumerate(requests)]
        asking = job.relation(
            blob
            for frame in frames
            for blob in replace(deal, key_hashes=None).blobs(frame, REQUESTS)
        )
        task = AnswerRequests(light, [frame.clear() for frame in frames], job.nothing, job.memory)
        answers: dict[tuple[int, int], list[pl.DataFrame]] = {}
        for blob in job.blobs(
            mapped(asking.unionAll(job.events(deal)).repartition("bucket"), task)
        ):
            values = frame_of(blob)
            number, level = (int(values[name][0]) for name in (SET, LEVEL))
            answers.setdefault((number, level), []).append(values.drop(SET, LEVEL))
            if run.on_progress is not None:
                run.on_progress(values.height)
        return [
            [
                values_of(pl.concat(answers.pop((number, level)))) if len(r.t) else empty
                for level, empty in enumerate(by_level)
            ]
            for number, (r, by_level) in enumerate(zip(requests, none, strict=True))
        ]

    def events(self, query: EventQuery, run: EngineRun) -> pl.DataFrame:
        """As `Engine`; the events are in the memory of this process."""
        if query.reach is None:
            return LocalEngine().events(query, run)
        columns = [] if query.newest else query.columns
        job = SparkJob.for_source(
            self.session, query.source, query.keys, columns, query.reach, query.request_keys, run
        )
        frames = [
            frame_of(blob) for blob in job.blobs(job.events(Deal({}, 1), newest=query.newest))
        ]
        if query.newest:
            last = job.nothing.select(*query.keys, TIME)
            return pl.concat([last, *frames]).group_by(query.keys).agg(pl.col(TIME).max())
        return pl.concat([job.nothing, *frames], rechunk=True)

    @contextmanager
    def states(self, query: StateQuery[States], run: EngineRun) -> Iterator[StateParts[States]]:
        """As `Engine`; each task within `run.memory`. The states come to this machine's disk, for a
        run that was stopped too.
        """
        job = SparkJob.for_source(
            self.session, query.source, query.keys, query.columns, reach_between(query), [], run
        )
        base = 0 if query.before is None else query.before.T
        with workplace(
            query.name, f"{query.head.T}-{query.head.K}-{base}-spark-{job.buckets}"
        ) as folder:
            yield _states(job, query, run, folder / "states")

    def write_rows(
        self,
        table: Table,
        work: RowWork,
        output: SparkOutput,
        run: EngineRun,
        before: Callable[[SparkTable], None] | None = None,
    ) -> WrittenRows:
        """As `RowEngine`."""
        return RowsJob.of_table(self.session, table, work, self, run).write(table, output, before)

    def enriched(self, query: EventQuery, work: RowWork, run: EngineRun) -> Table:
        """As `RowEngine`."""
        assert query.reach is not None
        job = SparkJob.for_source(
            self.session, query.source, query.keys, query.columns, query.reach, [], run
        )
        return RowsJob(self.session, job.events(Deal({}, 1)), work, self, run).enriched(job.nothing)

    def inspect(self) -> str:
        """The versions of Spark and of its workers, which must equal those of this process."""
        session = open_session(self.session)
        with spark_errors("Spark does not answer"):
            rows = session.range(_WORKERS_SEEN, numPartitions=_WORKERS_SEEN)
            workers = sorted(
                {
                    blob.payload.decode()
                    for blob in collected(
                        mapped(rows, TellVersions()), "Spark's workers", EngineRun()
                    )
                }
            )
            return f"Spark {session.version}; workers have {' or '.join(workers)}"


def spark(session: SparkSession | str | None = None) -> SparkEngine:
    """Spark as the engine of a call:
    `hw.Resources(engine=headwater_spark.spark("sc://host:15002"))`.

    The workers' Python needs headwater of the same version. `Resources(memory=)` bounds each task;
    it is 1 GB where none is given.

    Args:
        session: a session of Spark Connect, of Databricks Connect or of PySpark; or the URL of a
            server of Spark Connect. None is the active session, or that of SPARK_REMOTE.

    >>> spark("sc://localhost:15002")
    SparkEngine()
    """
    return SparkEngine(session)


def _states(
    job: SparkJob, query: StateQuery[States], run: EngineRun, folder: Path
) -> StateParts[States]:
    """The states in a file for each bucket with keys, made unless they are there."""
    left_out, counts = folder / "left_out.json", folder / "events.json"
    if not folder.exists():
        types = {key: job.nothing.schema[key] for key in query.keys}
        deal = Deal(types, job.buckets)
        task = MakeStates(replace(query, source=job.reading.source), deal, job.memory)
        with renamed(folder) as draft:
            disk.make_folder(draft)
            events = {}
            for blob in job.blobs(mapped(job.events(deal).repartition("bucket"), task)):
                if blob.kind == COUNT:
                    events[str(blob.bucket)] = int(blob.payload)
                    continue
                with disk.open_private(draft / str(blob.bucket), "ab") as file:
                    file.write(blob.payload)
            write_json(draft / left_out.name, dict(run.notes.left_out))
            write_json(draft / counts.name, events)
    run.notes.left_out.update(
        cast("dict[str, int]", read_json(left_out) or {}) if not run.notes.left_out else {}
    )
    number = {
        int(bucket): cast("int", count) for bucket, count in (read_json(counts) or {}).items()
    }
    parts: list[Callable[[], StatePart[States]]] = [
        partial(_state_part, folder / str(bucket), count)
        for bucket, count in sorted(number.items())
    ]
    return StateParts(f"spark {job.buckets} {len(parts)} {pl.__version__}", parts)


def _state_part(path: Path, events: int) -> StatePart[Any]:
    return StatePart(events, _unpickled(path))


def _unpickled(path: Path) -> Iterator[Any]:
    if not path.exists():  # events that make no states
        return
    with path.open("rb") as file:
        while file.peek(1):
            yield pickle.load(file)  # noqa: S301 (of our own workers)
