"""Exactly once, and online equals offline: for all events, repeats, streams, stores and kills."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import polars as pl
import pytest

import headwater as hw
import headwater_aws
from headwater.errors import HeadwaterError, StoreError
from headwater.testing import clock
from tests.laws.streams import HOUR, START, World, moment
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ["redis_url", "cluster_url", "postgres_url"]


@contextmanager
def world(seed, folder, monkeypatch, **given):
    """A world of its own home, at a time that stands still."""
    monkeypatch.setenv("HEADWATER_HOME", str(folder / "home"))
    with clock.at(random.Random(seed).choice(START), file=folder / "time") as now:
        yield World(seed, folder, now, **given)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]
)
def test_what_is_served_is_what_training_computes(seed, tmp_path, monkeypatch):
    with world(seed, tmp_path, monkeypatch) as here:
        for _ in range(5):
            here.wait()
            here.send()
            here.ingest()
            here.check()
        here.check_parity()
        assert here.values > 100
        for stream in here.streams:
            assert stream.changes or refused(here, stream) == stream.refused


def refused(here, stream):
    """How many records are kept as refused, without copies of accepted ones; of change images, more
    are.
    """
    found = hw.operations.dead_letters(
        here.project, stream.name, store=here.url, data_dir=here.folder / "home"
    )
    return (
        0
        if not found.height
        else found.filter(pl.col("reason") != "a duplicate of an accepted event").height
    )


@pytest.mark.parametrize("seed", [100])
def test_what_was_taken_in_is_not_taken_in_again(seed, tmp_path, monkeypatch):
    """Started again without new records, hours later, with commits of any size."""
    with world(seed, tmp_path, monkeypatch) as here:
        here.wait()
        here.send(most=60)
        for batch in (3, 1, 1000):
            here.ingest(batch=batch)
            here.check()
            here.clock.advance("1h")
        here.check_parity()


@pytest.mark.parametrize("seed", [200])
def test_order_and_deliveries_of_the_same_records_change_nothing(seed, tmp_path, monkeypatch):
    """The same records once each, and shuffled, each one to three times, in other files and
    commits: the same answers.
    """
    answers = []
    for again in (1, 3):
        folder = tmp_path / str(again)
        folder.mkdir()
        with world(seed, folder, monkeypatch, ids=True) as here:
            here.wait()
            rows = {
                stream.name: [row for row in here.rows(stream, 60) if row is not None]
                for stream in here.streams
            }
            for stream in here.streams:
                here.sent(stream, rows[stream.name])
                sent = [row for row in rows[stream.name] for _ in range(again)]
                if again > 1:
                    random.Random(seed).shuffle(sent)
                names = [f"{stream.name}-{n}.jsonl" for n in range(1 if stream.changes else again)]
                for number, text in enumerate(here.lines(sent)):
                    with (folder / names[number % len(names)]).open("a", encoding="utf-8") as file:
                        file.write(text + "\n")
            here.ingest(batch=7 if again > 1 else 1000)
            here.check()
            with closing(hw.operations.open_store(here.url, readonly=True)) as store:
                at = here.clock.wall() + HOUR
                read = [
                    hw.get_online_features(
                        view, here.every_key(view), store=store, at=moment(at), details=True
                    )
                    for view in here.views
                ]
            answers.append([frame.select(pl.exclude("^.*__near.*$")) for frame in read])
    assert all(one.equals(other) for one, other in zip(*answers, strict=True))


# ---------------------------------------------------------------- commits that fail


class Failing:
    """A store one of whose commits fails: before it is applied, or after it, as when the answer is
    lost.
    """

    def __init__(self, store, number, *, applied):
        self._store, self._left, self._applied = store, number, applied
        self.failed = False

    def __getattr__(self, name):
        return getattr(self._store, name)

    def commit(self, *given, **more):
        self._left -= 1
        if self._left != 0:
            return self._store.commit(*given, **more)
        self.failed = True
        if self._applied:
            self._store.commit(*given, **more)
        raise StoreError("the connection was closed")


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(300, 1), *(pytest.param(seed, 3, marks=pytest.mark.slow) for seed in (300, 301, 302))],
)
def test_a_commit_is_all_or_nothing(seed, rounds, tmp_path, monkeypatch):
    """Each commit of a run fails once, applied or not; ingestion is started again, and every record
    counts once.
    """
    with world(seed, tmp_path, monkeypatch, ids=None) as here:
        failed = 0
        with closing(hw.operations.open_store(here.url)) as store:
            for applied in (False, True) * rounds:
                here.wait()
                here.send(most=12)
                for number in range(1, 9):
                    failing = Failing(store, number, applied=applied)
                    try:
                        here.ingest(failing, batch=5)
                    except HeadwaterError:
                        assert failing.failed
                    failed += failing.failed
                for stream in here.streams:
                    # one that was applied and failed is not told
                    stream.commits.append(here.clock.wall())
                here.ingest(store)
        here.check()
        here.check_parity()
        assert failed > 4 * rounds


# ---------------------------------------------------------------- processes that are killed

PROJECT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.laws.streams import World
project = World({seed}, Path({folder!r}), None, url={url!r}).project
"""


