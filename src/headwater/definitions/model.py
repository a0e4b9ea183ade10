"""A model: its features, its labels, its task, and when its predictions are computed.

The tasks of models, as properties that models, metrics, splits, serving and reports use.

The types of predictions.

Outcomes that are seen only where a prediction was not acted on: which scores are acted on, and
who is left alone all the same.

Predictions that were made elsewhere, as `backtest(scores=)` judges them.

The members of a model's service that can be precomputed for given keys: views of these keys, and
features computed from them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

from headwater.definitions.checks import (
    Duration,
    check,
    check_choice,
    check_columns,
    check_list,
    check_number,
    check_reference,
    check_text,
    check_type,
    micros,
    refusal,
    text,
)
from headwater.definitions.definition import Definition, Described, check_name
from headwater.definitions.feature_service import FeatureService, Member
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.freshness import Freshness, OnRequest, check_freshness, on_request
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.ranking import Ranking
from headwater.definitions.request_feature import RequestFeature, RequestField
from headwater.definitions.source import Source, output_name
from headwater.definitions.unit_buckets import BUCKETS, bucket, unit_text
from headwater.errors import DefinitionError, UsageError
from headwater.rows import Rows

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike

TaskName = Literal["binary", "multiclass", "regression"]
"""The tasks that are written as a string: `Model(task="binary")`."""

Task = TaskName | Ranking

Otherwise = Literal["default", "on_request"]

OnStale = Literal["previous", "null", "refuse"]

OutcomeRule = Literal["independent", "censored", "caused"]


@runtime_checkable
class Estimator(Protocol):
    """Anything with scikit-learn's `fit` and `predict` (and `predict_proba` where classes are
    predicted).
    """

    def fit(self, X: object, y: object) -> object: ...

    def predict(self, X: object) -> object: ...


@dataclass(frozen=True, eq=False, init=False)
class Precomputed(Definition, called="precomputed"):
    """Scores computed for every key known at the cut, and looked up by the request.

    A score uses the features as of the cut, and none of the request's own fields; a key that no
    event was known of by then has no score.

    Args:
        freshness: when the scores are made.
        keys: the request's columns that a score is looked up by.
        otherwise: what a request without a score gets: the model's "default", or a prediction made
            "on_request".
        on_stale: what it gets when the scores are older than promised: those of the cut before
            ("previous"), what a request without a score gets ("null"), or an error ("refuse").

    >>> from headwater.definitions.freshness import batch
    >>> precomputed(batch("1d", delay="4h"), keys=["user"]).keys
    ('user',)
    """

    freshness: Freshness
    keys: tuple[str, ...]
    otherwise: Otherwise = "default"
    on_stale: OnStale = "previous"

    def __init__(
        self,
        freshness: Freshness,
        *,
        keys: Sequence[str],
        otherwise: Otherwise = "default",
        on_stale: OnStale = "previous",
    ) -> None:
        check_freshness(freshness, "precomputed(): freshness")
        columns = check_columns(keys, "precomputed(): keys", least=1)
        check_choice(otherwise, get_args(Otherwise), "precomputed(): otherwise")
        check_choice(on_stale, get_args(OnStale), "precomputed(): on_stale")
        self._set(freshness=freshness, keys=columns, otherwise=otherwise, on_stale=on_stale)

    @property
    def on_request(self) -> bool:
        """Whether a request for which no score was made is predicted when it comes."""
        return self.otherwise == "on_request"


precomputed = Precomputed


@dataclass(frozen=True, eq=False)
class Model(Described):
    """A model: its features, its labels, its task, and when its predictions are computed.

    Args:
        name: letters, digits and single underscores.
        features: the feature service that it reads.
        labels: what it is trained and judged on.
        task: "binary" (a label of 0 and 1, or of booleans), "multiclass" (a label of strings or
            integers), "regression", or `Ranking(group, item, candidates)`.
        estimator: anything with scikit-learn's fit and predict; None takes LightGBM's, or
            scikit-learn's histogram gradient boosting where LightGBM does not load (a regression is
            fitted to the absolute error by the one, the squared one by the other). A fitted one is
            replayed and never trained again.
        predictions: `precomputed(freshness, keys=)` for precomputed scores; None, or
            `on_request()`, for scores computed by the request.
        latency_budget: how long an answer may take.
        default: the prediction for a request that cannot be answered.
        outcomes: what a request's outcome depends on, for experiments and `watch`. "independent":
            on nothing that the model says (will the flight be late?). "censored": it is seen only
            where the answer allowed it (a blocked payment shows no fraud). "caused": it exists only
            because of the answer (an item that was never shown has no click). `hw.censored(above=,
            holdout=, unit=)` says in addition which scores are acted on, and who is left alone all
            the same. None: not declared.
        description, owner, tags: for people and the catalogue; nothing computed depends on them.

    Raises:
        DefinitionError: a bad name, task or kind of outcomes; a label named like a feature; a
            ranking by a column that the labels do not have.
    """

    name: str
    _: KW_ONLY
    features: FeatureService
    labels: Labels
    task: Task
    estimator: Estimator | None = field(default=None)
    predictions: Precomputed | OnRequest | None = None
    latency_budget: Duration | None = None
    default: float | None = None
    outcomes: OutcomeRule | Censored | None = field(default=None, metadata={"fingerprint": "given"})

    def __post_init__(self) -> None:
        self.remember_site()
        check_name(self.name, "a model")
        subject = f"model {self.name!r}"
        self.check_description(subject)
        check_type(
            self.features,
            FeatureService,
            f"{subject}: features",
            "hw.FeatureService(name, [views and features])",
        )
        labels = "hw.Labels(name, table=, timestamp_field=, label=, known_after=)"
        check_type(self.labels, Labels, f"{subject}: labels", labels)
        if not isinstance(self.task, Ranking):
            check_choice(self.task, written(), f"{subject}: task", "or hw.Ranking(group=, item=)")
        if self.ranking is not None:
            _check_columns(self.ranking, self.labels, subject)
        if isinstance(self.estimator, type):
            raise refusal(
                self.estimator,
                f"{subject}: estimator",
                f"one: estimator={self.estimator.__name__}()",
            )
        check_type(
            self.estimator,
            Estimator | None,
            f"{subject}: estimator",
            "an object with fit(X, y) and predict(X)",
        )
        if self.labels.label_name in self.features.feature_names:
            raise DefinitionError(
                f"{subject}: the label {self.labels.label_name!r} is named like a feature; rename "
                "one, so that neither shadows the other"
            )
        self._check_outcomes(subject)
        check_predictions(self.predictions, subject)
        if self.latency_budget is not None:
            object.__setattr__(
                self,
                "latency_budget",
                text(micros(self.latency_budget, f"{subject}: latency_budget")),
            )

    def _check_outcomes(self, subject: str) -> None:
        if not isinstance(self.outcomes, Censored):
            if self.outcomes is not None:
                check_choice(
                    self.outcomes,
                    get_args(OutcomeRule),
                    f"{subject}: outcomes",
                    "or hw.censored(above=...)",
                )
            return
        if self.task_type.classes or self.ranking is not None:
            raise DefinitionError(
                f"{subject}: hw.censored(...) has a bound of one score, and the task is "
                f"{self.task_kind}; give 'censored'"
            )
        unit, carried = self.outcomes.unit, tuple(self.features.needed_by())
        if unit is not None:
            says = (
                f"{subject}: the units of the approve-anyway holdout are {unit!r}, which its "
                "requests do not carry"
            )
            check_reference(unit, carried, says)

    @property
    def outcome_rule(self) -> OutcomeRule | None:
        """The rule of its outcomes, in one word; None where that is not declared."""
        return "censored" if isinstance(self.outcomes, Censored) else self.outcomes

    @property
    def task_kind(self) -> str:
        """The task in one word."""
        return self.task_type.name

    @property
    def task_type(self) -> TaskType:
        """The properties of the task."""
        return TASKS[self.task.kind if isinstance(self.task, Ranking) else self.task]

    @property
    def ranking(self) -> Ranking | None:
        """The task where it is a ranking."""
        return self.task if isinstance(self.task, Ranking) else None

    @cached_property
    def services(self) -> tuple[FeatureService, ...]:
        """The services read to answer a request: the features, preceded by the retrieval of
        candidates if the model has one.
        """
        retrieval = None if self.ranking is None else self.ranking.retrieval
        return (self.features,) if retrieval is None else (retrieval, self.features)

    @property
    def views_within(self) -> tuple[FeatureView, ...]:
        """Every view that is read to answer a request, and the views that enrich events."""
        return tuple(
            {id(view): view for service in self.services for view in service.views_within}.values()
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source that is read to answer a request, including the sources below an enriched
        one.
        """
        return tuple(
            {id(source): source for service in self.services for source in service.sources}.values()
        )


