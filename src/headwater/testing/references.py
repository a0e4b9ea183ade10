"""Each function worked out from the events that count, in exact arithmetic: one line of meaning
each.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime
from fractions import Fraction
from typing import Literal, NamedTuple

from headwater.definitions.checks import micros
from headwater.definitions.feature_view import Feature
from headwater.definitions.source import Source
from headwater.testing.naive_time import as_micros

Value = bool | int | float | str | datetime | date | None
Row = Mapping[str, Value]
Status = Literal["present", "empty", "missing", "expired", "overflow"]

_SECOND = 1_000_000


class Answer(NamedTuple):
    """A value, why it is what it is, and what a float's tolerance is 1e-9 of; of a map, an answer
    for each key.
    """

    value: Value | list[Value] | dict[Value, Answer]
    status: Status
    scale: float = 0.0


class Event(NamedTuple):
    """One row of the source: the time that windows see, when it was known and from when on it was
    taken back, in microseconds; its id.
    """

    time: float
    known: float
    ident: Value
    row: Row
    removed_at: float = math.inf


class AskedRow(NamedTuple):
    """The two times of a request, the source's rules, and whether any event of the key is known
    within the view's windows.
    """

    T: int
    K: int
    source: Source
    retained: bool


Values = list[list[Value]]
Reference = Callable[[Feature, list[Event], Values, AskedRow], Answer]
"""(feature, the events that count in order and never none, the values of each of its columns, the
request) -> the answer.
"""

EMPTY: dict[str, Value | list[Value]] = {
    "count": 0,
    "sum": 0,
    "open_count": 0,
    "count_distinct": 0,
    "decayed_sum": 0.0,
    "rate": 0.0,
    "first_n": [],
    "last_n": [],
    "top_k": [],
    "collect_set": [],
}


def in_order(value: Value) -> tuple[int, Value]:
    """Something to sort values by, null first."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0, 0
    return 1, as_micros(value) if isinstance(value, datetime) else value


