"""How fresh the stored views are now, as a summary that the pages share."""

from __future__ import annotations

import msgspec

from headwater.console.console_context import ConsoleContext
from headwater.console.summaries import Summary
from headwater.errors import StoreError
from headwater.monitoring.view_freshness import view_freshness
from headwater.reports import wording

_EVERY: float = 10.0  # seconds


class ShownView(msgspec.Struct, frozen=True):
    """A stored view: its state, and its age beside its promise in words. scheduled: whether a job computes it."""

    name: str
    state: str
    about: str
    scheduled: bool

    @property
    def fresh(self) -> bool:
        """Whether its promise is kept now."""
        return self.state == "current"


def view_summary(context: ConsoleContext) -> Summary[list[ShownView]]:
    """Every stored view of the project; empty where there is no store yet."""
    return context.summaries.latest("views", list[ShownView], lambda: _views(context), seconds=_EVERY)


def _views(context: ConsoleContext) -> list[ShownView]:
    scheduled = {view.name for view in context.project.views if view.freshness.scheduled}
    try:
        with context.opened_store() as store:
            found = view_freshness(context.project, store, context.now())
    except StoreError:
        if context.has_store:
            raise
        return []
    return [ShownView(one.view, one.state, _about(one.age, one.promise), one.view.partition("@")[0] in scheduled) for one in found]


def _about(age: float | None, promise: float | None) -> str:
    if age is None:
        return "nothing is stored"
    return f"its values are {wording.duration(max(age, 0.0))} old" + (
        "" if promise is None else f", and {wording.duration(promise)} is promised"
    )
