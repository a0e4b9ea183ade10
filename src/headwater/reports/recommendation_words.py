"""The recommendation in a product manager's words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headwater.reports.wording import ARROW, count, gain, listed, metric_label, number, places, share
from headwater.results.backtest_result import MODES, BacktestResult, LevelResult, Mode

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
_WORDED = ("precision@", "hit_rate@", "mae", "accuracy", "auc")  # metrics that have a sentence, the plainest first
_OWN_NAMES = frozenset({"daily", "hourly", "nightly", "weekly"})
_NO_OUTCOME = frozenset({"", "label", "target", "y", "outcome"})
_BARE = frozenset({"", "labels", "rows", "examples"})


def to_run(result: BacktestResult, level: str, baseline: str) -> str:
    """What to do: run a level, and what not to build.

    A level that serves already is kept: "Stay with daily features; do not build an hourly job or a stream."
    """
    by_name = {known.name: known for known in result.levels}
    mode = by_name[level].mode
    fresher = [known.mode for known in result.levels[[*by_name].index(level) + 1 :]]
    if _unknown(by_name[level]):  # of scores that were given, it is not known what the level reads
        named = f"Stay with {level}" if level == baseline else f"Run it {level}" if level in _OWN_NAMES else f"Use {level}"
        return f"{named}{'; fresher predictions are not needed' if fresher else ''}."
    spared = list(dict.fromkeys(_spared(mode, other) for other in fresher if MODES.index(other) > MODES.index(mode)))
    rest = f"; do not build {listed(spared, 'or')}" if spared else "; fresher features are not needed" if fresher else ""
    return f"{_lead(level, mode, baseline)}{rest}."


def _unknown(level: LevelResult) -> bool:
    return level.kind == "batch" and level.age_seconds is None


def _spared(mode: Mode, fresher: Mode) -> str:
    if mode == "streaming" and fresher == "at request time":
        return "features at request time"
    return _BUILD[fresher]


def _lead(level: str, mode: Mode, baseline: str) -> str:
    if level == baseline:
        return "Stay with the request alone" if mode == "no history" else f"Stay with {level} features"
    if mode in ("batch", "hourly") and level in _OWN_NAMES:
        return f"Run it {level}"
    if mode == "no history":
        return _RUN[mode]
    return f"{_RUN[mode]} ({level})"


def not_decided(levels: Sequence[str], until: str, reason: str, days: float, refitted: bool = False) -> str:  # noqa: FBT001, FBT002 (of the result)
    """That the data do not decide, between which levels, and what would. until: what to run meanwhile, in words.

    refitted: intervals include the variance between refits, which more of them estimate better.

    >>> not_decided(["daily", "hourly"], "stay with daily", "", 91.4)
    'Cannot decide between daily and hourly: about 91 more days would. Until then stay with daily.'
    >>> not_decided(["daily", "hourly"], "stay with daily", "", 91.4, refitted=True)
    'Cannot decide between daily and hourly: about 91 more days, or more refits, would. Until then stay with daily.'
    """
    if reason:
        return f"Cannot decide: {reason}."
    between = f" between {listed(levels)}" if len(levels) > 1 else ""
    refits = ", or more refits," if refitted and not math.isinf(days) else ""
    return f"Cannot decide{between}: {_more_days(days, refits)}. Until then {until}."


def _more_days(days: float, refits: str) -> str:
    if math.isnan(days):
        return f"more days of test{refits} would"
    if math.isinf(days):
        return "the difference is close to break-even, and even ten years of test would not"
    rounded = max(1, round(days)) if days < 100 else round(days, 1 - math.floor(math.log10(days)))
    return f"about {count(int(rounded))} more {'day' if rounded == 1 else 'days'}{refits} would"


def in_practice(result: BacktestResult, level: str, baseline: str) -> str:
    """What the level changes for those who act on predictions; empty where no metric says it.

    Of a level that serves already, what the freshest one would change.
    """
    now, other = (level, baseline) if level != baseline else (baseline, result.levels[-1].name)
    if now == other:
        return ""
    before, after = (other, now) if level != baseline else (now, other)
    values = [{known.name: known.metrics for known in result.levels}[name] for name in (before, after)]
    name = practical_metric(result)
    if name not in values[0] or name not in values[1]:
        return ""
    return _of_metric(result, name, values[0][name].value, values[1][name].value, after if level == baseline else "")


def practical_metric(result: BacktestResult) -> str:
    """The metric that the sentence for those who act on predictions is about: the headline where it has words, else one that has; or ""."""
    names = [result.headline, *(result.levels[0].metrics if result.levels else ())]
    worded = [name for name in names if _kind(name) in _WORDED]
    if _kind(result.headline) in _WORDED and result.headline != "auc":
        return result.headline
    return min(worded, key=lambda name: _WORDED.index(_kind(name)), default="")


def _kind(metric: str) -> str:
    """A metric without what it is evaluated at: "precision@" of "precision@1%"."""
    name, at, _ = metric.partition("@")
    return name + at


def _of_metric(result: BacktestResult, metric: str, was: float, becomes: float, could: str) -> str:
    """A metric as a sentence; `could` is the level that is not run."""
    if not math.isfinite(was + becomes):
        return ""
    if metric.startswith("precision@"):
        of, now = f"Of 100 {requests(result)} you flag", f"{round(100 * becomes)} {outcome(result)}"
        if could:
            return f"{of}, {round(100 * was)} {outcome(result)}; with {could} features {_as_many(was, becomes)}."
        return f"{of}, {now} instead of {round(100 * was)}."
    if metric.startswith("hit_rate@"):
        of = f"Of 100 lists, {round(100 * (was if could else becomes))} hold what was wanted among the first {metric.partition('@')[2]}"
        return f"{of}; with {could} features {_as_many(was, becomes)}." if could else f"{of} instead of {round(100 * was)}."
    if metric == "mae":
        decimals = places(result, metric)
        size = f"A prediction is off by {number(was if could else becomes, decimals)} on average"
        return f"{size}; with {could} features by {number(becomes, decimals)}." if could else f"{size} instead of {number(was, decimals)}."
    if metric == "accuracy":
        right = f"Of 100 {requests(result)}, {round(100 * (was if could else becomes))} get the right class"
        return f"{right}; with {could} features {_as_many(was, becomes)}." if could else f"{right} instead of {round(100 * was)}."
    if metric == "auc":
        pairs = (
            f"Of 100 pairs of {requests(result)} with different outcomes, {round(100 * (was if could else becomes))} are in the right order"
        )
        return f"{pairs}; with {could} features {_as_many(was, becomes)}." if could else f"{pairs} instead of {round(100 * was)}."
    return ""


def _as_many(was: float, becomes: float) -> str:
    return "as many" if round(100 * was) == round(100 * becomes) else str(round(100 * becomes))


def requests(result: BacktestResult) -> str:
    """What the labels are of, if their name is a plural, such as "flights"; else "requests"."""
    name = result.labels.replace("_", " ")
    return name if name.endswith("s") and name not in _BARE else "requests"


def outcome(result: BacktestResult) -> str:
    """The positive outcome as a predicate: "are late", of a label named `late`, `late15` or `is_late`; else "are positive"."""
    name = result.label.removeprefix("is_").removeprefix("was_").rstrip("0123456789_").replace("_", " ")
    return "are positive" if name in _NO_OUTCOME or len(name) < 3 else f"are {name}"


def evidence(result: BacktestResult, level: str, baseline: str) -> str:
    """The gain of a level over the baseline with its interval; empty for the baseline."""
    step = next((s for s in result.comparisons if (s.from_, s.to, s.metric) == (baseline, level, result.headline)), None)
    if step is None:
        return ""
    return f"{metric_label(result.headline)}, {baseline} {ARROW} {level}: {gain(step, places(result, result.headline))}."


def unmeasurable(levels: Sequence[LevelResult]) -> str:
    """That some levels could not be told from staler ones; empty if there are none."""
    names = [level.name for level in levels]
    if not names:
        return ""
    return f"Whether {listed(names, 'or')} would help cannot be measured on these data: timestamps are too coarse."


def missed(covered: float) -> str:
    """That a level answers a part of the requests only; empty if it answers all."""
    return f"It answers {share(covered)} of the requests." if covered < 1 else ""
