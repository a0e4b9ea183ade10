"""The result of a backtest as plain frozen values; every rendering reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from headwater.results.age_curve_result import AgeCurve
from headwater.results.attribution_result import AttributionResult
from headwater.results.audit_result import AuditResult
from headwater.results.blocks_result import BlocksResult
from headwater.results.estimate import Comparison, Estimate, Kind
from headwater.results.evidence_result import ExperimentFinding
from headwater.results.recommendation_result import Recommendation
from headwater.results.resolution_result import LevelMeasurable, SourceResolution
from headwater.results.result import Result

Mode = Literal["no history", "batch", "hourly", "streaming", "at request time"]
MODES: Sequence[Mode] = ("no history", "batch", "hourly", "streaming", "at request time")

GIVEN = "scores that were given"
"""The description of a level from its scores alone."""

_HOURLY = 7_200.0  # seconds: a batch cut every hour, delay included, is younger on average
_INSTANT = 0.001


class Curves(Result, frozen=True):
    """The points of the two curves of one level (each at most 200 points)."""

    recall: Sequence[float]
    precision: Sequence[float]
    predicted: Sequence[float]  # mean score of a calibration bin
    observed: Sequence[float]  # outcome rate of that bin


class LevelResult(Result, frozen=True):
    """One level on one set of rows."""

    name: str
    kind: Kind
    describes: str  # the freshness in words
    # mean age (t - K) of the features at request time; None: no history is read
    age_seconds: float | None
    metrics: Mapping[str, Estimate]  # headline metrics first
    coverage: float  # share of requests answered
    replayed: Mapping[str, float] = {}  # the freshest level's model on this level's features
    note: str = ""
    curves: Curves | None = None
    train_rows: int = 0  # it was trained on, at the last fold
    runs_a_day: float | None = None  # of the job that keeps its features; None where no job does
    # degrees of freedom of the headline metric's interval; None where there is none
    freedom: float | None = None

    @property
    def mode(self) -> Mode:
        """How the features of the level are computed, by their age."""
        return mode_of(self.kind, self.age_seconds)

    @property
    def given(self) -> bool:
        """Whether its scores were given, and it is not known what they read."""
        return self.describes == GIVEN

    @property
    def kind_words(self) -> str:
        """Its kind as a table writes it: a level that reads no history is not batch, and of scores
        that were given it is not known.
        """
        return (
            "scores given"
            if self.given
            else "no history"
            if self.age_seconds is None
            else self.kind
        )


def mode_of(kind: str, age: float | None) -> Mode:
    """How features of a level are computed, by their age.

    Args:
        kind: "batch" or "real-time", by the one-hour rule.
        age: their mean age at request time in seconds; None where no history is read.

    >>> (
    ...     mode_of("batch", 57_600.0),
    ...     mode_of("batch", 2_700.0),
    ...     mode_of("real-time", 60.0),
    ...     mode_of("real-time", 0.0),
    ...     mode_of("batch", None),
    ... )
    ('batch', 'hourly', 'streaming', 'at request time', 'no history')
    """
    if age is None:
        return "no history"
    if kind == "batch":
        return "hourly" if age <= _HOURLY else "batch"
    return "at request time" if age < _INSTANT else "streaming"


class FoldResult(Result, frozen=True):
    """One fold of a rolling origin: when, how many rows, and each metric of each level on its test
    rows alone, without intervals.
    """

    split: str  # ISO 8601, UTC
    until: str  # of the test, ISO 8601, UTC
    train_rows: int  # at the freshest level
    test_rows: int
    values: Mapping[str, Mapping[str, float]]  # level -> metric -> value


class Money(Result, frozen=True):
    """The cost of each kind of answer, in words, and the cost per 1,000 requests of flagging
    nothing and of flagging everything.
    """

    describes: Mapping[str, str]
    nothing: float
    everything: float


class Value(Result, frozen=True):
    """The worth of a decision, as given: predictions a day, the share acted on, money for a hit and
    a false alarm, the share that is late at a fresher level, and what each level costs a day.
    """

    volume: float
    acted_on: float
    hit: float
    false_alarm: float
    late: float = 0.0
    costs: Mapping[str, float] = {}


class NewKeys(Result, frozen=True):
    """Keys without a precomputed prediction: their names, how many a day, their requests, and the
    share of all requests.
    """

    keys: Sequence[str]
    per_day: float
    requests: int
    share: float


class SliceResult(Result, frozen=True):
    """The levels and steps on one slice of the test rows."""

    name: str
    describes: str
    rows: int
    levels: Sequence[LevelResult]
    comparisons: Sequence[Comparison]
    note: str = ""


class TimeSplit(Result, frozen=True):
    """The times of the split (ISO 8601, UTC), and the maturity of labels."""

    train_start: str
    split: str
    test_end: str
    train_rows: int
    test_rows: int
    left_out: Mapping[str, int]  # reason -> rows
    label_delay_seconds: Mapping[str, float]  # "p50", "p90", "p99", "max" of known_at - t
    rows_per_day: Sequence[tuple[str, int, str]]  # (date, rows, "train" | "test" | "left out")


FORMAT: Final = 4
"""The version of a backtest's JSON; another one is refused."""


