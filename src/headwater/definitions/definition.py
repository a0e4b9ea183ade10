"""Definitions are frozen values that know their fingerprint and where they were written.

What people say of a definition: a description, an owner, tags. Nothing that is computed depends
on it.

The repr of definitions and results: at most 12 lines of at most 100 columns; in a notebook, a
table of their fields.

A polars expression as a text that readers of pages and tables understand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import itertools
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import KW_ONLY, dataclass
from datetime import date, timedelta
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeGuard

from headwater import clock
from headwater.definitions.checks import Spelled, check_list, check_type
from headwater.errors import DefinitionError
from headwater.terminal.text import visible

if TYPE_CHECKING:
    import polars as pl

_PACKAGE = str(Path(__file__).resolve().parents[1])


def stack_level() -> int:
    """The `stacklevel` for a warning of the caller that points to the first line outside this
    package.
    """
    frame, level = sys._getframe(1), 1  # noqa: SLF001 (as in remember_site)
    # decorators that are contexts
    while frame.f_back is not None and frame.f_code.co_filename.startswith(
        (_PACKAGE, contextlib.__file__)
    ):
        frame, level = frame.f_back, level + 1
    return level


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


class Definition(Readable, metaclass=Spelled):
    """Base of every definition: equal iff the fingerprints are equal.

    Subclasses are `@dataclass(frozen=True, eq=False)`. A field with the metadata `{"fingerprint":
    False}` is left out, and one with `{"fingerprint": "given"}` while it is its default. A class
    that users write by another name says so: `called="batch"`.
    """

    _called: ClassVar[str]

    def __init_subclass__(cls, *, called: str = "", **more: object) -> None:
        super().__init_subclass__(**more)
        cls._called = called or cls.__name__

    def _set(self, **fields: object) -> None:
        """Set the fields, for an `__init__` that takes other types than it keeps."""
        self.__dict__.update(fields)

    def with_fields(self, **fields: object) -> Self:
        """A copy with other values of these fields, in the units that it keeps them in."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        changed = object.__new__(type(self))
        changed.__dict__.update(values | fields)
        return changed

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of this definition's contents."""
        return fingerprint_of(self)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(other) is type(self)
            and isinstance(other, Definition)
            and other.fingerprint == self.fingerprint
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def remember_site(self) -> None:
        """Note the file and line of the user's code, for errors that only data can reveal."""
        frame = sys._getframe(1)  # noqa: SLF001 (the public inspect.stack reads every source file: 100 times slower)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(
            (_PACKAGE, "<string>")
        ):
            frame = frame.f_back
        self.__dict__["_site"] = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"

    @property
    def site(self) -> str:
        """`file.py:line` of the definition, or an empty string."""
        return str(self.__dict__.get("_site", ""))


