"""Questions before a backtest, since no backtest sees it: adversaries, and a label delay that
differs by outcome.
"""

from __future__ import annotations

from headwater.definitions.evaluations import Evaluation
from headwater.definitions.labels import Labels

_NOT_ANSWERED = "not answered: {question} Answer with {option}"


def answered(evaluation: Evaluation, labels: Labels | None = None) -> list[str]:
    """The answers in sentences, with what follows from each; a question without an answer is named.

    labels: those of the model; None for scores that were made elsewhere.

    >>> answered(Evaluation(adversaries=False, delay_by_outcome=False))
    ['Adversaries: none, as answered.', 'Label delay: the same for every outcome, as answered.']
    """
    return [
        f"Adversaries: {_adversaries(evaluation)}",
        f"Label delay: {_delay(evaluation, labels)}",
    ]


def _adversaries(evaluation: Evaluation) -> str:
    answer = evaluation.adversaries
    if answer is None:
        question = "do people change their behaviour because of the predictions, as attackers do?"
        return (
            f"{_NOT_ANSWERED.format(question=question, option='--adversaries yes or no')}; if "
            "they do, the lift shrinks once the model serves."
        )
    if not answer:
        return "none, as answered."
    return (
        "people change their behaviour because of the predictions, as answered. This lift is over "
        "behaviour that had not seen the model, and shrinks once it serves: retrain often, and "
        "confirm it by an experiment with a burn-in."
    )


def _delay(evaluation: Evaluation, labels: Labels | None) -> str:
    answer = evaluation.delay_by_outcome
    if answer is None:
        question = (
            "does one outcome become known later than the other, as a fraud does by a chargeback?"
        )
        return (
            f"{_NOT_ANSWERED.format(question=question, option='--delay-by-outcome yes or no')}; "
            "if it does, the newest training rows lack it."
        )
    if not answer:
        return "the same for every outcome, as answered."
    if labels is not None and labels.known_at_field is None:
        after = labels.known_after
        return (
            "one outcome becomes known later than the other, as answered, but the labels have "
            f"one delay for all rows (known_after={str(after)!r}). It has to be the delay of the "
            "slower outcome; a column known_at_field with the time of each row is better."
        )
    return (
        "one outcome becomes known later than the other, as answered. The newest training rows "
        "hold too few of the slower one, so rates are too low there; the share of each outcome "
        "near the split shows how many."
    )
