"""Network effects: how the world may react to a model, which no backtest sees. Three questions, and
the experiment that fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.results.assessment_parts import Effect, Network, NetworkEffect


@dataclass(frozen=True)
class _Kind:
    question: str
    why: str
    experiment: str
    tells: str


KINDS: Mapping[Effect, _Kind] = {
    # In the order of their experiments, the strictest first: of several effects, the first
    # determines the experiment.
    "supply": _Kind(
        "Do the users of the model share something scarce: supply, budget, stock, slots, a price?",
        "one customer gets what another one then lacks, so a gain for some is partly a loss for "
        "others",
        "switchback by region and time (randomised by region and time bucket, without the start "
        "of each bucket)",
        "in an A/B test by user both arms draw on one supply, so the treated arm's gain includes "
        "what it took from the untreated one",
    ),
    "adversaries": _Kind(
        "Do people change their behaviour because of the predictions, as attackers do once they "
        "are detected?",
        "attackers adapt, so a gain on past attacks shrinks once they have seen the model in "
        "production",
        "cluster experiment with a burn-in (whole regions or merchants, read weeks after the "
        "start)",
        "attackers move from treated accounts to untreated ones, so an A/B test by account counts "
        "displaced attacks as prevented",
    ),
    "feedback": _Kind(
        "Is an outcome seen only where the model's output allowed it: a click on a shown item, "
        "the default of an approved loan?",
        "only chosen rows get an outcome, so the model's own choices become its next training data",
        "interleaving to see which ranking is preferred, then an A/B test by user with the "
        "training log split by arm",
        "if both arms train on one log, each learns from the items that the other has shown, and "
        "their difference fades",
    ),
}
_NONE = "user-level A/B (each user hashed to one arm)"
_NONE_TELLS = (
    "one user's treatment does not affect another user, so the difference between the arms is the "
    "effect"
)
_UNKNOWN = "not known: questions on network effects are not answered"


def network(answers: Mapping[Effect, bool]) -> Network:
    """The network effects of a task and the experiment that they need, by the answers to the three
    questions.

    A missing answer counts as neither yes nor no: without a yes, the experiment is known only if
    all three are answered.

    >>> network({"supply": False, "adversaries": False, "feedback": False}).experiment
    'user-level A/B (each user hashed to one arm)'
    >>> network({"supply": False}).experiment
    'not known: questions on network effects are not answered'
    """
    effects = [
        NetworkEffect(effect, kind.why, kind.question, kind.experiment, kind.tells)
        for effect, kind in KINDS.items()
        if answers.get(effect) is True
    ]
    unanswered = [kind.question for effect, kind in KINDS.items() if effect not in answers]
    if effects:
        return Network(effects, effects[0].experiment, effects[0].tells, unanswered)
    return (
        Network([], _UNKNOWN, "", unanswered) if unanswered else Network([], _NONE, _NONE_TELLS, [])
    )
