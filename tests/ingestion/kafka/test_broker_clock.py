"""The wall clock is compared with that of a real broker: a commit by one that cannot be right is
refused, and nothing else stops for it.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest

import headwater as hw
from headwater import clock
from headwater.errors import ClockError, ConnectError
from headwater.ingestion import clock_check
from headwater.ingestion.clock_check import BrokerClocks
from headwater.ingestion.ingest import ingest
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.sources.kafka_client import TOPIC, probe
from headwater.retries import Backoff
from tests.flow import project_of
from tests.ingestion.kafka.conftest import Broker
from tests.ingestion.world import wait_until

MINUTE = 60_000_000
AUTHORIZER = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nallow.everyone.if.no.acl.found=true\n"
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


@pytest.fixture
def fresh(broker):
    """The broker, without the topic of the clock."""
    without(broker)
    yield broker
    without(broker)


@pytest.fixture(scope="module")
def guarded(broker, tmp_path_factory):
    """A broker where no one may create the topic of the clock; everything else is allowed."""
    from confluent_kafka.admin import AclOperation, ResourceType

    made = Broker(tmp_path_factory.mktemp("guarded"), "")
    (made.folder / "more.properties").write_text(AUTHORIZER)
    try:
        made.servers = made.run("start")
        rules = [
            rule(ResourceType.BROKER, "kafka-cluster", AclOperation.ALL, allowed=True),
            rule(ResourceType.BROKER, "kafka-cluster", AclOperation.CREATE, allowed=False),
            rule(ResourceType.TOPIC, TOPIC, AclOperation.DESCRIBE, allowed=True),
            rule(ResourceType.TOPIC, TOPIC, AclOperation.CREATE, allowed=False),
        ]
        mine = made.topic()
        admin = made.admin()
        for done in admin.create_acls(rules).values():
            done.result()
        yield made, mine
    finally:
        made.run("stop")


def rule(kind, name, operation, *, allowed):
    from confluent_kafka.admin import AclBinding, AclPermissionType, ResourcePatternType

    permission = AclPermissionType.ALLOW if allowed else AclPermissionType.DENY
    return AclBinding(
        kind, name, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission
    )


def without(broker):
    from confluent_kafka import KafkaException

    admin = broker.admin()
    while TOPIC in admin.list_topics(timeout=5).topics:
        try:
            admin.delete_topics([TOPIC])[TOPIC].result()
        except KafkaException:  # it is being deleted
            time.sleep(0.1)


def settings_of(broker):
    from confluent_kafka.admin import ConfigResource

    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC)
    admin = broker.admin()
    return {
        name: entry.value
        for name, entry in admin.describe_configs([resource])[resource].result().items()
    }


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


@pytest.mark.slow
@pytest.mark.parametrize("off", [0, 6, -6, 60 * 24 * 365])
def test_how_far_the_wall_clock_is_from_the_broker(off, broker, wall):
    wall.off = off * MINUTE
    assert probe(broker.source("any").stream).ahead == pytest.approx(off * MINUTE, abs=5_000_000)


@pytest.mark.slow
def test_the_topic_is_made_once_by_whoever_comes_first(fresh):
    stream = fresh.source("any").stream
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: probe(stream).ahead, range(4)))
    assert max(map(abs, found)) < 5_000_000
    told = settings_of(fresh)
    assert {
        name: told[name]
        for name in ("message.timestamp.type", "retention.ms", "segment.ms", "cleanup.policy")
    } == {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "3600000",
        "segment.ms": "3600000",
        "cleanup.policy": "delete",
    }
    admin = fresh.admin()
    assert len(admin.list_topics(TOPIC, timeout=5).topics[TOPIC].partitions) == 1


def test_a_topic_that_its_writers_stamp_says_nothing(fresh):
    from confluent_kafka.admin import NewTopic

    admin = fresh.admin()
    admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result()
    with pytest.raises(ConnectError, match=r"message\.timestamp\.type=LogAppendTime"):
        probe(fresh.source("any").stream)


@pytest.mark.slow
def test_a_broker_that_is_down_is_waited_for_briefly(broker):
    began = time.monotonic()
    with pytest.raises(ConnectError, match="answers"):
        probe(broker.source("any", servers="127.0.0.1:9").stream)
    assert time.monotonic() - began < 30


def test_options_of_a_consumer_are_no_hindrance(broker):
    options = {
        "session.timeout.ms": "6000",
        "partition.assignment.strategy": "range",
        "acks": "0",
        "queued.min.messages": "1000",
    }
    assert abs(probe(broker.source("any", options=options).stream).ahead) < 5_000_000


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
def test_it_can_be_turned_off(fresh, store, tmp_path, wall):
    topic = fresh.topic()
    view = view_of(fresh.source(topic))
    events(fresh, topic, range(10))
    wall.off = 6 * MINUTE
    ingest(
        project_of(view),
        store,
        data_dir=tmp_path,
        once=True,
        limits=IngestLimits(broker_clock=False),
    )
    assert standing(view, store, tmp_path) == ("not compared: it is turned off", 10)
    assert TOPIC not in fresh.admin().list_topics(timeout=5).topics


@pytest.mark.services
@pytest.mark.slow
def test_without_permission_ingestion_goes_on_and_says_so(guarded, store, tmp_path, wall, caplog):
    broker, topic = guarded
    view = view_of(broker.source(topic))
    events(broker, topic, range(10))
    ingest(project_of(view), store, data_dir=tmp_path, once=True)
    said, accepted = standing(view, store, tmp_path)
    assert accepted == 10
    assert said.startswith(
        f"not compared: the topic {TOPIC} does not exist, and may not be created: "
    )
    assert [r.message for r in caplog.records if "not compared" in r.message] == [
        (
            f"the wall clock is not compared with that of the Kafka broker at {broker.servers!r}: "
            f"{said.removeprefix('not compared: ')}"
        )
    ]


@pytest.mark.services
@pytest.mark.slow
def test_a_topic_that_may_not_be_written_to(guarded):
    """An administrator lets the topic be created, and forgets to let headwater write to it."""
    from confluent_kafka.admin import (
        AclBindingFilter,
        AclOperation,
        AclPermissionType,
        ResourcePatternType,
        ResourceType,
    )

    broker, _ = guarded
    admin = broker.admin()
    (made,) = admin.create_acls(
        [rule(ResourceType.TOPIC, TOPIC, AclOperation.WRITE, allowed=False)]
    ).values()
    made.result()
    every = AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        None,
        None,
        AclOperation.CREATE,
        AclPermissionType.DENY,
    )
    (gone,) = admin.delete_acls([every]).values()
    gone.result()
    said = []

    def refused():
        with pytest.raises(ConnectError) as caught:
            probe(broker.source("any").stream)
        said.append(str(caught.value))
        return "may not be created" not in said[-1]  # the rules are in force

    wait_until(refused, "the topic")
    assert "answers: Broker: Topic authorization failed" in said[-1]


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
        wait_until(lambda: accepted() == 10, "the first events")
        wall.off = 10 * MINUTE
        events(broker, topic, range(10, 20))
        wait_until(lambda: "differs from the clock of the Kafka broker" in caplog.text, "a refusal")
        assert accepted() == 10
        wall.off = 0
        wait_until(lambda: accepted() == 20, "the others")
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
            hang.wait(30)
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
        wait_until(lambda: len(asked) == 2, "a second look")
        began = time.monotonic()
        assert [clocks.ahead(doubtful=True) for _ in range(100)] == [None] * 100
        assert time.monotonic() - began < 5
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
