"""S: the store, the answers and their age."""

from __future__ import annotations

from headwater.assessing.checks.check import Check, Question, at_most, of, stated

CHECKS = (
    Check(
        "S1",
        "O1",
        "project",
        "online store, p99 of one read of 50 keys",
        [at_most("reads", of((1 / 3, "B")), of("B"))],
        "put the store nearer to the application, or read fewer keys a request",
    ),
    Check(
        "S2",
        "O1",
        "model",
        "end to end p99 at twice the peak rate",
        [at_most("peak_latency", of((0.8, "B")), of("B"))],
        "test with twice the rate of your peak hour, and answer the question; more workers, fewer features or a smaller model make it quicker",
        Question("What is the p99 of an answer, end to end, at twice the rate of the peak hour?", "seconds", "", ""),
        beside=["latency"],
    ),
    Check(
        "S3",
        "O1",
        "view",
        "served age p95 / the age that training assumes",
        [at_most("age_ratio", 1.2, 2.0)],
        "train at measured ages (hw.level_from_log), or make the job that publishes the values as quick as its definition says",
        beside=["served_age"],
    ),
    Check(
        "S4",
        "O1",
        "view",
        "values served that differ from what training computes",
        [at_most("differs", 0.005, 0.02)],
        "`headwater parity --served` lists the values that differ, and `headwater explain` the events of each",
    ),
    Check(
        "S5",
        "O1",
        "model",
        "fallback score when store or model times out",
        [stated("answer", "tested", "none")],
        "give the model default=, and test what the application does with it",
        Question("Is there a fallback score for when the store or the model times out?", "tested", "untested", "none"),
    ),
)
