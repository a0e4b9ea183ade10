"""Erasing a unit from the log of exposures: its rows go, the others stay, and what cannot be searched is named."""

import dataclasses

import pytest

import headwater as hw
from headwater.erasure.erase_exposures import erase_exposures
from headwater.erasure.key_match import ErasedKey
from headwater.erasure.receipt import ErasureJournal
from headwater.logs.exposure_log import EXPOSURES, ExposureLog, read_exposures, read_interleaved
from headwater.logs.exposure_rows import Exposure
from headwater.testing.examples import visiting

T = 1_714_521_600_000_000


@pytest.fixture
def project():
    shop = visiting(hw.batch("1h"))
    arms = [hw.Arm("hourly", shop.models[0]), hw.Arm("daily", shop.models[0], hw.batch("1d"))]
    return dataclasses.replace(shop, experiments=[hw.Experiment("fresh", arms=arms, unit="user")])


def _log(folder, experiment="fresh"):
    with ExposureLog(folder) as log:
        log.put(experiment, 1, [Exposure(str(user), "hourly", T + user, request=f"r{user}", propensity=0.5) for user in range(100)])
        log.put(experiment, 1, [Exposure("7", "hourly", T + 500, request="r500", items=["a", "b"], teams=[0, 1])])


def _erase(project, folder, *, dry_run=False, **key):
    journal = ErasureJournal.begin(project.name, key, "store", folder, dry_run=dry_run)
    erase_exposures(folder, project, [ErasedKey(key)], journal)
    return journal


def test_the_exposures_of_a_unit_go_and_the_others_stay(tmp_path, project):
    _log(tmp_path)
    journal = _erase(project, tmp_path, user="7")
    assert journal.rows_in_files(EXPOSURES) == 2
    left = read_exposures(tmp_path, "fresh")
    assert left.height == 99
    assert "7" not in left["unit"]
    assert left["propensity"].null_count() == 0
    assert read_interleaved(tmp_path, "fresh").height == 0


def test_a_dry_run_counts_and_changes_nothing(tmp_path, project):
    _log(tmp_path)
    assert _erase(project, tmp_path, dry_run=True, user="7").rows_in_files(EXPOSURES) == 2
    assert read_exposures(tmp_path, "fresh").height == 101


def test_a_key_that_is_no_unit_touches_nothing(tmp_path, project):
    _log(tmp_path)
    assert _erase(project, tmp_path, item="7").rows_in_files(EXPOSURES) == 0


def test_what_cannot_be_searched_is_named(tmp_path, project):
    _log(tmp_path, "old_one")
    journal = _erase(project, tmp_path, user="7")
    assert [entry.place for entry in journal.receipt.not_searched] == ["exposures of old_one"]
    with ExposureLog(tmp_path) as log:
        log.put("fresh", 1, [Exposure("7", "hourly", T)])
        assert log.flush()
        places = [entry.place for entry in _erase(project, tmp_path, user="7").receipt.not_searched]
        assert places == ["exposures of fresh", "exposures of old_one"]
