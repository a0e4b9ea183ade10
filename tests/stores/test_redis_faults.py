"""What Redis does at its worst, on real servers: losses are found, and nothing is written twice."""

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

import headwater as hw
from headwater.errors import FencedError, LostError, MissingExtraError, StoreError, UsageError
from headwater.testing.stores import OFFSET, RECORD, as_number, number, record, restore_into
from tests.stores.commands import restore
from tests.stores.servers import Proxy, SentinelServer, Server, clustered, free_port, serving, whole

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
    until = time.monotonic() + 10
    with replica.client as client:
        while client.hget("{headwater}:meta", "n") != str(store._n).encode():
            assert time.monotonic() < until
            time.sleep(0.01)


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
def test_a_server_that_comes_back_whole_goes_on(tmp_path):
    with serving(tmp_path, *AOF) as server, opened(server.url, server.url) as (store, other):
        for to in range(1, 6):
            step(store, to)
            step(other, to, b"q")
            server.kill()
            server.start()
        step(store, 6)
        store.check()
        assert (offset(store), offset(other, b"q")) == (6, 5)
        with opened(server.url + "?timeout=1s") as reader:
            assert reader.get([r + b"\0p" for r in MANY]) == [record(6)] * 300


@pytest.mark.services
def test_a_failover_without_loss_goes_on(failover):
    proxy, replica, _, fail = failover
    with opened(proxy.url) as store:
        step(store, 5)
        catch_up(store, replica)
        fail()
        step(store, 6)
        assert offset(store) == 6


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
def test_a_writer_is_fenced_even_if_others_went_on_first(failover):
    """Their commits must not make up for the number of those that are lost; nor must a second
    restart hide it.
    """
    proxy, replica, cut, fail = failover
    with opened(proxy.url, proxy.url) as (loser, other):
        step(loser, 5)
        step(other, 5, b"q")
        catch_up(other, replica)
        cut()
        step(loser, 6)
        fail()
        for to in range(6, 12):
            step(other, to, b"q")
        other.check()
        with pytest.raises(LostError):
            step(loser, 7)
        assert (offset(other), offset(other, b"q")) == (5, 11)


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


@pytest.mark.services
def test_a_primary_that_comes_back_from_being_a_replica_is_another(tmp_path, closing):
    """The same process, which took over the state of a replica that lacked a commit."""
    with serving(tmp_path / "a") as server, opened(server.url) as store:
        link = closing(Proxy(server.port))
        replica = closing(server.replica(tmp_path / "b", link.port))
        step(store, 5)
        catch_up(store, replica)
        link.switch(1)
        step(store, 6)
        with replica.client as there, server.client as here:
            there.execute_command("REPLICAOF", "NO", "ONE")
            here.execute_command("REPLICAOF", "127.0.0.1", replica.port)
            until = time.monotonic() + 20
            while here.info("replication")["master_link_status"] != "up":
                assert time.monotonic() < until
                time.sleep(0.02)
            here.execute_command("REPLICAOF", "NO", "ONE")
        with pytest.raises(LostError):
            store.commit({KEY: number(7)}, {})
        assert offset(store) == 5


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
def test_a_commit_whose_answer_is_lost_waits_for_replicas_too(failover):
    """It is looked up by another connection, and a server counts only what that one has written."""
    proxy, replica, _, _ = failover
    with opened(proxy.url + "?replicas=1&timeout=1s") as store:
        step(store, 1)
        replica.pause()
        proxy.cut_answers = 1
        with pytest.raises(StoreError, match="0 replicas have it and replicas=1 are asked for"):
            store.commit({KEY: number(2)}, {KEY: number(1)})
        assert proxy.cut_answers == 0
        replica.resume()
        assert offset(store) == 2
        step(store, 3)


