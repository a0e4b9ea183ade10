"""Training rows of one arm of an experiment: those that it served, and no others."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import NO_ROOM, SHADOW, Exposure
from headwater.training.arm_log import OTHER_ARM
from tests.journal.conftest import home, micros, model, one, run  # noqa: F401 (fixtures)
from tests.training.test_from_log import LATER, of_model, outcome, post, write


def _expose(folder: Path, *exposures: Exposure, version: int = 1) -> None:
    with ExposureLog(folder) as log:
        log.put("fresher", version, exposures)


def _exposed(number: int, arm: str, **more: object) -> Exposure:
    return Exposure(str(number), arm, micros(number), f"r{number}", 0.5)._replace(**more)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """Ten served rows with outcomes; nine of their requests were exposed."""
    write(tmp_path, *(one(of_model(), n) for n in range(10)))
    post(tmp_path, *(outcome(n, n % 2 == 0, 100) for n in range(10)))
    arms = [_exposed(n, "live" if n % 3 else "daily") for n in range(7)]
    odd = [
        _exposed(7, "live", override=True),
        _exposed(8, "live", flag=NO_ROOM),
        _exposed(9, "live", flag=SHADOW),
    ]
    _expose(tmp_path, *arms, *odd[:2])
    _expose(tmp_path, odd[2])
    return tmp_path


def _requests(folder: Path, arm: str) -> list[str]:
    made = hw.dataset(
        model(),
        folder / f"{arm}.parquet",
        as_of=LATER,
        from_log=hw.experiments.ArmLog("fresher", arm, folder),
    )
    assert made.manifest["left_out"][OTHER_ARM] == 10 - made.manifest["rows"]
    return pl.read_parquet(folder / f"{arm}.parquet")["headwater_request"].to_list()


def test_each_arm_has_its_own_rows(served: Path) -> None:
    assert _requests(served, "daily") == ["r0", "r3", "r6"]
    # without a tester's, and those that got the control
    assert _requests(served, "live") == ["r1", "r2", "r4", "r5"]


def test_the_rows_are_made_again(served: Path) -> None:
    made = hw.dataset(
        model(),
        served / "rows.parquet",
        as_of=LATER,
        from_log=hw.experiments.ArmLog("fresher", "live", served),
    )
    assert made.manifest["tables"]["serving log"]["arm"] == {
        "experiment": "fresher",
        "arm": "live",
        "version": 1,
    }
    _expose(served, _exposed(0, "live"), version=2)  # the next version shuffles all units
    again = hw.operations.reproduce(model(), made.manifest_path, served / "again.parquet")
    assert again.manifest["digest"] == made.manifest["digest"]
    assert _requests(served, "live") == ["r0"]
