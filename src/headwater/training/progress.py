"""Progress of long work: a bar in a terminal or a notebook, a line a step in a log.

The work publishes its state, from any thread, and waits for no display; a thread of its own draws what is published. An error of a
display ends the display, and never the work.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from headwater import clock
from headwater.errors import HeadwaterWarning

if TYPE_CHECKING:
    from rich.console import RenderableType

OnProgress = Callable[[str, int, int], None]
"""Called with the current task (mostly a view's name), rows done and rows to do; 0 to do where that is not known."""
BACKTEST = ("features", "training", "judging")
"""The steps of a backtest; a task that is none of them, such as a view, is a part of the current step."""
_REDRAWN: Final = 0.2  # seconds
_BAR: Final = 10, 40  # columns of a bar in a terminal: at least, at most


@contextmanager
def shown(progress: bool | OnProgress | None, steps: Sequence[str] = ()) -> Iterator[OnProgress | None]:  # noqa: FBT001 (as users give it)
    """The progress function for `progress=`: None a bar in a terminal or notebook, True also lines elsewhere, False none, or itself."""
    if isinstance(progress, _Published | _OneAtATime):
        yield progress
    elif callable(progress):
        yield _OneAtATime(progress)
    elif progress is False or (progress is None and not (is_terminal(sys.stderr) or _in_notebook())):
        yield None
    else:
        with bar(steps) as on_progress:
            yield on_progress


@contextmanager
def bar(steps: Sequence[str] = ()) -> Iterator[OnProgress]:
    """A function to be called with the task, what is done, and the total, by any thread; one bar shows the current task.

    Args:
        steps: the names of the steps in order, so that the bar says "step 2 of 3".
    """
    if not (_in_notebook() or is_terminal(sys.stderr)):
        yield lines(lambda line: print(line, file=sys.stderr), steps)  # noqa: T201 (asked for with progress=True)
        return
    published = _Published(steps)
    with _drawn(published, _NotebookBar if _in_notebook() else _TerminalBar):
        yield published


def lines(write: Callable[[str], object], steps: Sequence[str] = ()) -> OnProgress:
    """A progress function for a log: `write` gets a line when a step begins, with how long the one before took."""
    return _Published(steps, _Lines(write))


def counter(on_progress: OnProgress, task: str, total: int) -> Callable[[int], None]:
    """A function by which threads say how much more of a task they have done; the sum is reported, in order."""
    lock, done = threading.Lock(), 0

    def add(more: int) -> None:
        nonlocal done
        with lock:
            done += more
            on_progress(task, done, total)

    return add


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; one that is closed is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


@dataclass(frozen=True)
class ProgressState:
    """What is being done. step: "step 2 of 3: training", or the task where there are no steps; part: the task within it.

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
        """What is done, from 0 to 1; None where the total is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    def left(self, now: float) -> float | None:
        """Seconds until it is done, at the rate so far; None where that is not known."""
        made = self.done - self.first
        return (now - self.began) * (self.total - self.done) / made if made > 0 and self.done < self.total else None


class _Contained:
    """Calls of a display: the first error ends it with a warning, and nothing is raised."""

    def __init__(self, what: str) -> None:
        self.what, self.over = what, False

    def __call__(self, draw: Callable[..., object], *arguments: object) -> None:
        if self.over:
            return
        try:
            draw(*arguments)
        except Exception as error:  # noqa: BLE001 (whatever it is, the work goes on)
            self.over = True
            with suppress(Exception):  # a filter may turn warnings into errors
                message = f"{self.what} ended with {type(error).__name__}: {error}. The computation goes on"
                warnings.warn(message, HeadwaterWarning, stacklevel=2)


class _Published:
    """The state of the work, which any thread changes. on_state: called with each state, by one thread at a time."""

    def __init__(self, steps: Sequence[str], on_state: Callable[[ProgressState], None] | None = None) -> None:
        self.steps, self.on_state = list(steps), on_state
        self.state: ProgressState | None = None
        self._step, self._lock, self._contained = 0, threading.Lock(), _Contained("the log of progress")

    def __call__(self, task: str, done: int, total: int) -> None:
        with self._lock:
            step, part = self._placed(task)
            before, began, first = self.state, clock.stopwatch(), done
            if before is not None and (before.step, before.part) == (step, part) and before.done <= done:
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
        of = self.steps[self._step]
        return f"step {self._step + 1} of {len(self.steps)}: {of}", "" if task == of else task


class _OneAtATime:
    """A user's function, called by one thread at a time until it raises an error."""

    def __init__(self, function: OnProgress) -> None:
        self.function = function
        self._lock, self._contained = threading.RLock(), _Contained("the function of progress=")

    def __call__(self, task: str, done: int, total: int) -> None:
        with self._lock:
            self._contained(self.function, task, done, total)


class _Lines:
    def __init__(self, write: Callable[[str], object]) -> None:
        self.write, self.step, self.began = write, "", 0.0

    def __call__(self, state: ProgressState) -> None:
        if state.step != self.step:
            took = f" ({self.step.rpartition(': ')[2]} took {clock.stopwatch() - self.began:.0f} s)" if self.step else ""
            self.step, self.began = state.step, clock.stopwatch()
            self.write(f"{state.step}{took}")


class _ProgressDisplay(Protocol):
    """What draws, in one thread at a time."""

    def draw(self, state: ProgressState, now: float) -> None:
        """Show the state, at a time of the stopwatch."""
        ...

    def close(self) -> None:
        """The work is over."""
        ...


@contextmanager
def _drawn(published: _Published, opened: Callable[[], _ProgressDisplay]) -> Iterator[None]:
    """Draw what is published several times a second while the context lasts, and its last state."""
    over, contained, display = threading.Event(), _Contained("the progress bar"), list[_ProgressDisplay]()

    def draw() -> None:
        if published.state is not None:
            if not display:
                display.append(opened())
            display[0].draw(published.state, clock.stopwatch())

    def run() -> None:
        while not over.wait(_REDRAWN):
            contained(draw)

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        contained(draw)
        contained.over = False  # what is open is closed, also after an error
        for opened_display in display:
            contained(opened_display.close)


class _TerminalBar:
    """One line of a terminal: the task, a bar that moves, per cent, the time that it took, and the time that is left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self.live.start()

    def draw(self, state: ProgressState, now: float) -> None:
        self.live.update(_bar_line(state, now, self.live.console.width), refresh=True)

    def close(self) -> None:
        self.live.stop()


def _bar_line(state: ProgressState, now: float, width: int) -> RenderableType:
    """A line of at most `width` columns; where that is too little, the task is left out first, then the bar."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    share, left = state.share, state.left(now)
    times = [
        f"{share:4.0%}" if share is not None else "",
        _clock(now - state.began),
        f"left: {'-:--:--' if left is None else _clock(left)}",
    ]
    numbers = " ".join(filter(None, times))
    least, most = _BAR
    name = state.name if len(state.name) + least + len(numbers) + 3 <= width else state.step
    room = width - len(name) - len(numbers) - 3
    line = Table.grid(padding=(0, 1), expand=False)
    cells: list[RenderableType] = [Text(name, no_wrap=True, overflow="crop")]
    if room >= least:
        bar_width = min(most, room)
        cells.append(ProgressBar(total=state.total or None, completed=state.done, width=bar_width, pulse=not state.total))
    if len(name) + len(numbers) + 2 <= width:
        cells.append(Text(numbers))
    for _ in cells:
        line.add_column(no_wrap=True)
    line.add_row(*cells)
    return line


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class _NotebookBar:
    """A bar of HTML below the cell. IPython is there wherever a notebook is."""

    def __init__(self) -> None:
        self.handle: object = None

    def draw(self, state: ProgressState, now: float) -> None:
        display = sys.modules["IPython"].display
        page = display.HTML(_html(state, now))
        if self.handle is None:
            self.handle = display.display(page, display_id=True)
        else:
            self.handle.update(page)  # type: ignore[attr-defined]  # of IPython

    def close(self) -> None:
        """The last state stays."""


def _html(state: ProgressState, now: float) -> str:
    share, left = state.share, state.left(now)
    value, per_cent = ("", "") if share is None else (f' value="{share:.4f}"', f"{share:.0%}")
    time_left = "" if left is None else f", about {left:.0f} s left"
    return f"<div>{escape(_cut(state.name))} <progress{value} max='1'></progress> {per_cent}{time_left}</div>"


def _cut(name: str, most: int = 60) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _in_notebook() -> bool:
    """Whether this runs in a notebook, as IPython says it."""
    of_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return of_shell is not None and type(of_shell()).__name__ == "ZMQInteractiveShell"
