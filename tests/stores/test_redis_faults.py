"""What Redis does at its worst, on real servers: losses are found, and nothing is written twice."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

import headwater as hw
from headwater.errors import FencedError, LostError, StoreError, UsageError
from headwater.testing.stores import OFFSET, RECORD, as_number, number, record, restore_into
from tests.stores.servers import Proxy, SentinelServer, Server, clustered, free_port, serving, whole
from tests.waiting import until

AOF = ("--appendonly", "yes", "--appendfsync", "always")
KEY = OFFSET + b"p"
MANY = [RECORD + b"%d" % i for i in range(300)]


def step(store, to, partition=b"p", records=MANY):
    """One batch, as an ingest commits it: the offset is expected to be where it was."""
    key = OFFSET + partition
    (before,) = store.get([key])
    store.commit(
        {key: number(to)} | {r + b"\0" + partition: record(to) for r in records}, {key: before}
    )


def offset(store, partition=b"p"):
    return as_number(store.get([OFFSET + partition])[0])


@contextlib.contextmanager
def opened(url, *more):
    stores = [hw.operations.open_store(each) for each in (url, *more)]
    try:
        yield stores if more else stores[0]
    finally:
        for store in stores:
            store.close()


@pytest.fixture
def closing():
    """Closes what it is given when the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda each: stack.enter_context(contextlib.closing(each))


@pytest.fixture
def failover(tmp_path, closing):
    """A proxy before a primary; its replica; `cut`, which cuts the replica off; and `fail`, which
    puts it in the primary's place.
    """
    primary = closing(Server(tmp_path / "primary"))
    proxy, link = closing(Proxy(primary.port)), closing(Proxy(primary.port))
    replica = closing(primary.replica(tmp_path / "replica", link.port))

    def cut():
        link.switch(1)  # no server there

    def fail():
        primary.kill()
        with replica.client as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        proxy.switch(replica.port)

    return proxy, replica, cut, fail


def catch_up(store, replica):
    """Wait until the replica has all that was committed."""
    with replica.client as client:
        until(lambda: client.hget("{headwater}:meta", "n") == str(store._n).encode())


# ---------------------------------------------------------------- servers that come back


@pytest.mark.services
def test_a_server_that_comes_back_empty_is_found(tmp_path):
    with serving(tmp_path) as server, opened(server.url) as store:
        step(store, 5)
        server.kill()
        server.start()
        for _ in range(2):
            with pytest.raises(
                LostError, match=r"restarted empty: all 2 commits are lost.*prefix="
            ):
                store.commit({b"o": b""}, {})
        with server.client as client:
            assert client.dbsize() == 0, "a fenced writer has written"
        with opened(server.url) as new:
            step(new, 1)
            with pytest.raises(LostError):
                step(store, 6)
            assert offset(new) == 1


@pytest.mark.services
def test_a_failover_that_loses_a_commit_fences_its_writer(failover):
    proxy, replica, cut, fail = failover
    with opened(proxy.url) as store:
        step(store, 5)
        catch_up(store, replica)
        cut()
        step(store, 6)
        fail()
        with pytest.raises(
            LostError,
            match=r"holds 2 commits; this process had made commit 3\..*Open the store again",
        ):
            store.commit({KEY: number(7)}, {})  # with any expectation
        with pytest.raises(LostError):
            store.check()
        with opened(proxy.url) as new:
            assert offset(new) == 5
            step(new, 6)
            with pytest.raises(LostError):
                store.commit({KEY: number(7)}, {})
            assert offset(new) == 6


@pytest.mark.services
def test_a_writer_whose_whole_epoch_is_lost_is_fenced(tmp_path):
    with serving(tmp_path) as server, opened(server.url) as store:
        step(store, 5)
        with server.client as client:
            client.save()
        server.kill()
        server.start()  # from the file: a new epoch, which is not in it
        step(store, 6)
        server.kill()
        server.start()
        with opened(server.url) as new:
            for to in range(6, 12):
                step(new, to)
            with pytest.raises(LostError, match="an earlier state"):
                store.commit({KEY: number(7)}, {})
            assert offset(new) == 11


def count_on(url, stop, made):
    """Commit batches until told to stop, as an ingest does: after an error it goes on from the
    offset that is stored.
    """
    with opened(url) as store:
        to = 0
        while not stop.is_set():
            try:
                step(store, to + 1)
                made.append(to + 1)
            except LostError:
                raise
            except StoreError:
                made.append(None)
                store.mend(KEY)
            to = offset(store)


