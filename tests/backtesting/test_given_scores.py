"""Predictions as a frame, and predictions that were made elsewhere."""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.errors import DataError, UsageError
from tests.backtesting.world import STALE_AND_FRESH, day, model, step, world

START = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)


def scored(n=600, days=20, seed=0):
    """Requests with scores of two levels, the second better."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(int)
    times = [START + dt.timedelta(seconds=float(s)) for s in np.sort(rng.random(n)) * days * 86400]
    noise = rng.random(n)
    return pl.DataFrame(
        {
            "id": np.arange(n),
            "time": times,
            "label": y,
            "daily": 0.8 * noise + 0.1 * y,
            "minute": 0.5 * noise + 0.4 * y,
            "user": rng.integers(0, 30, n),
        }
    ).with_columns(pl.col("time").dt.convert_time_zone("UTC"))


def test_predictions_have_the_request_the_label_and_a_score_of_each_level():
    made = world()
    found = hw.backtest(
        model(made),
        STALE_AND_FRESH,
        hw.Evaluation(split=day(18), metrics=["auc"], resamples=200, refits=0),
    )
    frame = found.predictions
    assert frame.height == found.result.split.test_rows
    assert frame.schema["daily"] == frame.schema["hourly"] == pl.Float64
    assert {"row", "machine", "user", "asked", "bad"} <= set(frame.columns)
    asked = made.rows.filter(pl.col("asked") >= day(18))
    assert frame.sort("asked")["user"].to_list() == asked.sort("asked")["user"].to_list()
    again = hw.backtest(
        scores=hw.evaluation.Scores(
            frame, id="row", time="asked", label="bad", levels=["daily", "hourly"]
        ),
        evaluation=hw.Evaluation(metrics=["auc"], resamples=200),
    ).result
    for name in ("delta", "low", "high", "verdict"):
        assert getattr(step(again, "daily", "hourly"), name) == getattr(
            step(found.result, "daily", "hourly"), name
        )
    assert again.blocks == found.result.blocks


def test_several_classes_have_an_array_of_scores():
    made = world(days=12)
    named = model(
        made,
        estimator=None,
        task="multiclass",
        label="machine",
        members=[hw.RequestField("amount", float)],
    )
    frame = hw.backtest(
        named, STALE_AND_FRESH, hw.Evaluation(split=day(8), resamples=0, refits=0)
    ).predictions
    assert frame.schema["daily"] == pl.Array(pl.Float64, 3)
    assert frame["machine"].dtype == pl.String
    np.testing.assert_allclose(frame["daily"].to_numpy().sum(axis=1), 1)


def test_a_frame_of_scores_is_judged_without_definitions(tmp_path):
    rows = scored()
    found = hw.backtest(scores=rows).result
    assert [level.name for level in found.levels] == ["daily", "minute"]
    assert (
        found.task,
        found.headline,
        found.split.test_rows,
        step(found, "daily", "minute").verdict,
    ) == ("binary", "auc", 600, "LIFT")
    assert found.audit.checks_not_run[0].check == "all"
    rows.write_parquet(tmp_path / "scores.parquet")
    assert hw.backtest(scores=tmp_path / "scores.parquet").result.comparisons == found.comparisons
    assert (
        step(
            hw.backtest(scores=rows.sample(fraction=1, shuffle=True, seed=1)).result,
            "daily",
            "minute",
        ).verdict
        == "LIFT"
    )
    hw.backtest(scores=rows).write_html(tmp_path / "page.html")
    assert "scores that were given" in (tmp_path / "page.html").read_text()
    repr(hw.backtest(scores=rows))


def test_levels_may_say_their_freshness():
    found = hw.backtest(
        levels={"daily": hw.batch("1d"), "minute": hw.streaming("1m")}, scores=scored()
    ).result
    assert [level.kind for level in found.levels] == ["batch", "real-time"]
    assert found.levels[1].age_seconds == 60
    assert 0.3 * 86400 < found.levels[0].age_seconds < 0.7 * 86400


def test_slices_blocks_and_other_tasks():
    rows = scored().with_columns(label=pl.col("label") * 3.5)
    found = hw.backtest(
        scores=rows, evaluation=hw.Evaluation(slices={"few": pl.col("user") < 5}, blocks="user")
    ).result
    assert (found.task, found.headline) == ("regression", "mae")
    assert found.blocks.describes == "values of 'user'"
    assert found.slices[0].rows == rows.filter(pl.col("user") < 5).height
    lists = scored().with_columns(list=pl.col("id") // 5, item=pl.col("id") % 5)
    ranked = hw.backtest(
        scores=hw.evaluation.Scores(lists, task=hw.Ranking(group="list", item="item"))
    ).result
    assert ranked.comparisons[0].delta > 0.05


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"daily": pl.when(pl.col("id") != 7).then("daily")},
            "1 of 600 rows have no finite 'daily', the first with id = 7",
        ),
        (
            {"label": pl.when(pl.col("id") > 2).then("label")},
            "3 of 600 rows have no finite 'label'",
        ),
        ({"minute": pl.lit(float("nan"))}, "600 of 600 rows have no finite 'minute'"),
        ({"id": pl.col("id") // 2}, "600 rows share their id with another"),
        ({"time": pl.col("time").dt.replace_time_zone(None)}, "time"),
        (
            {"time": pl.lit("2024-05-01 10:00:00")},
            "600 times, such as '2024-05-01 10:00:00', have no offset",
        ),
        ({"label": pl.lit("yes")}, "the label 'label' is of type String"),
        ({"label": pl.lit(1)}, "scores"),
        ({"daily": pl.lit(1), "minute": pl.lit("high")}, "no column of scores"),
    ],
)
def test_scores_are_refused_with_a_reason(change, words):
    with pytest.raises(DataError, match=words):
        hw.backtest(scores=scored().with_columns(**change))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            {"scores": scored().drop("label")},
            DataError,
            r"no column 'label', the label of each request.*hw.evaluation.Scores\(table, label=...\)",
        ),
        (
            {"scores": hw.evaluation.Scores(scored(), levels=["dayly"])},
            UsageError,
            "level 'dayly' is not a column of scores; did you mean 'daily'",
        ),
        (
            {"scores": scored(), "evaluation": hw.Evaluation(split="2024-05-03T00:00Z")},
            UsageError,
            r"trains nothing, so Evaluation\(split=\)",
        ),
        (
            {"scores": scored(), "evaluation": hw.Evaluation(metrics=["precision"])},
            UsageError,
            "needs a threshold chosen in training",
        ),
        (
            {"scores": scored(), "levels": {"daily": "1d"}},
            UsageError,
            "give each level a freshness",
        ),
        (
            {"scores": scored(), "model": model(world(days=3))},
            UsageError,
            "both a model and scores",
        ),
        ({}, UsageError, "takes a Model"),
    ],
)
def test_calls_that_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        hw.backtest(**call)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_command_line_judges_a_file(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = scored().rename({"id": "request"})
    rows.write_parquet("s.parquet") if kind == "parquet" else rows.with_columns(
        pl.col("time").dt.to_string("iso:strict")
    ).write_csv("s.csv")
    assert main(
        [
            "backtest",
            "--scores",
            f"s.{kind}",
            "--id",
            "request",
            "--levels",
            "daily,minute",
            "--json",
            "--output",
            "page.html",
        ]
    ) in (0, None)
    printed = json.loads(capsys.readouterr().out)
    assert [found["verdict"] for found in printed["comparisons"] if found["metric"] == "auc"] == [
        "LIFT"
    ]
    assert (tmp_path / "page.html").exists()


# ---- several classes


def of_classes(seed=0, n=600, *, names=("a", "b", "c")):
    """Scores of several classes: the fresh level's probabilities lean to the truth."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(names), n)
    frame = scored().head(n).with_columns(label=pl.Series([names[at] for at in y]))
    truth = np.eye(len(names))[y]
    for level, weight in (("daily", 0.05), ("minute", 0.4)):
        noise = rng.dirichlet(np.ones(len(names)), n)
        frame = frame.with_columns(
            pl.Series(
                level, (1 - weight) * noise + weight * truth, dtype=pl.Array(pl.Float64, len(names))
            )
        )
    return frame


