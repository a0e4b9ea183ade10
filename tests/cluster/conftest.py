"""A broker behind a proxy, online stores of several machines, and groups of processes that
ingest.
"""

import pytest

from tests.cluster.proxy import Link
from tests.cluster.world import PARTITIONS, Group
from tests.ingestion.kafka.conftest import broker_of
from tests.stores.durable_stores import durable_store
from tests.stores.servers import clustered, free_port

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """A broker, which clients reach by its `link` alone."""
    port, folder = free_port(), tmp_path_factory.mktemp("kafka")
    more = f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ngroup.min.session.timeout.ms=1000\n"
    (folder / "more.properties").write_text(more)
    with broker_of(folder) as made, Link(int(made.servers.rpartition(":")[2]), port) as link:
        made.servers, made.link = f"127.0.0.1:{port}", link
        yield made


@pytest.fixture
def topic(network):
    yield network.topic(PARTITIONS)
    network.link.delay = 0.0
    network.link.heal()


@pytest.fixture
def group_at(network, topic, tmp_path):
    """A Group that ingests the topic into a store."""

    groups = []

    def made(url, **more):
        options = '{"session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}'
        stream = (
            f'hw.kafka("{topic}", servers="{network.servers}", schema=schema, group="{topic}", '
            f"options={options})"
        )
        groups.append(Group(tmp_path, url, stream, **more))
        return groups[-1]

    yield made
    for group in groups:
        group.kill()


@pytest.fixture(params=["redis", "cluster", "postgres"])
def url(request, tmp_path):
    """A store that several processes write to: Redis, a Redis cluster of three masters, PostgreSQL."""
    if request.param == "cluster":
        with clustered(tmp_path / "cluster", *DURABLE) as servers:
            yield f"redis+cluster://127.0.0.1:{servers[0].port}"
    else:
        with durable_store(request.param, tmp_path) as address:
            yield address
