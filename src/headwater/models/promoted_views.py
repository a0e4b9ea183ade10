"""Which version of each view is read: by its bare name the promoted one, by a fitted model the one
that it was trained on.

    <models>/promoted-views/<project>/<view>/current       {"version": 2, "before": [1]}

The pointer is that of models: written under a lock, and replaced atomically.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headwater import disk
from headwater.definitions.level import ModelVariant
from headwater.definitions.project import Project
from headwater.definitions.view_versions import Versions
from headwater.errors import DataError, UsageError, nearest
from headwater.models.pointer import Pointer, Stamp, locked, read_pointer, write_pointer
from headwater.models.registry import PROMOTED_VIEWS, ModelRegistry

Key = tuple[str, str]
"""The name of a model, and of a level."""


@dataclass(frozen=True)
class ViewSelection:
    """Which version of each view is read, of those that have several.

    promoted: by bare names. models: by the current fitted model of a model and level.
    """

    promoted: Versions = field(default_factory=dict)
    models: Mapping[Key, Versions] = field(default_factory=dict)

    def pinned(self, project: Project, variant: ModelVariant) -> ModelVariant:
        """A variant that reads the versions which its fitted model was trained on; the promoted
        ones where none was trained.
        """
        return self._at(
            project,
            variant,
            {**self.promoted, **self.models.get((variant.model.name, variant.name), {})},
        )

    def by_name(self, project: Project, variant: ModelVariant) -> ModelVariant:
        """A variant that reads the promoted versions."""
        return self._at(project, variant, self.promoted)

    def _at(self, project: Project, variant: ModelVariant, versions: Versions) -> ModelVariant:
        model = project.pinned(variant.model, versions) if versions else variant.model
        return (
            variant
            if model is variant.model
            else ModelVariant(variant.name, model, variant.level, allow_staler=variant.allow_staler)
        )


def as_served(project: Project, registry: ModelRegistry, variant: ModelVariant) -> ModelVariant:
    """A variant as requests read it: with the version of each view that its fitted model was
    trained on.
    """
    return PromotedViews(project, registry).selection().pinned(project, variant)


class PromotedViews:
    """The promoted version of each view of a project that has several; several processes may use
    it.

    Args:
        project: whose views.
        registry: the folder of models, which holds the pointers too.
    """

    def __init__(self, project: Project, registry: ModelRegistry) -> None:
        self._project, self._registry = project, registry
        self._pins: dict[Key, tuple[Stamp, Versions]] = {}

    def current(self, view: str) -> int:
        """The version that the bare name reads: the lowest where none was promoted.

        Raises:
            UsageError: no view of that name has several versions, or the project does not have the
                promoted one.
        """
        versions, pointed = self.versions(view), self.pointed(view)
        number = min(versions) if pointed is None else pointed
        if number not in versions:
            raise UsageError(
                f"{view}@{number} is promoted, and project {self._project.name!r} does not have "
                f"it; {self._versions_hint(view)}"
            )
        return number

    def pointed(self, view: str) -> int | None:
        """The version that was promoted, whether the project has it or not; None where none was."""
        pointer = read_pointer(self._pointer_folder(view))
        return None if pointer is None else pointer.version

    def versions(self, view: str) -> tuple[int, ...]:
        """The versions of a view in the project, the lowest first.

        Raises:
            UsageError: no view of that name has several.
        """
        by_view = self._project.view_versions
        if view not in by_view:
            hint = (
                nearest(view, by_view)
                if by_view
                else "no view has; give the project versions=[...]"
            )
            raise UsageError(
                f"project {self._project.name!r} has no view {view!r} with several versions; {hint}"
            )
        return tuple(by_view[view])

    def before(self, view: str) -> int:
        """The version that `rollback` would promote.

        Raises:
            UsageError: none was promoted before.
        """
        return self._back(view).version

    def promote(self, view: str, version: int) -> None:
        """Let the bare name read a version.

        Raises:
            UsageError: the project does not have it.
            DataError: the folder cannot be written.
        """
        there = self.versions(view)
        if version not in there:
            raise UsageError(
                f"project {self._project.name!r} has no version {view}@{version}; "
                f"{self._versions_hint(view)}"
            )
        folder = self._made(view)
        with locked(folder):
            pointer = read_pointer(folder) or Pointer(min(there))
            write_pointer(folder, pointer.moved_to(version), self._registry.folder)

    def rollback(self, view: str) -> int:
        """Let the bare name read the version that was promoted before; again, the one before that.

        Raises:
            UsageError: none was.
        """
        self._back(view)
        folder = self._made(view)
        with locked(folder):
            back = self._back(view)
            write_pointer(folder, back, self._registry.folder)
        return back.version

    def selection(self) -> ViewSelection:
        """The versions that are read now. It costs a look at a file for each view with several
        versions and each model at each level.

        Raises:
            UsageError: the project does not have a promoted version.
        """
        several = self._project.view_versions
        if not several:
            return ViewSelection()
        promoted = {view: self.current(view) for view in several}
        models = {}
        for variant in self._project.variants:
            pins = {
                view: version
                for view, version in self.pins((variant.model.name, variant.name)).items()
                if version in several.get(view, {})
            }
            if pins:
                models[variant.model.name, variant.name] = pins
        return ViewSelection(promoted, models)

    def pins(self, key: Key) -> Versions:
        """The version of each view that the current fitted model of a model and level was trained
        on; empty where there is none.
        """
        stamp = self._registry.stamp(*key)
        if stamp is None:
            return {}
        pins = self._pins.get(key)
        if pins is None or pins[0] != stamp:
            try:
                manifest = self._registry.current(*key).manifest
            except DataError:  # what cannot be read is not served
                return {}
            roots = {view.root.name for view in self._project.model(key[0]).features.views}
            pins = self._pins[key] = (
                stamp,
                {
                    name: manifest.view_versions.get(name, 1)
                    for name in roots | manifest.view_versions.keys()
                },
            )
        return pins[1]

    def _back(self, view: str) -> Pointer:
        """The pointer after a rollback."""
        there, pointer = self.versions(view), read_pointer(self._pointer_folder(view))
        back = None if pointer is None else pointer.back(there)
        if back is None:
            raise UsageError(
                f"no version of view {view!r} was promoted before {view}@{self.current(view)}; "
                f"{self._versions_hint(view)}"
            )
        return back

    def _pointer_folder(self, view: str) -> Path:
        return self._registry.folder / PROMOTED_VIEWS / self._project.name / view

    def _made(self, view: str) -> Path:
        folder = self._pointer_folder(view)
        try:
            disk.make_folder(self._registry.folder)
            disk.make_folder(folder)
            for path in (folder.parent.parent, folder.parent, folder):
                disk.share_like(path, self._registry.folder, below=False)
        except OSError as error:
            raise DataError(
                f"the model registry at {self._registry.folder} cannot be written: {error}"
            ) from error
        return folder

    def _versions_hint(self, view: str) -> str:
        labels = ", ".join(f"{view}@{version}" for version in self.versions(view))
        return f"it has {labels}. Run: headwater views promote VERSION"
