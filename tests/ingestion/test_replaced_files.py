"""A position in a file is of what was read there: a file that was replaced is never read on from a
byte of another one.
"""

import itertools
import json
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import RetentionError

_NUMBERS = itertools.count()
STORES = [
    "lmdb",
    pytest.param("redis", marks=pytest.mark.slow),
    pytest.param("postgres", marks=pytest.mark.slow),
]


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    if request.param == "lmdb":
        return f"lmdb:{tmp_path}/store?size=100MB"
    return f"{request.getfixturevalue(f'{request.param}_url')}?prefix=replaced{next(_NUMBERS)}"


class World:
    """Files of events of one key, all of equal length, and a store."""

    def __init__(self, folder, url, pattern="events.ndjson", kind="json"):
        self.folder, self.url, self.kind, self.path = folder, url, kind, folder / "events.ndjson"
        schema = {"t": datetime, "key": str}
        self.view = hw.FeatureView(
            "view",
            source=hw.Source(
                "events",
                stream=hw.appended(folder / pattern, schema=schema, format=kind),
                timestamp_field="t",
                select=["key"],
            ),
            keys=["key"],
            features=[hw.count()],
            windows=["1d"],
            freshness=hw.streaming("1h"),
        )
        asked = pl.Series("asked", [datetime.now(UTC)])
        table = pl.DataFrame({"asked": asked, "y": [1], "key": ["a"]})
        labels = hw.Labels(
            "labels",
            table=table,
            timestamp_field="asked",
            label="y",
            known_after="1d",
            select=["key"],
        )
        service = hw.FeatureService("service", [self.view])
        self.project = hw.Project(
            "project", [hw.Model("m", task="binary", features=service, labels=labels)]
        )
        self.written = 0

    def put(self, count):
        lines = []
        for _ in range(count):
            self.written += 1
            at = (
                (datetime.now(UTC) - timedelta(minutes=5))
                .replace(microsecond=self.written)
                .isoformat(timespec="microseconds")
            )
            lines.append(json.dumps({"t": at, "key": "a"}) if self.kind == "json" else f"{at},a")
        if self.kind == "csv" and not self.path.exists():
            lines.insert(0, "t,key")
        with self.path.open("a") as file:
            file.writelines(line + "\n" for line in lines)

    def ingest(self, *, accept_loss=False, stop=None, on_commit=None):
        limits, options = (
            hw.operations.IngestLimits(accept_loss=accept_loss),
            hw.operations.IngestOptions(allow_unapplied=True, on_commit=on_commit),
        )
        given = {
            "data_dir": self.folder / "home",
            "listen": None,
            "limits": limits,
            "options": options,
        }
        hw.ingest(self.project, self.url, once=stop is None, stop=stop, **given)

    def count(self):
        return hw.get_online_features(self.view, [{"key": "a"}], store=self.url)[
            "view__count_1d"
        ].item()

    def mismatches(self):
        return [
            m
            for one in hw.parity(self.project, store=self.url, data_dir=self.folder / "home")
            for m in one.mismatches
        ]


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_file_that_was_replaced_is_refused_or_read_from_its_beginning(tmp_path, url, kind):
    world = World(tmp_path, url, kind=kind)
    world.put(2)
    world.ingest()
    world.path.rename(tmp_path / "old")
    world.put(5)
    for _ in range(2):
        with pytest.raises(
            RetentionError,
            match=r"replaced, truncated or rewritten.*events\.ndjson\*, these are read.*--accept-loss",
        ):
            world.ingest()
        assert world.count() == 2
    world.ingest(accept_loss=True)
    found = hw.get_online_features(world.view, [{"key": "a"}], store=url, details=True)
    assert found["view__count_1d__incomplete"].item()
    archive = pl.read_parquet(
        tmp_path / "home" / "archive" / "**" / "*.parquet", hive_partitioning=False
    )
    assert archive.height == archive["t"].n_unique() == archive["headwater_offset"].n_unique() == 7
    world.put(1)
    world.ingest()


@pytest.mark.parametrize("times", [1, 3])
def test_renamed_files_of_the_path_are_read_on(tmp_path, url, times):
    """As logrotate numbers them, between two runs, with lines that were not read yet; nothing is
    lost, and nothing counts twice.
    """
    world = World(tmp_path, url, "events.ndjson*")
    for turn in range(times):
        world.put(2)
        world.ingest()
        world.put(1)
        for number in range(turn, 0, -1):
            world.path.with_suffix(f".ndjson.{number}").rename(
                world.path.with_suffix(f".ndjson.{number + 1}")
            )
        world.path.rename(world.path.with_suffix(".ndjson.1"))
    world.put(4)
    world.ingest()
    assert (world.count(), world.written, world.mismatches()) == (3 * times + 4, 3 * times + 4, [])


def test_a_file_under_another_name_is_not_read_again(tmp_path, url):
    world = World(tmp_path, url, "*.ndjson")
    world.put(3)
    world.ingest()
    world.path.rename(tmp_path / "done.ndjson")
    world.ingest()
    assert (world.count(), world.mismatches()) == (3, [])
    world.put(2)  # a new file of the old name
    world.ingest()
    assert (world.count(), world.mismatches()) == (5, [])


def test_equal_lines_in_two_files_are_events_of_both(tmp_path, url):
    world = World(tmp_path, url, "*.ndjson")
    world.put(3)
    world.ingest()
    (tmp_path / "b.ndjson").write_bytes(world.path.read_bytes())
    world.ingest()
    assert (world.count(), world.mismatches()) == (6, [])


def test_rotation_while_a_file_is_followed(tmp_path):
    world = World(tmp_path, f"lmdb:{tmp_path}/store?size=100MB", "events.ndjson*")
    accepted, changed, stop, raised = [0], threading.Condition(), threading.Event(), []
    world.put(2)

    def on_commit(source, committed, lag):
        with changed:
            accepted[0] += committed.counts.get("accepted", 0)
            changed.notify_all()

    def run():
        try:
            world.ingest(stop=stop, on_commit=on_commit)
        except hw.errors.HeadwaterError as error:
            raised.append(error)
        with changed:
            changed.notify_all()

    def wait_for(count):
        with changed:
            changed.wait_for(lambda: accepted[0] >= count or raised, timeout=300)
        assert (accepted[0], raised) == (count, [])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(2)
        for turn in range(1, 4):
            world.put(1)
            world.path.rename(tmp_path / f"events.ndjson.{turn}")
            world.put(2)
            wait_for(2 + 3 * turn)
    finally:
        stop.set()
        thread.join()
    assert (world.count(), world.mismatches()) == (11, [])
