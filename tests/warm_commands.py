"""`headwater ARGUMENTS` in a process of its own, forked from one that has imported the libraries:
most of a short command's time.

What depends on a fresh interpreter (imports, signals, terminals, what a wheel installs) is tested
with a subprocess instead.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

_IMPORTED = [
    "numpy",
    "polars",
    "numba",
    "scipy.stats",
    "sklearn.pipeline",
    "lightgbm",
    "sqlalchemy",
    "rich.table",
    "msgspec",
    "headwater.cli",
]
"""Nothing that computes with polars while it is imported: its threads would not be in the forked
process.
"""

_MOST = 600  # seconds of a command


def run_command(arguments, folder):
    """The command's exit code and what it printed, as `subprocess.run` gives them."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(_IMPORTED)
    command = ["headwater", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as place:
        printed = [Path(place) / name for name in ("stdout", "stderr")]
        process = processes.Process(
            target=_child,
            args=(command, str(folder), os.environ | {"PYTHONUTF8": "1"}, list(map(str, printed))),
        )
        process.start()
        process.join(_MOST)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, _MOST)
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(
            command, code, *(path.read_text(encoding="utf-8") for path in printed)
        )


def _child(command, folder, environment, printed):
    """What `python -m headwater.cli` does with these arguments, folder, environment and files."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in enumerate([os.devnull, *printed]):
        file = os.open(
            path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (as above)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (as above)
    sys.argv = command
    sys.path[0] = folder  # as `python -m` sets it
    try:
        runpy.run_module("headwater.cli", run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
