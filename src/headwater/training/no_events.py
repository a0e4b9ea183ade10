"""Warnings of sources that have no event for any of the rows: a wrong time, zone or key, or a table
without rows.
"""

from __future__ import annotations

import warnings

from headwater.definitions.checks import timestamp_text
from headwater.definitions.definition import stack_level
from headwater.errors import NoEventsWarning
from headwater.events.read_events import Notes
from headwater.training.requests import Requests

_FEWEST = 20  # rows; a few new keys are nothing to warn of


def warn_of_no_events(requests: Requests, notes: Notes) -> None:
    """Warn of sources that had no event for any of the rows, or none of any of their keys.

    Warns:
        NoEventsWarning: there is such a source.
    """
    for subject, rows in notes.keyed.items():
        if min(rows, len(requests.t)) >= _FEWEST and not notes.joined[subject]:
            message = (
                f"none of the keys of the {len(requests.t):,} rows is one of {subject}, so its "
                f"features are empty: {notes.unlike[subject]}. Compare how both are written: "
                "case, blanks, prefixes"
            )
            warnings.warn(NoEventsWarning(message), stacklevel=stack_level())
    empty = [name for name, events in notes.events.items() if not events]
    if empty and len(requests.t):
        times = " to ".join(
            timestamp_text(int(t)) for t in dict.fromkeys((requests.t.min(), requests.t.max()))
        )
        message = (
            f"no event of source {', '.join(map(repr, empty))} is known before any of the "
            f"{len(requests.t):,} rows within a window, so its features are empty. The request "
            f"times are {times}: compare their times and keys with those of the events"
        )
        warnings.warn(NoEventsWarning(message), stacklevel=stack_level())
