"""Versions of views side by side: which there are and how each stands, promoting one, and going
back.
"""

from __future__ import annotations

from pathlib import Path

from headwater import clock
from headwater.definitions.project import Project, stored
from headwater.definitions.view_versions import chosen_versions
from headwater.errors import UsageError
from headwater.models.promoted_views import PromotedViews
from headwater.models.registry import ModelRegistry
from headwater.monitoring.status import standing
from headwater.results.result import Result
from headwater.stores import OnlineStore
from headwater.stores.keyspace import opened_for, placed

_UNREADABLE = ("absent", "filling", "incomplete")


class ViewVersion(Result, frozen=True):
    """A version of a view.

    Args:
        view: its name.
        version: its number.
        promoted: whether the bare name reads it.
        state: by the name it is stored under (`user@2`, `user@2@live`), how it stands in the online
            store: as `ViewStatus`.
        models: the current fitted models that were trained on it, and so read it.
    """

    view: str
    version: int
    promoted: bool
    state: dict[str, str]
    models: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.view}@{self.version}"


def view_versions(
    project: Project, *, store: OnlineStore | str | None = None, models: str | Path | None = None
) -> tuple[ViewVersion, ...]:
    """The versions of every view that has several, by name, the lowest version first.

    Args:
        project: whose views.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        models: the folder of fitted models; None is `models` in headwater's home.

    Raises:
        StoreError: the store does not exist.

    >>> import headwater as hw
    >>> from tempfile import TemporaryDirectory
    >>> from headwater.testing.examples import temporary_store, two_versions
    >>> project = two_versions(hw.batch("1h"))
    >>> with temporary_store() as store, TemporaryDirectory() as models:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     before = hw.operations.view_versions(project, store=store, models=models)
    ...     hw.operations.promote_view(project, "user@2", store=store, models=models)
    ...     after = hw.operations.view_versions(project, store=store, models=models)
    >>> (
    ...     [(str(version), version.promoted) for version in before],
    ...     [version.promoted for version in after],
    ... )
    ([('user@1', True), ('user@2', False)], [False, True])
    """
    registry = ModelRegistry(models)
    promoted, now = PromotedViews(project, registry), clock.now_micros()
    if not project.view_versions:
        return ()
    readers: dict[tuple[str, int], list[str]] = {}
    for variant in project.variants:
        for view, number in promoted.pins((variant.model.name, variant.name)).items():
            readers.setdefault((view, number), []).append(
                str(registry.current(variant.model.name, variant.name))
            )
    with opened_for(project.name, store, readonly=True) as opened:
        state: dict[tuple[str, int], dict[str, str]] = {}
        for stored_view in stored(project):
            state.setdefault((stored_view.view.name, stored_view.view.version), {})[
                stored_view.name
            ] = standing(opened, placed(opened, stored_view.view), now)[0]
    return tuple(
        ViewVersion(
            view,
            number,
            number == promoted.current(view),
            state.get((view, number), {}),
            tuple(readers.get((view, number), ())),
        )
        for view, versions in project.view_versions.items()
        for number in versions
    )


def promote_view(
    project: Project,
    label: str,
    *,
    store: OnlineStore | str | None = None,
    models: str | Path | None = None,
) -> None:
    """Let the bare name of a view read a version from now on, such as `user@2`; running workers
    take it up within a second.

    Fitted models go on reading the version that they were trained on.

    Args:
        project, store, models: as for `view_versions`.
        label: the name of the view and the version.

    Raises:
        UsageError: the project has no such version, or the store has not filled it.
    """
    ((view, number),) = chosen_versions(project.view_versions, [label], project.name).items()
    check_filled(project, view, number, store=store, models=models)
    PromotedViews(project, ModelRegistry(models)).promote(view, number)


def rollback_view(
    project: Project,
    view: str,
    *,
    store: OnlineStore | str | None = None,
    models: str | Path | None = None,
) -> int:
    """Let the bare name of a view read the version that was promoted before; again, the one before
    that. Returns its number.

    Args:
        project, store, models: as for `view_versions`.
        view: the name of the view.

    Raises:
        UsageError: no version was promoted before, or the store has not filled it.
    """
    promoted = PromotedViews(project, ModelRegistry(models))
    check_filled(project, view, promoted.before(view), store=store, models=models)
    return promoted.rollback(view)


def check_filled(
    project: Project,
    view: str,
    number: int,
    *,
    store: OnlineStore | str | None = None,
    models: str | Path | None = None,
) -> None:
    """Refuse a version that requests could not read.

    Raises:
        UsageError: the store has not filled it, at some freshness.
    """
    versions = view_versions(project, store=store, models=models)
    chosen = next(
        version for version in versions if (version.view, version.version) == (view, number)
    )
    unfilled = {name: state for name, state in chosen.state.items() if state in _UNREADABLE}
    if unfilled:
        states = ", ".join(f"{name} is {state}" for name, state in unfilled.items())
        raise UsageError(
            f"{chosen} cannot be read yet: {states} in the online store. Fill it with headwater "
            "materialize or headwater ingest; headwater status shows when it is done"
        )
