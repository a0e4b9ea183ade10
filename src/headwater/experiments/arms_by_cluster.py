"""Each cluster, such as a market, keeps one arm; all its units get it."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.experiments.arms_by_unit import UNKNOWN, AssignedArm, StagedAssignment
from headwater.experiments.assignment import bucket
from headwater.models.experiment_store import StartedExperiment


class ArmsByCluster:
    """The arm of each cluster: that of the plan's list, or by the hash of its name.

    Clusters are enrolled; holdouts and layers go by unit.
    """

    def __init__(self, started: StartedExperiment) -> None:
        self._staged, self._listed = StagedAssignment(started), started.plan.clusters

    def __call__(self, unit: str, group: str | None, t: int) -> AssignedArm | None:
        """As `assigners.Assigner`; `group`: the cluster."""
        stage = self._staged.at(t)
        if group is None or stage is None:
            return None
        key = unit, group
        remembered = stage.known.get(key, UNKNOWN)
        if remembered is not UNKNOWN:
            return remembered
        arm = stage.groups.arm(group) if stage.units.takes_part(unit) else None
        if arm is None:
            return stage.keep(key, None)
        arm = self._listed.get(group, arm)
        return stage.keep(key, AssignedArm(arm, stage.groups.propensity(arm), group))


def shuffled_clusters(
    sizes: Mapping[str, float], weights: Mapping[str, float], seed: int
) -> dict[str, str]:
    """An arm for each cluster, by a shuffle in which each arm gets its share of large and of small
    clusters.

    From the largest cluster on, each goes to the arm that lacks most of its share so far; a coin of
    the seed decides between equals. So of two arms of equal weight, each pair of neighbours in size
    has one of both.

    Args:
        sizes: of the clusters before the start, such as their requests.
        weights: the share of each arm.
        seed: of the coins.

    >>> shuffled_clusters({"a": 9, "b": 8, "c": 2, "d": 1}, {"daily": 0.5, "streaming": 0.5}, 7)
    {'a': 'daily', 'b': 'streaming', 'c': 'daily', 'd': 'streaming'}
    """
    counts, arms = dict.fromkeys(weights, 0), dict[str, str]()
    for rank, cluster in enumerate(sorted(sizes, key=lambda name: (-sizes[name], name))):
        lacks = {
            arm: round(weight * (rank + 1) - counts[arm], 9) for arm, weight in weights.items()
        }
        most = [arm for arm, lack in lacks.items() if lack == max(lacks.values())]
        arm = most[bucket(f"{seed}/shuffle", cluster) % len(most)]
        counts[arm] += 1
        arms[cluster] = arm
    return arms
