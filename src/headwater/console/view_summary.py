"""How fresh the stored views are now, as a summary that the pages share."""

from __future__ import annotations

import msgspec

from headwater.console.console_context import ConsoleContext
from headwater.console.summaries import Summary
from headwater.definitions.level import without_level
from headwater.definitions.project import stored
from headwater.errors import StoreError
from headwater.monitoring.unfilled import PASSED_OVER, passed_over
from headwater.monitoring.view_freshness import view_freshness
from headwater.pages import wording

_EVERY: float = 10.0  # seconds
_UNFILLED = ("absent", "incomplete")


class ShownView(msgspec.Struct, frozen=True):
    """A stored view: its state, and its age next to its promise in words; or why ingestion does not
    fill it.

    make: the verb of the command that does; "" where a running process has to be restarted.
    """

    name: str
    state: str
    about: str
    make: str

    @property
    def fresh(self) -> bool:
        """Whether its promise is kept now."""
        return self.state == "current"


def view_summary(context: ConsoleContext) -> Summary[list[ShownView]]:
    """Every stored view of the project; empty before a store exists."""
    return context.summaries.latest(
        "views", list[ShownView], lambda: _views(context), seconds=_EVERY
    )


def _views(context: ConsoleContext) -> list[ShownView]:
    scheduled = {view.name for view in context.project.all_views if view.freshness.scheduled}
    try:
        with context.opened_store() as store:
            views = view_freshness(context.project, store, context.now())
            broken = [
                view
                for view in stored(context.project)
                if any(
                    freshness.view == view.name and freshness.state in _UNFILLED
                    for freshness in views
                )
            ]
            passed = {view.name for view in broken if passed_over(view.view, store, context.now())}
    except StoreError:
        if context.has_store:
            raise
        return []
    shown = []
    for freshness in views:
        about = (
            PASSED_OVER if freshness.view in passed else _about(freshness.age, freshness.promise)
        )
        make = (
            ""
            if freshness.view in passed
            else "materialize"
            if without_level(freshness.view) in scheduled
            else "ingest"
        )
        shown.append(ShownView(freshness.view, freshness.state, about, make))
    return shown


def _about(age: float | None, promise: float | None) -> str:
    if age is None:
        return "nothing is stored"
    return f"its values are {wording.duration(max(age, 0.0))} old" + (
        "" if promise is None else f", and {wording.duration(promise)} is promised"
    )
