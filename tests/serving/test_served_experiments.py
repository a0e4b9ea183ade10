"""A served experiment in operation: full disks, several workers, every type of unit, changes while
requests run, and third parties.
"""

import dataclasses
import itertools
import threading
from contextlib import ExitStack

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater import clock
from headwater.experiments.experiment_planning import ExperimentPlaces
from headwater.experiments.experiment_ramp import ramp
from headwater.journal.exposure_log import read_exposures
from headwater.models.experiment_store import ExperimentStore, FrozenArm
from tests.journal.disks import full_disk, stuck_disk
from tests.serving.experiment_world import (
    DAY,
    T,
    both_levels,
    expected,
    plan,
    serving,
    started,
    until,
)
from tests.serving.test_endpoints import NUMBERS, risky
from tests.serving.third_party.parties import Party, hangs, says
from tests.serving.world import DAYS, PROJECT, ROW, Sum, asking, churn, filled, nightly

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


def logged_as_answered(data_dir, *asked, versions=(1,), experiment="fresh"):
    """Check that every answer with an arm is logged once, as it was answered, and no other; the
    log.
    """
    answers = {
        request: answer
        for each in asked
        for request, answer in each.answers.items()
        if "arm" in answer
    }
    frames = [read_exposures(data_dir, experiment, version) for version in versions]
    frame = pl.concat(frames)
    logged = {
        request: (arm, flag)
        for request, arm, flag in frame.select("request", "arm", "flag").iter_rows()
    }
    assert frame.height == len(logged)
    assert logged == {
        request: (answer["arm"], answer.get("flag", "")) for request, answer in answers.items()
    }
    return frame


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


@pytest.mark.slow
def test_two_workers_serve_one_experiment(tmp_path, levels):
    store = started(tmp_path / "models")
    with serving(levels, tmp_path, store) as one, serving(levels, tmp_path, store) as other:
        workers = [Asked(one), Asked(other)]
        for user in range(60):
            assert [ask(user)["arm"] for ask in workers] == [expected(store, user)] * 2
    frame = logged_as_answered(tmp_path, *workers)
    assert frame.height == 120
    assert len(list((tmp_path / "exposures" / "fresh" / "1").iterdir())) == 2


UNITS = {
    "dates": ("plain", "day", [day.isoformat() for day in DAYS] + ["1999-12-31", "2024-02-29"]),
    "integers": ("churn", "user", [0, -1, 17, 2**53 + 1, 2**63 - 1]),
    "strings": ("churn", "country", ["no", "Zoë", "ß/1", "💶", "17"]),
    "days of many units": (
        "plain",
        "day",
        [f"20{year}-01-{day:02}" for year in range(10, 30) for day in range(1, 29)],
    ),
}


@pytest.mark.parametrize("kind", UNITS)
def test_units_of_every_type(tmp_path, levels, kind):
    model, column, units = UNITS[kind]
    arms = (
        FrozenArm("hourly", model, "as defined", 0.5),
        FrozenArm("nightly", model, "nightly", 0.5),
    )
    store = started(tmp_path / "models", unit=column, arms=arms)
    row = ROW if model == "churn" else {"user": 1, "day": "2024-05-01", "amount": 12.5}
    with serving(levels, tmp_path, store) as client:
        ask = Asked(client)
        answered = {str(unit): ask(unit, model, column, row)["arm"] for unit in units}
    assert answered == {str(unit): expected(store, unit) for unit in units}
    frame = logged_as_answered(tmp_path, ask)
    assert frame["unit"].sort().to_list() == sorted(map(str, units))


@pytest.mark.slow
def test_requests_go_on_while_experiments_start_and_stop(tmp_path, levels):
    store, over = ExperimentStore(tmp_path / "models"), threading.Event()
    arms, failed = {}, []
    with serving(levels, tmp_path, store) as client:
        asked = [
            Asked(httpx.Client(base_url=client.base_url, timeout=30, trust_env=False))
            for _ in range(3)
        ]

        def go_on(ask):
            try:
                for user in itertools.cycle(range(30)):
                    if over.is_set():
                        return
                    ask(user)
            except Exception as error:  # noqa: BLE001 (shown by the test)
                failed.append(error)

        threads = [threading.Thread(target=go_on, args=(ask,)) for ask in asked]
        for thread in threads:
            thread.start()
        try:
            look = Asked(client)
            for version in (1, 2):
                own = plan(version=version)
                store.start(own, own.start, "test")
                arms[version] = [expected(store, user) for user in range(30)]
                until(lambda: "arm" in look(0))
                store.stop("fresh", T - 1, "test", "enough")
                until(lambda: "arm" not in look(0))
        finally:
            over.set()
            for thread in threads:
                thread.join()
                assert not failed
    assert arms[1] != arms[2]
    frame = logged_as_answered(tmp_path, look, *asked, versions=(1, 2))
    for version in (1, 2):
        rows = read_exposures(tmp_path, "fresh", version)
        assert all(
            arm == arms[version][int(unit)] for unit, arm in rows.select("unit", "arm").iter_rows()
        )
        assert 0 < rows.height < frame.height
    for ask in asked:
        ask.client.close()
        assert {"arm" in answer for answer in ask.answers.values()} == {True, False}


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