@pytest.mark.services
def test_a_commit_that_never_arrived_is_made_again(tmp_path, closing):
    with serving(tmp_path, *AOF) as server:
        proxy = closing(Proxy(server.port))
        with opened(proxy.url) as store:
            step(store, 1)
            proxy.switch(1)  # no server there
            threading.Timer(0.5, proxy.switch, [server.port]).start()
            store.commit({KEY: number(2)}, {KEY: number(1)})
            assert offset(store) == 2


@pytest.mark.services
def test_a_lease_whose_answer_is_lost_is_held(tmp_path, closing):
    """It is taken once, and a repeat of the same call finds that it has it; another one waits as
    ever.
    """
    with serving(tmp_path) as server:
        proxy = closing(Proxy(server.port))
        with opened(proxy.url, server.url) as (store, other):
            store.get([KEY])
            proxy.cut_answers = 1
            with store.lease("ingest", wait=0):
                assert proxy.cut_answers == 0
                with (
                    pytest.raises(StoreError, match="another process holds the lease 'ingest'"),
                    other.lease("ingest", wait=0),
                ):
                    pass
            with (
                other.lease("ingest", wait=0),
                pytest.raises(StoreError, match="another process holds"),
                store.lease("ingest", wait=0),
            ):
                pass


@pytest.mark.services
def test_what_is_asked_for_together_is_of_one_moment(tmp_path):
    with serving(tmp_path) as server, opened(server.url, server.url) as (store, reader):
        key = MANY[0] + b"\0p"
        store.commit({KEY: number(0), key: record(0)}, {})
        more = [OFFSET + b"%060d" % i for i in range(2000)]  # more than a server reads in one go

        def write():
            for to in range(1, 2000):
                store.commit({KEY: number(to), key: record(to)}, {})

        writer = threading.Thread(target=write)
        writer.start()
        seen = []
        while writer.is_alive():
            at, *_, held = reader.get([KEY, *more, key])
            seen.append(as_number(at))
            assert as_number(held[8:16]) == as_number(at)
        writer.join()
        assert len(set(seen)) > 10


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


@pytest.mark.services
def test_an_answer_that_comes_too_late_is_none_to_the_next_call(tmp_path):
    with serving(tmp_path) as server, opened(server.url + "?timeout=1s") as store:
        store.commit({b"a": b"1", b"b": b"2"}, {})
        server.pause()
        with pytest.raises(StoreError, match="does not answer"):
            store.get([b"a"])
        resume = threading.Timer(0.3, server.resume)
        resume.start()
        assert store.get([b"b"]) == [b"2"]
        resume.join()


@pytest.mark.services
def test_a_server_that_is_not_there(tmp_path):
    with serving(tmp_path) as server:
        url = server.url
    with pytest.raises(
        StoreError, match=r"^redis://127\.0\.0\.1:\d+/0 does not answer.*Is it running"
    ):
        hw.operations.open_store(url + "?timeout=200ms")


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
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
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
def test_a_replica_is_refused_and_a_primary_that_becomes_one_too(tmp_path):
    with (
        serving(tmp_path / "a") as server,
        serving(tmp_path / "b") as other,
        opened(server.url) as store,
    ):
        step(store, 1)
        with server.client as client:
            client.execute_command("REPLICAOF", "127.0.0.1", other.port)
        with pytest.raises(StoreError, match="is a replica"):
            hw.operations.open_store(server.url)
        with pytest.raises(
            StoreError, match=r"is a replica: give the address of the primary|restarted empty"
        ):
            step(store, 2)


@pytest.mark.services
def test_replicas_that_are_asked_for(tmp_path, closing):
    with serving(tmp_path / "a") as server:
        with pytest.raises(StoreError, match=r"0 replicas have it and replicas=1"):
            hw.operations.open_store(server.url + "?replicas=1&timeout=400ms")
        replica = closing(server.replica(tmp_path / "b"))
        with opened(server.url + "?replicas=1") as store, replica.client as client:
            step(store, 1)
            assert client.hget("{headwater}:state", KEY) == number(1)


