"""Exposures of an experiment are kept while it runs and its outcomes mature, and for a time after
that; then they go together.
"""

import os
import time

import pytest

from headwater import clock
from headwater.errors import DefinitionError
from headwater.experiments.exposure_retention import expire_exposures, exposures_kept
from headwater.experiments.frozen_plan import freeze
from headwater.journal.exposure_log import EXPOSURES, ExposureLog, read_exposures
from headwater.journal.exposure_rows import Exposure
from headwater.models.registry import ModelRegistry
from tests.experiments.shop_history import project, requests
from tests.serving.experiment_world import DAY, plan, started

BEGIN = 1_714_521_600_000_000
ENDED, STOPPED = "after its planned end", "stopped on its third day"
ROW = Exposure("u1", "hourly", BEGIN, "r1", 0.5)


def log(folder, *versions, written=BEGIN):
    """Exposures of some versions, last written to at a time."""
    with ExposureLog(folder) as exposures:
        for version in versions:
            exposures.put("fresh", version, [ROW])
    for path in (folder / EXPOSURES).glob("*/*/*"):
        os.utime(path, ns=(written * 1000, written * 1000))


@pytest.mark.parametrize(
    ("state", "matures", "last"),
    [
        (ENDED, 0, 14),
        (ENDED, 7 * DAY, 21),
        (STOPPED, 7 * DAY, 10),
        (ENDED, None, None),
    ],
)
def test_they_are_kept_until_outcomes_are_final_and_for_a_time_after_that(
    tmp_path, state, matures, last
):
    store = started(tmp_path / "models", start=BEGIN, matures=matures)
    if state == STOPPED:
        store.stop("fresh", BEGIN + 3 * DAY, "test", "enough")
    log(tmp_path, 1)
    kept = 400 if last is None else last + 30  # days, with keep="30d"
    for day in range(0, kept + 1, 4):
        assert expire_exposures(tmp_path, store, "30d", BEGIN + day * DAY) == []
    assert expire_exposures(tmp_path, store, "30d", BEGIN + kept * DAY) == []
    assert read_exposures(tmp_path, "fresh").height == 1
    if last is not None:
        assert expire_exposures(tmp_path, store, "30d", BEGIN + kept * DAY + 1) == [
            "fresh, version 1"
        ]
        assert read_exposures(tmp_path, "fresh", 1).height == 0
        assert expire_exposures(tmp_path, store, "30d", BEGIN + kept * DAY + 1) == []


def test_each_version_and_experiment_has_its_own_time(tmp_path):
    store = started(tmp_path / "models", start=BEGIN, matures=0)
    store.stop("fresh", BEGIN + DAY, "test", "enough")
    again = plan(start=BEGIN + 60 * DAY, version=2, matures=0)
    store.start(again, again.start, "test")
    log(tmp_path, 1, 2, 3)  # of the third one the store knows nothing
    assert expire_exposures(tmp_path, store, "10d", BEGIN + 70 * DAY) == ["fresh, version 1"]
    assert [read_exposures(tmp_path, "fresh", version).height for version in (1, 2, 3)] == [0, 1, 1]


def test_what_was_written_lately_stays(tmp_path):
    """As a replay or another system that reports later does."""
    store = started(tmp_path / "models", start=BEGIN, matures=0)
    log(tmp_path, 1, written=BEGIN + 100 * DAY)
    assert expire_exposures(tmp_path, store, "10d", BEGIN + 109 * DAY) == []
    assert expire_exposures(tmp_path, store, "10d", BEGIN + 111 * DAY) == ["fresh, version 1"]


def test_a_file_that_was_removed_is_begun_again(tmp_path):
    store, posted = started(tmp_path / "models", start=BEGIN, matures=0), ExposureLog(tmp_path)
    posted.add("fresh", 1, [ROW])
    assert expire_exposures(tmp_path, store, "0s", clock.now_micros() + DAY) == ["fresh, version 1"]
    posted.add("fresh", 1, [ROW._replace(unit="u2")])
    posted.close()
    assert read_exposures(tmp_path, "fresh")["unit"].to_list() == ["u2"]


def test_a_server_expires_them_by_itself(tmp_path):
    store = started(tmp_path / "models", start=BEGIN, matures=0)
    log(tmp_path, 1)
    with exposures_kept(tmp_path, store, "1d", every=0.05):
        until = time.monotonic() + 10
        while read_exposures(tmp_path, "fresh").height:
            assert time.monotonic() < until
            time.sleep(0.02)
    with (
        pytest.raises(DefinitionError, match="exposures: keep"),
        exposures_kept(tmp_path, store, "soon"),
    ):
        pass


def test_a_plan_has_when_its_outcomes_are_known(tmp_path):
    import headwater as hw

    shop = project(requests(60))
    experiment, registry = shop.experiment("fresher"), ModelRegistry(tmp_path)
    for level in (None, hw.Level(hw.batch("1d"))):
        trained = hw.train(
            shop.models[0],
            level=level,
            level_name="fresher-daily" if level else None,
            resources=hw.Resources(threads=1),
        )
        trained.register(registry)
    frozen = freeze(shop, experiment, registry, BEGIN)
    assert frozen.matures == 3_600_000_000  # labels are known after an hour
    assert plan(matures=1).digest == plan().digest  # which follows from the metrics
