"""The peer of features on Spark: Spark SQL gives the same answers, here on Sail. No speed is
asserted.
"""

import json
from contextlib import contextmanager

import pytest

from bench import spark

pytest.importorskip("pyspark", reason="needs pyspark-client: pip install 'headwater[spark]'")


class _Sail(spark.Cluster):
    def busy(self):
        return {"executors": 0.0, "driver": 0.0}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:memory=")
def test_sql_and_the_local_engine_give_the_answers_of_spark(tmp_path, monkeypatch, capsys):
    server = pytest.importorskip("pysail.spark", reason="needs pysail").SparkConnectServer(
        "127.0.0.1", 0
    )
    server.start(background=True)

    @contextmanager
    def sail(executors):
        assert executors == 1
        yield _Sail("sc://{}:{}".format(*server.listening_address), tmp_path)

    monkeypatch.setattr(spark, "cluster", sail)
    monkeypatch.setenv("HEADWATER_HOME", "")  # which main sets
    try:
        spark.main(str(tmp_path), "1", "30000", "1", "60")
    finally:
        server.stop()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["equal"], found["past_equal"], found["windows_equal"]) == (True, True, True)
    assert {len(side["seconds"]) for side in found["turns"].values()} == {1}
    assert found["rows"] == 600
