"""The result of looking at a stream from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headwater.kernel.arrays import I64


@dataclass(frozen=True)
class TopicSample:
    """A sample of a topic, or of another stream in the same terms.

    settings: as its broker says. first, last: the first offset and the one after the last, by
    partition. The last records that were read and those that came while it was watched, by
    partition and offset: partition, offset int64 (n); stamp int64 (n), microseconds of the time
    that a record carries, -1 for none; keys and payloads (n); came int64 (n), microseconds when it
    was received here, -1 for one that was there before. watched: seconds.
    """

    settings: Mapping[str, str]
    first: Mapping[int, int]
    last: Mapping[int, int]
    partition: I64
    offset: I64
    stamp: I64
    keys: Sequence[bytes | None]
    payloads: Sequence[bytes | None]
    came: I64
    watched: float

    @property
    def whole(self) -> bool:
        """Whether every record that the topic holds was read."""
        begins = {p: int(self.offset[self.partition == p].min(initial=2**62)) for p in self.first}
        return all(begins[p] <= self.first[p] or self.first[p] == self.last[p] for p in self.first)