def test_scores_of_several_classes_are_judged(tmp_path):
    rows = of_classes()
    found = hw.backtest(scores=rows).result
    assert (found.task, found.headline) == ("multiclass", "log_loss")
    assert step(found, "daily", "minute", "log_loss").verdict == "LIFT"
    score = np.array(rows["minute"].to_list())
    at = rows["label"].replace_strict(["a", "b", "c"], [0, 1, 2]).to_numpy()
    minute = next(level for level in found.levels if level.name == "minute")
    assert minute.metrics["log_loss"].value == pytest.approx(
        -np.log(score[np.arange(len(at)), at]).mean()
    )
    assert minute.metrics["accuracy"].value == pytest.approx((score.argmax(axis=1) == at).mean())
    rows.with_columns(pl.col("daily", "minute").cast(pl.List(pl.Float32))).write_parquet(
        tmp_path / "scores.parquet"
    )
    again = hw.backtest(scores=tmp_path / "scores.parquet").result
    assert step(again, "daily", "minute", "log_loss").delta == pytest.approx(
        step(found, "daily", "minute", "log_loss").delta, abs=1e-5
    )
    hw.backtest(scores=rows).write_html(tmp_path / "page.html")


def test_predictions_of_several_classes_are_judged_as_the_backtest_did():
    made = world(days=30)
    members = [hw.RequestField("amount", float)]
    named = model(made, estimator=None, task="multiclass", label="machine", members=members)
    found = hw.backtest(
        named, STALE_AND_FRESH, hw.Evaluation(split=day(18), resamples=100, refits=0)
    )
    given = hw.evaluation.Scores(
        found.predictions, id="row", time="asked", label="machine", levels=["daily", "hourly"]
    )
    again = hw.backtest(scores=given, evaluation=hw.Evaluation(resamples=100)).result
    for metric in ("log_loss", "accuracy"):
        assert repr(step(again, "daily", "hourly", metric)) == repr(
            step(found.result, "daily", "hourly", metric)
        )


