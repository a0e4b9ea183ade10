"""Numbers and sentences of a result; every rendering uses these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from headwater.results.backtest_result import BacktestResult, LevelResult, SliceResult
from headwater.results.estimate import Estimate, Paired

MINUS = "\N{MINUS SIGN}"
ARROW = "\N{RIGHTWARDS ARROW}"
NO_VALUE = "\N{EN DASH}"

_LABELS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "mae": "MAE",
    "rmse": "RMSE",
    "wape": "WAPE",
    "calibration": "calibration error",
    "mape": "MAPE",
    "macro_f1": "macro F1",
    "auc_ovr": "AUC, one against the rest",
    "cost": "cost per 1,000 requests",
}
_SHORT = {"ndcg": "NDCG", "mrr": "MRR"}  # before an @

_MEANINGS = {
    "auc": "AUC is the share of positive and negative pairs that the model puts in the right order: 0.5 is guessing, 1 is perfect.",
    "average_precision": "Average precision is the precision averaged over all alarm rates: the positive rate is guessing, 1 is perfect.",
    "log_loss": "Log loss is the mean negative log-likelihood of the outcomes; lower is better.",
    "brier": "The Brier score is the mean squared error of the scores; lower is better.",
    "mae": "MAE is the average size of the error, in the units of the label; lower is better.",
    "calibration": "The calibration error is the distance of scores from the observed rates; lower is better.",
    "wape": "WAPE is the sum of all errors as a share of the sum of all labels; lower is better.",
    "rmse": "RMSE is the error in the units of the label, large ones weighing more; lower is better.",
    "mape": "MAPE is the mean size of the error as a share of the label, over labels that are not 0; lower is better.",
    "accuracy": "Accuracy is the share of requests whose likeliest class is the right one.",
    "macro_f1": "Macro F1 is the mean over classes of F1, the harmonic mean of precision and recall.",
    "auc_ovr": "The mean over classes of the AUC of that class against all others: 0.5 is guessing, 1 is perfect.",
    "cost": "The cost of errors per 1,000 requests, at the threshold with the lowest cost on held-out training rows.",
    "ndcg": "NDCG is the relevance of the first items of a list, higher positions weighing more, over that of the best order: 1 is perfect.",
    "mrr": "MRR is the mean of 1 over the rank of the first relevant item, 0 if it is not among the first.",
    "hit_rate": "The hit rate is the share of lists with a relevant item among the first.",
    "recall": "Recall is the share of relevant items that are found.",
    "pinball": "The pinball loss is the error of a quantile forecast: errors below and above weigh as the quantile requires; lower is better.",
    "card_precision": "The share of the day's highest-scored cards that turn out to be fraudulent that day; detected cards are left out afterwards.",
}

_AGES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


def not_in_training(result: BacktestResult) -> list[str]:
    """A sentence about the features that no level reads; empty if there are none."""
    names = result.not_in_training
    sentence = f"not in training, since a third party without history= says {'it' if len(names) == 1 else 'them'}: {', '.join(names)}"
    return [sentence] if names else []


def metric_label(metric: str) -> str:
    """A metric's display name.

    >>> metric_label("auc"), metric_label("ndcg@10"), metric_label("precision@10%"), metric_label("my_metric")
    ('AUC', 'NDCG@10', 'precision@10%', 'my metric')
    """
    name, at, k = metric.partition("@")
    return _LABELS.get(metric, f"{_SHORT.get(name, name)}{at}{k}".replace("_", " "))


def metric_meaning(metric: str) -> str:
    """One sentence on what a metric measures; empty if the metric is not built in."""
    return _MEANINGS.get(metric.partition("@")[0], "")


def places(result: BacktestResult, metric: str) -> int:
    """How many decimals show a metric of this size to about four digits, the same for every level and step.

    The size is the largest value at any level, so that a column lines up: 3 decimals for an AUC, 2 for
    an error of 21.4 minutes, none for one of 12,345.
    """
    return places_of(level.metrics[metric].value for level in result.levels if metric in level.metrics)


def places_of(values: Iterable[float]) -> int:
    """How many decimals show values of this size to about four digits.

    >>> places_of([0.7, 0.75]), places_of([21.4]), places_of([12345.0]), places_of([])
    (3, 2, 0, 3)
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0.0:
        return 3
    return min(8, max(0, 3 - math.ceil(math.log10(largest)) + (largest > 1)))


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with a true minus sign; NaN gives a dash, and a value that rounds to zero has no sign.

    >>> number(0.1039, 3, signed=True), number(-1234.5, 1), number(-0.0001, 3, signed=True), number(float("nan"), 3)
    ('+0.104', '−1,234.5', '0.000', '–')
    """
    if not math.isfinite(value):
        return NO_VALUE
    text = f"{abs(value):,.{decimals}f}"
    if not any(digit in "123456789" for digit in text):
        return text
    return f"{MINUS if value < 0 else '+' if signed else ''}{text}"


def interval(low: float, high: float, decimals: int) -> str:
    """An interval in brackets; empty if it could not be computed.

    >>> interval(0.749, 0.78, 3), interval(float("nan"), float("nan"), 3)
    ('[0.749, 0.780]', '')
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, decimals)}, {number(high, decimals)}]"


