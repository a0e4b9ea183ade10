"""The head of an assessment: four lights with a word each, and the three next steps."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.pages import wording
from headwater.pages.document import Bullets, Light, Lights, Section
from headwater.pages.recommendation_words import more_days
from headwater.results.assessment_result import AssessmentResult
from headwater.results.measurement import Missing, amount

_STEPS = 3


def at_a_glance(assessment: AssessmentResult) -> Section:
    """Lift, cost, readiness and risk."""
    return Section("glance", "At a glance", [Lights(four(assessment))])


def four(assessment: AssessmentResult) -> Sequence[Light]:
    """The lights, in their order."""
    return [_lift(assessment), _cost(assessment), _readiness(assessment), _risk(assessment)]


def next_steps(assessment: AssessmentResult) -> Section:
    """The next steps as a section."""
    return Section("next", "Next steps", [Bullets(steps(assessment))])


def steps(assessment: AssessmentResult) -> list[str]:
    """What to do next, in this order; at most three."""
    every = [
        *_on_evidence(assessment),
        *_on_readiness(assessment),
        *_on_answers(assessment),
        *_in_production(assessment),
    ]
    return list(dict.fromkeys(every))[:_STEPS]


def _lift(assessment: AssessmentResult) -> Light:
    result, decision = assessment.result, assessment.decision
    if result is None or result.recommendation is None:
        return Light("Lift", "unknown", "not known", "No backtest was run.")
    recommendation = result.recommendation
    if recommendation.withheld:
        return Light(
            "Lift", "bad", "do not trust it", "The audit found what makes the figures unusable."
        )
    if recommendation.answer != "run":
        lifting = [step.to for step in wording.judged(result) if step.lifts]
        lifting_text = (
            f" Better than {recommendation.baseline}: {wording.listed(lifting)}." if lifting else ""
        )
        return Light(
            "Lift",
            "care",
            "not decided",
            f"The data do not decide between the levels.{lifting_text}",
        )
    if decision.level == decision.base:
        return Light(
            "Lift", "bad", "none worth having", f"Nothing fresher than {decision.base} pays."
        )
    return Light(
        "Lift",
        "good",
        "shown",
        recommendation.in_practice or f"{decision.level} is better than {decision.base}.",
    )


def _cost(assessment: AssessmentResult) -> Light:
    decision = assessment.decision
    if decision.action == "not decided":
        return Light("Cost", "unknown", "not computed", "No decision was made yet.")
    if decision.level == decision.base:
        return Light("Cost", "good", "none", "Nothing changes.")
    extra, earns = decision.extra, decision.earns
    if isinstance(extra, Missing):
        return Light("Cost", "unknown", "not known", f"{_upper(extra.reason.rstrip('.'))}.")
    costs = f"{amount(extra.value)} {extra.unit.partition('/')[0]} a day more"
    if isinstance(earns, Missing):
        return Light("Cost", "care", costs, "What it earns is not known.")
    pays = earns.value >= extra.value
    return Light(
        "Cost",
        "good" if pays else "bad",
        "pays" if pays else "does not pay",
        f"{costs}; earns {amount(earns.value)} a day.",
    )


def _readiness(assessment: AssessmentResult) -> Light:
    decision, readiness = assessment.decision, assessment.readiness
    if isinstance(readiness, Missing):
        return Light(
            "Readiness", "unknown", "not known", f"{_upper(readiness.reason.rstrip('.'))}."
        )
    counts = readiness.counts()
    red = [barred for barred in decision.barred if barred.certain]
    if red:
        return Light(
            "Readiness", "bad", "blocked", f"{_counted(len(red), 'view')} cannot be so fresh yet."
        )
    if decision.barred or (
        counts["unknown"] and decision.action not in ("stay batch", "not decided")
    ):
        return Light(
            "Readiness", "care", "not all is known", f"{counts['unknown']} checks are not answered."
        )
    if decision.action == "not decided":
        return Light(
            "Readiness",
            "unknown",
            "not needed yet",
            f"{counts['red']} checks are red, {counts['unknown']} not answered.",
        )
    return Light("Readiness", "good", "ready", "No blocker was found.")


def _risk(assessment: AssessmentResult) -> Light:
    network, result = assessment.network, assessment.result
    if result is not None and result.audit.blocking:
        return Light("Risk", "bad", "high", "A finding of the audit is open.")
    if network.effects:
        named = wording.listed([effect.effect for effect in network.effects])
        return Light(
            "Risk",
            "bad",
            "the world reacts",
            f"Network effects by {named}: only an experiment shows the gain.",
        )
    questions = 0 if result is None else len(result.audit.questions)
    open_questions = len(network.unanswered) + questions
    if open_questions:
        return Light(
            "Risk",
            "care",
            "not ruled out",
            f"{_counted(open_questions, 'question')} on leaks and network effects are open.",
        )
    return Light("Risk", "good", "low", "No leak was found, and no network effects, as answered.")


def _on_evidence(assessment: AssessmentResult) -> list[str]:
    result = assessment.result
    if result is None:
        return ["Run `headwater backtest`: without it nothing is known of the lift."]
    if result.audit.blocking:
        return [f"Fix this first: {result.audit.blocking[0].message.rstrip('.')}."]
    recommendation = result.recommendation
    if recommendation is not None and recommendation.answer != "run":
        days = more_days(recommendation.days, recommendation.days_most)
        return [
            f"Collect {days}, and test again."
            if days
            else "Remove the reason in the first line, and test again."
        ]
    return []


def _on_readiness(assessment: AssessmentResult) -> list[str]:
    blockers = [barred.blocker for barred in assessment.decision.barred]
    return [
        f"{blocker.what.rstrip('.')}: {blocker.remedy.rstrip('.')}." for blocker in blockers[:1]
    ]


def _on_answers(assessment: AssessmentResult) -> list[str]:
    steps = []
    if assessment.network.unanswered:
        steps.append(
            "Answer the questions on network effects: `headwater assess readiness "
            "--write-questions questions.toml` writes them."
        )
    decision = assessment.decision
    if decision.level != decision.base and isinstance(decision.earns, Missing):
        steps.append(
            "Say what a right and a wrong decision are worth: `--value` of `headwater backtest`."
        )
    if not isinstance(assessment.readiness, Missing) and assessment.readiness.counts()["unknown"]:
        steps.append("Answer what only you know of your systems: the same file of questions.")
    return steps


def _in_production(assessment: AssessmentResult) -> list[str]:
    decision = assessment.decision
    if decision.action in ("not decided", "stay batch"):
        return []
    kind = assessment.network.experiment.partition(" (")[0]
    named = "An experiment" if kind.startswith("not known") else _upper(kind)
    return [
        (
            f"{named} in production, {decision.level} against {decision.base}: `headwater "
            "experiment plan` computes its length."
        )
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
