"""What happens to a partition of a topic between its assignment and its first record: from where,
and in which topic of that name.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from headwater.errors import HeadwaterError
from headwater.ingestion.sources.kafka_client import TopicIds
from headwater.ingestion.sources.stream_reader import Assigned, offset_at


@dataclass
class Lookup:
    """Asks, in a thread of its own, from where to read partitions that were assigned; number: of
    each assignment. Others are read on.
    """

    assigned: Assigned
    ids: TopicIds
    number: Mapping[int, int]
    known: dict[int, int] = field(default_factory=dict)
    topic_id: str = ""
    failure: HeadwaterError | None = None

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="assigned", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            self.topic_id = self.ids.now().id
            self.known = {
                int(name): offset_at(position)
                for name, position in self.assigned([str(p) for p in self.number]).items()
            }
        except HeadwaterError as error:  # `poll` raises it
            self.failure = error
        except Exception as error:  # noqa: BLE001 (likewise; a thread would end without a word)
            self.failure = HeadwaterError(
                f"partitions {sorted(self.number)} cannot be taken up: {error}"
            )
            self.failure.__cause__ = error


_SHIFT = "@"  # in no base64


def origin(topic_id: str, shift: int) -> str:
    """What the offsets of a partition count in: those of the topic with this id, plus `shift`."""
    return f"{topic_id}{_SHIFT}{shift}" if shift else topic_id


def parts_of(text: str) -> tuple[str, int]:
    """What `origin` was given.

    >>> parts_of("WQ+iT"), parts_of("WQ+iT@200"), parts_of("")
    (('WQ+iT', 0), ('WQ+iT', 200), ('', 0))
    """
    topic_id, _, shift = text.partition(_SHIFT)
    return topic_id, int(shift or 0)
