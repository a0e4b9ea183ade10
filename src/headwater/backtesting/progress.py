"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headwater.pipelines.means import Tick


@contextmanager
def bar() -> Iterator[Tick]:
    """A function to be called with what is being done, how far it is, and how far it goes; it draws one bar a task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    shown: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:

        def tick(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = progress.add_task(what[:28], total=total)
            progress.update(shown[what], completed=done)

        yield tick
