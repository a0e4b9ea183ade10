"""A project: the models of a team; everything else is reachable from them.

The served part of a project: each model at each level that can be served, and the views that are
stored for them.

Views that no pipeline can keep as they are defined, and why.

Calls of the public functions: a misspelt or missing argument, and a model where a project is
needed, are refused before any work.

Which fields of a request are the request time itself, so that a caller may leave them out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import combinations, pairwise
from typing import Final, ParamSpec, TypeVar, cast

from headwater.definitions.checks import (
    check_arguments,
    check_call,
    check_list,
    check_number,
    check_reference,
    check_type,
)
from headwater.definitions.definition import Definition, check_name, fingerprint_of
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.experiment import Arm, Experiment
from headwater.definitions.feature_service import Enriched, sources_of, views_within
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Freshness, on_request
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.level import AS_DEFINED, Level, ModelVariant, as_level
from headwater.definitions.model import Model, Precomputed
from headwater.definitions.source import Source, bottom_of
from headwater.errors import DefinitionError, UsageError, nearest

T = TypeVar("T", bound=Definition)


@dataclass(frozen=True, eq=False)
class Project(Definition):
    """The models of a team, and the levels that they are served at.

    Args:
        name: letters, digits and single underscores.
        models: at least one.
        levels: named levels. Every model is served at each of them that can be served, besides its
            own definition; a backtest from the command line compares them, and the usual ladder
            where none are given. A bare freshness is a level too.
        evaluation: how the models are judged, from Python and from the command line.
        experiments: comparisons of models at levels in production.
        holdout: the share of all units that take part in no experiment of the project, such as
            0.05: they get the default throughout, and show what all experiments together brought.
        views: views to keep though no service lists them, such as `user` while a served model
            reads it and the models are written with `user@2`.

    Raises:
        DefinitionError: two models, views, sources or experiments that share a name and differ; a
            level that is not a Level; an experiment of a model that is not the project's; parts of
            a layer that overlap; a holdout that is not below 1.
    """

    name: str
    models: Sequence[Model]
    levels: Mapping[str, Level | Freshness] = field(default_factory=dict)
    evaluation: Evaluation | None = field(default=None, metadata={"fingerprint": False})
    experiments: Sequence[Experiment] = field(default=(), metadata={"fingerprint": "given"})
    holdout: float = field(default=0.0, metadata={"fingerprint": "given"})
    views: Sequence[FeatureView] = field(default=(), metadata={"fingerprint": "given"})

    def __post_init__(self) -> None:
        check_name(self.name, "a project")
        subject = f"project {self.name!r}"
        give = (
            "a list of at least one Model, such as [hw.Model('returns', task='binary', "
            "features=service, labels=labels)]. Without a model, features are read with "
            "hw.get_historical_features(service, rows)"
        )
        object.__setattr__(
            self, "models", check_list(self.models, Model, f"{subject}: models", give, least=1)
        )
        check_type(self.levels, Mapping, f"{subject}: levels", "a mapping from names to Levels")
        object.__setattr__(
            self,
            "levels",
            {
                name: as_level(level, f"{subject}: the level {name!r}")
                for name, level in self.levels.items()
            },
        )
        check_type(
            self.evaluation,
            Evaluation | None,
            f"{subject}: evaluation",
            "hw.Evaluation(split=..., metrics=...)",
        )
        if AS_DEFINED in self.levels:
            raise DefinitionError(
                f"{subject}: a level is named {AS_DEFINED!r}, as each model's own is; rename it"
            )
        for name in self.levels:
            if name.isdecimal():
                raise DefinitionError(
                    f"{subject}: the level {name!r} is named like a version of a view; rename it"
                )
        for level_name, level in self.named_levels.items():
            ModelVariant(level_name, self.models[0], level)  # which checks the type of the level
        give = "a list of feature views to keep, such as the former version of one"
        views = check_list(self.views, FeatureView, f"{subject}: views", give)
        object.__setattr__(self, "views", views)
        for view in views:
            if view.base is not None or view.third_party is not None:
                kind = "an alias" if view.base is not None else "a third party's view"
                raise DefinitionError(
                    f"{subject}: views has {view.name!r}, {kind}, which keeps no state of its own; "
                    f"{give}"
                )
        _check_levels(self)
        _distinct(self.models, "models")
        _distinct(self.all_views, "feature views")
        _distinct(
            _unique([http for model in self.models for http in model.features.http_features]),
            "third-party features",
        )
        _distinct(self.sources, "sources")
        _check_streams(self._all_sources)
        experiments = check_list(
            self.experiments, Experiment, f"{subject}: experiments", "a list of hw.Experiment(...)"
        )
        object.__setattr__(self, "experiments", experiments)
        check_number(
            self.holdout, f"{subject}: holdout", "a share", least=0, below=1, note="such as 0.05"
        )
        _check_experiments(self)

    @cached_property
    def variants(self) -> tuple[ModelVariant, ...]:
        """Every model as defined, at each level, and at the levels of its arms in experiments that
        have no name of their own.
        """
        every = {AS_DEFINED: Level(), **self.named_levels}
        named = [
            ModelVariant(name, model, level)
            for model in self.models
            for name, level in every.items()
        ]
        arms = [
            self.arm_variant(experiment, arm)
            for experiment in self.experiments
            for arm in experiment.arms
        ]
        return tuple(dict.fromkeys([*named, *arms]))

    def arm_variant(self, experiment: Experiment, arm: Arm) -> ModelVariant:
        """The variant of an arm: its model at the level of that name, or at one named after
        experiment and arm.

        An arm that may serve a fitted model staler than it was trained has a name of its own, so
        that the named level stays strict.
        """
        level = cast("Level", arm.level)
        every = {AS_DEFINED: Level(), **self.named_levels}
        name = next(
            (name for name, known in every.items() if known == level),
            f"{experiment.name}-{arm.name}",
        )
        staler = arm.allow_staler and name != AS_DEFINED
        return ModelVariant(
            f"{experiment.name}-{arm.name}" if staler else name,
            arm.model,
            level,
            allow_staler=staler,
        )

    def experiment(self, name: str) -> Experiment:
        """The experiment of that name.

        Raises:
            UsageError: there is none.
        """
        if not self.experiments:
            raise UsageError(
                f"project {self.name!r} defines no experiment; give it hw.Project(..., "
                "experiments=[hw.Experiment(...)])"
            )
        experiments = {experiment.name: experiment for experiment in self.experiments}
        check_reference(
            name, experiments, f"project {self.name!r} has no experiment {name!r}", UsageError
        )
        return experiments[name]

    @property
    def named_levels(self) -> Mapping[str, Level]:
        """The levels, each as a `Level`."""
        return cast("Mapping[str, Level]", self.levels)

    @cached_property
    def all_views(self) -> tuple[FeatureView, ...]:
        """Every view that a model reads or finds candidates in, or that enriches events, and those
        that are kept.
        """
        read = [view for model in self.models for view in model.views_within]
        return _unique([*read, *views_within(self.views)])

    @cached_property
    def roots(self) -> tuple[FeatureView, ...]:
        """The views that have state, aliases left out."""
        return _unique([view.root for view in self.all_views])

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source that a view reads, including the sources below an enriched one."""
        return _unique(self._all_sources)

    @property
    def _all_sources(self) -> list[Source]:
        read = [source for model in self.models for source in model.sources]
        return [*read, *sources_of(views_within(self.views))]

    def variant(self, model: str | None = None, level: str | None = None) -> ModelVariant:
        """The model of that name (or the only one) at the level of that name (or as defined)."""
        variants = {
            variant.name: variant for variant in self.variants if variant.model is self.model(model)
        }
        name = AS_DEFINED if level is None else level
        check_reference(name, variants, f"project {self.name!r} has no level {name!r}", UsageError)
        return variants[name]

    def model(self, name: str | None = None) -> Model:
        """The model of that name, or the only one."""
        if name is None:
            if len(self.models) > 1:
                raise UsageError(
                    f"project {self.name!r} has {len(self.models)} models; name one of: "
                    f"{', '.join(m.name for m in self.models)}"
                )
            return self.models[0]
        models = {model.name: model for model in self.models}
        check_reference(name, models, f"project {self.name!r} has no model {name!r}", UsageError)
        return models[name]


