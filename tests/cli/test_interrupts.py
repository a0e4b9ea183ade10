"""Ctrl-C in a terminal: every command ends soon, with exit code 130 and one line, wherever it
is.
"""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from headwater.cli.signals import stopped
from tests.pseudo_terminal import Terminal

SOON = 20  # seconds; about one on a quiet machine, and an endless wait takes longer than this

SLOW = """
import hashlib, time
from sklearn.base import BaseEstimator, ClassifierMixin

class Slow(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        print("FITTING", flush=True)
        BODY
    def predict(self, X): raise AssertionError
"""


def stops(terminal, code=130):
    assert terminal.interrupted(SOON) == code, terminal.shown[-2000:]
    for bad in ("panicked", "Traceback", "Exception ignored"):
        assert bad not in terminal.shown
    assert code != 130 or "error: stopped" in terminal.shown
    return True


def slow_project(folder, body):
    text = (folder / "features.py").read_text(encoding="utf-8")
    own = SLOW.replace("BODY", body)
    (folder / "features.py").write_text(
        own + text.replace("labels=labels)", "labels=labels, estimator=Slow())"), encoding="utf-8"
    )


def test_at_a_question(folder):
    (folder / "features.py").unlink()
    terminal = Terminal(folder, "-m", "headwater", "init", "events.parquet", "labels.parquet")
    terminal.until("> ")
    assert stops(terminal)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(600)",
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",  # in a library that looks for no signals
        (
            "import polars as pl; one = pl.LazyFrame({'a': range(10**6)}); one.join(one, "
            "how='cross').select(pl.all().sin().sum()).collect()"
        ),
        # a panic of Rust otherwise
        (
            "import polars as pl; pl.Series([1]).map_elements(lambda _: time.sleep(600), "
            "return_dtype=pl.Int64)"
        ),
        # as a kernel is compiled: an exception in a function that a library calls is printed, and
        # ignored
        (
            "import ctypes; wait = eval('lambda: time.sleep(600)', {'__name__': "
            "'llvmlite.binding', 'time': time}); ctypes.CFUNCTYPE(None)(wait)()"
        ),
        "try:\n            time.sleep(600)\n        finally:\n            time.sleep(600)",
    ],
    ids=["python", "a library", "a query", "called by Rust", "called by LLVM", "cleaning up"],
)
def test_while_it_works(folder, body):
    slow_project(folder, body)
    terminal = Terminal(folder, "-m", "headwater", "train")
    terminal.until("FITTING")
    assert stops(terminal)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["backtest"], ["serve"]],
    ids=lambda arguments: arguments[0],
)
def test_before_and_while_a_command_begins(folder, arguments):
    """The project file waits: all that the command has imported so far is there, and it has begun
    to work.
    """
    with (folder / "features.py").open("a", encoding="utf-8") as file:
        file.write(
            "\nprint('READING', flush=True)\nimport time\nfor _ in range(60_000): "
            "time.sleep(0.01)\n"
        )
    terminal = Terminal(folder, "-m", "headwater", *arguments)
    terminal.until("READING")
    assert stops(terminal)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_watches_ends(folder, number):
    """Also as the first process of a container, which no signal ends unless it handles it; being
    stopped is not an error.
    """
    terminal = Terminal(folder, "-m", "headwater", "materialize", "--watch")
    terminal.until("keys written")
    terminal.process.send_signal(number)
    terminal.until(None, SOON)
    assert terminal.process.wait(SOON) == 0, terminal.shown[-2000:]


def test_the_event_and_the_notice_come_after_the_handler():
    """A notice prints, and setting an event takes a lock: the main thread may hold either when the
    signal arrives.
    """
    seen = []
    with stopped(lambda: seen.append(threading.current_thread())) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
    assert [thread is not threading.main_thread() for thread in seen] == [True]


def test_a_signal_while_the_main_thread_prints(tmp_path):
    """Ten thousand lines are being written when the signal comes: a handler that prints is a
    reentrant call into the buffer.
    """
    script = """
        import os, signal, sys, threading, time
        from headwater.cli.signals import stopped
        with stopped(lambda: sys.stderr.write("notice\\n")) as stop:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            while not stop.is_set():
                sys.stderr.write("x" * 100 + "\\n")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "notice\n" in done.stderr


def test_a_signal_that_another_thread_gets_while_the_main_thread_waits(tmp_path):
    """No handler of Python runs until the wait is over, and the wait is over when the command
    stops.
    """
    code = """
        import queue, signal, threading, time
        from headwater.cli.signals import stopped
        ended = queue.SimpleQueue()
        with stopped() as stop:
            def work():
                time.sleep(0.3)  # the main thread waits by then
                signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
                ended.put(stop.wait(20))
            threading.Thread(target=work).start()
            assert ended.get()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- the first process of a container

STAYS = """
import time
from headwater.cli.signals import stopped

with stopped(lambda: print("stopping", flush=True)) as stop:
    print("ready", flush=True)
    stop.wait()
    BODY
"""
AS_FIRST = ["unshare", "--pid", "--fork", "--kill-child"]


@pytest.mark.skipif(
    subprocess.run([*AS_FIRST, "true"], capture_output=True, check=False).returncode != 0,
    reason="needs the right to unshare",
)
@pytest.mark.parametrize(
    "body",
    ["time.sleep(60)", "import hashlib; hashlib.pbkdf2_hmac('sha256', b'a', b'b', 2**31 - 1)"],
    ids=["waiting", "inside of a library"],
)
def test_the_second_signal_ends_the_first_process_of_a_container(body):
    """Of process 1, the kernel ignores signals without a handler."""
    command = [*AS_FIRST, sys.executable, "-c", STAYS.replace("BODY", body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as outer:
        assert outer.stdout.readline() == "ready\n"
        with open(f"/proc/{outer.pid}/task/{outer.pid}/children") as file:  # noqa: PTH123 (no file on a disk)
            (inner,) = map(int, file.read().split())
        os.kill(inner, signal.SIGTERM)
        assert outer.stdout.readline() == "stopping\n"
        assert outer.poll() is None
        os.kill(inner, signal.SIGTERM)
        try:
            assert outer.wait(SOON) == 128 + signal.SIGTERM
        finally:
            outer.kill()
