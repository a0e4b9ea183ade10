"""Random images of events through a writer into a real store: the online state equals the naive
reference for all that was sent.

In any order, with copies, ties and restarts, for every aggregation; and parity finds nothing.
"""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import RecordBatch, between
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.testing.cases import aggregations
from headwater.testing.naive import agree, evaluate
from tests.ingestion.world import LONG
from tests.stores.servers import serving

START = 1_710_000_000_000_000  # on the grid of every hop below an hour
SECOND = 1_000_000
KEYS = [1, 2]
SCHEMA = {
    "id": int, "key": int, "whole": int, "real": float, "word": str, "flag": bool, "moment": datetime,
    "at": datetime, "known": datetime, "before": bool,
}  # fmt: skip
TIMES = ("at", "known", "moment")
EVERY = aggregations()
FUNCTIONS = sorted({a.function for a in EVERY})

waits = st.sampled_from([0, 0, 0.001, 1, 1, 5, 9.9, 60])
seconds = st.one_of(
    st.sampled_from([0, 1, 5, 10, 40, 60]), st.floats(0, 90).map(lambda s: round(s, 3))
)
images = st.fixed_dictionaries(
    {
        "id": st.integers(0, 3),
        "key": st.sampled_from([*KEYS, *KEYS, *KEYS, None]),
        "whole": st.sampled_from([None, 0, 1, -7, 2**40, 2**62]),
        "real": st.sampled_from([None, 0.5, -1.25, 1e9, 0.01]),
        "word": st.sampled_from([None, "a", "b", "é", ""]),
        "flag": st.sampled_from([None, True, False]),
        "moment": st.one_of(st.none(), seconds),
        # so long before; negative: it is still to happen
        "at": st.one_of(*[seconds] * 4, st.just(-1.5), st.none()),
        "known": st.integers(0, 9),  # the version; rows of one are tied
        "before": st.sampled_from([False, False, False, False, True]),
    }
)
kinds = st.sampled_from(["values", "key", "time", "all", "none"])
stated = st.tuples(st.just("images"), waits, st.lists(images, min_size=1, max_size=6))
change = st.tuples(st.integers(0, 50), images, kinds, st.sampled_from([True, True, False]))
changed = st.tuples(st.just("change"), waits, change)
more = st.one_of(
    stated,
    changed,
    changed,
    st.tuples(st.just("again"), waits, st.integers(0, 50)),
    st.tuples(st.sampled_from(["restart", "ask"]), waits, st.none()),
)
steps = st.tuples(stated, changed, st.lists(more, min_size=3, max_size=12)).map(
    lambda parts: [*parts[:2], *parts[2]]
)


def source(stream=True, **more):
    rules = {
        "timestamp_field": "at",
        "known_at_field": "known",
        "id_field": "id",
        "changes": "before",
    } | more
    return hw.Source("s", **rules, **({"stream": hw.push(schema=SCHEMA)} if stream else {}))


def view_of(features, freshness, stream=True):
    return hw.FeatureView(
        "v", source=source(stream), keys=["key"], windows=["10s", "1m", hw.window("1m", offset="10s"), "lifetime"][: 4 if features[0].windows is None else 2],
        features=features, freshness=freshness,
    )  # fmt: skip


