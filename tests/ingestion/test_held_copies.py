"""An event of the future is known at its release, for its id too: serving of it and its copies
equals training.
"""

import itertools
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.testing import clock

START = datetime(2024, 5, 1, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")
_NUMBERS = itertools.count()
STORES = [
    "lmdb",
    *(pytest.param(name, marks=pytest.mark.services) for name in ("redis", "postgres")),
]


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "lmdb":
        return f"lmdb:{tmp_path}/store?size=100MB"
    return f"{request.getfixturevalue(f'{request.param}_url')}?prefix=held_copies{next(_NUMBERS)}"


@pytest.fixture
def lmdb(tmp_path):
    return f"lmdb:{tmp_path}/store?size=100MB"


def view_of(path, ids=str, stream=None, **source):
    stream = stream or hw.appended(path, schema={"t": datetime, "key": str, "id": ids, "n": int})
    rules = {"timestamp_field": "t", "id_field": "id", "select": ["key", "n"]} | source
    return hw.FeatureView(
        "view",
        source=hw.Source("events", stream=stream, **rules),
        keys=["key"],
        features=[hw.count(), hw.sum("n")],
        windows=["30d"],
        freshness=hw.streaming("2s"),
    )


class World:
    """A file of events, a store, and a clock, in hours after now, that tests advance."""

    def __init__(self, folder, url, now):
        self.folder, self.url, self.now, self.path = folder, url, now, folder / "events.ndjson"

    def time(self, hour):
        return START + timedelta(hours=hour)

    def project(self, view):
        asked = pl.Series("asked", [START]).cast(TIME)
        table = pl.DataFrame({"asked": asked, "y": [1], "key": ["a"]})
        labels = hw.Labels(
            "labels",
            table=table,
            timestamp_field="asked",
            label="y",
            known_after="1d",
            select=["key"],
        )
        return hw.Project(
            "project",
            [
                hw.Model(
                    "m", task="binary", features=hw.FeatureService("service", [view]), labels=labels
                )
            ],
        )

    def put(self, event_id, hour, n=1):
        """An event of this id, at this hour after the start."""
        at = self.time(hour).isoformat()
        with self.path.open("a") as file:
            file.write(json.dumps({"t": at, "key": "a", "id": event_id, "n": n}) + "\n")

    def ingest(self, view, hour):
        """Commit what the file holds, at this hour."""
        self.now.set(self.time(hour))
        # a server's clock stays where it is
        limits = hw.operations.IngestLimits(max_clock_jump="36500d")
        options = hw.operations.IngestOptions(allow_unapplied=True)
        hw.ingest(
            self.project(view),
            self.url,
            data_dir=self.folder / "home",
            listen=None,
            once=True,
            limits=limits,
            options=options,
        )

    def served(self, view):
        """How many events count, and their sum: as served, and by training where these differ."""
        found = hw.get_online_features(view, [{"key": "a"}], store=self.url, details=True)
        assert found["view__count_30d__status"].item() in ("present", "missing")
        assert not found["view__count_30d__incomplete"].item()
        compared = hw.parity(self.project(view), store=self.url, data_dir=self.folder / "home")
        assert [list(one.mismatches) for one in compared] == [[]]
        return found["view__count_30d"].item(), found["view__sum_n_30d"].item()

    def refused(self, view):
        rows = hw.operations.dead_letters(
            self.project(view), "events", store=self.url, data_dir=self.folder / "home"
        )
        return rows["reason"].to_list()


@pytest.fixture
def now():
    with clock.at(START) as standing:
        yield standing


@pytest.fixture
def world(tmp_path, url, now):
    return World(tmp_path, url, now)


COPIES = {
    # what came: (hour, event time, n); further hours of commits; id_horizon; how many count, and
    # their sum
    "a copy after the release": ([(0, 23, 1), (30, 29, 2)], [23.5], "1d", (1, 1)),
    "a copy id_horizon after the release": ([(0, 23, 1), (48, 47, 2)], [23.5], "1d", (2, 3)),
    "an earlier event of the id, while one is held": ([(0, 23, 1), (5, 4, 2)], [24], "1d", (1, 2)),
    "the same, known more than id_horizon before": ([(0, 23, 1), (5, 4, 2)], [24], "2h", (2, 3)),
    "a held event after an accepted one": ([(0, -1, 1), (1, 23, 2)], [23.5], "1d", (1, 1)),
    "the same, known more than id_horizon before it": (
        [(0, -1, 1), (1, 23, 2)],
        [25],
        "1d",
        (2, 3),
    ),
    "two held copies": ([(0, 9, 1), (1, 9, 1)], [10], "1d", (1, 1)),
    "two of one commit": ([(0, 9, 1), (0, 9, 1)], [10], "1d", (1, 1)),
    "two held events of one id": ([(0, 10, 1), (1, 9, 2)], [11], "1d", (1, 2)),
    "the same, released id_horizon apart": ([(0, 20, 1), (1, 9, 2)], [10, 21], "2h", (2, 3)),
    "released late, with a copy": ([(0, 9, 1), (30, 29, 2)], [], "1d", (1, 1)),
}


def play(world, came, commits, horizon, ids=("x", str)):
    event_id, dtype = ids
    view = view_of(world.path, dtype, id_horizon=horizon)
    for hour in sorted({hour for hour, _, _ in came} | {*commits}):
        for at, time, n in came:
            if at == hour:
                world.put(event_id, time, n)
        world.ingest(view, hour)
    return world.served(view)


@pytest.mark.parametrize("case", COPIES)
def test_a_copy_counts_by_when_the_event_became_known(tmp_path, lmdb, now, case):
    came, commits, horizon, expected = COPIES[case]
    world = World(tmp_path, lmdb, now)
    assert play(world, came, commits, horizon) == expected
    assert len(world.refused(view_of(world.path))) == len(came) - expected[0]


def test_on_every_kind_of_store(world):
    came = [(0, 23, 1), (1, 23, 1), (5, 4, 2), (28, 27, 3)]
    assert play(world, came, [24], "1d", (7, int)) == (1, 2)
    assert world.refused(view_of(world.path, int)) == ["a duplicate of an accepted event"] * 3
