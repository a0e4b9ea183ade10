"""Numbers and sentences of a result; every rendering uses these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from headwater.results.backtest_result import BacktestResult, LevelResult, SliceResult
from headwater.results.estimate import Comparison, Estimate

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
    "auc": (
        "AUC is the share of positive and negative pairs that the model puts in the right order: "
        "0.5 is guessing, 1 is perfect."
    ),
    "average_precision": (
        "Average precision is the precision averaged over all alarm rates: the positive rate is "
        "guessing, 1 is perfect."
    ),
    "log_loss": "Log loss is the mean negative log-likelihood of the outcomes; lower is better.",
    "brier": "The Brier score is the mean squared error of the scores; lower is better.",
    "mae": "MAE is the average size of the error, in the units of the label; lower is better.",
    "calibration": (
        "The calibration error is the distance of scores from the observed rates; lower is better."
    ),
    "wape": "WAPE is the sum of all errors as a share of the sum of all labels; lower is better.",
    "rmse": (
        "RMSE is the error in the units of the label, large ones weighing more; lower is better."
    ),
    "mape": (
        "MAPE is the mean size of the error as a share of the label, over labels that are not 0; "
        "lower is better."
    ),
    "accuracy": "Accuracy is the share of requests whose likeliest class is the right one.",
    "macro_f1": (
        "Macro F1 is the mean over classes of F1, the harmonic mean of precision and recall."
    ),
    "auc_ovr": (
        "The mean over classes of the AUC of that class against all others: 0.5 is guessing, 1 is "
        "perfect."
    ),
    "cost": (
        "The cost of errors per 1,000 requests, at the threshold with the lowest cost on held-out "
        "training rows."
    ),
    "ndcg": (
        "NDCG is the relevance of the first items of a list, higher positions weighing more, over "
        "that of the best order: 1 is perfect."
    ),
    "mrr": (
        "MRR is the mean of 1 over the rank of the first relevant item, 0 if it is not among the "
        "first."
    ),
    "hit_rate": "The hit rate is the share of lists with a relevant item among the first.",
    "recall": "Recall is the share of relevant items that are found.",
    "pinball": (
        "The pinball loss is the error of a quantile forecast: errors below and above weigh as "
        "the quantile requires; lower is better."
    ),
    "card_precision": (
        "The share of the day's highest-scored cards that turn out to be fraudulent that day; "
        "detected cards are left out afterwards."
    ),
}

_AGES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))


def not_in_training(result: BacktestResult) -> list[str]:
    """A sentence about the features that no level reads; empty if there are none."""
    names = result.not_in_training
    sentence = (
        f"not in training, because {'it comes' if len(names) == 1 else 'they come'} from a third "
        f"party without history=: {', '.join(names)}"
    )
    return [sentence] if names else []


def metric_label(metric: str) -> str:
    """A metric's display name.

    >>> (
    ...     metric_label("auc"),
    ...     metric_label("ndcg@10"),
    ...     metric_label("precision@10%"),
    ...     metric_label("my_metric"),
    ... )
    ('AUC', 'NDCG@10', 'precision@10%', 'my metric')
    """
    name, at, k = metric.partition("@")
    return _LABELS.get(metric, f"{_SHORT.get(name, name)}{at}{k}".replace("_", " "))


def metric_meaning(metric: str) -> str:
    """One sentence on what a metric measures; empty if the metric is not built in."""
    return _MEANINGS.get(metric.partition("@")[0], "")


def places(result: BacktestResult, metric: str) -> int:
    """How many decimals show a metric to about four digits, the same for every level and step, so
    that a column lines up.
    """
    return places_of(
        level.metrics[metric].value for level in result.levels if metric in level.metrics
    )


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
    """A number with a true minus sign; NaN gives a dash, and a value that rounds to zero has no
    sign.

    >>> (
    ...     number(0.1039, 3, signed=True),
    ...     number(-1234.5, 1),
    ...     number(-0.0001, 3, signed=True),
    ...     number(float("nan"), 3),
    ... )
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


