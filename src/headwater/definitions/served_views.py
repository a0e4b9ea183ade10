"""The served part of a project: each model at each level that can be served, and the views that are
stored for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from headwater.definitions.definition import fingerprint_of
from headwater.definitions.enriched import bottom_of
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import on_request
from headwater.definitions.model import Precomputed
from headwater.definitions.model_variant import AS_DEFINED, ModelVariant
from headwater.definitions.project import Project
from headwater.definitions.view_refusals import refusals
from headwater.errors import UsageError, nearest


@dataclass(frozen=True)
class StoredView:
    """A view, not an alias, at a freshness that something is served at, and the names of the levels
    that read it so.
    """

    view: FeatureView
    levels: tuple[str, ...]

    @cached_property
    def name(self) -> str:
        """The view's label; at a freshness that only levels give it, followed by the first of
        these: `user@live`, `user@2@live`.
        """
        return (
            self.view.label if AS_DEFINED in self.levels else f"{self.view.label}@{self.levels[0]}"
        )

    @cached_property
    def names(self) -> frozenset[str]:
        """What it may be called by: its name, its label with the version, and the view's name,
        which is that of every version.
        """
        version = f"{self.view.name}@{self.view.version}"
        return frozenset(
            {self.name, self.view.name, version, version + self.name.removeprefix(self.view.label)}
        )


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
    that lag differently share theirs too, and stand here once: the first that is named. So does
    each version of a view, at each of these.
    """
    levels: dict[FeatureView, list[str]] = {view.root: [AS_DEFINED] for view in project.views}
    levels |= {view: [AS_DEFINED] for view in project.versions}
    for variant in served(project):
        if variant.name != AS_DEFINED and (
            variant.precomputed is None or variant.precomputed.on_request
        ):
            for view in (view for service in variant.services for view in service.views_within):
                others = project.view_versions.get(view.root.name, {}).values()
                for version in (
                    view.root,
                    *(
                        other.at(variant.level.freshness(other))
                        for other in others
                        if other.version != view.root.version
                    ),
                ):
                    names = levels.setdefault(version, [])
                    names.extend([] if variant.name in names else [variant.name])
    by_fingerprint: dict[str, StoredView] = {}
    for view, names in levels.items():
        by_fingerprint.setdefault(view.tiles_fingerprint, StoredView(view, tuple(names)))
    return tuple(by_fingerprint.values())


def chosen(
    every: Iterable[StoredView], names: Sequence[str], unknown: Callable[[str], str]
) -> list[StoredView]:
    """Those of these names, in their order: `user` is the view at each freshness and version,
    `user@live` at one freshness, `user@2` of one version; all of them where none is named.

    Raises:
        UsageError: a name that none has; `unknown` makes the message of it, which the nearest name
            is added to.
    """
    every = list(every)
    selected: dict[str, StoredView] = {}
    for name in names:
        matching = [stored_view for stored_view in every if name in stored_view.names]
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
    """16 hexadecimal digits of all that shapes the scores of a variant but for the fitted model:
    what a store tells them apart by.

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
