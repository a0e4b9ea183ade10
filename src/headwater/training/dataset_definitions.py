"""What the manifest of a training set says of definitions and tables, and what of it has changed
since.
"""

from __future__ import annotations

from collections.abc import Mapping

from headwater.connectors import contents
from headwater.connectors.snapshots import VERSION, VersionedTable
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import nearest
from headwater.training.from_log import FromLog
from headwater.training.model_tables import tables_of

_AS_SERVED = {"describe": "as it was served", "fingerprint": ""}


def definitions(model: Model, level: Level | None, log: FromLog | None) -> dict[str, object]:
    """What decides the rows, but for the data: names with their fingerprints."""
    service = model.features
    return {
        "model": model.name,
        "feature_service": {service.name: service.fingerprint},
        "labels": {model.labels.name: model.labels.fingerprint},
        "views": {
            view.name: view.fingerprint
            for view in (service.views if log is not None else service.views_in_history)
        },
        **_sampling(model, log),
        "level": _AS_SERVED
        if log is not None and level is None
        else _level_entry(level or Level(), model),
    }


def _sampling(model: Model, log: FromLog | None) -> dict[str, object]:
    """How negatives are drawn, and from what, where the labels are a log of positives."""
    task = model.ranking
    if log is not None or task is None or task.negatives is None or task.retrieval is None:
        return {}
    return {"negatives": {"describe": str(task), "fingerprint": task.fingerprint}}


def _level_entry(level: Level, model: Model) -> dict[str, str]:
    return {"describe": level.describe(model), "fingerprint": level.fingerprint}


def tables_read(model: Model) -> dict[str, object]:
    """What each table that is read holds; labels and sources by name."""
    return {name: contents(table) for name, table in tables_of(model).items()}


def recorded_versions(model: Model, tables: Mapping[str, object]) -> dict[str, int]:
    """The versions that a manifest names, by the fingerprints of today's tables."""
    entries = {
        table.fingerprint: tables.get(name)
        for name, table in tables_of(model).items()
        if isinstance(table, VersionedTable)
    }
    return {
        name: entry[VERSION]
        for name, entry in entries.items()
        if isinstance(entry, dict) and VERSION in entry
    }


def changed_definitions(recorded: Mapping[str, object], current: Mapping[str, object]) -> list[str]:
    """Which definitions differ from those of a manifest, in words."""
    differences = []
    if recorded["level"] != current["level"]:
        then, now = recorded["level"], current["level"]
        assert isinstance(then, dict)
        assert isinstance(now, dict)
        differences.append(
            f"it was made at another level ({then['describe']}; now {now['describe']})"
        )
    if recorded.get("negatives") != current.get("negatives"):
        differences.append("the sampling of negatives is defined differently")
    for kind, word in (
        ("views", "view"),
        ("labels", "labels"),
        ("feature_service", "feature service"),
    ):
        then, now = recorded[kind], current[kind]
        assert isinstance(then, dict)
        assert isinstance(now, dict)
        differences += [
            f"the {word} {name!r} is defined differently"
            for name in then
            if name in now and now[name] != then[name]
        ]
        differences += [
            f"no {word} {name!r}; {nearest(name, now)}" for name in then if name not in now
        ]
        if differences and kind == "views":
            return differences  # the service differs because they do
    return differences


def changed_tables(recorded: Mapping[str, object], current: Mapping[str, object]) -> list[str]:
    """Which tables differ from those of a manifest, in words."""
    then = recorded["tables"]
    assert isinstance(then, dict)
    differences = []
    for name, table in then.items():
        now = current.get(name)
        if now == table or not isinstance(now, dict):
            continue
        if "files" not in table or "files" not in now:
            replaced = "id" in table and "id" in now and table["id"] != now["id"]
            differences.append(
                f"{name} is another table of that name"
                if replaced
                else f"the rows of {name} are not what they were"
            )
            continue
        old, new = table["files"], now["files"]
        changed = [f for f in old if f in new and old[f] != new[f]]
        removed, more = [f for f in old if f not in new], [f for f in new if f not in old]
        for word, files in (("changed", changed), ("gone", removed), ("new", more)):
            if files:
                differences.append(
                    f"{name}: {len(files)} of its files {'is' if len(files) == 1 else 'are'} "
                    f"{word} ({', '.join(files[:3])})"
                )
    return differences
