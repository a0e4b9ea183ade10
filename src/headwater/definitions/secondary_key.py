"""A secondary key: one value for each of the latest categories, rather than one of all events
together.
"""

from __future__ import annotations

from dataclasses import dataclass

from headwater.definitions.checks import check_integer, check_type
from headwater.definitions.functions import FUNCTIONS
from headwater.errors import DefinitionError

DEFAULT_KEYS, MOST_KEYS = 100, 1000


@dataclass(frozen=True)
class SecondaryKey:
    """The column that events are split by, and how many of its values an answer holds at most."""

    column: str
    max_keys: int


def secondary_key(function: str, column: str, max_keys: int) -> SecondaryKey:
    """The secondary key that `function` is split by.

    Raises:
        DefinitionError: a function that cannot be split, no column name, or `max_keys` out of
            bounds.
    """
    if not FUNCTIONS[function].splits:
        can = sorted(name for name, facts in FUNCTIONS.items() if facts.splits)
        raise DefinitionError(
            f"{function}() cannot be split by {column!r}: it has no state of one size for each "
            f"category. These can: {', '.join(can)}"
        )
    give = "the name of a column; select= of the source makes one of an expression"
    check_type(column, str, f"{function}().by(): the column", give)
    check_integer(max_keys, f"{function}().by({column!r}): max_keys", least=1, most=MOST_KEYS)
    return SecondaryKey(column, max_keys)
