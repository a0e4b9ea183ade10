"""Negatives of a ranking that is trained on a log of positives: how many candidates are drawn for
each, and how.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from headwater.definitions.checks import check_choice, check_integer
from headwater.definitions.definition import Definition

SampledBy = Literal["uniform", "popularity"]


@dataclass(frozen=True, eq=False)
class NegativeSampling(Definition):
    """Draw `n` candidates for each positive of a log as negatives of training. Evaluation always
    ranks every candidate.

    A candidate is drawn from those that the level knows when the request asks (as of its T and K),
    with replacement; an item that the request chose is never drawn. With fewer than `n` candidates,
    each is taken once.

    Args:
        n: draws for each positive, at least 1.
        by: "uniform": each candidate is equally likely; "popularity": in proportion to 1 + the
            item's positives in the log that were known when the UTC day of the request began.
        seed: of the draws. They depend on the seed, the request, the chosen item and the candidates
            alone, so levels with the same candidates draw the same negatives.

    Training corrects for the draws: with q the expected number of draws of a candidate, rankers get
    the offset -log q, and estimators that judge each candidate by itself the weight 1/q.

    Raises:
        DefinitionError: n below 1, another way to draw, or a seed that is not an integer of 0 or
            more.

    Source: Yi et al., "Sampling-bias-corrected neural modeling for large corpus item
    recommendations", 2019.

    >>> print(NegativeSampling(n=20, by="popularity"))
    20 negatives a positive by popularity, seed 0
    """

    n: int
    by: SampledBy = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer(self.n, "NegativeSampling: n", least=1, most=100_000)
        check_choice(self.by, get_args(SampledBy), "NegativeSampling: by")
        check_integer(self.seed, "NegativeSampling: seed", least=0, most=2**63 - 1)

    def __str__(self) -> str:
        drawn = "uniformly" if self.by == "uniform" else "by popularity"
        return f"{self.n} negatives a positive {drawn}, seed {self.seed}"
