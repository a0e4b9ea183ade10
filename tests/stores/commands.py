"""Commands of headwater, as processes."""

from pathlib import Path

from tests.warm_commands import run_command

ROOT = Path(__file__).resolve().parents[2]


def headwater(*arguments):
    """The exit code of a command, and what it says in one line."""
    done = run_command(arguments, ROOT)
    return done.returncode, " ".join(done.stderr.split())


def restore(backup, url):
    return headwater("store", "restore", str(backup), "--store", url, "--yes")
