"""A project: the models of a team; everything else is reachable from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, pairwise
from typing import TypeVar, cast

from headwater.definitions.checks import check_list, check_number, check_reference, check_type
from headwater.definitions.definition import Definition, check_name
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.experiment import Arm, Experiment
from headwater.definitions.feature_service import sources_of
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Freshness
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.level import Level, as_level
from headwater.definitions.model import Model
from headwater.definitions.model_variant import AS_DEFINED, ModelVariant
from headwater.definitions.source import Source
from headwater.definitions.view_versions import (
    Versions,
    ViewVersions,
    chosen_versions,
    pinned,
    view_versions,
)
from headwater.errors import DefinitionError, UsageError

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
        versions: other versions of views that the models read, such as the one before a change.
            They are kept filled next to those, and `headwater views promote` says which one is read
            by name.

    Raises:
        DefinitionError: two models, views, sources or experiments that share a name and differ; a
            level that is not a Level; an experiment of a model that is not the project's; parts of
            a layer that overlap; a holdout that is not below 1; versions that do not fit.
    """

    name: str
    models: Sequence[Model]
    levels: Mapping[str, Level | Freshness] = field(default_factory=dict)
    evaluation: Evaluation | None = field(default=None, metadata={"fingerprint": False})
    experiments: Sequence[Experiment] = field(default=(), metadata={"fingerprint": "given"})
    holdout: float = field(default=0.0, metadata={"fingerprint": "given"})
    versions: Sequence[FeatureView] = field(default=(), metadata={"fingerprint": "given"})

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
        for level_name, level in self.named_levels.items():
            ModelVariant(level_name, self.models[0], level)  # which checks the type of the level
        give = "feature views, other versions of those that the models read"
        object.__setattr__(
            self, "versions", check_list(self.versions, FeatureView, f"{subject}: versions", give)
        )
        self._check_versions()
        _check_levels(self)
        _distinct(self.models, "models")
        _distinct(self.views, "feature views")
        _distinct(
            _unique([http for model in self.models for http in model.features.http_features]),
            "third-party features",
        )
        _distinct(self.sources, "sources")
        _check_streams(self.models)
        experiments = check_list(
            self.experiments, Experiment, f"{subject}: experiments", "a list of hw.Experiment(...)"
        )
        object.__setattr__(self, "experiments", experiments)
        check_number(
            self.holdout, f"{subject}: holdout", "a share", least=0, below=1, note="such as 0.05"
        )
        _check_experiments(self)

    def _check_versions(self) -> None:
        numbers = [name for name in self.named_levels if name.isdecimal()]
        if self.view_versions and numbers:
            raise DefinitionError(
                f"project {self.name!r}: the level {numbers[0]!r} is named like a version of a "
                "view; rename it"
            )

    @cached_property
    def view_versions(self) -> ViewVersions:
        """By the name of each view that has several versions, the views by version, the lowest
        first.
        """
        return view_versions(self.models, self.versions, f"project {self.name!r}")

    def pinned(self, model: Model | str, versions: Versions) -> Model:
        """A model that reads other versions of its views: `project.pinned("churn", {"user": 1})`.

        Raises:
            UsageError: a model or version that the project does not have.
        """
        labels = [f"{name}@{version}" for name, version in versions.items()]
        return pinned(
            self.model(model) if isinstance(model, str) else model,
            self.view_versions,
            chosen_versions(self.view_versions, labels, self.name),
        )

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
        """What answers the requests of an arm: its model at the level of that name, or at one named
        after experiment and arm.

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

    @property
    def views(self) -> tuple[FeatureView, ...]:
        """Every view that a model reads or finds candidates in, and those that events are enriched
        with.
        """
        return _unique([view for model in self.models for view in model.views_within])

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source that a view reads, in any of its versions, those below an enriched one
        included.
        """
        older = [source for view in self.versions for source in sources_of([view])]
        return _unique([*(source for model in self.models for source in model.sources), *older])

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
    """Refuse a level that names a view which no model reads: it would change nothing."""
    read = {
        name: view
        for each in project.views
        for name, view in ((each.name, each), (each.root.name, each.root))
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


def _check_streams(models: Sequence[Model]) -> None:
    """Refuse one source over two streams: values do not depend on a stream, so sources are equal no
    matter what theirs are.
    """
    streams: dict[str, Source] = {}
    for source in (source for model in models for source in model.sources):
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
