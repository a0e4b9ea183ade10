"""The records of answers and of their outcomes: the serving log, posted outcomes, and training on
both.
"""

import headwater as hw
from tests.serving.world import ROW, asking


def good(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_full_disk_costs_the_outcome_and_not_the_service(store, tmp_path):
    (tmp_path / "outcomes").write_text("in the way of the folder")
    with asking(store, data_dir=tmp_path) as client:
        answer = client.post("/v1/outcomes/left", json={"request_id": "r", "outcome": True})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert client.get("/readyz").status_code == 200


def test_a_log_that_cannot_be_written_costs_no_answer(store, tmp_path):
    (tmp_path / "served").write_text("in the way of the folder")
    with hw.operations.ServedLog(tmp_path) as served:
        with asking(store, serving_log=served) as client:
            assert good(client.post("/v1/predict/churn", json={"row": ROW}))
            served.flush(5)
            assert good(client.post("/v1/predict/churn", json={"row": ROW}))
            assert (
                'headwater_served_log_entries_total{outcome="taken"} 2.0'
                in client.get("/metrics").text
            )
            served.flush(5)
        assert served.counts().error is not None
