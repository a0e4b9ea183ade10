"""Progress of long work: a bar in a terminal or a notebook, a line a step in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Protocol

from headwater import clock

OnProgress = Callable[[str, int, int], None]
"""Called with the current task (mostly a view's name), rows done and rows to do; 0 to do where that is not known."""
BACKTEST = ("features", "training", "judging")
"""The steps of a backtest; a task that is none of them, such as a view, is a part of the current step."""
_REDRAWN = 0.2  # seconds
_REMEMBERED = 600  # seconds; trainings end minutes after one another


@contextmanager
def shown(progress: bool | OnProgress | None, steps: Sequence[str] = ()) -> Iterator[OnProgress | None]:  # noqa: FBT001 (as users give it)
    """The progress function for `progress=`: None a bar in a terminal or notebook, True also lines elsewhere, False none, or itself."""
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not (sys.stderr.isatty() or _in_notebook())):
        yield None
    else:
        with bar(steps) as on_progress:
            yield on_progress


@contextmanager
def bar(steps: Sequence[str] = ()) -> Iterator[OnProgress]:
    """A function to be called with the task, what is done, and the total; it draws one bar, of the current task.

    Args:
        steps: the names of the steps in order, so that the bar says "step 2 of 3".
    """
    if _in_notebook():
        yield _Tracked(_NotebookBar(), steps)
    elif sys.stderr.isatty():
        with _terminal() as drawn:
            yield _Tracked(drawn, steps)
    else:
        yield lines(lambda line: print(line, file=sys.stderr), steps)  # noqa: T201 (asked for with progress=True)


def lines(write: Callable[[str], object], steps: Sequence[str] = ()) -> OnProgress:
    """A progress function for a log: `write` gets a line when a step begins, with how long the one before took."""
    return _Tracked(_Lines(write), steps)


class _ProgressDisplay(Protocol):
    def draw(self, step: str, part: str, done: int, total: int) -> None:
        """Show the state. step: "step 2 of 3: training", or the task where there are no steps; part: the task within it."""
        ...


class _Tracked:
    """Which step a task is of."""

    def __init__(self, drawn: _ProgressDisplay, steps: Sequence[str]) -> None:
        self.drawn, self.steps, self.at = drawn, list(steps), 0

    def __call__(self, task: str, done: int, total: int) -> None:
        if not self.steps:
            self.drawn.draw(task, "", done, total)
            return
        part = task
        if task in self.steps:
            self.at, part = self.steps.index(task), ""
        self.drawn.draw(f"step {self.at + 1} of {len(self.steps)}: {self.steps[self.at]}", part, done, total)


class _Lines:
    def __init__(self, write: Callable[[str], object]) -> None:
        self.write, self.step, self.began = write, "", 0.0

    def draw(self, step: str, part: str, done: int, total: int) -> None:
        del part, done, total
        if step != self.step:
            took = f" ({self.step.rpartition(': ')[2]} took {clock.stopwatch() - self.began:.0f} s)" if self.step else ""
            self.step, self.began = step, clock.stopwatch()
            self.write(f"{step}{took}")


@contextmanager
def _terminal() -> Iterator[_ProgressDisplay]:
    """One line of rich: the step, a bar that moves, per cent, and the time that is left of the current task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    moving = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    left = (TextColumn("left:"), TimeRemainingColumn())
    with Progress(*moving, *left, console=Console(stderr=True), transient=True, speed_estimate_period=_REMEMBERED) as progress:
        yield _TerminalBar(progress)


class _TerminalBar:
    """The bar of rich's `progress`. A task that begins anew has a new bar: nothing of an earlier one stays."""

    def __init__(self, progress: object) -> None:
        from rich.progress import Progress, TaskID

        assert isinstance(progress, Progress)
        self.progress = progress
        self.shown: tuple[TaskID, str, int] | None = None

    def draw(self, step: str, part: str, done: int, total: int) -> None:
        name = ": ".join(filter(None, (step, part)))
        if self.shown is None or self.shown[1] != name or self.shown[2] > done:
            if self.shown is not None:
                self.progress.remove_task(self.shown[0])
            self.shown = (self.progress.add_task(_cut(name), total=total or None), name, done)
        self.shown = (self.shown[0], name, done)
        self.progress.update(self.shown[0], completed=done, total=total or None)


class _NotebookBar:
    """A bar of HTML below the cell, drawn again at most five times a second. IPython is there wherever a notebook is."""

    def __init__(self) -> None:
        self.handle: object = None
        self.name, self.began, self.drawn = "", 0.0, -1.0

    def draw(self, step: str, part: str, done: int, total: int) -> None:
        now, name = clock.stopwatch(), ": ".join(filter(None, (step, part)))
        if name != self.name:
            self.name, self.began = name, now
        elif now - self.drawn < _REDRAWN and done < total:
            return
        self.drawn = now
        display = sys.modules["IPython"].display
        page = display.HTML(_html(_cut(name), done, total, now - self.began))
        if self.handle is None:
            self.handle = display.display(page, display_id=True)
        else:
            self.handle.update(page)  # type: ignore[attr-defined]  # of IPython


def _html(name: str, done: int, total: int, seconds: float) -> str:
    share = min(1.0, done / total) if total else 0.0
    left = f", about {seconds * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
    value = f' value="{share:.4f}"' if total else ""
    return f"<div>{escape(name)} <progress{value} max='1'></progress> {f'{share:.0%}' if total else ''}{left}</div>"


def _cut(name: str, most: int = 60) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _in_notebook() -> bool:
    """Whether this runs in a notebook, as IPython says it."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"