class BacktestResult(Result, frozen=True, tag="backtest"):
    """All data of a report."""

    model: str
    task: str  # "binary" | "multiclass" | "regression" | "ranking"
    headline: str  # the metric of the verdicts, e.g. "auc"
    higher_is_better: Mapping[str, bool]
    min_lift: Mapping[str, float]
    positive_rate: float | None
    levels: Sequence[LevelResult]
    # each level with every fresher one, in every metric; judged: those with the baseline in the
    # headline
    comparisons: Sequence[Comparison]
    slices: Sequence[SliceResult]
    audit: AuditResult
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
    not_in_training: Sequence[str] = ()  # features that no history supplies; no level reads them
    attribution: AttributionResult | None = None  # if requested: which views earn from freshness
    # the level that serves today; empty if that was not said, and the stalest level takes its place
    baseline: str = ""
    labels: str = ""  # the name of the labels
    label: str = ""  # the column with the outcome
    value: Value | None = None  # if the worth of a decision was given
    recommendation: Recommendation | None = None
    verdict: str = ""  # the first line of the recommendation
    resolutions: Sequence[SourceResolution] = []  # of the timestamps of each source
    # the resolution of the request times, where levels cannot be measured by them
    request_times: SourceResolution | None = None
    # each level against the one before it, from the second on
    measurable: Sequence[LevelMeasurable] = []
    # that intervals resample, and whether they cover other periods
    blocks: BlocksResult | None = None
    fits: int = 1  # how often each level was trained
    # steps in the headline of these very models; `comparisons` are of the training procedure
    fixed_models: tuple[Comparison, ...] = ()
    curves_of_age: tuple[AgeCurve, ...] = ()  # if ages were requested
    # what was asked before the backtest, and its answers, in sentences
    answered: Sequence[str] = []
    # what the figures mean by what outcomes depend on, in a sentence; empty where that is not
    # declared
    outcomes: str = ""
    at: str = ""  # when it was made: ISO 8601, UTC
    by: str = ""  # who ran it: user and machine
    experiments: tuple[ExperimentFinding, ...] = ()  # that tested this model, by kept runs
    format: Literal[4] = FORMAT

    @property
    def figures(self) -> Mapping[str, float]:
        """The headline metric of each level, and its lift over the baseline."""
        metric = self.headline
        levels = {
            f"{metric} {level.name}": level.metrics[metric].value
            for level in self.levels
            if metric in level.metrics
        }
        judged = [
            step
            for step in self.comparisons
            if step.metric == metric and step.from_ == self.compared_with
        ]
        return levels | {f"{metric} {step.to} over {step.from_}": step.delta for step in judged}

    @property
    def seconds_taken(self) -> float:
        """How long it took."""
        return self.seconds.get("total", math.nan)

    @property
    def refitted(self) -> bool:
        """Whether levels were trained more than once, so that intervals cover the training
        procedure.
        """
        return self.fits > 1

    @property
    def compared_with(self) -> str:
        """The level that fresher ones are judged against."""
        return self.baseline or (self.levels[0].name if self.levels else "")
