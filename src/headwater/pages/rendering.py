"""Templates to HTML. They escape every string, but for the style sheet and the pictures that this
module gives them.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headwater.pages import pictures, wording
from headwater.pages.page import Row, Rows
from headwater.results.estimate import Estimate

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATES: Final = Path(__file__).with_name("templates")


def render(template: str, **values: object) -> str:
    """A template of the folder `templates` with these values; an unknown name in it is an error."""
    return _environment().get_template(template).render(values)


def write_page(path: str | Path, page: str) -> Path:
    """Write a page, with the folders that it needs, and return its path."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


@cache
def _environment() -> Environment:
    return new_environment()


def new_environment(*folders: Path) -> Environment:
    """An environment of these folders of templates, then that of this module: the macros of
    blocks.html.j2 are in it.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"svg": pictures.svg, "bar": _bar}
    environment.filters |= {"signed": _signed, "interval": _interval}
    return environment


def _bar(row: Row, rows: Rows) -> Markup:
    values = [one.value for one in rows.rows if one.value is not None]
    low, high = pictures.ends(values)
    low, high = min(low, 0.0), max(high, 0.0, rows.least)
    room = 0.04 * ((high - low) or 1.0)
    axis = (low - room, high + room)
    return pictures.bar(row.value, axis, rows.least, chosen=row.chosen)


def _signed(value: float, places: int) -> str:
    return wording.number(value, places, signed=True)


def _interval(value: Estimate, places: int) -> str:
    return wording.interval(value.low, value.high, places)


def sha256(text: str) -> str:
    """The hash that makes a content security policy allow an inline script or style sheet.

    >>> sha256("")
    '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def part(name: str) -> str:
    """A style sheet or script of the folder `templates`."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")
