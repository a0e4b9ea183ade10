"""The recommendation in a product manager's words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headwater.pages import measured_levels
from headwater.pages.level_gaps import Choice, Days
from headwater.pages.wording import (
    count,
    listed,
    metric_label,
    number,
    places,
    share,
)
from headwater.results.backtest_result import MODES, BacktestResult, LevelResult, Mode
from headwater.results.estimate import Comparison

_RUN: Mapping[Mode, str] = {
    "no history": "Use the request alone",
    "batch": "Run it as a job",
    "hourly": "Run it as a job",
    "streaming": "Build a stream",
    "at request time": "Compute features at request time",
}
_BUILD: Mapping[Mode, str] = {
    "no history": "features of history",
    "batch": "features of history",
    "hourly": "an hourly job",
    "streaming": "a stream",
    "at request time": "a stream",
}
# metrics that have a sentence, the plainest first
_WORDED = ("precision@", "hit_rate@", "mae", "accuracy", "auc")
_OWN_NAMES = frozenset({"daily", "hourly", "nightly", "weekly"})
_NO_OUTCOME = frozenset({"", "label", "target", "y", "outcome"})
_BARE = frozenset({"", "labels", "rows", "examples", "outcomes", "targets"})
_VERBS = {"has": "have", "had": "had", "will": "will", "did": "did"}


def to_run(result: BacktestResult, level: str, baseline: str) -> str:
    """What to do, from what was measured: the level to run, and what not to build.

    A level that serves already is kept: "Stay with daily features; do not build an hourly job or a
    stream."
    """
    by_name = {level_result.name: level_result for level_result in result.levels}
    after = list(by_name)[list(by_name).index(level) + 1 :]
    measured = measured_levels.measured(result)
    fresher = [by_name[name] for name in after if name in measured]
    if by_name[level].given:  # it is not known what the level reads
        named = (
            f"Stay with {level}"
            if level == baseline
            else f"Run it {level}"
            if level in _OWN_NAMES
            else f"Use {level}"
        )
        return f"{named}{'; fresher predictions are not needed' if fresher else ''}."
    blind = [by_name[name] for name in after if name not in measured]
    mode = by_name[level].mode
    spared = [
        _spared(mode, level_result, blind)
        for level_result in fresher
        if MODES.index(level_result.mode) > MODES.index(mode)
    ]
    needless = (
        f"{listed([level_result.name for level_result in fresher])} features are not needed"
        if blind
        else "fresher features are not needed"
    )
    rest = (
        f"; do not build {listed(list(dict.fromkeys(spared)), 'or')}"
        if spared
        else f"; {needless}"
        if fresher
        else ""
    )
    return f"{_lead(level, mode, baseline)}{rest}."


def _spared(mode: Mode, fresher: LevelResult, blind: Sequence[LevelResult]) -> str:
    """The part that is not built for a fresher level; of a word that a level which was not measured
    goes by too, the level's name.
    """

    def built(level: LevelResult) -> str:
        return (
            "features at request time"
            if (mode, level.mode) == ("streaming", "at request time")
            else _BUILD[level.mode]
        )

    word = built(fresher)
    alike = any(built(level) == word for level in blind) or (blind and word == _BUILD["batch"])
    return f"{fresher.name} features" if alike else word


def _lead(level: str, mode: Mode, baseline: str) -> str:
    if level == baseline:
        return (
            "Stay with the request alone" if mode == "no history" else f"Stay with {level} features"
        )
    if mode in ("batch", "hourly") and level in _OWN_NAMES:
        return f"Run it {level}"
    if mode == "no history":
        return _RUN[mode]
    return f"{_RUN[mode]} ({level})"


def not_decided(choice: Choice, baseline: str) -> str:
    """That the data do not decide, between which levels, what would, and what to run until then.

    >>> not_decided(Choice("", ["daily", "hourly"], until="daily", days=Days(91.4, 200.0)), "daily")
    'Cannot decide between daily and hourly: about 91 to 200 more days would. Until then stay with daily.'
    >>> not_decided(
    ...     Choice("", ["daily", "hourly"], until="daily", days=Days(91.4, 200.0, refits=True)),
    ...     "daily",
    ... ).partition(": ")[2]
    'about 91 to 200 more days would, and more refits may. Until then stay with daily.'
    >>> close = Days(math.inf, math.inf, ["hourly", "minute"])
    >>> not_decided(
    ...     Choice("", ["hourly", "minute"], until="hourly", days=close), "daily"
    ... ).partition(". ")[2]
    'Until then run hourly, which is shown to be better than daily.'
    """  # noqa: E501 (output as it is printed)
    stay = choice.until in ("", baseline)
    until = (
        f"stay with {baseline}"
        if stay
        else f"run {choice.until}, which is shown to be better than {baseline}"
    )
    if choice.reason:
        return f"Cannot decide: {choice.reason}." + ("" if stay else f" Until then {until}.")
    between = f" between {listed(choice.open)}" if len(choice.open) > 1 else ""
    return f"Cannot decide{between}: {_would(choice.days)}. Until then {until}."


def _would(days: Days | None) -> str:
    """What would decide."""
    if days is None or math.isnan(days.least):
        return "more days of test would"
    if not math.isinf(days.least):
        return (
            f"{more_days(days.least, days.most)} "
            f"would{', and more refits may' if days.refits else ''}"
        )
    if days.training:
        return (
            "more refits, or more days of training, may. More days of test alone would not, since "
            "models that are trained again differ by as much"
        )
    close = (
        f"the difference between {listed(days.close)} is close to break-even, and "
        if days.close
        else ""
    )
    return f"{close}even ten years of test would not"


def more_days(least: float, most: float) -> str:
    """How many more days decide, in half of the cases and in four of five; empty where no number
    does.

    >>> (
    ...     more_days(91.4, 204.0),
    ...     more_days(370.0, math.inf),
    ...     more_days(0.6, 1.1),
    ...     more_days(math.nan, math.nan),
    ... )
    ('about 91 to 200 more days', 'at least about 370 more days', 'about 1 more day', '')
    """
    if not math.isfinite(least):
        return ""
    first, last = _rounded(least), _rounded(most) if math.isfinite(most) else math.inf
    days = "more day" if first == last == 1 else "more days"
    if math.isinf(last):
        return f"at least about {count(int(first))} {days}"
    return (
        f"about {count(int(first))} {days}"
        if first == last
        else f"about {count(int(first))} to {count(int(last))} {days}"
    )


def _rounded(days: float) -> float:
    """Days to two digits.

    >>> _rounded(0.3), _rounded(91.4), _rounded(1234.0)
    (1, 91, 1200.0)
    """
    return max(1, round(days)) if days < 100 else round(days, 1 - math.floor(math.log10(days)))


def in_practice(result: BacktestResult, level: str, baseline: str) -> str:
    """What the level changes for those who act on predictions; empty where no metric says it.

    Of a level that serves already, what the freshest one that can be measured would change.
    """
    before, after = _compared(result, level, baseline)
    values = [
        {level_result.name: level_result.metrics for level_result in result.levels}[name]
        for name in (before, after)
    ]
    name = practical_metric(result, level, baseline)
    if before == after or name not in values[0] or name not in values[1]:
        return ""
    return _of_metric(
        result,
        name,
        values[0][name].value,
        values[1][name].value,
        after if level == baseline else "",
    )


def _compared(result: BacktestResult, level: str, baseline: str) -> tuple[str, str]:
    """The two levels that the sentence compares: the baseline with the one to run, or where it
    stays with the freshest measured one.
    """
    return baseline, level if level != baseline else measured_levels.measured(result)[-1]


def practical_metric(result: BacktestResult, level: str, baseline: str) -> str:
    """The metric of the sentence for those who act on predictions: the headline if it has words,
    else another metric with words, else "".

    Only the headline is judged. Another metric is left out where it would contradict the
    recommendation: it falls at the level to run, or it rises by more than is worth having at a
    level that is not to be run. level: to run, "" if undecided.
    """
    names = dict.fromkeys([result.headline, *(result.levels[0].metrics if result.levels else ())])
    if _kind(result.headline) in _WORDED and result.headline != "auc":
        return result.headline
    agree = [
        name
        for name in names
        if _kind(name) in _WORDED
        and (name == result.headline or _agrees(result, name, level, baseline))
    ]
    return min(agree, key=lambda name: _WORDED.index(_kind(name)), default="")


def shown_metric(result: BacktestResult) -> str:
    """The metric of the first line's figures, which tables show too; "" if there is none."""
    recommendation = result.recommendation
    return (
        practical_metric(result, recommendation.level, recommendation.baseline)
        if recommendation is not None
        else practical_metric(result, "", "")
    )


