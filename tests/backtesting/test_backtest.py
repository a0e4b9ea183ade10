"""hw.backtest on small worlds whose truth is known: what must lift, what must not, and what must
not matter.
"""

import dataclasses
import io

import msgspec
import numpy as np
import polars as pl
import pytest
from msgspec import structs
from rich.console import Console
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline

import headwater as hw
from headwater.backtesting import backtest, fitting
from headwater.errors import DataError, UsageError
from tests.backtesting.world import (
    LEVELS,
    STALE_AND_FRESH,
    by_machine,
    day,
    judge,
    labels,
    level,
    model,
    step,
    world,
)

SPLIT = day(18)


@pytest.fixture(scope="module")
def made():
    return world()


@pytest.fixture(scope="module")
def late(made):
    """The default estimator at every level, with a text among the features."""
    members = [
        by_machine(made.events),
        hw.RequestField("amount", float),
        hw.RequestField("machine", str),
    ]
    slices = {"m0": pl.col("machine") == "m0", "none": pl.col("amount") > 1e9}
    return backtest.backtest(
        model(made, estimator=None, members=members),
        levels=LEVELS,
        evaluation=hw.Evaluation(split=SPLIT, slices=slices, resamples=300),
    ).result


def _same(result):
    """All of a result but how long it took, so that NaN equals NaN."""
    return repr(structs.replace(result, seconds={}))


def _backtest(of, **given):
    return judge(of, **({"levels": STALE_AND_FRESH, "split": SPLIT, "resamples": 100} | given))


# ---- what must be found


def test_a_state_that_lasts_hours_lifts_hourly_over_daily(late):
    found = step(late, "daily", "hourly")
    assert found.low > 0
    assert found.verdict == "not judged", "daily is not the baseline"
    assert 0.05 < found.low < found.delta < found.high
    assert step(late, "request only", "instant").verdict == "LIFT"
    assert step(late, "request only", "daily").delta < 0.5 * found.delta


def test_metrics_at_a_threshold_come_first_and_every_one_has_an_interval(late):
    assert list(late.levels[0].metrics) == [
        "precision", "recall", "precision@10%", "recall@10%", "auc", "average_precision", "log_loss", "brier", "calibration",
    ]  # fmt: skip
    for found in late.levels:
        assert all(
            e.low <= e.value <= e.high for name, e in found.metrics.items() if name != "calibration"
        )


def test_each_level_is_batch_or_real_time_by_the_one_hour_rule(late):
    assert [found.kind for found in late.levels] == ["batch", "batch", "batch", "real-time"]


def test_the_freshest_model_is_replayed_on_every_staler_level(late):
    assert [set(found.replayed) for found in late.levels] == [set(late.levels[0].metrics)] * 3 + [
        set()
    ]
    for found in late.levels[:-1]:
        # trained on fresher features: it overstates the lift
        assert found.replayed["log_loss"] > found.metrics["log_loss"].value


def test_the_result_names_the_estimator_and_the_text_columns_of_the_freshest_level(late):
    assert late.estimator.startswith("LightGBM")
    assert late.encoded == {"machine": 3}


def test_what_is_said_of_texts_is_that_of_the_freshest_level(made):
    """The first level may hold precomputed predictions, which read no field of the request."""
    members = [by_machine(made.events), hw.RequestField("machine", str)]
    ahead = hw.Level(predictions=hw.precomputed(LEVELS["daily"].features, keys=["machine"]))
    result = _backtest(
        model(made, members=members), levels={"ahead": ahead, "instant": LEVELS["instant"]}
    )
    assert result.encoded == {"machine": 3}
    # the freshest model reads more than is known ahead
    assert level(result, "ahead").replayed == {}


