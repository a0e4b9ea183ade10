"""Answer for features and predictions over HTTP, until it is stopped."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from headwater import settings
from headwater.cli import options
from headwater.cli.ingest import seldom_collected
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.serving.child_process import Wanted

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
        "--forward-to",
        action="append",
        default=[],
        metavar="HOST",
        help="a host besides this machine that pushed events may be forwarded to, where it ingests; once for each",
    )
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
    parser.add_argument("--keep-outcomes", metavar="DURATION", help="how long posted outcomes are kept, such as 400d (default: for good)")
    parser.add_argument(
        "--answers", action="store_true", help="keep what third parties answer, in --folder, as the history that training needs"
    )
    more = parser.add_argument_group("several processes under this one, each started again when it dies")
    more.add_argument("--workers", type=int, metavar="N", help="answer by so many processes, which share the address")
    more.add_argument(
        "--ingest", nargs="?", const="", metavar="OPTIONS", help="also run `headwater ingest`, with these options of its own in one text"
    )
    more.add_argument(
        "--materialize",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="also run `headwater materialize --watch --all`, with these options of its own in one text, such as --materialize='--memory 4GB'",
    )
    more.add_argument(
        "--grace", type=float, default=10.0, metavar="SECONDS", help="how long each process may take to end (default: %(default)s)"
    )
    more.add_argument(
        "--start-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long a worker may take until it says how it stands, and one that replaces another until it is ready (default: %(default)s)",
    )
    more.add_argument(
        "--liveness-timeout",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="how long the event loop of a worker may take to answer the supervisor before the worker is replaced (default: %(default)s)",
    )


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Serve until told to stop."""
    if not 0 <= given.log_sample <= 1:
        raise UsageError(f"--log-sample is {given.log_sample}; give a share from 0 to 1")
    if given.supervised is None and (given.workers, given.ingest, given.materialize) != (None, None, None):
        _supervise(given, screen)
        return
    project = load(given.project).project
    from headwater.logs.retention import outcomes_kept
    from headwater.logs.served import ServedLog
    from headwater.serving.answer_log import AnswerLog
    from headwater.serving.serve import serve

    place = options.place(given)
    with stopped() as stop, seldom_collected(), ExitStack() as stack:
        served = stack.enter_context(ServedLog(place, sample=given.served, keep=given.keep)) if given.served else None
        stack.enter_context(outcomes_kept(place, given.keep_outcomes))
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
            forward_to=given.forward_to,
            log=sys.stdout,
            sample=given.log_sample,
            served=served,
            on_answer=None if answers is None else answers.add,
            folder=given.folder,
            trust=given.trust,
            supervised=given.supervised,
        )
        with serving as url:
            if given.supervised is None:
                screen.say(f"serving {project.name} at {url}; see {url}/docs")
            stop.wait()
            if given.supervised is None:
                screen.say("stopping")
    if given.supervised is not None:
        return
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def _supervise(given: argparse.Namespace, screen: Screen) -> None:
    """Serve by several processes until told to stop."""
    from headwater.serving.access import check_bind
    from headwater.serving.child_process import Timeouts
    from headwater.serving.ingesting import address
    from headwater.serving.server import open_listener
    from headwater.serving.supervisor import Supervisor
    from headwater.serving.systemd import Notifier

    workers = 1 if given.workers is None else given.workers
    timeouts = Timeouts(given.grace, given.start_timeout, given.liveness_timeout)
    if workers < 1 or not given.grace > 0:
        raise UsageError(f"--workers is {given.workers} and --grace {given.grace}; give at least one worker, and some seconds")
    if not timeouts.start > 0 or not timeouts.silence > 0:
        raise UsageError(f"--start-timeout is {timeouts.start} and --liveness-timeout {timeouts.silence}; give some seconds for each")
    host, port = address(given.http)
    tokens = options.tokens_file(given)
    check_bind(host, tokens if given.tokens is not None or tokens.exists() else None)
    wanted = list(_wanted(given, workers))
    with closing(open_listener(host, port)) as door:
        screen.say(f"{', '.join(one.name for one in wanted)} at http://{given.http}; ready when /readyz says so")
        notifier = Notifier(settings.notify_socket())
        code = Supervisor(wanted, door=door, say=screen.say, timeouts=timeouts, notifier=notifier).run()
    if code:
        raise UsageError("a process was called wrongly; what it said stands above")
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def _wanted(given: argparse.Namespace, workers: int) -> Iterator[Wanted]:
    """The command lines of the processes; those that fill the store first."""
    from headwater.serving.child_process import Wanted

    store = [f"{flag}={value}" for flag, value in (("--store", given.store), ("--folder", given.folder)) if value is not None]
    common = [f"--project={given.project}", *store, *(["--debug"] if given.debug else [])]
    models = [f"--models={given.models}"] if given.models is not None else []
    trust = ["--trust"] if given.trust else []
    tokens = [f"--tokens={given.tokens}"] if given.tokens is not None else []
    if given.ingest is not None:
        yield Wanted("ingest", ["ingest", *common, *tokens, *shlex.split(given.ingest)])
    if given.materialize is not None:
        yield Wanted("materialize", ["materialize", "--watch", "--all", *common, *models, *trust, *shlex.split(given.materialize)])
    levels = [f"--level={name}" for name in given.level]
    forward = [f"--forward-to={host}" for host in given.forward_to]
    logs = [
        f"--log-sample={given.log_sample}",
        f"--served={given.served}",
        f"--keep={given.keep}",
        *([f"--keep-outcomes={given.keep_outcomes}"] if given.keep_outcomes is not None else []),
        *(["--answers"] if given.answers else []),
    ]
    own = [f"--http={given.http}", *logs, *models, *trust, *levels, *tokens, *forward]
    for n in range(workers):
        yield Wanted(f"worker {n + 1}", ["serve", *common, *own], worker=True)
