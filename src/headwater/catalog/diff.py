"""What applying a project would change: definition by definition, field by field, and which models
it would break.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from headwater.catalog.entry import CatalogEntry, CatalogState, Entries, EntryKey, Kind
from headwater.catalog.serialize import HIDDEN, is_said
from headwater.definitions.definition import Readable
from headwater.errors import listed

Action = Literal["added", "changed", "removed"]
_SHOWN = 90  # characters of a value


@dataclass(frozen=True)
class DefinitionChange(Readable):
    """One definition that is added, changed or removed.

    Args:
        details: the differences, field by field.
        breaking: what a trained model of the catalog reads, and will not find or will find to mean
            something else.
        needs_backfill: whether its state cannot be derived from stored state.
    """

    kind: Kind
    name: str
    action: Action
    details: tuple[str, ...] = ()
    breaking: tuple[str, ...] = ()
    needs_backfill: bool = False

    @property
    def key(self) -> EntryKey:
        """The kind and name of the changed definition."""
        return EntryKey(self.kind, self.name)


def changes(
    held: CatalogState, new: Entries, trained: Collection[str], *, kept: Collection[str] = ()
) -> tuple[DefinitionChange, ...]:
    """The differences between `new` and the catalog: by kind, then by name.

    trained: the names of the models that were trained; what a model reads that is only defined can
    change without breaking it. kept: the views that are kept for served models, so that a service
    that no longer lists them breaks none.
    """
    old = held.live
    stored = {entry.tiles for entry in old.values()}
    differences = []
    for key in sorted({*old, *new}, key=lambda key: (_ORDER.index(key.kind), key.name)):
        before, after = old.get(key), new.get(key)
        if after is None:
            differences.append(DefinitionChange(key.kind, key.name, "removed"))
        elif before is None:
            differences.append(
                DefinitionChange(
                    key.kind,
                    key.name,
                    "added",
                    needs_backfill=after.tiles is not None and after.tiles not in stored,
                )
            )
        elif before.says != after.says:
            details = tuple(_details(before, after, old, new))
            differences.append(
                DefinitionChange(
                    key.kind,
                    key.name,
                    "changed",
                    details,
                    (),
                    after.tiles is not None and after.tiles not in stored,
                )
            )
    # a feature that a view lost is not reported again of the service
    reported = {
        f"{name}__{feature}"
        for name in kept
        if (entry := new.get(EntryKey("view", name))) is not None
        for feature in cast("Mapping[str, object]", entry.definition["features"])
    }
    return tuple(
        replace(change, breaking=tuple(_breaking(change, held, new, trained, reported)))
        for change in differences
    )


_ORDER = ("source", "view", "http", "service", "labels", "model", "level", "experiment")


# ---------------------------------------------------------------- differences


def _details(
    before: CatalogEntry, after: CatalogEntry, old: Entries, new: Entries
) -> Iterator[str]:
    fields = dict.fromkeys([*before.definition, *after.definition])
    for name in fields:
        old_value, new_value = before.definition.get(name), after.definition.get(name)
        if name in HIDDEN:
            continue
        if (
            isinstance(old_value, Mapping)
            and old_value == new_value
            and list(old_value) != list(new_value)
        ):
            yield f"{name} in another order"
        elif old_value == new_value:
            continue
        elif (
            name == "features" and isinstance(old_value, Mapping) and isinstance(new_value, Mapping)
        ):
            yield from _features(old_value, new_value)
        elif (
            isinstance(old_value, Mapping)
            and isinstance(new_value, Mapping)
            and not (is_said(old_value) or is_said(new_value))
        ):
            for entry_name in dict.fromkeys([*old_value, *new_value]):
                if old_value.get(entry_name) != new_value.get(entry_name):
                    yield _different(
                        f"{name} {entry_name}", old_value.get(entry_name), new_value.get(entry_name)
                    )
        else:
            yield _different(name, old_value, new_value)
    if after.kind == "view":
        yield from _of_state(before, after, old, new)


def _of_state(
    before: CatalogEntry, after: CatalogEntry, old: Entries, new: Entries
) -> Iterator[str]:
    """What follows for the stored state of a view, where its own fields do not show it."""
    if before.tiles == after.tiles:
        yield "the stored state stays"
        return
    source = EntryKey("source", str(after.definition["source"]))
    if before.definition["source"] == source.name and _tiles_fields(before) == _tiles_fields(after):
        fields = (
            []
            if source not in old or source not in new
            else _fields(old[source].definition, new[source].definition)
        )
        yield (
            f"its source {source.name} has another {' and '.join(fields)}"
            if fields
            else f"what its source {source.name} is made of changed"
        )
    if _is_batch(before) and not _is_batch(after):
        yield "its state is rebuilt for the stream, seeded from history"


def _tiles_fields(entry: CatalogEntry) -> list[object]:
    features = entry.definition["features"]
    assert isinstance(features, Mapping)
    ttl = "ttl" in entry.definition
    return [
        entry.definition["keys"],
        list(features.values()),
        ttl,
        _is_batch(entry) and entry.definition["freshness"],
    ]


def _is_batch(entry: CatalogEntry) -> bool:
    return str(entry.definition["freshness"]).startswith("batch")


def _fields(old_fields: Mapping[str, object], new_fields: Mapping[str, object]) -> list[str]:
    return [
        name
        for name in dict.fromkeys([*old_fields, *new_fields])
        if old_fields.get(name) != new_fields.get(name)
    ]


def renamed(
    old_features: Mapping[str, object], new_features: Mapping[str, object]
) -> dict[str, str]:
    """Features that are the same under another name: the old name -> the new one."""
    removed, added = (
        [n for n in old_features if n not in new_features],
        [n for n in new_features if n not in old_features],
    )
    new_names: dict[str, str] = {}
    for name in removed:
        same = [
            n
            for n in added
            if new_features[n] == old_features[name] and n not in new_names.values()
        ]
        nearest = difflib.get_close_matches(name, same, n=1, cutoff=0)
        # in a service, the strings only name the view of a feature
        if nearest and "__" not in name:
            new_names[name] = nearest[0]
    return new_names


def _features(
    old_features: Mapping[str, object], new_features: Mapping[str, object]
) -> Iterator[str]:
    names = renamed(old_features, new_features)
    removed = [n for n in old_features if n not in new_features and n not in names]
    added = [n for n in new_features if n not in old_features and n not in names.values()]
    if removed:
        yield f"features removed: {listed(removed)}"
    if added:
        yield f"features added: {listed(added)}"
    if names:
        yield (
            f"features renamed: {listed(f'{before} → {after}' for before, after in names.items())}"
        )
    for name in old_features:
        if name in new_features and old_features[name] != new_features[name]:
            yield _different(f"feature {name}", old_features[name], new_features[name])


def _different(name: str, old_value: object, new_value: object) -> str:
    before, after = shown(old_value), shown(new_value)
    if before == after:
        return f"{name}: differs in what {after} does not show"
    return f"{name}: {before} → {after}"


def shown(value: object) -> str:
    """A value of a definition, for reading."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        text = (
            str(value["text"])
            if is_said(value)
            else ", ".join(f"{k} {shown(v)}" for k, v in value.items())
        )
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"