def test_slices_are_rows_of_the_test_period(late, made):
    assert [s.name for s in late.slices] == ["m0", "none", "cold start"]
    assert (
        late.slices[0].rows
        == made.rows.filter(pl.col("asked") >= SPLIT, pl.col("machine") == "m0").height
    )
    assert step(late.slices[0], "daily", "hourly").low > 0
    assert "hold together" in late.slices[0].note
    assert [s.describes for s in late.slices[:2]] == ['machine == "m0"', "amount > 1000000000"]


def test_a_slice_without_rows_says_so(late):
    assert late.slices[1].rows == 0
    assert late.slices[1].levels == late.slices[1].comparisons == []
    assert late.slices[1].note == "no test row is in this slice"


def test_regression(made):
    result = _backtest(
        model(made, task="regression", estimator=make_pipeline(SimpleImputer(), LinearRegression()))
    )
    assert list(result.levels[0].metrics) == ["mae", "rmse", "wape"]
    assert result.headline == "mae"
    assert result.positive_rate is None
    assert [
        step(result, "daily", "hourly", metric).verdict for metric in ("mae", "rmse", "wape")
    ] == ["LIFT", "not judged", "not judged"]
    assert all(
        step(result, "daily", "hourly", metric).low > 0 for metric in ("mae", "rmse", "wape")
    )


@pytest.mark.slow
def test_a_null_world_says_lift_in_few_seeds():
    verdicts = []
    for seed in range(24):
        made = world(seed, days=20, per_day=60, effect=0)
        verdicts.append(
            step(
                _backtest(model(made), split=day(10), metrics=["auc"], min_lift=0, seed=seed),
                "daily",
                "hourly",
            ).verdict
        )
    # Below 0.025 in truth; 4 or more of 24 would come about once in 350 times.
    assert verdicts.count("LIFT") < 4
    assert verdicts.count("inconclusive") > 16


def test_one_level_alone_and_its_renderings(made, tmp_path):
    found = backtest.backtest(
        model(made),
        levels={"daily": LEVELS["daily"]},
        evaluation=hw.Evaluation(split=SPLIT, resamples=50),
    )
    assert found.result.comparisons == []
    assert level(found.result, "daily").replayed == {}
    Console(file=io.StringIO()).print(found.table())
    assert found.write_html(tmp_path / "deep" / "report.html").stat().st_size > 1000
    assert found.to_dict()["model"] == "breaks"


# ---- what must not matter