def _check_columns(ranking: Ranking, labels: Labels, subject: str) -> None:
    """Refuse a ranking by columns that the labels do not select; without a `select`, the columns
    are checked when the table is read.
    """
    if labels.select is None:
        return
    known = {labels.timestamp_field, *(output_name(item) for item in labels.select)}
    known |= set(labels.label.keys) if isinstance(labels.label, Outcome) else {labels.label}
    for role, name in (("group", ranking.group), ("item", ranking.item)):
        check_reference(
            name,
            known,
            f"{subject}: the {role} {name!r} of the ranking is not selected by labels "
            f"{labels.name!r}",
        )


def check_predictions(predictions: object, subject: str) -> None:
    """Refuse `predictions` that are neither `precomputed(...)` nor `on_request()`."""
    fits = (
        predictions is None or isinstance(predictions, Precomputed) or predictions == on_request()
    )
    give = "hw.precomputed(freshness, keys=[...]) or hw.on_request(), or leave it out"
    check(fits, predictions, f"{subject}: predictions", give)


@dataclass(frozen=True)
class TaskType:
    """One task, as properties. Other code tests the properties, never the name.

    Args:
        name: in one word.
        headline: the metric that a backtest is judged by unless it says otherwise.
        estimator: which of LightGBM's estimators learns it by default.
        objective: LightGBM's; None where it chooses by the number of classes.
        positives: the outcome is 0 or 1. Both must be there; thresholds, curves, costs and the
            positive rate are of the rows of 1.
        classes: the label is one of several classes, a string or an integer; a score is one number
            for each.
        values: scores are in the unit of the label.
        lists: rows are the candidates of lists, and a score only orders within one; the definition
            is a `Ranking`.
    """

    name: str
    headline: str
    estimator: Literal["classifier", "regressor", "ranker"]
    objective: str | None = None
    positives: bool = False
    classes: bool = False
    values: bool = False
    lists: bool = False

    @property
    def separates(self) -> bool:
        """Whether it tells classes apart, so that scores may be probabilities."""
        return self.positives or self.classes