@pytest.mark.slow
def test_a_guardrail_stops_what_is_served(tmp_path, levels):
    users = range(300)
    guarded = hw.Experiment(
        "fresh",
        [hw.experiments.Arm("hourly", churn), hw.experiments.Arm("nightly", churn, nightly)],
        unit="user",
        metrics=[hw.experiments.ExperimentMetric("kept")],
        guardrails=[hw.experiments.ExperimentMetric("gone", higher_is_better=False, margin=0.05)],
    )
    project = dataclasses.replace(PROJECT, experiments=[guarded])
    store = started(tmp_path / "models", metrics=("kept",), guardrails=("gone",))
    places = ExperimentPlaces(models=store.folder.parent, data_dir=tmp_path)
    with serving(levels, tmp_path, store) as client:
        ask = Asked(client)
        harm = {user: (ask(user)["arm"] == "nightly") ^ (user % 10 == 0) for user in users}
        until(lambda: read_exposures(tmp_path, "fresh").height == len(users))
        outcomes = [
            {"request_id": request, "outcome": harm[user]}
            for user, request in enumerate(ask.answers)
        ]
        assert good(client.post(f"/v1/outcomes/{churn.labels.name}", json=outcomes))[
            "accepted"
        ] == len(users)
        assert ask(1)["arm"] == expected(store, 1)
        step = ramp(project, "fresh", places=places, at=clock.now_micros() + DAY)
        assert (step.action, step.reason.partition(":")[0]) == (
            "stop",
            "guardrail beyond its margin",
        )
        until(lambda: "arm" not in ask(1))
        assert all("arm" not in ask(user) for user in users)
        assert good(client.get("/v1/experiments"))["experiments"] == []
    logged_as_answered(tmp_path, ask)


# ---------------------------------------------------------------- third parties


def test_arms_with_third_parties(tmp_path):
    with Party().serving() as party, ExitStack() as stack:
        model = risky(party, latency_budget="500ms")
        project = hw.Project("shop", [model], levels={"nightly": hw.Level(nightly)})
        arms = (
            FrozenArm("hourly", "risky", "as defined", 0.5),
            FrozenArm("nightly", "risky", "nightly", 0.5),
        )
        store = started(tmp_path / "models", arms=arms)
        online = filled(hw.operations.open_store(f"lmdb:{tmp_path / 'online'}?size=1GB"), NUMBERS)
        stack.callback(online.close)
        filled(online, *(view for view in project.variant("risky", "nightly").service.views))
        options = {"models": {"risky": Sum()}, "data_dir": tmp_path, "experiments": store}
        client = stack.enter_context(asking(online, project, **options))
        row = {"user": 1, "address": "a"}

        def asked(address):
            answers = [
                good(
                    client.post(
                        "/v1/predict/risky",
                        json={"row": {"user": user, "address": address}, "features": True},
                    )
                )
                for user in range(8)
            ]
            assert {answer["arm"] for answer in answers} == {"hourly", "nightly"}
            assert all(
                answer["arm"] == expected(store, user) for user, answer in enumerate(answers)
            )
            return {
                (
                    answer["prediction"]["features"]["ip__score"]["value"],
                    answer["prediction"]["features"]["ip__score"]["status"],
                )
                for answer in answers
            }

        party.behaviour = says({"score": 0.25})
        assert asked("a") == {(0.25, "present")}
        party.behaviour = hangs  # for longer than the model's budget
        assert asked("b") == {(0.0, "fallback")}
        assert 'headwater_cut_off_total{model="risky"} 0.0' not in client.get("/metrics").text
        party.behaviour = says({}, status="500 Sorry")
        assert asked("c") == {(0.0, "fallback")}
        rows = [{**row, "user": user, "address": "d"} for user in range(8)]
        several = good(client.post("/v1/predict/risky", json={"rows": rows}))
        assert [arm["arm"] for arm in several["arms"]] == [
            expected(store, user) for user in range(8)
        ]
        until(lambda: read_exposures(tmp_path, "fresh").height == 32)
    frame = read_exposures(tmp_path, "fresh")
    assert dict(frame.group_by("fallback").len().iter_rows()) == {False: 8, True: 24}
    assert set(frame.filter(pl.col("fallback"))["arm"]) == {"hourly", "nightly"}
