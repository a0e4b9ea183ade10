"""The layout of one read of several views: the keys of its versions and records, and the read
version of each view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import add

from headwater.definitions.feature_view import FeatureView
from headwater.online.key_encoder import KeyEncoder
from headwater.online.read_versions import ReadVersion, VersionReader
from headwater.state import read_plan
from headwater.state.view_state import ViewTiles
from headwater.stores import keyspace

Records = Sequence[bytes | None]
Versions = tuple[list[ReadVersion], Sequence[ReadVersion], Sequence[int]]


@dataclass(frozen=True)
class ViewPart:
    """A view as it is read: its versions, record layout and key encoder, and the indices of the
    features wanted among `view.outputs`.
    """

    view: FeatureView
    version_reader: VersionReader
    tiles: ViewTiles
    keys: KeyEncoder
    output_indexes: tuple[int, ...]

    @cached_property
    def compiled(self) -> Mapping[int, read_plan.CompiledFeature]:
        """The features that loops compute, by index; `ViewTiles.values` computes the others."""
        planned = {
            index: read_plan.compiled(self.tiles, self.view.outputs[index])
            for index in self.output_indexes
        }
        return {index: feature for index, feature in planned.items() if feature is not None}


class ReadLayout:
    """The keys of one read; valid until partitions are looked up again.

    Attributes:
        version_keys: all keys of versions to read; they come first in a read. Views of one source
            share them. heads: how many.
        lacking: whether a view misses a commit, by the last values of these.
        begins: of each place, where some views have their records, what goes before a key in the
            store, and the group of views that are
        looked up by the same keys.
        sizes: how many records a key has at each place. plain: whether that is one at all, without
            an ending.
        versions: of each view the number of its read version. cuts: of each version, whether it is
            a cut.
        plan: as `CompiledReader` makes it of these.
    """

    def __init__(
        self, parts: Sequence[ViewPart], groups: Sequence[int], places: Sequence[int]
    ) -> None:
        self._parts = parts
        self.version_keys: list[bytes] = []
        self.begins: list[tuple[bytes, int]] = []
        # readers of one version, and the positions of their keys
        self._groups: list[tuple[VersionReader, int, int]] = []
        versions: list[int] = []
        self._ends: list[Sequence[bytes]] = []  # of each place, what comes after a key in the store
        self._lacking: tuple[list[bytes | None], list[bool]] = [], []
        self.plan: read_plan.ReadPlan | None = None
        self._split: tuple[Records, list[tuple[VersionReader, Records]]] = [], []
        numbers: dict[object, int] = {}
        for part, group, place in zip(parts, groups, places, strict=True):
            version_keys, ends = part.version_reader.look()
            if part.version_reader.like not in numbers:
                numbers[part.version_reader.like] = len(self._groups)
                self._groups.append(
                    (
                        part.version_reader,
                        len(self.version_keys),
                        len(self.version_keys) + len(version_keys),
                    )
                )
                self.version_keys.extend(version_keys)
            versions.append(numbers[part.version_reader.like])
            if place == len(self.begins):
                self.begins.append((keyspace.records(part.tiles.view.record_group), group))
                self._ends.append(ends)
        self._number(versions)
        self.heads, self.lacking = len(self.version_keys), False
        self.plain = all(list(ends) == [b""] for ends in self._ends)
        self._in_order = [group for _, group in self.begins] == list(range(len(self.begins)))
        self._prefixes = [begin for begin, _ in self.begins]
        self.sizes = tuple(map(len, self._ends))

    def record_keys_of_one(self, keys: Sequence[bytes | None]) -> list[bytes]:
        """As `record_keys`, for one key of each group."""
        if None in keys or not self.plain:
            return self.record_keys([[key] for key in keys])
        if self._in_order:
            return [*self.version_keys, *map(add, self._prefixes, keys)]
        return [*self.version_keys, *(begin + keys[group] for begin, group in self.begins)]  # type: ignore[operator]

    def record_keys(self, keys: Sequence[Sequence[bytes | None]]) -> list[bytes]:
        """The keys to read for some keys of each group, one place after the other."""
        record_keys = self.version_keys.copy()
        for (begin, group), ends in zip(self.begins, self._ends, strict=True):
            group_keys = keys[group]
            if None in group_keys or not self.plain:
                record_keys += [
                    keyspace.NOWHERE if key is None else begin + key + end
                    for key in group_keys
                    for end in ends
                ]
            else:
                record_keys += [begin + key for key in group_keys]  # type: ignore[operator]
        return record_keys

    def read_versions(self, stored: Records, t: int) -> Versions:
        """The distinct read versions at request time t, T of each, and the knowledge cutoff of each
        (see `Freshness.known_by`). `versions` says which read version a view has.
        """
        heads = stored if len(stored) == self.heads else stored[: self.heads]
        if heads != self._lacking[0]:
            self._lacking = self._lacks(stored)
            self.lacking = bool(self._lacking[1])
        times: Sequence[int]
        if len(self._groups) == 1:
            version = self._groups[0][0].read_version(heads, t)
            grouped, read_versions = [version], [version] * len(self.versions)
            times = version[0], version[1] if self.cuts[0] else version[0]
        else:
            if heads is not self._split[0]:
                self._split = heads, [(reader, heads[a:b]) for reader, a, b in self._groups]
            grouped = [reader.read_version(values, t) for reader, values in self._split[1]]
            read_versions = [grouped[version] for version in self.versions]
            times = [v[0] for v in grouped]
            times += [
                grouped[number][1] if cut else times[number] for number, cut in enumerate(self.cuts)
            ]
        if not self.lacking:
            return read_versions, grouped, times
        pairs = zip(read_versions, self._lacking[1], strict=True)
        return (
            [version._replace(incomplete=version.incomplete or lacks) for version, lacks in pairs],
            grouped,
            times,
        )

    def by_place(self, records: Records, keys: Sequence[int]) -> list[Records]:
        """The records of each place, key after key; `keys`: how many there are in each group."""
        by_place: list[Records] = []
        at = 0
        for (_, group), ends in zip(self.begins, self._ends, strict=True):
            by_place.append(records[at : at + keys[group] * len(ends)])
            at += keys[group] * len(ends)
        return by_place

    def _number(self, versions: Sequence[int]) -> None:
        self.versions, self.plan = tuple(versions), None
        self.cuts = tuple(
            self._parts[versions.index(number)].view.freshness.scheduled
            for number in range(len(self._groups))
        )

    def _lacks(self, stored: Records) -> tuple[list[bytes | None], list[bool]]:
        """The values of the version keys, and which views miss a commit by them; empty where none
        does.
        """
        spans = [self._groups[version][1:] for version in self.versions]
        lacking = [
            part.version_reader.lacks(stored[a:b])
            for part, (a, b) in zip(self._parts, spans, strict=True)
        ]
        numbers: dict[object, int] = {}
        versions: list[int] = []
        self._split = [], []
        # read versions may have come to differ between views that read the same keys
        self._groups.clear()
        for part, span in zip(self._parts, spans, strict=True):
            versions.append(numbers.setdefault((part.version_reader.like, span), len(numbers)))
            if versions[-1] == len(self._groups):
                self._groups.append((part.version_reader, *span))
        self._number(versions)
        return list(stored[: len(self.version_keys)]), lacking if any(lacking) else []