# ---------------------------------------------------------------- what breaks


def _breaking(
    change: DefinitionChange,
    held: CatalogState,
    new: Entries,
    trained: Collection[str],
    reported: set[str],
) -> Iterator[str]:
    old = held.live.get(change.key)
    if old is None or change.kind not in ("view", "http", "service"):
        return
    after = new.get(change.key)
    lost = (
        _lost_of_service(old, after, reported)
        if change.kind == "service"
        else _LOST[change.kind](old, after)
    )
    readers: dict[tuple[str, ...], list[str]] = {}
    for reader, read in _readers(old, held, new, trained):
        readers.setdefault(tuple(name for name in read if name in lost), []).append(reader)
    for names, who in readers.items():
        reported.update(names)
        for reason in dict.fromkeys(lost[name] for name in names):
            verb = "reads" if len(who) == 1 else "read"
            yield (
                f"{' and '.join(who)} {verb} "
                f"{listed(name for name in names if lost[name] == reason)}, {reason}"
            )


def _lost_of_view(old: CatalogEntry, new: CatalogEntry | None) -> dict[str, str]:
    """By full name, what becomes of the features that are no longer what they were."""
    features = old.definition["features"]
    assert isinstance(features, Mapping)
    full = {name: f"{old.name}__{name}" for name in features}
    if new is None:
        return dict.fromkeys(full.values(), "of a view that is removed")
    after = new.definition["features"]
    assert isinstance(after, Mapping)
    if any(
        old.definition.get(name) != new.definition.get(name) for name in ("keys", "request_keys")
    ) or _listed(old) != _listed(new):
        return dict.fromkeys(full.values(), "which would be of other keys")
    names = renamed(features, after)
    lost = {full[name]: "which would be renamed" for name in names}
    lost |= {
        full[name]: "which would be gone"
        for name in features
        if name not in after and name not in names
    }
    before, later = old.definition["made_of"], new.definition["made_of"]
    assert isinstance(before, Mapping)
    assert isinstance(later, Mapping)
    same = {name: names.get(name, name) for name in features if names.get(name, name) in after}
    lost |= {
        full[n]: "which would be made of other values"
        for n, now in same.items()
        if before[n] != later[now] and full[n] not in lost
    }
    lost |= {
        full[name]: "which would mean something else"
        for name in features
        if name in after and after[name] != features[name]
    }
    if old.definition["events"] != new.definition["events"]:
        lost = dict.fromkeys(full.values(), "which would count other events") | lost
    return lost


