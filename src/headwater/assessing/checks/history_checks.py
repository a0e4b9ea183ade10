"""Checks E7 and D: the training history, and how it is kept."""

from __future__ import annotations

from headwater.assessing.checks.check import Check, Question, at_least, at_most, stated, sum_of

CHECKS = (
    Check(
        "E7",
        "O1",
        "view",
        "span of the archive of raw events",
        [at_least("span", sum_of("T", "W", "L"), sum_of("W", "L"))],
        "keep raw events longer, or train on a shorter span; `headwater ingest` keeps an archive",
    ),
    Check(
        "D1",
        "O1",
        "view",
        "a column that says when each event became known",
        [stated("known_column", "present", "absent, and rows are updated in place")],
        "write the load time of each row into a column, never change it, and name the column in "
        "known_at_field=",
        Question(
            "Is there a column that says when a row became known, besides when it happened?",
            "present",
            "absent, rows are appended",
            "updated in place",
        ),
        further=["known_delay"],
    ),
    Check(
        "D2",
        "O1",
        "view",
        "entity tables keep history, or a change log is read",
        [stated("history_kept", "history or CDC", "overwritten rows, no CDC")],
        "add a row for each version instead of overwriting, or publish the table for logical "
        "replication and read its changes",
        Question(
            "Do the tables behind the events keep earlier versions of a row, or a change log?",
            "history or CDC",
            "partly",
            "overwritten",
        ),
    ),
    Check(
        "D3",
        "O1",
        "view",
        "requests whose key has no batch row (cold start)",
        [at_most("cold", 0.05, 0.30, strict=True)],
        "predict on request instead of precomputing, give the model a default, or add features of "
        "a coarser key",
    ),
)
