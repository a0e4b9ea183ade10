"""Serve features and predictions over HTTP, until stopped."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from headwater import settings
from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, optional, section, several, switch
from headwater.cli.ingest import seldom_collected
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped
from headwater.errors import UsageError
from headwater.terminal.standard_streams import STDOUT

if TYPE_CHECKING:
    from headwater.serving.process.child_process import ProcessSpec


def run(args: Arguments, screen: Screen) -> None:
    """Serve until stopped."""
    if not 0 <= args.log_sample <= 1:
        raise UsageError(f"--log-sample is {args.log_sample}; give a share from 0 to 1")
    if args.ship_logs is not None and not args.serving_log_sample:
        raise UsageError(
            "--ship-logs ships the serving log, and --serving-log-sample 0 keeps none; give a "
            "larger share, or no --ship-logs"
        )
    if args.ship_logs is not None and settings.reads() is not None:
        screen.say(
            "logs are not shipped: this is a development environment, and production's logs may "
            "be there"
        )
        args.ship_logs = None
    if args.supervised is None and (
        (args.workers, args.ingest, args.materialize) != (None, None, None) or args.console == ""
    ):
        _supervise(args, screen)
        return
    project = load(args.project).project
    from headwater.experiments.exposure_retention import exposures_kept
    from headwater.journal.retention import outcomes_kept
    from headwater.journal.serving_log import ServedLog
    from headwater.models.experiment_store import ExperimentStore
    from headwater.serving.serve import ServeOptions, serve
    from headwater.serving.third_party.response_log import AnswerLog

    folder = options.data_dir(args)
    with stopped() as stop, seldom_collected(), ExitStack() as stack:
        served = None
        if args.serving_log_sample:
            log = ServedLog(
                folder,
                sample=args.serving_log_sample,
                keep=args.keep,
                ship_to=args.ship_logs,
                ship_buffer=args.ship_buffer,
            )
            served = stack.enter_context(log)
        stack.enter_context(outcomes_kept(folder, args.keep_outcomes))
        stack.enter_context(exposures_kept(folder, ExperimentStore(args.models), args.keep))
        answers = AnswerLog(folder) if args.log_third_party else None
        if answers is not None:
            stack.enter_context(answers.running())
        serving = serve(
            project,
            args.store,
            listen=args.listen,
            models=args.models,
            levels=args.level,
            tokens=args.tokens,
            data_dir=args.data_dir,
            options=ServeOptions(
                forward_to=args.forward_to,
                log=STDOUT.file,
                log_sample=args.log_sample,
                serving_log=served,
                on_third_party=None if answers is None else answers.add,
                allow_pickle=args.allow_pickle,
                supervised=args.supervised,
                console=args.console,
                traces=args.traces,
            ),
        )
        with serving as url:
            if args.supervised is None:
                from headwater.monitoring.example_requests import prediction_command

                screen.say(f"serving {project.name} at {url}; see {url}/docs")
                if command := prediction_command(
                    project, url, tokens=options.tokens_file(args).exists()
                ):
                    screen.command(command)
            stop.wait()
            if args.supervised is None:
                screen.say("stopping")
    if args.supervised is not None:
        return
    screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


def _supervise(args: Arguments, screen: Screen) -> None:
    """Serve with several processes until stopped."""
    from headwater.serving.http.auth import check_bind
    from headwater.serving.process.child_process import Timeouts
    from headwater.serving.process.ingest_process import address
    from headwater.serving.process.listening_socket import open_listener
    from headwater.serving.process.supervisor import Supervisor
    from headwater.serving.process.systemd import Notifier

    workers = 1 if args.workers is None else args.workers
    timeouts = Timeouts(args.graceful_timeout, args.start_timeout, args.liveness_timeout)
    if workers < 1 or not args.graceful_timeout > 0:
        raise UsageError(
            f"--workers is {args.workers} and --graceful-timeout {args.graceful_timeout}; give at "
            "least one worker, and a timeout above 0 seconds"
        )
    if not timeouts.start > 0 or not timeouts.silence > 0:
        raise UsageError(
            f"--start-timeout is {timeouts.start} and --liveness-timeout {timeouts.silence}; give "
            "seconds above 0 for both"
        )
    host, port = address(args.listen)
    tokens = options.tokens_file(args)
    check_bind(host, tokens if args.tokens is not None or tokens.exists() else None)
    with closing(open_listener(host, port)) as listener, ExitStack() as stack:
        console = (
            stack.enter_context(closing(open_listener("127.0.0.1", 0)))
            if args.console == ""
            else None
        )
        specs = list(_specs(args, workers, console))
        screen.say(
            f"{', '.join(spec.name for spec in specs)} at http://{args.listen}; ready when "
            "/readyz says so"
        )
        notifier = Notifier(settings.notify_socket())
        code = Supervisor(
            specs, listener=listener, say=screen.say, timeouts=timeouts, notifier=notifier
        ).run()
    if code:
        raise UsageError("a process of the service cannot start; its output above says why")
    screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


def _specs(args: Arguments, workers: int, console: socket.socket | None) -> Iterator[ProcessSpec]:
    """The processes to run: ingestion, jobs and the console first, then the workers. console: the
    socket that it listens on.
    """
    from headwater.serving.process.child_process import ProcessSpec

    given_flags = (("--store", args.store), ("--data-dir", args.data_dir), ("--reads", args.reads))
    store = [f"{flag}={value}" for flag, value in given_flags if value is not None]
    common = [f"--project={args.project}", *store, *(["--debug"] if args.debug else [])]
    models = [f"--models={args.models}"] if args.models is not None else []
    pickles = ["--allow-pickle"] if args.allow_pickle else []
    tokens = [f"--tokens={args.tokens}"] if args.tokens is not None else []
    if args.ingest is not None:
        yield ProcessSpec("ingest", ["ingest", *common, *tokens, *shlex.split(args.ingest)])
    if args.materialize is not None:
        yield ProcessSpec(
            "materialize",
            [
                "materialize",
                "--watch",
                "--all",
                *common,
                *models,
                *pickles,
                *shlex.split(args.materialize),
            ],
        )
    at = args.console
    if console is not None:
        at = f"127.0.0.1:{console.getsockname()[1]}"
        yield ProcessSpec(
            "console", ["console", *common, *models, *tokens, f"--listen={at}"], listener=console
        )
    levels = [f"--level={name}" for name in args.level]
    forward = [f"--forward-to={host}" for host in args.forward_to]
    logs = [
        f"--log-sample={args.log_sample}",
        f"--serving-log-sample={args.serving_log_sample}",
        f"--keep={args.keep}",
        *([f"--keep-outcomes={args.keep_outcomes}"] if args.keep_outcomes is not None else []),
        *(
            [f"--ship-logs={args.ship_logs}", f"--ship-buffer={args.ship_buffer}"]
            if args.ship_logs is not None
            else []
        ),
        *(["--log-third-party"] if args.log_third_party else []),
    ]
    shown = [] if at is None else [f"--console={at}"]
    traces = (
        [] if args.traces is None else [f"--traces={args.traces}"] if args.traces else ["--traces"]
    )
    worker_options = [
        f"--listen={args.listen}",
        *shown,
        *logs,
        *traces,
        *models,
        *pickles,
        *levels,
        *tokens,
        *forward,
    ]
    for n in range(workers):
        yield ProcessSpec(f"worker {n + 1}", ["serve", *common, *worker_options], worker=True)


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.store(),
        option(
            "--listen",
            metavar="HOST:PORT",
            default="127.0.0.1:8320",
            help="where to listen (default: {default})",
        ),
        *options.models(),
        *options.allow_pickle(),
        several(
            "--level",
            metavar="NAME",
            help=(
                "a level of the project that must be ready; repeatable. Requests may use any "
                "level of the project"
            ),
        ),
        *options.tokens(),
        several(
            "--forward-to",
            metavar="HOST",
            help="a host besides this machine that pushed events may be forwarded to; repeatable",
        ),
        option(
            "--log-sample",
            metavar="SHARE",
            type=float,
            default=1.0,
            help=(
                "the share of responses below status 400 in the access log, on standard output; "
                "all others are logged (default: {default})"
            ),
        ),
        option(
            "--serving-log-sample",
            metavar="SHARE",
            type=float,
            default=1.0,
            help=(
                "the share of requests whose features and predictions are kept in the serving "
                "log, in --data-dir; 0 keeps none (default: {default})"
            ),
        ),
        option(
            "--keep",
            metavar="DURATION",
            default="90d",
            help=(
                "how long the serving log is kept; exposures, so long after the last outcome of "
                "their experiment is known (default: {default})"
            ),
        ),
        option(
            "--keep-outcomes",
            metavar="DURATION",
            help="how long posted outcomes are kept, such as 400d (default: for good)",
        ),
        option(
            "--ship-logs",
            metavar="URL",
            help=(
                "ship the serving log, outcomes and exposures, each file when it is complete: "
                "s3://bucket/folder, gs://, az:// or file:///folder; `headwater logs fetch` "
                "brings those of all machines together"
            ),
        ),
        option(
            "--ship-buffer",
            metavar="SIZE",
            default="10GB",
            help=(
                "with --ship-logs: how large the serving log on this machine may be; the oldest "
                "files are deleted, and those that were not shipped are counted (default: "
                "{default})"
            ),
        ),
        switch(
            "--log-third-party",
            help=(
                "keep responses of third parties, in --data-dir, as the history that training needs"
            ),
        ),
        optional(
            "--traces",
            metavar="URL",
            help=(
                "send a span of each request to this collector, by OTLP over HTTP; needs the "
                "extra otel (default without URL: OTEL_EXPORTER_OTLP_ENDPOINT, else this machine)"
            ),
        ),
        *section(
            "Several processes under a supervisor, each restarted when it dies",
            [
                option(
                    "--workers",
                    metavar="N",
                    type=int,
                    help="number of processes that serve requests, which share the address",
                ),
                optional(
                    "--ingest",
                    metavar="OPTIONS",
                    help="also run `headwater ingest`, with its options in one string",
                ),
                optional(
                    "--materialize",
                    metavar="OPTIONS",
                    help=(
                        "also run `headwater materialize --watch --all`, with its options in one "
                        "string, such as --materialize='--memory 4GB'"
                    ),
                ),
                optional(
                    "--console",
                    metavar="HOST:PORT",
                    help=(
                        "also serve the console, under /console: in a process of its own with low "
                        "priority; or, with HOST:PORT, a `headwater console` that runs there"
                    ),
                ),
                option(
                    "--graceful-timeout",
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
                    help=(
                        "how long a worker may take until its first report, and a replacement "
                        "until it is ready (default: {default})"
                    ),
                ),
                option(
                    "--liveness-timeout",
                    metavar="SECONDS",
                    type=float,
                    default=20.0,
                    help=(
                        "how long the event loop of a worker may take to answer the supervisor "
                        "before the worker is replaced (default: {default})"
                    ),
                ),
            ],
        ),
    ],
    help=__doc__,
    examples=["headwater serve", "headwater serve --workers 2 --ingest --materialize"],
)
