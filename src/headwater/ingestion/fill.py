"""Fill: make the records of streaming views again from archive and history, when an operator asks
for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headwater import settings
from headwater.definitions.project import Project, chosen, stored
from headwater.errors import FencedError, LostError, UsageError
from headwater.ingestion.source_ingestor import (
    GenerationsToFill,
    IngestLimits,
    SourceIngestor,
    streamed,
)
from headwater.stores import HeldError, OnlineStore, ingest_lease
from headwater.stores.keyspace import from_production, opened_for

_NOTICES = 3.0  # seconds in which ingestion that runs begins to fill what was asked for
_TRIES = 100
_STOPPED = 30.0  # seconds after which a fill that does nothing is gone on from here


def fill(
    project: Project,
    views: Sequence[str],
    *,
    store: OnlineStore | str | None = None,
    data_dir: Path | None = None,
) -> dict[str, int]:
    """Make the records of streaming views again, from archive and history; how many events each was
    given, by name.

    Ingestion fills views that are new, or whose definition has changed, by itself. This is for
    views whose past has changed, such as an archive that was put back. The records that a view has
    are served until the new ones are whole. Where ingestion runs, it makes them while the stream
    goes on, and this waits for it; one process writes LMDB, so there ingestion must not run. A fill
    that is stopped is gone on from by the next `headwater ingest`.

    Args:
        project: whose views.
        views: their names; `user` is that view at each level, `user@live` at one.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps the archive; None is headwater's home.

    Raises:
        UsageError: no view is named, or one that the project lacks, that is not streaming, or that
            was never ingested.
        LostError: the store has lost commits; see `rewind`.
        StoreError: the store cannot be written, or a process ingests into it.
    """
    if not views:
        raise UsageError(
            f"name the streaming views of project {project.name!r} that are to be filled"
        )
    named = chosen(
        stored(project),
        views,
        lambda name: f"project {project.name!r} has no feature view {name!r}",
    )
    wanted = {stored_view.view.root.tiles_fingerprint: stored_view.name for stored_view in named}
    for stored_view in named:
        if not stored_view.view.freshness.streamed:
            reason = (
                f"its freshness is {stored_view.view.freshness}; `headwater materialize "
                "--full-refresh` computes a batch view from its history"
            )
            raise UsageError(f"feature view {stored_view.name!r} is not streaming: {reason}")
    home, counts = settings.home() if data_dir is None else data_dir, dict[str, int]()
    with (
        opened_for(project.name, store, write=True) as opened_store,
        ingest_lease(opened_store, wait=0.0, instead="fill"),
    ):
        every = [
            stored_view.view
            for stored_view in stored(project)
            if not from_production(opened_store, stored_view.view)
        ]
        for source, fed in streamed(every).items():
            again = [view for view in fed if view.tiles_fingerprint in wanted]
            if again:
                ingestor = SourceIngestor(
                    source, fed, opened_store, home, IngestLimits(), filled=False
                )
                filled = _filled(ingestor, ingestor.begin_again(again))
                counts |= {
                    wanted[view.tiles_fingerprint]: filled[view.tiles_fingerprint] for view in again
                }
    return counts


def _filled(ingestor: SourceIngestor, generations: GenerationsToFill) -> dict[str, int]:
    """Have generations filled: by ingestion that runs, else here."""
    multi_process = ingestor.store.capabilities.multi_process
    # no lease says whether writers of partitions run
    patience = _NOTICES if multi_process and not ingestor.one_writer else None
    while True:
        if patience is not None:
            filled = ingestor.wait_for_fill(generations, patience)
            if filled is not None:
                _settle_growth(ingestor, generations)
                return filled
        try:
            with ingestor.lease(0.0):
                return ingestor.fill_again(generations)
        except LostError:
            raise
        except (HeldError, FencedError):
            if not multi_process:
                raise
        patience = _STOPPED


def _settle_growth(ingestor: SourceIngestor, generations: GenerationsToFill) -> None:
    """Do it between two commits of the stream."""
    for left in reversed(range(_TRIES)):
        try:
            ingestor.settle_growth(generations)
        except LostError:
            raise
        except FencedError:
            if not left:
                raise
        else:
            return
