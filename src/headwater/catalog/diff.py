"""What applying a project would change: definition by definition, field by field, and which models
it would break.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Literal, cast

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


@dataclass(frozen=True)
class Difference:
    """Where two plain values differ: the names that lead there; None where a value is missing.

    reordered: whether only the order of a mapping differs; `before` and `after` are its names.
    """

    path: tuple[str, ...]
    before: object
    after: object
    reordered: bool = False


def diff(before: object, after: object, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """The differences of two plain values: mappings by name, anything else as a whole.

    >>> [(d.path, d.before, d.after) for d in diff({"a": {"b": 1}, "c": [2]}, {"a": {"b": 3}})]
    [(('a', 'b'), 1, 3), (('c',), [2], None)]
    """
    if not _by_name(before) or not _by_name(after):
        if before != after:
            yield Difference(path, before, after)
        return
    old, new = cast("Mapping[str, object]", before), cast("Mapping[str, object]", after)
    if path and old == new and list(old) != list(new):
        yield Difference(path, list(old), list(new), reordered=True)
    for name in dict.fromkeys([*old, *new]):
        yield from diff(old.get(name), new.get(name), (*path, name))


def _by_name(value: object) -> bool:
    """Whether a value is a mapping; a text with an id is one value."""
    return isinstance(value, Mapping) and not is_said(value)


# ---------------------------------------------------------------- in words


def _details(
    before: CatalogEntry, after: CatalogEntry, old: Entries, new: Entries
) -> Iterator[str]:
    differences = (d for d in diff(before.definition, after.definition) if d.path[0] not in HIDDEN)
    for field, group in groupby(differences, key=lambda difference: difference.path[0]):
        if field == "features" and after.kind in _LOST:  # a model names a service, a level ages
            yield from _features(list(group))
        else:
            yield from (_different(" ".join(difference.path), difference) for difference in group)
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
        sources = old.get(source), new.get(source)
        fields = (
            dict.fromkeys(d.path[0] for d in diff(sources[0].definition, sources[1].definition))
            if sources[0] is not None and sources[1] is not None
            else {}
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


def _renamed(features: Iterable[Difference]) -> dict[str, str]:
    """Features that are the same under another name: the old name -> the new one."""
    features = [difference for difference in features if not difference.reordered]
    new_names: dict[str, str] = {}
    for removed in features:
        same = [
            added.path[1]
            for added in features
            if added.before is None
            and added.after == removed.before
            and added.path[1] not in new_names.values()
        ]
        name = removed.path[1]
        nearest = difflib.get_close_matches(name, same, n=1, cutoff=0)
        # in a service, the strings only name the view of a feature
        if removed.after is None and nearest and "__" not in name:
            new_names[name] = nearest[0]
    return new_names


def _features(features: Sequence[Difference]) -> Iterator[str]:
    names = _renamed(features)
    removed = [d.path[1] for d in features if d.after is None and d.path[1] not in names]
    added = [d.path[1] for d in features if d.before is None]
    added = [name for name in added if name not in names.values()]
    if removed:
        yield f"features removed: {listed(removed)}"
    if added:
        yield f"features added: {listed(added)}"
    if names:
        yield f"features renamed: {listed(f'{was} → {now}' for was, now in names.items())}"
    for feature in features:
        if feature.before is not None and feature.after is not None:
            yield _different(" ".join(("feature", *feature.path[1:])), feature)


def _different(name: str, difference: Difference) -> str:
    if difference.reordered:
        return f"{' '.join(difference.path)} in another order"
    before, after = shown(difference.before), shown(difference.after)
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
    lost = _lost(old, after)
    if change.kind == "service":
        lost = {name: reason for name, reason in lost.items() if name not in reported}
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


_OTHER_KEYS: Final = "which would be of other keys"
_OTHER_REQUEST: Final = "which would be requested differently"
_WHOLE: Final[Mapping[str, str]] = {
    "keys": _OTHER_KEYS,
    "request_keys": _OTHER_KEYS,
    "list_key": _OTHER_KEYS,
    "url": _OTHER_REQUEST,
    "method": _OTHER_REQUEST,
    "request": _OTHER_REQUEST,
}
"""Fields that all features of a definition depend on."""

_LOST: Final[Mapping[str, tuple[str, str, str]]] = {
    "view": (
        "of a view that is removed",
        "which would be gone",
        "which would mean something else",
    ),
    "http": (
        "of a third party that is not called any more",
        "which would be gone",
        "which would be another part of the response",
    ),
    "service": (
        "which would be no longer served to it",
        "which would be no longer served to it",
        "which would mean something else",
    ),
}
"""What becomes of a feature where its definition is removed, where it is, and where it differs."""


def _lost(old: CatalogEntry, new: CatalogEntry | None) -> dict[str, str]:
    """By full name, what becomes of the features that are no longer what they were."""
    prefix = "" if old.kind == "service" else f"{old.name}__"
    full = [prefix + name for name in cast("Mapping[str, object]", old.definition["features"])]
    removed, gone, other = _LOST[old.kind]
    if new is None:
        return dict.fromkeys(full, removed)
    differences = [d for d in diff(old.definition, new.definition) if not d.reordered]
    for d in differences:
        # the length of a list is not its key
        if d.path[0] in _WHOLE and (d.path[0] != "list_key" or None in (d.before, d.after)):
            return dict.fromkeys(full, _WHOLE[d.path[0]])
    features = [d for d in differences if d.path[0] == "features"]
    names = _renamed(features) if old.kind == "view" else {}
    lost = {}
    for d in features:
        if d.after is None:
            lost[prefix + d.path[1]] = "which would be renamed" if d.path[1] in names else gone
        elif d.before is not None:
            lost[prefix + d.path[1]] = other
    for d in differences:
        if d.path[0] == "made_of" and d.before is not None:
            lost.setdefault(prefix + d.path[1], "which would be made of other values")
    if any(d.path[0] == "events" for d in differences):
        lost = dict.fromkeys(full, "which would count other events") | lost
    return lost


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
