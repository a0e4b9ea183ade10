"""A probe stops once it has cost its budget, and training leaves out its rows."""

from datetime import timedelta

import pytest

from headwater.experiments.experiment_planning import ExperimentPlaces
from headwater.experiments.experiment_ramp import ramp
from headwater.experiments.probe_budget import CAPTION, LOSS_BUDGET, probe_loss
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import ExperimentStore
from headwater.training.from_log import FromLog, logged
from tests.backtesting.test_delivery import written
from tests.experiments.analysis_world import START, World, micros
from tests.journal.conftest import about, at, model, one


def probing(folder, effect, budget, *, ints=False):
    """A world whose experiment is a probe with this budget, its exposures in the log."""
    world = World(
        seed=3,
        effect=effect,
        ints=ints,
        users=1_500,
        changes={"settings": {LOSS_BUDGET: round(budget * 1e6)}},
    )
    ExperimentStore(folder).start(world.plan(), micros(START), "tests")
    with ExposureLog(folder) as log:
        for row in world.exposures.iter_rows(named=True):
            log.put(
                "fresh",
                1,
                [
                    Exposure(
                        row["unit"], row["arm"], micros(row["at"]), row["request"], propensity=0.5
                    )
                ],
            )
    return world


@pytest.mark.slow
@pytest.mark.parametrize("ints", [True, False], ids=["integer units", "string units"])
def test_a_loss_beyond_the_budget_stops_it(tmp_path, ints):
    world = probing(tmp_path, -0.5, 100, ints=ints)
    places = ExperimentPlaces(models=tmp_path, data_dir=tmp_path)
    found = world.analyse(tmp_path).result
    arms = {arm.name: arm.matured for arm in found.arms}
    assert probe_loss(found) == pytest.approx(
        (found.deciding[0].control - found.deciding[0].treated) * arms["streaming"]
    )
    assert probe_loss(found) > 100
    assert CAPTION in found.rule
    step = ramp(world.project(), "fresh", places=places, at=micros(START + timedelta(days=9)))
    assert step.action == "stop"
    assert "and its budget is 100" in step.reason
    assert ExperimentStore(tmp_path).one("fresh").stopped_at is not None


def test_training_leaves_out_what_a_probe_served(tmp_path):
    of, context = model(), about(features=("user__visits_1d",))
    entries = [one(context, n) for n in range(10)]
    outcomes = [
        {"request_id": f"r{n}", "outcome": n % 2 == 0, "known_at": at(100).isoformat()}
        for n in range(10)
    ]
    written(tmp_path, entries, outcomes, of)
    until = round(at(200).timestamp() * 1e6)
    assert len(logged(of, FromLog.find(tmp_path, of), until).requests.t) == 10
    with ExposureLog(tmp_path) as log:
        for n in range(3):
            log.put(
                "probe_x",
                1,
                [
                    Exposure(str(n), "probed", until, f"r{n}"),
                    Exposure(str(n + 5), "served", until, f"r{n + 5}"),
                ],
            )
    rows = logged(of, FromLog.find(tmp_path, of), until)
    assert len(rows.requests.t) == 7
    assert rows.left_out["served by a probe"] == 3
