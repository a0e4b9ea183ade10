"""Lift by freshness: what each level would have given for served requests equals a backtest of
these requests with the same models.
"""

import datetime as dt
import shutil
from dataclasses import replace

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.experiments.level_comparison import LiftOptions, level_lift
from headwater.journal.sample_rates import write_rate
from headwater.models.artifact import load
from headwater.models.registry import MONITORED, ModelRegistry
from headwater.results.estimate import Estimate
from tests.backtesting.delivery_world import LIVE
from tests.cli.conftest import run  # noqa: F401 (a fixture)
from tests.experiments.monitored_world import SERVED, served

END = LIVE + dt.timedelta(days=SERVED)
MATURED = END + dt.timedelta(hours=2)
EACH = 80  # requests a day


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a served model, its archive, and the models of all levels; and the project."""
    folder = tmp_path_factory.mktemp("monitored")
    known = served(folder)
    return folder, known, monitored(folder, known)


def monitored(folder, known, *, levels=None, since=None, until=MATURED, **options):
    store = f"lmdb:{folder / 'online'}?size=1GB"
    how = LiftOptions(
        **{
            "evaluation": known.evaluation,
            "maturity": "1h",
            "project": "bank",
            "store": store,
            **options,
        }
    )
    model, compared = known.models[0], levels or known.named_levels
    return level_lift(
        model,
        compared,
        data_dir=folder,
        models=folder / "models",
        since=since,
        until=until,
        options=how,
    )


@pytest.fixture
def copy(world, tmp_path):
    """What was served, the models and the store, to change; and the project, whose tables stay
    where they are.
    """
    for name in ("served", "outcomes", "models", "online"):
        shutil.copytree(world[0] / name, tmp_path / name)
    return tmp_path, world[1]


# ---------------------------------------------------------------- the evidence


@pytest.mark.slow
def test_the_daily_curve_equals_a_backtest_of_the_same_requests_with_the_same_models(world):
    """Counts are exact, and scores and daily metrics are equal to the bit: no event is late."""
    folder, known, found = world
    mine = known.models[0]
    scored = found.predictions.rename({"headwater_at": "asked"})
    keys = folder / "requests.parquet"
    asked = pl.read_parquet(keys).filter(pl.col("asked") >= LIVE)
    assert scored.height == asked.height == EACH * SERVED
    assert [day.requests for day in found.result.days] == [EACH] * SERVED
    assert [day.with_outcome for day in found.result.days] == [EACH] * SERVED
    used = {of.level: of for of in found.result.models}
    for name, level in {"daily": known.named_levels["daily"], "as defined": hw.Level()}.items():
        registry = ModelRegistry(
            folder / "models" if name == "as defined" else folder / "models" / MONITORED
        )
        version = registry.version(int(used[name].version), mine.name, name)
        assert version.manifest.kept.digest == used[name].digest
        assert (version.manifest.until, version.manifest.seed) == (LIVE.isoformat(), 3)
        pinned = replace(mine, estimator=load(version.folder, mine).estimator)
        tested = hw.backtest(
            pinned, {name: level}, hw.Evaluation(split=LIVE, refits=0, resamples=0)
        ).predictions
        assert tested.height == scored.height
        both = (
            scored.with_row_index("n").sort("asked", name).select(name),
            tested.sort("asked", name).select(name),
        )
        assert both[0].equals(both[1])
        for day in found.result.days:
            rows = tested.filter(pl.col("asked").dt.strftime("%Y-%m-%d") == day.day)
            assert day.values[name] == pytest.approx(auc(rows["bad"], rows[name]), abs=1e-12)


def auc(y, score):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(y.cast(pl.Int64), score)


@pytest.mark.slow
def test_the_served_scores_are_computed_again_from_the_archive(world):
    _, _, found = world
    assert found.result.agreement == 1.0
    assert found.predictions["headwater_prediction"].to_list() == pytest.approx(
        found.predictions["as defined"].to_list(), abs=1e-12
    )
    assert [day.delivered for day in found.result.days] == [
        day.values["as defined"] for day in found.result.days
    ]


def test_late_events_count_from_their_commit_on(world):
    """A cut that does not wait misses what was committed after it, and a backtest by event times
    does not see that.
    """
    folder, known, found = world
    levels = {
        "daily": known.named_levels["daily"],
        "impatient": hw.Level(hw.batch("1d", delay="4h")),
    }
    late = monitored(folder, known, levels=levels, views=False).predictions
    assert late["daily"].equals(found.predictions["daily"])
    assert late["impatient"].ne(late["daily"]).any()


def test_where_people_react_a_note_asks_for_an_experiment_until_there_is_one(world):
    folder, known, _ = world
    reacting = {"views": False, "evaluation": replace(known.evaluation, adversaries=True)}
    asked = monitored(folder, known, **reacting).result
    assert any("adversaries react" in note for note in asked.notes)
    found = {alternative.name: Estimate(0.1, 0.0, 0.2) for alternative in asked.alternatives}
    answered = monitored(folder, known, experiments=found, **reacting).result
    assert not any("adversaries" in note for note in answered.notes)


# ---------------------------------------------------------------- off the golden path


def test_a_sampled_log_is_weighted_by_its_rate(copy, world):
    folder, known = copy
    files = [*(folder / "served").glob("headwater_date=*/*/*.parquet")]
    (process,) = {file.stem.partition("-")[2].rpartition("-")[0] for file in files}
    write_rate(folder / "served", process, 0.25)
    found = monitored(folder, known).result
    assert found.weight == 4 * EACH * SERVED
    assert found.days[0].weight == 4 * EACH
    assert [dict(day.values) for day in found.days] == [
        dict(day.values) for day in world[2].result.days
    ]
    assert found.values["daily"] == world[2].result.values["daily"]


@pytest.mark.parametrize(
    ("rule", "error", "says"),
    [
        (None, UsageError, "does not declare"),
        ("censored", UsageError, "which scores are acted on is not declared"),
        ("caused", DataError, "caused by what was shown"),
    ],
)
def test_outcomes_that_depend_on_the_answer_are_refused(world, rule, error, says):
    folder, known, _ = world
    with pytest.raises(error, match=says):
        level_lift(
            replace(known.models[0], outcomes=rule), data_dir=folder, models=folder / "models"
        )


def test_hidden_outcomes_are_stood_for_by_the_holdout(copy, world):
    """A row whose outcome some level would hide counts only if its unit is held out, and then for
    as many as are not.
    """
    folder, known = copy
    rule = hw.censored(above=0.5, holdout=0.5, unit="user")
    acted = replace(known.models[0], outcomes=rule)
    shutil.rmtree(folder / "models")
    hw.train(acted, as_of=LIVE, seed=3).register(ModelRegistry(folder / "models"))
    found = monitored(
        folder, hw.Project("bank", [acted], levels=known.levels, evaluation=known.evaluation)
    )
    every = world[2].predictions
    hidden = (every["daily"] >= 0.5) | (every["as defined"] >= 0.5)
    assert 0 < found.predictions.height < every.height
    assert sum(found.result.left_out.values()) == every.height - found.predictions.height
    assert set(found.predictions["weight"].unique()) == {1.0, 2.0}
    assert found.predictions.filter(pl.col("weight") == 1).height == int((~hidden).sum())
    assert any("views are not judged" in note for note in found.result.notes)
