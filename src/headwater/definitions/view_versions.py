"""Versions of feature views in a project: their numbers, and a model at given versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from headwater.definitions.checks import check, check_reference
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.model import Model
from headwater.definitions.request_feature import RequestFeature
from headwater.errors import DefinitionError, UsageError, nearest

ViewVersions = Mapping[str, Mapping[int, FeatureView]]
"""By the name of a view that has several versions, the views by version, the lowest first."""
Versions = Mapping[str, int]
"""The version to read, by the name of a view."""


def view_versions(
    models: Sequence[Model], others: Sequence[FeatureView], subject: str
) -> ViewVersions:
    """The versions of each view that has `others` in addition to the version that the models read.

    Raises:
        DefinitionError: a version of no view of the models, two of one number, other keys, or a
            single feature that is read and missing.
    """
    written: dict[str, FeatureView] = {
        view.root.name: view.root
        for model in models
        for service in model.services
        for view in service.views
    }
    known: dict[str, dict[int, FeatureView]] = {}
    for other in others:
        give = "feature views, other versions of those that the models read"
        check(other.base is None, other, f"{subject}: an alias in versions", give)
        check_reference(
            other.name,
            written,
            f"{subject}: versions has {other.label!r}, and no model reads a view {other.name!r}",
        )
        original = written[other.name]
        versions = known.setdefault(other.name, {original.version: original})
        if other.version in versions:
            raise DefinitionError(
                f"{subject}: two views are version {other.version} of {other.name!r}; give the "
                f"newer one version={max(versions) + 1}"
            )
        if list(other.keys) != list(original.keys):
            raise DefinitionError(
                f"{subject}: {other.label!r} has the keys {list(other.keys)}, and "
                f"{original.label!r} {list(original.keys)}; versions of a view have the same "
                "keys. A view of other keys gets another name"
            )
        versions[other.version] = other
    for name, versions in known.items():
        for model in models:
            _check_features(model, name, versions, subject)
    return {name: dict(sorted(versions.items())) for name, versions in known.items()}


def pinned(model: Model, known: ViewVersions, versions: Versions) -> Model:
    """The model with other versions of the views that it reads; itself where it reads these."""

    def version_of(view: FeatureView) -> FeatureView:
        root = view.root
        pinned_view = known.get(root.name, {}).get(versions.get(root.name, root.version))
        if pinned_view is None or pinned_view.version == root.version:
            return view
        if view.base is None:
            return pinned_view
        return replace(
            pinned_view,
            name=view.name,
            request_keys=view.request_keys,
            base=pinned_view,
            list_key=view.list_key,
        )

    features = model.features.changed(version_of)
    ranking = model.ranking
    if ranking is not None and ranking.retrieval is not None:
        refs = [
            member
            for member in ranking.retrieval.changed(version_of).features
            if isinstance(member, FeatureRef)
        ]
        if any(after is not before for after, before in zip(refs, ranking.candidates, strict=True)):
            ranking = replace(ranking, candidates=refs)
    if features is model.features and ranking is model.ranking:
        return model
    return replace(model, features=features, task=model.task if ranking is None else ranking)


def split_label(label: str) -> tuple[str, int | None]:
    """Name and version of a label; None where it names no version.

    >>> split_label("user@2"), split_label("user"), split_label("user@live")
    (('user', 2), ('user', None), ('user@live', None))
    """
    name, at, number = label.rpartition("@")
    return (name, int(number)) if at and number.isdecimal() else (label, None)


def of_version(feature: str, version: int) -> str:
    """The name of a feature of one version of its view.

    >>> of_version("user__count_1h", 2)
    'user@2__count_1h'
    """
    view, _, short = feature.partition("__")
    return f"{view}@{version}__{short}"


def promoted_feature(feature: str, versions: Versions) -> str:
    """A feature's name in its view's promoted version; other names unchanged."""
    view = feature.partition("__")[0]
    return of_version(feature, versions[view]) if view in versions else feature


def chosen_versions(known: ViewVersions, labels: Sequence[str], project: str) -> dict[str, int]:
    """The versions that labels such as `user@2` name.

    Raises:
        UsageError: a label without a version, or of a version that the project does not have.
    """
    every = [f"{name}@{version}" for name, versions in known.items() for version in versions]
    chosen: dict[str, int] = {}
    for label in labels:
        name, version = split_label(label)
        if version is None or version not in known.get(name, {}):
            allowed = (
                nearest(label, every)
                if every
                else (
                    "none of its views has several versions: give it hw.Project(..., "
                    "versions=[...])"
                )
            )
            raise UsageError(f"project {project!r} has no version {label!r} of a view; {allowed}")
        chosen[name] = version
    return chosen


def read_versions_of(model: Model) -> dict[str, int]:
    """The version of each view that the requests of a model read, by the name of the view, without
    aliases.
    """
    return {
        view.root.name: view.root.version for service in model.services for view in service.views
    }


def _check_features(
    model: Model, name: str, versions: Mapping[int, FeatureView], subject: str
) -> None:
    for ref in (ref for service in model.services for ref in _single(service)):
        for version in versions.values() if ref.view.root.name == name else ():
            have = [feature.name for feature in version.outputs]
            if ref.feature not in have:
                raise DefinitionError(
                    f"{subject}: model {model.name!r} reads the feature {ref.name!r}, which "
                    f"{name}@{version.version} does not have ({nearest(ref.feature, have)}); keep "
                    "it in each version, or let the service list the whole view"
                )


def _single(service: FeatureService) -> Iterator[FeatureRef]:
    """The features that a service names one by one: as members, as inputs, and as keys."""
    for member in service.features:
        if isinstance(member, FeatureRef):
            yield member
        elif isinstance(member, RequestFeature):
            yield from member.inputs.values()
    for view in service.views_in_history:
        yield from (
            filled for filled in view.request_keys.values() if isinstance(filled, FeatureRef)
        )