@pytest.mark.services
def test_a_replica_can_be_read_and_may_come_and_go(tmp_path, closing):
    with serving(tmp_path / "a") as server, opened(server.url) as store:
        step(store, 1)
        # the first one gives the primary a new replication id
        replica = closing(server.replica(tmp_path / "b"))
        step(store, 2)
        catch_up(store, replica)
        with contextlib.closing(hw.operations.open_store(replica.url, readonly=True)) as reader:
            assert offset(reader) == 2
            assert len(list(reader.scan(RECORD))) == 300
        replica.kill()
        step(store, 3)
        assert offset(store) == 3


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


@pytest.mark.services
def test_a_user_that_may_not_write(tmp_path):
    with serving(tmp_path) as server:
        hw.operations.open_store(server.url).close()
        with server.client as client:
            client.execute_command(
                "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection", "+info"
            )
        with pytest.raises(StoreError, match=r"Allow the user EVAL"):
            hw.operations.open_store(server.url.replace("//", "//reader:pw@"))


@pytest.mark.services
def test_a_certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    how = [
        "-nodes",
        "-newkey",
        "rsa:2048",
        "-keyout",
        key,
        "-out",
        cert,
        "-days",
        "1",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(["openssl", "req", "-x509", *how], check=True, capture_output=True)
    port = free_port()
    more = (
        "--tls-port",
        str(port),
        "--tls-cert-file",
        str(cert),
        "--tls-key-file",
        str(key),
        "--tls-auth-clients",
        "no",
    )
    with serving(tmp_path / "server", *more):
        with opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}") as store:
            step(store, 3)
            assert offset(store) == 3
        with pytest.raises(StoreError, match=r"does not answer.*certificate"):
            hw.operations.open_store(f"rediss://127.0.0.1:{port}/0?timeout=300ms")


@pytest.mark.services
def test_a_socket(tmp_path):
    with (
        serving(tmp_path, "--unixsocket", str(tmp_path / "s")),
        opened(f"unix://{tmp_path}/s?db=2&prefix=x") as store,
    ):
        step(store, 3)
        assert offset(store) == 3


@pytest.mark.services
def test_prefixes_and_databases_are_apart(tmp_path):
    with serving(tmp_path) as server:
        urls = [server.url, server.url + "?prefix=other", server.url[:-1] + "1"]
        with opened(*urls) as stores:
            for to, store in enumerate(stores, 1):
                step(store, to)
            assert [offset(store) for store in stores] == [1, 2, 3]
            assert [len(list(store.scan(RECORD))) for store in stores] == [300] * 3


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h/0?prefx=a", "did you mean 'prefix'"),
        ("redis://h/0?prefix=a{b", "use up to 63 letters"),
        ("redis://h/0?replicas=two", "give an integer"),
        ("redis+proxy://h/0", "redis\\+cluster"),
        ("redis://h/two", "the database 'two' of redis://h/two: give an integer"),
        (
            "redis+sentinel://h/shop/two",
            "the database 'two' of redis\\+sentinel://h/shop/two: give an integer",
        ),
        ("redis+sentinel://h,/shop", "names no host, or an empty one"),
        ("redis:///0", "names no host, or an empty one"),
        ("unix+cluster:///s", "redis\\+cluster"),
        ("redis://:secret@h:port/0", "^redis://h:port/0"),
    ],
)
def test_bad_urls(url, said):
    with pytest.raises(UsageError, match=said):
        hw.operations.open_store(url)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "headwater.stores.redis.redis_client", raising=False)
    with pytest.raises(MissingExtraError, match=r"headwater\[redis\]"):
        hw.operations.open_store("redis://127.0.0.1/0")


@pytest.mark.services
def test_reading_where_there_is_no_store(tmp_path):
    with serving(tmp_path) as server:
        with pytest.raises(StoreError, match="no online store"):
            hw.operations.open_store(server.url, readonly=True)
        with opened(server.url) as store:
            step(store, 1)
        reader = hw.operations.open_store(server.url, readonly=True)
        assert offset(reader) == 1
        with pytest.raises(StoreError, match="read only"):
            reader.commit({}, {})
        reader.close()


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


