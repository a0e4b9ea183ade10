"""Arms of each kind: the vectors of docs/experiments.md, shares, and what a stage changes."""

from itertools import pairwise

import pytest

from headwater.experiments.arms_by_bucket import ArmsByBucket
from headwater.experiments.arms_by_cluster import shuffled_clusters
from headwater.experiments.assigners import ASSIGNERS, assigner_of
from headwater.models.experiment_store import ExperimentChange, StartedExperiment
from tests.experiments.frozen_plans import frozen_plan

HOUR = 3_600_000_000
STARTED = (ExperimentChange("started", 0),)


def started(kind="ab", changes=STARTED, **own):
    columns = {"cluster": {"cluster": "town"}, "switchback": {"region": "town"}}.get(kind, {})
    settings = (
        {"length": 7 * HOUR, "washout": HOUR, "random_bounds": False}
        if kind == "switchback"
        else {}
    )
    frozen = frozen_plan(
        **{"kind": kind, "columns": columns, "settings": settings, "seed": 7, **own}
    )
    return StartedExperiment(frozen, changes)


def test_vectors():
    assign = assigner_of(started())
    assert [assign(unit, None, HOUR).arm for unit in ("u1", "u2", "Zoë")] == [
        "streaming",
        "daily",
        "daily",
    ]
    settings = {"length": 7 * HOUR, "washout": HOUR, "random_bounds": True}
    switchback = ArmsByBucket(started("switchback", settings=settings))
    number, begin = switchback.bucket_at("oslo", 9 * HOUR)
    assert (number, begin // 1_000_000) == (1, 13_910)
    assert switchback("u", "oslo", 9 * HOUR).arm == "streaming"


@pytest.mark.parametrize("kind", ASSIGNERS)
def test_nobody_before_the_start_and_after_the_end(kind):
    assign = assigner_of(started(kind))
    assert assign("u", "oslo", -1) is None
    assert assign("u", "oslo", HOUR) is not None
    assert assign("u", "oslo", 14 * 24 * HOUR) is None


def test_a_stage_moves_nobody():
    changes = (
        ExperimentChange("started", 0, enrolled=0.1),
        ExperimentChange("enrolled", HOUR, enrolled=1.0),
    )
    assign = assigner_of(started(changes=changes, enrolled=(0.1, 1.0)))
    before = {n: assign(str(n), None, HOUR - 1) for n in range(3000)}
    after = {n: assign(str(n), None, HOUR) for n in range(3000)}
    inside = {n for n, arm in before.items() if arm is not None}
    assert 230 < len(inside) < 370
    assert all(before[n] == after[n] for n in inside)
    assert None not in after.values()
    # after any calls in between
    assert before == {n: assign(str(n), None, HOUR - 1) for n in range(3000)}


def test_a_region_has_one_arm_in_a_bucket_and_each_bucket_a_coin():
    assign = assigner_of(started("switchback"))
    arms = [{assign(str(n), "oslo", t * HOUR).arm for n in range(20)} for t in range(0, 300, 7)]
    assert all(len(of_bucket) == 1 for of_bucket in arms)
    assert 12 < sum(of_bucket == {"daily"} for of_bucket in arms) < 31
    assert [assign("u", "oslo", t).bucket for t in (0, 7 * HOUR - 1, 7 * HOUR)] == [0, 0, 1]
    assert [assign("u", "oslo", t).flag for t in (7 * HOUR, 8 * HOUR - 1, 8 * HOUR)] == [
        "washout",
        "washout",
        "",
    ]
    assert assign("u", None, HOUR) is None


def test_random_bounds_are_the_same_in_any_order_of_requests():
    settings = {"length": 7 * HOUR, "washout": 0, "random_bounds": True}
    one, other = (ArmsByBucket(started("switchback", settings=settings)) for _ in range(2))
    times = list(range(0, 200 * HOUR, HOUR))
    forward = [one.bucket_at("oslo", t) for t in times]
    assert forward == [other.bucket_at("oslo", t) for t in reversed(times)][::-1]
    begins = sorted({begin for _, begin in forward})
    lengths = [later - earlier for earlier, later in pairwise(begins)]
    assert all(3.5 * HOUR <= length <= 10.5 * HOUR for length in lengths)
    assert len(set(lengths)) > 10


def test_clusters():
    assign = assigner_of(started("cluster", clusters={"oslo": "daily"}))
    assert {assign(str(n), "oslo", HOUR).arm for n in range(20)} == {"daily"}
    assert len({assign(str(n), "bergen", HOUR).arm for n in range(20)}) == 1
    sizes = {f"town {n}": float(n) for n in range(40)}
    arms = shuffled_clusters(sizes, {"daily": 0.5, "streaming": 0.5}, 3)
    assert list(arms.values()).count("daily") == 20
    assert arms != shuffled_clusters(sizes, {"daily": 0.5, "streaming": 0.5}, 4)
    sums = [
        sum(size for town, size in sizes.items() if arms[town] == arm)
        for arm in ("daily", "streaming")
    ]
    assert abs(sums[0] - sums[1]) <= 20
