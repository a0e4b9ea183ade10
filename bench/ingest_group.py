"""Ingest processes in one Kafka group, and what an event costs each part of one apart: the points
and the units of the simulation.

python -m bench.ingest_group measure KIND EVENTS PROCESSES...
        prints JSON; KIND is redis or postgres
python -m bench.ingest_group ingest SERVERS TOPIC GROUP STORE
        one process; a line for each commit

All processes have joined the group and committed before the backlog is written, and are stopped by
a signal meanwhile, so a point is a group that works through a backlog, without starts and
rebalances. Its rate is that of the middle of the backlog.

The units: reading and decoding with a commit that sleeps; then commits of the same records, without
a reader, in that part of the backlog where a point is measured. No unit is measured while both
work.
"""

from __future__ import annotations

import json
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np

from bench.kafka import broker, make_topic, project
from bench.measure import ROOT, clean, processors_busy
from bench.servers import StoreServer, busy_of, server
from bench.simulation.machine import FIRST, LAST

PARTITIONS = 12
WARM = 24_000  # events before the backlog
_UNITS = 1 / 3  # of a point's events: units need fewer, and keep them in memory
# seconds of an event for which a commit that does nothing sleeps, so that the next poll is full, as
# it is behind a commit
_COMMIT = 1e-6
BATCHES = (10_000, 50_000)  # records of a poll, at which commits are timed
# of each point: the mean of those in which other programs took little of the processors, or the one
# with the least
TURNS = 2
QUIET = 0.1  # processors
_PATIENCE = 120.0


def measure(kind: str, events: int, processes: list[int]) -> dict:
    """The units, and a point for each number of processes."""
    with broker() as servers:
        pid = _listener(int(servers.rpartition(":")[2]))
        units, points = [], {}
        for _ in range(TURNS):
            with server(kind) as store:
                units.append(
                    json.loads(_run("units", servers, store, str(round(_UNITS * events)), str(pid)))
                )
        for count in processes:
            turns = []
            for _ in range(TURNS):
                with server(kind) as store:  # a new one: it has nothing to clean up after the last
                    turns.append(_point(servers, store, pid, events, count))
            quiet = [turn for turn in turns if turn["others"] < QUIET] or [
                min(turns, key=lambda turn: turn["others"])
            ]
            points[str(count)] = {
                key: statistics.mean(turn[key] for turn in quiet) for key in quiet[0]
            } | {"turns": turns}
    return {
        "kind": kind,
        "events": events,
        "partitions": PARTITIONS,
        "units": _mean(units),
        "points": points,
    }


def _mean(turns: list[dict]) -> dict:
    return {
        key: _mean([turn[key] for turn in turns])
        if isinstance(first, dict)
        else statistics.mean(turn[key] for turn in turns)
        for key, first in turns[0].items()
    }


def _run(verb: str, servers: str, store: StoreServer, *more: str) -> str:
    command = [
        sys.executable,
        "-m",
        "bench.ingest_group",
        verb,
        servers,
        store.url,
        str(store.pid),
        str(store.port),
        *more,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=clean(), check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout.strip().splitlines()[-1]


def _listener(port: int) -> int:
    """The process that listens on a port."""
    wanted = f":{port:04X}"
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[1].endswith(wanted) and fields[3] == "0A"
    }
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            for link in _links(entry / "fd"):
                if any(link == f"socket:[{inode}]" for inode in inodes):
                    return int(entry.name)
    raise RuntimeError(f"nothing listens on {port}")


def _links(folder: Path) -> list[str]:
    try:
        return [str(entry.readlink()) for entry in folder.iterdir()]
    except OSError:
        return []


def _topic_bytes(broker_pid: int, topic: str) -> int:
    """Bytes of a topic's files, which the broker has open; the space that it reserves for more is
    not counted.
    """
    paths = {
        Path(link)
        for link in _links(Path(f"/proc/{broker_pid}/fd"))
        if f"/{topic}-" in link and link.endswith(".log")
    }
    return sum(path.stat().st_size for path in paths)


# ---- points