def test_classes_say_the_order_and_may_be_integers():
    rows = of_classes(names=(3, 1, 2))
    wrong, right = (
        hw.backtest(scores=hw.evaluation.Scores(rows, classes=classes)).result
        for classes in (None, [3, 1, 2])
    )
    assert (
        right.levels[1].metrics["accuracy"].value > 0.6 > wrong.levels[1].metrics["accuracy"].value
    )
    seen = rows.filter(pl.col("label") != 2)
    assert (
        hw.backtest(scores=hw.evaluation.Scores(seen, classes=[3, 1, 2]))
        .result.levels[1]
        .metrics["accuracy"]
        .value
        > 0.6
    )


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (
            pl.col("minute").arr.first().alias("minute"),
            {},
            "lists of probabilities and level 'minute' has numbers",
        ),
        (
            pl.col("daily", "minute").arr.to_list().list.head(2),
            {},
            "lists of 2 values, and there are 3 classes",
        ),
        (pl.col("minute").arr.to_list().list.eval(pl.element() * 2), {}, "do not sum to 1"),
        (
            pl.when(pl.col("id") != 3).then("minute").alias("minute"),
            {},
            "no finite 'minute', the first with id = 3",
        ),
        (
            pl.when(pl.col("id") == 3)
            .then(pl.lit([0.5, None, 0.5]))
            .otherwise(pl.col("minute").arr.to_list())
            .alias("minute"),
            {},
            "no finite",
        ),
        (pl.col("label"), {"classes": ["a", "b", "d"]}, "such as 'c', are none of the classes"),
        (pl.lit(1).alias("label"), {}, r"the class \[1\] alone"),
        (
            pl.lit(1).alias("label"),
            {"task": "binary"},
            "the task is 'binary', and level 'daily' has lists",
        ),
    ],
)
def test_scores_of_several_classes_that_cannot_be(change, more, message):
    with pytest.raises(DataError, match=message):
        hw.backtest(scores=hw.evaluation.Scores(of_classes().with_columns(change), **more))


@pytest.mark.parametrize("classes", ["abc", ["a"], ["a", "a"]])
def test_classes_that_cannot_be(classes):
    with pytest.raises(UsageError, match="classes"):
        hw.evaluation.Scores(of_classes(), classes=classes)
