"""The tables that a model's training rows are made of."""

from __future__ import annotations

from headwater.connectors.snapshots import VersionedTable
from headwater.definitions.connectors import Table
from headwater.definitions.labels import Outcome
from headwater.definitions.model import Model
from headwater.definitions.source import Source


def tables_of(model: Model) -> dict[str, Table]:
    """Each table that is read, labels and sources by name."""
    labels = model.labels
    tables: dict[str, Table] = {f"labels {labels.name}": labels.data}
    services = [model.features.in_training]
    if (
        model.ranking is not None
        and model.ranking.negatives is not None
        and model.ranking.retrieval is not None
    ):
        services.append(model.ranking.retrieval)
    sources: dict[Source, None] = dict.fromkeys(
        view.source for service in services for view in service.views_in_history
    )
    if isinstance(labels.label, Outcome):
        sources[labels.label.source] = None
    return tables | {
        f"source {source.name}": source.table for source in sources if source.history is not None
    }


def versions_of(model: Model) -> dict[str, dict[str, object]]:
    """Of each versioned table, which version the call under way reads; labels and sources by
    name.
    """
    versioned = {
        name: table for name, table in tables_of(model).items() if isinstance(table, VersionedTable)
    }
    return {
        name: table.contents()
        for name, table in versioned.items()
        if table.version_read() is not None
    }
