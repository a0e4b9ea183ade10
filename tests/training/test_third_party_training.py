"""What training and backtests read of third parties: the latest answer before the request, or
nothing, and that is said.
"""

import datetime as dt
import json
import runpy
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, HeadwaterWarning
from headwater.serving.third_party.response_log import AnswerLog
from headwater.training.train import training_set
from tests.journal.disks import stuck_disk
from tests.serving.third_party.conftest import ip, party  # noqa: F401 (fixtures)

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
GIVEN = {
    "url": "https://ip.example/v1/risk",
    "request": {"ip_address": str},
    "response": {"score": float},
}


def at(seconds):
    return START + dt.timedelta(seconds=seconds)


def log(rows, schema=("ip_address", "fetched_at", "score"), **more):
    frame = pl.DataFrame(rows, schema=list(schema), orient="row")
    return hw.Source("ip_log", history=frame, timestamp_field="fetched_at", **more)


ANSWERS = [
    ("a", at(10), 0.1),
    ("a", at(20), 0.2),
    ("b", at(15), 0.9),
    ("a", at(40), None),
]


# ---------------------------------------------------------------- one value


@pytest.mark.parametrize(
    ("address", "asked", "score", "status"),
    [
        ("a", at(10), None, "missing"),  # an answer of the very moment is not before it
        ("a", at(10) + dt.timedelta(microseconds=1), 0.1, "present"),
        ("a", at(20), 0.1, "present"),
        ("a", at(39), 0.2, "present"),  # of the same address, however long ago
        ("b", at(39), 0.9, "present"),
        ("a", at(41), None, "present"),  # the latest answer said that there is none
        ("c", at(41), None, "missing"),
        (None, at(41), None, "missing"),
    ],
)
def test_a_value_is_the_latest_answer_before_the_request(address, asked, score, status):
    ip = hw.HttpFeatures("ip", history=log(ANSWERS), **GIVEN)
    rows = pl.DataFrame(
        {"ip_address": [address], "timestamp": [asked]}, schema_overrides={"ip_address": pl.String}
    )
    found = hw.get_historical_features(ip, rows, statuses=True)
    assert found["ip__score"].to_list() == [score]
    assert found["ip__score__status"].to_list() == [status]


def test_random_answers_are_as_a_loop_says():
    rng = np.random.default_rng(3)
    events = [
        (
            str(rng.integers(8)),
            bool(rng.integers(2)),
            at(int(s)),
            int(rng.integers(100)),
            f"c{rng.integers(5)}",
        )
        for s in rng.permutation(4_000)[:600]
    ]
    asked = [
        (str(rng.integers(9)), bool(rng.integers(2)), at(int(s)))
        for s in rng.integers(0, 4_200, 500)
    ]
    ip = hw.HttpFeatures(
        "ip",
        url="https://ip.example/{ip_address}",
        request={"ip_address": str, "full": bool},
        response={"score": float, "country": ("geo.country", str)},
        history=log(
            events, ("ip_address", "full", "fetched_at", "score", "country"), known_after="5s"
        ),
    )
    found = hw.get_historical_features(
        ip, pl.DataFrame(asked, schema=["ip_address", "full", "timestamp"], orient="row")
    )
    expected = []
    for address, full, t in asked:
        seen = [
            e
            for e in events
            if e[:2] == (address, full) and e[2] < t and e[2] + dt.timedelta(seconds=5) <= t
        ]
        expected.append(max(seen, key=lambda e: e[2])[3:] if seen else (None, None))
    assert found.select("ip__score", "ip__country").rows() == expected
    assert found.schema["ip__score"] == pl.Float64, (
        "the history holds integers, and answers are floats"
    )
    assert sum(score is not None for score, _ in expected) > 300


def test_of_answers_of_one_moment_all_columns_are_of_one():
    rows = [("a", at(10), 1.0, 9), ("a", at(10), 2.0, 1)]
    ip = hw.HttpFeatures(
        "ip",
        **GIVEN | {"response": {"score": float, "n": int}},
        history=log(rows, ("ip_address", "fetched_at", "score", "n")),
    )
    asked = pl.DataFrame({"ip_address": ["a"], "timestamp": [at(11)]})
    assert hw.get_historical_features(ip, asked).select("ip__score", "ip__n").rows() == [(2.0, 1)]


