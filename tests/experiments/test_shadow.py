"""A shadow: challengers scored on the champion's requests from the serving log, never served."""

import json
import shutil

import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.journal.serving_log_files import served as log_of
from headwater.models.experiment_store import ExperimentStore
from headwater.models.registry import ModelRegistry
from tests.backtesting.delivery_world import LIVE
from tests.experiments.replayed_world import AFTER, DAY, bank
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


def test_a_challenger_that_cannot_be_scored_says_why(served):
    untrained = analysed(served).result.arms[1]
    assert untrained.gap is None
    assert untrained.answered.errors == 320
    assert "holds no version of risk" in untrained.error


def test_outcomes_that_the_champion_hides_are_unknown(served):
    """Where the champion acts and no unit is held out, flips count unknown outcomes and no metric
    is compared.
    """
    folder, _ = served
    for rule, match in (
        ("caused", "only logged action propensities"),
        (hw.censored(above=0.5), "approve-anyway holdout"),
    ):
        hidden, _ = bank(folder, outcomes=rule)
        found = hw.experiments.shadow(
            hidden,
            "beside",
            data_dir=folder,
            models=folder / "models",
            store=f"lmdb:{folder / 'online'}?size=1GB",
            at=AFTER,
        ).result
        arm = found.arms[0]
        assert arm.gap is not None or "other features" in arm.error or "fingerprint" in arm.error, (
            arm.error
        )
        assert arm.gap.metric is None
        assert any(match in note for note in arm.notes)


def test_renderings(served, tmp_path):
    found = analysed(served)
    line = found.result.first_line
    assert line.startswith("Scored in shadow next to now, never served. nightly: ")
    assert "untrained cannot be scored" in line
    assert line in " ".join(repr(found).split())
    assert "No lift: its answers changed nothing" in " ".join(found.to_markdown().split())
    assert "Not scored" in found.write_html(tmp_path / "page.html").read_text()
    assert "only the other level acts" in found._repr_html_()
    assert type(found.result).from_dict(json.loads(json.dumps(found.to_dict()))).first_line == line


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("besid", UsageError, "did you mean 'beside'"),
        ("halves", UsageError, "with kind=hw.experiments.Shadow"),
        ("new", UsageError, "was not started"),
    ],
)
def test_errors_say_what_to_do(served, name, error, match):
    folder, known = served
    model = known.models[0]
    arms = [
        hw.experiments.Arm("a", model),
        hw.experiments.Arm("b", model, known.named_levels["daily"]),
    ]
    spans = {"halves": (0.0, 0.3), "new": (0.3, 0.6), "beside": (0.6, 1.0)}
    kinds = {
        "halves": hw.experiments.ABTest(),
        "new": hw.experiments.Shadow(),
        "beside": hw.experiments.Shadow(),
    }
    more = [
        hw.Experiment(n, arms, unit="user", kind=kinds[n], layer="one", span=span)
        for n, span in spans.items()
    ]
    project = hw.Project("bank", [model], levels=known.levels, experiments=more)
    with pytest.raises(error, match=match):
        hw.experiments.shadow(project, name, data_dir=folder, models=folder / "models", at=AFTER)


def test_no_request_since_the_start(served, tmp_path):
    folder, known = served
    assert known.experiments[0].name == "beside"
    with pytest.raises(DataError, match="no request of model 'risk' was logged"):
        analysed(served, data_dir=tmp_path)
    store = ExperimentStore(folder / "models")
    assert store.one("beside").plan.start == round(LIVE.timestamp() * 1e6)
    assert ModelRegistry(folder / "models").versions("risk")