@pytest.mark.services
def test_kills_of_the_server_amid_commits(tmp_path):
    """With `appendfsync always` nothing that was answered is lost, nothing is made twice, and the
    rest is whole.
    """
    random, stop, made = Random(5), threading.Event(), []

    def made_so_far():
        return sum(to is not None for to in made)

    with serving(tmp_path, *AOF) as server:
        hw.operations.open_store(server.url).close()
        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(count_on, server.url, stop, made)
            for _ in range(10):
                enough = made_so_far() + 3  # however slow the machine is
                while made_so_far() < enough and not writer.done():
                    time.sleep(0.005)
                time.sleep(random.random() / 10)
                server.kill()
                server.start()
            stop.set()
            writer.result()
        with opened(server.url) as store:
            answered = [to for to in made if to is not None]
            assert answered == sorted(set(answered))
            assert len(answered) > 20
            assert {value for _, value in store.scan(RECORD)} == {record(offset(store))}
            assert offset(store) >= answered[-1]
            with server.client as client:
                assert int(client.hget("{headwater}:meta", "n")) == offset(store) + 1, (
                    "a commit was made twice"
                )


# ---------------------------------------------------------------- answers that do not come


@pytest.mark.services
def test_a_commit_whose_answer_is_lost_is_made_once(tmp_path, closing):
    with serving(tmp_path) as server:
        proxy = closing(Proxy(server.port))
        with opened(proxy.url) as store:
            for to in range(1, 20):
                proxy.cut_answers = to % 4
                store.commit({KEY: number(to)}, {KEY: number(to - 1) if to > 1 else None})
            assert proxy.cut_answers == 0
            with server.client as client:
                assert client.hget("{headwater}:meta", "n") == b"20", (
                    "with the one that made the store"
                )


@pytest.mark.services
def test_a_server_that_hangs_is_an_error_and_the_next_commit_is_right(tmp_path):
    with serving(tmp_path) as server, opened(server.url + "?timeout=300ms") as store:
        store.commit({KEY: number(1)}, {})
        server.pause()
        started = time.monotonic()
        with pytest.raises(
            StoreError, match=r"does not answer.*Whether the last commit was made is not known"
        ):
            store.commit({KEY: number(2)}, {KEY: number(1)})
        with pytest.raises(StoreError, match="does not answer"):
            store.get([KEY])
        assert time.monotonic() - started < 5
        server.resume()
        now = offset(store)
        assert now in {1, 2}
        store.commit({KEY: number(now + 1)}, {KEY: number(now)})
        assert offset(store) == now + 1


# ---------------------------------------------------------------- servers that refuse


def fill(store):
    for i in range(20):
        store.commit({b"v%d" % i: b"x" * 1_000_000, KEY: number(i + 2)}, {KEY: number(i + 1)})


@pytest.mark.services
def test_full_memory_is_an_error_and_writes_nothing(tmp_path):
    with serving(tmp_path, "--maxmemory", "8mb") as server, opened(server.url) as store:
        step(store, 1)
        with pytest.raises(
            StoreError, match=r"Nothing was written\. Its memory is full: raise maxmemory"
        ):
            fill(store)
        held = offset(store)
        assert 2 <= held < 20
        assert len(list(store.scan(b"v"))) == held - 1
        store.commit(dict.fromkeys(key for key, _ in store.scan(b"v")), {})  # dropping makes room
        with server.client as client:
            client.config_set("maxmemory", "100mb")
        step(store, held + 1)
        assert offset(store) == held + 1


@pytest.mark.services
@pytest.mark.parametrize(
    "policy",
    [
        "allkeys-lru",
    ],
)
def test_a_server_that_drops_keys_is_refused(tmp_path, policy):
    with serving(tmp_path, "--maxmemory", "50mb", "--maxmemory-policy", policy) as server:
        with pytest.raises(
            StoreError, match=f"maxmemory-policy {policy}.*set `maxmemory-policy noeviction`"
        ):
            hw.operations.open_store(server.url)
        with server.client as client:
            client.config_set("maxmemory", "0")  # never full
        hw.operations.open_store(server.url).close()


@pytest.mark.services
def test_passwords_are_used_and_never_shown(tmp_path):
    with serving(tmp_path) as server:
        with server.client as client:
            client.config_set("requirepass", "hush")
        url = server.url.replace("redis://", "redis://default:{}@")
        hw.operations.open_store(url.format("hush")).close()
        for wrong in (url.format("wrong"), server.url):
            with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:\d+/0 ") as caught:
                hw.operations.open_store(wrong + "?timeout=300ms")
            assert "wrong" not in str(caught.value).replace("wrong number", "").replace(
                "WRONGPASS", ""
            )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h/0?prefx=a", "did you mean 'prefix'"),
        ("redis://h/0?replicas=two", "give an integer"),
        ("redis://:secret@h:port/0", "^redis://h:port/0"),
    ],
)
def test_bad_urls(url, said):
    with pytest.raises(UsageError, match=said):
        hw.operations.open_store(url)


# ---------------------------------------------------------------- backups


