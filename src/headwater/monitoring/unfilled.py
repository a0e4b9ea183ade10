"""Which streaming views ingestion has not filled yet, and why."""

from __future__ import annotations

from typing import Final

from headwater import clock
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, stored
from headwater.state.view_state import progresses, read_parts, read_stream
from headwater.stores import OnlineStore
from headwater.stores.keyspace import placed

PASSED_OVER: Final = (
    "ingestion runs and does not fill it: it was started with other definitions. Restart it "
    "(`headwater ingest`, or the `headwater serve` that runs it); it fills new views from archive "
    "and history when it starts"
)
# microseconds since its last commit within which ingestion counts as running: it makes one each
# second
_RUNS: Final = 10_000_000


def passed_over(view: FeatureView, store: OnlineStore, t: int) -> bool:
    """Whether ingestion runs at time t, microseconds, and its commits do not maintain a streaming
    view.
    """
    if not view.freshness.streamed:
        return False
    placed_view = placed(store, view.root)
    runs = [
        done
        for done in progresses(store, placed_view.source.name).values()
        if abs(t - done.at) < _RUNS
    ]
    return any(placed_view.tiles_fingerprint not in done.views for done in runs)


def why_unfilled(view: FeatureView, store: OnlineStore) -> str:
    """Why nothing can be read of a view yet; empty where it can, and of a view that no stream
    fills.
    """
    if not view.freshness.streamed:
        return ""
    placed_view = placed(store, view.root)
    if not read_parts(store, placed_view.tiles_fingerprint):
        if passed_over(view, store, clock.now_micros()):
            return f"view that was never ingested; {PASSED_OVER}"
        return "view that was never ingested; run `headwater ingest`"
    state = read_stream(store, placed_view.tiles_fingerprint, placed_view.source.name)
    return (
        ""
        if state is not None and state.seeded is not None
        else "view that is still being filled with its past; see `headwater status`"
    )


def unfilled(project: Project, store: OnlineStore) -> list[str]:
    """The names of the streaming views of a project that nothing can be read of yet."""
    return [
        stored_view.name for stored_view in stored(project) if why_unfilled(stored_view.view, store)
    ]
