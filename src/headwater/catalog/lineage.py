"""Lineage: the graph of sources, views, services, models and experiments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from headwater.catalog.serialize import feature_text
from headwater.definitions.definition import Described
from headwater.definitions.feature_service import Enriched, FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.results.lineage_result import Lineage, LineageEdge, LineageNode, NodeKind, node_id


def lineage(project: Project) -> Lineage:
    """The lineage of a project: its definitions, and what feeds what.

    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> found = lineage(visiting(hw.batch("1h")))
    >>> [node.id for node in found.nodes], len(found.edges)
    (['source visits', 'view user', 'service churn_v1', 'model churn'], 3)
    """
    nodes = list({node.id: node for node in _nodes(project)}.values())
    edges = list(dict.fromkeys(_edges(project)))
    ids = {node.id for node in nodes}
    return Lineage(
        project.name,
        nodes,
        [LineageEdge(start, end) for start, end in edges if {start, end} <= ids],
    )


def _nodes(project: Project) -> Iterator[LineageNode]:
    for source in project.sources:
        history = "" if source.history is None else "history"
        yield _node(
            "source",
            source,
            " and ".join(filter(None, (history, "" if source.stream is None else "stream"))),
        )
    for model in project.models:
        for http in model.features.http_features:
            features = dict.fromkeys(http.feature_names, f"of {http.name}")
            yield LineageNode(
                node_id("third party", http.name),
                "third party",
                http.name,
                features=features,
                site=http.site,
            )
    for view in project.all_views:
        features = {
            f"{view.name}__{feature.name}": feature_text(feature) for feature in view.outputs
        }
        yield _node("view", view, str(view.freshness), view.keys, features)
    for service in _services(project):
        yield _node(
            "service",
            service,
            f"{len(service.feature_names)} features",
            (),
            dict.fromkeys(service.feature_names, ""),
        )
    for model in project.models:
        yield _node("model", model, model.task_kind)
    for experiment in project.experiments:
        arms = f"arms {', '.join(arm.name for arm in experiment.arms)}"
        yield LineageNode(
            node_id("experiment", experiment.name),
            "experiment",
            experiment.name,
            detail=arms,
            site=experiment.site,
        )


def _node(
    kind: NodeKind,
    definition: Described,
    detail: str,
    keys: Sequence[str] = (),
    features: Mapping[str, str] | None = None,
) -> LineageNode:
    name = str(vars(definition)["name"])
    return LineageNode(
        node_id(kind, name),
        kind,
        name,
        definition.description,
        definition.owner,
        definition.tags,
        detail,
        keys,
        features or {},
        definition.site,
    )


def _edges(project: Project) -> Iterator[tuple[str, str]]:
    for source in project.sources:
        if isinstance(source.history, Enriched):
            yield node_id("source", source.history.base.name), node_id("source", source.name)
            yield from (
                (node_id("view", view.name), node_id("source", source.name))
                for view in source.history.features.views
            )
    for view in project.all_views:
        yield _feeder(view, project.all_views), node_id("view", view.name)
    for service in _services(project):
        yield from (
            (node_id("view", view.name), node_id("service", service.name)) for view in service.views
        )
        yield from (
            (node_id("third party", http.name), node_id("service", service.name))
            for http in service.http_features
        )
    for model in project.models:
        yield from (
            (node_id("service", service.name), node_id("model", model.name))
            for service in model.services
        )
    for experiment in project.experiments:
        yield from (
            (node_id("model", arm.model.name), node_id("experiment", experiment.name))
            for arm in experiment.arms
        )


def _feeder(view: FeatureView, views: Iterable[FeatureView]) -> str:
    """What a view takes its values from: its source, or of an alias the view, where that is part of
    the project.
    """
    return (
        node_id("view", view.root.name)
        if view.base is not None and view.root in views
        else node_id("source", view.source.name)
    )


def _services(project: Project) -> list[FeatureService]:
    return list(
        {service.name: service for model in project.models for service in model.services}.values()
    )
