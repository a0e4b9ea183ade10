"""An acknowledgement: the answer of a person to a question of the audit."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.definitions.checks import check
from headwater.definitions.definition import Definition
from headwater.errors import UsageError


@dataclass(frozen=True, eq=False)
class Acknowledgement(Definition):
    """The answer to a question of the audit: which one, why it is not a leak, and who says so.

    Every page shows it next to the verdict. It never lifts a LEAK.

    Args:
        check: the check's name, as the audit prints it, such as "own outcome".
        subject: what it asks about, as the audit prints it: a source, a request field, the labels.
        reason: why it is not a leak, in words.
        author: who says so.

    Raises:
        UsageError: one of them is empty or not a string.

    >>> Acknowledgement(
    ...     "own outcome", "swipes", "a swipe is sent a second before its request", "Ada"
    ... ).author
    'Ada'
    """

    check: str
    subject: str
    reason: str
    author: str

    def __post_init__(self) -> None:
        for name in ("check", "subject", "reason", "author"):
            value = getattr(self, name)
            filled = isinstance(value, str) and value.strip()
            check(
                filled, value, f"Acknowledgement: {name}", "a string that is not empty", UsageError
            )
