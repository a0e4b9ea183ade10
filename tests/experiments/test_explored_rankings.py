"""What another order would have earned, from lists in random order: unbiased on generated lists,
and over a served ranking.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as replaced

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.experiments.analyse_experiment import analyse
from headwater.experiments.explored_rankings import OrderedPlaces, explored_value
from headwater.experiments.frozen_plan import freeze
from headwater.experiments.off_policy_lift import off_policy_lifts
from headwater.models.experiment_store import ExperimentStore, FrozenArm
from headwater.models.registry import ModelRegistry
from headwater.training.resources import Resources
from tests.experiments.analysis_world import World
from tests.serving.test_exploring_rankings import exploring
from tests.serving.world import ASKED_AT, EVENTS, asking, filled, labels

CHANCES = np.array([0.6, 0.4, 0.2, 0.1, 0.1, 0.05])
PLACES = np.array([1.0, 0.5])


def explored(rng, lists):
    """Lists of two of six items at random; (reward, item, place, list)."""
    items = rng.permuted(np.tile(np.arange(6), (lists, 1)), axis=1)[:, :2]
    of = np.repeat(np.arange(lists), 2)
    user = np.repeat(rng.random(lists) < 0.5, 2)
    place = np.tile([0, 1], lists)
    item = items.ravel()
    chance = CHANCES[item] * PLACES[place] * np.where(user, 1.2, 0.8)
    return (rng.random(2 * lists) < chance).astype(float), item, place, of


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_estimates_are_unbiased_and_intervals_hold_the_truth(estimator):
    """The other order shows items 3 and 0: of 300 logs, the interval holds the truth in 95 % within
    three standard errors of that share.
    """
    rng = np.random.default_rng(11)
    truth = (CHANCES[3] * PLACES[0] + CHANCES[0] * PLACES[1]) / 2
    values, held = [], 0
    for _ in range(300):
        reward, item, place, of = explored(rng, 1_500)
        same = item == np.array([3, 0])[place]
        found = OrderedPlaces(reward, same, np.full(len(reward), 6), of, place).value(estimator)
        low, high = found.interval()
        values.append(found.value)
        held += low <= truth <= high
    assert abs(np.mean(values) - truth) < 3 * np.std(values) / math.sqrt(300)
    assert held / 300 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_a_lift_of_one_order_over_another_holds_the_truth(estimator):
    """Items 3 and 0 against 1 and 2: both orders are judged on the same lists, and so is the error
    of their ratio.
    """
    rng = np.random.default_rng(12)
    orders = [np.array([1, 2]), np.array([3, 0])]
    true = [(CHANCES[order] * PLACES).mean() for order in orders]
    logs, held = [], 0
    for _ in range(300):
        reward, item, place, of = explored(rng, 1_500)
        control, treated = (
            OrderedPlaces(reward, item == order[place], np.full(len(reward), 6), of, place)
            for order in orders
        )
        found = treated.lift_over(control, estimator)
        low, high = found.interval()
        logs.append(found.log_ratio)
        held += low <= true[1] / true[0] - 1 <= high
        if not logs[1:]:
            assert control.lift_over(control, estimator).interval() == (0.0, 0.0)
    assert (
        abs(np.mean(logs) - math.log(true[1] / true[0])) < 3 * np.std(logs) / math.sqrt(300) + 0.01
    )
    assert held / 300 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)


def test_too_few_matches_are_refused():
    reward, item, place, of = explored(np.random.default_rng(1), 100)
    with pytest.raises(DataError, match="effective rows"):
        OrderedPlaces(reward, item == np.array([3, 0])[place], np.full(200, 6), of).value()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = filled(
        hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('served') / 'online'}?size=1GB")
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(store, tmp_path_factory):
    """A ranking that explores all lists, trained, served over HTTP, with a click where an item of a
    list is wanted.
    """
    folder = tmp_path_factory.mktemp("explored")
    known = exploring(1.0).models[0]
    nightly = hw.Level(hw.batch("1d"))
    kinds = EVENTS["item"].unique(maintain_order=True).to_list()[:3]
    wanted = labels(
        "clicked",
        "clicked",
        user=EVENTS["user"],
        item=[kinds[n % 3] for n in range(60)],
        request=[n // 3 for n in range(60)],
    )
    model = replace(known, labels=wanted, outcomes="caused")
    arms = [hw.experiments.Arm("now", model), hw.experiments.Arm("nightly", model, nightly)]
    clicked = [hw.experiments.ExperimentMetric("clicks", value="label")]
    split = hw.Experiment("split", arms, unit="user", metrics=clicked, layer="one", span=(0.0, 0.5))
    beside = hw.Experiment(
        "beside", arms, unit="user", kind=hw.experiments.Shadow(), layer="one", span=(0.5, 1.0)
    )
    shop = hw.Project("shop", [model], levels={"nightly": nightly}, experiments=[split, beside])
    registry = ModelRegistry(folder / "models")
    hw.train(model, as_of="2030-01-01T00:00Z").register(registry)
    hw.train(model, as_of="2030-01-01T00:00Z", level=nightly, level_name="nightly").register(
        registry
    )
    start = round(ASKED_AT.timestamp() * 1e6) - 1_000_000
    for experiment in shop.experiments:
        ExperimentStore(folder / "models").start(
            freeze(shop, experiment, registry, start), start, "tests"
        )
    clicks = []
    with (
        hw.operations.ServedLog(folder) as log,
        asking(store, shop, models=folder / "models", serving_log=log, data_dir=folder) as client,
    ):
        for n in range(350):
            answer = client.post(
                "/v1/rank/feed",
                json={"row": {"user": n % 3}, "k": 2},
                headers={"X-Request-Id": f"r{n}"},
            ).json()
            clicks += [
                {
                    "request_id": f"r{n}",
                    "item": item["item"],
                    "outcome": 1.0,
                    "known_at": ASKED_AT.isoformat(),
                }
                for item in answer["items"][:1]
            ]
        assert log.flush()
    journal = hw.operations.Outcomes(folder, model.labels, keys=("item",))
    journal.add(clicks)
    journal.close()
    return folder, shop


@pytest.mark.slow
def test_a_served_ranking_is_judged_from_its_log(world):
    """The first item is clicked, so every order earns one click in its two places."""
    folder, shop = world
    options = hw.experiments.ReplayOptions(
        data_dir=folder, models=folder / "models", at="2030-01-01T00:00Z"
    )
    found = explored_value(shop, "nightly", options=options)
    assert found.lists == 350
    assert found.other.effective >= 100
    assert found.other.value == pytest.approx(0.5, abs=4 * found.other.se + 1e-9)
    assert math.isnan(found.served)


@pytest.mark.slow
def test_the_decision_page_has_the_off_policy_estimate_with_its_overlap(world):
    """The first item is clicked: both orders earn the same, and the lift is 0 within its
    interval.
    """
    folder, shop = world
    analysis = analyse(
        shop, "split", data_dir=folder, models=folder / "models", at="2030-01-01T00:00Z"
    )
    snips, ips, dr = analysis.result.off_policy
    assert [snips.estimator, ips.estimator, dr.estimator] == ["snips", "ips", "dr"]
    for found in analysis.result.off_policy:
        assert (found.arm, found.lists, found.places, found.refused) == ("nightly", 350, 700, "")
        assert min(found.effective, found.control_effective) >= 100
        assert 0 < found.overlap < 0.5
        assert found.lift.low <= 0.0 <= found.lift.high
    (axis,) = [each for each in analysis.result.axis if each.method == "off-policy"]
    assert (axis.arm, axis.metric, axis.lift) == ("nightly", "clicked per place", snips.lift)
    page = analysis.to_markdown()
    assert "Off-policy estimates" in page
    assert "700 in 350 lists" in page
    assert "Off-policy, nightly:" in " ".join(repr(analysis).split())


@pytest.mark.slow
def test_rankings_are_replayed_and_scored_in_shadow_on_the_items_that_were_shown(world):
    """At the served level nothing changes; outcomes that were caused judge no other order, and
    independent ones do.
    """
    folder, shop = world
    options = hw.experiments.ReplayOptions(
        data_dir=folder, models=folder / "models", at="2030-01-01T00:00Z"
    )
    now = hw.experiments.replay_day(shop, ASKED_AT.date(), options=options).result
    assert (
        now.requests,
        now.gap.lists.lists,
        now.gap.lists.first_changed,
        now.gap.lists.order_changed,
    ) == (350, 350, 0.0, 0.0)
    assert now.replayed.how == now.served.how == {"on_request": 350}
    nightly = hw.experiments.replay_day(
        shop, ASKED_AT.date(), level="nightly", options=options
    ).result
    assert nightly.gap.metric is None
    assert any("caused by what was shown" in note for note in nightly.notes)
    assert "of 350 lists, " in nightly.first_line
    (arm,) = hw.experiments.shadow(
        shop, "beside", data_dir=folder, models=folder / "models", at="2030-01-01T00:00Z"
    ).result.arms
    assert arm.gap.lists == nightly.gap.lists
    free = hw.Project("shop", [replace(shop.models[0], outcomes="independent")], levels=shop.levels)
    judged = hw.experiments.replay_day(
        free, ASKED_AT.date(), level="nightly", options=options
    ).result
    # of each list, one item has a click
    assert any("no outcome of these requests is known yet" in note for note in judged.notes)


def test_an_experiment_says_why_there_is_no_off_policy_estimate(tmp_path):
    """Without explored lists the remedy is named; where nothing is caused and nothing explores,
    nothing is said.
    """
    now = 1_900_000_000_000_000
    texts = {}
    for name, share, outcomes in (
        ("explores", 0.1, "caused"),
        ("does not", 0.0, "caused"),
        ("independent", 0.0, "independent"),
    ):
        model = replace(exploring(share).models[0], outcomes=outcomes)
        project = hw.Project("shop", [model])
        arms = tuple(FrozenArm(arm, "feed", "as defined", 0.5, 1) for arm in ("now", "other"))
        plan = replaced(World(users=2).plan(), arms=arms)
        texts[name] = [
            found.refused
            for found in off_policy_lifts(
                project, plan, tmp_path, tmp_path / "models", now, Resources()
            )
        ]
    assert "no serving log" in texts["explores"][0]
    assert "hw.Ranking(explore=0.02)" in texts["does not"][0]
    assert texts["independent"] == []


def test_errors_say_what_to_do(tmp_path):
    shop, folder = exploring(0.1), tmp_path
    options = hw.experiments.ReplayOptions(
        data_dir=folder, models=folder / "models", at="2030-01-01T00:00Z"
    )
    with pytest.raises(UsageError, match="has no level"):
        explored_value(shop, "nightly", options=options)
    with pytest.raises(DataError, match="no serving log"):
        explored_value(
            shop,
            None,
            options=hw.experiments.ReplayOptions(data_dir=tmp_path, models=folder / "models"),
        )


def test_a_log_without_exploration_is_refused(store, tmp_path):
    shop = exploring(0.0)
    with (
        hw.operations.ServedLog(tmp_path) as log,
        asking(store, shop, serving_log=log, data_dir=tmp_path) as client,
    ):
        client.post("/v1/rank/feed", json={"row": {"user": 1}, "k": 2})
        assert log.flush()
    with pytest.raises(DataError, match=r"serve it with hw.Ranking\(explore=0.02\)"):
        explored_value(
            shop,
            None,
            options=hw.experiments.ReplayOptions(
                data_dir=tmp_path, models=tmp_path / "models", at="2030-01-01T00:00Z"
            ),
        )
