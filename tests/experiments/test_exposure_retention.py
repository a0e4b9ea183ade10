"""Exposures of an experiment are kept while it runs and its outcomes mature, and for a time after
that; then they go together.
"""

import os

import pytest

from headwater.experiments.exposure_retention import expire_exposures
from headwater.journal.exposure_log import EXPOSURES, ExposureLog, read_exposures
from headwater.journal.exposure_rows import Exposure
from tests.serving.experiment_world import DAY, started

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


def test_what_was_written_lately_stays(tmp_path):
    """As a replay or another system that reports later does."""
    store = started(tmp_path / "models", start=BEGIN, matures=0)
    log(tmp_path, 1, written=BEGIN + 100 * DAY)
    assert expire_exposures(tmp_path, store, "10d", BEGIN + 109 * DAY) == []
    assert expire_exposures(tmp_path, store, "10d", BEGIN + 111 * DAY) == ["fresh, version 1"]
