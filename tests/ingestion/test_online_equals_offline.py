"""Random streams through a writer into a real store: online values always equal the naive reference
over all that was sent.
"""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import RecordBatch, between
from headwater.online.view_reader import OnlineView
from headwater.testing.naive import agree, evaluate

START = 1_710_000_000_000_000  # on the grid of every hop below an hour
SECOND = 1_000_000
KEYS = [1, 2, 3]
SCHEMA = {
    "id": int,
    "key": int,
    "whole": int,
    "real": float,
    "word": str,
    "kept": bool,
    "at": datetime,
}
FEATURES = [
    hw.count(),
    hw.count("real", where="kept"),
    hw.sum("whole"),
    hw.sum("real"),
    hw.mean("real"),
    hw.var("real"),
    hw.min("real"),
    hw.max("word"),
    hw.first("word"),
    hw.last("word"),
    hw.last_n("word", k=3),
    hw.latest("whole", "word"),
    hw.collect_set("word", max_size=3),
    hw.count_distinct("word"),
    hw.top_k("word", k=2),
    hw.sum("whole").by("word", max_keys=2),
    hw.mean("real").by("kept"),
    hw.decayed_sum("real", half_life="10s"),
    hw.since_last(),
]


def source(ids):
    stream = hw.push(schema=SCHEMA, at_least_once=True)
    return hw.Source(
        "s",
        timestamp_field="at",
        stream=stream,
        **({"id_field": "id", "id_horizon": "40s"} if ids else {}),
    )


VIEWS = {
    ids: hw.FeatureView(
        "v",
        source=source(ids),
        keys=["key"],
        windows=["10s", "1m", "10m"],
        features=FEATURES,
        freshness=hw.streaming("2s"),
    )
    for ids in (True, False)
}
MODELS = {
    ids: hw.FeatureView(
        "v",
        source=hw.Source(
            "s",
            timestamp_field="at",
            known_at_field="known",
            **({"id_field": "id", "id_horizon": "40s"} if ids else {}),
        ),
        keys=["key"],
        windows=["10s", "1m", "10m"],
        features=FEATURES,
        freshness=hw.on_request(),
    )
    for ids in (True, False)
}

seconds = st.one_of(
    st.sampled_from([0, 1, 5, 10, 40, 60]), st.floats(0, 90).map(lambda s: round(s, 3))
)
events = st.fixed_dictionaries(
    {
        "key": st.sampled_from(KEYS),
        "whole": st.sampled_from([None, 0, 1, -7, 2**40]),
        "real": st.sampled_from([None, 0.5, -1.25, 1e9, 0.01]),
        "word": st.sampled_from([None, "a", "b", "é", ""]),
        "kept": st.sampled_from([None, True, False]),
        # negative: it happens after it was received
        "before": st.one_of(seconds, seconds.map(lambda s: -s / 4)),
    }
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("events"), seconds, st.lists(events, min_size=1, max_size=6)),
        st.tuples(st.just("again"), seconds, st.integers(0, 50)),
        st.tuples(st.just("restart"), seconds, st.none()),
        st.tuples(st.just("ask"), seconds, st.none()),
    ),
    min_size=1,
    max_size=14,
)


class World:
    def __init__(self, folder, ids):
        self.folder, self.ids, self.now, self.offset = folder, ids, START, 0
        self.sent, self.received, self.commits, self.lines = [], [], [], []
        self.open()

    def open(self):
        self.store = hw.operations.open_store(f"lmdb:{self.folder / 'online'}?size=100MB")
        self.ingestor = SourceIngestor(
            source(self.ids),
            [VIEWS[self.ids]],
            self.store,
            self.folder,
            IngestLimits(max_future_skew="10s"),
            replayed_from=self.now,
        )

    def restart(self, _):
        self.ingestor.roll(least=1)
        self.store.close()
        self.open()

    def events(self, made):
        rows = [
            {**event, "id": len(self.lines) + n, "at": self.now - round(event["before"] * SECOND)}
            for n, event in enumerate(made)
        ]
        self.lines += rows
        self.commit(rows)

    def again(self, number):
        """One that was sent before, at a new offset, or at its old one where nothing else would
        tell that it is a copy.
        """
        if self.lines:
            row = self.lines[number % len(self.lines)]
            self.commit([row], first=None if self.ids else number % len(self.lines))

    def commit(self, rows, first=None):
        fresh = first is None
        first = self.offset if fresh else first
        payloads = [
            json.dumps(
                {k: iso(v) if k == "at" else v for k, v in row.items() if k != "before"}
            ).encode()
            for row in rows
        ]
        n = len(rows)
        end = first + n
        records = RecordBatch(
            ["0"],
            np.zeros(n, np.int64),
            np.arange(first, end),
            np.full(n, self.now),
            {"0": between(first, end)},
            payloads,
        )
        self.ingestor.commit([(records, {})], self.now)
        self.commits.append(self.now)
        if fresh:
            self.offset = end
            self.sent += [row for row in rows if row["at"] - self.now <= 10 * SECOND]
            self.received += [self.now] * (len(self.sent) - len(self.received))

    def known(self, row, received):
        """When an event became readable: at the first commit after its time; None before that."""
        return next((at for at in self.commits if at >= received and at > row["at"]), None)

    def ask(self, _):
        self.ingestor.commit([], self.now)  # what was held and is due
        self.commits.append(self.now)
        served = OnlineView(VIEWS[self.ids], self.store).read(
            pl.DataFrame({"key": [*KEYS, 9]}), self.now
        )
        known = [
            self.known(row, received)
            for row, received in zip(self.sent, self.received, strict=True)
        ]
        model = [
            {**row, "at": moment(row["at"]), "known": moment(at)}
            for row, at in zip(self.sent, known, strict=True)
            if at is not None
        ]
        answers = evaluate(
            MODELS[self.ids],
            model,
            [{"key": key, "timestamp": moment(self.now)} for key in [*KEYS, 9]],
        )
        for feature, values, status in zip(
            VIEWS[self.ids].outputs, served.features, served.statuses, strict=True
        ):
            for place, (value, said) in enumerate(
                zip(values.to_list(), status.to_list(), strict=True)
            ):
                answer = answers[place][f"v__{feature.name}"]
                assert agree(answer, value), (feature.name, place, value, answer)
                assert said == answer.status, (feature.name, place, said, answer)


def iso(micros):
    return moment(micros).isoformat()


def moment(micros):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


@pytest.mark.slow
@given(steps=steps, ids=st.booleans())
def test_online_equals_offline(steps, ids):
    with tempfile.TemporaryDirectory() as folder:
        here = World(Path(folder), ids)
        for what, wait, more in [*steps, ("ask", 1, None)]:
            here.now += round(wait * SECOND)
            getattr(here, what)(more)
        here.store.close()