def _check_levels(project: Project) -> None:
    """Refuse a level with a view that the project does not have: it would change nothing."""
    read = {
        name: view
        for read_view in project.all_views
        for name, view in ((read_view.name, read_view), (read_view.root.name, read_view.root))
    }
    for name, level in project.named_levels.items():
        for view in level.features if isinstance(level.features, Mapping) else ():
            if getattr(view, "third_party", None) is None:
                says = (
                    f"project {project.name!r}: the level {name!r} names the view {view.name!r}, "
                    "which no model reads"
                )
                check_reference(view.name, read, says)


def _check_experiments(project: Project) -> None:
    subject = f"project {project.name!r}"
    for experiment in project.experiments:
        for arm in experiment.arms:
            if arm.model not in project.models:
                raise DefinitionError(
                    f"{subject}: experiment {experiment.name!r} has the arm {arm.name!r} of model "
                    f"{arm.model.name!r}, which is not among its models; add it to models"
                )
    _distinct(project.experiments, "experiments")
    layered = sorted(
        (e for e in project.experiments if e.layer is not None),
        key=lambda e: (str(e.layer), e.span),
    )
    for left, right in pairwise(layered):
        if left.layer == right.layer and right.span[0] < left.span[1]:
            raise DefinitionError(
                f"{subject}: experiments {left.name!r} and {right.name!r} share a part of layer "
                f"{left.layer!r}; give them spans that do not overlap, such as (0.0, 0.5) and "
                "(0.5, 1.0)"
            )
    free = [e for e in project.experiments if e.layer is None]
    for left, right in combinations(free, 2):
        shared = [
            arm.model.name
            for arm in left.arms
            if arm.model in [other.model for other in right.arms]
        ]
        if shared:
            raise DefinitionError(
                f"{subject}: experiments {left.name!r} and {right.name!r} both decide who answers "
                f"for model {shared[0]!r}; put them into one layer, each with a span of its own"
            )