def gain(step: Comparison, decimals: int) -> str:
    """A step's gain and its interval on one line."""
    return (
        f"{number(step.delta, decimals, signed=True)} {interval(step.low, step.high, decimals)}"
    ).rstrip()


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
            return (
                f"{amount:.1f}".removesuffix(".0") + f" {unit}"
                if amount < 10
                else f"{amount:,.0f} {unit}"
            )
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


def listed(names: Sequence[str], word: str = "and") -> str:
    """Names as a list in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed([])
    ('a', 'a, b and c', '')
    """
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def steps(
    levels: Sequence[LevelResult], comparisons: Sequence[Comparison], metric: str
) -> list[Comparison]:
    """The steps from each level to the next in one metric, without the jump from first to last."""
    names = [level.name for level in levels]
    by_ends = {(step.from_, step.to): step for step in comparisons if step.metric == metric}
    return [by_ends[pair] for pair in pairwise(names) if pair in by_ends]


def shown_steps(result: BacktestResult) -> list[Comparison]:
    """The headline rows of a table: each level that is fresher than the baseline against it, which
    is judged; then the other neighbours.
    """
    judged_steps = judged(result)
    ends = {(step.from_, step.to) for step in judged_steps}
    return [
        *judged_steps,
        *(
            step
            for step in steps(result.levels, result.comparisons, result.headline)
            if (step.from_, step.to) not in ends
        ),
    ]


def like(comparisons: Sequence[Comparison], step: Comparison) -> list[Comparison]:
    """The differences of the same two levels in the same metric in `comparisons`, such as a slice;
    empty if there are none.
    """
    return [
        comparison
        for comparison in comparisons
        if (comparison.from_, comparison.to, comparison.metric)
        == (step.from_, step.to, step.metric)
    ]


def judged(
    result: BacktestResult, comparisons: Sequence[Comparison] | None = None
) -> list[Comparison]:
    """The differences that are judged, of all rows or of a slice's `comparisons`: each level that
    is fresher than the baseline against it, in the headline metric.
    """
    chosen = result.comparisons if comparisons is None else comparisons
    names = [level.name for level in result.levels]
    fresher = (
        names[names.index(result.compared_with) + 1 :] if result.compared_with in names else []
    )
    return [
        step
        for step in chosen
        if (step.from_, step.metric) == (result.compared_with, result.headline)
        and step.to in fresher
    ]


def verdict_word(result: BacktestResult, step: Comparison) -> str:
    """A verdict as a table writes it; none where the numbers cannot be trusted."""
    withheld = result.recommendation is not None and result.recommendation.withheld
    return "" if withheld or step.from_ != result.compared_with else step.verdict_words


def main_step(result: BacktestResult) -> Comparison | None:
    """The difference that slices are shown in: the recommended level against the baseline, else the
    freshest that can be measured.
    """
    steps, level = (
        judged(result),
        "" if result.recommendation is None else result.recommendation.level,
    )
    freshest = [step for step in steps if step.verdict != "not measurable"] or steps
    return next((step for step in steps if step.to == level), freshest[-1] if freshest else None)


def verdict(result: BacktestResult) -> str:
    """The first line of every rendering: the one recommendation."""
    if result.recommendation is None:
        return (
            "No recommendation: the result was made by an earlier release. Run the backtest again."
        )
    return result.recommendation.first_line


def rest(result: BacktestResult) -> str:
    """The evidence in a sentence or two: each fresher level against the baseline; empty if nothing
    is judged or may be trusted.
    """
    steps = judged(result)
    if not steps or (result.recommendation is not None and result.recommendation.withheld):
        return ""
    # a verdict of these days would be read as one of all days
    if result.blocks is not None and result.blocks.on:
        seen = [
            f"{step.to} {gain(step, places(result, step.metric))}"
            for step in steps
            if step.verdict != "not measurable"
        ]
        return (
            (
                f"{_upper(result.blocks.on)}, the gain in {metric_label(result.headline)} over "
                f"{steps[0].from_}: {listed(seen)}."
            )
            if seen
            else ""
        )
    lifts = [step for step in steps if step.lifts]
    over = f"In {metric_label(result.headline)}, compared with {steps[0].from_}, "
    lost = all(step.verdict == "not measurable" for step in steps)
    detected = "" if lifts or lost else power(result)
    return f"{_sentence(over, _adds(result, steps))} {detected}".strip()


