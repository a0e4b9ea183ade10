"""The state of a project, for pages and JSON routes: planned changes, fitted models, kept runs,
comparisons, and each feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from headwater.catalog.lineage import lineage
from headwater.catalog.plan import CatalogLike, compare
from headwater.catalog.serialize import feature_text, view_definition
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.level import without_level
from headwater.definitions.project import Project
from headwater.errors import DataError, UsageError, nearest
from headwater.models.registry import ModelRegistry
from headwater.monitoring.parity import ParityRun
from headwater.results.lineage_result import Lineage, node_id
from headwater.results.project_result import (
    ConsumerNode,
    FeatureSummary,
    KeptRunRow,
    KeptRuns,
    ModelVersion,
    ModelVersions,
    ParityOverview,
    PlannedChange,
    PlannedChanges,
    ViewParity,
)
from headwater.results.stored_runs import StoredRuns

_RUNS: Final = 200
_COMPARISONS: Final = 50  # the latest ones that are read
_PARITY: Final = "parity"


def planned_changes(
    project: Project, catalog: CatalogLike | None = None, models: Path | None = None
) -> PlannedChanges:
    """What applying a project would change; nothing is written.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    made = compare(project, catalog, ModelRegistry(models))
    changes = [
        PlannedChange(
            change.kind,
            change.name,
            change.action,
            list(change.details),
            list(change.breaking),
            change.needs_backfill,
        )
        for change in made.changes
    ]
    refused = [*(str(lint) for lint in made.refused), *made.protected, *made.rewritten.values()]
    warnings = [str(lint) for lint in made.lints if lint.severity == "warning"]
    return PlannedChanges(made.version, made.unchanged, changes, refused, warnings, str(made))


def model_versions(project: Project, registry: ModelRegistry) -> ModelVersions:
    """The versions of a project's models in a registry, the latest first."""
    names, rows = {model.name for model in project.models}, []
    for model, level in registry.variants():
        if model not in names:
            continue
        current = registry.current(model, level).number
        for version in reversed(registry.versions(model, level)):
            manifest = version.manifest
            rows.append(
                ModelVersion(
                    model,
                    level,
                    version.number,
                    version.number == current,
                    manifest.created_at,
                    manifest.rows,
                    len(manifest.features),
                    manifest.metrics,
                )
            )
    return ModelVersions(rows)


def kept_runs_rows(
    folder: Path, *, kind: str | None = None, subject: str | None = None
) -> KeptRuns:
    """The latest 200 kept runs of a data directory; of a kind and a subject where these are
    given.
    """
    records = StoredRuns(folder).records(kind=kind, subject=subject)
    rows = [
        KeptRunRow(r.id, r.kind, r.subject, r.at, r.by, r.sentence, r.commit, r.figures)
        for r in records[:_RUNS]
    ]
    return KeptRuns(rows, len(records))


def latest_parity(project: Project, folder: Path) -> ParityOverview:
    """Of each view the latest comparison with training that is kept."""
    views = {view.name for view in project.all_views}
    latest: dict[str, ViewParity] = {}
    for comparison in _comparisons(project, folder):
        latest.setdefault(without_level(comparison.view), comparison)
    return ParityOverview([comparison for name, comparison in latest.items() if name in views])


def feature_summary(
    project: Project, feature: str, folder: Path, project_lineage: Lineage | None = None
) -> FeatureSummary:
    """A feature of a project.

    Args:
        project: whose.
        feature: its full name, such as `card__mean_amount_30d`.
        folder: the data directory, for its latest comparison with training.
        project_lineage: the project's lineage, where it is known.

    Raises:
        UsageError: the project has no such feature.
    """
    view = view_of(project, feature)
    graph = lineage(project) if project_lineage is None else project_lineage
    node = graph.node(node_id("view", view.name))
    output = next(output for output in view.outputs if f"{view.name}__{output.name}" == feature)
    readers = [
        ConsumerNode(reader.kind, reader.name)
        for reader in graph.consumers(node.id)
        if reader.kind != "service"
        or feature in reader.features
        or not any(name in reader.features for name in view.feature_names)
    ]
    compared = {without_level(row.view): row for row in latest_parity(project, folder).views}
    return FeatureSummary(
        feature,
        view.name,
        view.source.name,
        list(view.keys),
        feature_text(output),
        str(view.freshness),
        view.freshness.worst_age / 1e6 if view.freshness.stored else None,
        view.description,
        view.owner,
        view.tags,
        view.site,
        readers,
        msgspec.to_builtins(view_definition(view)),
        compared.get(view.root.name),
    )


def view_of(project: Project, feature: str) -> FeatureView:
    """The view of a feature by its full name.

    Raises:
        UsageError: the project has no such feature.
    """
    views = {name: view for view in project.all_views for name in view.feature_names}
    if feature not in views:
        raise UsageError(
            f"project {project.name!r} has no feature {feature!r}; {nearest(feature, views)}"
        )
    return views[feature]


def _comparisons(project: Project, folder: Path) -> Iterator[ViewParity]:
    """The kept comparisons of the project's views, the latest first; one that cannot be read is
    passed over.
    """
    stored = StoredRuns(folder)
    for record in stored.records(kind=_PARITY)[:_COMPARISONS]:
        try:
            run = ParityRun.from_dict(stored.result(record))
        except (DataError, msgspec.ValidationError):
            continue
        if run.project == project.name:
            for view in run.views:
                differing = Counter(mismatch.feature for mismatch in view.mismatches)
                yield ViewParity(
                    view.view,
                    record.id,
                    record.at,
                    run.served,
                    view.rows,
                    view.values,
                    len(view.mismatches),
                    differing,
                )
