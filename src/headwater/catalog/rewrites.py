"""Which sources would be written by others than before after an apply, so that the state of their
streams could not be gone on with.
"""

from __future__ import annotations

from collections.abc import Iterable

from headwater.catalog.entry import CatalogState, Entries, EntryKey
from headwater.definitions.freshness import Streaming
from headwater.definitions.source import Source, has_one_writer, other_writers, steps_to_rewrite


def rewrites(held: CatalogState, new: Entries, sources: Iterable[Source]) -> dict[str, str]:
    """By name, the sources with a live view that ingestion refuses since other writers would write,
    and what to do.

    sources: those of streaming views, in a store that several processes may write to. A stream from
    elsewhere has a state of its own.
    """
    live = {
        str(e.definition["source"])
        for e in held.live.values()
        if e.kind == "view" and Streaming.wrote(str(e.definition["freshness"]))
    }
    reasons = {}
    for source in sources:
        before, after = (
            held.live.get(EntryKey("source", source.name)),
            new[EntryKey("source", source.name)],
        )
        if before is None or source.name not in live or before.definition.get("stream") is None:
            continue
        if (
            before.definition["stream"] == after.definition["stream"]
            and before.definition["writers"] != after.definition["writers"]
        ):
            one_writer = has_one_writer(source, multi_process=True)
            steps = steps_to_rewrite(source, one_writer=one_writer, multi_process=True)
            reasons[source.name] = (
                f"{other_writers(source, one_writer=one_writer)}, and headwater ingest refuses to "
                f"write what others have written. {steps}; or, if nothing was ingested yet, apply "
                "with allow_breaking (--allow-breaking)"
            )
    return reasons
