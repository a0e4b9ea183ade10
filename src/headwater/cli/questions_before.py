"""Questions of a terminal before a backtest: what serves today, adversaries, label delay. Scripts
answer by options or the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from headwater.cli.command import Arguments
from headwater.cli.screen import Screen
from headwater.errors import nearest

if TYPE_CHECKING:
    from headwater.definitions.evaluations import Evaluation

_NOT_KNOWN = "not known"
_YES_OR_NO = ("yes", "no", _NOT_KNOWN)
_ADVERSARIES = (
    "Do people change their behaviour because of the predictions, as attackers do once they are "
    "detected?"
)
_DELAY = "Does one outcome become known later than the other, as a fraud does by a chargeback?"


def ask(
    args: Arguments, screen: Screen, evaluation: Evaluation, levels: Sequence[str]
) -> Evaluation:
    """The evaluation with the answers of the terminal; unchanged where there is none, or with --yes
    or --json.

    levels: the names of the levels, from stale to fresh; one of them may serve today.
    """
    if args.yes or screen.as_json or not screen.asks:
        return evaluation
    if evaluation.baseline is None and args.baseline is None and len(levels) > 1:
        serves = _answer(screen, "What serves today?", [*levels, "nothing"], "nothing")
        evaluation = evaluation if serves == "nothing" else replace(evaluation, baseline=serves)
    if evaluation.adversaries is None:
        evaluation = replace(
            evaluation, adversaries=_yes(_answer(screen, _ADVERSARIES, _YES_OR_NO, _NOT_KNOWN))
        )
    if evaluation.delay_by_outcome is None:
        evaluation = replace(
            evaluation, delay_by_outcome=_yes(_answer(screen, _DELAY, _YES_OR_NO, _NOT_KNOWN))
        )
    return evaluation


def _yes(answer: str) -> bool | None:
    return None if answer == _NOT_KNOWN else answer == "yes"


def _answer(screen: Screen, question: str, allowed: Sequence[str], proposal: str) -> str:
    """One of the allowed answers; Enter, or the end of the input, takes the proposal."""
    while True:
        answer = screen.ask(f"{question} {', '.join(allowed)} [{proposal}]").strip()
        if not answer or answer in allowed:
            return answer or proposal
        screen.refuse(f"{answer!r} is not an answer; {nearest(answer, allowed)}")
