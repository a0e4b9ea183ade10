"""Read the streams of a project into its online store, until it is stopped: features are fresh, and
each event counts once.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.command import Arguments, Verb, option, switch
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.definitions.project import Project
    from headwater.definitions.source import Source
    from headwater.ingestion.committed import Committed
    from headwater.ingestion.source_ingestor import IngestLimits

_EVERY = 0.5  # seconds between two updates of the progress line


def run(args: Arguments, screen: Screen) -> None:
    """Ingest until told to stop."""
    project = load(args.project).project
    from headwater.ingestion.source_ingestor import IngestLimits
    from headwater.serving.process.ingest_process import IngestOptions, ingest

    if args.batch < 1 or args.linger < 0:
        raise UsageError(
            f"--batch is {args.batch} and --linger {args.linger}; give at least 1 record, and no "
            "negative wait"
        )
    limits = IngestLimits(
        batch=args.batch,
        linger=args.linger,
        max_future_skew=args.max_future_skew,
        accept_loss=args.accept_loss,
        filtered=args.keep_filtered,
        archive=args.keep_archive,
        dead_letters=args.keep_dead_letters,
        max_clock_jump=args.max_clock_jump,
        broker_clock=not args.no_broker_clock,
    )
    tally = _CommitCounter(screen)
    if args.replay is not None:
        _replay(project, args, limits, tally, screen)
        return
    _announce(project, args, screen)
    with (
        stopped(
            lambda: screen.say("stopping after this commit; a second signal stops immediately")
        ) as stop,
        tally.live(),
        seldom_collected(),
    ):
        ingest(
            project,
            args.store,
            data_dir=args.data_dir,
            limits=limits,
            listen=None if args.listen == "none" else args.listen,
            once=args.once,
            stop=stop,
            options=IngestOptions(
                tokens=args.tokens,
                metrics_port=args.metrics_port,
                catalog=args.catalog,
                allow_unapplied=args.allow_unapplied,
                shared=args.allow_shared_store,
                on_commit=tally.committed,
                supervised=args.supervised,
            ),
        )
    screen.say(str(tally))
    screen.next("headwater", "status", "--project", args.project, *options.same_store(args))


def _announce(project: Project, args: Arguments, screen: Screen) -> None:
    """Print the streams, and the address for pushed events."""
    from headwater.definitions.connectors import Pushed
    from headwater.definitions.project import stored
    from headwater.definitions.spark_stream import SparkStream
    from headwater.ingestion.source_ingestor import streamed

    address = None if args.listen == "none" or args.once else args.listen
    views = [stored_view.view for stored_view in stored(project)]
    for source in streamed(views):
        note = " commits by itself" if isinstance(source.stream, SparkStream) else ""
        if isinstance(source.stream, Pushed):
            note = (
                " by another process"
                if address is None
                else f" to http://{address}/v1/events/{source.name}"
            )
        screen.say(f"source {source.name}: {source.stream}{note}")
        if isinstance(source.stream, Pushed) and address is not None:
            from headwater.monitoring.example_requests import push_command

            views_of_source = [
                view.root
                for view in views
                if view.root.source == source and view.freshness.streamed
            ]
            if command := push_command(
                source,
                views_of_source,
                f"http://{address}",
                tokens=options.tokens_file(args).exists(),
            ):
                screen.command(command)
    if args.supervised is None and not args.once:
        screen.say("to predict, in another terminal:")
        screen.next("headwater", "serve", "--project", args.project, *options.same_store(args))


def _replay(
    project: Project, args: Arguments, limits: IngestLimits, tally: _CommitCounter, screen: Screen
) -> None:
    """Replay histories, as `hw.operations.replay` does."""
    start, dots, end = args.replay.partition("..")
    if not dots or not start or not end:
        raise UsageError(
            f"--replay is {args.replay!r}; give START..END, such as "
            "2024-05-01T00:00:00Z..2024-05-02T00:00:00Z"
        )
    from headwater.definitions.project import stored
    from headwater.ingestion.replay import replay

    views = [
        stored_view.view for stored_view in stored(project) if stored_view.view.freshness.streamed
    ]
    if not views:
        raise UsageError(
            f"project {project.name!r} has no streaming view to replay; give one "
            "freshness=hw.streaming('2s')"
        )
    with (
        stopped(
            lambda: screen.say("stopping after this commit; a second signal stops immediately")
        ) as stop,
        tally.live(),
    ):
        for step in replay(
            views,
            args.store,
            start=start,
            end=end,
            step=args.step,
            speed=args.speed,
            data_dir=options.data_dir(args),
            limits=limits,
        ):
            for committed in step.committed:
                tally.played(step.now, committed)
            if stop.is_set():
                break
    screen.say(str(tally))
    screen.next(
        "headwater", "parity", "--project", args.project, "--at", end, *options.same_store(args)
    )


class _CommitCounter:
    """Counts of this process's commits, for the progress line and the summary."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._counts: Counter[str] = Counter()
        self._lag: dict[str, int] = {}
        self._since = clock.stopwatch()
        self._shown = (self._since, 0)
        self._update: Callable[[str], None] | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """A progress line, on a terminal."""
        with self._screen.live("continuing from the offsets in the store") as self._update:
            yield

    def committed(self, source: Source, committed: Committed, lag: Mapping[str, int]) -> None:
        """Count a commit."""
        if not self._counts["commits"]:
            self._screen.say(
                f"the first commit was made after {clock.stopwatch() - self._since:.1f} s"
            )
        self._counts.update(committed.counts)
        self._counts["commits"] += 1
        self._lag[source.name] = sum(lag.values())
        now = clock.stopwatch()
        if self._update is not None and now - self._shown[0] > _EVERY:
            rate = (self._counts["records"] - self._shown[1]) / (now - self._shown[0])
            lags = ", ".join(f"{name} {n:,}" for name, n in self._lag.items())
            self._update(
                f"{self} · {rate:,.0f} records/s · left to read: {lags} · commit "
                f"{committed.seconds * 1e3:.0f} ms"
            )
            self._shown = (now, self._counts["records"])

    def played(self, now: int, committed: Committed) -> None:
        """Count a commit of a replay; `now` is the replay's time."""
        self._counts.update(committed.counts)
        self._counts["commits"] += 1
        if self._update is not None and clock.stopwatch() - self._shown[0] > _EVERY:
            self._update(f"{clock.timestamp(now).isoformat()} · {self}")
            self._shown = (clock.stopwatch(), self._counts["records"])

    def __str__(self) -> str:
        parts = [f"{self._counts['records']:,} records", f"{self._counts['accepted']:,} accepted"]
        parts += [
            f"{n:,} {name}"
            for name in ("copies", "held", "filtered", "dead", "lost")
            if (n := self._counts[name])
        ]
        return " · ".join([*parts, f"{self._counts['commits']:,} commits"])


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Run Python's garbage collector rarely, and exclude existing objects from it.

    Batches have tens of thousands of records without reference cycles; at the default thresholds,
    the collector would scan all objects of all libraries dozens of times a batch.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