def killed(here, seed, times):
    """Ingest in processes that are killed while records come; this one takes in the rest."""
    chance = random.Random(seed)
    (here.folder / "features.py").write_text(
        PROJECT.format(root=str(ROOT), seed=seed, folder=str(here.folder), url=here.url),
        encoding="utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "headwater.testing.clock",
        str(here.folder / "time"),
        "ingest",
        "--project",
        str(here.folder / "features.py"),
    ]
    command += [
        "--store",
        here.url,
        "--data-dir",
        str(here.folder / "home"),
        "--allow-unapplied",
        "--linger",
        "0.002",
    ]
    command += ["--max-clock-jump", "30000d", "--no-broker-clock"]
    here.wait()
    for number in range(times):
        log = here.folder / f"log-{number}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--batch", str(chance.choice([2, 20, 200]))],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=here.folder,
            )
        try:
            here.send(most=40)
            until(
                lambda: b"first commit" in log.read_bytes(),  # noqa: B023 (called here)
                "the first commit",
                process,
                120,
                log.read_text,
            )
            for _ in range(chance.randint(0, 6)):
                here.send(most=40)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    for stream in here.streams:
        stream.commits.append(here.clock.wall())
    # what the last process had not come to, at the same time: copies of it lie within `id_horizon`
    here.ingest()
    here.wait()
    here.send()
    here.ingest()
    here.check()
    here.check_parity()


@pytest.mark.parametrize(
    ("seed", "times"), [(401, 1), pytest.param(402, 4, marks=pytest.mark.slow)]
)
def test_a_process_that_is_killed_loses_nothing_and_counts_nothing_twice(
    seed, times, tmp_path, monkeypatch
):
    with world(seed, tmp_path, monkeypatch) as here:
        killed(here, seed, times)


# ---------------------------------------------------------------- pushed events


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def receiving(here, store, port):
    """Ingestion that takes pushed events, while the context lasts."""
    stop, failed = threading.Event(), []

    def run():
        try:
            limits = hw.operations.IngestLimits(linger=0.002, max_clock_jump="36000d")
            options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=here.committed)
            where = f"127.0.0.1:{port}"
            hw.ingest(
                here.project,
                store,
                data_dir=here.folder / "home",
                listen=where,
                limits=limits,
                stop=stop,
                options=options,
            )
        except BaseException as error:  # noqa: BLE001 (told to the test)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert not failed, failed


def post(client, stream, body, key):
    """Post until it is answered for."""

    def posted():
        with suppress(httpx.TransportError):
            answer = client.post(
                f"/v1/events/{stream.name}",
                content=body,
                headers={"Idempotency-Key": key, "content-type": "application/x-ndjson"},
            )
            return answer if answer.status_code != 503 else None

    return until(posted, "an answer")


