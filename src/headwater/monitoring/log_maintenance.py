"""What is done with the logs of a data directory each minute: convert, ship, prune and count."""

from __future__ import annotations

from pathlib import Path

from headwater import clock
from headwater.journal import shipping_queue
from headwater.journal.conversion import ShipTo, convert
from headwater.journal.format import KINDS
from headwater.journal.journal_files import close_abandoned, journal_files
from headwater.journal.serving_log_files import SERVED, prune
from headwater.monitoring.daily_statistics import prune_statistics, update


def maintain(folder: Path, keep: int | None, to: ShipTo | None = None, wait: float = 0.0) -> None:
    """Close abandoned files, convert complete segments, ship the logs, delete old days, and add new
    files to the daily statistics.

    wait: seconds to wait for another process that ships.

    Raises:
        StoreError, OSError: as `convert`.
        UsageError: as `shipping.ship`.
    """
    for kind in KINDS:
        close_abandoned(journal_files(folder, kind))
    try:
        if to is not None:
            shipping_queue.begin(folder)
        convert(folder)
    finally:
        if to is not None:
            from headwater.journal.shipping import ship

            ship(folder, to.url, most=to.most, wait=wait)
        if keep is not None:
            prune(folder / SERVED, keep, clock.now_micros())
            prune_statistics(folder)
    update(folder)