def _listed(entry: CatalogEntry) -> set[str]:
    """The key that a list fills, if one does; its features are lists."""
    return set(cast("Mapping[str, int]", entry.definition.get("list_key") or {}))


def _lost_of_http(old: CatalogEntry, new: CatalogEntry | None) -> dict[str, str]:
    """The same for a third party's requests."""
    features = old.definition["features"]
    assert isinstance(features, Mapping)
    full = {name: f"{old.name}__{name}" for name in features}
    if new is None:
        return dict.fromkeys(full.values(), "of a third party that is not called any more")
    after = new.definition["features"]
    assert isinstance(after, Mapping)
    if any(
        old.definition.get(name) != new.definition.get(name)
        for name in ("url", "method", "request")
    ):
        return dict.fromkeys(full.values(), "which would be requested differently")
    lost = {full[name]: "which would be gone" for name in features if name not in after}
    return lost | {
        full[name]: "which would be another part of the response"
        for name in features
        if after.get(name, features[name]) != features[name]
    }


_LOST: Mapping[str, Callable[[CatalogEntry, CatalogEntry | None], dict[str, str]]] = {
    "view": _lost_of_view,
    "http": _lost_of_http,
}


def _lost_of_service(
    old: CatalogEntry, new: CatalogEntry | None, reported: set[str]
) -> dict[str, str]:
    before = old.definition["features"]
    after = {} if new is None else new.definition["features"]
    assert isinstance(before, Mapping)
    assert isinstance(after, Mapping)
    lost = {name: "which would be no longer served to it" for name in before if name not in after}
    lost |= {
        name: "which would mean something else"
        for name in before
        if name in after and after[name] != before[name]
    }
    return {name: reason for name, reason in lost.items() if name not in reported}


def _readers(
    old: CatalogEntry, held: CatalogState, new: Entries, trained: Collection[str]
) -> Iterator[tuple[str, list[str]]]:
    """The trained models that read features of a view or service in its old form, in this project
    and in others that share it.
    """
    for key, entry in held.live.items():
        if key.kind == "model" and key in new and key.name in trained:
            yield f"model {key.name}", _read(entry, old, held.live)
    for project, entries in held.others.items():
        same = entries.get(old.key)
        if same is not None and same.says == old.says and old.kind == "view":
            for key, entry in entries.items():
                if key.kind == "model" and key.name in trained:
                    yield f"model {key.name} of project {project}", _read(entry, old, entries)


def _read(model: CatalogEntry, old: CatalogEntry, entries: Entries) -> list[str]:
    """The full names of the features of `old` that a model reads."""
    service = entries.get(EntryKey("service", str(model.definition["features"])))
    if service is None:
        return []
    reads, features = service.definition["reads"], service.definition["features"]
    assert isinstance(reads, Mapping)
    assert isinstance(features, Mapping)
    if old.kind == "service":
        return list(features) if service.key == old.key else []
    return [f"{old.name}__{name}" for name in reads.get(old.name, ())]
