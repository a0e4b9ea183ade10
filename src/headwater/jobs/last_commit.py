"""The time of a project's last commit by the writer's clock: a clock that is behind it is wrong."""

from __future__ import annotations

from headwater.definitions.level import ModelVariant
from headwater.definitions.project import Project, fingerprint, served, stored
from headwater.state.prediction_codec import read_precomputed
from headwater.state.view_state import progresses, read_state
from headwater.stores import OnlineStore
from headwater.stores.keyspace import placed, placed_source


def last_commit(project: Project, store: OnlineStore) -> int:
    """The latest time of a project in its store, microseconds; 0 where nothing is stored.

    That of a stream is its last commit, that of a batch view the K of its last cut, which had
    passed when the cut was made, and that of precomputed predictions when they were published.
    """
    streams = [
        done.at
        for source in project.sources
        for done in progresses(store, placed_source(store, source).name).values()
    ]
    views = [
        placed(store, stored_view.view.root)
        for stored_view in stored(project)
        if stored_view.view.freshness.scheduled
    ]
    states = [read_state(store, view.tiles_fingerprint) for view in views]
    cuts = [state.cuts[-1].K for state in states if state is not None and state.cuts]
    scores = [
        last_published(variant, store)
        for variant in served(project)
        if variant.precomputed is not None
    ]
    return max([*streams, *cuts, *scores], default=0)


def last_published(variant: ModelVariant, store: OnlineStore) -> int:
    """When the last cut of a variant's predictions was published, microseconds; 0 where there is
    none.
    """
    held = read_precomputed(store, fingerprint(variant, store.namespace))
    return held.cuts[-1].published_at if held is not None and held.cuts else 0