def ordered_metrics(result: BacktestResult) -> list[str]:
    """The metrics as tables order them: the headline, that of the first line's figures, the cost,
    then the others.
    """
    practical = shown_metric(result)
    names = dict.fromkeys(name for level in result.levels for name in level.metrics)
    return sorted(
        names, key=lambda name: (name != result.headline, name != practical, name != "cost")
    )


def _agrees(result: BacktestResult, metric: str, level: str, baseline: str) -> bool:
    """Whether a metric that is not judged moves as the recommendation says."""
    before, after = _compared(result, level, baseline)
    values = {level_result.name: level_result.metrics.get(metric) for level_result in result.levels}
    was, becomes = values.get(before), values.get(after)
    if not level or was is None or becomes is None:
        return True
    gain = (becomes.value - was.value) * (1 if result.higher_is_better.get(metric, True) else -1)
    return gain > 0 if level != baseline else gain <= result.min_lift.get(metric, 0.0)


def _kind(metric: str) -> str:
    """A metric without what it is evaluated at: "precision@" of "precision@1%"."""
    name, at, _ = metric.partition("@")
    return name + at


def _of_metric(result: BacktestResult, metric: str, was: float, becomes: float, could: str) -> str:
    """A metric as a sentence; `could` is the level that is not run."""
    if not math.isfinite(was + becomes):
        return ""
    if metric == "mae":
        decimals = places(result, metric)
        size = f"A prediction is off by {number(was if could else becomes, decimals)} on average"
        return (
            f"{size}; with {could} features by {number(becomes, decimals)}."
            if could
            else f"{size} instead of {number(was, decimals)}."
        )
    total, before, after = _counted(was, becomes)
    first = count(before if could else after)
    if metric.startswith("precision@"):
        said = f"Of {total} {requests(result)} you flag, {first} {outcome(result)}"
    elif metric.startswith("hit_rate@"):
        said = (
            f"Of {total} lists, {first} hold what was wanted among the first "
            f"{metric.partition('@')[2]}"
        )
    elif metric == "accuracy":
        said = f"Of {total} {requests(result)}, {first} get the right class"
    elif metric == "auc":
        said = (
            f"Of {total} pairs of {requests(result)} with different outcomes, {first} are in the "
            "right order"
        )
    else:
        return ""
    if could:
        return f"{said}; with {could} features {'as many' if before == after else count(after)}."
    return f"{said} instead of {count(before)}." if before != after else ""


