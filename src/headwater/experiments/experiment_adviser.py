"""Four questions decide which kind of experiment shows the truth; each other kind misleads in a way
that can be named.

Shared stock or price: a switchback, if what an arm did wears off within half a bucket, else whole
clusters. An adversary who adapts: clusters with a burn-in. A model that trains on its own clicks:
an A/B test with the training log split by arm. Otherwise an A/B test. Sources: Bojinov,
Simchi-Levi, Zhao (2023) on carry-over; Holtz, Lobel, Liskovich, Aral (2020) on shared supply;
`headwater experiment simulate` shows each case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headwater.assessing.network import KINDS
from headwater.definitions.checks import DAY, HOUR, text
from headwater.definitions.definition import Readable
from headwater.definitions.experiment import Experiment
from headwater.experiments.frozen_plan import kind_name
from headwater.results.experiment_result import KIND_NAMES
from headwater.results.planned_experiment import ExperimentAdvice

CARRY_OVER = (
    "How long does what one arm did still act after a change to the other: 'no', or a duration "
    "such as '3h'?"
)
# none divides a day, so that each hour of the day is observed
_LENGTHS = (7 * HOUR, 10 * HOUR, 13 * HOUR, 17 * HOUR)


@dataclass(frozen=True)
class AdviserAnswers(Readable):
    """Answers to the four questions; None is not answered.

    Args:
        supply: whether units share something scarce, such as drivers, stock or a price.
        adversaries: whether people adapt to the predictions.
        feedback: whether the model trains on what its own answers caused.
        carry_over: how long an arm's effect lasts after a change, microseconds; 0 for no
            carry-over.
    """

    supply: bool | None = None
    adversaries: bool | None = None
    feedback: bool | None = None
    carry_over: int | None = None

    def of(self, experiment: Experiment) -> AdviserAnswers:
        """With what the definitions say: models whose outcomes are caused by their answers train on
        their own clicks.
        """
        rules = {arm.model.outcomes for arm in experiment.arms}
        feedback = (
            self.feedback if self.feedback is not None or None in rules else "caused" in rules
        )
        return replace(self, feedback=feedback)


def questions() -> Mapping[str, str]:
    """The questions by the names of their answers, those of `headwater assess` included."""
    return {**{name: kind.question for name, kind in KINDS.items()}, "carry_over": CARRY_OVER}


def advise(answers: AdviserAnswers) -> ExperimentAdvice:
    """The kind that fits, and why the others mislead.

    >>> advise(
    ...     AdviserAnswers(supply=True, adversaries=False, feedback=False, carry_over=3 * HOUR)
    ... ).written
    "hw.experiments.Switchback(region, length='7h', washout='3h')"
    """
    every = questions()
    open_ones = [every[name] for name in every if getattr(answers, name) is None]
    if answers.supply:
        if answers.carry_over is None:
            return ExperimentAdvice(
                "",
                "",
                "supply is shared, and how long an arm's effect lasts decides how",
                (),
                _misleading(answers),
                open_ones,
            )
        length = next((length for length in _LENGTHS if 2 * answers.carry_over < length), None)
        if answers.adversaries or length is None:
            return _cluster(answers, open_ones)
        washout = f", washout={text(answers.carry_over)!r}" if answers.carry_over else ""
        why = (
            "units of a region share supply, so whole regions change their arm, from bucket to "
            "bucket of time"
        )
        steps = [
            _SHADOW,
            f"switch each region every {text(length)}"
            + (f", and leave out {text(answers.carry_over)} after each change" if washout else ""),
        ]
        return ExperimentAdvice(
            "switchback",
            f"hw.experiments.Switchback(region, length={text(length)!r}{washout})",
            why,
            _split(answers, steps),
            _misleading(answers),
            open_ones,
        )
    if answers.adversaries:
        return _cluster(answers, open_ones)
    if open_ones and (answers.supply is None or answers.adversaries is None):
        return ExperimentAdvice("", "", "a question is open that decides", (), {}, open_ones)
    if answers.feedback:
        why = "the model trains on its own clicks: units are split, and so are the training rows"
        return ExperimentAdvice(
            "ab",
            "hw.experiments.ABTest()",
            why,
            _split(answers, [_SHADOW, "split units"]),
            _misleading(answers),
            open_ones,
        )
    why = "a unit's arm changes nothing for the others" + (
        ", and it keeps its arm, so carry-over stays within it" if answers.carry_over else ""
    )
    return ExperimentAdvice(
        "ab",
        "hw.experiments.ABTest()",
        why,
        [_SHADOW, "split units"],
        _misleading(answers),
        open_ones,
    )


def kind_warnings(experiment: Experiment, answers: AdviserAnswers) -> Iterator[str]:
    """What the adviser holds against the kind of an experiment; nothing where it fits, or where too
    little is answered.
    """
    completed = answers.of(experiment)
    advice = advise(completed)
    kind = kind_name(experiment.kind)
    if kind in advice.misleading:
        yield f"{KIND_NAMES[kind]} misleads here: {advice.misleading[kind]}" + (
            f"; {advice.written} fits" if advice.kind and advice.kind != kind else ""
        )
    if completed.feedback and kind in ("ab", "switchback", "cluster"):
        yield (
            "the model's outcomes are caused by its answers: train each arm on its own log "
            f"(headwater train --from-log --experiment {experiment.name}), or the arms learn from "
            "each other and their difference fades"
        )


_SHADOW = (
    "shadow first: hw.experiments.Shadow() shows errors, latency and how often decisions differ, "
    "and serves nothing new"
)


def _cluster(answers: AdviserAnswers, unanswered: Sequence[str]) -> ExperimentAdvice:
    burn_in = max(answers.carry_over or 0, 28 * DAY if answers.adversaries else 7 * DAY)
    why = (
        (
            "people adapt to the model, and move to where it is not: whole clusters keep one arm, "
            "and are read after they have adapted"
        )
        if answers.adversaries
        else (
            "units share supply, and an arm's effect outlasts half a bucket of any switchback: "
            "whole clusters keep one arm"
        )
    )
    steps = [
        _SHADOW,
        f"keep each cluster in one arm, and leave out the first {text(burn_in)}",
        "ten clusters or more in each arm",
    ]
    return ExperimentAdvice(
        "cluster",
        f"hw.experiments.ClusterTest(cluster, burn_in={text(burn_in)!r})",
        why,
        _split(answers, steps),
        _misleading(answers),
        unanswered,
    )


def _split(answers: AdviserAnswers, steps: Sequence[str]) -> list[str]:
    log_steps = (
        ["train each arm on its own log: headwater train --from-log --experiment NAME"]
        if answers.feedback
        else []
    )
    return [*steps, *log_steps]


def _misleading(answers: AdviserAnswers) -> dict[str, str]:
    """By kind, why it misleads."""
    wrong: dict[str, str] = {"shadow": "nothing that it scores is served, so it shows no lift"}
    if answers.supply:
        wrong["ab"] = KINDS["supply"].tells
    elif answers.adversaries:
        wrong["ab"] = KINDS["adversaries"].tells
    if answers.adversaries:
        wrong["switchback"] = (
            "adversaries take longer to adapt than a bucket lasts, so each bucket shows a world "
            "that has not reacted yet"
        )
    elif (
        answers.supply and answers.carry_over is not None and 2 * answers.carry_over >= _LENGTHS[-1]
    ):
        wrong["switchback"] = (
            "what an arm did still acts for more than half of each bucket, so both arms are "
            "measured in a mixture of both"
        )
    if answers.supply or answers.adversaries:
        wrong["interleaving"] = (
            "both rankings act in one list on one world, and it says which is preferred, never "
            "how much"
        )
    elif answers.feedback:
        wrong["interleaving"] = (
            "both rankings train on the clicks of the mixed list; it says which is preferred now, "
            "never how much"
        )
    return wrong
