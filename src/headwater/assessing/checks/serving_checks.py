"""Checks S: the store, the responses and the age of features."""

from __future__ import annotations

from headwater.assessing.checks.check import Check, Question, at_most, stated, sum_of

CHECKS = (
    Check(
        "S1",
        "O1",
        "project",
        "online store, p99 of one read of 50 keys",
        [at_most("reads", sum_of((1 / 3, "B")), sum_of("B"))],
        "move the store closer to the application, or read fewer keys per request",
    ),
    Check(
        "S2",
        "O1",
        "model",
        "end-to-end p99 latency at twice the peak rate",
        [at_most("peak_latency", sum_of((0.8, "B")), sum_of("B"))],
        "test with twice the rate of your peak hour, and answer the question; more workers, fewer "
        "features or a smaller model make it faster",
        Question(
            "Which end-to-end p99 latency do responses have at twice the rate of the peak hour?",
            "seconds",
            "",
            "",
        ),
        further=["latency"],
    ),
    Check(
        "S3",
        "O1",
        "view",
        "served age p95 / the age that training assumes",
        [at_most("age_ratio", 1.2, 2.0)],
        "train at measured ages (hw.level_from_log), or make the job that publishes the values as "
        "fast as its definition says",
        further=["served_age"],
    ),
    Check(
        "S4",
        "O1",
        "view",
        "values served that differ from what training computes",
        [at_most("differs", 0.005, 0.02)],
        "`headwater parity --served` lists the values that differ, and `headwater explain` the "
        "events of each",
    ),
    Check(
        "S5",
        "O1",
        "model",
        "fallback score if store or model times out",
        [stated("answer", "tested", "none")],
        "give the model default=, and test what the application does with it",
        Question(
            "Is there a fallback score for when the store or the model times out?",
            "tested",
            "untested",
            "none",
        ),
    ),
)
