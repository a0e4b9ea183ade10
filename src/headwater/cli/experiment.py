"""Plan, start, follow and analyse experiments in production."""

from __future__ import annotations

from headwater.cli import (
    experiment_analyse,
    experiment_plan,
    experiment_ramp,
    experiment_shadow,
    experiment_status,
)
from headwater.cli.command import Actions

COMMAND = Actions(
    {
        "plan": experiment_plan.PLAN,
        "start": experiment_plan.START,
        "status": experiment_status.STATUS,
        "ramp": experiment_ramp.COMMAND,
        "stop": experiment_status.STOP,
        "analyse": experiment_analyse.COMMAND,
        "shadow": experiment_shadow.COMMAND,
    },
    help=__doc__,
)
