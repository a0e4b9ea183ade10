"""Progress of long work: a bar in a terminal or a notebook, a line a step in a log.

The work publishes its state, from any thread, and waits for no display; a thread of its own draws
the published state (`terminal.live`). An error of a display ends the display, and never the work.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

from headwater import clock
from headwater.terminal.live import BarLine, Contained, TerminalLine, drawn
from headwater.terminal.standard_streams import STDERR

OnProgress = Callable[[str, int, int], None]
"""Called with the current task (mostly a view's name), rows done and rows to do; 0 to do where that
is not known.
"""
BACKTEST = ("features", "training", "judging")
"""The steps of a backtest; another task, such as a view, is a part of the current step."""


@contextmanager
def shown(
    progress: bool | OnProgress | None,  # noqa: FBT001
    steps: Sequence[str] = (),
) -> Iterator[OnProgress | None]:
    """The progress function for `progress=`: None a bar in a terminal or notebook, True also lines
    elsewhere, False none, or itself.
    """
    if isinstance(progress, _Published | _OneAtATime):
        yield progress
    elif callable(progress):
        yield _OneAtATime(progress)
    elif progress is False or (progress is None and not (STDERR.terminal or _in_notebook())):
        yield None
    else:
        with bar(steps) as on_progress:
            yield on_progress


@contextmanager
def bar(steps: Sequence[str] = ()) -> Iterator[OnProgress]:
    """A function to be called with the task, the amount done, and the total, by any thread; one bar
    shows the current task.

    Args:
        steps: the names of the steps in order, so that the bar says "step 2 of 3".
    """
    if not (_in_notebook() or STDERR.terminal):
        yield lines(lambda line: STDERR.write(f"{line}\n"), steps)
        return
    published = _Published(steps)
    notebook = _in_notebook()

    def line() -> BarLine:
        assert published.state is not None
        return _bar_line(published.state)

    def opened() -> _NotebookBar | TerminalLine | None:
        if published.state is None:
            return None
        return _NotebookBar(published) if notebook else TerminalLine(line)

    with drawn("the progress bar", opened, last=notebook):
        yield published


def lines(write: Callable[[str], object], steps: Sequence[str] = ()) -> OnProgress:
    """A progress function for a log: `write` gets a line when a step begins, with how long the one
    before took.
    """
    return _Published(steps, _Lines(write))


def counter(on_progress: OnProgress, task: str, total: int) -> Callable[[int], None]:
    """A function that threads call with how much more of a task they have done; the sum is
    reported, in order.
    """
    lock, done = threading.Lock(), 0

    def add(more: int) -> None:
        nonlocal done
        with lock:
            done += more
            on_progress(task, done, total)

    return add


@dataclass(frozen=True)
class ProgressState:
    """The current work. step: "step 2 of 3: training", or the task without steps; part: the task
    within it.

    began: when this task began, on the stopwatch; first: how much of it was done then.
    """

    step: str
    part: str
    done: int
    total: int
    began: float
    first: int

    @property
    def name(self) -> str:
        """The step and the task within it."""
        return ": ".join(filter(None, (self.step, self.part)))

    @property
    def share(self) -> float | None:
        """The share that is done, from 0 to 1; None where the total is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    def left(self, now: float) -> float | None:
        """Seconds until it is done, at the rate so far; None where that is not known."""
        made = self.done - self.first
        return (
            (now - self.began) * (self.total - self.done) / made
            if made > 0 and self.done < self.total
            else None
        )


class _Published:
    """The state of the work, which any thread changes. on_state: called with each state, by one
    thread at a time.
    """

    def __init__(
        self, steps: Sequence[str], on_state: Callable[[ProgressState], None] | None = None
    ) -> None:
        self.steps, self.on_state = list(steps), on_state
        self.state: ProgressState | None = None
        self._step, self._lock, self._contained = (
            0,
            threading.Lock(),
            Contained("the log of progress"),
        )

    def __call__(self, task: str, done: int, total: int) -> None:
        with self._lock:
            step, part = self._placed(task)
            before, began, first = self.state, clock.stopwatch(), done
            if (
                before is not None
                and (before.step, before.part) == (step, part)
                and before.done <= done
            ):
                began, first = before.began, before.first
            self.state = ProgressState(step, part, done, total, began, first)
            if self.on_state is not None:
                self._contained(self.on_state, self.state)

    def _placed(self, task: str) -> tuple[str, str]:
        """Which step a task is of, and the task itself where it is a part of a step."""
        if not self.steps:
            return task, ""
        if task in self.steps:
            self._step = self.steps.index(task)
        step_name = self.steps[self._step]
        return (
            f"step {self._step + 1} of {len(self.steps)}: {step_name}",
            "" if task == step_name else task,
        )


class _OneAtATime:
    """A user's function, called by one thread at a time until it raises an error."""

    def __init__(self, function: OnProgress) -> None:
        self.function = function
        self._lock, self._contained = threading.RLock(), Contained("the function of progress=")

    def __call__(self, task: str, done: int, total: int) -> None:
        with self._lock:
            self._contained(self.function, task, done, total)


class _Lines:
    def __init__(self, write: Callable[[str], object]) -> None:
        self.write, self.step, self.began = write, "", 0.0

    def __call__(self, state: ProgressState) -> None:
        if state.step != self.step:
            took = (
                f" ({self.step.rpartition(': ')[2]} took {clock.stopwatch() - self.began:.0f} s)"
                if self.step
                else ""
            )
            self.step, self.began = state.step, clock.stopwatch()
            self.write(f"{state.step}{took}")


def _bar_line(state: ProgressState) -> BarLine:
    """The task, a bar that moves, per cent, the time that it took and the time that is left."""
    now, share = clock.stopwatch(), state.share
    left = state.left(now)
    times = [
        f"{share:4.0%}" if share is not None else "",
        _clock(now - state.began),
        f"left: {'-:--:--' if left is None else _clock(left)}",
    ]
    return BarLine((state.name, state.step), state.done, state.total, " ".join(filter(None, times)))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class _NotebookBar:
    """A bar of HTML below the cell. IPython is there wherever a notebook is."""

    def __init__(self, published: _Published) -> None:
        self.published, self.handle = published, None

    def draw(self) -> None:
        display, state = sys.modules["IPython"].display, self.published.state
        page = display.HTML("" if state is None else _html(state, clock.stopwatch()))
        if self.handle is None:
            self.handle = display.display(page, display_id=True)
        else:
            self.handle.update(page)

    def close(self) -> None:
        """The last state stays."""


def _html(state: ProgressState, now: float) -> str:
    share, left = state.share, state.left(now)
    value, per_cent = ("", "") if share is None else (f' value="{share:.4f}"', f"{share:.0%}")
    time_left = "" if left is None else f", about {left:.0f} s left"
    return (
        f"<div>{escape(_cut(state.name))} <progress{value} max='1'></progress> "
        f"{per_cent}{time_left}</div>"
    )


def _cut(name: str, most: int = 60) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _in_notebook() -> bool:
    """Whether this runs in a notebook, as IPython says it."""
    of_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return of_shell is not None and type(of_shell()).__name__ == "ZMQInteractiveShell"
