"""The pages, actions and data routes of the console: one row each.

To add a page: a file here with a function `(ConsoleContext, ConsoleRequest) -> mapping`, which returns plain data; a template in templates/
that extends base.html.j2 and fills its block `content`, with sections of `reports.document` by `blocks.section(...)`; and a row of `PAGES`.
A figure needs `charts=True`, and no drawing in its place. What takes longer than 300 ms goes through `context.summaries.latest`. An element
with an id and `data-live="runs store"` is fetched again when one of these parts changes. A form that changes something posts to a row of
`ACTIONS`, is shown `{% if may_act %}`, and holds `<input type="hidden" name="csrf" value="{{ csrf }}">`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headwater.console.overview import overview
from headwater.console.page_types import ConsoleAction, ConsolePage, DataRoute

PAGES: Final[Sequence[ConsolePage]] = (
    ConsolePage("", "Overview", "overview.html.j2", overview),
)  # fmt: skip

ACTIONS: Final[Sequence[ConsoleAction]] = ()

DATA_ROUTES: Final[Sequence[DataRoute]] = ()