def test_a_history_of_another_type_is_an_error():
    ip = hw.HttpFeatures("ip", history=log([("a", at(10), "high")]), **GIVEN)
    asked = pl.DataFrame({"ip_address": ["a"], "timestamp": [at(11)]})
    with pytest.raises(
        DataError,
        match="'ip': 'score' of their history is declared float, and the column is String",
    ):
        hw.get_historical_features(ip, asked)


def test_an_answer_feeds_a_request_feature_and_a_key():
    ip = hw.HttpFeatures("ip", history=log([("a", at(10), 0.5)]), **GIVEN)

    @hw.request_feature
    def risk(amount: float, score: float | None = ip["score"]) -> float | None:
        return None if score is None else amount * score

    visits = pl.DataFrame({"score": [0, 5], "at": [at(1), at(2)]}).with_columns(
        score=pl.col("score") / 10, n=1
    )
    source = hw.Source(
        "visits",
        history=visits.select(pl.col("score").cast(pl.String).alias("band"), "at"),
        timestamp_field="at",
    )
    band = hw.HttpFeatures(
        "band",
        **GIVEN | {"response": {"band": str}},
        history=log([("a", at(9), "0.5")], ("ip_address", "fetched_at", "band")),
    )
    view = hw.FeatureView(
        "near",
        source=source,
        keys=["band"],
        features=[hw.count()],
        windows=["1d"],
        freshness=hw.on_request(),
    )
    asked = pl.DataFrame(
        {"ip_address": ["a", "z"], "timestamp": [at(11)] * 2, "amount": [10.0, 10.0]}
    )
    found = hw.get_historical_features(
        [risk, view.alias("alike", keys={"band": band["band"]})], asked
    )
    assert found.select("risk", "alike__count_1d").rows() == [(5.0, 1), (None, 0)]


# ---------------------------------------------------------------- a whole model


