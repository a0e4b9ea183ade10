"""An acknowledgement: a suspicion of the audit that a person has looked at."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.definitions.definition import Definition
from headwater.errors import UsageError


@dataclass(frozen=True, eq=False)
class Acknowledgement(Definition):
    """A SUSPECT finding of the audit that somebody has looked at: which one, why it is no leak, and who says so.

    It restores the headline, with a note. A LEAK cannot be acknowledged; a question needs no acknowledgement.

    Args:
        check: the check's name, as the audit prints it, such as "own outcome".
        subject: what it found, as the audit prints it: a source, a request field, the labels.
        reason: why it is no leak, in words.
        author: who says so.

    Raises:
        UsageError: one of them is empty or not a string.

    >>> Acknowledgement("own outcome", "swipes", "a swipe is sent a second before its request", "Ada").author
    'Ada'
    """

    check: str
    subject: str
    reason: str
    author: str

    def __post_init__(self) -> None:
        for name in ("check", "subject", "reason", "author"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise UsageError(f"Acknowledgement({name}={value!r}): give a string that is not empty")