def _unique(values: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _check_streams(sources: Sequence[Source]) -> None:
    """Refuse one source over two streams: values do not depend on a stream, so sources are equal
    whatever their streams are.
    """
    streams: dict[str, Source] = {}
    for source in sources:
        first = streams.setdefault(source.name, source)
        if source.stream != first.stream:
            raise DefinitionError(
                f"two sources are named {source.name!r}, of {first.stream or 'no stream'} and of "
                f"{source.stream or 'no stream'}; make one of them, or rename one"
            )


def _distinct(
    values: Sequence[Model]
    | Sequence[FeatureView]
    | Sequence[Source]
    | Sequence[HttpFeatures]
    | Sequence[Experiment],
    subject: str,
) -> None:
    names = [v.name for v in values]
    for value in values:
        if names.count(value.name) > 1:
            raise DefinitionError(f"two {subject} are named {value.name!r} and differ; rename one")


@dataclass(frozen=True)
class StoredView:
    """A view, not an alias, at a freshness that something is served at, and the names of the levels
    that read it so.
    """

    view: FeatureView
    levels: tuple[str, ...]

    @cached_property
    def name(self) -> str:
        """The view's name; at a freshness that only levels give it, followed by the first of
        these: `user@live`, `user@2@live`.
        """
        return self.view.name if AS_DEFINED in self.levels else f"{self.view.name}@{self.levels[0]}"


def backtest_only(variant: ModelVariant) -> str | None:
    """Why nothing can serve a variant, so that only a backtest replays it; None where it can be
    served.

    Where predictions are precomputed, a job reads the history, and no view has to be kept, unless
    predictions on request stand in.
    """
    soon = [source.name for source in variant.model.sources if source in variant.level.known_after]
    if soon:
        return (
            f"known_after of {soon[0]} is for backtests only: a served event is known when it "
            "arrives"
        )
    http_freshness = [
        (http.name, variant.level.freshness(http.view))
        for http in variant.model.features.http_features
    ]
    other = [
        f"third-party features {name} at {freshness} are for backtests only"
        for name, freshness in http_freshness
        if freshness != on_request()
    ]
    if other:
        return f"{other[0]}: a service requests them with each prediction"
    precomputed, views = (
        variant.precomputed,
        [view.root for service in variant.services for view in service.views],
    )
    if precomputed is not None and not precomputed.freshness.scheduled:
        return (
            f"its predictions are precomputed {precomputed.freshness}, and a job computes them at "
            "cuts: precomputed(hw.batch(...))"
        )
    if precomputed is not None and not precomputed.on_request:
        unmade = (view for view in views if not view.freshness.servable)
        return next(
            (
                (
                    f"view {view.name} at {view.freshness} is for backtests only: no job and no "
                    "stream computes it"
                )
                for view in unmade
            ),
            None,
        )
    refused = refusals(views)
    return refused[0] if refused else next(filter(None, map(_unfed, views)), None)


def served(project: Project) -> tuple[ModelVariant, ...]:
    """The variants of a project that can be served: each model as defined, and at the levels that
    are not for backtests alone.
    """
    return tuple(
        variant
        for variant in project.variants
        if variant.name == AS_DEFINED or backtest_only(variant) is None
    )


def replayed(project: Project) -> Mapping[str, Mapping[str, str]]:
    """By level and model, why it is for backtests alone."""
    reasons: dict[str, dict[str, str]] = {}
    for variant in project.variants:
        why = None if variant.name == AS_DEFINED else backtest_only(variant)
        if why is not None:
            reasons.setdefault(variant.name, {})[variant.model.name] = why
    return reasons


def stored(project: Project) -> tuple[StoredView, ...]:
    """The views that plan, apply, ingest, materialize and status work on: each as defined, and at
    each other freshness of a level.

    A view at a freshness has tiles of its own; levels that are equally fresh share them. Streams
    that lag differently share theirs too, and stand here once: the first that is named. A view
    that is kept is kept at each level that can be served.
    """
    levels: dict[FeatureView, list[str]] = {view: [AS_DEFINED] for view in project.roots}
    for variant in served(project):
        if variant.name != AS_DEFINED and (
            variant.precomputed is None or variant.precomputed.on_request
        ):
            read = [v.root for service in variant.services for v in service.views_within]
            kept = [view.at(variant.level.freshness(view)) for view in project.views]
            for view in (*read, *(v for v in kept if not refusals([v]) and _unfed(v) is None)):
                names = levels.setdefault(view, [])
                names.extend([] if variant.name in names else [variant.name])
    by_fingerprint: dict[str, StoredView] = {}
    for view, names in levels.items():
        by_fingerprint.setdefault(view.tiles_fingerprint, StoredView(view, tuple(names)))
    return tuple(by_fingerprint.values())


def chosen(
    every: Iterable[StoredView], names: Sequence[str], unknown: Callable[[str], str]
) -> list[StoredView]:
    """The stored views of these names, in their order: `user` is the view at each freshness,
    `user@live` at one; all of them where none is named.

    Raises:
        UsageError: a name that none has; `unknown` makes the message of it, which the nearest name
            is added to.
    """
    every = list(every)
    selected: dict[str, StoredView] = {}
    for name in names:
        matching = [stored for stored in every if name in (stored.name, stored.view.name)]
        if not matching:
            raise UsageError(
                f"{unknown(name)}; {nearest(name, [stored_view.name for stored_view in every])}"
            )
        selected |= {stored_view.name: stored_view for stored_view in matching}
    return list(selected.values()) if names else every


def _unfed(view: FeatureView) -> str | None:
    """The stream or history that a view lacks, as a message; None where it lacks nothing."""
    source = view.source
    if view.freshness.streamed and bottom_of(source).stream is None:
        return f"view {view.name} would be streaming, and source {source.name} has no stream"
    if view.freshness.scheduled and bottom_of(source).history is None:
        return f"view {view.name} would be batch, and source {source.name} has no history"
    return None


def fingerprint(variant: ModelVariant, namespace: str = "") -> str:
    """16 hexadecimal digits of all that shapes the scores of a variant except the fitted model:
    stored scores are kept apart by it.

    namespace: of the variant's project in the store.
    """
    precomputed = precomputed_of(variant)
    identity = (
        "scores",
        variant.model.name,
        variant.model.task,
        [service.fingerprint for service in variant.services],
        precomputed.freshness,
        precomputed.keys,
    )
    whole = (*identity, namespace) if namespace else identity
    return fingerprint_of(whole)


def precomputed_of(variant: ModelVariant) -> Precomputed:
    """How a variant's predictions are precomputed.

    Raises:
        UsageError: they are made on request, or only a backtest can make them.
    """
    precomputed = variant.precomputed
    if precomputed is None:
        raise UsageError(
            f"model {variant.model.name!r} at level {variant.name!r} is predicted on request; "
            "give the level predictions=hw.precomputed(freshness, keys=[...])"
        )
    why = backtest_only(variant)
    if why is not None:
        raise UsageError(
            f"model {variant.model.name!r} at level {variant.name!r} is for backtests only: {why}"
        )
    return precomputed


Finding = tuple[FeatureView | Source | HttpFeatures, str, str]  # of what, the message, the remedy


def refusals(views: Sequence[FeatureView]) -> list[str]:
    """The reasons why no pipeline can maintain these views, as messages."""
    return [
        f"view {view.name}: {message}"
        for look in REFUSALS.values()
        for view, message, _ in look(_unique([view.root for view in views]))
    ]


def queryable(source: Source) -> bool:
    """Whether a source can be asked for the events of a key at the moment of a request: its history
    says so of itself.

    A connector that can has an attribute `queryable` that is true. No file can, nor a frame: a
    request would read all of it.
    """
    return bool(getattr(source.history, "queryable", False))


def _on_request(views: Sequence[FeatureView]) -> Iterator[Finding]:
    for view in views:
        if view.freshness.computed_on_request and not queryable(view.source):
            yield (
                view,
                (
                    f"on_request() would read the events of source {view.source.name} at each "
                    "request, and it cannot be queried for one key"
                ),
                (
                    'Stream it, freshness=hw.streaming("2s"), and keep on_request() for a level of '
                    "the backtest"
                ),
            )


def _own_freshness(views: Sequence[FeatureView]) -> Iterator[Finding]:
    for view in views:
        if not view.freshness.servable:
            yield (
                view,
                f"{view.freshness.kind}() is for backtests only: no job and no stream computes it",
                'Give the view hw.batch(...) or hw.streaming("2s"), and this freshness to a level',
            )


def _enriched(views: Sequence[FeatureView]) -> Iterator[Finding]:
    for view in views:
        if view.freshness.streamed and isinstance(view.source.history, Enriched):
            yield (
                view,
                (
                    f"its source {view.source.name} is enriched, and chained views are computed "
                    "from history alone"
                ),
                "Give it hw.batch(...), or aggregate the events without enriching them",
            )


def _known_windows(views: Sequence[FeatureView]) -> Iterator[Finding]:
    for view in views:
        if view.freshness.streamed and view.source.window_on == "known_at":
            yield (
                view,
                (
                    f"source {view.source.name} has window_on='known_at', and in a stream that is "
                    "when the pipeline committed: no replay could repeat it"
                ),
                (
                    "Leave window_on out, or name as timestamp_field the column that says when an "
                    "event was known"
                ),
            )


REFUSALS: Mapping[str, Callable[[Sequence[FeatureView]], Iterator[Finding]]] = {
    "on-request": _on_request,
    "own-freshness": _own_freshness,
    "enriched-stream": _enriched,
    "known-windows": _known_windows,
}
"""The rules that stop an apply: each looks at views with state, aliases left out."""


P = ParamSpec("P")

R = TypeVar("R")

_TAKEN: Final[dict[str, tuple[type, str]]] = {
    "Model": (Model, "take one from project.models"),
    "Project": (Project, "give hw.Project(name, [models]), such as `project` of the project file"),
}
"""By a parameter's annotation: what it takes, and what to give instead of something else."""


def checked_call(function: Callable[P, R]) -> Callable[P, R]:
    """The function with checked arguments: wrong ones are refused, with the allowed ones.

    >>> @checked_call
    ... def train(model: Model, *, seed: int = 0) -> None: ...
    >>> train(None, sede=1)
    Traceback (most recent call last):
    headwater.errors.UsageError: train() takes no argument 'sede'; did you mean 'seed'?
    >>> train("churn")
    Traceback (most recent call last):
    headwater.errors.UsageError: train() takes a Model, and was given str; take one from project.models
    """  # noqa: E501 (output as it is printed)
    signature = inspect.signature(function)
    name = function.__name__
    takes = {
        n: _TAKEN[p.annotation] for n, p in signature.parameters.items() if p.annotation in _TAKEN
    }

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        check_arguments(name, kwargs, signature.parameters, UsageError)
        check_call(name, signature, args, kwargs, UsageError)
        for parameter, value in (
            dict(zip(signature.parameters, args, strict=False)) | kwargs
        ).items():
            if parameter in takes and not isinstance(value, takes[parameter][0]):
                kind, instead = takes[parameter]
                raise UsageError(
                    f"{name}() takes a {kind.__name__}, and was given {type(value).__name__}; "
                    f"{instead}"
                )
        return function(*args, **kwargs)

    return call


def request_times(project: Project, service: str) -> frozenset[str]:
    """The fields of a feature service that every model with it has as the time of its labels,
    declared as a datetime.

    Training fills such a field with the request time of each row, so a request that leaves it out
    has its own request time in it.

    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> request_times(visiting(hw.batch("1h")), "churn_v1")
    frozenset()
    """
    models = [
        model for model in project.models if service in {read.name for read in model.services}
    ]
    if not models:
        return frozenset()
    times = {model.labels.timestamp_field for model in models}
    (read,) = {
        read.name: read for model in models for read in model.services if read.name == service
    }.values()
    keys = {view.request_key(key) for view in read.views for key in view.keys}
    declared = [(field.name, field.dtype) for field in read.request_fields]
    declared += [pair for function in read.request_features for pair in function.fields.items()]
    other = {name for name, dtype in declared if dtype is not datetime}
    return frozenset(name for name, _ in declared if times == {name} and name not in keys | other)