@pytest.mark.slow
def test_the_same_seed_twice_and_any_number_of_threads(made):
    of = model(made, estimator=None)
    first = _backtest(of, threads=1)
    assert _same(first) == _same(_backtest(of, threads=1))
    assert _same(first) == _same(_backtest(of, threads=2))
    assert _same(first) != _same(_backtest(of, threads=2, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["logistic", None], ids=["logistic", "LightGBM"])
def test_the_order_of_label_rows(made, estimator):
    shuffled = dataclasses.replace(made, rows=made.rows.sample(fraction=1.0, shuffle=True, seed=5))
    one, other = (_backtest(model(w, estimator=estimator)) for w in (made, shuffled))
    for mine, theirs in zip(one.levels, other.levels, strict=True):
        for name, estimate in mine.metrics.items():
            assert msgspec.structs.astuple(theirs.metrics[name]) == pytest.approx(
                msgspec.structs.astuple(estimate), rel=1e-9, nan_ok=True
            ), name


def test_an_estimator_without_a_seed_of_its_own_gets_one(made):
    one, other = (_backtest(model(made, estimator=_seedless())) for _ in range(2))
    assert _same(one) == _same(other)


def _seedless():
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(20, min_samples_leaf=20)


def test_a_bare_freshness_is_a_level(made):
    bare = _backtest(
        model(made), levels={name: level.features for name, level in STALE_AND_FRESH.items()}
    )
    assert _same(bare) == _same(_backtest(model(made)))


@pytest.mark.slow
def test_longer_blocks_widen_what_days_alone_would_tell(made):
    daily, weekly = (
        _backtest(model(made), blocks=blocks, resamples=300) for blocks in ("1d", "2d")
    )
    assert daily.levels[0].metrics["auc"].value == weekly.levels[0].metrics["auc"].value
    assert "test days" in daily.intervals
    assert "blocks of 2d of the test" in weekly.intervals
    assert daily.comparisons[0].low != weekly.comparisons[0].low


def test_a_mean_over_days_needs_blocks_of_a_day(made):
    with pytest.raises(
        UsageError, match=r"metric 'card_precision@10' is a mean over days, and blocks is '7d'"
    ):
        _backtest(
            model(made), blocks="7d", metrics=[hw.evaluation.card_precision(10, card="machine")]
        )


def test_progress_counts_to_the_end(made):
    said = []
    how = hw.Evaluation(split=SPLIT, resamples=100)
    hw.backtest(
        model(made),
        STALE_AND_FRESH,
        how,
        resources=hw.Resources(progress=lambda *what: said.append(what)),
    )
    assert ("training", 2, 2) in said
    assert all(done <= total for _, done, total in said)


# ---- what a row may train


def test_an_outcome_that_is_not_known_at_the_split_never_trains(made):
    unknown = (pl.col("asked") < SPLIT) & (pl.col("known") > SPLIT)
    late = made.rows.with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(day(29)).otherwise("known").alias("known")
    )
    other = late.with_columns(pl.when(unknown).then(~pl.col("bad")).otherwise("bad").alias("bad"))
    n = late.filter(unknown).height
    assert n > 500
    one, two = (
        _backtest(model(dataclasses.replace(made, rows=rows), estimator=None))
        for rows in (late, other)
    )
    assert one.split.left_out == {"outcome not known at the split": n}
    assert one.split.train_rows == late.filter(pl.col("asked") < SPLIT).height - n
    assert repr((one.levels, one.comparisons)) == repr((two.levels, two.comparisons))


def test_the_operating_threshold_is_chosen_without_the_test_rows(made):
    flipped = made.rows.with_columns(bad=pl.col("bad") ^ (pl.col("asked") >= SPLIT))
    flagged = []
    for rows in (made.rows, flipped):
        result = _backtest(
            model(dataclasses.replace(made, rows=rows)), metrics=["precision", "recall"]
        )
        positives = rows.filter(pl.col("asked") >= SPLIT)["bad"].sum()
        flagged.append(
            [
                f.metrics["recall"].value * positives / f.metrics["precision"].value
                for f in result.levels
            ]
        )
    assert flagged[0] == pytest.approx(flagged[1])
    assert min(flagged[0]) > 100


# ---- a fitted estimator


class Frozen(LogisticRegression):
    """A fitted estimator that refuses to be fitted again."""

    def fit(self, X, y):
        raise AssertionError("fitted again")

    @classmethod
    def fitted(cls, made, columns=3):
        x = np.random.default_rng(0).random((made.rows.height, columns))
        other = LogisticRegression().fit(x, made.rows["bad"].to_numpy())
        frozen = cls()
        frozen.__dict__.update(other.__dict__)
        frozen.coef_ = np.array([[2.0, 1.0, 0.1][:columns] + [0.0] * (columns - 3)])
        return frozen


def test_a_fitted_estimator_is_replayed_and_never_fitted_again(made):
    frozen = Frozen.fitted(made)
    # every feature has a value by then
    settled = dataclasses.replace(made, rows=made.rows.filter(pl.col("asked") > day(2)))
    result = _backtest(model(settled, estimator=frozen))
    assert [found.note for found in result.levels] == [
        "the estimator was given fitted: replayed, not trained at this level"
    ] * 2
    assert [found.replayed for found in result.levels] == [{}, {}]
    assert result.estimator == "Frozen, given fitted"
    assert frozen.coef_.tolist() == [[2.0, 1.0, 0.1]]
    assert step(result, "daily", "hourly").verdict == "LIFT"


