"""The result of a backtest as plain frozen dataclasses; every rendering reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from headwater.definitions.readable import Readable
from headwater.results.estimate import Estimate, Kind, LeakFinding, Paired

if TYPE_CHECKING:
    from headwater.results.attribution_result import AttributionResult


@dataclass(frozen=True)
class Curves(Readable):
    """The points of the two curves of one level (each at most 200 points)."""

    recall: Sequence[float]
    precision: Sequence[float]
    predicted: Sequence[float]  # mean score of a calibration bin
    observed: Sequence[float]  # outcome rate of that bin


@dataclass(frozen=True)
class LevelResult(Readable):
    """One level on one set of rows."""

    name: str
    kind: Kind
    describes: str  # the freshness in words
    age_seconds: float | None  # mean age (t - K) of the features at request time; None: no history is read
    metrics: Mapping[str, Estimate]  # headline metrics first
    coverage: float  # share of requests answered
    replayed: Mapping[str, float] = field(default_factory=dict)  # the freshest level's model on this level's features
    note: str = ""
    curves: Curves | None = None
    train_rows: int = 0  # it was trained on, at the last fold


@dataclass(frozen=True)
class FoldResult(Readable):
    """One fold of a rolling origin: when, how many rows, and each metric of each level on its test rows alone, without intervals."""

    split: str  # ISO 8601, UTC
    until: str  # of the test, ISO 8601, UTC
    train_rows: int  # at the freshest level
    test_rows: int
    values: Mapping[str, Mapping[str, float]]  # level -> metric -> value


@dataclass(frozen=True)
class Money(Readable):
    """The cost of each kind of answer, in words, and the cost per 1,000 requests of flagging nothing and of flagging everything."""

    describes: Mapping[str, str]
    nothing: float
    everything: float


@dataclass(frozen=True)
class NewKeys(Readable):
    """Keys without a precomputed prediction: their names, how many a day, their requests, and the share of all requests."""

    keys: Sequence[str]
    per_day: float
    requests: int
    share: float


@dataclass(frozen=True)
class Transition(Readable):
    """A step of one of the two transitions: 1, from precomputed predictions to predictions on request; 2, to fresher features.

    Coverage is the share of requests that are answered, of all and of those of new keys, before and after the step.
    """

    number: Literal[1, 2]
    from_: str
    to: str
    coverage: tuple[float, float]
    coverage_of_new: tuple[float, float]


@dataclass(frozen=True)
class SliceResult(Readable):
    """The levels and steps on one slice of the test rows."""

    name: str
    describes: str
    rows: int
    levels: Sequence[LevelResult]
    paired: Sequence[Paired]
    note: str = ""


@dataclass(frozen=True)
class TimeSplit(Readable):
    """The times of the split (ISO 8601, UTC), and the maturity of labels."""

    train_start: str
    split: str
    test_end: str
    train_rows: int
    test_rows: int
    left_out: Mapping[str, int]  # reason -> rows
    label_delay_seconds: Mapping[str, float]  # "p50", "p90", "p99", "max" of known_at - t
    rows_per_day: Sequence[tuple[str, int, str]]  # (date, rows, "train" | "test" | "left out")


@dataclass(frozen=True)
class BacktestResult(Readable):
    """All data of a report."""

    model: str
    task: str  # "binary" | "multiclass" | "regression" | "ranking"
    headline: str  # the metric of the verdicts, e.g. "auc"
    higher_is_better: Mapping[str, bool]
    min_lift: Mapping[str, float]
    positive_rate: float | None
    levels: Sequence[LevelResult]
    paired: Sequence[Paired]  # each step to the next level, every metric; then first to last
    slices: Sequence[SliceResult]
    leak_audit: Sequence[LeakFinding]
    split: TimeSplit
    seconds: Mapping[str, float]  # "features", "training", "total"
    definitions: str  # readable text
    fingerprint: str
    versions: Mapping[str, str]
    assumptions: Sequence[str]  # "if the world does not react": what a backtest cannot see
    estimator: str
    encoded: Mapping[str, int]  # string column -> number of categories seen in training
    intervals: str = ""  # how they were made, in a sentence
    folds: Sequence[FoldResult] = ()  # of a rolling origin
    money: Money | None = None  # if costs were given
    new_keys: NewKeys | None = None  # if a level's predictions are precomputed
    transitions: Sequence[Transition] = ()
    not_in_training: Sequence[str] = ()  # features that no history supplies; no level reads them
    attribution: AttributionResult | None = None  # if requested: which views earn from freshness
