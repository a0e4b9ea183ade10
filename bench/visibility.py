"""How long after it was produced an event can be read, by three processes: one produces, one
ingests, one reads.

python -m bench.visibility measure SERVERS RATE SECONDS      prints JSON; a RATE of 0 pushes fifty
                                                             events a second over HTTP instead
python -m bench.visibility peak SERVERS SECONDS              prints JSON: the events a second that
                                                             all of them together sustain

For the peak, the producer sends as fast as it can while at most 100,000 of its events are not
committed yet.

Fifty cards are probes: each is paid with once a second, by an event that holds the moment at which
it was sent. The reader asks for the latest of these timestamps of all fifty, again and again, a
millisecond apart, and takes the time when it changes.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.kafka import PARTITIONS, USERS, make_topic, project
from bench.measure import clean
from headwater.ingestion.source_ingestor import streamed
from headwater.ingestion.validate import Acceptance

PROBES = [f"probe{n}" for n in range(50)]
_START = 3.0  # seconds that are not measured
_AHEAD = 100_000  # events that are sent and not committed, at most, while a peak is measured


@dataclass(frozen=True)
class Job:
    """The parameters of a measurement; a rate of -1 is the peak."""

    servers: str
    topic: str
    rate: int
    seconds: float
    store: str
    port: int


def measure(servers: str, rate: int, seconds: float) -> dict:
    """Milliseconds from producing to reading: p50, p99 and the most; and how many events a second
    were produced.
    """
    source, views = next(iter(streamed(project(servers, "seen", probed=True).views).items()))
    # kernels are compiled once on a machine, and not while one measures
    Acceptance(source, views, 0).warm()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = Job(
            servers,
            f"seen-{time.time_ns()}",
            rate,
            seconds,
            f"lmdb:{folder}/store",
            free.getsockname()[1],
        )
        free.close()
        if rate:
            make_topic(servers, job.topic)
        arguments = json.dumps(job.__dict__)
        ingesting, others = _started("ingest", arguments), list[subprocess.Popen[str]]()
        try:
            ingesting.stdout.readline()  # type: ignore[union-attr] # it has committed
            others.append(reading := _started("read", arguments))
            reading.stdout.readline()  # type: ignore[union-attr] # it has read
            others.append(producing := _started("produce", arguments))
            produced, seen = (
                json.loads(process.communicate(timeout=seconds + 60)[0])
                for process in (producing, reading)
            )
        finally:
            for process in others:
                process.kill()  # one that saw nothing looks on
            ingesting.terminate()
            ingesting.wait()
    return {**produced, **seen}


def _started(what: str, job: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.visibility", what, job]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean())


def ingest(job: Job) -> None:
    """As `headwater ingest` does it, at its usual limits."""
    from headwater.cli.ingest import seldom_collected
    from headwater.serving.process.ingest_process import IngestOptions
    from headwater.serving.process.ingest_process import ingest as run

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ready = threading.Event()

    def committed(*_: object) -> None:
        if not ready.is_set():
            ready.set()
            print("{}", flush=True)

    if not job.rate:
        committed()  # it is asked whether it receives
    with seldom_collected():
        definitions = project(job.servers, job.topic, probed=True, pushed=not job.rate)
        folder = Path(job.store.removeprefix("lmdb:")).parent
        options = IngestOptions(allow_unapplied=True, on_commit=committed)
        run(
            definitions,
            job.store,
            data_dir=folder,
            listen=f"127.0.0.1:{job.port}",
            stop=stop,
            options=options,
        )


def produce(job: Job) -> None:
    """Send events at an even rate, every fiftieth of a second one of a probe; print the rate that
    was reached, and processor time.
    """
    send = _sender(job) if job.rate else _pusher(job)
    payloads, room = _payloads(100_000), _room(job)
    begin, sent, probes, first = time.perf_counter() + 1, 0, 0, None
    busy = time.process_time()
    while (now := time.perf_counter() - begin) < job.seconds + _START:
        if probes < now * len(PROBES):
            card = PROBES[probes % len(PROBES)]
            send([_payment(card, 1.0, datetime.now(UTC), time.time_ns() // 1000)], probes)
            probes += 1
        due = room(now, sent)
        if due > 0:
            at = sent % len(payloads)
            send(payloads[at : at + due], sent)
            sent += len(payloads[at : at + due])
        if due < 1_000:
            time.sleep(0.001)
        if first is None and now > _START:
            first = now, sent
    assert first is not None
    rate = (sent - first[1]) / (now - first[0])
    print(
        json.dumps(
            {
                "produced": round(rate),
                "probes": probes,
                "producer_busy": (time.process_time() - busy) / max(sent, 1),
            }
        )
    )


def _room(job: Job) -> Callable[[float, int], int]:
    """How many events are to be sent, by the seconds since the beginning and the number of those
    that were sent.
    """
    if job.rate >= 0:
        return lambda now, sent: min(int(now * job.rate) - sent, 10_000)
    from headwater.state.view_state import progresses
    from headwater.stores import open_store

    store, looked = open_store(job.store, readonly=True), [0.0, 0]

    def room(now: float, sent: int) -> int:
        if now - looked[0] > 0.01:
            looked[:] = (
                now,
                sum(
                    progress.counts.get("accepted", 0)
                    for progress in progresses(store, "payments").values()
                ),
            )
        return min(_AHEAD - (sent - int(looked[1])), 10_000) if now > 0 else 0

    return room


def read(job: Job) -> None:
    """Look until everything has been sent; print how long events took."""
    from headwater.errors import StoreError
    from headwater.online.feature_reader import OnlineFeatures
    from headwater.stores import open_store

    service = project(job.servers, job.topic, probed=True, pushed=not job.rate).models[0].features
    latest = service.feature_names.index("card__last_sent_at_1h")
    since, taken, known, features = None, [], None, None  # since: the first probe was seen
    while since is None or time.perf_counter() - since < job.seconds + _START:
        time.sleep(0.001)
        try:
            features = features or OnlineFeatures(service, open_store(job.store, readonly=True))
            values = features.rows({"card": PROBES}).values[latest]
        except StoreError:
            time.sleep(0.05)
            features = None
            continue
        now = time.time_ns() // 1000
        if known is None:
            print("{}", flush=True)  # it reads
        if since is None and any(value is not None for value in values):
            since = time.perf_counter()
        if since is not None and known is not None and time.perf_counter() - since > _START:
            taken += [now - new for new, old in zip(values, known, strict=True) if new != old]
        known = values
    milliseconds = np.array(taken) / 1000
    p50, p99 = np.percentile(milliseconds, [50, 99])
    print(
        json.dumps(
            {
                "seen": len(taken),
                "p50": round(p50, 2),
                "p99": round(p99, 2),
                "most": round(float(milliseconds.max()), 2),
            }
        )
    )


def _sender(job: Job):
    from confluent_kafka import Producer

    producer = Producer(
        {"bootstrap.servers": job.servers, "queue.buffering.max.messages": 1_000_000}
    )

    def send(payloads: Sequence[str], first: int) -> None:
        for number, payload in enumerate(payloads, first):
            producer.produce(job.topic, payload, partition=number % PARTITIONS)
        producer.poll(0)

    return send


def _pusher(job: Job):
    import httpx

    client = httpx.Client(
        base_url=f"http://127.0.0.1:{job.port}",
        timeout=60,
        headers={"content-type": "application/json"},
    )
    since = time.perf_counter()
    while True:
        try:
            client.get("/")
            break
        except httpx.HTTPError:
            assert time.perf_counter() - since < 30, "nothing receives"
            time.sleep(0.1)

    def send(payloads: Sequence[str], _first: int) -> None:
        for payload in payloads:
            client.post("/v1/events/payments", content=payload).raise_for_status()

    return send


def _payloads(count: int) -> list[str]:
    """What no probe is, of the last second."""
    r = np.random.default_rng(2)
    share = np.cumsum(1 / np.arange(1, USERS + 1) ** 1.1)
    cards = r.permutation(USERS)[
        np.searchsorted(share / share[-1], r.random(count) * (1 - 1e-9))
    ].tolist()
    return [
        _payment(f"c{card:05}", amount, datetime.now(UTC), 0)
        for card, amount in zip(cards, r.lognormal(3, 1, count), strict=True)
    ]


def _payment(card: str, amount: float, at: datetime, sent: int) -> str:
    moment = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f'{{"id":"{sent}","card":"{card}","amount":{amount:.2f},"authorised_at":"{moment}","sent_at":{sent}}}'


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "measure":
        print(json.dumps(measure(rest[0], int(rest[1]), float(rest[2]))))
    elif verb == "peak":
        print(json.dumps(measure(rest[0], -1, float(rest[1]))))
    else:
        {"ingest": ingest, "produce": produce, "read": read}[verb](Job(**json.loads(rest[0])))