@pytest.mark.services
def test_a_backup_of_another_kind_is_refused(tmp_path):
    with (
        serving(tmp_path / "server") as server,
        opened(server.url) as store,
        opened(f"lmdb:{tmp_path}/lmdb") as lmdb,
    ):
        step(store, 1)
        lmdb.commit({KEY: number(1)}, {})
        store.backup(tmp_path / "a")
        lmdb.backup(tmp_path / "b")
        servers = "a store on a server"
        for backup, url, words in (
            (
                "a",
                f"lmdb:{tmp_path}/new",
                [f"is a backup of {servers}", f"restore it into {servers}"],
            ),
            ("b", server.url + "?prefix=new", ["is a backup of LMDB", "restore it into LMDB"]),
            ("a", server.url, ["not empty"]),
            ("a", server.url + "?prefix=new", None),
            ("b", f"lmdb:{tmp_path}/new", None),
        ):
            code, said = restore(tmp_path / backup, url)
            assert code == (words is not None), said
            assert all(word in said for word in words or ())
        with opened(server.url + "?prefix=new") as new:
            assert dict(new.scan(b"")) == dict(store.scan(b""))


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
    until = time.monotonic() + 20
    while not all(whole(each, len(servers)) for each in servers):
        assert time.monotonic() < until
        time.sleep(0.05)


def master_of(servers, key):
    for place, server in enumerate(servers):
        with server.client as client:
            if key in client.keys("*"):
                return place
    raise AssertionError(key)


@pytest.mark.services
@pytest.mark.slow
def test_a_cluster_that_comes_back_whole_goes_on(cluster):
    servers, url = cluster
    with opened(url, url) as (store, other):
        for number in range(3):
            step(store, number + 1)
            step(other, number + 1, b"q")
            restart(servers, number)
        step(store, 4)
        assert (offset(store), offset(other, b"q")) == (4, 3)
        assert {value for key, value in store.scan(RECORD) if key.endswith(b"p")} == {record(4)}


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.parametrize("forget", [1, None], ids=["the last write", "everything"])
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
        until = time.monotonic() + 60
        while sum(to is not None for to in made) <= 10 and time.monotonic() < until:
            time.sleep(0.05)
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


@pytest.mark.services
@pytest.mark.slow
def test_offsets_that_a_master_lost_are_read_on_from(cluster):
    """Records are ahead of the offset then, and say so."""
    servers, url = cluster
    with opened(url) as store:
        step(store, 1)
        state = master_of(servers, b"{headwater}:state")
        with servers[state].client as client:
            before = client.info("persistence")["aof_current_size"]
        step(store, 2)
        store.commit({KEY: number(3)}, {KEY: number(2)})  # the last that this master wrote down
        with servers[state].client as client:
            after = client.info("persistence")["aof_current_size"]
        assert after > before
        restart(servers, state, 1)
        with pytest.raises(LostError):
            step(store, 4)
        with opened(url) as new:
            assert offset(new) == 2
            assert {value for _, value in new.scan(RECORD)} == {record(2)}
            step(new, 3)
            assert new.outrun == 0


@pytest.mark.services
@pytest.mark.slow
def test_a_fenced_writer_writes_no_records_either(cluster):
    _, url = cluster
    with opened(url) as store:
        step(store, 1)
        with pytest.raises(FencedError):
            store.commit({MANY[0] + b"\0p": record(9), KEY: number(9)}, {KEY: number(0)})
        assert {value for _, value in store.scan(RECORD)} == {record(1)}


