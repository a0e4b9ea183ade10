"""Results as users hold them: they print, show themselves in a notebook, and write a page. The
reports are loaded when they are used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from headwater.definitions.definition import Readable
from headwater.results.result import Result

if TYPE_CHECKING:
    from rich.console import RenderableType


class ResultPage(Protocol):
    """A module of `pages` that renders one kind of result."""

    def to_html(self, result: Any, /) -> str:  # noqa: ANN401 (each module has its own type)
        """A page that needs no network."""
        ...

    def to_markdown(self, result: Any, /) -> str:  # noqa: ANN401
        """The same as Markdown."""
        ...

    def to_table(self, result: Any, /) -> RenderableType:  # noqa: ANN401
        """The same for a terminal."""
        ...

    def to_notebook(self, result: Any, /) -> str:  # noqa: ANN401
        """A fragment of HTML, without scripts."""
        ...


class PagedResult(Readable):
    """The base of results with a page. A subclass has the field `result`, and names the module of
    `pages` that renders it.
    """

    page_module: ClassVar[str]
    result: Result

    @property
    def _page(self) -> ResultPage:
        return cast("ResultPage", import_module(f"headwater.pages.{self.page_module}"))

    def to_dict(self) -> dict[str, object]:
        """The result as JSON data."""
        return self.result.to_dict()

    def to_markdown(self) -> str:
        """The result as Markdown."""
        return self._page.to_markdown(self.result)

    def write_html(self, path: str | Path) -> Path:
        """Write the page, which needs no network, and return its path."""
        from headwater.pages.rendering import write_page

        return write_page(path, self._page.to_html(self.result))

    def table(self) -> RenderableType:
        """The result as rich prints it."""
        return self._page.to_table(self.result)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self._page.to_notebook(self.result)
