"""Log when a project is applied while a process of it runs, which goes on with the definitions that
it was started with.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from headwater import clock
from headwater.catalog.database import Catalog
from headwater.catalog.plan import CatalogLike
from headwater.catalog.serialize import describe
from headwater.definitions.project import Project
from headwater.errors import HeadwaterError

_EVERY: Final = 2.0  # seconds
_LOG: Final = logging.getLogger(__name__)


@contextmanager
def applies_watched(
    project: Project, catalog: CatalogLike | None, wrote: Callable[[str], bool], verb: str
) -> Iterator[None]:
    """While the context lasts, log each version of the catalog that has views which this process
    does not make, and what to do.

    Args:
        project: as this process was started with it.
        catalog: as for `plan`.
        wrote: whether a view of this freshness, as it is written, is made by such a process.
        verb: what the process does to a view.
    """
    watched, stop = catalog if isinstance(catalog, Catalog) else Catalog(catalog), threading.Event()
    made = {entry.tiles for entry in describe(project).values()}

    def look(seen: int) -> int:
        version = watched.version(project.name)
        if version == seen:
            return seen
        live = [
            entry
            for entry in watched.held(project.name).live.values()
            if entry.kind == "view" and entry.tiles not in made
        ]
        others = sorted(entry.name for entry in live if wrote(str(entry.definition["freshness"])))
        if others:
            _LOG.warning(
                "version %d of project %s was applied to the catalog while this process runs, "
                "which goes on with the definitions that it was started with, and does not %s "
                "view %s. Restart it (process %d; under `headwater serve` end it, and it is "
                "started again)",
                *(version, project.name, verb, ", ".join(others), os.getpid()),
            )
        return version

    def work(seen: int) -> None:
        while not clock.wait(_EVERY, stop):
            with suppress(HeadwaterError):  # the catalog cannot be read just now
                seen = look(seen)

    begin = 0
    with suppress(HeadwaterError):
        begin = watched.version(project.name)
    thread = threading.Thread(target=work, args=(begin,), name="catalog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
