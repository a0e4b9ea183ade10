"""The scorecard: a table of checks. One family a file, one check a line; its thresholds are proposals, to be argued with."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.assessing.checks import data, events, learning, people, serving
from headwater.assessing.checks.check import Check

TABLE: Sequence[Check] = (*events.CHECKS, *data.CHECKS, *learning.CHECKS, *serving.CHECKS, *people.CHECKS)
