"""A secondary key: one value for each of the latest categories, rather than one of all events together."""

from __future__ import annotations

from dataclasses import dataclass

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
        DefinitionError: a function that cannot be split, no column name, or `max_keys` out of bounds.
    """
    if not FUNCTIONS[function].splits:
        can = sorted(name for name, facts in FUNCTIONS.items() if facts.splits)
        raise DefinitionError(
            f"{function}() cannot be split by {column!r}: it has no state of one size for each category. These can: {', '.join(can)}"
        )
    if not isinstance(column, str):
        raise DefinitionError(f"{function}().by({column!r}) is not a column name; make a column with the source's select, and name it here")
    if isinstance(max_keys, bool) or not isinstance(max_keys, int) or not 1 <= max_keys <= MOST_KEYS:
        raise DefinitionError(f"{function}().by({column!r}): max_keys is {max_keys!r}; give an integer from 1 to {MOST_KEYS}")
    return SecondaryKey(column, max_keys)
