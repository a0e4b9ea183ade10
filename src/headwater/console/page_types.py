"""What the tables of pages, actions and data routes hold, and what their functions are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from headwater.console.console_context import ConsoleContext
from headwater.errors import HeadwaterError

Part = Literal["runs", "models", "experiments", "store", "logs", "summaries"]
"""Data that changes while a page is open; `live_updates` watches each. An element with
`data-live="runs"` is fetched again with it.
"""


@dataclass(frozen=True)
class ConsoleRequest:
    """A request for a page or an action.

    names: the values of `{name}` in the path. query: every value of each parameter, of the query
    or, for an action, of the form.
    may_act: whether the sender has the scope `admin`, and so sees the forms of actions. who: the
    name of the token, for the record of an action.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    may_act: bool = False
    who: str = ""

    def one(self, name: str, otherwise: str = "") -> str:
        """The first value of a parameter."""
        return next(iter(self.query.get(name, ())), otherwise)

    def every(self, name: str) -> Sequence[str]:
        """All values of a parameter."""
        return self.query.get(name, ())


@dataclass(frozen=True)
class ConsolePage:
    """A page: its row in `page_table.PAGES`.

    path: below /console, with `{name}` for a part that varies. title: of the page and of its link
    in the navigation. template: a file in templates/ that extends base.html.j2. view: returns the
    variables of the template as plain data; it runs in a thread, may block for 300 ms at most, and
    raises `NotShown` (404) or another HeadwaterError (shown with its message).
    in_navigation: whether every page links to it.
    """

    path: str
    title: str
    template: str
    view: Callable[[ConsoleContext, ConsoleRequest], Mapping[str, object]]
    in_navigation: bool = True


@dataclass(frozen=True)
class Done:
    """The result of an action: a sentence, and the path below /console that shows it."""

    sentence: str
    back: str


@dataclass(frozen=True)
class ConsoleAction:
    """Something that a form changes: POST to `path` below /console, with the scope `admin` and the
    form's CSRF token.

    run: does it; a HeadwaterError is shown with its message.
    """

    path: str
    run: Callable[[ConsoleContext, ConsoleRequest], Done]


@dataclass(frozen=True)
class DataRoute:
    """A page's data as JSON: GET `path` below /console, with a session or `Authorization: Bearer
    TOKEN` of the scope `read`.

    summary: for OpenAPI. view: returns JSON data.
    """

    path: str
    summary: str
    view: Callable[[ConsoleContext, ConsoleRequest], object]


class NotShown(HeadwaterError):  # noqa: N818 (an error response)
    """No such page, model or run (404)."""
