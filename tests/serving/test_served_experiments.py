"""A served experiment in operation: full disks, several workers, every type of unit, changes while
requests run, and third parties.
"""

import itertools

import polars as pl
import pytest

import headwater as hw
from headwater.journal.exposure_log import read_exposures
from tests.journal.disks import full_disk, stuck_disk
from tests.serving.experiment_world import (
    T,
    both_levels,
    expected,
    serving,
    started,
)
from tests.serving.world import ROW
from tests.waiting import until

LEVELS = {None: None, "hourly": None, "nightly": "nightly"}


@pytest.fixture(scope="module")
def levels(tmp_path_factory):
    made = both_levels(
        hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('arms') / 'online'}?size=1GB")
    )
    yield made
    made.close()


def good(response):
    assert response.status_code == 200, response.text
    return response.json()


class Asked:
    """A client that remembers what it was answered, by request."""

    def __init__(self, client):
        self.client, self.answers, self.numbers = client, {}, itertools.count()

    def __call__(self, unit, model="churn", column="user", row=ROW):
        request = f"{id(self)}-{next(self.numbers)}"
        response = self.client.post(
            f"/v1/predict/{model}",
            json={"row": {**row, column: unit}},
            headers={"x-request-id": request},
        )
        self.answers[request] = answer = good(response)
        assert answer["level"] == LEVELS[answer.get("arm")]
        return answer

    def metric(self, name):
        lines = self.client.get("/metrics").text.splitlines()
        return next(
            float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name
        )


@pytest.mark.slow
@pytest.mark.parametrize("cannot_write", [full_disk, stuck_disk])
def test_while_exposures_cannot_be_written_the_control_is_served(tmp_path, levels, cannot_write):
    store = started(tmp_path / "models")
    with serving(levels, tmp_path, store) as client:
        ask, users = Asked(client), range(40)
        arms = {user: ask(user)["arm"] for user in users}
        assert set(arms.values()) == {"hourly", "nightly"}
        assert ask.metric("headwater_exposure_room") == 1
        with cannot_write():
            until(lambda: "flag" in ask(0))
            for user in users:
                answer = ask(user)
                assert (answer["arm"], answer["flag"]) == ("hourly", "no room")
            rows = good(
                client.post(
                    "/v1/predict/churn", json={"rows": [{**ROW, "user": user} for user in users]}
                )
            )
            assert rows["arms"] == [
                {"experiment": "fresh", "arm": "hourly", "flag": "no room"}
            ] * len(users)
            assert ask.metric("headwater_exposure_room") == 0
            assert (
                ask.metric('headwater_experiment_rows_total{experiment="fresh",outcome="no room"}')
                > 80
            )
        until(lambda: "flag" not in ask(0))
        assert {user: ask(user)["arm"] for user in users} == arms
        assert ask.metric("headwater_exposure_room") == 1
        assert ask.metric("headwater_exposures_unlogged_total") == 0
    frame = read_exposures(tmp_path, "fresh")
    several = frame.filter(~pl.col("request").is_in(list(ask.answers)))
    assert (several.height, set(several["flag"]), several["unit"].n_unique()) == (
        len(users),
        {"no room"},
        len(users),
    )
    assert frame.height == len(ask.answers) + len(users)
    assert all(
        ask.answers[request].get("flag", "") == flag
        for request, flag in frame.select("request", "flag").iter_rows()
        if request in ask.answers
    )


def test_a_ramp_moves_no_unit(tmp_path, levels):
    stages, users = (0.02, 0.1, 0.5, 1.0), range(400)
    store = started(tmp_path / "models", enrolled=stages)
    before, inside = dict.fromkeys(users), []
    with serving(levels, tmp_path, store) as client:
        for share in stages:
            if share > stages[0]:
                store.enrol("fresh", share, T - 1, "ramp")
                until(
                    lambda share=share: (
                        good(client.get("/v1/experiments"))["experiments"][0]["enrolled"] == share
                    )
                )
            answer = good(
                client.post(
                    "/v1/predict/churn", json={"rows": [{**ROW, "user": user} for user in users]}
                )
            )
            arms = dict(zip(users, ((arm or {}).get("arm") for arm in answer["arms"]), strict=True))
            assert arms == {user: expected(store, user) for user in users}
            assert all(arms[user] == arm for user, arm in before.items() if arm is not None)
            before = arms
            inside += [str(user) for user, arm in arms.items() if arm is not None]
        assert None not in before.values()
    assert read_exposures(tmp_path, "fresh")["unit"].sort().to_list() == sorted(inside)
