"""A service of a project that an experiment does not run with: refused at the start, and not served
where it is started later.
"""

from dataclasses import replace

import pytest

import headwater as hw
from headwater import clock
from headwater.catalog.experiment_protection import needs_of
from headwater.errors import UsageError
from headwater.models.experiment_store import ExperimentStore
from tests.serving.experiment_world import DAY, EXPERIMENTED, both_levels, plan
from tests.serving.world import MODELS, ROW, asking, churn, nightly, user
from tests.waiting import until


@pytest.fixture(scope="module")
def levels(tmp_path_factory):
    made = both_levels(
        hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('arms') / 'online'}?size=1GB")
    )
    yield made
    made.close()


def frozen(**changes):
    """The plan of the project's experiment, which has begun and ends in two weeks."""
    needs = needs_of(EXPERIMENTED, EXPERIMENTED.experiment("fresh"))
    return plan(**{"project": "shop", "needs": needs, "start": clock.now_micros() - DAY, **changes})


def running(folder, **changes):
    store, own = ExperimentStore(folder), frozen(**changes)
    store.start(own, own.start, "test")
    return store


def with_arms(*arms):
    return replace(
        EXPERIMENTED, experiments=[replace(EXPERIMENTED.experiment("fresh"), arms=list(arms))]
    )


def with_model(**changes):
    model = replace(churn, **changes)
    arms = [hw.experiments.Arm("hourly", model), hw.experiments.Arm("nightly", model, nightly)]
    experiment = replace(EXPERIMENTED.experiment("fresh"), arms=arms)
    return replace(EXPERIMENTED, models=[model], experiments=[experiment])


def another_view():
    return with_model(
        features=hw.FeatureService(
            "churn_v1", [replace(user, windows=["3d"]), hw.RequestField("country", str)]
        )
    )


CHANGED = {
    "a view": (another_view, "view user"),
    "the model": (lambda: with_model(default=1.0), "model churn"),
    "a level": (
        lambda: replace(EXPERIMENTED, levels={"nightly": hw.Level(hw.batch("1d", at="02:00"))}),
        "level nightly",
    ),
    "an arm": (
        lambda: with_arms(
            hw.experiments.Arm("hourly", churn), hw.experiments.Arm("weekly", churn, nightly)
        ),
        "arm nightly (removed), experiment fresh",
    ),
    "the weights": (
        lambda: with_arms(
            hw.experiments.Arm("hourly", churn, weight=0.9),
            hw.experiments.Arm("nightly", churn, nightly, weight=0.1),
        ),
        "experiment fresh",
    ),
    "the experiment": (
        lambda: replace(EXPERIMENTED, experiments=[]),
        "the project does not define it",
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_project_is_not_served(tmp_path, levels, what):
    changed, difference = CHANGED[what]
    store = running(tmp_path / "models")
    options = {"models": MODELS, "data_dir": tmp_path, "experiments": store}
    with pytest.raises(UsageError) as refused, hw.operations.Service(changed(), levels, **options):
        pass
    said = str(refused.value)
    assert "experiment 'fresh', version 1, runs until" in said
    assert difference in said
    assert "headwater experiment stop fresh --reason TEXT" in said
    with hw.operations.Service(EXPERIMENTED, levels, **options) as service:
        assert service.experiments.refused == {}
    store.stop("fresh", clock.now_micros(), "test", "changed")
    with hw.operations.Service(changed(), levels, **options) as service:
        assert service.experiments.refused == {}


def test_an_experiment_of_other_definitions_that_starts_later_is_not_served(tmp_path, levels):
    store = ExperimentStore(tmp_path / "models")
    with asking(
        levels,
        replace(EXPERIMENTED, experiments=[]),
        models=MODELS,
        data_dir=tmp_path,
        experiments=store,
        levels=("nightly",),
    ) as client:
        own = frozen()
        store.start(own, own.start, "test")
        until(lambda: client.get("/readyz").json().get("warnings"))
        (warning,) = client.get("/readyz").json()["warnings"]
        assert warning.startswith(
            "experiment 'fresh' is not served: the project does not define it; serve the "
            "definitions"
        )
        assert "arm" not in client.post("/v1/predict/churn", json={"row": ROW}).json()
        assert 'headwater_experiment_served{experiment="fresh"} 0.0' in client.get("/metrics").text
        store.stop("fresh", clock.now_micros(), "test", "changed")
        until(lambda: "warnings" not in client.get("/readyz").json())


def test_experiments_that_cannot_be_read_are_no_secret(tmp_path, levels):
    store = running(tmp_path / "models")
    path = store.folder / "fresh" / "1" / "plan.json"
    plain = path.read_bytes()
    path.write_bytes(plain[:100])
    with asking(
        levels,
        EXPERIMENTED,
        models=MODELS,
        data_dir=tmp_path,
        experiments=store,
        levels=("nightly",),
    ) as client:
        (warning,) = client.get("/readyz").json()["warnings"]
        assert "experiments were not read" in warning
        assert str(path.parent) in warning
        assert "arm" not in client.post("/v1/predict/churn", json={"row": ROW}).json()
        path.write_bytes(plain)
        until(lambda: "arm" in client.post("/v1/predict/churn", json={"row": ROW}).json())
        assert "warnings" not in client.get("/readyz").json()
