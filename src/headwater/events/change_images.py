"""Merge change images per event: the current version, the version before, and when each version
ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.source import Source
from headwater.events.read_events import BEFORE, IDENT, KNOWN, REMOVED_AT, TIME, compared
from headwater.kernel.arrays import I64, LASTS, Bool
from headwater.kernel.sorting import versions

ANOTHER = "__another"


@dataclass(frozen=True)
class MergedImages:
    """Merged change images of some events: first the stored ones, then the new ones; n together.

    event: int64 (n), the index of each image's event, from 0. last: bool (n), the images of their
    event's last known time, without duplicates. duplicate: bool (n), equal to an image before it.
    older: bool (n), new images known before the stored ones. before, after: int64 (events), the
    image in force before, and the one in force now; -1 where none is.
    changed: bool (events), whether the two differ.
    """

    event: I64
    last: Bool
    duplicate: Bool
    older: Bool
    before: I64
    after: I64
    changed: Bool


def folded(
    held: pl.DataFrame,
    holds: Bool,
    came: pl.DataFrame,
    source: Source,
    read: Sequence[str] | None = None,
) -> MergedImages:
    """Merge change images per event, as history is read: the images with the latest known time win,
    in any order.

    Args:
        held: of each event the images of the last time known of it: keys, columns, TIME, IDENT,
            KNOWN, BEFORE.
        holds: bool (held), which of them say what holds.
        came: more images, of the same columns.
        source: whose.
        read: the columns that views read, which decide whether an event is `changed`; None is all.
    """
    both = pl.concat([held, came])
    if not both.height:
        none, no = np.empty(0, np.int64), np.empty(0, np.bool_)
        return MergedImages(none, no, no, no, none, none, no)
    before, fresh = both[BEFORE].to_numpy(), np.arange(both.height) >= held.height
    images = compared(both.drop(BEFORE), source, before=before)
    event, known_at, tie_order, content = (
        images.ident,
        images.known,
        images.tie_order,
        images.content,
    )
    says = content if read is None else compared(both.drop(BEFORE), source, read=read).content
    statements = pl.DataFrame(
        {"event": event, "known": known_at, "before": before, "content": content}
    )
    duplicate = ~statements.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    newest_held = np.full(int(event.max()) + 1, np.iinfo(np.int64).min)
    np.maximum.at(newest_held, event[~fresh], known_at[~fresh])
    newest = newest_held.copy()
    np.maximum.at(newest, event, known_at)
    last = (known_at == newest[event]) & ~duplicate
    latest_rows = np.flatnonzero(last)
    begun, removed_at, _ = versions(
        event[latest_rows],
        known_at[latest_rows],
        before[latest_rows],
        tie_order[latest_rows],
        content[latest_rows],
        content[latest_rows],
    )
    now = latest_rows[begun & (removed_at == LASTS)]
    was, after = np.full(len(newest), -1), np.full(len(newest), -1)
    was[event[: held.height][holds]] = np.flatnonzero(holds)
    after[event[now]] = now
    changed = np.where((was >= 0) & (after >= 0), says[was] != says[after], was != after)
    return MergedImages(
        event, last, duplicate, fresh & (known_at < newest_held[event]), was, after, changed
    )


def versions_of(images: pl.DataFrame, source: Source) -> tuple[Bool, I64]:
    """Which images begin a version, bool (n), and when each of these is taken back, int64 (n)."""
    if not images.height:
        return np.empty(0, np.bool_), np.empty(0, np.int64)
    before = images[BEFORE].to_numpy()
    ties = compared(images.drop(BEFORE), source, before=before)
    keep, removed_at, _ = versions(
        ties.ident, ties.known, before, ties.tie_order, ties.content, ties.content
    )
    return keep, removed_at


def ended(images: pl.DataFrame, source: Source, order: str) -> pl.DataFrame:
    """The versions of images that became known in this `order`, a column of int64. Each has
    REMOVED_AT: KNOWN of the image that took it back.

    Several values of the order may share one KNOWN. Versions without a time are left out.
    """
    keep, removed_at = versions_of(
        images.with_columns(pl.col(order).alias(KNOWN)).drop(order), source
    )
    ends = images.select(IDENT, pl.col(order), pl.col(KNOWN).alias(REMOVED_AT)).unique()
    versions = (
        images.drop(order, BEFORE)
        .with_columns(pl.Series(order, removed_at))
        .filter(pl.Series(keep) & pl.col(TIME).is_not_null())
    )
    return (
        versions.join(ends, on=[IDENT, order], how="left")
        .with_columns(pl.col(REMOVED_AT).fill_null(LASTS))
        .drop(order)
    )


def followed(events: pl.DataFrame) -> pl.DataFrame:
    """Versions, with ANOTHER: whether another version of the event begins when this one ends."""
    begins = events.select(
        IDENT, pl.col(KNOWN).alias(REMOVED_AT), pl.lit(value=True).alias(ANOTHER)
    ).unique()
    marked = events.join(begins, on=[IDENT, REMOVED_AT], how="left", maintain_order="left")
    return marked.with_columns(pl.col(ANOTHER).fill_null(value=False))


def in_force(images: pl.DataFrame, source: Source) -> Bool:
    """Which images are current when all are known, bool (n)."""
    folded_images = folded(images[:0], np.empty(0, np.bool_), images, source)
    holds = np.zeros(images.height, np.bool_)
    holds[folded_images.after[folded_images.after >= 0]] = True
    return holds