FRAUD = """
import headwater as hw

payments = hw.Source("payments", stream=hw.kafka("payments"), history=hw.parquet("{folder}/payments.parquet"),
    timestamp_field="authorised_at", id_field="payment_id", select=["card", "amount"])
card = hw.FeatureView("card", source=payments, keys=["card"], freshness=hw.streaming("2s"),
    windows=["1d", "30d"], features=[hw.count(), hw.mean("amount")])
ip = hw.HttpFeatures("ip", url="https://ip.example/v1/risk", headers={{"Authorization": hw.env("IP_TOKEN")}},
    request={{"ip_address": str}}, response={{"score": float}}, timeout="40ms", cache="1h", fallback={{"score": None}},
    history={history})

@hw.request_feature
def amount_ratio(amount: float, usual: float | None = card["mean_amount_30d"]) -> float | None:
    return amount / usual if usual else None

@hw.request_feature
def risk(amount: float, score: float | None = ip["score"]) -> float | None:
    return None if score is None else amount * score

fraud = hw.Model("fraud", task="binary", latency_budget="80ms", default=0.0,
    features=hw.FeatureService("fraud_v1", [card, ip, amount_ratio, risk, hw.RequestField("amount", float)]),
    labels=hw.Labels("disputed", table=hw.parquet("{folder}/disputes.parquet"), timestamp_field="authorised_at",
                     label="is_fraud", known_at_field="resolved_at"))
project = hw.Project("fraud", [fraud])
"""
HISTORY = (
    'hw.Source("ip_log", history=hw.parquet("{folder}/answers/ip"), timestamp_field="fetched_at")'
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Payments of two months, from addresses whose risk drives fraud and changes by the week; what
    was answered is logged as served.
    """
    folder = tmp_path_factory.mktemp("fraud")
    rng = np.random.default_rng(0)
    n = 3_000
    seconds = np.sort(rng.integers(0, 60 * 86_400, n))
    address, card = rng.integers(0, 60, n), rng.integers(0, 200, n)
    risk = np.random.default_rng(1).random((60, 10))
    score = risk[address, seconds // (7 * 86_400)]
    fraud = rng.random(n) < 0.02 + 0.5 * score**2
    times = [at(int(s)) for s in seconds]
    addresses = [f"10.0.0.{a}" for a in address]
    frame = pl.DataFrame(
        {
            "payment_id": np.arange(n),
            "card": card,
            "amount": rng.gamma(2, 20, n),
            "authorised_at": times,
        }
    )
    frame.write_parquet(folder / "payments.parquet")
    frame.with_columns(
        ip_address=pl.Series(addresses),
        is_fraud=pl.Series(fraud),
        resolved_at=pl.col("authorised_at") + pl.duration(days=2),
    ).write_parquet(folder / "disputes.parquet")
    http = hw.HttpFeatures("ip", **GIVEN)
    answers = AnswerLog(folder)
    for where, value, s in zip(addresses, score, seconds, strict=True):
        answers.add(http, (where,), (float(value),), int(at(int(s)).timestamp() * 1e6))
    assert len(answers.write()) == 1
    return folder


def project_of(folder, history):
    path = Path(folder) / f"project_{abs(hash(history))}.py"
    path.write_text(
        FRAUD.format(folder=folder, history=history.format(folder=folder)), encoding="utf-8"
    )
    return runpy.run_path(str(path))


LEVELS = {"nightly": hw.Level(hw.batch("1d", delay="2h")), "as defined": hw.Level()}


def auc(result):
    return {level.name: level.metrics["auc"].value for level in result.levels}


def test_a_history_supplies_training_values(shop):
    """What was logged when served is what training reads: for each request the answer fetched for
    it, not one of before.
    """
    model = project_of(shop, HISTORY)["fraud"]
    rows = training_set(model)
    assert rows.not_in_training == ()
    assert rows.frame["ip__score"].null_count() == 0
    served = pl.read_parquet(shop / "answers" / "ip" / "*.parquet").sort("fetched_at")["score"]
    assert rows.frame.sort("authorised_at")["ip__score"].to_list() == served.to_list()


def test_a_backtest_reads_a_history_at_every_level_that_does_not_say_otherwise(shop):
    made = project_of(shop, HISTORY)
    levels = LEVELS | {
        "request only": hw.Level(hw.never()),
        "without": hw.Level({made["ip"]: hw.never()}),
    }
    found = hw.backtest(
        made["fraud"], levels=levels, evaluation=hw.Evaluation(resamples=100)
    ).result
    assert found.not_in_training == ()
    assert (
        "third party ip: score by (ip_address) from https://ip.example/v1/risk; answers of source "
        "ip_log"
    ) in found.definitions
    scores = auc(found)
    assert min(scores["nightly"], scores["as defined"], scores["request only"]) > 0.65
    assert scores["without"] < 0.58
    assert {level.name: level.kind for level in found.levels}["nightly"] == "batch"
    assert found.levels[0].age_seconds > 3_600, (
        "the third party's own age is not among those of the views"
    )


@pytest.mark.parametrize(
    "history",
    [
        "None",
        (
            'hw.Source("ip_log", timestamp_field="fetched_at", '
            'stream=hw.push(schema={{"ip_address": str, "score": float}}))'
        ),
    ],
)
def test_without_a_history_it_is_not_in_training_and_that_is_said(shop, history, tmp_path):
    model = project_of(shop, history)["fraud"]
    found = hw.backtest(model, levels=LEVELS, evaluation=hw.Evaluation(resamples=100))
    assert found.result.not_in_training == ("ip__score", "risk")
    assert found.result.fingerprint == model.fingerprint
    assert max(auc(found.result).values()) < 0.6, "the score has been read"
    said = "not in training, because they come from a third party without history=: ip__score, risk"
    assert said in found.write_html(tmp_path / "report.html").read_text(encoding="utf-8")
    assert found.to_dict()["not_in_training"] == ["ip__score", "risk"]
    from rich.console import Console

    console = Console(width=160, record=True, file=(tmp_path / "out").open("w"))
    console.print(found.table())
    console.file.close()
    assert said in console.export_text()

    trained = hw.train(model)
    assert list(trained.fitted.encoding.columns) == [
        n for n in model.features.feature_names if n not in ("ip__score", "risk")
    ]
    manifest = json.loads(trained.save(tmp_path / "model").read_text())
    assert manifest["not_in_training"] == ["ip__score", "risk"]
    assert manifest["third_party"] == {"ip": model.features.http_features[0].fingerprint}

    made = hw.dataset(model, tmp_path / "rows.parquet", resources=hw.Resources(cache=False))
    assert made.manifest["not_in_training"] == ["ip__score", "risk"]
    assert not {"ip__score", "risk"} & set(made.rows.frame.columns)
    assert (
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet").manifest[
            "digest"
        ]
        == made.manifest["digest"]
    )

    with pytest.warns(HeadwaterWarning, match="not in training.*ip__score, risk"):
        frame = hw.get_historical_features(model.features, model.labels)
    assert "ip__score" not in frame.columns


def test_a_dataset_knows_when_the_history_changed(shop, tmp_path):
    model = project_of(shop, HISTORY)["fraud"]
    made = hw.dataset(model, tmp_path / "rows.parquet", resources=hw.Resources(cache=False))
    assert "source ip_log" in made.manifest["tables"]
    more = shop / "answers" / "ip" / "more.parquet"
    pl.read_parquet(shop / "answers" / "ip" / "*.parquet").head(1).write_parquet(more)
    try:
        with pytest.raises(DataError, match="source ip_log: 1 of its files is new"):
            hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    finally:
        more.unlink()


@pytest.mark.slow
def test_the_project_of_the_design_can_be_planned(shared, tmp_path):
    made = runpy.run_path(str(shared / "api" / "fraud.py"), run_name="fraud")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the labels' window is as long as disputes take
        plan = hw.plan(made["project"], tmp_path / "catalog.sqlite")
    assert "http ip" in [f"{change.kind} {change.name}" for change in plan.changes]
    assert [lint for lint in plan.lints if lint.subject == "http ip"] == []


# ---------------------------------------------------------------- answers that are kept


def test_answers_are_written_as_a_history_can_be_read(tmp_path):
    http = hw.HttpFeatures(
        "ip",
        url="https://ip.example",
        request={"ip_address": str, "n": int},
        response={"score": float, "ok": bool, "at": dt.datetime},
    )
    answers = AnswerLog(tmp_path)
    t = int(at(10).timestamp() * 1e6)
    answers.add(http, ("a", 1), (0.5, True, at(3)), t)
    answers.add(http, ("b", 2), (None, None, None), t)
    (path,) = answers.write()
    frame = pl.read_parquet(path)
    assert frame.rows() == [
        ("a", 1, 0.5, True, at(3), at(10) - dt.timedelta(microseconds=1)),
        ("b", 2, None, None, None, at(10) - dt.timedelta(microseconds=1)),
    ]
    assert answers.write() == []
    assert (answers.written, answers.dropped) == (2, 0)
    assert hw.HttpFeatures(
        "ip",
        url="https://ip.example",
        request=http.request,
        response={"score": float, "ok": bool},
        history=hw.Source("ip_log", history=hw.parquet(path.parent), timestamp_field="fetched_at"),
    ).trains


def test_what_comes_faster_than_it_is_written_is_dropped_and_counted(tmp_path):
    http = hw.HttpFeatures("ip", **GIVEN)
    answers = AnswerLog(tmp_path, memory="1MB")
    with stuck_disk():
        for _ in range(100):
            answers.add(http, ("a" * 100_000,), (0.5,), 1)
        assert answers.dropped > 50
    answers.write()
    answers.add(http, ("a",), (0.5,), 1)
    answers.close()
    assert answers.written == 101 - answers.dropped


@pytest.mark.slow
def test_what_cannot_be_written_waits(tmp_path):
    http = hw.HttpFeatures("ip", **GIVEN)
    place = tmp_path / "answers"
    place.write_text("in the way")
    answers = AnswerLog(tmp_path)
    answers.add(http, ("a",), (0.5,), 1)
    assert answers.write() == []
    assert answers.failed
    place.unlink()
    with answers.running():
        pass
    assert answers.failed == ""
    assert pl.read_parquet(place / "ip" / "*.parquet").height == 1
    assert not list(place.rglob("*.draft"))
