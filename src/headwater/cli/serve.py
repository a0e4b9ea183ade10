"""Answer for features and predictions over HTTP, until it is stopped."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from headwater import settings
from headwater.cli import options
from headwater.cli.command import Given, Verb, option, optional, section, several, switch
from headwater.cli.ingest import seldom_collected
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.serving.process.child_process import ProcessSpec


def run(given: Given, screen: Screen) -> None:
    """Serve until told to stop."""
    if not 0 <= given.log_sample <= 1:
        raise UsageError(f"--log-sample is {given.log_sample}; give a share from 0 to 1")
    if given.supervised is None and (given.workers, given.ingest, given.materialize) != (None, None, None):
        _supervise(given, screen)
        return
    project = load(given.project).project
    from headwater.logs.retention import outcomes_kept
    from headwater.logs.serving_log import ServedLog
    from headwater.serving.serve import serve
    from headwater.serving.third_party.response_log import AnswerLog

    place = options.data_dir(given)
    with stopped() as stop, seldom_collected(), ExitStack() as stack:
        served = (
            stack.enter_context(ServedLog(place, sample=given.serving_log_sample, keep=given.keep)) if given.serving_log_sample else None
        )
        stack.enter_context(outcomes_kept(place, given.keep_outcomes))
        answers = AnswerLog(place / "answers") if given.log_third_party else None
        if answers is not None:
            stack.enter_context(answers.running())
        serving = serve(
            project,
            given.store,
            http=given.listen,
            models=given.models,
            levels=given.level,
            tokens=given.tokens,
            forward_to=given.forward_to,
            log=sys.stdout,
            sample=given.log_sample,
            served=served,
            on_answer=None if answers is None else answers.add,
            folder=given.data_dir,
            trust=given.allow_pickle,
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


def _supervise(given: Given, screen: Screen) -> None:
    """Serve by several processes until told to stop."""
    from headwater.serving.http.auth import check_bind
    from headwater.serving.process.child_process import Timeouts
    from headwater.serving.process.ingest_process import address
    from headwater.serving.process.supervisor import Supervisor
    from headwater.serving.process.systemd import Notifier
    from headwater.serving.process.uvicorn_server import open_listener

    workers = 1 if given.workers is None else given.workers
    timeouts = Timeouts(given.graceful_timeout, given.start_timeout, given.liveness_timeout)
    if workers < 1 or not given.graceful_timeout > 0:
        raise UsageError(
            f"--workers is {given.workers} and --graceful-timeout {given.graceful_timeout}; give at least one worker, and some seconds"
        )
    if not timeouts.start > 0 or not timeouts.silence > 0:
        raise UsageError(f"--start-timeout is {timeouts.start} and --liveness-timeout {timeouts.silence}; give some seconds for each")
    host, port = address(given.listen)
    tokens = options.tokens_file(given)
    check_bind(host, tokens if given.tokens is not None or tokens.exists() else None)
    specs = list(_specs(given, workers))
    with closing(open_listener(host, port)) as listener:
        screen.say(f"{', '.join(one.name for one in specs)} at http://{given.listen}; ready when /readyz says so")
        notifier = Notifier(settings.notify_socket())
        code = Supervisor(specs, listener=listener, say=screen.say, timeouts=timeouts, notifier=notifier).run()
    if code:
        raise UsageError("a process was called wrongly; what it said stands above")
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def _specs(given: Given, workers: int) -> Iterator[ProcessSpec]:
    """The command lines of the processes; those that fill the store first."""
    from headwater.serving.process.child_process import ProcessSpec

    store = [f"{flag}={value}" for flag, value in (("--store", given.store), ("--data-dir", given.data_dir)) if value is not None]
    common = [f"--project={given.project}", *store, *(["--debug"] if given.debug else [])]
    models = [f"--models={given.models}"] if given.models is not None else []
    trust = ["--allow-pickle"] if given.allow_pickle else []
    tokens = [f"--tokens={given.tokens}"] if given.tokens is not None else []
    if given.ingest is not None:
        yield ProcessSpec("ingest", ["ingest", *common, *tokens, *shlex.split(given.ingest)])
    if given.materialize is not None:
        yield ProcessSpec("materialize", ["materialize", "--watch", "--all", *common, *models, *trust, *shlex.split(given.materialize)])
    levels = [f"--level={name}" for name in given.level]
    forward = [f"--forward-to={host}" for host in given.forward_to]
    logs = [
        f"--log-sample={given.log_sample}",
        f"--serving-log-sample={given.serving_log_sample}",
        f"--keep={given.keep}",
        *([f"--keep-outcomes={given.keep_outcomes}"] if given.keep_outcomes is not None else []),
        *(["--log-third-party"] if given.log_third_party else []),
    ]
    own = [f"--listen={given.listen}", *logs, *models, *trust, *levels, *tokens, *forward]
    for n in range(workers):
        yield ProcessSpec(f"worker {n + 1}", ["serve", *common, *own], worker=True)


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.store(),
        option("--listen", old="--http", metavar="HOST:PORT", default="127.0.0.1:8320", help="where to listen (default: {default})"),
        *options.models(),
        *options.allow_pickle(),
        several(
            "--level",
            metavar="NAME",
            help="a level of the project that has to be ready too; once for each. Any level of the project can be asked for",
        ),
        *options.tokens(),
        several(
            "--forward-to",
            metavar="HOST",
            help="a host besides this machine that pushed events may be forwarded to, where it ingests; once for each",
        ),
        option(
            "--log-sample",
            metavar="SHARE",
            type=float,
            default=1.0,
            help="the share of good answers that get a line in the log, on standard output; every other answer gets one (default: "
            "{default})",
        ),
        option(
            "--serving-log-sample",
            old="--served",
            metavar="SHARE",
            type=float,
            default=1.0,
            help="the share of requests whose features and predictions are kept in the served log, in --data-dir; 0 keeps none "
            "(default: {default})",
        ),
        option("--keep", metavar="DURATION", default="90d", help="how long the served log is kept (default: {default})"),
        option("--keep-outcomes", metavar="DURATION", help="how long posted outcomes are kept, such as 400d (default: for good)"),
        switch(
            "--log-third-party", old="--answers", help="keep what third parties answer, in --data-dir, as the history that training needs"
        ),
        *section(
            "Several processes under this one, each started again when it dies",
            [
                option("--workers", metavar="N", type=int, help="answer by so many processes, which share the address"),
                optional("--ingest", metavar="OPTIONS", help="also run `headwater ingest`, with these options of its own in one text"),
                optional(
                    "--materialize",
                    metavar="OPTIONS",
                    help="also run `headwater materialize --watch --all`, with these options of its own in one text, such as "
                    "--materialize='--memory 4GB'",
                ),
                option(
                    "--graceful-timeout",
                    old="--grace",
                    metavar="SECONDS",
                    type=float,
                    default=10.0,
                    help="how long each process may take to end (default: {default})",
                ),
                option(
                    "--start-timeout",
                    metavar="SECONDS",
                    type=float,
                    default=300.0,
                    help="how long a worker may take until it says how it stands, and one that replaces another until it is ready "
                    "(default: {default})",
                ),
                option(
                    "--liveness-timeout",
                    metavar="SECONDS",
                    type=float,
                    default=20.0,
                    help="how long the event loop of a worker may take to answer the supervisor before the worker is replaced (default: "
                    "{default})",
                ),
            ],
        ),
    ],
    help=__doc__,
)
