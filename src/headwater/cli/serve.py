"""Answer for features and predictions over HTTP, until it is stopped."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from headwater.cli import options
from headwater.cli.ingest import seldom_collected
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.errors import UsageError

SUMMARY = "answer for features and predictions over HTTP"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater serve`."""
    options.project(parser, model=False)
    options.store(parser)
    parser.add_argument("--http", default="127.0.0.1:8320", metavar="HOST:PORT", help="where to listen (default: %(default)s)")
    options.models(parser)
    parser.add_argument("--trust", action="store_true", help="load models in formats that run code when they are loaded, such as pickle")
    parser.add_argument(
        "--level",
        action="append",
        default=[],
        metavar="NAME",
        help="a level of the project that has to be ready too; once for each. Any level of the project can be asked for",
    )
    options.tokens(parser)
    parser.add_argument(
        "--log-sample",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="the share of good answers that get a line in the log, on standard output; every other answer gets one (default: %(default)s)",
    )


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Serve until told to stop."""
    if not 0 <= given.log_sample <= 1:
        raise UsageError(f"--log-sample is {given.log_sample}; give a share from 0 to 1")
    project = load(given.project).project
    from headwater.serving.serve import serve

    with _stopped() as stop, seldom_collected():
        serving = serve(
            project,
            given.store,
            http=given.http,
            models=given.models,
            levels=given.level,
            tokens=given.tokens,
            log=sys.stdout,
            sample=given.log_sample,
            folder=given.folder,
            trust=given.trust,
        )
        with serving as url:
            screen.say(f"serving {project.name} at {url}; see {url}/docs")
            stop.wait()
            screen.say("stopping")
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """An event that is set by the first signal to end; the second one ends the process at once."""
    stop = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for one in signals:
            signal.signal(one, signal.SIG_DFL)

    before = {one: signal.signal(one, told) for one in signals}
    try:
        yield stop
    finally:
        for one, old in before.items():
            signal.signal(one, old)
