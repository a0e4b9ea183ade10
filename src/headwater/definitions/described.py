"""What people say of a definition: a description, an owner, tags. Nothing that is computed depends
on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from headwater.definitions.checks import check_list, check_type
from headwater.definitions.definition import Definition


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
