"""A polars expression as a text that readers of pages and tables understand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl

_TYPE: Final = re.compile(r'("[^"]*")|\bdyn (?:int|float|str): ')
_COLUMN: Final = re.compile(r'\bcol\("([A-Za-z_]\w*)"\)')
_ARGUMENTS: Final = re.compile(r'(?<=\w)\(\[((?:"[^"]*"|[^\[\]"]|\[(?:"[^"]*"|[^\[\]"])*\])*)\]\)')
_ZONE: Final = re.compile(r"\.dt\.convert_time_zone\((?:\"[^\"]*\")?\)")
_PART_OF_TIME: Final = re.compile(
    r"(?<![.\w])(\w+)\.dt\.(year|month|day|weekday|hour|minute|second|date|time)\(\)(?!\.)"
)
_OPERATOR: Final = re.compile(r" (\S+) \(")


def expression_text(expression: pl.Expr) -> str:
    """The expression without what only polars means: types, brackets around every part, and time
    zones, whose names polars omits.

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
