"""Whether this machine, its packages, its engine, a project, its store, streams and models are
ready to run. Nothing is written.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from headwater import clock, settings
from headwater.catalog.plan import compare
from headwater.definitions.connectors import BrokerStream, KafkaTopic
from headwater.definitions.definition import cut
from headwater.definitions.level import AS_DEFINED, at_level
from headwater.definitions.project import Project, stored
from headwater.definitions.source import Source, bottom_of
from headwater.definitions.spark_stream import SparkStream
from headwater.engine.engines import open_engine
from headwater.engine.query import InspectableEngine
from headwater.errors import HeadwaterError, NoStoreError
from headwater.ingestion.consumer_group import group_of
from headwater.models.compatibility import check
from headwater.models.promotion import sentences
from headwater.models.registry import ModelRegistry
from headwater.models.running_services import running_services
from headwater.monitoring.status import status
from headwater.results.doctor_result import Diagnosis, DoctorResult, Health
from headwater.stores.keyspace import identity, opened_for
from headwater.terminal.text import number_of

_ROOM: Final = 5 << 30  # bytes free on the disk
_LEAST_ROOM: Final = 512 << 20
_MEMORY: Final = 2 << 30
_FILES: Final = 4096
_USUAL_EXTRAS: Final = frozenset({"dev", "docs", "bench"})  # what only a checkout uses


@dataclass(frozen=True)
class _Examined:
    project: Project | None
    store: str | None
    folder: Path
    models: Path | None
    catalog: str | None


def doctor(
    project: Project | None = None,
    *,
    store: str | None = None,
    data_dir: str | Path | None = None,
    models: str | Path | None = None,
    catalog: str | None = None,
) -> DoctorResult:
    """Check machine, packages, engine, project, store, streams and models.

    Args:
        project: whose; None checks machine, packages and engine only.
        store: the URL of the online store; None is that of the settings.
        data_dir: the folder of archive and logs; None is headwater's home.
        models: the folder of fitted models; None is `models` in headwater's home.
        catalog: as for `plan`.

    >>> from headwater.assessing.doctor import doctor
    >>> {check.part for check in doctor().checks} >= {"machine", "packages"}
    True
    """
    folder = settings.home() if data_dir is None else Path(data_dir)
    examined = _Examined(project, store, folder, None if models is None else Path(models), catalog)
    checks = [check for part, look in _PARTS.items() for check in _looked(part, look, examined)]
    return DoctorResult(
        clock.now().isoformat(timespec="seconds"), "" if project is None else project.name, checks
    )


def _looked(
    part: str, look: Callable[[_Examined], Iterator[Diagnosis]], examined: _Examined
) -> Iterator[Diagnosis]:
    """The checks of a part; an error ends them, and is one."""
    if examined.project is None and part not in _WITHOUT_PROJECT:
        return
    try:
        yield from look(examined)
    except HeadwaterError as error:
        yield Diagnosis(part, part, "broken", str(error))
    except OSError as error:
        yield Diagnosis(part, part, "broken", f"{type(error).__name__}: {error}")


def _machine(examined: _Examined) -> Iterator[Diagnosis]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Diagnosis(
        "machine", "Python", "ok", f"{python} at {sys.executable}, headwater {version('headwater')}"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    few: Health = "ok" if memory >= _MEMORY else "warning"
    yield Diagnosis(
        "machine",
        "processors and memory",
        few,
        f"{settings.threads()} threads, {memory / (1 << 30):.1f} GiB",
        ""
        if few == "ok"
        else (
            "give backtests and materializing --memory, so that larger histories are partitioned "
            "on disk"
        ),
    )
    folder = _existing(examined.folder)
    free = shutil.disk_usage(folder).free
    room: Health = "ok" if free >= _ROOM else "warning" if free >= _LEAST_ROOM else "broken"
    more = "" if room == "ok" else "make room, or give another --data-dir"
    yield Diagnosis("machine", "disk", room, f"{free / (1 << 30):.1f} GiB free at {folder}", more)
    writable = os.access(folder, os.W_OK)
    yield Diagnosis(
        "machine",
        "data directory",
        "ok" if writable else "broken",
        f"{examined.folder} {'is' if examined.folder.exists() else 'will be made, and'} "
        f"{'' if writable else 'not '}writable",
        "" if writable else f"give the right to write to {settings.who()}, or another --data-dir",
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files: Health = "ok" if soft == resource.RLIM_INFINITY or soft >= _FILES else "warning"
    yield Diagnosis(
        "machine",
        "open files",
        files,
        f"at most {soft:,}",
        "" if files == "ok" else f"raise it for `headwater serve`: ulimit -n {_FILES}",
    )


def _packages(_: _Examined) -> Iterator[Diagnosis]:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import lightgbm
        yield Diagnosis("packages", "lightgbm", "ok", lightgbm.__version__)
    except OSError as error:
        yield Diagnosis(
            "packages",
            "lightgbm",
            "warning",
            f"it does not load: {error}",
            "install OpenMP, such as apt install libgomp1; scikit-learn stands in",
        )
    extras = _extras()
    installed = sorted(
        extra for extra, names in extras.items() if all(_version(name) for name in names)
    )
    missing = sorted(extras.keys() - set(installed))
    yield Diagnosis(
        "packages",
        "extras",
        "ok",
        f"installed: {', '.join(installed) or 'none'}; not installed: "
        f"{', '.join(missing) or 'none'}",
    )


def _extras() -> dict[str, list[str]]:
    """The packages of each extra."""
    extras: dict[str, list[str]] = {}
    for requirement in requires("headwater") or []:
        name, _, marker = requirement.partition(";")
        if "extra ==" in marker:
            extra = marker.partition("extra ==")[2].strip(" \"'")
            package = "".join(c if c.isalnum() or c in "-_." else " " for c in name).split()[0]
            if extra not in _USUAL_EXTRAS:
                extras.setdefault(extra, []).append(package)
    return extras


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _engine(_: _Examined) -> Iterator[Diagnosis]:
    engine = open_engine()
    if isinstance(engine, InspectableEngine):
        yield Diagnosis("engine", settings.engine().partition(":")[0], "ok", engine.inspect())


def _project(examined: _Examined) -> Iterator[Diagnosis]:
    assert examined.project is not None
    planned = compare(examined.project, examined.catalog, ModelRegistry(examined.models))
    for lint in planned.lints:
        health: Health = "broken" if lint.severity == "refused" else "warning"
        yield Diagnosis("project", "definitions", health, str(lint))
    if not planned.lints:
        project = examined.project
        counts = ", ".join(
            number_of(len(definitions), noun)
            for definitions, noun in (
                (project.sources, "source"),
                (project.all_views, "view"),
                (project.models, "model"),
            )
        )
        yield Diagnosis(
            "project", "definitions", "ok", f"{counts}; the tables have all columns that they read"
        )
    if planned.breaking:
        yield Diagnosis(
            "project",
            "catalog",
            "warning",
            f"applying would break: {planned.breaking[0]}",
            "see `headwater plan`",
        )
    elif planned.changes:
        changed = (
            f"{len(planned.changes)} definitions differ from version {planned.version} of the "
            "catalog"
        )
        yield Diagnosis(
            "project", "catalog", "warning", changed, "run `headwater plan`, then `headwater apply`"
        )
    else:
        yield Diagnosis(
            "project", "catalog", "ok", f"version {planned.version} is what the project says"
        )


def _store(examined: _Examined) -> Iterator[Diagnosis]:
    assert examined.project is not None
    begin = clock.stopwatch()
    seen = status(
        examined.project, store=examined.store, data_dir=examined.folder, models=examined.models
    )
    yield Diagnosis(
        "store",
        "connection",
        "ok",
        f"{seen.size / (1 << 20):,.1f} MiB; its state was read in {clock.stopwatch() - begin:.2f} "
        "s",
    )
    streams = {
        stored_view.view.name: stored_view.view.root.source.stream
        for stored_view in stored(examined.project)
    }
    by_spark = {name: stream for name, stream in streams.items() if isinstance(stream, SparkStream)}
    bad = {
        "absent": "nothing is stored",
        "stale": "older than promised",
        "incomplete": "being filled again",
        "ahead": "ahead of the clock",
    }
    for view in seen.views:
        if view.state in bad:
            verb = "materialize" if "every" in view.freshness else "ingest"
            if view.note:
                yield Diagnosis(
                    "store",
                    f"view {view.view}",
                    "warning",
                    f"{view.freshness}: {bad[view.state]}",
                    view.note,
                )
                continue
            remedy = (
                f"see that {by_spark[view.view]} runs"
                if view.view in by_spark
                else f"run `headwater {verb}`"
            )
            health: Health = "warning"
            yield Diagnosis(
                "store", f"view {view.view}", health, f"{view.freshness}: {bad[view.state]}", remedy
            )
    good = [view.view for view in seen.views if view.state not in bad]
    if good:
        yield Diagnosis("store", "views", "ok", f"served as promised: {', '.join(good)}")
    refused = sum(sum(stream.dead.values()) for stream in seen.streams)
    if refused:
        yield Diagnosis(
            "store",
            "refused records",
            "warning",
            f"{refused:,} records were refused",
            "see `headwater deadletters`",
        )


def _streams(examined: _Examined) -> Iterator[Diagnosis]:
    assert examined.project is not None
    sources = {source.name: source for source in map(bottom_of, examined.project.sources)}
    topics = {
        name: source.stream
        for name, source in sources.items()
        if isinstance(source.stream, BrokerStream)
    }
    for name, topic in topics.items():
        from headwater.assessing.probes.stream_probe import look

        try:
            sample = look(topic, records=1, watch=0.0)
        except HeadwaterError as error:
            yield Diagnosis("streams", name, "broken", str(error))
            continue
        records = len(sample.offset)
        yield Diagnosis(
            "streams",
            name,
            "ok",
            f"{topic}: {len(sample.first)} partitions, "
            f"{'its last record was read' if records else 'without records'}",
        )
        if isinstance(topic, KafkaTopic):
            yield from _topic(examined, sources[name], topic)
    if not topics:
        yield Diagnosis(
            "streams",
            "brokers",
            "not checked",
            "no source of the project reads a stream that a broker keeps, such as a topic",
        )


def _topic(examined: _Examined, source: Source, topic: KafkaTopic) -> Iterator[Diagnosis]:
    """Whether a topic keeps its records until they are read; and whether the members of its group
    write to this store.
    """
    from headwater.ingestion.sources.kafka_client import note_of, seen_group
    from headwater.ingestion.sources.kafka_inspect import lost_by_compaction

    if why := lost_by_compaction(source):
        yield Diagnosis("streams", f"{source.name}: cleanup.policy", "warning", why)

    assert examined.project is not None
    with (
        suppress(NoStoreError),
        opened_for(examined.project.name, examined.store, readonly=True) as store,
    ):
        group, store_note = group_of(store, source), note_of(identity(store))
        if group is not None and seen_group(topic, group).notes - {store_note}:
            yield Diagnosis(
                "streams",
                f"{source.name}: consumer group",
                "warning",
                f"processes that write to another online store have committed offsets of {topic} "
                f"in the group {group!r}: members of one group share the partitions, so each "
                "store lacks those of the other one",
                "give every project and environment a group= of its own, or leave group= out",
            )


def _models(examined: _Examined) -> Iterator[Diagnosis]:
    assert examined.project is not None
    registry = ModelRegistry(examined.models)
    trained = set(registry.variants())
    for model in examined.project.models:
        if (model.name, AS_DEFINED) not in trained:
            more = f"run `headwater train --model {model.name}`"
            yield Diagnosis(
                "models", model.name, "warning", f"no version is in {registry.folder}", more
            )
    for variant in examined.project.variants:
        if (variant.model.name, variant.name) not in trained:
            continue
        current = registry.current(variant.model.name, variant.name)
        try:
            fitted = registry.open(variant.model, variant.name)
            warned = check(variant.model, variant.level, fitted)
        except HeadwaterError as error:
            yield Diagnosis(
                "models", at_level(variant.model.name, variant.name), "broken", cut(str(error), 300)
            )
            continue
        for line, follows in sentences(running_services(registry.folder), current):
            if not follows:
                yield Diagnosis(
                    "services",
                    at_level(variant.model.name, variant.name),
                    "warning",
                    cut(line, 400),
                )
        health: Health = "warning" if warned else "ok"
        evidence = (
            "; ".join(warned) or f"version {current.number}, made {current.manifest.created_at}"
        )
        yield Diagnosis("models", at_level(variant.model.name, variant.name), health, evidence)


def _existing(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    nearest_folder = folder.absolute()
    while not nearest_folder.exists():
        nearest_folder = nearest_folder.parent
    return nearest_folder


_WITHOUT_PROJECT: Final = ("machine", "packages", "engine")
_PARTS: Final = {
    "machine": _machine,
    "packages": _packages,
    "engine": _engine,
    "project": _project,
    "store": _store,
    "streams": _streams,
    "models": _models,
}
