"""Promote a version of a model, and roll back: only to versions that the definitions can serve,
with the state of the running services.

| definitions | running services | action |
|---|---|---|
| fit the version | none | it becomes current: the next service that starts takes it |
| fit the version | were started with these | it becomes current; they answer with it within a second |
| fit the version | were started with others | it becomes current; they keep the one before until restarted |
| do not fit it | | nothing: a service that starts with these definitions could not answer |
"""  # noqa: E501 (output as it is printed)

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from headwater.definitions.level import at_level
from headwater.definitions.project import Project
from headwater.errors import DataError, HeadwaterError, OtherDefinitionsError, UsageError
from headwater.models.compatibility import ages
from headwater.models.registry import ModelRegistry, Version
from headwater.models.running_services import (
    LoadedVersion,
    ServingProcess,
    followed,
    running_services,
)

_WAIT = 10.0  # seconds for services to take up a version; they look twice a second


def why_not_served(project: Project, version: Version) -> str:
    """Why the definitions of a project cannot serve a version, in words; "" where they can, and
    where they have no such model or level.
    """
    key = version.model, version.level
    variant = next(
        (
            candidate
            for candidate in project.variants
            if (candidate.model.name, candidate.name) == key
        ),
        None,
    )
    if variant is None:
        return ""
    try:
        _, staler = ages(variant.model, variant.level, version.manifest, str(version.number))
    except OtherDefinitionsError as error:
        return error.difference
    except HeadwaterError as error:
        return str(error)
    return "" if variant.allow_staler else "; ".join(staler)


def unserved(project: Project, registry: ModelRegistry) -> dict[str, str]:
    """By model and level, why the definitions of a project cannot serve the current version."""
    reasons = {}
    for variant in project.variants:
        try:
            version = registry.current(variant.model.name, variant.name)
            reason = why_not_served(project, version)
        except DataError:  # there is none, or it cannot be read: nothing is served by it
            continue
        if reason:
            reasons[at_level(version.model, version.level)] = f"version {version.number}: {reason}"
    return reasons


def served_views(project: Project, registry: ModelRegistry) -> dict[str, str]:
    """Who reads each view, or alias, that is served, in words: the current versions of the models,
    and those that running services answer with.
    """
    keys = [(variant.model.name, variant.name) for variant in project.variants]
    current = [version for key in keys for version in _readable(registry, key, None)]
    answering = [
        (process.url, version)
        for process in running_services(registry.folder)
        if process.project == project.name
        for loaded in process.loaded
        if loaded.version.isdecimal()
        for version in _readable(registry, (loaded.model, loaded.level), int(loaded.version))
    ]
    readers = {name: f"{v}, is served and" for v in current for name in v.manifest.views}
    return {
        name: f"the service at {url} answers with {v}, which"
        for url, v in answering
        for name in v.manifest.views
    } | readers


def _readable(
    registry: ModelRegistry, key: tuple[str, str], number: int | None
) -> Iterator[Version]:
    """A version of a model at a level (None: the current one), unless it is missing or damaged."""
    with suppress(DataError, UsageError):
        found = registry.current(*key) if number is None else registry.version(number, *key)
        _ = found.manifest
        yield found


def check_servable(project: Project, registry: ModelRegistry, version: Version, file: str) -> None:
    """Refuse a version that no service could serve with the definitions of a project file.

    Raises:
        UsageError: with the difference, and how to go back to the version.
    """
    difference = why_not_served(project, version)
    if difference:
        now = (
            f"the service at {url} answers with version {loaded.version}"
            for url, loaded in _loaded(running_services(registry.folder), version)
        )
        unchanged = "; ".join(["Nothing was changed", *dict.fromkeys(now)])
        raise UsageError(
            f"{version}, cannot be served with the definitions of {file}: {difference}. "
            f"{unchanged}. To serve it, put the definitions that it was trained with back into "
            f"{file}, run `headwater plan` and the `headwater apply` that it names, then this "
            "command again, and restart the service. A changed view as version=2, read by a model "
            "of another name (docs/howto_versions.md), leaves this one as it is"
        )


def taken_up(
    registry: ModelRegistry, project: str, current: Version, *, wait: float = _WAIT
) -> list[ServingProcess]:
    """What the running services with the model do with a version that has become current."""
    return followed(registry.folder, project, current, wait=wait)


def sentences(processes: Sequence[ServingProcess], current: Version) -> list[tuple[str, bool]]:
    """What each running service answers with, in a sentence, and whether that is the current
    version; workers that do alike are one.
    """
    counts, workers = (
        Counter(_loaded(processes, current)),
        Counter(process.url for process in processes),
    )
    lines = []
    for (url, loaded), count in counts.items():
        who = f"the service at {url}" + (
            f" ({count} of {workers[url]} workers)" if count < workers[url] else ""
        )
        if loaded.refused:
            said = f"{who} goes on with version {loaded.version}: {loaded.refused.rstrip('.')}"
        elif loaded.promoted == current.number:
            said = f"{who} answers with version {loaded.version}"
        else:
            said = (
                f"{who} has not looked at it yet, and answers with version {loaded.version}; see "
                "`headwater models`"
            )
        lines.append((said, loaded.version == str(current.number)))
    return lines


def _loaded(
    processes: Sequence[ServingProcess], version: Version
) -> Iterator[tuple[str, LoadedVersion]]:
    for process in processes:
        loaded = process.loaded_version(version.model, version.level)
        if loaded is not None:
            yield process.url, loaded