@pytest.mark.parametrize("seed", [500])
def test_pushed_events_count_once(seed, tmp_path, monkeypatch):
    """Batches are sent again under their keys, also after ingestion was started again; the answer
    names what was refused.
    """
    answers = {}

    def pushed(_, stream):
        return hw.push(schema=stream.schema)

    def send(client, stream, body, key, rows):
        answer = post(client, stream, body, key)
        said = answer.json()
        good = sum(row is not None for row in rows)
        assert answer.status_code == (200 if good else 422)
        assert sum(said[name] for name in ("accepted", "copies", "held", "filtered")) == good
        assert [one["index"] for one in said["refused"]] == [
            n for n, row in enumerate(rows) if row is None
        ]

    with (
        world(seed, tmp_path, monkeypatch, stream=pushed) as here,
        closing(hw.operations.open_store(here.url)) as store,
    ):
        port = free_port()
        for _ in range(3):
            here.wait()
            answers.clear()
            for restarted in (False, True):
                with (
                    receiving(here, store, port),
                    httpx.Client(
                        base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False
                    ) as client,
                ):
                    for key, (stream, body, rows) in answers.items():
                        send(client, stream, body, key, rows)
                    for stream in [] if restarted else here.streams * 3:
                        rows = here.rows(stream, here.chance.randint(1, 15))
                        key, body = (
                            f"k{here.clock.wall()}-{len(answers)}",
                            "\n".join(here.lines(rows)).encode(),
                        )
                        for _ in range(here.chance.choice([1, 1, 2])):
                            send(client, stream, body, key, rows)
                        here.sent(stream, rows)
                        answers[key] = stream, body, rows
            here.clock.advance("1us")
            here.ingest(store)
            here.check(store)
        here.check_parity(store)


# ---------------------------------------------------------------- servers


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fixture", SERVERS)
@pytest.mark.services
def test_on_servers_too(fixture, seed, tmp_path, monkeypatch, request):
    url = f"{request.getfixturevalue(fixture)}?prefix=laws{os.getpid()}x{seed}"
    with world(seed, tmp_path, monkeypatch, url=url, parted=True) as here:
        for _ in range(4):
            here.wait()
            here.send()
            here.ingest()
            here.check()
        here.check_parity()


@pytest.mark.parametrize("fixture", SERVERS)
@pytest.mark.services
def test_a_process_that_is_killed_on_servers(fixture, tmp_path, monkeypatch, request):
    url = f"{request.getfixturevalue(fixture)}?prefix=killed{os.getpid()}"
    with world(401, tmp_path, monkeypatch, url=url, parted=True) as here:
        killed(here, 401, 2)


@pytest.mark.parametrize("seed", [600, 601])
@pytest.mark.services
def test_records_of_kafka_count_once(seed, broker, tmp_path, monkeypatch):
    topics = {}

    def kafka(here, stream):
        if stream.name not in topics:  # asked for by each view
            topics[stream.name] = broker.topic(partitions=1 if stream.changes else 3)
        return hw.kafka(topics[stream.name], servers=broker.servers, schema=stream.schema)

    with world(seed, tmp_path, monkeypatch, stream=kafka, parted=True) as here:
        for _ in range(4):
            here.wait()
            for stream in here.streams:
                rows = here.rows(stream, 30)
                for row, text in zip(rows, here.lines(rows), strict=True):
                    broker.produce(
                        topics[stream.name], [text.encode()], here.partition(stream, row, 3)
                    )
                here.sent(stream, rows)
            here.ingest()
            here.check()
        here.check_parity()


@pytest.mark.services
def test_records_of_kinesis_count_once(aws, tmp_path, monkeypatch):
    streams = {}

    def kinesis(here, stream):
        if stream.name not in streams:  # asked for by each view
            streams[stream.name] = aws.stream(1 if stream.changes else 2)
        return headwater_aws.kinesis(
            streams[stream.name], region=aws.region, endpoint_url=aws.url, schema=stream.schema
        )

    with world(702, tmp_path, monkeypatch, stream=kinesis, parted=True) as here:
        for _ in range(2):
            here.wait()
            for stream in here.streams:
                rows = here.rows(stream, 20)
                for key in (0, 1, 2):
                    records = zip(rows, here.lines(rows), strict=True)
                    texts = [
                        text.encode()
                        for row, text in records
                        if here.partition(stream, row, 3) == key
                    ]
                    aws.put(streams[stream.name], texts, str(key))
                here.sent(stream, rows)
            here.ingest()
            here.check()
        here.check_parity()


def test_the_laws_can_fail(tmp_path, monkeypatch):
    """A control: records that were sent and not remembered are found by the comparison."""
    with world(3, tmp_path, monkeypatch) as here:
        here.wait()
        here.send()
        here.ingest()
        here.check()
        for stream in here.streams:
            del stream.sent[::2]
        with pytest.raises(AssertionError, match="in training"):
            here.check()