@pytest.mark.services
def test_records_of_no_writer_that_are_sent_again_are_changed_once(cluster):
    """The answer to the first call is lost. What another process has written since is not taken for
    it.
    """
    _, url = cluster
    first, second = RECORD + b"k\0p", RECORD + b"l\0p"
    with opened(url) as store:
        store.commit({first: record(1), second: record(1)}, {})
        for _ in range(2):
            store.table.replace(
                {first: record(1, b"less"), second: None}, {first: record(1), second: record(1)}
            )
        assert store.get([first, second]) == [record(1, b"less"), None]
        store.table.replace({first: record(2)}, {})
        with pytest.raises(FencedError):
            store.table.replace({first: record(1, b"less")}, {first: record(1)})
        with pytest.raises(FencedError):
            store.table.replace({}, {first: record(1)})
        assert store.get([first]) == [record(2)]


@pytest.mark.services
@pytest.mark.slow
def test_logs_that_are_applied_take_no_memory(cluster):
    """Nor do those of commits that were fenced."""
    servers, url = cluster
    with opened(url, url) as (store, other):
        for to in range(1, 4):
            step(store, to)
        other.mend(KEY)
        with pytest.raises(FencedError):
            step(store, 4)
        step(other, 4)
    assert [key for server in servers for key in server.client.keys("*redo*")] == []


@pytest.mark.services
@pytest.mark.slow
def test_records_that_were_applied_already_wait_for_replicas_too(tmp_path):
    """A commit that is finished from its log may have been applied by a process that ended before
    replicas had it.
    """
    with (
        clustered(tmp_path, masters=3, replicas=3) as servers,
        opened(f"redis+cluster://127.0.0.1:{servers[0].port}?replicas=1&timeout=2s") as store,
    ):
        commit = b"w", 1, 1, {MANY[0] + b"\0p": record(2)}
        store.table.upsert(*commit)
        for replica in servers[3:]:
            replica.pause()
        with pytest.raises(StoreError, match="0 replicas have it and replicas=1 are asked for"):
            store.table.upsert(*commit)
        for replica in servers[3:]:
            replica.resume()
        store.table.upsert(*commit)


@pytest.mark.services
def test_any_node_of_a_cluster_that_answers_describes_it(tmp_path):
    with clustered(tmp_path) as servers:
        ports = [free_port(), servers[1].port]
        with opened("redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)) as store:
            step(store, 1)
            assert offset(store) == 1


@pytest.mark.services
@pytest.mark.slow
def test_a_slot_that_moves_to_another_master(cluster):
    servers, url = cluster
    with opened(url) as store:
        step(store, 1)
        here, there = servers[0], servers[1]
        with here.client as a, there.client as b:
            ids = [client.execute_command("CLUSTER", "MYID").decode() for client in (a, b)]
            names = a.keys("{headwater:*")
            slots = sorted({a.execute_command("CLUSTER", "KEYSLOT", name) for name in names})[:3]
            for slot in slots:
                b.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
                a.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
                for name in a.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000):
                    a.execute_command("MIGRATE", "127.0.0.1", there.port, name, 0, 5000)
                for client in (b, a):
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        step(store, 2)
        assert offset(store) == 2
        assert {value for _, value in store.scan(RECORD)} == {record(2)}


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


@pytest.mark.services
def test_what_sentinel_does_not_lead_to_is_said(shop):
    for wrong, message in (
        (
            {"name": "shp"},
            "/shp: none of these Sentinels can be reached and has a primary of this name",
        ),
        (
            {"name": ""},
            r"give the name by which Sentinel knows the primary, such as redis\+sentinel://host:26379/mymaster",
        ),
        ({"password": "shut"}, r"invalid username-password pair|WRONGPASS"),
        (
            {"more": "&sentinel_pasword=1"},
            r"the option 'sentinel_pasword' .* is not known; did you mean 'sentinel_password'",
        ),
    ):
        with pytest.raises((StoreError, UsageError), match=message) as caught:
            hw.operations.open_store(sentinel_url(shop[2], **{"more": "&timeout=1s", **wrong}))
        assert "watch" not in str(caught.value)


def test_a_sentinel_password_is_of_sentinel_alone():
    with pytest.raises(UsageError, match=r"'sentinel_password' .* is not known"):
        hw.operations.open_store("redis://127.0.0.1:1/0?sentinel_password=watch")
