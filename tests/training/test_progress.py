"""Progress: a bar that moves to its end in a terminal and in a notebook, and a line a step in a log."""

import io
import sys
import types

import pytest
from rich.console import Console
from rich.progress import Progress

from headwater.training import progress as module
from headwater.training.progress import BACKTEST, bar, lines, shown

TWICE = [("origin", 0, 800), ("origin", 100, 800), ("origin", 0, 100), ("origin", 50, 100), ("origin", 100, 200), ("origin", 200, 200)]
"""A view whose rows are computed in two runs, of which the second turns out longer."""


def test_a_log_has_a_line_a_step():
    written = []
    said = lines(written.append, BACKTEST)
    for task in ("origin", "reading flights", "carrier", "training", "training", "judging"):
        said(task, 1, 2)
    steps = [line.partition(" (")[0] for line in written]
    assert steps == ["step 1 of 3: features", "step 2 of 3: training", "step 3 of 3: judging"]
    assert written[1].endswith("(features took 0 s)")


def test_a_bar_of_a_name_that_comes_twice_begins_anew_and_reaches_its_end():
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as drawn:
        said = module._Tracked(module._TerminalBar(drawn), BACKTEST)
        bars = set()
        for call in TWICE:
            said(*call)
            (task,) = drawn.tasks
            bars.add(task.id)
            assert (task.completed, task.total) == call[1:]
        assert len(bars) == 2
        assert task.description == "step 1 of 3: features: origin"
        said("judging", 0, 0)
        (task,) = drawn.tasks
        assert (task.description, task.total) == ("step 3 of 3: judging", None)


class ZMQInteractiveShell:
    """By its name, the shell of a notebook."""


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook displays, by handle; only the last state of each remains."""
    displayed = []

    class Handle:
        def update(self, page):
            displayed[-1] = page

    def display(page, *, display_id):
        assert display_id
        displayed.append(page)
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = ZMQInteractiveShell
    ipython.display = types.SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return displayed


def test_a_notebook_has_one_bar_that_names_the_step(notebook):
    with shown(None, BACKTEST) as said:
        for call in TWICE:
            said(*call)
        assert notebook == ["<div>step 1 of 3: features: origin <progress value=\"1.0000\" max='1'></progress> 100%</div>"]
        said("<b>", 1, 4)
    assert len(notebook) == 1
    assert "&lt;b&gt;" in notebook[0]
    assert "about 0 s left" in notebook[0]


def test_nothing_is_shown_in_a_log_unless_it_is_asked_for(capsys):
    with shown(None, BACKTEST) as said:
        assert said is None
    with shown(False, BACKTEST) as said:
        assert said is None
    with bar(BACKTEST) as said:
        said("training", 0, 5)
    assert capsys.readouterr().err == "step 2 of 3: training\n"