def limits(result: BacktestResult) -> list[str]:
    """What the recommendation does not cover, and what the figures mean by what outcomes depend on,
    in sentences.
    """
    recommended = [] if result.recommendation is None else list(result.recommendation.limits)
    return [*recommended, *([result.outcomes] if result.outcomes else [])]


def called_differently(result: BacktestResult, slice_result: SliceResult) -> list[Comparison]:
    """The differences whose verdict on this slice is a lift or a harm and on all rows is not, or
    the other way round.

    "Not proven" against "no lift worth having" is not a difference: the action is the same, only
    the number of rows differs.
    """
    overall = {(step.from_, step.to): step for step in judged(result)}
    return [
        step
        for step in judged(result, slice_result.comparisons)
        if _effect(step) != _effect(overall.get((step.from_, step.to), step))
    ]


def exceptions(result: BacktestResult) -> list[tuple[str, str]]:
    """Slices whose verdict differs: (slice and its rows, its verdicts, the main step first)."""
    main = main_step(result)
    ends = (main.from_, main.to) if main else None
    differing = [
        (
            slice_result,
            sorted(
                called_differently(result, slice_result),
                key=lambda step: (step.from_, step.to) != ends,
            ),
        )
        for slice_result in result.slices
    ]
    return [
        (
            f"{slice_result.name} ({count(slice_result.rows)} rows)",
            "; ".join(
                f"{step.from_} {ARROW} {step.to}: {judged_gain(result, step)}" for step in different
            ),
        )
        for slice_result, different in differing
        if different and verdict_word(result, different[0])
    ]


def judged_gain(result: BacktestResult, step: Comparison) -> str:
    """A difference's verdict with its number; the number alone where it is not judged."""
    decimals = places(result, step.metric)
    if not verdict_word(result, step):
        return gain(step, decimals)
    if step.verdict in ("LIFT", "harm"):
        return f"{step.verdict} of {gain(step, decimals)}"
    return step.verdict_words + at_most(step, decimals)


_COLD = ("cold start", "new item", "first event", "new keys")


def survivors(result: BacktestResult) -> str:
    """What figures on cold starts leave out; empty if the result has none."""
    cold = [
        part.name
        for part in result.slices
        if 0 < part.rows < result.split.test_rows and part.name.startswith(_COLD)
    ]
    if not cold:
        return ""
    return (
        f"{listed(cold)}: logs hold only people who stayed. Those who left immediately never "
        "asked again, so these figures are kinder than a first visit."
    )


def power(result: BacktestResult) -> str:
    """The minimum detectable effect in one sentence; empty if it is not known."""
    sizes = [step.mde for step in judged(result) if math.isfinite(step.mde)]
    if not sizes:
        return ""
    decimals = places(result, result.headline)
    low, high = number(min(sizes), decimals, signed=True), number(max(sizes), decimals, signed=True)
    size = low if low == high else f"{low} to {high}, depending on the level,"
    return f"A lift of {size} would have been detected in 80 % of cases."


def together(result: BacktestResult) -> str:
    """A sentence on the joint test of the levels, and on levels whose own verdict would differ;
    empty for a single level.
    """
    steps = judged(result)
    family = max((step.family for step in steps), default=1)
    if family < 2:
        return ""
    alone = [
        f"{step.from_} {ARROW} {step.to}"
        for step in steps
        if step.verdict == "inconclusive" and (step.low > 0 or step.high < 0)
    ]
    alone = (
        [] if result.blocks is not None and result.blocks.on else alone
    )  # there the days are too few, no matter which are judged together
    by_itself = (
        f" The interval of {listed(alone)} excludes 0 by itself, but is not significant among them."
        if alone
        else ""
    )
    return (
        f"Verdicts are of the {family} levels against {steps[0].from_} in "
        f"{metric_label(result.headline)} alone, and hold together (Holm); other differences have "
        f"an interval, 95 % by itself, and no verdict.{by_itself}"
    )


