"""Lineage as a result: definitions as nodes, and what feeds what as edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from headwater.errors import UsageError, nearest
from headwater.results.result import Result

NodeKind = Literal["source", "third party", "view", "service", "model", "experiment"]
KINDS: Final[tuple[NodeKind, ...]] = (
    "source",
    "third party",
    "view",
    "service",
    "model",
    "experiment",
)


class LineageNode(Result, frozen=True):
    """A definition. id: its kind and name, such as "view user". features: by name how each is
    computed, of a view; of a service, in order.

    detail: what sets it apart in a few words: the freshness of a view, the task of a model. site:
    the file and line that it stands on.
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
        """Whether each word, in lower case, is in its name, its description, its owner, a tag, a
        key or the name of a feature.
        """
        text = "\n".join(
            (
                self.kind,
                self.name,
                self.description,
                self.owner,
                *self.tags,
                *self.keys,
                *self.features,
            )
        ).lower()
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
        """The nodes with each word of a text in their name, description, owner, tags or names of
        features; all for an empty text.
        """
        words = text.lower().split()
        return [node for node in self.nodes if node.matches(words)]

    def around(self, name: str) -> Lineage:
        """All that feeds a node, and all that it feeds.

        Raises:
            UsageError: no node has this id.
        """
        around = {self.node(name).id}
        for forward in (True, False):
            around |= self._reached(name, forward=forward)
        edges = [edge for edge in self.edges if edge.start in around and edge.end in around]
        return Lineage(self.project, [node for node in self.nodes if node.id in around], edges)

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
            fresh = [node for node in next_ids.get(waiting.pop(), ()) if node not in reached]
            reached.update(fresh)
            waiting += fresh
        return reached


def node_id(kind: NodeKind, name: str) -> str:
    """The id of a node."""
    return f"{kind} {name}"
