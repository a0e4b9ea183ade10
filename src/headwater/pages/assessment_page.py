"""The page of an assessment: whether real time is right for a model, with four answers and what to
do next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from headwater.pages import attribution_section, backtest_page, wording
from headwater.pages.document import Block, Bullets, Table, Text
from headwater.pages.page import Condition, Fold, Page, Row, Rows, Tone, split_sentence
from headwater.pages.recommendation_words import more_days
from headwater.results.assessment_result import AssessmentResult
from headwater.results.attribution_result import AttributionResult
from headwater.results.cost_result import Cost
from headwater.results.measurement import Missing, Number, Reading, amount, duration
from headwater.results.readiness_result import Finding, Readiness

_STEPS: Final = 3
_RULES: Final = {
    "leak": "No verdict while the audit withholds it",
    "unknown": "No verdict without a backtest",
    "recommendation": "Recommendation",
    "views": "Which views",
    "readiness": "What blocks it",
}
_ORDER: Final = ("red", "amber", "unknown", "green")
_TONES: Final[Mapping[str, Tone]] = {
    "good": "wins",
    "care": "not proven",
    "bad": "worse",
    "unknown": "none",
}


def to_page(assessment: AssessmentResult) -> Page:
    """The page: the recommendation of the backtest, four answers, and next steps."""
    result = assessment.result
    sentence, effect = split_sentence(assessment.decision.first_line)
    answers = [_lift(assessment), _cost(assessment), _readiness(assessment), _risk(assessment)]
    return Page(
        "Assessment",
        [assessment.project, f"model {assessment.model}"],
        sentence,
        effect,
        result is not None and bool(result.audit.blocking),
        [] if result is None else backtest_page.choices(result, assessment.decision.level),
        None if result is None else backtest_page.curve(result),
        Rows("Is real time right?", ["question", "why"], answers),
        list(_conditions(assessment)),
        [note for note in [details(assessment)] if note],
        [("", step) for step in steps(assessment)],
        [fold for fold in _folds(assessment) if fold.blocks],
        [("assessed", assessment.at[:16].replace("T", " "))],
    )


def headline(assessment: AssessmentResult) -> str:
    """The recommendation: the first line of the page."""
    return assessment.decision.first_line


def _conditions(assessment: AssessmentResult) -> Iterator[Condition]:
    if assessment.result is not None:
        yield from backtest_page.conditions(assessment.result)
    for effect in assessment.network.effects:
        yield Condition(f"No {effect.effect}.", "not observable", f"{effect.why}.")
    if assessment.network.unanswered:
        yield Condition(
            "The world does not react to the model.",
            "declared",
            f"{_counted(len(assessment.network.unanswered), 'question')} not answered.",
        )


def _folds(assessment: AssessmentResult) -> Iterator[Fold]:
    result, attribution = assessment.result, assessment.attribution
    cost, readiness = assessment.cost, assessment.readiness
    yield Fold("Why: the rules", "", [Bullets(why(assessment))])
    yield Fold(
        "Lift: your own figures",
        "",
        _unknown(assessment.backtest)
        if result is None
        else [backtest_page.metrics_table(result), *backtest_page.differences(result)],
    )
    yield Fold(
        "Which views earn from freshness",
        "",
        [Text(attribution.plan), *attribution_section.to_blocks(attribution)]
        if isinstance(attribution, AttributionResult)
        else _unknown(attribution),
    )
    yield Fold("Latency, and features at request time", "", _request_time(assessment))
    yield Fold(
        "Cost",
        "" if isinstance(cost, Missing) else cost.sentence,
        _unknown(cost) if isinstance(cost, Missing) else cost_blocks(cost),
    )
    yield Fold(
        "Network effects, and the right experiment",
        assessment.network.experiment,
        _network(assessment),
    )
    yield Fold(
        "Readiness",
        "" if isinstance(readiness, Missing) else _counts(readiness),
        _unknown(readiness) if isinstance(readiness, Missing) else readiness_blocks(readiness),
    )


def _unknown(missing: object) -> list[Block]:
    return [Text(f"Not known: {missing.reason}")] if isinstance(missing, Missing) else []


def _counts(readiness: Readiness) -> str:
    return ", ".join(f"{count} {state}" for state, count in readiness.counts().items())


def _light(
    question: str, state: Literal["good", "care", "bad", "unknown"], word: str, said: str
) -> Row:
    return Row(question, said, [], state=word, tone=_TONES[state])


def details(assessment: AssessmentResult) -> str:
    """The verdict without its first line: the gain, the views, the blockers and the money."""
    return assessment.verdict.removeprefix(assessment.decision.first_line).strip()


def why(assessment: AssessmentResult) -> Sequence[str]:
    """Each rule that was applied, with its outcome."""
    return [
        f"{_RULES.get(rule, rule)}: {outcome.rstrip('.')}."
        for rule, outcome in assessment.decision.rules
    ]


def steps(assessment: AssessmentResult) -> list[str]:
    """What to do next, in this order; at most three."""
    every = [
        *_on_evidence(assessment),
        *_on_readiness(assessment),
        *_on_answers(assessment),
        *_in_production(assessment),
    ]
    return list(dict.fromkeys(every))[:_STEPS]


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


def _lift(assessment: AssessmentResult) -> Row:
    result, decision = assessment.result, assessment.decision
    if result is None or result.recommendation is None:
        return _light("Lift", "unknown", "not known", "No backtest was run.")
    recommendation = result.recommendation
    if recommendation.withheld:
        return _light(
            "Lift", "bad", "do not trust it", "The audit found what makes the figures unusable."
        )
    if recommendation.answer != "run":
        lifting = [step.to for step in wording.judged(result) if step.lifts]
        lifting_text = (
            f" Better than {recommendation.baseline}: {wording.listed(lifting)}." if lifting else ""
        )
        return _light(
            "Lift",
            "care",
            "not decided",
            f"The data do not decide between the levels.{lifting_text}",
        )
    if decision.level == decision.base:
        return _light(
            "Lift", "bad", "none worth having", f"Nothing fresher than {decision.base} pays."
        )
    return _light(
        "Lift",
        "good",
        "shown",
        recommendation.in_practice or f"{decision.level} is better than {decision.base}.",
    )


def _cost(assessment: AssessmentResult) -> Row:
    decision = assessment.decision
    if decision.action == "not decided":
        return _light("Cost", "unknown", "not computed", "No decision was made yet.")
    if decision.level == decision.base:
        return _light("Cost", "good", "none", "Nothing changes.")
    extra, earns = decision.extra, decision.earns
    if isinstance(extra, Missing):
        return _light("Cost", "unknown", "not known", f"{_upper(extra.reason.rstrip('.'))}.")
    costs = f"{amount(extra.value)} {extra.unit.partition('/')[0]} a day more"
    if isinstance(earns, Missing):
        return _light("Cost", "care", costs, "What it earns is not known.")
    pays = earns.value >= extra.value
    return _light(
        "Cost",
        "good" if pays else "bad",
        "pays" if pays else "does not pay",
        f"{costs}; earns {amount(earns.value)} a day.",
    )


def _readiness(assessment: AssessmentResult) -> Row:
    decision, readiness = assessment.decision, assessment.readiness
    if isinstance(readiness, Missing):
        return _light(
            "Readiness", "unknown", "not known", f"{_upper(readiness.reason.rstrip('.'))}."
        )
    counts = readiness.counts()
    red = [barred for barred in decision.barred if barred.certain]
    if red:
        return _light(
            "Readiness", "bad", "blocked", f"{_counted(len(red), 'view')} cannot be so fresh yet."
        )
    if decision.barred or (
        counts["unknown"] and decision.action not in ("stay batch", "not decided")
    ):
        return _light(
            "Readiness", "care", "not all is known", f"{counts['unknown']} checks are not answered."
        )
    if decision.action == "not decided":
        return _light(
            "Readiness",
            "unknown",
            "not needed yet",
            f"{counts['red']} checks are red, {counts['unknown']} not answered.",
        )
    return _light("Readiness", "good", "ready", "No blocker was found.")


def _risk(assessment: AssessmentResult) -> Row:
    network, result = assessment.network, assessment.result
    if result is not None and result.audit.blocking:
        return _light("Risk", "bad", "high", "A finding of the audit is open.")
    if network.effects:
        named = wording.listed([effect.effect for effect in network.effects])
        return _light(
            "Risk",
            "bad",
            "the world reacts",
            f"Network effects by {named}: only an experiment shows the gain.",
        )
    questions = 0 if result is None else len(result.audit.questions)
    open_questions = len(network.unanswered) + questions
    if open_questions:
        return _light(
            "Risk",
            "care",
            "not ruled out",
            f"{_counted(open_questions, 'question')} on leaks and network effects are open.",
        )
    return _light("Risk", "good", "low", "No leak was found, and no network effects, as answered.")


def _request_time(assessment: AssessmentResult) -> list[Block]:
    """Latency of responses, and of each feature that is computed at request time."""
    summary = Text(
        f"p99 latency of responses: {_latency(assessment.latency)}. Allowed: "
        f"{_latency(assessment.budget)}."
    )
    if not assessment.at_request:
        return [summary, Text("The model has no feature that is computed at request time.")]
    rows = [
        [feature.name, feature.kind, _latency(feature.p50), _latency(feature.p99), feature.fallback]
        for feature in assessment.at_request
    ]
    headings = ("feature", "kind", "p50", "p99", "fallback after a timeout")
    table = Table("Latency of each feature", headings, rows)
    return [summary, table]


def _network(assessment: AssessmentResult) -> list[Block]:
    """Network effects, and the experiment that would measure them."""
    effects = assessment.network
    blocks: list[Block] = []
    if effects.effects:
        rows = [[effect.effect, effect.why, effect.experiment] for effect in effects.effects]
        blocks.append(
            Table(
                "By your answers: effects that no backtest can see",
                ("effect", "why", "experiment"),
                rows,
            )
        )
    elif not effects.unanswered:
        blocks.append(Text("None, as you answered."))
    reason = f" Why: {effects.tells}." if effects.tells else ""
    blocks.append(
        Text(
            f"Recommended experiment: {effects.experiment}.{reason} Run in shadow mode first in "
            "any case."
        )
    )
    if effects.unanswered:
        blocks += [
            Text(
                "Not answered; a yes may call for another experiment. `headwater assess readiness "
                "--write-questions` writes the questions:"
            ),
            Bullets(effects.unanswered),
        ]
    return blocks


def money(reading: Reading) -> str:
    """An amount with its currency."""
    return (
        "not known"
        if isinstance(reading, Missing)
        else f"{amount(reading.value)} {reading.unit.partition('/')[0]}"
    )


def _latency(reading: Reading) -> str:
    if isinstance(reading, Missing):
        return f"not known ({reading.reason.rstrip('.')})"
    return f"{_seconds(reading)} ({reading.origin}: {reading.source})"


def _seconds(reading: Number) -> str:
    return f"{reading.value * 1e6:,.3g} µs" if reading.value < 1e-3 else duration(reading.value)


def readiness_blocks(result: Readiness) -> list[Block]:
    """The level of each view with its next blocker, the two ladders, and every check."""
    views = [
        [
            view.view,
            view.reachable,
            view.possible,
            "nothing"
            if view.blocker is None
            else f"{view.blocker.check}, for {view.blocker.level}: {view.blocker.what}",
            "" if view.blocker is None else view.blocker.remedy,
        ]
        for view in result.views
    ]
    ladders = [
        f"{ladder.name}: {ladder.rungs[ladder.reached]}; at best {ladder.rungs[ladder.possible]}"
        for ladder in (result.online, result.learning)
    ]
    counts = ", ".join(f"{count} {state}" for state, count in result.counts().items())
    return [
        Table(
            "How fresh each view can be",
            ("view", "reachable now", "at best", "next blocker", "remedy"),
            views,
        ),
        Bullets([*ladders, f"checks: {counts}"]),
        Table(
            "Checks that are not green",
            ("check", "state", "what", "about", "found"),
            _open_checks(result),
        ),
    ]


def _open_checks(result: Readiness) -> list[list[str]]:
    """A row for each check that is not green and what was found; the views and sources that share
    it stand in one row.
    """
    about: dict[tuple[str, str, str, str], list[str]] = {}
    for finding in sorted(result.findings, key=lambda finding: _ORDER.index(finding.state)):
        if finding.state != "green":
            about.setdefault(
                (finding.check, finding.state, finding.title, _said(finding)), []
            ).append(finding.about)
    return [
        [check, state, title, _shortened(names), said]
        for (check, state, title, said), names in about.items()
    ]


def _said(finding: Finding) -> str:
    return (
        "" if isinstance(finding.reading, Missing) and finding.state == "unknown" else finding.said
    )


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def cost_blocks(result: Cost) -> list[Block]:
    """The cost a day of each way to serve, its parts, its sensitivity to each input, and the origin
    of each number.
    """
    parts = [
        [way.name, component.name, f"{component.amount.value:,.4g}", component.arithmetic]
        for way in result.ways
        for component in way.parts
    ]
    levels = [
        [
            level_cost.level,
            _runs(level_cost.runs_a_day),
            _shown(level_cost.a_day),
            level_cost.arithmetic,
        ]
        for level_cost in result.levels
    ]
    inputs = [
        [name, _shown(r), _origin(r), r.source if isinstance(r, Number) else r.reason]
        for name, r in result.inputs.items()
    ]
    ways = [[way.name, _shown(way.total)] for way in result.ways]
    tables = [
        Table(f"{result.currency} a day", ("way", "total"), ways),
        Table("Parts of the totals", ("way to serve", "part", result.currency, "formula"), parts),
        Table("What each level costs a day", ("level", "runs a day", "cost", "formula"), levels),
        Table("Every input", ("symbol", "value", "origin", "source"), inputs),
    ]
    return [Text(result.sentence), *(table for table in tables if table.rows)]


def _runs(runs: float | None) -> str:
    return f"{runs:,.4g}" if runs else ""


def _shown(reading: Reading) -> str:
    return (
        str(reading)
        if isinstance(reading, Missing)
        else f"{reading.value:,.6g} {reading.unit}".strip()
    )


def _origin(reading: Reading) -> str:
    return "not measured" if isinstance(reading, Missing) else reading.origin
