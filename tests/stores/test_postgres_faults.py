"""What PostgreSQL does at its worst, on a real server: nothing is written twice, and every fault is
an error that says what to do.
"""

import contextlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.testing.stores import OFFSET, RECORD, as_number, number, record
from tests.stores.servers import Proxy, serving_postgres

psycopg = pytest.importorskip("psycopg", reason="needs the extra postgres")

KEY = OFFSET + b"p"
MANY = [RECORD + b"%d" % i for i in range(300)]
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def shared_server():
    with serving_postgres() as server:
        yield server


@pytest.fixture
def server(shared_server):
    """A server with an empty database of the test's own."""
    shared_server.database = f"faults{next(NUMBERS)}"
    with psycopg.connect(f"{shared_server.address}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {shared_server.database}")
    return shared_server


def url(server, port=None, **options):
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://headwater@127.0.0.1:{port or server.port}/{server.database}?{query}"


@contextlib.contextmanager
def opened(*urls, **options):
    with contextlib.ExitStack() as stack:
        stores = [
            stack.enter_context(contextlib.closing(hw.operations.open_store(each, **options)))
            for each in urls
        ]
        yield stores if len(stores) > 1 else stores[0]


def step(store, to):
    """One batch, as an ingest commits it."""
    (before,) = store.get([KEY])
    store.commit(
        {KEY: number(to), b"a%020d" % to: b""} | {key + b"\0p": record(to) for key in MANY},
        {KEY: before},
    )


def offset(store):
    return as_number(store.get([KEY])[0])


@pytest.mark.services
@pytest.mark.slow
def test_kills_of_the_server_amid_commits(server):
    """Nothing that was answered is lost, nothing is made twice, and the rest is whole."""
    random, stop, answered = Random(5), threading.Event(), []

    def count_on():
        with opened(url(server)) as store:
            while not stop.is_set():
                to = offset(store) + 1
                step(store, to)
                answered.append(to)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(count_on)
        for _ in range(5):
            enough = len(answered) + 5  # however slow the machine is
            while len(answered) < enough and not writer.done():
                time.sleep(0.005)
            time.sleep(random.random() / 5)
            server.kill()
            server.start()
        stop.set()
        writer.result()
    assert answered == list(range(1, len(answered) + 1)), (
        "each is answered once, whether its answer came or was looked up"
    )
    assert len(answered) > 20
    with opened(url(server)) as store:
        assert {value for _, value in store.scan(RECORD)} == {record(offset(store))}
        assert offset(store) == answered[-1] == len(list(store.scan(b"a")))


@pytest.mark.services
@pytest.mark.slow
def test_a_commit_whose_answer_is_lost_is_made_once(server):
    with contextlib.closing(Proxy(server.port)) as proxy, opened(url(server, proxy.port)) as store:
        for to in range(1, 30):
            cut = threading.Timer(Random(to).random() / 50, proxy.switch, [server.port])
            cut.start()
            step(store, to)
            cut.join()
            assert offset(store) == to
        assert len(list(store.scan(b"a"))) == 29


@pytest.mark.services
@pytest.mark.slow
def test_a_server_that_hangs_is_given_up_in_time(server):
    with (
        opened(url(server, timeout="1s")) as store,
        opened(url(server, read_timeout="200ms"), for_requests=True) as reader,
    ):
        step(store, 1)
        assert reader.get([KEY]) == [number(1)]
        server.pause()
        try:
            for given_up, most, call in (
                ("reader", 0.2, lambda: reader.get([KEY])),
                ("writer", 3.0, lambda: step(store, 2)),
            ):
                since = time.monotonic()
                with pytest.raises(StoreError, match="does not answer"):
                    call()
                assert time.monotonic() - since < most + 1.5, given_up
        finally:
            server.resume()
        step(store, 2)
        assert reader.get([KEY]) == [number(2)]


@pytest.mark.services
def test_a_full_disk_is_an_error_and_writes_nothing(server):
    """PostgreSQL says so by the state 53100, which is raised here instead of filling a disk."""
    with opened(url(server)) as store:
        step(store, 1)
        with psycopg.connect(url(server).rstrip("?"), autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = "
                "'53100'; END $$"
            )
            connection.execute(
                "CREATE TRIGGER is_full BEFORE INSERT ON headwater.entries EXECUTE FUNCTION "
                "is_full()"
            )
            with pytest.raises(
                StoreError,
                match=r"No space left.*Nothing was written. Make room on the server's disk",
            ):
                step(store, 2)
            connection.execute("DROP TRIGGER is_full ON headwater.entries")
        assert offset(store) == 1
        step(store, 2)


@pytest.mark.services
def test_a_password_is_not_shown(server):
    with pytest.raises(StoreError) as caught:
        hw.operations.open_store("postgresql://headwater:secret@127.0.0.1:1/d?timeout=100ms")
    assert "secret" not in str(caught.value)
