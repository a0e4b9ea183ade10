"""Lift by freshness: what each level would have given for served requests equals a backtest of
these requests with the same models.
"""

import datetime as dt
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.experiments.level_comparison import LiftOptions, level_lift
from headwater.journal.sample_rates import write_rate
from headwater.models.artifact import load
from headwater.models.latest_results import LATEST_LEVEL_LIFT
from headwater.models.registry import MONITORED, ModelRegistry
from headwater.results.estimate import Estimate
from headwater.results.level_lift_result import LevelLiftResult
from headwater.serving.metrics.level_lift_metrics import LevelLiftMetrics
from tests.backtesting.delivery_world import LIVE
from tests.cli.conftest import run  # noqa: F401 (a fixture)
from tests.experiments.monitored_world import SERVED, served
from tests.journal.conftest import model

ROOT = Path(__file__).resolve().parents[2]
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


def by_name(result):
    return {one.name: one for one in result.alternatives}


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


def test_without_an_archive_events_are_those_of_history(copy, world):
    folder, known = copy
    shutil.rmtree(folder / "online")
    empty = hw.operations.open_store(f"lmdb:{folder / 'empty'}?size=1GB")
    empty.close()
    assert (
        monitored(folder, known, store=f"lmdb:{folder / 'empty'}?size=1GB")
        .predictions["daily"]
        .equals(world[2].predictions["daily"])
    )


def test_a_history_that_ends_where_the_stream_begins_is_continued_by_the_archive(copy, world):
    """Training reads the whole history; what the levels would have given comes from the archive
    alone after the start.
    """
    folder, known = copy
    for name in ("readings", "reviews"):
        path = world[0] / f"{name}.parquet"
        shutil.copy(path, folder)
        pl.read_parquet(path).filter(pl.col("at") < LIVE).write_parquet(path)
    try:
        found = monitored(folder, known).predictions
    finally:
        for name in ("readings", "reviews"):
            shutil.copy(folder / f"{name}.parquet", world[0])
    assert found["daily"].equals(world[2].predictions["daily"])


# ---------------------------------------------------------------- what it says


def test_what_pays_and_what_does_not(world):
    """The state of a machine decides outcomes for hours; a review comes when it is too late for
    anything.
    """
    found = world[2].result
    one = by_name(found)
    assert one["daily"].state == "earns" or one["daily"].lift.low > 0
    assert one["machine"].lift.value > 0.05
    assert one["user"].state == "earned nothing"
    assert (
        found.first_line.startswith("user (streaming 2s) has earned nothing since 2024-04-15")
        or "user" in found.first_line
    )
    assert one["daily"].worst_lift >= max(np.mean(one["daily"].daily), 0)
    (change,) = found.proposals
    assert change.alternative == "user"
    assert change.lines[0].startswith("~ view user  changed")
    assert "freshness" in change.lines[1]
    assert "not known" in change.money


def test_a_change_comes_with_money_and_never_for_adversaries_without_an_experiment(world):
    folder, known, _ = world
    costs = {"user": 12.5, "machine": 3.0}
    (change,) = monitored(folder, known, costs=costs).result.proposals
    assert change.money == "it saves 12.50 USD a day"
    hostile = replace(known.evaluation, adversaries=True)
    (refused,) = monitored(folder, known, costs=costs, evaluation=hostile).result.proposals
    assert "experiment" in refused.why_not
    seen = Estimate(0.001, -0.002, 0.004)
    tried = monitored(
        folder, known, costs=costs, evaluation=hostile, experiments={"user": seen}
    ).result
    assert tried.proposals[0].why_not == ""
    assert "An experiment found" in by_name(tried)["user"].sentence


def test_renderings_and_metrics_carry_the_result(world, tmp_path):
    folder, _, found = world
    assert LevelLiftResult.from_dict(found.to_dict()).to_dict() == found.to_dict()
    line = found.result.first_line
    assert line.split(":")[0] in " ".join(repr(found).split())
    assert line.split(":")[0] in found.write_html(tmp_path / "page.html").read_text()
    assert "earned nothing" in found.to_markdown()
    assert "earned nothing" in found._repr_html_()
    registry = ModelRegistry(folder / "models")
    LATEST_LEVEL_LIFT.write(registry, found.result.model, found.result.served, found.result)
    assert [of.to_dict() for of in LATEST_LEVEL_LIFT.all(registry)] == [found.to_dict()]
    families = {
        family.name: family.samples
        for family in LevelLiftMetrics(folder / "models", ["risk"]).collect()
    }
    flags = {
        sample.labels["compared"]: sample.value
        for sample in families["headwater_freshness_earned_nothing"]
    }
    assert flags["user"] == 1.0
    assert flags["daily"] == 0.0
    assert registry.variants() == [("risk", "as defined")], "monitored models are not served"


def test_the_command_shows_both(world, run, tmp_path):
    folder, _, found = world
    (folder / "features.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\nfrom "
        "tests.experiments.monitored_world import bank\nproject = "
        "bank(Path(__file__).parent)[0]\n"
    )
    where = [
        "--project",
        folder / "features.py",
        "--models",
        folder / "models",
        "--data-dir",
        folder,
        "--output",
        tmp_path / "page.html",
    ]
    where += ["--store", f"lmdb:{folder / 'online'}?size=1GB"]
    asked = ["--lift", "--maturity", "1h", "--cost", "user=2", "--at", MATURED.isoformat()]
    done = run("watch", *where, *asked, "--json")
    assert done.returncode == 0, done.stderr
    assert "nothing was promised" in done.stderr
    lift = json.loads(done.stdout)["level_lift"]
    assert [day["values"] for day in lift["days"]] == [
        dict(day.values) for day in found.result.days
    ]
    assert lift["proposals"][0]["money"] == "it saves 2.00 USD a day"
    assert "earned nothing" in (tmp_path / "page.html").read_text()
    wrong = run("watch", *where, "--lift", "--cost", "user")
    assert wrong.returncode == 2
    assert "NAME=VALUE" in wrong.stderr


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