class World:
    """The sent events, and their streams."""

    def __init__(self, url, folder, features):
        self.url, self.folder, self.now, self.offset = url, folder, START, 0
        self.view, self.model = (
            view_of(features, hw.streaming("2s")),
            view_of(features, hw.on_request(), stream=False),
        )
        self.sent, self.commits = [], 0
        self.open()

    def open(self):
        self.store = hw.operations.open_store(self.url)
        self.ingestor = SourceIngestor(
            self.view.source,
            [self.view],
            self.store,
            self.folder,
            IngestLimits(max_future_skew="10s"),
            replayed_from=self.now,
        )
        self.ingestor.writer("0")

    def restart(self, _):
        self.ingestor.roll(least=1)
        self.store.close()
        self.open()

    def images(self, made):
        self.commit([self.timed(image) for image in made])

    def timed(self, image):
        past = {
            name: None if image[name] is None else self.now - round(image[name] * SECOND)
            for name in ("at", "moment")
        }
        return {**image, **past, "known": START - 100 + image["known"]}

    def change(self, given):
        """A change of something sent, of its values, key, time or all, or a deletion; of an event's
        newest image, or of any.
        """
        number, fresh, what, newest = given
        if not self.sent:
            return
        was, fresh = self.sent[number % len(self.sent)], self.timed(fresh)
        if newest:
            was = max(
                (row for row in self.sent if row["id"] == was["id"]), key=lambda row: row["known"]
            )
        kept = {
            "values": ["key", "at"],
            "key": [n for n in SCHEMA if n != "key"],
            "time": [n for n in SCHEMA if n != "at"],
            "all": [],
            "none": [],
        }
        later = {"id": was["id"], "known": was["known"] + 1}
        after = {**fresh, **{n: was[n] for n in kept[what]}, **later, "before": False}
        before = {**was, **later, "before": True}
        self.commit({"none": [before], "all": [after]}.get(what, [before, after]))

    def again(self, number):
        if self.sent:
            self.commit([self.sent[number % len(self.sent)]])

    def commit(self, rows):
        payloads = [
            json.dumps(
                {k: iso(v) if k in TIMES and v is not None else v for k, v in row.items()}
            ).encode()
            for row in rows
        ]
        n = len(rows)
        end = self.offset + n
        records = RecordBatch(
            ["0"],
            np.zeros(n, np.int64),
            np.arange(self.offset, end),
            np.full(n, self.now),
            {"0": between(self.offset, end)},
            payloads,
        )
        self.ingestor.commit([(records, dict(self.ingestor.turns))], self.now)
        self.offset = end
        self.sent += rows

    def ask(self, _):
        self.now += 1  # a commit has a time of its own
        self.ingestor.commit([], self.now)  # what was held and is due
        served = OnlineView(self.view, self.store).read(pl.DataFrame({"key": [*KEYS, 9]}), self.now)
        # the others wait for their time
        known = [
            row for row in self.sent if row["before"] or row["at"] is None or row["at"] < self.now
        ]
        model = [
            {**row, **{n: None if row[n] is None else moment(row[n]) for n in TIMES}}
            for row in known
        ]
        answers = evaluate(
            self.model,
            model,
            [{"key": key, "timestamp": moment(served.read_version.T)} for key in [*KEYS, 9]],
        )
        for feature, values, status in zip(
            self.view.outputs, served.features, served.statuses, strict=True
        ):
            squared = feature.aggregation.function == "std"
            for place, (value, said) in enumerate(
                zip(values.to_list(), status.to_list(), strict=True)
            ):
                answer = answers[place][f"v__{feature.name}"]
                assert agree(answer, value, squared=squared), (feature.name, place, value, answer)
                assert said == answer.status, (feature.name, place, said, answer)
        found = check_view(self.view, self.store, self.folder, at=self.now)
        assert found.mismatches == []


def iso(micros):
    return moment(micros).isoformat()


def moment(micros):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def run(url, folder, features, made):
    here = World(url, folder, features)
    try:
        for what, wait, more in [*made, ("ask", 1, None)]:
            here.now += round(wait * SECOND)
            getattr(here, what)(more)
    finally:
        here.store.close()


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS)
def test_online_equals_offline(function):
    mine = [a for a in EVERY if a.function == function]

    @settings(max_examples=200 if LONG else 8)
    @given(
        steps=steps, features=st.lists(st.sampled_from(mine), min_size=1, max_size=3, unique_by=id)
    )
    def law(steps, features):
        with tempfile.TemporaryDirectory() as folder:
            run(f"lmdb:{folder}/online?size=100MB", Path(folder), features, steps)

    law()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("redis")) as made:
        yield made


@pytest.mark.services
@pytest.mark.slow
def test_redis_equals_offline(server):
    numbers = iter(range(100_000))

    @settings(max_examples=300 if LONG else 25, suppress_health_check=[HealthCheck.too_slow])
    @given(steps=steps, features=st.lists(st.sampled_from(EVERY), min_size=1, max_size=1))
    def law(steps, features):
        with tempfile.TemporaryDirectory() as folder:
            run(f"{server.url}?prefix=law{next(numbers)}", Path(folder), features, steps)

    law()
