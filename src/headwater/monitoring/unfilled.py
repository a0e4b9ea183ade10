"""Which streaming views ingestion has not filled yet."""

from __future__ import annotations

from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.definitions.served_views import stored
from headwater.online_stores import OnlineStore
from headwater.online_stores.ownership import placed
from headwater.state.view_state import read_parts, read_stream


def why_unfilled(view: FeatureView, store: OnlineStore) -> str:
    """Why nothing can be read of a view yet; empty where it can, and of a view that no stream fills."""
    if not view.freshness.streamed:
        return ""
    kept = placed(store, view.root)
    if not read_parts(store, kept.tiles_fingerprint):
        return "view that was never ingested; run `headwater ingest`"
    state = read_stream(store, kept.tiles_fingerprint, kept.source.name)
    return "" if state is not None and state.seeded is not None else "view that is still being filled with its past; see `headwater status`"


def unfilled(project: Project, store: OnlineStore) -> list[str]:
    """The names of the streaming views of a project that nothing can be read of yet."""
    return [stored_view.name for stored_view in stored(project) if why_unfilled(stored_view.view, store)]
