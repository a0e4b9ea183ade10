"""A frozen plan for tests; each test names the part that it tests."""

from __future__ import annotations

from typing import Any

from headwater.models.experiment_store import FrozenArm, FrozenPlan

DAY = 86_400_000_000
BASE: dict[str, Any] = {
    "experiment": "checkout",
    "version": 1,
    "fingerprint": "",
    "arms": (
        FrozenArm("daily", "churn", "daily", 0.5),
        FrozenArm("streaming", "churn", "as defined", 0.5),
    ),
    "unit": "user",
    "kind": "ab",
    "columns": {},
    "settings": {},
    "metrics": ("label_mean",),
    "guardrails": (),
    "layer": None,
    "span": (0.0, 1.0),
    "holdout": 0.0,
    "start": 0,
    "duration": 14 * DAY,
    "stage": DAY,
    "enrolled": (1.0,),
    "looks": 5,
    "alpha": 0.05,
    "power": 0.8,
    "min_lift": 0.01,
}


def frozen_plan(**changes: Any) -> FrozenPlan:
    """An A/B test of two levels of the model `churn` for 14 days, from time 0 on; changes: other
    fields.
    """
    return FrozenPlan(**{**BASE, **changes})
