"""A model: its features, its labels, its task, and when its predictions are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Literal, Protocol, get_args, runtime_checkable

from headwater.definitions.censored import Censored
from headwater.definitions.checks import (
    check,
    check_choice,
    check_columns,
    check_reference,
    check_type,
    refusal,
)
from headwater.definitions.columns import output_name
from headwater.definitions.definition import Definition, check_name
from headwater.definitions.described import Described
from headwater.definitions.durations import Duration, micros, text
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Freshness, OnRequest, check_freshness, on_request
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.ranking import Ranking
from headwater.definitions.source import Source
from headwater.definitions.tasks import TASKS, TaskName, TaskType, written
from headwater.errors import DefinitionError

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
        """What its outcomes depend on, in one word; None where that is not declared."""
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
        """Every view that is read to answer a request, and those that events are enriched with."""
        return tuple(
            {id(view): view for service in self.services for view in service.views_within}.values()
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source that is read to answer a request, those below an enriched one included."""
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
