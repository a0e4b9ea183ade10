"""Progress: a bar that moves to its end in a notebook, a line a step in a log, and a function that
is called by one thread at a time.
"""

import sys
import threading
import types

import pytest

from headwater.training.progress import shown


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


def test_a_name_in_a_notebook_is_text(notebook):
    with shown(None) as said:
        said("<b>", 0, 4)
        said("<b>", 1, 4)
    assert "&lt;b&gt;" in notebook[0]
    assert "about 0 s left" in notebook[0]


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
