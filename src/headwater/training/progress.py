"""A progress bar: on standard error if that is a terminal, and in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[str, int, int], None]
"""Called with the current step (mostly a view's name), rows done and rows to do."""


@contextmanager
def shown(progress: bool | OnProgress | None) -> Iterator[OnProgress | None]:  # noqa: FBT001 (as users give it)
    """The progress function for `progress=`: None a bar in a terminal or notebook, True a bar, False none, or the function itself."""
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not (sys.stderr.isatty() or _in_notebook())):
        yield None
    else:
        with bar() as on_progress:
            yield on_progress


def _in_notebook() -> bool:
    """Whether this runs in a notebook, as IPython says it."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def bar() -> Iterator[OnProgress]:
    """A function to be called with the task, the steps done, and the total; it draws one bar a task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    console = Console() if _in_notebook() else Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not (console.is_terminal or console.is_jupyter),
    ) as progress:

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what[:28], total=total)
            progress.update(tasks[what], completed=done)

        yield on_progress