def test_days_of_another_rate_count_by_what_they_stand_for(copy, world):
    """Half of the days are sampled at 1 in 10: they weigh ten times as much in the period, and no
    more within their day.
    """
    folder, known = copy
    for file in [*(folder / "served").glob("headwater_date=*/*/*.parquet")]:
        if (
            file.parent.parent.name
            >= f"headwater_date={LIVE + dt.timedelta(days=SERVED // 2):%Y-%m-%d}"
        ):
            time, _, rest = file.stem.partition("-")
            file.rename(file.with_name(f"{time}-other{rest}.parquet"))
            write_rate(folder / "served", f"other{rest}".rpartition("-")[0], 0.1)
    found = monitored(folder, known).result
    assert found.weight == EACH * SERVED / 2 * 11
    for mine, theirs in zip(found.days, world[2].result.days, strict=True):
        assert dict(mine.values) == pytest.approx(dict(theirs.values), abs=1e-12)
    assert found.values["daily"].value != world[2].result.values["daily"].value
    assert np.isfinite(found.values["daily"].low)


@pytest.mark.slow
def test_a_model_that_was_trained_in_the_middle_of_the_week(copy):
    """Each request is scored by models of the cutoff and seed of the version that answered it."""
    folder, known = copy
    middle = LIVE + dt.timedelta(days=9, hours=12)
    second = hw.train(known.models[0], as_of=middle, seed=5).register(
        ModelRegistry(folder / "models")
    )
    for file in (folder / "served").glob("headwater_date=*/*/*.parquet"):
        frame = pl.read_parquet(file, hive_partitioning=False)
        version = (
            pl.when(pl.col("headwater_at") >= middle)
            .then(pl.lit("2"))
            .otherwise(pl.col("headwater_version"))
        )
        frame.with_columns(version.alias("headwater_version")).write_parquet(file)
    found = monitored(folder, known, views=False).result
    schedule = {(of.level, of.served_version): (of.until, of.seed) for of in found.models}
    assert schedule["daily", "1"] == (LIVE.isoformat(), 3)
    assert (
        schedule["daily", "2"]
        == (middle.isoformat(), 5)
        == (second.manifest.until, second.manifest.seed)
    )
    by_day = {day.day: list(day.versions) for day in found.days}
    assert by_day[f"{middle:%Y-%m-%d}"] == ["1", "2"]


def test_an_empty_log_a_removed_version_and_a_period_without_requests(copy, tmp_path):
    folder, known = copy
    with pytest.raises(DataError, match="no serving log"):
        monitored(tmp_path / "nowhere", known)
    with pytest.raises(DataError, match="none of the 1,280 rows served"):
        level_lift(
            known.models[0],
            data_dir=folder,
            models=folder / "models",
            since=MATURED,
            until=MATURED + dt.timedelta(days=2),
            options=LiftOptions(maturity="1h"),
        )
    shutil.rmtree(folder / "models" / "risk")
    with pytest.raises(DataError, match="a version that the registry lacks"):
        monitored(folder, known)


def test_days_before_their_outcomes_are_too_early(world):
    folder, known, _ = world
    found = monitored(folder, known, until=LIVE + dt.timedelta(days=5, hours=12)).result
    assert [day.state for day in found.days] == ["judged"] * 5 + ["not matured"]
    assert {one.state for one in found.alternatives} == {"too early"}
    assert found.first_line.startswith("Too early: 5 days")
    assert found.proposals == []


def test_a_level_that_cannot_be_scored_or_served_is_said(world):
    folder, known, _ = world
    mine = known.models[0]
    ahead = hw.Level(predictions=hw.precomputed(hw.batch("1d", delay="4h"), keys=["amount"]))
    sooner = hw.Level(hw.streaming("2s"), known_after={mine.features.views[0].source: "0s"})
    found = monitored(
        folder, known, levels={**known.named_levels, "ahead": ahead, "sooner": sooner}, views=False
    ).result
    assert any(note.startswith("ahead is not scored") for note in found.notes)
    assert "ahead" not in found.levels
    assert "sooner" in found.levels
    assert all(change.why_not for change in found.proposals if change.alternative == "sooner")


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


def test_a_ranking_is_refused():
    shown = pl.DataFrame({"user": [1], "item": ["a"], "at": [LIVE], "left": [True]})
    with pytest.raises(UsageError, match="ranking"):
        level_lift(
            replace(
                model(table=shown, task=hw.Ranking(group="user", item="item")),
                outcomes="independent",
            )
        )


def test_two_models_share_the_error_of_a_project(world):
    folder, known, found = world
    shared = monitored(folder, known, models=2).result
    one, two = by_name(found.result)["daily"].lift, by_name(shared)["daily"].lift
    assert two.low < one.low < one.value == two.value


def test_wrong_options_are_named(world):
    folder, known, _ = world
    with pytest.raises(UsageError, match="did you mean 'live'"):
        monitored(folder, known, served="lvie")
    with pytest.raises(UsageError, match="break_even"):
        LiftOptions(break_even={"user": -1.0})
    with pytest.raises(UsageError, match="alpha"):
        LiftOptions(alpha=5)
    with pytest.raises(UsageError, match="threshold"):
        monitored(folder, known, evaluation=hw.Evaluation(metrics=["recall"]))
