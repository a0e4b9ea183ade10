"""What a catalog holds, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

Kind = Literal["source", "view", "http", "service", "labels", "model", "level", "experiment"]


class EntryKey(NamedTuple):
    """Names are unique within their kind."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class CatalogEntry:
    """One definition of a project.

    `definition` is what it says, JSON-ready, naming other definitions rather than holding them;
    `fingerprint` is of all that it is made of. `tiles` is the fingerprint of a view's stored state.
    `version` and `applied_at` say when it was last applied; an entry that is not `live` was removed
    then.
    """

    kind: Kind
    name: str
    fingerprint: str
    definition: Mapping[str, object]
    tiles: str | None = None
    live: bool = True
    version: int = 0
    applied_at: datetime | None = None

    @property
    def key(self) -> EntryKey:
        """Its kind and name."""
        return EntryKey(self.kind, self.name)

    @property
    def says(self) -> tuple[str, str | None]:
        """What makes it the same definition as another of its key; the order of features counts."""
        return json.dumps(self.definition), self.tiles


Entries = Mapping[EntryKey, CatalogEntry]


@dataclass(frozen=True)
class CatalogState:
    """What a catalog holds of one project, removed entries included, and the live entries of the
    other projects in it.
    """

    version: int = 0
    entries: Entries = field(default_factory=dict)
    others: Mapping[str, Entries] = field(default_factory=dict)

    @property
    def live(self) -> Entries:
        """The entries that were not removed."""
        return {key: entry for key, entry in self.entries.items() if entry.live}


@dataclass(frozen=True)
class Applied:
    """One line of the log: what was changed, by whom and when."""

    project: str
    version: int
    who: str
    at: datetime
    changes: tuple[Mapping[str, object], ...]