def fingerprint_of(value: object, digits: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of a value: of definitions, of plain values, and
    of collections of them.
    """
    return hashlib.sha256(json.dumps(canonical(value), sort_keys=True).encode()).hexdigest()[
        :digits
    ]


def canonical(value: object) -> object:
    """`value` as JSON-ready lists, strings and numbers: equal values give equal JSON, and different
    values different JSON.

    >>> canonical({"b": (1, 2), "a": None})
    {'a': None, 'b': [1, 2]}
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: canonical(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if _counts(f, getattr(value, f.name))
        }
        return [type(value).__name__, fields]
    if isinstance(value, Definition):
        return [type(value).__name__, value.fingerprint]
    if isinstance(value, Mapping):
        return dict(sorted((_key(k), canonical(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, timedelta):
        return ["timedelta", value.total_seconds()]
    if is_expr(value):
        return ["expr", value.meta.serialize(format="json")]
    if isinstance(value, type):
        return ["type", value.__module__, value.__qualname__]
    if inspect.isfunction(value):
        return ["function", _source(value)]
    return ["repr", type(value).__qualname__, re.sub(r" at 0x[0-9a-f]+", "", repr(value))]


def is_expr(value: object) -> TypeGuard[pl.Expr]:
    """Whether `value` is a polars expression, without importing polars."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(value, polars.Expr)


LONGEST_NAME: Final = 100
"""Characters of a name."""


def check_name(name: str, subject: str) -> None:
    """Refuse a name that could not stand in a feature name `view__feature`, or is too long for keys
    of stores and names of folders.
    """
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
        or "__" in name
        or name.endswith("_")
    ):
        raise DefinitionError(
            f"{subject} is named {name!r}; a name has letters, digits and single underscores, "
            "starts with a letter and does not end with an underscore"
        )
    if len(name) > LONGEST_NAME:
        raise DefinitionError(
            f"{subject} has a name of {len(name)} characters, {name[:40]!r}...; give one of at "
            f"most {LONGEST_NAME}"
        )


def _counts(field: dataclasses.Field[object], value: object) -> bool:
    says = field.metadata.get("fingerprint", True)
    return says is True or (says == "given" and value != field.default)


def _key(key: object) -> str:
    return str(key.fingerprint) if isinstance(key, Definition) else str(key)


def _source(function: object) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))  # type: ignore[arg-type]
    except (OSError, TypeError):  # typed at a prompt: no file to read
        code = function.__code__  # type: ignore[attr-defined]
        return f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"


@dataclass(frozen=True, eq=False)
class Described(Definition):
    """Base of definitions that have a description, an owner and tags, for the catalogue.
    Fingerprints do not depend on them.

    Raises:
        DefinitionError: a description or owner that is not a string, or tags that are not a list of
            strings.
    """

    _: KW_ONLY
    description: str = dataclasses.field(default="", repr=False, metadata={"fingerprint": False})
    owner: str = dataclasses.field(default="", repr=False, metadata={"fingerprint": False})
    tags: Sequence[str] = dataclasses.field(default=(), repr=False, metadata={"fingerprint": False})

    def check_description(self, subject: str) -> None:
        """Check the three fields, and keep the tags as a tuple."""
        for name in ("description", "owner"):
            check_type(getattr(self, name), str, f"{subject}: {name}", "a string")
        tags = check_list(
            self.tags, str, f"{subject}: tags", "a list of strings, such as ['payments', 'pii']"
        )
        object.__setattr__(self, "tags", tags)


WIDTH = 100

LINES = 12

_ITEMS = 6  # of a collection

_FIELD_WIDTH = 160  # characters of one field

# an integer in between is a timestamp in microseconds, of the years 1973 to 2286
_FIRST, _LAST = 10**14, 10**16

_HTML_ROWS = 12  # of one field

_CELL = "padding:2px 12px 2px 0;text-align:left;vertical-align:top;background:none;color:inherit"

_SECRET = ("password", "token")


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
        return cut(repr(value), _FIELD_WIDTH)
    if isinstance(value, float):
        return f"{value:.6g}"
    if type(value) is int and _FIRST <= value < _LAST:
        return clock.timestamp(value).isoformat()
    if isinstance(value, timedelta):
        from headwater.definitions.checks import text

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

    return cut(expression_text(value), _FIELD_WIDTH)


def _object(value: object) -> str:
    name = getattr(value, "name", None)
    if isinstance(name, str) and isinstance(value, Readable):
        return name
    fields = getattr(type(value), "__struct_fields__", ())  # of msgspec
    if fields:
        parts = ", ".join(f"{field}={brief(getattr(value, field))}" for field in fields)
        return cut(f"{type(value).__name__}({parts})", _FIELD_WIDTH)
    has_str = type(value).__str__ is not object.__str__ or not isinstance(value, Readable)
    return cut(" ".join((str(value) if has_str else repr(value)).split()), _FIELD_WIDTH)


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
    return cut(opening + ", ".join([*shown, *more]) + closing, _FIELD_WIDTH)


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
    """Counts by reason in words, without zeros.

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
        (field, shown_value)
        for field, shown_value in fields.items()
        if hasattr(shown_value, "_repr_html_") and hasattr(shown_value, "shape")
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
        f"style='{_CELL}'>{_lines(shown_value)}</td></tr>"
        for field, shown_value in fields.items()
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
        f"<p style='margin:.3em 0'>{escape(field)}</p>{shown_value._repr_html_()}"
        for field, shown_value in frames
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


_TYPE: Final = re.compile(r'("[^"]*")|\bdyn (?:int|float|str): ')

_COLUMN: Final = re.compile(r'\bcol\("([A-Za-z_]\w*)"\)')

_ARGUMENTS: Final = re.compile(r'(?<=\w)\(\[((?:"[^"]*"|[^\[\]"]|\[(?:"[^"]*"|[^\[\]"])*\])*)\]\)')

_ZONE: Final = re.compile(r"\.dt\.convert_time_zone\((?:\"[^\"]*\")?\)")

_PART_OF_TIME: Final = re.compile(
    r"(?<![.\w])(\w+)\.dt\.(year|month|day|weekday|hour|minute|second|date|time)\(\)(?!\.)"
)

_OPERATOR: Final = re.compile(r" (\S+) \(")


def expression_text(expression: pl.Expr) -> str:
    """The expression without the parts that only polars uses: types, brackets around every part,
    and time zones, whose names polars omits.

    >>> import polars as pl
    >>> print(expression_text(pl.col("hour") < 6))
    hour < 6
    >>> print(expression_text((pl.col("country") == "no") & (pl.col("fee") + 1 > 1.5)))
    (country == "no") & ((fee + 1) > 1.5)
    >>> print(
    ...     expression_text(pl.col("hour").is_between(6, 17)),
    ...     expression_text(pl.col("kind").is_in(["a", "b"])),
    ...     sep="; ",
    ... )
    hour.is_between(6, 17); kind.is_in(["a", "b"])
    >>> print(
    ...     expression_text(
    ...         pl.col("asked_at").dt.convert_time_zone("America/New_York").dt.hour() < 8
    ...     )
    ... )
    hour of asked_at < 8
    """
    return _PART_OF_TIME.sub(r"\2 of \1", _ZONE.sub("", _rendered(str(expression))))


def _rendered(text: str) -> str:
    parts = _binary(text)
    if parts is not None:
        left, operator, right = parts
        return f"{_side(left)} {operator} {_side(right)}"
    pieces, at = "", 0
    while at < len(text):
        end = _closing(text, at) if text.startswith("[(", at) else -1
        inner = text[at : end + 1]
        if end > 0 and _binary(inner) is not None:
            pieces += f"({_rendered(inner)})"
            at = end + 1
        else:
            pieces += text[at]
            at += 1
    return _ARGUMENTS.sub(
        r"(\1)", _COLUMN.sub(r"\1", _TYPE.sub(lambda match: match[1] or "", pieces))
    )


def _side(text: str) -> str:
    return _rendered(text) if _binary(text) is None else f"({_rendered(text)})"


def _binary(text: str) -> tuple[str, str, str] | None:
    """The sides and the operator of `[(left) operator (right)]`; None of anything else."""
    if not text.startswith("[(") or _closing(text, 0) != len(text) - 1:
        return None
    middle = _closing(text, 1)
    operator = _OPERATOR.match(text, middle + 1)
    if operator is None or _closing(text, operator.end() - 1) != len(text) - 2:
        return None
    return text[2:middle], operator[1], text[operator.end() : -2]


def _closing(text: str, at: int) -> int:
    """The place of the bracket that closes the one at `at`; -1 where none does."""
    depth, quoted = 0, False
    for place in range(at, len(text)):
        character = text[place]
        quoted ^= character == '"'
        if not quoted and character in "([":
            depth += 1
        elif not quoted and character in ")]":
            depth -= 1
            if not depth:
                return place
    return -1