class _Member:
    """An ingest process, and the lines that it has written: seconds of the monotonic clock, events,
    its processor time, its partitions, its committing thread's processor time.
    """

    def __init__(self, servers: str, topic: str, group: str, store: StoreServer) -> None:
        command = [
            sys.executable,
            "-m",
            "bench.ingest_group",
            "ingest",
            servers,
            topic,
            group,
            store.url,
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=clean()
        )
        self.lines: list[list[float]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append([float(field) for field in line.split()])

    @property
    def events(self) -> float:
        """Committed so far."""
        return sum(line[1] for line in list(self.lines))

    def close(self) -> None:
        """Stop it."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _point(servers: str, store: StoreServer, pid: int, events: int, count: int) -> dict:
    """The rate of a group of so many processes, and where its processor time goes."""
    topic = f"payments-{count}-{time.time_ns()}"
    make_topic(servers, topic, PARTITIONS)
    with ExitStack() as stack:
        members = []
        url = f"{store.url}?prefix=p{time.time_ns()}"
        for _ in range(count):
            members.append(_Member(servers, topic, topic, StoreServer(url)))
            stack.callback(members[-1].close)
        share = PARTITIONS // count
        _until(
            lambda: all(member.lines and member.lines[-1][3] >= share for member in members),
            "no member has its share",
        )
        _produce(servers, topic, WARM)
        _until(
            lambda: sum(member.events for member in members) >= WARM,
            "the first events are not committed",
        )
        for member in members:
            member.process.send_signal(signal.SIGSTOP)
        _produce(servers, topic, events)
        before, all_of_it, since = (
            (store.busy(), busy_of(pid)),
            processors_busy(),
            time.perf_counter(),
        )
        for member in members:
            member.lines.clear()
            member.process.send_signal(signal.SIGCONT)
        _until(
            lambda: sum(member.events for member in members) >= events,
            "the backlog is not committed",
        )
        after, elapsed = (store.busy(), busy_of(pid)), time.perf_counter() - since
        all_of_it = processors_busy() - all_of_it
    lines = sorted(
        (line[0], line[1], member) for member, own in enumerate(members) for line in own.lines
    )
    committed, begin, end = 0.0, None, lines[-1]
    for line in lines:
        committed += line[1]
        begin = begin or ((line[0], committed) if committed >= FIRST * events else None)
        if committed >= LAST * events:
            end = (line[0], committed)
            break
    assert begin is not None
    per = 1e6 / events
    own = (
        sum(member.lines[-1][2] - member.lines[0][2] for member in members)
        + after[0]
        - before[0]
        + after[1]
        - before[1]
    )
    return {
        "others": (all_of_it - own) / elapsed,
        "rate": (end[1] - begin[1]) / (end[0] - begin[0]),
        "commit_events": statistics.median(line[1] for line in lines if line[1]),
        "busy": _spent_by(members, 2),
        "committer": _spent_by(members, 4),
        "store": (after[0] - before[0]) * per,
        "broker": (after[1] - before[1]) * per,
    }


def _spent_by(members: list[_Member], field: int) -> float:
    """Microseconds of processor of an event, by a field of the members' lines."""
    events = sum(line[1] for member in members for line in member.lines[1:])
    return (
        sum(member.lines[-1][field] - member.lines[0][field] for member in members) / events * 1e6
    )


def _produce(servers: str, topic: str, events: int) -> None:
    command = [
        sys.executable,
        "-m",
        "bench.kafka",
        "produce",
        servers,
        topic,
        str(events),
        str(PARTITIONS),
    ]
    subprocess.run(command, check=True, cwd=ROOT, env=clean(), stdout=subprocess.DEVNULL)


def _until(done: object, otherwise: str) -> None:
    until = time.monotonic() + _PATIENCE
    while not done():  # type: ignore[operator]
        if time.monotonic() > until:
            raise RuntimeError(otherwise)
        time.sleep(0.02)


def ingest(servers: str, topic: str, group: str, url: str) -> None:
    """One member, until it is stopped by a signal."""
    from headwater.cli.ingest import seldom_collected
    from headwater.ingestion.ingest import ingest as run
    from headwater.stores import open_store

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def committed(_source: object, commit: object, lag: dict) -> None:
        accepted = commit.counts.get("accepted", 0)  # type: ignore[attr-defined]
        print(
            time.monotonic(),
            accepted,
            time.process_time(),
            len(lag),
            time.thread_time(),
            flush=True,
        )

    with seldom_collected():
        run(
            project(servers, topic, group=group),
            open_store(url),
            data_dir=None,
            stop=stop,
            on_commit=committed,
        )


# ---- units


def units(
    servers: str, url: str, store_pid: str, store_port: str, events: str, broker_pid: str
) -> None:
    """What an event costs the reading thread, the committing thread, the store and the broker, each
    apart.
    """
    topic = f"units-{time.time_ns()}"
    make_topic(servers, topic, PARTITIONS)
    _produce(servers, topic, int(events))
    store = StoreServer(url, int(store_pid), int(store_port))
    result: dict = {"event_bytes": _topic_bytes(int(broker_pid), topic) / int(events)}
    result["decode"] = _decoded(
        _read(servers, topic, store, int(events), BATCHES[-1], int(broker_pid), kept=None)
    )
    for size in BATCHES:
        kept: list[tuple] = []
        _read(servers, topic, store, int(events), size, int(broker_pid), kept=kept)
        result[f"commit_{size}"] = _committed(kept, store)
    print(json.dumps(result))


def _read(
    servers: str,
    topic: str,
    store: StoreServer,
    events: int,
    size: int,
    broker_pid: int,
    *,
    kept: list[tuple] | None,
) -> list[tuple[float, ...]]:
    """Read all events with commits of nothing, and keep what was to be committed; by poll: clock,
    our processor, the broker's, events.
    """
    from headwater.cli.ingest import seldom_collected
    from headwater.ingestion.ingest import ingest as run
    from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
    from headwater.stores import open_store

    stop, marks = threading.Event(), []

    def nothing(
        ingestor: SourceIngestor, records: list, now: int, known: int | None = None
    ) -> list:
        if records:
            if kept is not None:
                kept.append((ingestor, records, now, known))
            count = sum(len(poll.offset) for poll, _ in records)
            marks.append((time.perf_counter(), time.process_time(), busy_of(broker_pid), count))
            if sum(mark[3] for mark in marks) >= events:
                stop.set()
            time.sleep(count * _COMMIT)
        return []

    opened = open_store(f"{store.url}?prefix=u{time.time_ns()}")
    # writers, which are committed with afterwards
    forget = mock.patch.object(SourceIngestor, "forget")
    with seldom_collected(), forget, mock.patch.object(SourceIngestor, "commit", nothing):
        run(
            project(servers, topic),
            opened,
            data_dir=None,
            stop=stop,
            limits=IngestLimits(batch=size),
        )
    if kept is None:
        opened.close()
    return marks


def _decoded(marks: list[tuple[float, ...]]) -> dict[str, float]:
    begin, end = marks[0], marks[-1]
    count = sum(mark[3] for mark in marks[1:])
    return {
        name: (end[place] - begin[place]) / count * 1e6
        for place, name in enumerate(("wall", "busy", "broker"))
    }


def _committed(kept: list[tuple], store: StoreServer) -> dict[str, float]:
    """Commits of what was read, in the polls in which it came; counted are those of the part of the
    backlog that points are taken of.
    """
    from headwater.cli.ingest import seldom_collected

    sizes = [sum(len(poll.offset) for poll, _ in records) for _, records, _, _ in kept]
    through, counted = 0, []
    with seldom_collected():
        for size, (ingestor, records, now, known) in zip(sizes, kept, strict=True):
            before = _spent(store)
            commits = len(ingestor.commit(records, now, known))
            taken = _spent(store) - before
            if FIRST * sum(sizes) <= through < LAST * sum(sizes):
                counted.append((size, commits, *taken))
            through += size
    events, commits, *taken = np.sum(counted, axis=0).tolist()
    return {"events": events, "commits": commits} | dict(
        zip(("wall", "busy", "store", "waits"), (each / commits for each in taken), strict=True)
    )


def _spent(store: StoreServer) -> np.ndarray:
    """Milliseconds of the clock, of our processor and of the store's, and how often this thread has
    waited.
    """
    waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    return np.array(
        [time.perf_counter() * 1e3, time.process_time() * 1e3, store.busy() * 1e3, waits]
    )


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    if verb == "measure":
        print(
            json.dumps(
                measure(arguments[0], int(arguments[1]), [int(count) for count in arguments[2:]])
            )
        )
    else:
        {"ingest": ingest, "units": units}[verb](*arguments)
