"""Runs in MLflow tracking: figures, definitions and the result, once each."""

import json
import sys
from pathlib import Path

import pytest

from headwater.errors import ConnectError
from headwater.kept_runs.mlflow_tracking import log_to_mlflow
from headwater.kept_runs.runs import runs
from headwater.results.stored_runs import RunRecord, StoredRuns

pytest.importorskip("mlflow", reason="needs mlflow")


@pytest.fixture(autouse=True)
def _no_spark(monkeypatch):
    """mlflow looks for a session of pyspark, which takes a process of pytest-xdist for a doctest
    and ends it.
    """
    monkeypatch.setitem(sys.modules, "pyspark", None)


def test_a_run_is_logged_once(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    figures = {"auc daily": 0.7, "precision@10% daily": 0.4}
    record = RunRecord(
        "backtest-1",
        "backtest",
        "m",
        "2024-05-01T00:00:00+00:00",
        "ann",
        "Run it hourly.",
        1.0,
        figures,
        {"view user": "ab"},
    )
    StoredRuns(tmp_path).add(record, {"model": "m"})
    uri = f"file:{tmp_path}/tracking"
    number = log_to_mlflow(runs(tmp_path)["latest"], uri)
    assert log_to_mlflow(runs(tmp_path)["latest"], uri) == number
    client = MlflowClient(uri)
    logged = client.get_run(number)
    assert logged.data.metrics == {"auc daily": 0.7, "precision_10_ daily": 0.4}
    assert logged.data.params == {"view user": "ab"}
    assert logged.data.tags["headwater.run"] == "backtest-1"
    assert logged.info.status == "FINISHED"
    artifact = Path(client.download_artifacts(number, "result.json", str(tmp_path)))
    assert json.loads(artifact.read_text(encoding="utf-8"))["result"] == {"model": "m"}


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    StoredRuns(tmp_path).add(
        RunRecord("backtest-1", "backtest", "m", "2024-05-01T00:00:00+00:00", "ann", "done"), {}
    )
    with pytest.raises(ConnectError, match="refused the run"):
        log_to_mlflow(runs(tmp_path)["latest"], "http://127.0.0.1:9")
