"""Off-policy estimates: unbiased where propensities are logged, refused where the log cannot
know.
"""

from __future__ import annotations

import numpy as np
import pytest

from headwater.errors import DataError
from headwater.experiments.off_policy import LoggedActions, policy_value

SLOPES, STARTS = np.array([0.2, 0.8, -0.8, 0.0]), np.array([-2.0, -2.0, -1.8, -2.1])


def _log(random: np.random.Generator, rows: int = 5_000) -> tuple[LoggedActions, float, np.ndarray]:
    """The log of research: 10 % uniform and 90 % softmax behind it, 5 % uniform and 95 % the best
    action in question.
    """
    x = random.standard_normal(rows)
    chance = 1 / (1 + np.exp(-(x[:, None] * SLOPES + STARTS)))
    scores = np.exp(np.stack([x, 0.5 * x, -x, 0 * x], axis=1))
    logged = 0.025 + 0.9 * scores / scores.sum(axis=1, keepdims=True)
    policy = np.full((rows, 4), 0.0125)
    policy[np.arange(rows), chance.argmax(axis=1)] += 0.95
    action = (logged.cumsum(axis=1) > random.random((rows, 1))).argmax(axis=1)
    reward = (random.random(rows) < chance[np.arange(rows), action]).astype(float)
    return (
        LoggedActions(action, reward, logged, policy),
        float((policy * chance).sum(axis=1).mean()),
        np.tile(chance.mean(axis=0), (rows, 1)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_estimates_are_unbiased_and_cover(estimator: str) -> None:
    random = np.random.default_rng(1)
    errors, covered = [], 0
    truth = np.mean([_log(random, 50_000)[1] for _ in range(20)])
    for _ in range(300):
        rows, _, wrong = _log(random)
        found = policy_value(rows, estimator, wrong if estimator == "dr" else None)
        errors.append(found.value - truth)
        low, high = found.interval()
        covered += low <= truth <= high
    assert truth == pytest.approx(0.227, abs=0.002)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(300) + 0.001
    assert covered >= 275


def test_the_plain_sums() -> None:
    rows = LoggedActions(
        np.tile([0, 1], 200),
        np.tile([1.0, 0.0], 200),
        np.full((400, 2), 0.5),
        np.tile([0.8, 0.2], (400, 1)),
    )
    assert policy_value(rows, "ips").value == pytest.approx(0.8)
    found = policy_value(rows, "snips")
    assert found.value == pytest.approx(0.8)
    assert found.effective == pytest.approx(400**2 / (200 * (1.6**2 + 0.4**2)))


def test_what_the_log_cannot_know_is_refused() -> None:
    action, reward = np.zeros(400, int), np.ones(400)
    never = np.tile([1.0, 0.0], (400, 1))
    with pytest.raises(DataError, match=r"100.0% of the logged rows"):
        policy_value(LoggedActions(action, reward, never, np.full((400, 2), 0.5)))
    with pytest.raises(DataError, match="effective rows"):
        policy_value(
            LoggedActions(action[:50], reward[:50], np.full((50, 2), 0.5), np.full((50, 2), 0.5))
        )
    with pytest.raises(DataError, match="probability 0"):
        LoggedActions(action, reward, np.tile([0.0, 1.0], (400, 1)), never)
    with pytest.raises(DataError, match="sum to 1"):
        LoggedActions(action, reward, never * 0.5, never)
    with pytest.raises(DataError, match="predicted reward"):
        policy_value(
            LoggedActions(action, reward, np.full((400, 2), 0.5), np.full((400, 2), 0.5)), "dr"
        )
