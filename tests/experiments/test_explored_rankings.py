"""What another order would have earned, from lists in random order: unbiased on generated lists, and over a served ranking."""

import math
from dataclasses import replace

import numpy as np
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.experiments.explored_rankings import explored_value, order_value
from headwater.models.registry import ModelRegistry
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


@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_estimates_are_unbiased_and_intervals_hold_the_truth(estimator):
    """The other order shows items 3 and 0: of 300 logs, the interval holds the truth in 95 % within three standard errors of that share."""
    rng = np.random.default_rng(11)
    truth = (CHANCES[3] * PLACES[0] + CHANCES[0] * PLACES[1]) / 2
    values, held = [], 0
    for _ in range(300):
        reward, item, place, of = explored(rng, 1_500)
        same = item == np.array([3, 0])[place]
        found = order_value(reward, same, np.full(len(reward), 6), of, estimator, place)
        low, high = found.interval()
        values.append(found.value)
        held += low <= truth <= high
    assert abs(np.mean(values) - truth) < 3 * np.std(values) / math.sqrt(300)
    assert held / 300 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)


def test_too_few_matches_are_refused():
    reward, item, place, of = explored(np.random.default_rng(1), 100)
    with pytest.raises(DataError, match="effective rows"):
        order_value(reward, item == np.array([3, 0])[place], np.full(200, 6), of)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = filled(hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('served') / 'online'}?size=1GB"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(store, tmp_path_factory):
    """A ranking that explores all lists, trained, served over HTTP, with a click where an item of a list is wanted."""
    folder = tmp_path_factory.mktemp("explored")
    known = exploring(1.0).models[0]
    kinds = EVENTS["item"].unique(maintain_order=True).to_list()[:3]
    wanted = labels("clicked", "clicked", user=EVENTS["user"], item=[kinds[n % 3] for n in range(60)], request=[n // 3 for n in range(60)])
    shop = hw.Project("shop", [replace(known, labels=wanted)])
    model = shop.models[0]
    hw.train(model, as_of="2030-01-01T00:00Z").register(ModelRegistry(folder / "models"))
    clicks = []
    with hw.ServedLog(folder) as log, asking(store, shop, models=folder / "models", serving_log=log, data_dir=folder) as client:
        for n in range(350):
            answer = client.post("/v1/rank/feed", json={"row": {"user": n % 3}, "k": 2}, headers={"X-Request-Id": f"r{n}"}).json()
            clicks += [
                {"request_id": f"r{n}", "item": item["item"], "outcome": 1.0, "known_at": ASKED_AT.isoformat()}
                for item in answer["items"][:1]
            ]
        assert log.flush()
    journal = hw.Outcomes(folder, model.labels, keys=("item",))
    journal.add(clicks)
    journal.close()
    return folder, shop


@pytest.mark.slow
def test_a_served_ranking_is_judged_from_its_log(world):
    """Whatever is first is clicked, so every order earns one click in its two places."""
    folder, shop = world
    options = hw.ReplayOptions(data_dir=folder, models=folder / "models", at="2030-01-01T00:00Z")
    found = explored_value(shop, None, options=options)
    assert found.lists == 350
    assert found.other.effective >= 100
    assert found.other.value == pytest.approx(0.5, abs=4 * found.other.se + 1e-9)
    assert math.isnan(found.served)


def test_errors_say_what_to_do(tmp_path):
    shop, folder = exploring(0.1), tmp_path
    options = hw.ReplayOptions(data_dir=folder, models=folder / "models", at="2030-01-01T00:00Z")
    with pytest.raises(UsageError, match="has no level"):
        explored_value(shop, "nightly", options=options)
    with pytest.raises(DataError, match="no serving log"):
        explored_value(shop, None, options=hw.ReplayOptions(data_dir=tmp_path, models=folder / "models"))


def test_a_log_without_exploration_is_refused(store, tmp_path):
    shop = exploring(0.0)
    with hw.ServedLog(tmp_path) as log, asking(store, shop, serving_log=log, data_dir=tmp_path) as client:
        client.post("/v1/rank/feed", json={"row": {"user": 1}, "k": 2})
        assert log.flush()
    with pytest.raises(DataError, match=r"serve it with hw.Ranking\(explore=0.02\)"):
        explored_value(shop, None, options=hw.ReplayOptions(data_dir=tmp_path, models=tmp_path / "models", at="2030-01-01T00:00Z"))
