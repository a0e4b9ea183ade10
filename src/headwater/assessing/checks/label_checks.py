"""Checks L: labels, and the prediction log that they are joined to."""

from __future__ import annotations

from dataclasses import replace

from headwater.assessing.checks.check import Check, at_least, at_most

_DAY = 86_400.0

CHECKS = (
    Check(
        "L1",
        "C1",
        "model",
        "label delay p95, and share of predictions ever labelled",
        [at_most("label_p95", 7 * _DAY, 60 * _DAY), at_least("labelled", 0.90, 0.50)],
        "look for an earlier outcome as a proxy for the late one, or buy labels for a sample",
        further=["label_p50"],
    ),
    Check(
        "L2",
        "C1",
        "model",
        "prediction log joins to labels by request id",
        [replace(at_least("joined", 0.99, 1e-9), words=("≥ 0.99", "no prediction log"))],
        "turn on the serving log, and post outcomes with the request_id of each response",
    ),
)
