"""Remove a view's data from an online store, so that the next run rebuilds it from its events."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, chosen, stored
from headwater.state.compaction import drop_sections
from headwater.state.record import stored_sections
from headwater.stores import INGEST_LEASE, OnlineStore, keyspace
from headwater.stores.keyspace import from_production, opened_for, placed, placed_generations

_AT_ONCE = 10_000


def forget(
    project: Project, views: Sequence[str], *, store: OnlineStore | str | None = None
) -> dict[str, int]:
    """Remove what an online store holds of some views; how many records, by view.

    The next `headwater materialize` makes a batch view of its whole history, the next `headwater
    ingest` a streaming one of its archive. Until then the views cannot be read. Stop ingestion
    first where a view is streaming. The archive, the offsets and other views stay.

    Args:
        project: whose views.
        views: their names; `user` is that view at each level, `user@nightly` at one.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).

    Raises:
        UsageError: a name that no view has.
        StoreError: the store cannot be written, or the view is being written by another process.

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h"))
    >>> with temporary_store() as store:
    ...     made = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     removed = hw.operations.forget(project, ["user"], store=store)
    ...     again = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    >>> removed, made[0].events, again[0].events
    ({'user': 2}, 12, 12)
    """
    chosen_views = (
        chosen(
            stored(project),
            views,
            lambda name: f"project {project.name!r} has no feature view {name!r}",
        )
        if views
        else []
    )
    with opened_for(project.name, store) as opened_store:
        return {
            stored_view.name: forget_view(stored_view.view, opened_store)
            for stored_view in chosen_views
        }


def forget_view(view: FeatureView, store: OnlineStore, *, wait: float = 0.0) -> int:
    """As `forget`, for one view; wait up to `wait` seconds for its writer. The mark that the view
    is complete is deleted first.
    """
    stored_view = placed(store, view.root)
    tiles = stored_view.tiles_fingerprint
    with store.lease(
        f"materialize-{tiles}" if view.freshness.scheduled else INGEST_LEASE, wait=wait
    ):
        if view.freshness.scheduled:
            store.mend(keyspace.state(tiles))  # what a killed run has decided is not written later
        if view.freshness.scheduled or from_production(store, view.root):
            return _dropped(store, stored_view)
        held = placed_generations(store, view.root)
        removed = _dropped(store, held.read)
        for generation in (*held.written[1:], *held.retired):
            _dropped(store, generation)
        store.commit({keyspace.generations(held.read.first_generation): None}, {})
    return removed


def _dropped(store: OnlineStore, view: FeatureView) -> int:
    """Remove a placed view. Returns how many records had a section of it."""
    tiles = view.tiles_fingerprint
    state_keys = [
        key
        for prefix in (keyspace.state(tiles), keyspace.stream_state(tiles))
        for key, _ in store.scan(prefix)
    ]
    store.commit(dict.fromkeys(state_keys), {})
    records = [key for key, _ in stored_sections(store, view)]
    for first in range(0, len(records), _AT_ONCE):
        drop_sections(store, records[first : first + _AT_ONCE], tiles)
    # the images themselves are their source's
    stood = [key for key, _ in store.scan(keyspace.events(tiles))]
    for first in range(0, len(stood), _AT_ONCE):
        store.commit(dict.fromkeys(stood[first : first + _AT_ONCE]), {})
    return len(records)
