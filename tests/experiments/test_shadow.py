"""A shadow: challengers scored on the champion's requests from the serving log, never served."""

import shutil

import pytest

import headwater as hw
from headwater.journal.serving_log_files import served as log_of
from tests.experiments.replayed_world import AFTER, DAY
from tests.experiments.replayed_world import served as played


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shadowed")
    known = played(folder)
    untrained = known.arm_variant(known.experiments[0], known.experiments[0].arms[2])
    shutil.rmtree(folder / "models" / "risk" / untrained.name)
    return folder, known


def analysed(served, **more):
    folder, known = served
    given = {
        "data_dir": folder,
        "models": folder / "models",
        "store": f"lmdb:{folder / 'online'}?size=1GB",
        "at": AFTER,
    }
    return hw.experiments.shadow(known, "beside", **{**given, **more})


def test_challengers_are_scored_and_never_served(served):
    folder, known = served
    found = analysed(served).result
    assert (found.champion, found.requests, found.with_outcome) == ("now", 320, 320)
    assert set(log_of(folder, model="risk").collect()["headwater_version"]) == {"1"}
    nightly = found.arms[0]
    assert nightly.answered.how == {"on_request": 320}
    assert nightly.gap.metric.other < nightly.gap.metric.served
    assert nightly.gap.metric.rows == 320
    assert nightly.gap.flips.flipped > 0
    assert nightly.answered.age_p50 > found.served.age_p50
    assert nightly.answered.latency_p50 > 0
    day = hw.experiments.replay_day(
        known,
        DAY,
        level="daily",
        options=hw.experiments.ReplayOptions(
            at=AFTER,
            data_dir=folder,
            models=folder / "models",
            store=f"lmdb:{folder / 'online'}?size=1GB",
        ),
    )
    assert day.result.gap.changed == pytest.approx(nightly.gap.changed, abs=0.3), (
        "the same features as a replay"
    )
