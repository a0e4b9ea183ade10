"""Answer for features and predictions over HTTP, until it is stopped."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    parser.add_argument(
        "--served",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="the share of requests whose features and predictions are kept in the served log, in --folder; 0 keeps none (default: %(default)s)",
    )
    parser.add_argument("--keep", default="90d", metavar="DURATION", help="how long the served log is kept (default: %(default)s)")
    parser.add_argument(
        "--answers", action="store_true", help="keep what third parties answer, in --folder, as the history that training needs"
    )


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Serve until told to stop."""
    if not 0 <= given.log_sample <= 1:
        raise UsageError(f"--log-sample is {given.log_sample}; give a share from 0 to 1")
    project = load(given.project).project
    from headwater.logs.served import ServedLog
    from headwater.serving.answer_log import AnswerLog
    from headwater.serving.serve import serve

    place = options.place(given)
    with _stopped() as stop, seldom_collected(), ExitStack() as stack:
        served = stack.enter_context(ServedLog(place, sample=given.served, keep=given.keep)) if given.served else None
        answers = AnswerLog(place / "answers") if given.answers else None
        if answers is not None:
            stack.enter_context(answers.running())
        serving = serve(
            project,
            given.store,
            http=given.http,
            models=given.models,
            levels=given.level,
            tokens=given.tokens,
            log=sys.stdout,
            sample=given.log_sample,
            served=served,
            on_answer=None if answers is None else answers.add,
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