_ROWS = (
    TaskType("binary", "auc", "classifier", "binary", positives=True),
    TaskType("multiclass", "log_loss", "classifier", classes=True),
    TaskType("regression", "mae", "regressor", "regression_l1", values=True),
    TaskType("ranking", "ndcg@10", "ranker", "lambdarank", lists=True),
)

TASKS = Rows("tasks", {row.name: row for row in _ROWS})


def written() -> tuple[str, ...]:
    """The tasks that are written as a string; of the others the definition says more.

    >>> written()
    ('binary', 'multiclass', 'regression')
    """
    return tuple(name for name, row in TASKS.items() if not row.lists)


PredictionOrigin = Literal["precomputed", "on_request", "default"]
"""How a prediction was made: precomputed and looked up; computed by the request; or the model's
default, for lack of a score.
"""

Score = float | list[float]
"""A number, or of a multiclass model one for each class."""

HOLDOUT_SALT = "approve-anyway"
"""What the units of an approve-anyway holdout are hashed with."""


@dataclass(frozen=True, eq=False, init=False)
class Censored(Definition, called="censored"):
    """Outcomes that are seen only where a prediction was not acted on: the fraud of a blocked
    payment is never seen.

    Args:
        above: a score of at least this is acted on.
        below: a score below this is acted on, as where a loan is refused; give one of the two.
        holdout: the share of units that are left alone at any score, such as 0.02. Their outcomes
            are seen at every level, so they stand for those that were hidden. Without it no level
            can be judged.
        unit: the request's column whose values are held out or not, such as "card".
            `Censored.approves_anyway(value)` says which, in any language by the rule of the
            assignment of experiments with the salt "approve-anyway".

    Raises:
        DefinitionError: no bound or two, a share outside 0 to 1, a holdout without a unit.

    >>> censored(above=0.9, holdout=0.02, unit="card").describe
    'a score of 0.9 or more is acted on, except for 0.02 of card'
    """

    above: float | None = None
    below: float | None = None
    holdout: float = 0.0
    unit: str | None = None

    def __init__(
        self,
        *,
        above: float | None = None,
        below: float | None = None,
        holdout: float = 0.0,
        unit: str | None = None,
    ) -> None:
        name, bound = ("below", below) if above is None else ("above", above)
        if (above is None) == (below is None):
            raise DefinitionError(
                f"censored(above={above!r}, below={below!r}): give one of the two, the score from "
                "which predictions are acted on"
            )
        check_number(
            bound, f"censored(): {name}", note="the score from which predictions are acted on"
        )
        subject, example = "censored(): holdout", "in ten-thousandths, such as 0.02"
        check_number(holdout, subject, "a share", least=0, below=1, note=example)
        check(not 0 < holdout * BUCKETS < 1, holdout, subject, f"a share {example}")
        if bool(holdout) != (unit is not None):
            raise DefinitionError(
                f"censored(holdout={holdout!r}, unit={unit!r}): a holdout needs the request's "
                "column whose values are held out, such as unit='card'"
            )
        if unit is not None:
            check_text(
                unit,
                "censored(): unit",
                "the name of the request's column whose values are held out, such as 'card'",
            )
        self._set(above=above, below=below, holdout=holdout, unit=unit)

    @property
    def describe(self) -> str:
        """The rule in words."""
        bound = (
            f"a score of {self.above:g} or more"
            if self.above is not None
            else f"a score below {self.below:g}"
        )
        return (
            f"{bound} is acted "
            f"on{f', except for {self.holdout:.3g} of {self.unit}' if self.holdout else ''}"
        )

    def acts_on(self, score: float) -> bool:
        """Whether a score is acted on, which hides the outcome."""
        return (
            score >= self.above
            if self.above is not None
            else self.below is not None and score < self.below
        )

    def approves_anyway(self, unit: object) -> bool:
        """Whether this unit is left alone at any score: call it where you act on scores.

        Raises:
            UsageError: a null, an empty string, or a float.

        >>> rule = censored(above=0.9, holdout=0.02, unit="card")
        >>> [card for card in range(200) if rule.approves_anyway(card)]
        [12, 23, 108, 167, 198]
        """
        return bool(self.holdout) and bucket(HOLDOUT_SALT, unit_text(unit)) < round(
            self.holdout * BUCKETS
        )

    def held_out(self, units: Iterable[object]) -> list[bool]:
        """`approves_anyway` of many units; a unit that is null is not held out."""
        known: dict[object, bool] = {}
        return [
            unit is not None
            and (
                known[unit] if unit in known else known.setdefault(unit, self.approves_anyway(unit))
            )
            for unit in units
        ]


