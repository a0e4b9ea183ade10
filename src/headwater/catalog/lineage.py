"""Lineage: which source feeds which view, which service reads it, which model, and which experiment compares that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from headwater.catalog.serialize import feature_text
from headwater.definitions.described import Described
from headwater.definitions.feature_service import Enriched, FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.errors import UsageError, nearest
from headwater.results.result import Result

NodeKind = Literal["source", "third party", "view", "service", "model", "experiment"]
KINDS: Final[tuple[NodeKind, ...]] = ("source", "third party", "view", "service", "model", "experiment")


class LineageNode(Result, frozen=True):
    """A definition. id: its kind and name, such as "view user". features: by name how each is computed, of a view; of a service, in order.

    detail: what sets it apart in a few words: the freshness of a view, the task of a model. site: the file and line that it stands on.
    """

    id: str
    kind: NodeKind
    name: str
    description: str = ""
    owner: str = ""
    tags: Sequence[str] = ()
    detail: str = ""
    keys: Sequence[str] = ()
    features: Mapping[str, str] = {}
    site: str = ""

    def matches(self, words: Sequence[str]) -> bool:
        """Whether each word, in lower case, is in its name, its description, its owner, a tag, a key or the name of a feature."""
        text = "\n".join((self.kind, self.name, self.description, self.owner, *self.tags, *self.keys, *self.features)).lower()
        return all(word in text for word in words)


class LineageEdge(Result, frozen=True):
    """What the data of `start` goes into; both are ids of nodes."""

    start: str
    end: str


class Lineage(Result, frozen=True):
    """The definitions of a project and the edges between them, sources first."""

    project: str
    nodes: Sequence[LineageNode]
    edges: Sequence[LineageEdge]

    def node(self, name: str) -> LineageNode:
        """The node of an id.

        Raises:
            UsageError: there is none.
        """
        by_id = {node.id: node for node in self.nodes}
        if name not in by_id:
            raise UsageError(f"project {self.project!r} has no {name!r}; {nearest(name, by_id)}")
        return by_id[name]

    def search(self, text: str) -> list[LineageNode]:
        """The nodes with each word of a text in their name, description, owner, tags or names of features; all for an empty text."""
        words = text.lower().split()
        return [node for node in self.nodes if node.matches(words)]

    def around(self, name: str) -> Lineage:
        """All that feeds a node, and all that it feeds.

        Raises:
            UsageError: no node has this id.
        """
        kept = {self.node(name).id}
        for forward in (True, False):
            kept |= self._reached(name, forward=forward)
        edges = [edge for edge in self.edges if edge.start in kept and edge.end in kept]
        return Lineage(self.project, [node for node in self.nodes if node.id in kept], edges)

    def consumers(self, name: str) -> list[LineageNode]:
        """The nodes that a node feeds, directly or through others.

        Raises:
            UsageError: no node has this id.
        """
        reached = self._reached(self.node(name).id, forward=True)
        return [node for node in self.nodes if node.id in reached]

    def _reached(self, name: str, *, forward: bool) -> set[str]:
        """The ids that a node leads to, or that lead to it."""
        next_ids: dict[str, list[str]] = {}
        for edge in self.edges:
            start, end = (edge.start, edge.end) if forward else (edge.end, edge.start)
            next_ids.setdefault(start, []).append(end)
        reached, waiting = set[str](), [name]
        while waiting:
            fresh = [one for one in next_ids.get(waiting.pop(), ()) if one not in reached]
            reached.update(fresh)
            waiting += fresh
        return reached


def node_id(kind: NodeKind, name: str) -> str:
    """The id of a node."""
    return f"{kind} {name}"


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
    known = {node.id for node in nodes}
    return Lineage(project.name, nodes, [LineageEdge(start, end) for start, end in edges if {start, end} <= known])


def _nodes(project: Project) -> Iterator[LineageNode]:
    for source in project.sources:
        history = "" if source.history is None else "history"
        yield _node("source", source, " and ".join(filter(None, (history, "" if source.stream is None else "stream"))))
    for model in project.models:
        for http in model.features.http_features:
            features = dict.fromkeys(http.feature_names, f"of {http.name}")
            yield LineageNode(node_id("third party", http.name), "third party", http.name, features=features, site=http.site)
    for view in project.views:
        features = {f"{view.name}__{feature.name}": feature_text(feature) for feature in view.outputs}
        yield _node("view", view, str(view.freshness), view.keys, features)
    for service in _services(project):
        yield _node("service", service, f"{len(service.feature_names)} features", (), dict.fromkeys(service.feature_names, ""))
    for model in project.models:
        yield _node("model", model, model.task_kind)
    for experiment in project.experiments:
        arms = f"arms {', '.join(arm.name for arm in experiment.arms)}"
        yield LineageNode(node_id("experiment", experiment.name), "experiment", experiment.name, detail=arms, site=experiment.site)


def _node(kind: NodeKind, of: Described, detail: str, keys: Sequence[str] = (), features: Mapping[str, str] | None = None) -> LineageNode:
    name = str(vars(of)["name"])
    return LineageNode(node_id(kind, name), kind, name, of.description, of.owner, of.tags, detail, keys, features or {}, of.site)


def _edges(project: Project) -> Iterator[tuple[str, str]]:
    for source in project.sources:
        if isinstance(source.history, Enriched):
            yield node_id("source", source.history.base.name), node_id("source", source.name)
            yield from ((node_id("view", view.name), node_id("source", source.name)) for view in source.history.features.views)
    for view in project.views:
        yield _feeder(view, project.views), node_id("view", view.name)
    for service in _services(project):
        yield from ((node_id("view", view.name), node_id("service", service.name)) for view in service.views)
        yield from ((node_id("third party", http.name), node_id("service", service.name)) for http in service.http_features)
    for model in project.models:
        yield from ((node_id("service", service.name), node_id("model", model.name)) for service in model.services)
    for experiment in project.experiments:
        yield from ((node_id("model", arm.model.name), node_id("experiment", experiment.name)) for arm in experiment.arms)


def _feeder(view: FeatureView, views: Iterable[FeatureView]) -> str:
    """What a view takes its values from: its source, or of an alias the view, where that is part of the project."""
    return node_id("view", view.root.name) if view.base is not None and view.root in views else node_id("source", view.source.name)


def _services(project: Project) -> list[FeatureService]:
    return list({service.name: service for model in project.models for service in model.services}.values())
