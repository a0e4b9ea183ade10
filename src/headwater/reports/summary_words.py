"""The page that gets forwarded, as plain sentences without names of metrics: what to do, what it
changes, money, and how sure that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.reports import audit_words, evidence_words, measured_levels, wording
from headwater.reports import recommendation_words as words
from headwater.reports.experiment_weeks import experiment_weeks
from headwater.reports.recommending import days_tested, worth_of
from headwater.results.assessment_parts import Network
from headwater.results.backtest_result import BacktestResult
from headwater.results.decision_result import Decision
from headwater.results.measurement import Missing, Number, Reading, amount
from headwater.results.recommendation_result import Recommendation

_REPLAY = (
    "A backtest replays the past. Network effects are not covered: people who react to the "
    "predictions, and {requests} that compete for one thing."
)

_SHOWN = 5  # levels in a sentence
_WEEKS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_MOST_WEEKS = 26  # the world of a longer test is not that of the backtest any more


@dataclass(frozen=True)
class Bar:
    """A level of the picture: its name, its value out of `total`, whether it is the one to run."""

    name: str
    value: int
    total: int
    chosen: bool


@dataclass(frozen=True)
class ForwardedSummary:
    """One printable page.

    about: the model, the test and the date. first: what to do. practice: what that changes for
    those who act on predictions; may be empty. bars: the same as a picture. points: headings, each
    with a sentence or two.
    """

    about: str
    first: str
    practice: str
    bars: Sequence[Bar]
    points: Sequence[tuple[str, str]]

    def __str__(self) -> str:
        return self.first


@dataclass(frozen=True)
class Assessed:
    """What an assessment knows beyond its backtest."""

    decision: Decision
    network: Network
    unknown_checks: int


def of_backtest(result: BacktestResult, assessed: Assessed | None = None) -> ForwardedSummary:
    """The summary of a backtest; `assessed`: with what an assessment adds."""
    recommendation = result.recommendation
    about = _about(result)
    if recommendation is None:
        return ForwardedSummary(
            about, wording.verdict(result), "", [], [("Next", "Run the backtest again.")]
        )
    if recommendation.withheld:
        fix = "Fix what the audit found, then run the backtest again."
        if any(finding.severity == "WITHDRAWN" for finding in result.audit.blocking):
            fix = (
                "Find out why production delivers less than was promised, then run the backtest "
                "again."
            )
        why = [("Why", f"{finding.message.rstrip('.')}.") for finding in result.audit.blocking]
        unsure = ("How sure we are", "Not sure: no figure may be used.")
        return ForwardedSummary(
            about, recommendation.sentence, "", [], [*why, ("Next", fix), unsure, _checked(result)]
        )
    points = [
        ("What we know", _known_so_far(result, recommendation)),
        ("Money", _money(result, recommendation, assessed)),
        ("Fresher than that", _fresher(result, recommendation)),
        ("In the way", _barred(assessed)),
        ("Not covered", _not_covered(result, assessed)),
        ("Experiment", " ".join(evidence_words.of_experiments(result))),
        ("Next", _next(result, recommendation, assessed)),
        ("How sure we are", _how_sure(result, recommendation)),
        ("What it depends on", " ".join(audit_words.conditions_in_short(result.audit))),
        _checked(result),
    ]
    return ForwardedSummary(
        about,
        recommendation.sentence,
        _practice(result, recommendation),
        _bars(result, recommendation),
        [point for point in points if point[1]],
    )


def _about(result: BacktestResult) -> str:
    split = result.split
    tested = (
        f"tested on {wording.count(split.test_rows)} {words.requests(result)}, {split.split[:10]} "
        f"to {split.test_end[:10]}"
    )
    return " · ".join(text for text in (result.model, tested, result.at[:10]) if text)


def _practice(result: BacktestResult, recommendation: Recommendation) -> str:
    if (
        recommendation.in_practice
        or recommendation.answer != "run"
        or recommendation.level == recommendation.baseline
    ):
        return recommendation.in_practice
    return (
        "What that changes for those who act on the predictions was not counted; the report has "
        f"the figures. {_in_words(result, recommendation)}"
    ).strip()


def _in_words(result: BacktestResult, recommendation: Recommendation) -> str:
    """The gain as a share of what serves today, for a metric without words."""
    values = {level.name: level.metrics.get(result.headline) for level in result.levels}
    was, becomes = values.get(recommendation.baseline), values.get(recommendation.level)
    if (
        was is None
        or becomes is None
        or recommendation.level == recommendation.baseline
        or not was.value
    ):
        return ""
    better = (becomes.value / was.value - 1) * (
        1 if result.higher_is_better.get(result.headline, True) else -1
    )
    return (
        f"Its measure of quality gets {100 * better:.0f} % better."
        if math.isfinite(better) and better > 0
        else ""
    )


def _bars(result: BacktestResult, recommendation: Recommendation) -> list[Bar]:
    """The baseline, the level to run and fresher ones, by the counts of the sentence."""
    metric = words.practical_metric(result, recommendation.level, recommendation.baseline)
    counted = words.counts(result, metric, recommendation)
    if counted is None or not recommendation.in_practice or recommendation.level == "":
        return []
    names = measured_levels.measured(result)
    shown = [
        recommendation.baseline,
        *(
            name
            for name in names[names.index(recommendation.baseline) + 1 :]
            if name != recommendation.baseline
        ),
    ]
    values = {
        level.name: level.metrics[metric].value
        for level in result.levels
        if metric in level.metrics
    }
    chosen = shown if recommendation.level in shown else [*shown, recommendation.level]
    return [
        Bar(n, round(counted.total * values[n]), counted.total, n == recommendation.level)
        for n in chosen
        if math.isfinite(values.get(n, math.nan))
    ]


def _known_so_far(result: BacktestResult, recommendation: Recommendation) -> str:
    """Of a result that does not decide: the counts of each level."""
    metric = words.practical_metric(result, "", recommendation.baseline)
    names = [
        level.name
        for level in result.levels
        if level.name == recommendation.baseline or level.name in measured_levels.measured(result)
    ]
    if recommendation.answer == "run" or recommendation.baseline not in names:
        return ""
    return words.each_level(result, metric, names[names.index(recommendation.baseline) :][:_SHOWN])


def _money(
    result: BacktestResult, recommendation: Recommendation, assessed: Assessed | None
) -> str:
    if recommendation.answer != "run":
        return "Not computed: no decision was made yet."
    if recommendation.level == recommendation.baseline:
        return "Nothing changes, so nothing is spent and nothing is earned."
    costs = _costs(result, recommendation, assessed)
    earned = _earned(result, recommendation, assessed)
    if not costs and not earned:
        return (
            "Not known: no one has said what a right and a wrong decision are worth, or what the "
            "jobs cost."
        )
    return (
        f"{costs or 'What it costs is not known.'} "
        f"{earned or 'What it earns is not known: no one has said what a decision is worth.'}"
    )


def _costs(
    result: BacktestResult, recommendation: Recommendation, assessed: Assessed | None
) -> str:
    extra: Reading = Missing("") if assessed is None else assessed.decision.extra
    costs = {} if result.value is None else result.value.costs
    if (
        isinstance(extra, Missing)
        and recommendation.level in costs
        and recommendation.baseline in costs
    ):
        extra = Number(
            costs[recommendation.level] - costs[recommendation.baseline], "", "given", ""
        )
    if isinstance(extra, Missing):
        return ""
    currency = extra.unit.partition("/")[0]
    size = f"{amount(abs(extra.value))} {currency}".strip()
    compared = "more" if extra.value >= 0 else "less"
    return f"It costs {size} a day {compared} than {recommendation.baseline}."


def _earned(
    result: BacktestResult, recommendation: Recommendation, assessed: Assessed | None
) -> str:
    """What the level earns, with its range; of given costs of errors, what it saves."""
    value = result.value
    metric = "cost" if value is None else worth_of(value).metric
    step = next(
        (
            s
            for s in result.comparisons
            if (s.from_, s.to, s.metric) == (recommendation.baseline, recommendation.level, metric)
        ),
        None,
    )
    if step is not None and value is not None:
        low, point, high = (
            worth_of(value).of_gain(gain) for gain in (step.low, step.delta, step.high)
        )
        return (
            f"It earns {amount(point)} a day{_range(low, high)}, by what a right and a wrong "
            "decision are worth."
        )
    if step is not None:
        return (
            f"Per 1,000 {words.requests(result)}, errors cost {amount(step.delta)} "
            f"less{_range(step.low, step.high)}."
        )
    earns: Reading = Missing("") if assessed is None else assessed.decision.earns
    return "" if isinstance(earns, Missing) else f"It earns {amount(earns.value)} a day."


def _range(low: float, high: float) -> str:
    return f" [{amount(low)} to {amount(high)}]" if math.isfinite(low + high) else ""


def _fresher(result: BacktestResult, recommendation: Recommendation) -> str:
    """What still fresher features would add at most."""
    names = measured_levels.measured(result)
    if (
        recommendation.answer != "run"
        or recommendation.level not in names
        or recommendation.level == names[-1]
    ):
        return ""
    fresher = names[names.index(recommendation.level) + 1 :]
    most = words.adds_at_most(result, recommendation, fresher)
    worse = [name for name in fresher if _harms(result, recommendation.level, name)]
    if worse:
        return f"{_upper(wording.listed(worse))} features make it worse."
    return most or f"{_upper(wording.listed(fresher))} features add less than is worth building."


def _harms(result: BacktestResult, level: str, fresher: str) -> bool:
    steps = [
        s
        for s in result.comparisons
        if (s.from_, s.to, s.metric) == (level, fresher, result.headline)
    ]
    return any(step.high < 0 for step in steps)


def _barred(assessed: Assessed | None) -> str:
    if assessed is None or not assessed.decision.barred:
        return ""
    views = [barred.view for barred in assessed.decision.barred]
    shown = wording.listed([*views[:3], *([f"{len(views) - 3} more"] if len(views) > 3 else [])])
    verb = "is" if len(views) == 1 else "are"
    why = assessed.decision.barred[0].why.rstrip(".")
    return f"Not yet that fresh {verb} {shown}, since {why}. Until then: {assessed.decision.until}."


def _not_covered(result: BacktestResult, assessed: Assessed | None) -> str:
    lines = []
    if assessed is not None and assessed.network.effects:
        lines.append(
            "Network effects: " + "; ".join(effect.why for effect in assessed.network.effects) + "."
        )
    elif assessed is None or assessed.network.unanswered:
        lines.append(_REPLAY.format(requests=words.requests(result)))
    recommendation = result.recommendation
    limits = (
        []
        if recommendation is None
        else [line for line in recommendation.limits if not line.startswith("Break-even")]
    )
    more = [*limits, *([result.outcomes] if result.outcomes else [])]
    if result.not_in_training:
        more.append(f"Not in the test: {wording.listed(result.not_in_training)}.")
    if assessed is not None and assessed.unknown_checks:
        more.append(f"{assessed.unknown_checks} checks of your systems are not answered.")
    return " ".join([*lines, *more[:2]]) or "Nothing that was asked about."


def _next(result: BacktestResult, recommendation: Recommendation, assessed: Assessed | None) -> str:
    if recommendation.answer != "run":
        more = words.more_days(recommendation.days, recommendation.days_most)
        return (
            f"Collect {more}, then test again."
            if more
            else "Remove the reason in the first line, then test again."
        )
    if recommendation.level == recommendation.baseline:
        return "Nothing to build. Test again when the data or the decision changes."
    kind = (
        ""
        if assessed is None or assessed.network.experiment.startswith("not known")
        else assessed.network.experiment.partition(" (")[0]
    )
    named = "An A/B test" if kind in ("", "user-level A/B") else _upper(kind)
    return (
        f"{named} in production, {recommendation.level} against {recommendation.baseline}, "
        f"{_length(result, recommendation, named)}."
    )


def _length(result: BacktestResult, recommendation: Recommendation, named: str) -> str:
    """How long the test runs; that of other kinds than an A/B test depends on regions or clusters,
    which a backtest does not know.
    """
    weeks = experiment_weeks(result, recommendation) if named.endswith("A/B test") else None
    if weeks is None or weeks > _MOST_WEEKS:
        return "for two weeks or longer; `headwater experiment plan` computes how long"
    return (
        f"for {_WEEKS.get(weeks, str(weeks))} weeks; `headwater experiment plan` checks that "
        "against the history of its units"
    )


def _how_sure(result: BacktestResult, recommendation: Recommendation) -> str:
    parts = [
        words.sure_range(result, recommendation)
        if recommendation.answer == "run"
        else "Not sure enough to choose."
    ]
    days = days_tested(result)
    if math.isfinite(days):
        parts.append(f"Tested on {days:,.0f} days that the model had not seen.")
    if recommendation.answer == "run" and (differing := wording.exceptions(result)):
        names = [location.rpartition(" (")[0] for location, _ in differing]
        parts.append(f"Not the same everywhere; see the report for {wording.listed(names)}.")
    return " ".join(part for part in parts if part)


def _checked(result: BacktestResult) -> tuple[str, str]:
    """Which checks ran, which questions are open, who accepted a suspicion, and who ran it; with a
    place for the name of a reader.
    """
    audit = result.audit
    ran = len(audit.checks_run)
    parts = [
        f"headwater's audit for leaks ran {ran} {'check' if ran == 1 else 'checks'}"
        if ran
        else "No check for leaks could run"
    ]
    if audit.questions:
        parts.append(
            f"{len(audit.questions)} "
            f"{'question is' if len(audit.questions) == 1 else 'questions are'} open"
        )
    if audit.blocking:
        parts.append(
            f"{len(audit.blocking)} "
            f"{'finding makes' if len(audit.blocking) == 1 else 'findings make'} the figures "
            "unusable"
        )
    parts += [
        f"{f.acknowledged.author} accepted: {f.acknowledged.reason}"
        for f in audit.acknowledged
        if f.acknowledged is not None
    ]
    by = f" Run by {result.by}." if result.by else ""
    return (
        "Who checked",
        (
            f"{'; '.join(part.rstrip('.') for part in parts)}.{by} Read and agreed by: "
            "____________________"
        ),
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
