"""Each log has a time of its own for which it is kept: older rows go, others stay, and nothing is
read twice because of it.
"""

import os

import polars as pl
import pytest

import headwater as hw
from headwater.cli.parser import parse
from headwater.errors import DataError, DefinitionError
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.journal.retention import expire_outcomes, outcomes_kept
from headwater.stores import keyspace
from headwater.testing.examples import churn
from tests.flow import Flow, clock, home, micros, store, streaming_view  # noqa: F401 (fixtures)
from tests.waiting import until

DAY = 86_400
SETTINGS = {"archive": "archive", "filtered": "filtered", "dead_letters": "dead_letters"}


def send(flow, day):
    second = day * DAY + 100
    good = {"key": 1, "at": second - 10, "amount": 1.0}
    flow.send([good, {**good, "amount": -1.0}, {**good, "key": None}], second)


def days(folder, name):
    files = (folder / name).rglob("*.parquet")
    return sorted(
        {
            path.parent.name[-5:]
            for path in files
            if pl.read_parquet(path, hive_partitioning=False).height
        }
    )


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("rolled_each_day", [True, False])
def test_each_log_of_a_stream_is_kept_for_its_own_time(setting, rolled_each_day, store, tmp_path):
    view = streaming_view(source={"filter": pl.col("amount") >= 0})
    limits = IngestLimits(
        **{"archive": None, "filtered": "400d", "dead_letters": None, setting: "2d"}
    )
    flow = Flow([view], store, tmp_path, limits=limits)
    for day in range(6):
        send(flow, day)
        if rolled_each_day:
            flow.ingestor.roll(least=1)
    flow.ingestor._expired -= 3601  # an hour has passed
    flow.send([], 6 * DAY)  # nothing came, and nothing is rolled
    flow.ingestor.roll(least=1 << 60)
    kept = days(tmp_path, SETTINGS[setting])
    others = [days(tmp_path, name) for name in SETTINGS.values() if name != SETTINGS[setting]]
    if rolled_each_day:
        assert kept == ["05-05", "05-06"]
        assert others == [["05-01", "05-02", "05-03", "05-04", "05-05", "05-06"]] * 2
    blocks = {
        name: sum(1 for _ in store.scan(space))
        for space, name in (
            (keyspace.ARCHIVE, "archive"),
            (keyspace.FILTERED, "filtered"),
            (keyspace.DEAD, "dead_letters"),
        )
    }
    assert blocks == {
        name: 0 if rolled_each_day else 2 if name == setting else 6 for name in blocks
    }


def test_a_stream_that_has_stopped_keeps_the_name_of_its_last_commit(store, tmp_path):
    flow = Flow([streaming_view()], store, tmp_path, limits=IngestLimits(archive="1d"))
    send(flow, 0)
    flow.ingestor.roll(least=1)
    flow.send([], 10 * DAY)
    flow.ingestor._expired -= 3601
    flow.ingestor.roll(least=1)
    (path,) = (tmp_path / "archive").rglob("*.parquet")
    assert pl.read_parquet(path, hive_partitioning=False).height == 0
    send(flow, 11)
    flow.ingestor.roll(least=1)
    assert days(tmp_path, "archive") == ["05-12"]


def test_outcomes_are_kept_for_their_time(home, clock):
    posted = hw.operations.Outcomes(home, churn().labels, keys=["user"])
    for day in range(5):
        clock(day * DAY)
        posted.add([{"request_id": f"r{day}", "outcome": True}])
        if day < 4:
            path = max(posted.roll())
            os.utime(path, (micros(day * DAY) / 1e6,) * 2)
    assert expire_outcomes(home, "400d", micros(5 * DAY)) == 0
    assert expire_outcomes(home, "2d", micros(5 * DAY)) == 3
    assert hw.operations.outcomes(home, churn().labels)["headwater_request"].to_list() == [
        "r3",
        "r4",
    ]
    posted.roll()
    # none came back, none twice
    assert hw.operations.outcomes(home, churn().labels)["headwater_request"].to_list() == [
        "r3",
        "r4",
    ]
    posted.close()


def test_a_server_expires_outcomes_by_itself(home):
    posted = hw.operations.Outcomes(home, churn().labels)
    posted.add([{"request_id": "r1", "outcome": True}])
    posted.close()
    with outcomes_kept(home, "0s", every=0.05):
        until(lambda: _count(home) == 0, "its end")


def _count(home):
    try:
        return hw.operations.outcomes(home, churn().labels).height
    except DataError:
        return 0


def test_a_bad_duration_is_refused_at_once(home, store, tmp_path):
    with pytest.raises(DefinitionError, match="outcomes: keep"), outcomes_kept(home, "soon"):
        pass
    with pytest.raises(DefinitionError, match="archive"):
        Flow([streaming_view()], store, tmp_path, limits=IngestLimits(archive="soon"))


def test_each_setting_is_an_option():
    ingest = parse(
        ["ingest", "--keep-archive", "400d", "--keep-dead-letters", "30d", "--keep-filtered", "1d"]
    ).options
    assert (ingest.keep_archive, ingest.keep_dead_letters, ingest.keep_filtered) == (
        "400d",
        "30d",
        "1d",
    )
    serve = parse(["serve", "--keep", "1d", "--keep-outcomes", "2d"]).options
    assert (serve.keep, serve.keep_outcomes) == ("1d", "2d")
