"""The scorecard: a table of checks, one family a file. The thresholds are proposals; change them to
fit your case.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.assessing.checks import (
    event_checks,
    history_checks,
    label_checks,
    organisation_checks,
    serving_checks,
)
from headwater.assessing.checks.check import Check

TABLE: Sequence[Check] = (
    *event_checks.CHECKS,
    *history_checks.CHECKS,
    *label_checks.CHECKS,
    *serving_checks.CHECKS,
    *organisation_checks.CHECKS,
)
