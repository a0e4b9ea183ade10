"""Plan what applying a project would change in the catalog, and apply it: one at a time, all or
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from os import PathLike

from msgspec import structs, to_builtins

from headwater import clock, settings
from headwater.catalog.database import Catalog
from headwater.catalog.diff import DefinitionChange, changes
from headwater.catalog.entry import CatalogEntry, CatalogState, EntryKey
from headwater.catalog.experiment_protection import conflicts
from headwater.catalog.id_memory import id_memory, refusals
from headwater.catalog.lint import Lint, grouped, lints
from headwater.catalog.rebuilds import rebuilds
from headwater.catalog.rewrites import rewrites
from headwater.catalog.serialize import describe
from headwater.definitions.checks import Size
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, checked_call, replayed, stored
from headwater.definitions.source import Source, has_one_writer, producers_rule
from headwater.errors import DefinitionError, UsageError
from headwater.models.promotion import served_views, unserved
from headwater.models.registry import ModelRegistry
from headwater.results.result import Result
from headwater.stores import is_multi_process
from headwater.stores.keyspace import views_of_production
from headwater.terminal.text import visible

CatalogLike = Catalog | str | PathLike[str]
_ONE_WRITER = "one process writes; further ones stand by"
_WRITER_PER_PARTITION = "each partition has a writer, in any process of the consumer group"
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


class Plan(Result, frozen=True):
    """What a project would change in a catalog; printed, it is a table.

    Args:
        project: its name.
        catalog: where it lies.
        version: the project's version in the catalog that it is compared with; 0 where it was never
            applied.
        changes: definitions added, changed and removed, by kind and name.
        lints: definitions that no pipeline can run (`refused`), and that are probably not meant
            (`warning`).
        unchanged: how many definitions are the same.
        applied: the version that an apply made of it; None for a plan, and where nothing was
            written.
        kept: names of what the project no longer has, and which stays live.
        backtest_only: by name, why levels are not served.
        rebuilt: by name, why `headwater ingest` fills streaming views again from archive and
            history; until it has, they are incomplete.
        needs_backfill: the views whose state cannot be derived from stored state: batch ones are
            materialized, streaming ones seeded.
        breaking: what models read and would not find, or find to mean something else.
        protected: what running experiments and served models need and would lose; an apply is
            refused while they do.
        rewritten: by name, why `headwater ingest` would refuse streams that others have written
            before, and what to do; an apply is refused too, unless it allows breaking changes.
        from_production: in a development environment, the views that are read from the production
            store.
        proposed: by view that is changed under a served model that reads it, how both are kept.
        unserved: by model and level, why the current version of the fitted model cannot be served
            with these definitions.
        writers: by source of streaming views, who writes it in this online store.
        producers: by source, what the producers of its stream must keep in this online store, so
            that copies count once.
        ids: by source, what its ids need in memory where its stream is ingested, in words;
            id_bytes: in bytes, where its rate is known.
    """

    project: str
    catalog: str
    version: int
    changes: tuple[DefinitionChange, ...]
    lints: tuple[Lint, ...]
    unchanged: int
    applied: int | None = None
    kept: tuple[str, ...] = ()
    backtest_only: Mapping[str, str] = {}
    rebuilt: Mapping[str, str] = {}
    needs_backfill: tuple[str, ...] = ()
    breaking: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    rewritten: Mapping[str, str] = {}
    from_production: tuple[str, ...] = ()
    proposed: Mapping[str, str] = {}
    unserved: Mapping[str, str] = {}
    writers: Mapping[str, str] = {}
    producers: Mapping[str, str] = {}
    ids: Mapping[str, str] = {}
    id_bytes: Mapping[str, int] = {}

    def __post_init__(self) -> None:
        """Gather what the changes say."""
        structs.force_setattr(
            self,
            "needs_backfill",
            tuple(change.name for change in self.changes if change.needs_backfill),
        )
        structs.force_setattr(
            self, "breaking", tuple(reason for change in self.changes for reason in change.breaking)
        )

    @property
    def refused(self) -> tuple[Lint, ...]:
        """The lints that stop an apply."""
        return tuple(lint for lint in self.lints if lint.severity == "refused")

    def breaks(self, *, allow_destroy: bool = False) -> list[str]:
        """What an apply is refused for, unless it allows breaking changes; what the project no
        longer has only where it is removed.
        """
        return [
            reason
            for change in self.changes
            if allow_destroy or change.action != "removed"
            for reason in change.breaking
        ]

    def __str__(self) -> str:
        return visible("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        against = f"version {self.version} in" if self.version else "not yet in"
        yield f"project {self.project}, {against} the catalog {self.catalog}"
        width = max((len(f"{c.kind} {c.name}") for c in self.changes), default=0)
        for change in self.changes:
            notes = [
                change.action,
                *["needs backfill"] * change.needs_backfill,
                *["breaking"] * bool(change.breaking),
            ]
            if f"{change.kind} {change.name}" in self.kept:
                notes.append("stays live until it is applied with allow_destroy (--allow-destroy)")
            yield (
                f"  {_SIGNS[change.action]} {f'{change.kind} {change.name}':<{width}}  "
                f"{', '.join(notes)}"
            )
            yield from (f"      {detail}" for detail in change.details)
            yield from (f"      breaking: {reason}" for reason in change.breaking)
        yield from (
            f"  ↻ view {view} is filled again by headwater ingest: {reason}"
            for view, reason in self.rebuilt.items()
        )
        yield from (
            f"  view {view} is read from the production store, and nothing is written there"
            for view in self.from_production
        )
        yield from (f"  source {source}: {who}" for source, who in self.writers.items())
        yield from (f"  source {source}: {rule}" for source, rule in self.producers.items())
        yield from (f"  source {source}: {need}" for source, need in self.ids.items())
        yield from (
            f"  level {level} is for backtests only: {reason}"
            for level, reason in self.backtest_only.items()
        )
        yield from (f"  ✗ refused: {reason}" for reason in grouped(self.refused))
        yield from (
            f"  ✗ refused: {reason}" for reason in (*self.protected, *self.rewritten.values())
        )
        yield from (
            f"  ! warning: {reason}"
            for reason in grouped(lint for lint in self.lints if lint.severity == "warning")
        )
        yield from (
            f"  ! model {model} cannot be served with these definitions: {reason}"
            for model, reason in self.unserved.items()
        )
        if self.unserved:
            yield (
                "    A service that starts with them is not ready until the model is trained "
                "again (headwater train)."
            )
        yield from (f"    {proposal}" for proposal in self.proposed.values())
        counts = [f"{sum(c.action == action for c in self.changes)} {action}" for action in _SIGNS]
        backfill = f"; {len(self.needs_backfill)} need backfill" if self.needs_backfill else ""
        breaking = (
            f"; {sum(bool(c.breaking) for c in self.changes)} breaking" if self.breaking else ""
        )
        yield f"{', '.join(counts)}, {self.unchanged} unchanged{backfill}{breaking}"


@checked_call
def plan(
    project: Project,
    catalog: CatalogLike | None = None,
    *,
    registry: ModelRegistry | None = None,
    store: str | None = None,
    memory: Size | None = None,
) -> Plan:
    """What applying `project` would change; nothing is written.

    Definitions are checked against the schemas of their tables: columns, their types, missing
    files. Rows are read of the histories of sources with `id_field` that feed streaming views,
    their times alone: how many there are in which time says what ids need in memory.

    Args:
        project: the definitions.
        catalog: the path of an SQLite file, a PostgreSQL URL, or a `Catalog`; None takes
            HEADWATER_CATALOG, else `catalog.sqlite` in headwater's home.
        registry: where trained models are kept; None takes the registry in headwater's home. Only
            what a model in it reads can break.
        store: the URL of the online store, which is not opened; None takes HEADWATER_STORE, else
            LMDB in headwater's home.
        memory: what the ids of all sources may need together where streams are ingested, such as
            "4GB"; more is refused. None: no limit.

    Raises:
        CatalogError: the catalog cannot be read.
        UsageError: `memory` is not a size.

    >>> import headwater as hw
    >>> from tempfile import TemporaryDirectory
    >>> from headwater.testing.examples import churn
    >>> project = hw.Project("visits", [churn(freshness=hw.batch("1d"))])
    >>> with TemporaryDirectory() as folder:
    ...     catalog = f"{folder}/catalog.sqlite"
    ...     first = hw.plan(project, catalog)
    ...     done = hw.apply(project, catalog)
    ...     again = hw.plan(project, catalog)
    >>> [f"{change.kind} {change.name}" for change in first.changes]
    ['source visits', 'view user', 'service churn_v1', 'labels leaving', 'model churn']
    >>> done.applied, done.needs_backfill, again.version, again.changes
    (1, ('user',), 1, ())
    """
    compared = compare(project, catalog, registry, store)
    needs = id_memory(project)
    above = refusals(needs, memory)
    sources = _written(project, store)
    return structs.replace(
        compared,
        lints=(*above, *compared.lints),
        writers={
            source.name: _ONE_WRITER
            if has_one_writer(source, multi_process=True)
            else _WRITER_PER_PARTITION
            for source in sources
        },
        producers={
            source.name: rule for source in sources if (rule := producers_rule(source)) is not None
        },
        ids={name: need.words for name, need in needs.items()},
        id_bytes={name: need.bytes for name, need in needs.items() if need.bytes is not None},
    )


def compare(
    project: Project,
    catalog: CatalogLike | None = None,
    registry: ModelRegistry | None = None,
    store: str | None = None,
) -> Plan:
    """As `plan`, without reading tables."""
    opened = _catalog(catalog)
    return _plan(
        project,
        opened,
        opened.held(project.name),
        lints(project),
        registry or ModelRegistry(),
        store,
    )


@checked_call
def apply(
    project: Project,
    catalog: CatalogLike | None = None,
    *,
    allow_destroy: bool = False,
    allow_breaking: bool = False,
    expect: int | None = None,
    registry: ModelRegistry | None = None,
    store: str | None = None,
) -> Plan:
    """Make `project` what the catalog holds: all of it or, where it is stopped, nothing.

    Concurrent calls wait, and then compare with the version made here. No state of an online store
    is touched.

    Args:
        project: the definitions.
        catalog: as for `plan`.
        allow_destroy: let what the project no longer has be removed from the catalog; else it stays
            live, and every plan says so.
        allow_breaking: allow changes of definitions that trained models of the catalog still read,
            and of who writes a stream.
        expect: the version of the plan that was looked at; another one in the catalog is an error.
        registry: as for `plan`.
        store: as for `plan`.

    Raises:
        DefinitionError: no pipeline can run a definition, or it does not fit the tables; all
            reasons are listed.
        UsageError: a change breaks a model, or has others write a stream; a running experiment or a
            served model needs what would change; or the catalog has another version than expected.
        CatalogError: the catalog cannot be written, or another process was applying for half a
            minute.
    """
    opened = _catalog(catalog)
    describe(project)  # frames are hashed and files are read before the lock is taken
    findings = lints(project)
    with opened.changing(project.name) as (held, change):
        planned = _plan(project, opened, held, findings, registry or ModelRegistry(), store)
        _check(planned, allow_destroy=allow_destroy, allow_breaking=allow_breaking, expect=expect)
        removals = [c for c in planned.changes if c.action == "removed"]
        done = [c for c in planned.changes if allow_destroy or c.action != "removed"]
        entries = [
            entry
            for key, entry in describe(project).items()
            if _differs(entry, held.entries.get(key))
        ]
        entries += [replace(held.entries[c.key], live=False) for c in done if c.action == "removed"]
        now, version = clock.now(), held.version + bool(done)
        change.put(entries, version, now)
        if done:
            change.note(version, now, [to_builtins(change) for change in done])
    still_live = () if allow_destroy else tuple(f"{c.kind} {c.name}" for c in removals)
    return structs.replace(planned, applied=version if done else None, kept=still_live)


def applied(project: str, catalog: CatalogLike | None = None) -> Mapping[str, CatalogEntry]:
    """The views of a project as they were last applied, by name: what a pipeline may run, each with
    its `tiles` fingerprint.

    A view at a freshness that only a level gives it stands under `view@level`.

    Raises:
        UsageError: the project was never applied to this catalog.
    """
    opened = _catalog(catalog)
    held = opened.held(project)
    if not held.version:
        raise UsageError(
            f"project {project!r} was never applied to the catalog {opened}; run headwater apply"
        )
    return {key.name: entry for key, entry in held.live.items() if key.kind == "view"}


def check_applied(
    project: Project, views: Iterable[FeatureView], catalog: CatalogLike | None = None
) -> None:
    """Refuse to run views that are not applied, or would store another state than the applied ones.

    Raises:
        UsageError: naming each of them.
    """
    entries = applied(project.name, catalog)
    wrong = [
        f"view {view.name} is not in the catalog"
        if view.name not in entries
        else f"view {view.name} differs from what was applied"
        for view in views
        if view.tiles_fingerprint not in {entry.tiles for entry in entries.values()}
    ]
    if wrong:
        raise UsageError(
            f"project {project.name!r}: {'; '.join(wrong)}. Look at headwater plan, then run "
            "headwater apply"
        )


def _catalog(catalog: CatalogLike | None) -> Catalog:
    return catalog if isinstance(catalog, Catalog) else Catalog(catalog)


def _plan(
    project: Project,
    catalog: Catalog,
    held: CatalogState,
    looked: tuple[Lint, ...],
    registry: ModelRegistry,
    store: str | None,
) -> Plan:
    new = describe(project)
    differences = changes(
        held,
        new,
        frozenset(model for model, _ in registry.variants()),
        kept=frozenset(view.name for view in project.views),
    )
    same = len(new) - sum(change.action != "removed" for change in differences)
    still_live = tuple(
        f"{change.kind} {change.name}" for change in differences if change.action == "removed"
    )
    only = {
        level: "; ".join(dict.fromkeys(reasons.values()))
        for level, reasons in replayed(project).items()
    }
    again = rebuilds(held, new, differences)
    read, names = _read_views(project, registry, held), {view.name for view in project.all_views}
    needed = [
        *conflicts(project, registry, clock.now_micros()),
        *(
            f"{reader} reads view {view}, which the project does not have; keep it "
            f"(hw.Project(..., views=[{view.partition('@')[0]}])) until a version of the model "
            "that does not read it is promoted (headwater train, headwater models promote)"
            for view, reader in read.items()
            if view not in names
        ),
    ]
    not_served = unserved(project, registry)
    proposed = {
        name: _next_version(name)
        for change in differences
        if change.action == "changed" and (change.breaking or not_served)
        for name in (change.name,)
        if change.kind == "view" and name in read
    }
    return Plan(
        project.name,
        str(catalog),
        held.version,
        differences,
        looked,
        same,
        None,
        still_live,
        only,
        again,
        protected=tuple(needed),
        rewritten=rewrites(held, new, _written(project, store)),
        from_production=views_of_production(project),
        proposed=proposed,
        unserved=not_served,
    )


def _read_views(project: Project, registry: ModelRegistry, held: CatalogState) -> dict[str, str]:
    """Who reads each view, not an alias, that is served, in words."""
    read: dict[str, str] = {}
    for name, reader in served_views(project, registry).items():
        entry = held.entries.get(EntryKey("view", name))
        root = name if entry is None else str(entry.definition.get("alias_of", name))
        read.setdefault(root, reader)
    return read


def _next_version(view: str) -> str:
    name, _, number = view.partition("@")
    return (
        f"To serve on meanwhile, keep view {view} as it is, hw.Project(..., views=[{name}]), and "
        f"write the changed one as hw.FeatureView({name!r}, ..., version={int(number or 1) + 1}): "
        "docs/howto_versions.md"
    )


def _written(project: Project, store: str | None) -> list[Source]:
    """The sources of streaming views, where several processes may write to the store."""
    if not is_multi_process(settings.store() if store is None else store):
        return []
    return list(
        dict.fromkeys(view.view.source for view in stored(project) if view.view.freshness.streamed)
    )


def _check(planned: Plan, *, allow_destroy: bool, allow_breaking: bool, expect: int | None) -> None:
    if planned.refused:
        reasons = " ".join(
            f"({i}) {reason}" for i, reason in enumerate(grouped(planned.refused), 1)
        )
        raise DefinitionError(f"project {planned.project!r} cannot be applied: {reasons}")
    if expect is not None and expect != planned.version:
        raise UsageError(
            f"project {planned.project!r} has version {planned.version} in the catalog "
            f"{planned.catalog}, and {expect} was expected: it was applied since; look at a new "
            "plan"
        )
    if planned.protected:
        raise UsageError(
            f"project {planned.project!r} cannot be applied: {'; '.join(planned.protected)}"
        )
    if planned.rewritten and not allow_breaking:
        raise UsageError(
            f"project {planned.project!r} cannot be applied: "
            f"{'; '.join(planned.rewritten.values())}"
        )
    breaking = planned.breaks(allow_destroy=allow_destroy)
    if breaking and not allow_breaking:
        more = f" (and {len(breaking) - 3} more)" if len(breaking) > 3 else ""
        raise UsageError(
            f"project {planned.project!r} would break what models read: "
            f"{'; '.join(breaking[:3])}{more}. Keep the old view and write the new one as "
            "version=2 (docs/howto_versions.md), give the changed definition a new name, or apply "
            "with allow_breaking (--allow-breaking) and train these models again"
        )


def _differs(entry: CatalogEntry, held: CatalogEntry | None) -> bool:
    return (
        held is None
        or not held.live
        or held.says != entry.says
        or held.fingerprint != entry.fingerprint
    )
