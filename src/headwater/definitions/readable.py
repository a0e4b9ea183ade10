"""The repr of definitions and results: at most 12 lines of at most 100 columns; in a notebook, a
table of their fields.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from html import escape

from headwater import clock
from headwater.terminal.text import visible

WIDTH = 100
LINES = 12
_ITEMS = 6  # of a collection
_PART = 160  # characters of one field
# an integer in between is a timestamp in microseconds, of the years 1973 to 2286
_FIRST, _LAST = 10**14, 10**16
_HTML_ROWS = 12  # of one field
_CELL = "padding:2px 12px 2px 0;text-align:left;vertical-align:top;background:none;color:inherit"
_SECRET = ("password", "token")


class Readable:
    """Base of dataclasses whose repr is short: fields with their defaults are left out, definitions
    inside are named, tables are sized.

    A subclass with a `__repr__` of its own keeps it.
    """

    def __init_subclass__(cls, **more: object) -> None:
        super().__init_subclass__(**more)
        inherited = next(base for base in cls.__mro__ if "__repr__" in base.__dict__).__dict__[
            "__repr__"
        ]
        if inherited is Readable.__dict__["__repr__"]:
            cls.__repr__ = inherited  # type: ignore[method-assign]  # before dataclass() would write its own

    def __repr__(self) -> str:
        name, summary = (
            type(self).__name__,
            str(self) if type(self).__str__ is not object.__str__ else "",
        )
        if summary and "\n" not in summary and len(summary) < WIDTH - 20:
            return f"{name}({summary})"
        return folded(name, _fields(self))

    def _repr_html_(self) -> str:
        return as_html(self)


def folded(name: str, parts: Sequence[str]) -> str:
    """`name(part, part, ...)` in lines of at most 100 columns, at most 12.

    >>> folded("Source", ["'clicks'", "timestamp_field='at'"])
    "Source('clicks', timestamp_field='at')"
    """
    parts = [visible(part) for part in parts]
    line = f"{name}({', '.join(parts)})"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    lines, row = [f"{name}("], "   "
    for i, field_text in enumerate(parts):
        more = f" {cut(field_text, WIDTH - 8)}{',' if i + 1 < len(parts) else ')'}"
        if len(row) + len(more) > WIDTH and row.strip():
            lines.append(row)
            row = "   "
        row += more
    lines.append(row)
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], "    ...)"]
    return "\n".join(lines)


def brief(value: object) -> str:
    """A value inside a repr, in one line.

    >>> from datetime import timedelta
    >>> (
    ...     brief(timedelta(hours=36)),
    ...     brief(list(range(100))),
    ...     brief({"a": 0.123456789}),
    ...     brief("x" * 200)[:20],
    ... )
    ('36h', '[0, 1, 2, 3, 4, 5, and 94 more]', '{a: 0.123457}', "'xxxxxxxxxxxxxxxxxxx")
    """
    if isinstance(value, str):
        return cut(repr(value), _PART)
    if isinstance(value, float):
        return f"{value:.6g}"
    if type(value) is int and _FIRST <= value < _LAST:
        return clock.timestamp(value).isoformat()
    if isinstance(value, timedelta):
        from headwater.definitions.durations import text

        return text(round(abs(value) / timedelta(microseconds=1)))
    if isinstance(value, date):  # and datetimes
        return value.isoformat()
    if isinstance(value, Mapping):
        return _collection(
            "{",
            (
                f"{key if isinstance(key, str) else brief(key)}: {brief(item)}"
                for key, item in value.items()
            ),
            "}",
            len(value),
        )
    if isinstance(value, list | tuple | AbstractSet):
        return _collection("[", map(brief, value), "]", len(value))
    if isinstance(value, type):
        return value.__name__
    return _expression(value) or _table(value) or _object(value)


def _expression(value: object) -> str:
    """An expression of polars in words; "" of anything else."""
    polars = sys.modules.get("polars")
    if polars is None or not isinstance(value, polars.Expr):
        return ""
    from headwater.definitions.expression_text import expression_text

    return cut(expression_text(value), _PART)


def _object(value: object) -> str:
    name = getattr(value, "name", None)
    if isinstance(name, str) and isinstance(value, Readable):
        return name
    fields = getattr(type(value), "__struct_fields__", ())  # of msgspec
    if fields:
        parts = ", ".join(f"{field}={brief(getattr(value, field))}" for field in fields)
        return cut(f"{type(value).__name__}({parts})", _PART)
    has_str = type(value).__str__ is not object.__str__ or not isinstance(value, Readable)
    return cut(" ".join((str(value) if has_str else repr(value)).split()), _PART)


def _table(value: object) -> str:
    """The shape of a frame, a series or an array; "" of anything else."""
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not shape:
        return ""
    rows = f"{shape[0]:,} rows"
    return f"{type(value).__name__} of {rows}" + (
        f" x {shape[1]} columns" if len(shape) > 1 else ""
    )


def _collection(opening: str, items: Iterator[str], closing: str, size: int) -> str:
    shown = list(itertools.islice(items, _ITEMS))
    more = [f"and {size - _ITEMS} more"] if size > _ITEMS else []
    return cut(opening + ", ".join([*shown, *more]) + closing, _PART)


def _shown(value: object) -> Iterator[tuple[str, object]]:
    """The fields that say something, with their values; a secret is "..."."""
    for name, default in _defaults(value).items():
        field_value = getattr(value, name)
        if not _left_out(default, field_value):
            yield name, ("..." if name in _SECRET and isinstance(field_value, str) else field_value)


def _fields(value: object) -> list[str]:
    first = next(iter(_defaults(value)), "")
    return [
        text if name == first else f"{name}={text}"
        for name, field_value in _shown(value)
        for text in ["..." if name in _SECRET and field_value == "..." else brief(field_value)]
    ]


def _defaults(value: object) -> dict[str, object]:
    """The fields that a repr shows, with their defaults, or MISSING: of a dataclass or of a struct
    of msgspec.
    """
    names = getattr(type(value), "__struct_fields__", ())
    if names:
        defaults = getattr(type(value), "__struct_defaults__", ())
        return dict(
            zip(
                names,
                (*[dataclasses.MISSING] * (len(names) - len(defaults)), *defaults),
                strict=True,
            )
        )
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return {}
    return {field.name: field.default for field in dataclasses.fields(value) if field.repr}


def _left_out(default: object, value: object) -> bool:
    """Whether a field says nothing: it has its default, or is None or empty."""
    if value is None or (
        isinstance(value, Mapping | list | tuple | AbstractSet | str) and not value
    ):
        return True
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(
        value, polars.Expr | polars.DataFrame | polars.Series | polars.LazyFrame
    ):
        return False
    return (
        default is not dataclasses.MISSING
        and type(value) is type(default)
        and bool(value == default)
    )


def cut(text: str, most: int) -> str:
    """A string of at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def counted(counts: Mapping[str, int]) -> str:
    """Counts by reason in words, without those that are 0.

    >>> counted({"without a time": 1200, "not known": 0}), counted({})
    ('1,200 without a time', 'none')
    """
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count) or "none"


