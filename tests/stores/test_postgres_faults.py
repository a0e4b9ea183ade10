"""What PostgreSQL does at its worst, on a real server: nothing is written twice, and every fault is
an error that says what to do.
"""

import contextlib
import itertools
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

import headwater as hw
from headwater.errors import FencedError, StoreError, UsageError
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
def test_a_connection_with_tls_that_breaks_is_made_again():
    """The library names TLS in the error of a connection that breaks, as in that of one that is
    refused.
    """
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    with serving_postgres() as server:
        key, cert = (server.data / name for name in ("key.pem", "cert.pem"))
        subprocess.run(
            [
                openssl,
                *[
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=localhost",
                    "-keyout",
                ],
                key,
                "-out",
                cert,
            ],
            check=True,
            capture_output=True,
        )
        for file in (key, cert):
            shutil.chown(file, server.data.owner(), server.data.group())
            file.chmod(0o600)
        server.restart("-c", "ssl=on", "-c", f"ssl_key_file={key}", "-c", f"ssl_cert_file={cert}")
        server.database = "postgres"
        with (
            contextlib.closing(Proxy(server.port)) as proxy,
            opened(url(server, proxy.port, sslmode="require")) as store,
        ):
            for to in range(1, 4):
                step(store, to)
                proxy.switch(server.port)
                assert offset(store) == to


@pytest.mark.services
def test_a_commit_that_was_given_up_is_not_made_later(server):
    """Its writer has looked it up, and it was not there."""
    with opened(url(server)) as store:
        store._count += 1
        assert not store._was_made()
        with (
            pytest.raises(StoreError, match="was given up"),
            store._connected() as connection,
            connection.transaction(),
        ):
            store._write(connection, {KEY: number(1)}, {})
        assert offset(store) == 0
        step(store, 1)
        assert store._was_made()


@pytest.mark.services
def test_commits_that_lock_each_other_are_made(server):
    """Each expects what the other writes, in the other order."""
    with opened(url(server), url(server)) as stores:
        for store, (mine, other) in zip(stores, ((b"o1", b"o2"), (b"o2", b"o1")), strict=True):
            store.commit({mine: b"0", other: b"0"}, {})
        with ThreadPoolExecutor(2) as pool:

            def run(store, mine, other):
                for n in range(50):
                    store.commit({other: number(n)}, {mine + b"!": None})
                    store.commit(
                        dict.fromkeys([mine, other], number(n)) | {mine + b"?": number(n)},
                        {other + b"!": None},
                    )

            for done in [
                pool.submit(run, stores[0], b"o1", b"o2"),
                pool.submit(run, stores[1], b"o2", b"o1"),
            ]:
                done.result()
        assert stores[0].get([b"o1?", b"o2?", b"o1!", b"o2!"]) == [
            number(49),
            number(49),
            None,
            None,
        ]
        assert dict(stores[0].scan(b"o1!")) == {}


@pytest.mark.services
def test_of_two_that_expect_nothing_one_waits_and_is_fenced(server):
    with opened(url(server), url(server)) as (one, other), ThreadPoolExecutor(1) as pool:
        with one._connected() as connection, connection.transaction():
            one._count += 1
            one._write(connection, {b"o": b"one"}, {b"o": None})
            second = pool.submit(other.commit, {b"o": b"other"}, {b"o": None})
            time.sleep(0.2)
            assert not second.done()
            assert other.get([b"o"]) == [None], "a reader does not wait"
        with pytest.raises(FencedError):
            second.result()
        assert other.get([b"o"]) == [b"one"]


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
def test_the_holder_of_a_lease_is_named(server):
    with opened(url(server), url(server)) as (one, other), one.lease("ingest", wait=0):
        with (
            pytest.raises(
                StoreError, match=r"another process holds the lease 'ingest' of .*: process \d+ on "
            ),
            other.lease("ingest", wait=0),
        ):
            raise AssertionError
        with opened(url(server, prefix="another")) as third, third.lease("ingest", wait=0):
            pass


@pytest.mark.services
def test_a_lease_that_is_released_is_free_at_once(server, monkeypatch):
    """The server ends it with its connection too, but later."""
    left_open = []

    def leaving_open(connection):
        left_open.append(connection)

    with opened(url(server)) as store:
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Connection, "close", leaving_open)
            for _ in range(2):
                with store.lease("ingest", wait=0):
                    pass
        for connection in left_open:
            connection.close()


@pytest.mark.services
def test_reading_only(server):
    with pytest.raises(
        StoreError, match=r"there is no online store in .* under the prefix 'headwater'"
    ):
        hw.operations.open_store(url(server), readonly=True)
    with opened(url(server)) as store:
        step(store, 1)
    with opened(url(server), readonly=True) as store:
        assert offset(store) == 1
        with pytest.raises(StoreError, match="opened to be read only"):
            step(store, 2)


@pytest.mark.services
def test_two_prefixes_share_nothing(server):
    with opened(url(server), url(server, prefix="Shop.a-1")) as (one, other):
        step(one, 1)
        assert offset(other) == 0
        step(other, 2)
        assert offset(one) == 1


REFUSED = {
    "no such database": (
        "postgresql://headwater@127.0.0.1:{port}/nowhere",
        "does not exist.*Create the database",
    ),
    "no such user": ("postgresql://stranger@127.0.0.1:{port}/postgres", "does not exist"),
    "may not create": (
        "postgresql://guest@127.0.0.1:{port}/postgres",
        "permission denied.*Grant the user CREATE",
    ),
    "only reads": (
        "postgresql://standby@127.0.0.1:{port}/postgres",
        "read-only transaction.*give the address of the primary",
    ),
    "nobody there": (
        "postgresql://headwater@127.0.0.1:1/postgres?timeout=300ms",
        "does not answer.*Start it, or correct its address",
    ),
}


@pytest.mark.services
@pytest.mark.parametrize(("address", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_says_what_to_do(server, address, said):
    with psycopg.connect(f"{server.address}/postgres", autocommit=True) as connection:
        for user in ("guest", "standby"):
            connection.execute(
                f"DO $$ BEGIN CREATE ROLE {user} LOGIN; EXCEPTION WHEN duplicate_object THEN END $$"
            )
        connection.execute("ALTER ROLE standby SET default_transaction_read_only = on")
    since = time.monotonic()
    with pytest.raises(StoreError, match=said):
        hw.operations.open_store(address.format(port=server.port))
    assert time.monotonic() - since < 5, "what no waiting helps is not waited for"


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


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "postgresql://h/d?prefx=a",
            r"the option 'prefx' of postgresql://h/d is not known; .*'prefix'",
        ),
        (
            "postgresql://h/d?prefix=a%22b",
            r"prefix='a\"b' of postgresql://h/d: use up to 63 letters",
        ),
    ],
)
def test_bad_urls(address, said):
    with pytest.raises(UsageError, match=said):
        hw.operations.open_store(address)


@pytest.mark.services
def test_a_password_is_not_shown(server):
    with pytest.raises(StoreError) as caught:
        hw.operations.open_store("postgresql://headwater:secret@127.0.0.1:1/d?timeout=100ms")
    assert "secret" not in str(caught.value)