def _count(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001 (as below: one signature for all)
    return Answer(len(events), "present")


def _sum(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    numbers = _numbers(values[0])
    total = sum(numbers)
    if all(isinstance(v, int) for v in values[0]):
        return (
            Answer(int(total), "present") if -(2**63) <= total < 2**63 else Answer(None, "overflow")
        )
    return Answer(float(total), "present", _size(sum(map(abs, numbers), Fraction(0))))


def _mean(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    numbers = _numbers(values[0])
    float(sum(numbers))  # OverflowError where the sum has left float64, though the mean has not
    return Answer(
        float(sum(numbers) / len(numbers)),
        "present",
        _size(sum(map(abs, numbers), Fraction(0)) / len(numbers)),
    )


def _std(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    numbers, ddof = _numbers(values[0]), int(dict(feature.aggregation.params)["ddof"])
    mean = sum(numbers) / len(numbers)
    squares = sum((x - mean) ** 2 for x in numbers)
    float(squares)
    if len(numbers) <= ddof:
        return Answer(None, "present")
    variance = squares / (len(numbers) - ddof)
    return Answer(math.sqrt(variance), "present", _size(variance + mean**2))


def _var(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    numbers, ddof = _numbers(values[0]), int(dict(feature.aggregation.params)["ddof"])
    mean = sum(numbers) / len(numbers)
    if len(numbers) <= ddof:
        return Answer(None, "present")
    variance = sum((x - mean) ** 2 for x in numbers) / (len(numbers) - ddof)
    return Answer(float(variance), "present", _size(variance + mean**2))


def _min(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(min(values[0], key=in_order), "present")


def _max(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(max(values[0], key=in_order), "present")


def _first(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(values[0][0], "present")


def _last(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(values[0][-1], "present")


def _latest(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(values[feature.column][-1], "present")


def _since_last(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    seconds = Fraction(request.T - int(events[-1].time), _SECOND)
    return Answer(float(seconds), "present", float(abs(seconds)) / 1e6)


def _open_count(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(len(_open(events, values[0], request)), "present")


def _open_age(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    ages = [Fraction(request.T - int(e.time), _SECOND) for e in _open(events, values[0], request)]
    if not ages:
        return Answer(None, "empty")
    mean = sum(ages, Fraction(0)) / len(ages)
    return Answer(float(mean), "present", float(mean))


def _open(events: list[Event], until: list[Value], request: AskedRow) -> list[Event]:
    """The events that have not ended before T, or were not known by K to end: that is known at
    `until` plus the source's delay.
    """
    still = []
    for event, end in zip(events, until, strict=True):
        if isinstance(end, datetime):
            ended = as_micros(end)
            ended_known = max(
                ended + micros(request.source.known_after, "known_after"), event.known
            )
            if ended < request.T and ended_known <= request.K:
                continue
        still.append(event)
    return still


def _first_n(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    params = dict(feature.aggregation.params)
    listed = list(dict.fromkeys(values[0])) if params["distinct"] else values[0]
    return Answer(listed[: int(params["k"])], "present")


def _last_n(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    params = dict(feature.aggregation.params)
    listed = values[0][::-1]
    listed = list(dict.fromkeys(listed)) if params["distinct"] else listed
    return Answer(listed[: int(params["k"])][::-1], "present")


def _count_distinct(
    feature: Feature,  # noqa: ARG001
    events: list[Event],  # noqa: ARG001
    values: Values,
    request: AskedRow,  # noqa: ARG001
) -> Answer:
    return Answer(len(set(values[0])), "present")


def _approx_percentile(
    feature: Feature,
    events: list[Event],  # noqa: ARG001
    values: Values,
    request: AskedRow,  # noqa: ARG001
) -> Answer:
    numbers, q = sorted(_numbers(values[0])), Fraction(str(dict(feature.aggregation.params)["q"]))
    value = next(x for rank, x in enumerate(numbers, 1) if rank >= q * len(numbers))
    # a sketch: within 2^-7 of the value
    return Answer(float(value), "present", float(abs(value)) / 128 * 1e9)


def _mode(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(_frequent(values[0])[0], "present")


def _top_k(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    return Answer(_frequent(values[0])[: int(dict(feature.aggregation.params)["k"])], "present")


def _frequent(values: list[Value]) -> list[Value]:
    counts = Counter(values)
    return sorted(counts, key=lambda value: (-counts[value], in_order(value)))


def _collect_set(
    feature: Feature,
    events: list[Event],  # noqa: ARG001
    values: Values,
    request: AskedRow,  # noqa: ARG001
) -> Answer:
    return Answer(
        sorted(set(values[0]), key=in_order)[: int(dict(feature.aggregation.params)["max_size"])],
        "present",
    )


def _min_by(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    least = min(values[1], key=in_order)
    return Answer([value for value, by in zip(*values, strict=True) if by == least][-1], "present")


def _max_by(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    greatest = max(values[1], key=in_order)
    return Answer(
        [value for value, by in zip(*values, strict=True) if by == greatest][-1], "present"
    )


def _decayed_sum(
    feature: Feature, events: list[Event], values: Values, request: AskedRow
) -> Answer:
    weights = _weights(feature, events, request.T)
    numbers = [x * Fraction(w) for x, w in zip(_numbers(values[0]), weights, strict=True)]
    return Answer(float(sum(numbers)), "present", _size(sum(map(abs, numbers))))


def _decayed_mean(
    feature: Feature,
    events: list[Event],
    values: Values,
    request: AskedRow,  # noqa: ARG001
) -> Answer:
    # as of the last event: not all can vanish
    weights = [Fraction(w) for w in _weights(feature, events, int(events[-1].time))]
    numbers = _numbers(values[0])
    total = sum((x * w for x, w in zip(numbers, weights, strict=True)), Fraction(0))
    size = sum((abs(x) * w for x, w in zip(numbers, weights, strict=True)), Fraction(0))
    float(total)  # as of mean
    return Answer(float(total / sum(weights)), "present", _size(size / sum(weights)))


def _weights(feature: Feature, events: list[Event], T: int) -> list[float]:
    half_life = int(dict(feature.aggregation.params)["half_life"])
    return [
        2.0 ** -((T - int(e.time)) / half_life) if (T - e.time) / half_life < 1074 else 0.0
        for e in events
    ]


def _rate(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    assert feature.window.length is not None
    seconds = Fraction(feature.window.length, _SECOND)
    numbers = _numbers(values[0]) if values else [Fraction(1)] * len(events)
    float(sum(numbers))  # as of mean
    return Answer(
        float(sum(numbers) / seconds),
        "present",
        _size(sum(map(abs, numbers), Fraction(0)) / seconds),
    )


def _fraction(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    share = Fraction(sum(value is True for value in values[0]), len(events))
    return Answer(float(share), "present", float(share))


def _ratio(feature: Feature, events: list[Event], values: Values, request: AskedRow) -> Answer:  # noqa: ARG001
    above, below = (_numbers(column) for column in values)
    over = sum(below)
    float(sum(above)), float(over)  # as of mean
    if over == 0:
        return Answer(None, "present")
    ratio = sum(above) / over
    return Answer(
        float(ratio),
        "present",
        _size((sum(map(abs, above)) + abs(ratio) * sum(map(abs, below))) / abs(over)),
    )


def _size(exact: Fraction | float) -> float:
    """What a tolerance is of, at most the greatest float."""
    return float(min(Fraction(exact), Fraction(sys.float_info.max)))


def _numbers(values: list[Value]) -> list[Fraction]:
    return [Fraction(v) for v in values if isinstance(v, int | float)]


REFERENCES: Mapping[str, Reference] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "min": _min,
    "max": _max,
    "std": _std,
    "first": _first,
    "last": _last,
    "latest": _latest,
    "since_last": _since_last,
    "open_count": _open_count,
    "open_age": _open_age,
    "var": _var,
    "first_n": _first_n,
    "last_n": _last_n,
    "count_distinct": _count_distinct,
    "approx_percentile": _approx_percentile,
    "mode": _mode,
    "top_k": _top_k,
    "collect_set": _collect_set,
    "min_by": _min_by,
    "max_by": _max_by,
    "decayed_sum": _decayed_sum,
    "decayed_mean": _decayed_mean,
    "rate": _rate,
    "fraction": _fraction,
    "ratio": _ratio,
}