def as_html(value: Readable) -> str:
    """A heading and a table of the fields that have a value; small, without scripts, for light and
    dark themes.

    >>> from headwater.definitions.freshness import streaming
    >>> as_html(streaming("2s")).partition("</p>")[2]
    "<p style='margin:.2em 0'>streaming, 2s behind</p></div>"
    """
    words = str(value) if type(value).__str__ is not object.__str__ else ""
    # a definition that has words needs no table
    fields = {} if words and dataclasses.is_dataclass(value) else dict(_shown(value))
    name = fields.pop("name", "")
    frames = [
        (field, of)
        for field, of in fields.items()
        if hasattr(of, "_repr_html_") and hasattr(of, "shape")
    ]
    heading = (
        f"<b>{escape(type(value).__name__)}</b> "
        f"{escape(name if isinstance(name, str) else brief(name))}"
    )
    summary = (
        f"<p style='margin:.2em 0'>{escape(words)}</p>"
        if words and words != name and "\n" not in words
        else ""
    )
    rows = "".join(
        f"<tr><th scope='row' style='{_CELL};font-weight:600'>{escape(field)}</th><td "
        f"style='{_CELL}'>{_lines(of)}</td></tr>"
        for field, of in fields.items()
        if field not in dict(frames)
    )
    table = (
        (
            "<table "
            f"style='border-collapse:collapse;color:inherit;font-size:.92em'><tbody>{rows}</tbody></table>"
        )
        if rows
        else ""
    )
    tables = "".join(
        f"<p style='margin:.3em 0'>{escape(field)}</p>{of._repr_html_()}" for field, of in frames
    )
    return (
        "<div style='max-width:760px;line-height:1.45'><p style='margin:.3em "
        f"0'>{heading}</p>{summary}{table}{tables}</div>"
    )


def _lines(value: object) -> str:
    parts = list(_parts(value))
    more = [f"and {len(parts) - _HTML_ROWS} more"] if len(parts) > _HTML_ROWS else []
    return "<br>".join(escape(part) for part in [*parts[:_HTML_ROWS], *more])


def _parts(value: object) -> Iterator[str]:
    """The items of a collection, each brief; the value itself where it is none."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield (
                f"{key if isinstance(key, str) else brief(key)}: "
                f"{item if isinstance(item, str) else brief(item)}"
            )
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield item if isinstance(item, str) else brief(item)
    else:
        yield value if isinstance(value, str) else brief(value)
