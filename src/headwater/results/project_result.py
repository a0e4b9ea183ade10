"""The state of a project: planned changes, fitted models, kept runs and comparisons with training,
as JSON routes and pages show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.results.result import Result


class PlannedChange(Result, frozen=True):
    """A definition that applying would add, change or remove. details: field by field. breaking:
    what trained models would lose.
    """

    kind: str
    name: str
    action: str
    details: Sequence[str] = ()
    breaking: Sequence[str] = ()
    needs_backfill: bool = False


class PlannedChanges(Result, frozen=True):
    """What applying the running project would change in its catalog, as `headwater plan` has it.

    version: that it is compared with; 0 where the project was never applied. refused, warnings: of
    definitions. text: the plan as printed.
    """

    version: int
    unchanged: int
    changes: Sequence[PlannedChange]
    refused: Sequence[str]
    warnings: Sequence[str]
    text: str


class ModelVersion(Result, frozen=True):
    """A version of a fitted model. rows: it was fitted on. metrics: by the set of rows, and by
    name.
    """

    model: str
    level: str
    number: int
    current: bool
    created_at: str
    rows: int
    features: int
    metrics: Mapping[str, Mapping[str, float | None]] = {}


class ModelVersions(Result, frozen=True):
    """The versions of every model and level of a project, the latest first."""

    models: Sequence[ModelVersion]


class KeptRunRow(Result, frozen=True):
    """A kept run without its result, as `headwater runs list` has it."""

    id: str
    kind: str
    subject: str
    at: str
    by: str
    sentence: str
    commit: str
    figures: Mapping[str, float] = {}


class KeptRuns(Result, frozen=True):
    """Kept runs, the latest first. total: how many there are."""

    runs: Sequence[KeptRunRow]
    total: int


class ViewParity(Result, frozen=True):
    """The latest comparison of a view with what training computes. served: of the serving log, not
    of the store. differing: by feature.
    """

    view: str
    run: str
    at: str
    served: bool
    keys: int
    values: int
    mismatches: int
    differing: Mapping[str, int] = {}


class ParityOverview(Result, frozen=True):
    """The latest comparison of each view."""

    views: Sequence[ViewParity]


class ConsumerNode(Result, frozen=True):
    """A definition that reads a feature: a service, a model, an experiment, or a view over it."""

    kind: str
    name: str


class FeatureSummary(Result, frozen=True):
    """A feature: how it is computed, its promise, and who reads it. definition: of its view, as a
    catalog has it.
    """

    feature: str
    view: str
    source: str
    keys: Sequence[str]
    computed: str
    freshness: str
    promise: float | None
    description: str
    owner: str
    tags: Sequence[str]
    site: str
    consumers: Sequence[ConsumerNode]
    definition: Mapping[str, Any]
    parity: ViewParity | None = None
