"""Which streaming views ingestion will fill again after an apply, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.catalog.diff import DefinitionChange
from headwater.catalog.entry import CatalogEntry, CatalogState, Entries, EntryKey
from headwater.definitions.freshness import Streaming


def rebuilds(
    held: CatalogState, new: Entries, differences: Sequence[DefinitionChange]
) -> dict[str, str]:
    """By name, the views that the next `headwater ingest` fills from archive and history; why."""
    changed = {change.key: change for change in differences}
    reasons = {}
    for key, entry in new.items():
        if (
            key.kind == "view"
            and entry.tiles is not None
            and Streaming.wrote(str(entry.definition["freshness"]))
        ):
            reason = _reason(entry, held, changed.get(key), new)
            if reason is not None:
                reasons[key.name] = reason
    return reasons


def _reason(
    entry: CatalogEntry, held: CatalogState, change: DefinitionChange | None, new: Entries
) -> str | None:
    if change is not None and change.action == "added":
        return (
            "it was applied before, and may have missed events since"
            if entry.key in held.entries
            else "it is new"
        )
    if change is not None and change.needs_backfill:
        return (
            "; ".join(detail for detail in change.details if detail != "the stored state stays")
            or "its definition changed"
        )
    source = EntryKey("source", str(entry.definition["source"]))
    before, after = (_stream(entries.get(source)) for entries in (held.live, new))
    if before == after or before is None or after is None:
        return None
    if before.get("text") != after.get("text"):
        return (
            f"the stream of its source {source.name} comes from elsewhere: {before.get('text')} → "
            f"{after.get('text')}"
        )
    return (
        f"the stream of its source {source.name} has other columns, types or formats, where the "
        "view reads them"
    )


def _stream(entry: CatalogEntry | None) -> Mapping[str, object] | None:
    stream = None if entry is None else entry.definition.get("stream")
    return stream if isinstance(stream, Mapping) else None