COMMAND = Verb(
    run,
    [
        *options.project(model=False),
        *options.store(),
        option(
            "--batch",
            metavar="N",
            type=int,
            default=50_000,
            help="records in one commit at most (default: {default})",
        ),
        option(
            "--linger",
            metavar="SECONDS",
            type=float,
            default=0.02,
            help="how long to wait for records (default: {default})",
        ),
        option(
            "--max-future-skew",
            metavar="DURATION",
            default="1d",
            help="refuse events later than this after they were received (default: {default})",
        ),
        option(
            "--listen",
            metavar="HOST:PORT",
            default="127.0.0.1:8321",
            help=(
                "address for pushed events, if a source has them; `none` leaves them to another "
                "process (default: {default})"
            ),
        ),
        *options.tokens(),
        *options.shared_store(),
        option(
            "--metrics-port",
            metavar="PORT",
            type=int,
            help="serve metrics for Prometheus at 127.0.0.1:PORT/metrics",
        ),
        switch("--once", help="end when all records of the streams have been committed"),
        switch(
            "--accept-loss",
            help="continue after records that a stream no longer has; they are lost",
        ),
        option(
            "--max-clock-jump",
            metavar="DURATION",
            default="5m",
            help=(
                "commit nothing while the wall clock is off by more than this (default: {default})"
            ),
        ),
        switch(
            "--no-broker-clock",
            help=(
                "do not compare the wall clock with those of Kafka's brokers; otherwise a record "
                "a minute goes to the topic __headwater_clock"
            ),
        ),
        option(
            "--keep-filtered",
            metavar="DURATION",
            default="30d",
            help=(
                "how long rows that a source's filter leaves out are kept, which `headwater "
                "explain` shows; 0s keeps none (default: {default})"
            ),
        ),
        option(
            "--keep-archive",
            metavar="DURATION",
            help="how long accepted events are kept, such as 400d (default: for good)",
        ),
        option(
            "--keep-dead-letters",
            metavar="DURATION",
            help="how long refused records are kept, such as 400d (default: for good)",
        ),
        option(
            "--replay",
            metavar="START..END",
            help=(
                "replay the histories of the sources into a new store, by their own clock: two "
                "ISO 8601 times"
            ),
        ),
        option(
            "--speed",
            metavar="N",
            type=float,
            help="with --replay, seconds of history in a second (default: as fast as it can)",
        ),
        option(
            "--step",
            metavar="DURATION",
            default="1m",
            help="with --replay, the step of its clock (default: {default})",
        ),
        *options.catalog(),
        switch("--allow-unapplied", help="run definitions that differ from the catalog"),
    ],
    help=__doc__,
    examples=[
        "headwater ingest",
        "headwater ingest --listen 127.0.0.1:8321  # where events are pushed",
    ],
)
