"""Lineage: the picture of all definitions, features collapsed to their views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from headwater.console.console_context import ConsoleContext
from headwater.console.feature_pages import graph_of
from headwater.console.lineage_layout import lineage_picture
from headwater.console.page_types import ConsoleRequest
from headwater.results.lineage_result import KINDS


def lineage_page(context: ConsoleContext, _request: ConsoleRequest) -> Mapping[str, object]:
    """The whole picture."""
    graph = graph_of(context)
    counts = Counter(node.kind for node in graph.nodes)
    return {
        "picture": context.cached("lineage picture", 3600.0, lambda: lineage_picture(graph)),
        "counts": [(kind, counts[kind]) for kind in KINDS if counts[kind]],
        "features": sum(len(node.features) for node in graph.nodes if node.kind == "view"),
    }
