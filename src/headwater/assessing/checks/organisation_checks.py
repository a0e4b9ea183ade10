"""Checks X: answered by people, not measured."""

from __future__ import annotations

from headwater.assessing.checks.check import Check, Question, stated

CHECKS = (
    Check(
        "X1",
        "O1",
        "model",
        "model registry, a version pinned to versions of its features",
        [stated("registered", "yes", "files by hand")],
        "`headwater train` keeps versions, each with the fingerprints of its features",
        Question(
            "Are models kept in a registry, each version with the versions of its features?",
            "yes",
            "partly",
            "files by hand",
        ),
    ),
    Check(
        "X2",
        "O3",
        "project",
        "on-call owner of stream jobs and producers; alerts on lag and age",
        [stated("answer", "named", "none")],
        "name an owner for each stream and its producers, and set alerts on headwater's metrics "
        "of lag and age",
        Question(
            "Who is on call for stream jobs and event producers, with alerts on lag and age?",
            "named",
            "named, no alerts",
            "none",
        ),
    ),
    Check(
        "X3",
        "C3",
        "project",
        "traffic split and shadow; unit of randomisation known; interference expected",
        [stated("answer", "yes", "no")],
        "serve a level in shadow, decide on the unit that is randomised, and write down how units "
        "might affect each other",
        Question(
            "Can traffic be split and shadowed, by a known unit, and is interference understood?",
            "yes",
            "partly",
            "no",
        ),
    ),
    Check(
        "X4",
        "O1",
        "model",
        "predictions are acted on within F; price of a late decision",
        [stated("answer", "number given", "no one acts inside F")],
        "find out how a prediction is used and when; if no one acts inside F, daily or hourly "
        "predictions cost less for the same result",
        Question(
            "Does anyone act on a prediction within F, and what does a late one cost?",
            "number given",
            "acts, no number",
            "no one acts inside F",
        ),
    ),
    Check(
        "X5",
        "O1",
        "project",
        "personal data tagged, and retention agreed",
        [stated("answer", "tagged", "unknown")],
        "tag columns with personal data, and agree how long logs, archive and store keep them",
        Question(
            "Are columns with personal data tagged, and is their retention agreed?",
            "tagged",
            "tagged, no retention",
            "unknown",
        ),
    ),
)