def _counted(was: float, becomes: float) -> tuple[str, int, int]:
    """Two shares as counts out of 100, or out of more where they would read alike or as nearly
    nothing.

    >>> _counted(0.35, 0.63), _counted(0.021, 0.024), _counted(0.5, 0.5)
    (('100', 35, 63), ('1,000', 21, 24), ('100', 50, 50))
    """
    for total in (100, 1_000, 10_000):
        before, after = round(total * was), round(total * becomes)
        if before != after:
            return count(total), before, after
    return "100", round(100 * was), round(100 * becomes)


def requests(result: BacktestResult) -> str:
    """What the labels are of, if their name is a plural, such as "flights"; else "requests"."""
    name = result.labels.replace("_", " ")
    return name if name.endswith("s") and name.rpartition(" ")[2] not in _BARE else "requests"


def outcome(result: BacktestResult) -> str:
    """The positive outcome as a predicate: "are late", of a label named `late`, `late15` or
    `is_late`; "have churned", of `has_churned`; else "are positive".
    """
    name = (
        result.label.removeprefix("is_")
        .removeprefix("was_")
        .rstrip("0123456789_")
        .replace("_", " ")
    )
    verb, _, rest = name.partition(" ")
    if name in _NO_OUTCOME or len(name) < 3:
        return "are positive"
    return f"{_VERBS[verb]} {rest}" if rest and verb in _VERBS else f"are {name}"


def least_gain(result: BacktestResult, step: Comparison) -> float:
    """The least gain of a step that is worth having: what pays for its level where money is known,
    else the least lift worth having.
    """
    recommendation = result.recommendation
    if recommendation is not None and (step.from_, step.metric) == (
        recommendation.baseline,
        result.headline,
    ):
        return recommendation.break_even.get(step.to, result.min_lift.get(step.metric, 0.0))
    return result.min_lift.get(step.metric, 0.0)


def by_money(result: BacktestResult, baseline: str, over: Mapping[str, float], source: str) -> str:
    """The gain over the baseline that pays for each fresher level, in a sentence. over: by level;
    source: where it comes from.
    """
    decimals = places(result, result.headline)
    gains = listed([f"{number(gained, decimals)} for {name}" for name, gained in over.items()])
    return (
        f"Break-even over {baseline} is a gain in {metric_label(result.headline)} of {gains}, by "
        f"{source}."
    )


def missed(covered: float) -> str:
    """That a level answers a part of the requests only; empty if it answers all."""
    return f"It answers {share(covered)} of the requests." if covered < 1 else ""
