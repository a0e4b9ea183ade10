"""Results that have a page: they print, show themselves in a notebook, and are written as HTML or
Markdown. The forms are loaded when they are used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from headwater.definitions.definition import Readable
from headwater.results.result import Result

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headwater.pages.page import Page


class Paged(Readable):
    """The base of results with a page. A subclass names the module of `pages` whose `to_page` makes
    it.
    """

    page_module: ClassVar[str]
    result: Result

    def page(self) -> Page:
        """The page: sentence, effect, picture, rows, conditions, and what is folded below."""
        return cast(
            "Page", import_module(f"headwater.pages.{self.page_module}").to_page(self.result)
        )

    def to_dict(self) -> dict[str, object]:
        """The result as JSON data."""
        return self.result.to_dict()

    def to_markdown(self) -> str:
        """The page as Markdown."""
        from headwater.pages import page_forms

        return page_forms.to_markdown(self.page())

    def write_html(self, path: str | Path) -> Path:
        """Write the page, which needs no network, and return its path."""
        from headwater.pages import page_forms
        from headwater.pages.rendering import write_page

        return write_page(path, page_forms.to_html(self.page()))

    def table(self) -> RenderableType:
        """All of the page as rich prints it."""
        from headwater.pages import page_forms

        return page_forms.to_terminal(self.page(), verbose=True)

    def __repr__(self) -> str:
        from headwater.pages import page_forms

        return repr(page_forms.to_terminal(self.page()))

    def _repr_html_(self) -> str:
        from headwater.pages import page_forms

        return page_forms.to_notebook(self.page())