def estimate(value: Estimate, decimals: int) -> str:
    """A value and its interval on one line."""
    return f"{number(value.value, decimals)} {interval(value.low, value.high, decimals)}".rstrip()


def gain(step: Paired, decimals: int) -> str:
    """A step's gain and its interval on one line."""
    return f"{number(step.delta, decimals, signed=True)} {interval(step.low, step.high, decimals)}".rstrip()


def duration(seconds: float | None) -> str:
    """A length of time in its largest fitting unit.

    >>> [duration(seconds) for seconds in (None, 0.0, 0.25, 63.0, 90.0, 57600.0, 172800.0)]
    ['–', '0 s', '250 ms', '1.1 min', '1.5 min', '16 h', '2 d']
    """
    if seconds is None or not math.isfinite(seconds):
        return NO_VALUE
    for size, unit in _AGES:
        if seconds >= size:
            amount = seconds / size
            return f"{amount:.1f}".removesuffix(".0") + f" {unit}" if amount < 10 else f"{amount:,.0f} {unit}"
    return "0 s"


def count(rows: int) -> str:
    """A number of rows, with separators."""
    return f"{rows:,}"


def share(fraction: float) -> str:
    """A share in per cent; only 1 is shown as 100 %, only 0 as 0 %.

    >>> share(1.0), share(0.9999), share(0.634), share(0.00004), share(0.0), share(float("nan"))
    ('100 %', '>99.9 %', '63.4 %', '<0.1 %', '0 %', '–')
    """
    if not math.isfinite(fraction):
        return NO_VALUE
    if 0 < fraction < 0.001:
        return "<0.1 %"
    if 0.999 < fraction < 1:
        return ">99.9 %"
    return f"{100 * fraction:.1f}".removesuffix(".0") + " %"


def steps(levels: Sequence[LevelResult], paired: Sequence[Paired], metric: str) -> list[Paired]:
    """The steps from each level to the next in one metric, without the jump from first to last."""
    names = [level.name for level in levels]
    by_ends = {(step.from_, step.to): step for step in paired if step.metric == metric}
    return [by_ends[pair] for pair in pairwise(names) if pair in by_ends]


def whole_way(result: BacktestResult, metric: str) -> Paired | None:
    """The difference between first and last level; None if that is a single step."""
    if len(result.levels) < 3:
        return None
    ends = (result.levels[0].name, result.levels[-1].name)
    return next((step for step in result.paired if step.metric == metric and (step.from_, step.to) == ends), None)


def main_step(result: BacktestResult) -> Paired | None:
    """The step that the verdict names first: the largest lift, else the largest difference."""
    known = steps(result.levels, result.paired, result.headline)
    lifts = [step for step in known if step.verdict == "LIFT"]
    return max(lifts or known, key=lambda step: (math.isfinite(step.delta), step.delta), default=None)


def verdict(result: BacktestResult) -> str:
    """The verdict in one sentence.

    A gain in a metric where lower is better is written as a fall: "lowers MAE by 1.98".
    """
    step, metric = main_step(result), metric_label(result.headline)
    if step is None:
        return _nothing_compared(result)
    if step.verdict == "LIFT":
        return f"Going from {step.from_} to {step.to} features {_moves(result, step, metric)}."
    if all(step.verdict == "harm" for step in steps(result.levels, result.paired, result.headline)):
        return f"Fresher features make {metric} worse: going from {step.from_} to {step.to} {_moves(result, step, metric)}."
    return f"This backtest shows no lift in {metric} from fresher features."