@pytest.mark.services
def test_a_backup_while_commits_are_made_has_records_that_are_no_older_than_its_offset(tmp_path):
    with (
        serving(tmp_path / "server") as server,
        opened(server.url, server.url + "?prefix=again") as (store, again),
    ):
        step(store, 1)
        stop = threading.Event()

        def write():
            for to in range(2, 10_000):
                if stop.is_set():
                    return
                step(store, to)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            time.sleep(0.1)
            store.backup(tmp_path / "backup")
        finally:
            stop.set()
            writer.join()
        restore_into(tmp_path / "backup", again)
        assert 1 < offset(again) <= offset(store)
        throughs = [as_number(value[8:16]) for _, value in again.scan(RECORD)]
        assert len(throughs) == 300
        assert min(throughs) >= offset(again)


# ---------------------------------------------------------------- clusters


@pytest.fixture
def cluster(tmp_path):
    with clustered(tmp_path, *AOF) as servers:
        yield servers, f"redis+cluster://127.0.0.1:{servers[0].port}?timeout=15s"


def restart(servers, number, forget=0):
    """Kill a master and start it again, without the last `forget` bytes of what it has written down
    (None: without any).
    """
    server = servers[number]
    server.kill()
    if forget is None:
        for file in (server.folder / "appendonlydir").iterdir():
            file.unlink()
        (server.folder / "appendonlydir").rmdir()
    elif forget:
        (log,) = (server.folder / "appendonlydir").glob("*.incr.aof")
        log.write_bytes(log.read_bytes()[:-forget])
    server.start()
    until(lambda: all(whole(each, len(servers)) for each in servers), "a whole cluster")


def master_of(servers, key):
    for place, server in enumerate(servers):
        with server.client as client:
            if key in client.keys("*"):
                return place
    raise AssertionError(key)


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.parametrize(
    "forget",
    [
        None,
    ],
    ids=[
        "everything",
    ],
)
def test_records_that_a_master_lost_are_found_by_everybody(cluster, forget):
    servers, url = cluster
    with opened(url) as store:
        step(store, 1)
        step(store, 2)
        state = master_of(servers, b"{headwater}:state")
        restart(servers, (state + 1) % 3, forget)
        with pytest.raises(LostError, match=r"has lost commits of \d+ of 256 groups.*store rewind"):
            step(store, 3)
        for _ in range(2):
            with opened(url) as new, pytest.raises(LostError):
                step(new, 3)
        with opened(url) as new:
            assert new.reconcile()
        with pytest.raises(FencedError):
            step(store, 3)
        with opened(url) as new:
            # which was decided before it was refused
            assert (offset(new), list(new.scan(RECORD))) == (3, [])
            step(new, 4)
            assert {value for _, value in new.scan(RECORD)} == {record(4)}


@pytest.mark.services
@pytest.mark.slow
def test_kills_of_masters_amid_commits(cluster):
    servers, url = cluster
    random, stop, made = Random(6), threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(count_on, url, stop, made)
        for _ in range(5):
            time.sleep(random.random() / 2)
            restart(servers, random.randrange(3))
        until(lambda: sum(to is not None for to in made) > 10, "commits")
        stop.set()
        writer.result()
    with opened(url) as store:
        answered = [to for to in made if to is not None]
        assert len(answered) > 10
        assert offset(store) >= answered[-1]
        assert {as_number(value[8:16]) for _, value in store.scan(RECORD)} <= {
            offset(store),
            offset(store) + 1,
        }
        assert min(as_number(value[8:16]) for _, value in store.scan(RECORD)) >= offset(store)


SECRET = ("--requirepass", "open", "--masterauth", "open")


@pytest.fixture
def shop(tmp_path, closing):
    """A primary and two replicas with a password, and Sentinel with another one, that knows them as
    `shop`.
    """
    primary = closing(Server(tmp_path / "primary", *SECRET))
    replicas = [
        closing(
            Server(tmp_path / f"replica{n}", *SECRET, "--replicaof", "127.0.0.1", str(primary.port))
        )
        for n in range(2)
    ]
    sentinel = closing(
        SentinelServer(
            tmp_path / "sentinel",
            "shop",
            primary,
            "sentinel auth-pass shop open",
            "requirepass watch",
        )
    )
    return primary, replicas, sentinel


def sentinel_url(sentinel, *, name="shop/1", password="open", more=""):
    """The first host does not exist."""
    return f"redis+sentinel://:{password}@127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/{name}?sentinel_password=watch{more}"


@pytest.mark.services
def test_a_store_goes_on_with_the_primary_that_sentinel_promotes(shop):
    primary, replicas, sentinel = shop
    with opened(sentinel_url(sentinel, more="&replicas=1&timeout=30s")) as store:
        step(store, 1)
        assert "watch" not in repr(store)
        primary.kill()
        step(store, 2)
        assert offset(store) == 2
    with replicas[0].client as one, replicas[1].client as two:
        for client in (one, two):
            client.execute_command("AUTH", "open")
        assert "master" in {client.info("replication")["role"] for client in (one, two)}
        assert one.execute_command("INFO", "keyspace")["db1"]["keys"], "the database of the URL"
