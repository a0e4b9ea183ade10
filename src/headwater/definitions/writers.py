"""Who writes what an online store keeps of a source's stream: one process at a time, or each
partition's own writer.
"""

from __future__ import annotations

from headwater.definitions.source import Source
from headwater.definitions.streams import KafkaTopic


def has_one_writer(source: Source, *, multi_process: bool) -> bool:
    """Whether one process at a time writes all of a source's stream; else each partition of its
    consumer group has a writer.

    multi_process: whether several processes may write to the store at the same time.

    >>> import headwater as hw
    >>> topic = hw.kafka("payments", schema={"id": int, "at": hw.definitions.streams.datetime})
    >>> def ask(**more):
    ...     return has_one_writer(
    ...         hw.Source("payments", stream=topic, timestamp_field="at", **more),
    ...         multi_process=True,
    ...     )
    >>> ask(), ask(id_field="id"), ask(id_field="id", writers="partition"), ask(writers="one")
    (False, True, False, True)
    """
    if not multi_process or not isinstance(source.stream, KafkaTopic):
        return True
    return source.writers == "one" or (source.id_field is not None and source.writers is None)


def producers_rule(source: Source) -> str | None:
    """What the producers of a stream must keep where each of its partitions has a writer of its
    own; None where nothing is to be kept.

    >>> import headwater as hw
    >>> topic = hw.kafka("payments", schema={"id": int, "at": hw.definitions.streams.datetime})
    >>> print(producers_rule(hw.Source("payments", stream=topic, timestamp_field="at", id_field="id", writers="partition")))
    equal 'id' must share a partition, as writers='partition' promises, or copies count twice. Produce records with 'id', or a column \
that it determines, as their key; or leave writers out, and one process writes all partitions
    """  # noqa: E501 (output as it is printed)
    if source.id_field is None or source.writers != "partition":
        return None
    return (
        f"equal {source.id_field!r} must share a partition, as writers='partition' promises, or "
        f"copies count twice. Produce records with {source.id_field!r}, or a column that it "
        "determines, as their key; or leave writers out, and one process writes all partitions"
    )


def other_writers(source: Source, *, one_writer: bool) -> str:
    """Why what others wrote of a source's stream cannot be gone on with: where one process wrote,
    no partition has a state of its own.

    one_writer: whether one process is to write it now.
    """
    now, then = (
        ("one process", "each partition's own writer")
        if one_writer
        else ("each partition's own writer", "one process")
    )
    return (
        f"source {source.name!r} is written by {now} with this definition "
        f"(writers={source.writers!r}, id_field={source.id_field!r}, changes={source.changes!r}), "
        f"and by {then} before"
    )


def steps_to_rewrite(source: Source, *, one_writer: bool, multi_process: bool) -> str:
    """What to do where others wrote a source's stream; parameters as of `has_one_writer` and
    `other_writers`.
    """
    can_keep = not one_writer or (
        source.changes is None and isinstance(source.stream, KafkaTopic) and multi_process
    )
    keep = (
        (
            f"Give it writers={'partition' if one_writer else 'one'!r}, and it goes on as it was "
            "written; or build"
        )
        if can_keep
        else "Build"
    )
    return (
        f"{keep} its state again: give the source another name, or ingest into a store with "
        "another prefix= or database, and serve from there once its views are filled"
    )
