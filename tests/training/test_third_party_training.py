"""What training and backtests read of third parties: the latest answer before the request, or
nothing, and that is said.
"""

import datetime as dt
import json
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterWarning
from headwater.serving.third_party.response_log import AnswerLog
from headwater.training.train import training_set
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


# ---------------------------------------------------------------- one value


def test_of_answers_of_one_moment_all_columns_are_of_one():
    rows = [("a", at(10), 1.0, 9), ("a", at(10), 2.0, 1)]
    ip = hw.HttpFeatures(
        "ip",
        **GIVEN | {"response": {"score": float, "n": int}},
        history=log(rows, ("ip_address", "fetched_at", "score", "n")),
    )
    asked = pl.DataFrame({"ip_address": ["a"], "timestamp": [at(11)]})
    assert hw.get_historical_features(ip, asked).select("ip__score", "ip__n").rows() == [(2.0, 1)]


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
