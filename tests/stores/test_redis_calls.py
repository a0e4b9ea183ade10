"""Calls of Redis that only a seam reaches: late ones, repeated ones, and several at once."""

import threading
import time

import pytest

from headwater.errors import StoreError
from headwater.stores import UnansweredError
from headwater.stores import server as renewed_leases
from headwater.stores.redis import lua as scripts
from headwater.stores.redis import redis_client, redis_store
from headwater.stores.redis.redis_store import RedisCall, RedisOptions
from headwater.testing.stores import RECORD, number, record
from tests.stores.servers import serving
from tests.stores.test_redis_faults import (  # noqa: F401 (a fixture)
    KEY,
    MANY,
    cluster,
    master_of,
    offset,
    opened,
    step,
)


@pytest.mark.services
def test_a_commit_that_was_given_up_is_not_made_later(tmp_path):
    """It may still lie in a buffer when its writer has looked it up."""
    with serving(tmp_path) as server, opened(server.url) as store:
        state, _ = scripts.parted(b"headwater", {KEY: number(1)}, {})
        late = RedisCall(
            store._base, scripts.COMMIT, (store._epoch, store._writer, 7, state.packed())
        )
        assert store._servers.run(
            [RedisCall(store._base, scripts.RESOLVE, (store._writer, 7))]
        ) == [[b"not"]]
        assert store._servers.run([late]) == [[b"late"]]
        assert offset(store) == 0
        store._count = 7
        store.commit({KEY: number(2)}, {})
        assert store._servers.run([late]) == [[b"late"]]
        assert offset(store) == 2
        (found,) = store._servers.run([RedisCall(store._base, scripts.RESOLVE, (store._writer, 8))])
        assert found == [b"ok", store._n, 0]


@pytest.mark.services
def test_a_lease_lasts_as_long_as_it_is_held(tmp_path, monkeypatch):
    for module in (redis_store, renewed_leases):
        monkeypatch.setattr(module, "LEASE", 0.4)
    with serving(tmp_path) as server, opened(server.url, server.url) as (store, other):
        with (
            store.lease("ingest", wait=0),
            pytest.raises(StoreError, match=r"holds the lease 'ingest' of .*: process \d+ on "),
            other.lease("ingest", wait=1.5),
        ):
            pass
        with other.lease("ingest", wait=0):
            pass


@pytest.mark.parametrize("took_over", [True, False])
@pytest.mark.parametrize("once", [True, False])
def test_a_silent_server_leaves_time_for_the_one_that_took_over(once, took_over):
    """It takes all of the time of a call; the next call goes to the new one in any case."""
    options, looked = RedisOptions("here", b"", 0, 0.05), []

    def make():
        if looked and took_over:
            return "answer"
        time.sleep(0.06)
        raise redis_client.redis.TimeoutError("silent")

    def refresh():
        looked.append(took_over)
        return took_over

    def call():
        return redis_client._persistently(make, options, once=once, refresh=refresh)

    if once or not took_over:
        with pytest.raises(UnansweredError, match="here does not answer: silent"):
            call()
        assert looked == [took_over]
    if took_over:
        assert call() == "answer"


def test_all_servers_are_written_to_before_one_is_read():
    """And where one fails, the others are read."""
    steps = []

    def trip(name, answers, failure=None):
        for turn in range(answers):
            steps.append(f"write {name}{turn}")
            yield
            steps.append(f"read {name}{turn}")
        if failure:
            raise failure
        return [name]

    failure = StoreError("b")
    assert redis_client._together([trip("a", 1), trip("b", 1, failure), trip("c", 2)]) == [
        ["a"],
        failure,
        ["c"],
    ]
    assert steps == [
        "write a0",
        "write b0",
        "write c0",
        "read a0",
        "read b0",
        "read c0",
        "write c1",
        "read c1",
    ]


@pytest.mark.services
@pytest.mark.slow
def test_what_masters_have_answered_is_not_sent_again(cluster, monkeypatch):
    """One of three is killed while commits are made; each group of records sees each of them
    once.
    """
    servers, url = cluster
    with opened(url) as store:
        step(store, 1)
        state = master_of(servers, b"{headwater}:state")
        victim = servers[(state + 1) % 3]
        sent, real = [], redis_client._command

        def noted(call, *, by_name):
            if call.command is scripts.GROUP:
                sent.append(call.key)
            return real(call, by_name=by_name)

        monkeypatch.setattr(redis_client, "_command", noted)
        victim.pause()
        threading.Timer(1, victim.kill).start()
        threading.Timer(2, victim.start).start()
        step(store, 2)
        groups = {scripts.group(b"headwater", each + b"\0p") for each in MANY}
        again = {each for each in groups if sent.count(each) > 1}
        assert set(sent) == groups
        assert 0 < len(again) < len(groups) / 2
        assert {value for _, value in store.scan(RECORD)} == {record(2)}