def test_an_unfitted_estimator_stays_unfitted(made):
    mine = model(made)
    _backtest(mine)
    assert not hasattr(mine.estimator[-1], "coef_")


def test_a_fitted_estimator_of_other_columns_is_refused(made):
    with pytest.raises(
        DataError,
        match=(
            "Frozen was given fitted, and is not trained again; it takes 4 columns, and the "
            "features are 3"
        ),
    ):
        _backtest(model(made, estimator=Frozen.fitted(made, columns=4)))


def test_a_fitted_estimator_cannot_know_how_texts_are_numbered(made):
    members = [by_machine(made.events), hw.RequestField("machine", str)]
    with pytest.raises(
        DataError, match="the category numbers of 'machine' in its training are not known"
    ):
        _backtest(model(made, estimator=Frozen.fitted(made), members=members))


def test_an_estimator_that_takes_no_missing_values_is_told_of_pipelines(made):
    with pytest.raises(
        DataError, match=r"LogisticRegression cannot be fitted: Input X contains NaN\. .*imputer"
    ):
        _backtest(
            model(made, estimator=LogisticRegression()),
            levels={"request only": LEVELS["request only"]},
        )


def test_an_estimator_that_only_orders_is_judged_by_order(made):
    pipeline = model(made).estimator
    pipeline.steps[-1] = ("decides", SGDClassifier(loss="hinge"))
    result = _backtest(model(made, estimator=pipeline))
    assert "log_loss" not in result.levels[0].metrics
    assert level(result, "hourly").metrics["auc"].value > 0.7
    assert len({e.value for e in level(result, "hourly").metrics.values()}) > 3


# ---- the cold start


def test_cold_is_below_the_threshold_and_not_at_it(made):
    asked = made.rows.filter(pl.col("asked") >= SPLIT)
    # user u has u events, a day before the first test row
    seen = [(u, day(17)) for u in range(40) for _ in range(u)]
    visits = pl.DataFrame(
        seen, schema={"user": pl.Int64, "at": pl.Datetime("us", "UTC")}, orient="row"
    )
    source = hw.Source("visits", history=visits, timestamp_field="at")
    by_user = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=[hw.count()],
        windows=["7d"],
        freshness=LEVELS["daily"].features,
    )
    of = model(made, members=[by_user, hw.RequestField("amount", float)])
    for n in (1, 7):
        cold = _backtest(of, cold_start=n).slices[-1]
        assert cold.rows == asked.filter(pl.col("user") < n).height
        assert (
            f"(user) had fewer than {n} events of source 'visits' in the last 30 days"
            in cold.describes
        )
    view = by_machine(made.events)
    assert (
        _backtest(model(made, members=[by_user, view]), cold_start=(view, 10**6)).slices[-1].rows
        == asked.height
    )


# ---- bad input


def _with(**columns):
    return lambda made: model(dataclasses.replace(made, rows=made.rows.with_columns(**columns)))