def rest(result: BacktestResult) -> str:
    """The other steps in a sentence or two; empty if there are none."""
    known, main = steps(result.levels, result.paired, result.headline), main_step(result)
    if main is None:
        return ""
    if main.verdict != "LIFT":
        return f"{_sentence('', _adds(result, known))} {power(result)}".strip()
    at = known.index(main)
    after = _sentence(f"Beyond {main.to}, ", _adds(result, known[at + 1 :]))
    before = _sentence(f"Before {main.from_}: " if at > 1 else "", _adds(result, known[:at], over=True))
    return f"{after} {before}".strip()


def in_practice(result: BacktestResult) -> str:
    """The main lift as a precision among the top scores; empty if no `precision@n%` was measured."""
    step = main_step(result)
    metric = next((name for name in result.levels[0].metrics if name.startswith("precision@")), None) if result.levels else None
    if step is None or metric is None or step.verdict != "LIFT":
        return ""
    values = {level.name: level.metrics[metric].value for level in result.levels if metric in level.metrics}
    before, after = values.get(step.from_, math.nan), values.get(step.to, math.nan)
    if not (math.isfinite(before) and math.isfinite(after)):
        return ""
    top = metric.removeprefix("precision@").replace("%", " %")
    return f"Of the {top} of requests with the highest scores, {share(after)} are positive instead of {share(before)}."


def called_differently(result: BacktestResult, slice_result: SliceResult) -> list[Paired]:
    """The headline steps whose verdict on this slice is a lift or a harm and on all rows is not, or the other way round.

    "Not shown" against "no lift worth having" is not a difference: the action is the same, only the number of rows differs.
    """
    overall = {(step.from_, step.to): step for step in steps(result.levels, result.paired, result.headline)}
    return [
        step
        for step in steps(slice_result.levels, slice_result.paired, result.headline)
        if _effect(step) != _effect(overall.get((step.from_, step.to), step))
    ]


def exceptions(result: BacktestResult) -> list[tuple[str, str]]:
    """Slices whose verdict differs: (slice and its rows, its verdicts, the main step first)."""
    decimals, main = places(result, result.headline), main_step(result)
    ends = (main.from_, main.to) if main else None
    differing = [
        (slice_result, sorted(called_differently(result, slice_result), key=lambda step: (step.from_, step.to) != ends))
        for slice_result in result.slices
    ]
    return [
        (
            f"{slice_result.name} ({count(slice_result.rows)} rows)",
            "; ".join(f"{step.from_} {ARROW} {step.to}: {judged(step, decimals)}" for step in different),
        )
        for slice_result, different in differing
        if different
    ]


def judged(step: Paired, decimals: int) -> str:
    """A step's verdict with its number."""
    if step.verdict in ("LIFT", "harm"):
        return f"{step.verdict} of {gain(step, decimals)}"
    return step.verdict + at_most(step, decimals)


def power(result: BacktestResult) -> str:
    """The minimum detectable effect in one sentence; empty if it is not known."""
    sizes = [step.detectable for step in steps(result.levels, result.paired, result.headline) if math.isfinite(step.detectable)]
    if not sizes:
        return ""
    decimals = places(result, result.headline)
    low, high = number(min(sizes), decimals, signed=True), number(max(sizes), decimals, signed=True)
    size = low if low == high else f"{low} to {high}, depending on the step,"
    return f"A lift of {size} would have been detected in 80 % of cases."


def together(result: BacktestResult) -> str:
    """A sentence on the joint test of the steps, and on steps whose own verdict would differ; empty for a single step."""
    known = [step for step in result.paired if step.metric == result.headline]
    family = max((step.family for step in known), default=1)
    if family < 2:
        return ""
    alone = [f"{step.from_} {ARROW} {step.to}" for step in known if step.verdict == "not shown" and (step.low > 0 or step.high < 0)]
    by_itself = f" The interval of {_listed(alone)} excludes 0 by itself, but is not significant among them." if alone else ""
    return f"Verdicts hold together for the {family} steps in a metric (Holm); each interval is 95 % by itself.{by_itself}"


def intervals(result: BacktestResult) -> str:
    """What the intervals in brackets are."""
    return result.intervals or "95 % intervals from a block bootstrap."


def new_keys(result: BacktestResult) -> str:
    """The share of new keys in a sentence; empty if no predictions are precomputed."""
    keys = result.new_keys
    if keys is None:
        return ""
    what = f"new {' and '.join(keys.keys)} keys"
    return f"{keys.per_day:,.1f} {what} a day request a prediction that was not precomputed: {share(keys.share)} of all requests."


