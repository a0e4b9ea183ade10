"""Freshness: the age of each view against its promise, the lag of each source, and refused records
with their replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from headwater.console.console_context import ConsoleContext
from headwater.console.feature_pages import age_chart
from headwater.console.log_statistics import statistics_state
from headwater.console.page_types import ConsoleRequest, Done, NotShown
from headwater.definitions.level import without_level
from headwater.errors import StoreError
from headwater.ingestion.archive import KNOWN_AT
from headwater.ingestion.dead_letters import DeadLetterFilter, dead_letters, replay_dead_letters
from headwater.ingestion.source_ingestor import IngestLimits
from headwater.ingestion.validate import OFFSET, PARTITION
from headwater.monitoring.served_statistics import DAYS, view_ages
from headwater.monitoring.view_freshness import freshness
from headwater.results.freshness_result import FreshnessResult, ViewFreshness
from headwater.results.served_result import AgeDay

_LETTERS: Final = 50
_PAYLOAD: Final = 400  # characters
_CHARTS: Final = 12
_SECONDS: Final = 5.0
_ORDER: Final = (
    "stale",
    "incomplete",
    "ahead",
    "absent",
    "filling",
    "approximate",
    "current",
    "not stored",
)


def freshness_page(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """Views, first the ones that need attention, and sources."""
    refused = ""
    try:
        freshness = freshness_of(context)
        views, sources = (
            sorted(freshness.views, key=lambda view: (_ORDER.index(view.state), view.view)),
            freshness.sources,
        )
    except StoreError as error:
        views, sources, refused = [], [], str(error)
    ages = context.cached("ages", 10.0, lambda: view_ages(context.data_dir, now=context.now()))
    charts = [
        {"view": view, "chart": chart}
        for view, chart in islice(
            ((view, _chart(view, ages)) for view in views if view.view == without_level(view.view)),
            _CHARTS,
        )
        if chart is not None
    ]
    text = request.one("q").lower()
    return {
        "views": [
            {"view": view, "last": _last(ages, view)} for view in views if text in view.view.lower()
        ],
        "text": request.one("q"),
        "of": len(views),
        "behind": sum(view.state not in ("current", "not stored") for view in views),
        "sources": sources,
        "charts_by_view": charts,
        "log": statistics_state(context),
        "last_days": DAYS,
        "refused": refused,
    }


def freshness_of(context: ConsoleContext) -> FreshnessResult:
    """Views and sources now; pages share them for a few seconds.

    Raises:
        StoreError: no online store yet.
    """

    def compute() -> FreshnessResult:
        with context.opened_store() as store:
            return freshness(context.project, store, context.data_dir, context.now())

    return context.cached("freshness", _SECONDS, compute)


def refused_page(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """The refused records of a source, the latest first."""
    source, reason = request.names["source"], request.one("reason")
    if source not in {defined.name for defined in context.project.sources}:
        raise NotShown(f"the project has no source {source!r}")
    with context.opened_store() as store:
        rows = dead_letters(
            context.project,
            source,
            DeadLetterFilter(reason or None),
            store=store,
            data_dir=context.data_dir,
        )
    reasons = dict(rows.group_by("reason").len().sort("len", descending=True).iter_rows())
    letters = [
        {
            "reason": row["reason"],
            "known": f"{row[KNOWN_AT]:%Y-%m-%d %H:%M:%S} UTC",
            "place": f"{row[PARTITION]} {row[OFFSET]}",
            "payload": _text(row["payload"]),
            "replayed": row["replayed"],
        }
        for row in rows.head(_LETTERS).to_dicts()
    ]
    waiting = int((~rows["replayed"]).sum())
    return {
        "heading": f"Refused records of {source}",
        "source": source,
        "letters": letters,
        "reasons": reasons,
        "reason": reason,
        "total": rows.height,
        "waiting": waiting,
    }


def replay_refused(context: ConsoleContext, request: ConsoleRequest) -> Done:
    """Send the refused records of a source through acceptance again, each at most once. It waits
    for no other process.

    Raises:
        UsageError: nothing streams the source. StoreError: another process ingests into an LMDB
            store.
    """
    source, reason = request.one("source"), request.one("reason")
    chosen, limits = DeadLetterFilter(reason or None), IngestLimits(wait=0.0)
    done = replay_dead_letters(
        context.project,
        source,
        chosen,
        store=context.store,
        data_dir=context.data_dir,
        limits=limits,
    )
    return Done(str(done), f"/freshness/{source}")


def _chart(view: ViewFreshness, ages: Mapping[str, Sequence[AgeDay]]) -> object:
    return age_chart(list(ages.get(view.view, ())), view.promise)


def _last(ages: Mapping[str, Sequence[AgeDay]], view: ViewFreshness) -> AgeDay | None:
    """The last day on which a view as defined was read."""
    days = ages.get(view.view, ())
    return days[-1] if days else None


def _text(payload: object) -> str:
    """A payload as text without control characters, cut."""
    text = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)
    shown = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for character in text[:_PAYLOAD]
    )
    return shown if len(text) <= _PAYLOAD else f"{shown}…"