BAD = {
    "no rows to train on": (model, {"split": day(-3)}, UsageError, ((("leaves no row to train on; the request times are from "  # noqa: UP034
        "2024-03-04")))),
    "no rows to test on": (model, {"split": day(90)}, UsageError, ((("leaves no row to test on; the request times are from "  # noqa: UP034
        "2024-03-04")))),
    "nothing known": (
        _with(known=day(29)), {}, UsageError, ((("leaves no row to train on: of 2155 rows before it, no outcome was known by "  # noqa: UP034
            "then"))),
    ),
    "one class": (_with(bad=pl.lit(value=False)), {}, DataError, ((("rows before the split: all 2154 labels are 0; both outcomes are "  # noqa: UP034
        "needed")))),
    "one class to train on": (
        _with(bad=pl.col("bad") | (pl.col("asked") < SPLIT)), {}, DataError, ((("rows before the split: all 2154 labels are "  # noqa: UP034
            "1"))),
    ),
    "one class to test on": (
        _with(bad=pl.col("bad") & (pl.col("asked") < SPLIT)), {}, DataError, ((("rows after the split: all 1445 labels are "  # noqa: UP034
            "0"))),
    ),
    "not 0 or 1": (_with(bad=pl.col("bad") + 1), {}, DataError, ((("a binary label is 0 or 1, and 2 is among them; "  # noqa: UP034
        ".*task='regression'")))),
    "unknown metric": (model, {"metrics": ["acu"]}, UsageError, ((("unknown metric 'acu'; did you mean "  # noqa: UP034
        "'auc'?")))),
    "a metric of the other task": (model, {"metrics": ["mae"]}, UsageError, ((("metric 'mae' is for a regression "  # noqa: UP034
        "task")))),
    "misspelt slice": (model, {"slices": {"x": pl.col("amuont") > 1}}, UsageError, ((("the labels have no column 'amuont'; did you mean "  # noqa: UP034
        "'amount'?")))),
    "a slice of numbers": (model, {"slices": {"x": pl.col("amount")}}, UsageError, ((("gives Float64; it must say true or false of each "  # noqa: UP034
        "row")))),
    "a slice that fails": (model, {"slices": {"x": pl.col("machine") > 1}}, UsageError, ((("slice 'x': .*cannot be "  # noqa: UP034
        "evaluated")))),
    "a slice that is not an expression": (model, {"slices": {"x": "m0"}}, UsageError, ("slice 'x' is 'm0'; give a polars "
        "expression")),
    "slices without names": (model, {"slices": [pl.col("bad")]}, UsageError, ((("give a mapping from names to polars "  # noqa: UP034
        "expressions")))),
    "no levels": (model, {"levels": {}}, UsageError, ((("levels is a mapping from names to Levels.*at least "  # noqa: UP034
        "one")))),
    "levels without names": (model, {"levels": [LEVELS["daily"]]}, UsageError, ((("levels is a mapping from names to "  # noqa: UP034
        "Levels")))),
    "a text as level": (model, {"levels": {"live": "1h"}}, UsageError, r"level 'live' is '1h'; give a Level or a freshness"),
    "a naive split": (model, {"split": "2024-03-20T00:00"}, UsageError, ((('which has no time zone; add its offset, such as '  # noqa: UP034
        '".*\\+00:00"')))),
    "a split that is not a time": (model, {"split": "20 March"}, UsageError, ((("split is '20 March'; give a timestamp as ISO "  # noqa: UP034
        "8601")))),
    "a split that is a number": (model, {"split": 3}, UsageError, ((("split is 3; give an ISO 8601 text or a tz-aware "  # noqa: UP034
        "datetime")))),
    "a lift of an unknown metric": (model, {"min_lift": {"acu": 0.1}}, UsageError, ((("min_lift names 'acu', .*did you mean "  # noqa: UP034
        "'auc'?")))),
    "a lift below 0": (model, {"min_lift": -0.1}, UsageError, ((("min_lift of the headline metric is -0.1; give 0 or "  # noqa: UP034
        "more")))),
    "a cold start that is not a number": (model, {"cold_start": "few"}, UsageError, ((("cold_start is 'few'; give an integer of at least "  # noqa: UP034
        "0")))),
    "resamples below 0": (model, {"resamples": -1}, UsageError, ((("Evaluation: resamples is -1; give an integer of at least "  # noqa: UP034
        "0")))),
    "no model": (lambda _: "late", {}, UsageError, ((("takes a Model, and was given str; take one from "  # noqa: UP034
        "project.models")))),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_is_trained(case, made, monkeypatch):
    make, given, error, says = BAD[case]
    monkeypatch.setattr(fitting, "fit_outcomes", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(error, match=says):
        _backtest(make(made), **given)


def test_without_a_split_three_quarters_of_the_rows_have_asked(made):
    split = _backtest(model(made), split=None, resamples=0).split
    assert split.test_rows == made.rows.height // 4
    assert labels(made.rows).label_name == "bad"