censored = Censored


@dataclass(frozen=True, eq=False)
class Scores(Definition):
    """A table with a row for each request: its identity, its time, its label, and the score that
    each level gave it.

    Args:
        table: a frame, or the path of a parquet or csv file. All rows are judged: give test rows
            only, which no level was trained on.
        id: the column, or columns, that identify a request; each occurs once.
        time: the column with the request time, a timestamp with a time zone.
        label: the column with the outcome: numbers or booleans; of several classes, strings or
            integers.
        levels: the columns of scores, from stale to fresh; every other column of floats, or of
            lists of them, in the table's order, where None. Of several classes a score is a list or
            an array with the probability of each class.
        task: "binary", "multiclass", "regression" or `Ranking(group, item)`; None: multiclass where
            scores are lists, binary where labels are 0 and 1, else a regression.
        classes: the order of the probabilities in each list; None: the classes among the labels, in
            rising order.

    Further columns can be sliced by, and named by `Evaluation(blocks=)`.

    >>> import polars as pl
    >>> Scores(
    ...     pl.DataFrame({"id": [1], "time": [0], "label": [1], "daily": [0.4], "hourly": [0.8]})
    ... ).time
    'time'
    """

    table: TableLike | str | Path
    id: str | Sequence[str] = "id"
    time: str = "time"
    label: str = "label"
    levels: Sequence[str] | None = None
    task: Task | None = None
    classes: Sequence[str | int] | None = None

    def __post_init__(self) -> None:
        for name in ("time", "label"):
            check_text(getattr(self, name), f"Scores: {name}", "the name of a column", UsageError)
        if self.levels is not None:
            give = "a list of at least one column of scores, from stale to fresh"
            check_list(self.levels, str, "Scores: levels", give, least=1, error=UsageError)
        if self.classes is not None:
            give = "a list of at least two different classes, in the order of the probabilities"
            listed = isinstance(self.classes, Collection) and not isinstance(self.classes, str)
            different = listed and len(set(self.classes)) == len(self.classes) >= 2
            check(different, self.classes, "Scores: classes", give, UsageError)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that identify a request."""
        return (self.id,) if isinstance(self.id, str) else tuple(self.id)


def items_of(model: Model) -> tuple[str, ...]:
    """The column of the candidates of a ranking, which a job finds itself."""
    return () if model.ranking is None else (model.ranking.item,)


def precomputed_views(model: Model, precomputed: Precomputed) -> tuple[FeatureView, ...]:
    """The views that a job can read: views by its keys alone, in a ranking also by the candidates;
    none by a list of keys.
    """
    known = {*precomputed.keys, *items_of(model)}
    views = (view for service in model.services for view in service.views)
    return tuple(
        {
            id(v): v
            for v in views
            if v.list_key is None and all(v.request_key(key) in known for key in v.keys)
        }.values()
    )


def precomputable(member: Member, views: Sequence[FeatureView], items: Sequence[str] = ()) -> bool:
    """Whether a job knows this feature: it reads these views alone, and no field of a request but
    the item of a ranking.
    """
    if isinstance(member, RequestFeature):
        return (
            set(member.fields) <= set(items)
            and bool(member.inputs)
            and all(ref.view in views for ref in member.inputs.values())
        )
    if isinstance(member, RequestField):
        return member.name in items
    return (member.view if isinstance(member, FeatureRef) else member) in views


def precomputed_members(model: Model, precomputed: Precomputed) -> list[Member]:
    """The features that a job knows, in order."""
    views, items = precomputed_views(model, precomputed), items_of(model)
    return [member for member in model.features.features if precomputable(member, views, items)]
