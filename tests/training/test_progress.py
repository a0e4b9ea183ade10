"""Progress: a bar that moves to its end in a notebook, a line a step in a log, and a function that
is called by one thread at a time.
"""

import sys
import threading
import types

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterWarning
from headwater.training.progress import BACKTEST, bar, lines, shown

TWICE = [
    ("origin", 0, 800),
    ("origin", 100, 800),
    ("origin", 0, 100),
    ("origin", 50, 100),
    ("origin", 100, 200),
    ("origin", 200, 200),
]
"""A view whose rows are computed in two runs; the second one is longer."""


def test_a_log_has_a_line_a_step():
    written = []
    said = lines(written.append, BACKTEST)
    for task in ("origin", "reading flights", "carrier", "training", "training", "judging"):
        said(task, 1, 2)
    steps = [line.partition(" (")[0] for line in written]
    assert steps == ["step 1 of 3: features", "step 2 of 3: training", "step 3 of 3: judging"]
    assert written[1].endswith("(features took 0 s)")


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


def test_a_notebook_has_one_bar_that_names_the_step_and_ends_full(notebook):
    with shown(None, BACKTEST) as said:
        for call in TWICE:
            said(*call)
    assert notebook == [
        (
            "<div>step 1 of 3: features: origin <progress value=\"1.0000\" max='1'></progress> "
            "100%</div>"
        )
    ]


def test_a_name_in_a_notebook_is_text(notebook):
    with shown(None) as said:
        said("<b>", 0, 4)
        said("<b>", 1, 4)
    assert "&lt;b&gt;" in notebook[0]
    assert "about 0 s left" in notebook[0]


def rows_and_view():
    events = pl.DataFrame({"at": ["2024-05-01T00:00:00Z"], "user": ["a"]}).with_columns(
        pl.col("at").str.to_datetime(time_zone="UTC")
    )
    source = hw.Source("events", history=events, timestamp_field="at", select=["user"])
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        windows=["1d"],
        features=[hw.count()],
        freshness=hw.batch("1d"),
    )
    return events.select("user", timestamp=pl.col("at").dt.offset_by("2d")), view


@pytest.mark.parametrize("broken", ["display", "HTML"])
def test_a_notebook_that_cannot_display_ends_nothing(notebook, broken):
    def fails(*_, **__):
        raise KeyError(4)

    setattr(sys.modules["IPython"].display, broken, fails)
    rows, view = rows_and_view()
    with pytest.warns(
        HeadwaterWarning, match="the progress bar ended with KeyError: 4. The computation goes on"
    ):
        found = hw.get_historical_features([view], rows)
    assert found["user__count_1d"].to_list() == [0]


@pytest.mark.parametrize("half_imported", [None, types.ModuleType("IPython")])
def test_an_ipython_that_is_no_notebook(monkeypatch, half_imported):
    monkeypatch.setitem(sys.modules, "IPython", half_imported)
    rows, view = rows_and_view()
    assert hw.get_historical_features([view], rows).height == 1


def test_a_function_is_called_by_one_thread_at_a_time():
    inside, most, calls = 0, 0, 0

    def slow(_task, _done, _total):
        nonlocal inside, most, calls
        inside, calls = inside + 1, calls + 1
        most = max(most, inside)
        threading.Event().wait(0.001)
        inside -= 1

    with shown(slow) as said:
        threads = [threading.Thread(target=said, args=("view", 1, 2)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (most, calls) == (1, 20)


def test_nothing_is_shown_in_a_log_unless_it_is_asked_for(capsys):
    with shown(None, BACKTEST) as said:
        assert said is None
    with shown(False, BACKTEST) as said:
        assert said is None
    with bar(BACKTEST) as said:
        said("training", 0, 5)
    assert capsys.readouterr().err == "step 2 of 3: training\n"
