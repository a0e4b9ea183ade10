"""Text for a stream: control characters are written out, lines end between words, and the stream's
encoding is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

# C0 except tab and newline, DEL and C1, bidirectional marks, line separators, invisible characters
# and lone surrogates.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)
# Not broken: a command or a name in backticks, an interval in brackets, and what has no space; a
# no-break space is none.
_WORD: Final = re.compile(r"(?:`[^`]*`|\[[^][ ]+, [^][ ]+\]|[^ \t])+")
_NARROW: Final = 0x300  # characters before it take one column each
_PLAIN: Final = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
        "\N{RIGHTWARDS ARROW}": "->",
        "\N{LEFTWARDS ARROW}": "<-",
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{MIDDLE DOT}": "*",
        "\N{LEFT CEILING}": "ceil(",
        "\N{RIGHT CEILING}": ")",
        "\N{MICRO SIGN}": "u",
        "\N{CLOCKWISE OPEN CIRCLE ARROW}": "o",
        "\N{BULLET}": "*",
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{GREATER-THAN OR EQUAL TO}": ">=",
        "\N{ALMOST EQUAL TO}": "~",
        "\N{PLUS-MINUS SIGN}": "+-",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{CHECK MARK}": "+",
        "\N{BALLOT X}": "x",
    }
)


def visible(text: str) -> str:
    r"""Text with control characters escaped: keys and values of events may have terminal commands,
    or marks that reorder a line.

    >>> print(visible("u1\x1b[2J \u202e"))
    u1\x1b[2J \u202e
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def encodable(text: str, encoding: str) -> str:
    r"""Visible text that a stream of this encoding takes: typographic characters as ASCII, others
    as escapes.

    >>> (
    ...     encodable("a → b −1 ø", "ascii"),
    ...     encodable("a → b −1 ø", "latin-1"),
    ...     encodable("a → b", "utf-8"),
    ... )
    ('a -> b -1 \\xf8', 'a -> b -1 ø', 'a → b')
    """
    text = visible(text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(
            character
            if _has(encoding, character)
            else character.translate(_PLAIN).encode("ascii", "backslashreplace").decode()
            for character in text
        )
    except LookupError:  # a name that only the terminal knows
        return encodable(text, "ascii")
    return text


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def moment(at: datetime | str) -> str:
    """A time, also as ISO 8601, as a table shows it: in UTC, without a part that is zero, in words
    between which a line may break.

    >>> moment(datetime(2026, 11, 30, 0, 5, tzinfo=UTC)), moment("2026-11-30T01:05:07.000020+01:00")
    ('2026-11-30 00:05 UTC', '2026-11-30 00:05:07.000020 UTC')
    """
    at = (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
    seconds = f":{at:%S}" if at.second or at.microsecond else ""
    return f"{at:%Y-%m-%d %H:%M}{seconds}{f'.{at:%f}' if at.microsecond else ''} UTC"


def number_of(count: int, thing: str) -> str:
    """How many there are of a thing whose plural ends in s.

    >>> number_of(1, "model"), number_of(1200, "view")
    ('1 model', '1,200 views')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes.

    >>> columns_of("abc"), columns_of("数a")
    (3, 3)
    """
    if all(ord(character) < _NARROW for character in text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def longest_word(text: str) -> int:
    """The columns of the longest part that is not broken.

    >>> longest_word("run `headwater plan` [0.1, 0.2]")
    16
    """
    return max((columns_of(word[0]) for word in _WORD.finditer(text)), default=0)


def line_ends(text: str, columns: int, indent: int = 0) -> Iterator[tuple[int, int]]:
    """Where each line of a text begins and ends, if it is broken between words. indent: columns
    that all lines but the first lack.

    A word that is longer than a line stays whole, on a line of its own.

    >>> [text[a:b] for text in ["one two three"] for a, b in line_ends(text, 8)]
    ['one two', 'three']
    """
    begin = end = used = 0
    for word in _WORD.finditer(text):
        wide = columns_of(text[end : word.end()])
        if end > begin and used + wide > columns:
            yield begin, end
            begin, used, wide = word.start(), indent, columns_of(word[0])
        used, end = used + wide, word.end()
    yield begin, max(end, begin)


def indent_of(line: str) -> str:
    """What the further lines of a broken line begin with: its own indent, below its text where it
    is an item.

    >>> indent_of("  a"), indent_of("- a")
    ('  ', '  ')
    """
    margin = len(line) - len(line.lstrip(" "))
    return " " * (margin + 2 * line.startswith("- ", margin))


def wrapped(text: str, columns: int) -> list[str]:
    r"""The lines of a text, each broken between words.

    >>> wrapped("- one two\nthree", 7)
    ['- one', '  two', 'three']
    """
    lines = []
    for line in text.split("\n"):
        indent = indent_of(line)
        for number, (begin, end) in enumerate(line_ends(line, columns, len(indent))):
            lines.append((indent if number else "") + line[begin:end])
    return lines