def intervals(result: BacktestResult) -> str:
    """What the intervals in brackets are."""
    return result.intervals or "95 % intervals from a block bootstrap."


def new_keys(result: BacktestResult) -> str:
    """The share of new keys in a sentence; empty if no predictions are precomputed."""
    keys = result.new_keys
    if keys is None:
        return ""
    noun = f"new {' and '.join(keys.keys)} keys"
    return (
        f"{keys.per_day:,.1f} {noun} a day request a prediction that was not precomputed: "
        f"{share(keys.share)} of all requests."
    )


def money(result: BacktestResult) -> str:
    """The costs given, and the cost of flagging nothing or everything, in a sentence; empty without
    costs.
    """
    costs = result.money
    if costs is None:
        return ""
    stated = ", ".join(f"{kind.replace('_', ' ')} {cost}" for kind, cost in costs.describes.items())
    decimals = places(result, "cost")
    ends = (
        f"flagging nothing costs {number(costs.nothing, decimals)}, flagging everything "
        f"{number(costs.everything, decimals)}"
    )
    return f"Costs: {stated}. Per 1,000 requests {ends}."


def at_most(step: Comparison, decimals: int) -> str:
    """In brackets, the largest lift within the interval, or why it has no interval."""
    if math.isfinite(step.high) and step.verdict != "not measurable":
        return f" (at most {number(step.high, decimals, signed=True)})"
    reason = step.sentence.partition(": ")[2]
    return f" ({reason})" if reason else ""


def _effect(step: Comparison) -> str:
    return step.verdict if step.verdict in ("LIFT", "harm") else ""


def _moves(result: BacktestResult, step: Comparison, noun: str) -> str:
    """The effect of a step on a metric where lower is better: a gain is written as a fall."""
    decimals = places(result, step.metric)
    low, high = sorted((abs(step.low), abs(step.high)))
    size = f"{number(abs(step.delta), decimals)} {interval(low, high, decimals)}".rstrip()
    return f"{'lowers' if step.delta >= 0 else 'raises'} {noun} by {size}"


def _adds(result: BacktestResult, steps: Sequence[Comparison]) -> list[str]:
    """One phrase for each level, in order; adjacent levels with the same null verdict share one."""
    phrases = []
    for judged_as, group in groupby(steps, key=lambda step: step.verdict):
        equal_steps = list(group)
        names = [step.to for step in equal_steps]
        widest = max(equal_steps, key=lambda step: (math.isfinite(step.high), step.high))
        limit = at_most(widest, places(result, widest.metric))
        if judged_as == "negligible":
            phrases.append(
                f"{listed(names)} {'adds' if len(names) == 1 else 'add'} no lift worth "
                f"having{limit}"
            )
        elif judged_as in ("inconclusive", "not measurable"):
            phrases.append(
                f"a lift from {listed(names, 'or')} "
                f"{'is ' * (judged_as == 'inconclusive')}{widest.verdict_words}{limit}"
            )
        else:
            phrases += [
                f"{name} {_changes(result, step)}"
                for name, step in zip(names, equal_steps, strict=True)
            ]
    return phrases


def _changes(result: BacktestResult, step: Comparison) -> str:
    if step.verdict == "LIFT" and not result.higher_is_better.get(step.metric, True):
        return _moves(result, step, "it")
    return (
        f"{'adds' if step.verdict == 'LIFT' else 'costs'} {gain(step, places(result, step.metric))}"
    )


def _sentence(start: str, parts: Sequence[str]) -> str:
    if not parts:
        return ""
    return _upper(start + listed(parts)) + "."


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
