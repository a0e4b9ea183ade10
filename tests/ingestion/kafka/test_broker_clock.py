"""The wall clock is compared with that of a real broker: a commit by one that cannot be right is
refused, and nothing else stops for it.
"""

import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

import headwater as hw
from headwater import clock
from headwater.errors import ClockError, ConnectError
from headwater.ingestion import clock_check
from headwater.ingestion.clock_check import BrokerClocks
from headwater.ingestion.ingest import ingest
from headwater.retries import Backoff
from tests.flow import project_of
from tests.waiting import until

MINUTE = 60_000_000
NOW = clock.now_micros


class Wall:
    """The wall clock of this process, which a test sets; the broker has its own."""

    def __init__(self, monkeypatch):
        self.off = 0
        monkeypatch.setattr("headwater.clock.now_micros", lambda: NOW() + self.off)


@pytest.fixture
def wall(monkeypatch):
    return Wall(monkeypatch)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as made:
        yield made


def view_of(source):
    windows, freshness = ["1d"], hw.streaming("10s")
    return hw.FeatureView(
        "view",
        source=source,
        keys=["n"],
        features=[hw.count()],
        windows=windows,
        freshness=freshness,
    )


def events(broker, topic, numbers):
    broker.produce(
        topic, [f'{{"n": {n}, "at": "{datetime.now(UTC).isoformat()}"}}'.encode() for n in numbers]
    )


def standing(view, store, folder):
    (stream,) = hw.status(project_of(view), store=store, data_dir=folder).streams
    return stream.clock, stream.counts.get("accepted", 0)


# ---------------------------------------------------------------- a look at the clock


# ---------------------------------------------------------------- ingestion


@pytest.mark.slow
@pytest.mark.parametrize(
    "off", [6, -6, 60 * 24 * 365], ids=["6m ahead", "6m behind", "a year ahead"]
)
@pytest.mark.parametrize("stamped", ["CreateTime", "LogAppendTime"])
def test_a_run_by_a_wrong_clock_commits_nothing(off, stamped, broker, store, tmp_path, wall):
    topic = broker.topic(**{"message.timestamp.type": stamped})
    view = view_of(broker.source(topic))
    events(broker, topic, range(10))
    wall.off = off * MINUTE
    with pytest.raises(
        ClockError,
        match=r"differs from the clock of the Kafka broker at '127.*max_clock_jump.*Nothing was committed",
    ):
        ingest(project_of(view), store, data_dir=tmp_path, once=True)
    wall.off = 4 * MINUTE
    ingest(project_of(view), store, data_dir=tmp_path, once=True)
    assert standing(view, store, tmp_path) == ("compared", 10)
    assert not list((tmp_path / "dead_letters").rglob("*.parquet"))


@pytest.mark.slow
def test_a_running_ingestion_waits_while_the_broker_contradicts(
    broker, store, tmp_path, wall, caplog
):
    """The clock moves between two looks: what it has moved by is known without a third."""
    topic = broker.topic()
    view, stop, seen, failed = view_of(broker.source(topic)), threading.Event(), [], []

    def run():
        try:
            ingest(
                project_of(view),
                store,
                data_dir=tmp_path,
                stop=stop,
                on_commit=lambda _, made, __: seen.append(made),
            )
        except BaseException as error:  # noqa: BLE001 (raised below)
            failed.append(error)

    def accepted():
        assert not failed
        return sum(made.counts.get("accepted", 0) for made in seen)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        events(broker, topic, range(10))
        until(lambda: accepted() == 10, "the first events")
        wall.off = 10 * MINUTE
        events(broker, topic, range(10, 20))
        until(lambda: "differs from the clock of the Kafka broker" in caplog.text, "a refusal")
        assert accepted() == 10
        wall.off = 0
        until(lambda: accepted() == 20, "the others")
    finally:
        stop.set()
        thread.join()
    assert failed == []


def test_a_broker_that_does_not_answer_holds_nobody_up(store, wall, caplog, monkeypatch):
    """The first look is waited for; later calls wait for none. It is asked less and less often, and
    said once.
    """
    asked, hang = [], threading.Event()

    def probe(spec):
        asked.append(spec)
        if len(asked) > 1:
            hang.wait(60)
        raise ConnectError("nobody answers")

    monkeypatch.setattr("headwater.ingestion.sources.kafka_client.probe", probe)
    monkeypatch.setattr(clock_check, "_BACKOFF", Backoff(0.02, 600))
    sources = [
        hw.Source(
            name,
            timestamp_field="at",
            stream=hw.kafka(name, servers="127.0.0.1:9", schema={"at": datetime}),
        )
        for name in "ab"
    ]
    scoped = hw.stores.keyspace.scoped(store, "project", write=True)
    with BrokerClocks(scoped, sources) as clocks:
        clocks.wait()
        until(lambda: len(asked) == 2, "a second look")
        assert [clocks.ahead(doubtful=True) for _ in range(100)] == [None] * 100
        assert len(asked) == 2, "the second look is not over"
        hang.set()
    assert len({id(spec) for spec in asked}) == 1, "both sources read from one broker"
    assert caplog.text.count("nobody answers") == 1


def test_an_old_look_says_nothing(store, wall, monkeypatch):
    stopwatch = [0.0]
    monkeypatch.setattr("headwater.clock.stopwatch", lambda: stopwatch[0])
    found = clock_check._Broker(hw.kafka("t", schema={"at": datetime}))
    from headwater.ingestion.sources.kafka_client import Seen

    found.seen, found.at = Seen(7 * MINUTE, clock.now_micros(), clock.steady_micros()), 0.0
    assert found.ahead() == pytest.approx(7 * MINUTE, abs=1_000_000)
    wall.off = -5 * MINUTE
    assert found.ahead() == pytest.approx(2 * MINUTE, abs=1_000_000)
    stopwatch[0] = 601.0
    assert found.ahead() is None
