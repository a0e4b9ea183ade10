"""Definitions and results as HTML in a notebook: what they are, and a table of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from html import escape

from headwater.definitions.readable import Readable, brief, shown_fields

_ROWS = 12  # of one field
_CELL = "padding:2px 12px 2px 0;text-align:left;vertical-align:top;background:none;color:inherit"


def readable_html(value: Readable) -> str:
    """A heading and a table of the fields that have a value; small, without scripts, for light and dark themes.

    >>> from headwater.definitions.freshness import streaming
    >>> readable_html(streaming("2s")).partition("</p>")[2]
    "<p style='margin:.2em 0'>streaming, 2s behind</p></div>"
    """
    own = str(value) if type(value).__str__ is not object.__str__ else ""
    fields = {} if own and is_dataclass(value) else dict(shown_fields(value))  # a definition that has words needs no table
    name = fields.pop("name", "")
    frames = [(field, of) for field, of in fields.items() if hasattr(of, "_repr_html_") and hasattr(of, "shape")]
    heading = f"<b>{escape(type(value).__name__)}</b> {escape(name if isinstance(name, str) else brief(name))}"
    summary = f"<p style='margin:.2em 0'>{escape(own)}</p>" if own and own != name and "\n" not in own else ""
    rows = "".join(
        f"<tr><th scope='row' style='{_CELL};font-weight:600'>{escape(field)}</th><td style='{_CELL}'>{_lines(of)}</td></tr>"
        for field, of in fields.items()
        if field not in dict(frames)
    )
    table = f"<table style='border-collapse:collapse;color:inherit;font-size:.92em'><tbody>{rows}</tbody></table>" if rows else ""
    tables = "".join(f"<p style='margin:.3em 0'>{escape(field)}</p>{of._repr_html_()}" for field, of in frames)
    return f"<div style='max-width:760px;line-height:1.45'><p style='margin:.3em 0'>{heading}</p>{summary}{table}{tables}</div>"


def _lines(value: object) -> str:
    parts = list(_parts(value))
    more = [f"and {len(parts) - _ROWS} more"] if len(parts) > _ROWS else []
    return "<br>".join(escape(part) for part in [*parts[:_ROWS], *more])


def _parts(value: object) -> Iterator[str]:
    """The items of a collection, each brief; the value itself where it is none."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield f"{key if isinstance(key, str) else brief(key)}: {item if isinstance(item, str) else brief(item)}"
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield item if isinstance(item, str) else brief(item)
    else:
        yield value if isinstance(value, str) else brief(value)
