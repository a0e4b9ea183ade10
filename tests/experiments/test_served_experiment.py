"""An experiment whose requests were really served: exposures and labels from the logs, before and
after its outcomes are final.
"""

import dataclasses

import pytest

import headwater as hw
from headwater.experiments.analyse_experiment import analyse
from headwater.journal.serving_log import ServedLog
from headwater.models.experiment_store import FrozenArm
from tests.serving.experiment_world import DAY, T, both_levels, expected, serving, started
from tests.serving.world import PROJECT, ROW

USERS = 120
ARMS = (
    FrozenArm("hourly", "churn", "as defined", 0.5),
    FrozenArm("nightly", "churn", "nightly", 0.5),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The data directory and the store of experiments after 120 users asked, and outcomes were
    posted for all but ten of them.
    """
    folder = tmp_path_factory.mktemp("served")
    levels = both_levels(hw.operations.open_store(f"lmdb:{folder / 'online'}?size=1GB"))
    store = started(folder / "models", arms=ARMS, duration=2 * DAY)
    labels = PROJECT.model("churn").labels.name
    with (
        ServedLog(folder, sample=1.0) as log,
        serving(levels, folder, store, serving_log=log) as client,
    ):
        ids = {}
        for user in range(USERS):
            response = client.post("/v1/predict/churn", json={"row": {**ROW, "user": user}})
            ids[user] = response.headers["x-request-id"]
        rows = [
            {
                "request_id": ids[user],
                "outcome": user % 10 < (2 if expected(store, user) == "hourly" else 8),
            }
            for user in range(USERS - 10)
        ]
        assert client.post(f"/v1/outcomes/{labels}", json=rows).json()["accepted"] == len(rows)
    levels.close()
    model = PROJECT.model("churn")
    experiment = hw.Experiment(
        "fresh",
        arms=[
            hw.experiments.Arm("hourly", model),
            hw.experiments.Arm("nightly", model, PROJECT.named_levels["nightly"]),
        ],
        unit="user",
        metrics=[hw.experiments.ExperimentMetric("label_mean")],
    )
    return dataclasses.replace(PROJECT, experiments=[experiment]), folder, folder / "models"


def test_labels_of_requests_are_joined_when_they_are_final(served):
    project, folder, models = served
    found = analyse(project, "fresh", data_dir=folder, models=models, at=_iso(T + 40 * DAY)).result
    (metric,) = found.metrics
    values = {
        arm: sum(user % 10 < high and user < USERS - 10 for user in users) / len(users)
        for arm, users, high in _arms(models)
    }
    assert metric.covariate  # the labels of the users before, which move the means a little
    assert metric.control == pytest.approx(values["hourly"], rel=0.02)
    assert metric.treated == pytest.approx(values["nightly"], rel=0.02)
    assert [arm.matured for arm in found.arms] == [len(users) for _, users, _ in _arms(models)]


def test_before_outcomes_are_final_it_says_so(served):
    project, folder, models = served
    found = analyse(project, "fresh", data_dir=folder, models=models, at=_iso(T + 1_000_000)).result
    assert found.decision == "keep running"
    assert "no unit with a final outcome yet" in found.first_line


def _arms(models):
    from headwater.models.experiment_store import ExperimentStore

    arm_of = {user: expected(ExperimentStore(models), user) for user in range(USERS)}
    for arm, high in (("hourly", 2), ("nightly", 8)):
        yield arm, [user for user in range(USERS) if arm_of[user] == arm], high


def _iso(micros):
    from headwater import clock

    return clock.timestamp(micros).isoformat()