def money(result: BacktestResult) -> str:
    """The costs given, and the cost of flagging nothing or everything, in a sentence; empty without costs."""
    costs = result.money
    if costs is None:
        return ""
    stated = ", ".join(f"{kind.replace('_', ' ')} {cost}" for kind, cost in costs.describes.items())
    decimals = places(result, "cost")
    ends = f"flagging nothing costs {number(costs.nothing, decimals)}, flagging everything {number(costs.everything, decimals)}"
    return f"Costs: {stated}. Per 1,000 requests {ends}."


def leaks(result: BacktestResult) -> list[str]:
    """The messages of the leaks, which make every number unreliable."""
    return [f"{finding.subject}: {finding.message}" for finding in result.leak_audit if finding.severity == "leak"]


def audit_line(result: BacktestResult) -> str:
    """The leak audit in one line."""
    if not result.leak_audit:
        return "not run"
    bad = [finding for finding in result.leak_audit if finding.severity != "ok"]
    if not bad:
        return "clean: " + "; ".join(finding.message for finding in result.leak_audit)
    return "; ".join(f"{finding.severity} in {finding.subject} ({share(finding.share)} of rows): {finding.message}" for finding in bad)


def at_most(step: Paired, decimals: int) -> str:
    """In brackets, the largest lift within the interval, or why there is no interval."""
    if math.isfinite(step.high):
        return f" (at most {number(step.high, decimals, signed=True)})"
    reason = step.sentence.removeprefix(f"{step.verdict}:").strip()
    return f" ({reason})" if reason else ""


def _effect(step: Paired) -> str:
    return step.verdict if step.verdict in ("LIFT", "harm") else ""


def _nothing_compared(result: BacktestResult) -> str:
    level = result.levels[0] if len(result.levels) == 1 else None
    if level is None or result.headline not in level.metrics:
        return "No two levels were compared, so the effect of fresher features is not known."
    value = estimate(level.metrics[result.headline], places(result, result.headline))
    return f"Only one level was tested: {level.name}, with {metric_label(result.headline)} {value}. There is no comparison."


def _moves(result: BacktestResult, step: Paired, what: str) -> str:
    """The effect of a step on a metric; a gain where lower is better is written as a fall."""
    decimals = places(result, step.metric)
    if result.higher_is_better.get(step.metric, True):
        return f"{'lifts' if step.delta >= 0 else 'changes'} {what} by {gain(step, decimals)}"
    low, high = sorted((abs(step.low), abs(step.high)))
    size = f"{number(abs(step.delta), decimals)} {interval(low, high, decimals)}".rstrip()
    return f"{'lowers' if step.delta >= 0 else 'raises'} {what} by {size}"


def _adds(result: BacktestResult, known: Sequence[Paired], *, over: bool = False) -> list[str]:
    """One phrase for each step, in order; adjacent steps with the same null verdict share one."""
    phrases = []
    for judged_as, group in groupby(known, key=lambda step: step.verdict):
        equal_steps = list(group)
        names = [f"{step.to} over {step.from_}" if over else step.to for step in equal_steps]
        widest = max(equal_steps, key=lambda step: (math.isfinite(step.high), step.high))
        limit = at_most(widest, places(result, widest.metric))
        if judged_as == "no lift worth having":
            phrases.append(f"{_listed(names)} {'adds' if len(names) == 1 else 'add'} no lift worth having{limit}")
        elif judged_as == "not shown":
            phrases.append(f"a lift from {_listed(names, 'or')} is not shown{limit}")
        else:
            phrases += [f"{name} {_changes(result, step)}" for name, step in zip(names, equal_steps, strict=True)]
    return phrases


def _changes(result: BacktestResult, step: Paired) -> str:
    if step.verdict == "LIFT" and not result.higher_is_better.get(step.metric, True):
        return _moves(result, step, "it")
    return f"{'adds' if step.verdict == 'LIFT' else 'costs'} {gain(step, places(result, step.metric))}"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return f"{', '.join(names[:-1])} {word} {names[-1]}" if len(names) > 1 else names[0]


def _sentence(start: str, parts: Sequence[str]) -> str:
    if not parts:
        return ""
    text = start + _listed(parts)
    return text[0].upper() + text[1:] + "."
