"""The log of what was served has each value as it was answered, and parity over it cries about
nothing.
"""

import socket
from contextlib import ExitStack, closing
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.testing import clock
from tests.laws import roads
from tests.laws.streams import TIME, project
from tests.waiting import until


@pytest.fixture
def now(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    with clock.at(roads.START) as standing:
        yield standing


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def logged(shop, store, home, requests, *, between=lambda: None):
    """Serve these requests one after the other, and return the log of them."""
    with ExitStack() as stack:
        log = stack.enter_context(hw.operations.ServedLog(home))
        where, options = f"127.0.0.1:{free_port()}", hw.operations.ServeOptions(serving_log=log)
        url = stack.enter_context(
            hw.operations.serve(
                shop, store, listen=where, models={}, data_dir=home, options=options
            )
        )
        client = stack.enter_context(hw.client.Client(url, timeout=60))
        answers = []
        for request in requests:
            answers.append(client.features("service", request).rows[0])
            between()
        until(lambda: log.counts().taken == len(requests), "all are logged")
        assert log.flush()
        counts = log.counts()
        assert (counts.written, counts.waiting, counts.dropped) == (counts.taken, 0, {})
    return hw.operations.served(home).collect(), answers


@pytest.mark.parametrize("first", ["never", "a", "b"])
def test_mappings_are_logged_with_all_of_their_keys(first, tmp_path, now):
    """Whichever answer comes first: one without a key, with one, or with two."""
    at = now.time()
    rows = [("a", 1, 2.5), ("a", 7, 4.0), ("b", 9, 1.5)]
    table = pl.DataFrame(
        [{"at": at, "key": key, "kind": kind, "v": v} for key, kind, v in rows],
        schema_overrides={"at": TIME},
    )
    view = hw.FeatureView(
        "user",
        source=hw.Source("visits", history=table, timestamp_field="at"),
        keys=["key"],
        features=[
            hw.sum("v", name="spent").by("kind", max_keys=3),
            hw.last("at", name="when").by("kind", max_keys=3),
        ],
        windows=["1d"],
        freshness=hw.batch("1h"),
    )
    now.advance("2h")
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/store?size=100MB")) as store:
        hw.materialize(project([view]), store=store)
        requests = [{"key": first}, *({"key": key} for key in ("a", "b", "never"))]
        log, answers = logged(project([view]), store, tmp_path / "home", requests)
        assert [answer["user__spent_1d"].value for answer in answers[1:]] == [
            {"1": 2.5, "7": 4.0},
            {"9": 1.5},
            {},
        ]
        found = dict(zip(log["key"], log["user__spent_1d"].to_list(), strict=True))
        assert found == {"a": {1: 2.5, 7: 4.0}, "b": {9: 1.5}, "never": {}}
        assert dict(zip(log["key"], log["user__when_1d"].to_list(), strict=True))["b"] == {9: at}
        (compared,) = hw.operations.served_parity(
            project([view]), store=store, data_dir=tmp_path / "home"
        )
        assert (compared.values, compared.mismatches) == (8, [])


def test_intervals_that_end_between_requests(tmp_path, now):
    """The end of an interval is known at a time, not at a commit."""
    schema = {"at": TIME, "key": pl.String, "until": TIME}
    source = hw.Source(
        "visits",
        stream=hw.appended(f"{tmp_path}/visits.jsonl", schema=schema),
        timestamp_field="at",
    )
    features = [hw.open_count(until="until"), hw.open_age(until="until"), hw.count()]
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["key"],
        features=features,
        windows=["1d"],
        freshness=hw.streaming("1h"),
    )
    home = tmp_path / "home"

    def visits(*minutes):
        with (tmp_path / "visits.jsonl").open("a", encoding="utf-8") as file:
            for n in minutes:
                at = now.time() - timedelta(minutes=1)
                file.write(
                    f'{{"at": "{at.isoformat()}", "key": "a", "until": '
                    f'"{(at + timedelta(minutes=n)).isoformat()}"}}\n'
                )

    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/store?size=100MB")) as store:
        options = hw.operations.IngestOptions(allow_unapplied=True)
        step = iter(range(6))

        def between():
            now.advance("2m")
            if next(step) == 2:
                visits(3, 4)
                hw.ingest(project([view]), store, data_dir=home, once=True, options=options)

        visits(2, 5, 100)
        hw.ingest(project([view]), store, data_dir=home, once=True, options=options)
        _, answers = logged(project([view]), store, home, [{"key": "a"}] * 6, between=between)
        assert [answer["user__open_count_1d"].value for answer in answers] == [3, 2, 2, 3, 3, 1]
        (compared,) = hw.operations.served_parity(project([view]), store=store, data_dir=home)
        assert (compared.values, compared.mismatches) == (18, [])
