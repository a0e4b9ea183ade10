"""`headwater ingest` from both emulators into stores of one writer and of several: every event
counts once, also across resharding.
"""

import signal

import pytest

from tests.effort import LONG
from tests.ingestion.world import World
from tests.stores.durable_stores import durable_store

IDS = ', id_field="n", id_horizon="1h"'


@pytest.fixture(
    params=[
        ("moto", "lmdb"),
        ("ministack", "redis"),
        *([("moto", "redis"), ("ministack", "lmdb")] if LONG else []),
    ],
    ids="-".join,
)
def emulator_and_store(request):
    """Each emulator and each store once, but in the longest form."""
    return request.param


@pytest.fixture
def emulator(request, emulator_and_store):
    return request.getfixturevalue(emulator_and_store[0])


@pytest.fixture
def url(emulator_and_store, tmp_path):
    with durable_store(emulator_and_store[1], tmp_path) as address:
        yield address


@pytest.fixture
def make(tmp_path):
    def world(emulator, stream, url, more=IDS):
        given = (
            f'headwater_aws.kinesis("{stream}", region="eu-central-1", '
            f'endpoint_url="{emulator.url}", schema=schema)'
        )
        return World(tmp_path, url, given, more)

    return world


def write(here, emulator, stream, count, hashed=None):
    """Write new events; returns them."""
    # moto repeats bad ones too, in other shards
    made = [event for event in (here.event() for _ in range(count)) if event[1] is not None]
    emulator.put(stream, [line for line, _ in made], hashed=hashed)
    here.took([n for _, n in made])
    return [line for line, n in made if n is not None]


def end(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.log.read_text()


def test_a_stream_of_two_shards(emulator, make, url):
    stream = emulator.stream(2)
    here = make(emulator, stream, url)
    for hashed in (0.1, 0.9):
        write(here, emulator, stream, 700, hashed)
    here.once()
    write(here, emulator, stream, 100, 0.9)
    here.once()
    here.check()


@pytest.mark.parametrize("change", ["split", "merge"])
def test_duplicates_across_a_change_of_shards(emulator, make, url, change):
    stream = emulator.stream(1 if change == "split" else 2)
    here = make(emulator, stream, url)
    before = write(here, emulator, stream, 300, 0.1) + write(here, emulator, stream, 300, 0.9)
    here.once()
    getattr(emulator, change)(stream)
    assert (
        len(emulator.client.call("list_shards", {"StreamName": stream})["Shards"])
        == {
            ("moto", "split"): 3,
            ("moto", "merge"): 3,
            ("ministack", "split"): 2,
            ("ministack", "merge"): 1,
        }[emulator.name, change]
    )
    for payload, hashed in ((before[5], 0.1), (before[400], 0.9)):
        emulator.put(stream, [payload], hashed=hashed)
    write(here, emulator, stream, 100, 0.1)
    write(here, emulator, stream, 100, 0.9)
    here.once()
    here.check()
