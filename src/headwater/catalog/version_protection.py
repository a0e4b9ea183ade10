"""What fitted models and promoted names need of a project: a version of a view that they read is
not dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headwater.definitions.project import Project
from headwater.models.promoted_views import PromotedViews
from headwater.models.registry import ModelRegistry


def dropped_versions(project: Project, registry: ModelRegistry) -> Iterator[str]:
    """Why a project cannot be applied: a version that it lacks is promoted, or read by a fitted
    model that is served.

    Args:
        project: as it would be applied.
        registry: of fitted models, and of promoted versions.
    """
    promoted, by_view = PromotedViews(project, registry), _view_versions(project)
    for view, versions in by_view.items():
        number = promoted.pointed(view)
        if number is not None and number not in versions:
            yield (
                f"{view}@{number} is promoted, and the project does not have it; keep it in "
                "versions=[...], or promote another one first"
            )
    for variant in project.variants:
        key = variant.model.name, variant.name
        for view, number in promoted.pins(key).items():
            if view in by_view and number not in by_view[view]:
                current = registry.current(*key)
                yield (
                    f"{current}, is served and reads {view}@{number}, which the project does not "
                    "have; keep it in versions=[...] until a model that was trained on another "
                    f"version is promoted: headwater train --model {variant.model.name}, "
                    "headwater models promote"
                )


def versions_in_words(project: Project, registry: ModelRegistry) -> dict[str, str]:
    """In words, by the name of each view with several versions: which there are, and which one its
    name reads.
    """
    promoted, words = PromotedViews(project, registry), {}
    for view, versions in project.view_versions.items():
        current = promoted.pointed(view) or min(versions)
        labels = [
            f"{view}@{number}" + (" (read by name)" if number == current else "")
            for number in versions
        ]
        words[view] = (
            f"{', '.join(labels)} are all kept filled, each in tiles of its own, until one is "
            "taken out of versions=[...]"
        )
    return words


def _view_versions(project: Project) -> Mapping[str, set[int]]:
    """By the name of each view, the versions of it in the project."""
    written = {
        view.root.name: {view.root.version}
        for model in project.models
        for service in model.services
        for view in service.views
    }
    return {
        name: versions | set(project.view_versions.get(name, {}))
        for name, versions in written.items()
    }
