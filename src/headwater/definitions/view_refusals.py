"""Views that no pipeline can keep as they are defined, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.source import Source

Finding = tuple[FeatureView | Source | HttpFeatures, str, str]  # of what, the message, the remedy


def refusals(views: Sequence[FeatureView]) -> list[str]:
    """The reasons why no pipeline can maintain these views, as messages."""
    return [
        f"view {view.name}: {message}"
        for look in REFUSALS.values()
        for view, message, _ in look(_Some(views))
    ]


@dataclass(frozen=True)
class _Some:
    """Views that are no project."""

    views: Sequence[FeatureView]


class _Views(Protocol):
    @property
    def views(self) -> Sequence[FeatureView]: ...


def queryable(source: Source) -> bool:
    """Whether a source can be asked for the events of a key at the moment of a request: its history
    says so of itself.

    A connector that can has an attribute `queryable` that is true. No file can, nor a frame: a
    request would read all of it.
    """
    return bool(getattr(source.history, "queryable", False))


def _on_request(project: _Views) -> Iterator[Finding]:
    for view in _roots(project):
        if view.freshness.asked and not queryable(view.source):
            yield (
                view,
                (
                    f"on_request() would read the events of source {view.source.name} at each "
                    "request, and it cannot be queried for one key"
                ),
                (
                    'Stream it, freshness=hw.streaming("2s"), and keep on_request() for a level of '
                    "the backtest"
                ),
            )


def _own_freshness(project: _Views) -> Iterator[Finding]:
    for view in _roots(project):
        if not view.freshness.servable:
            yield (
                view,
                f"{view.freshness.kind}() is for backtests only: no job and no stream computes it",
                'Give the view hw.batch(...) or hw.streaming("2s"), and this freshness to a level',
            )


def _enriched(project: _Views) -> Iterator[Finding]:
    for view in _roots(project):
        if view.freshness.streamed and isinstance(view.source.history, Enriched):
            yield (
                view,
                (
                    f"its source {view.source.name} is enriched, and chained views are computed "
                    "from history alone"
                ),
                "Give it hw.batch(...), or aggregate the events without enriching them",
            )


def _known_windows(project: _Views) -> Iterator[Finding]:
    for view in _roots(project):
        if view.freshness.streamed and view.source.window_on == "known_at":
            yield (
                view,
                (
                    f"source {view.source.name} has window_on='known_at', and in a stream that is "
                    "when the pipeline committed: no replay could repeat it"
                ),
                (
                    "Leave window_on out, or name as timestamp_field the column that says when an "
                    "event was known"
                ),
            )


REFUSALS: Mapping[str, Callable[[_Views], Iterator[Finding]]] = {
    "on-request": _on_request,
    "own-freshness": _own_freshness,
    "enriched-stream": _enriched,
    "known-windows": _known_windows,
}
"""The rules that stop an apply: each looks at views."""


def _roots(project: _Views) -> list[FeatureView]:
    """The views that have state, aliases left out."""
    return list(
        dict.fromkeys(view.root for view in (*project.views, *getattr(project, "versions", ())))
    )
