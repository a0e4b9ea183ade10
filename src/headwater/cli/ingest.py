"""Read the streams of a project into its online store, until it is stopped: features are fresh, and each event counts once."""

from __future__ import annotations

import argparse
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headwater import clock
from headwater.cli import options
from headwater.cli.projects import load
from headwater.cli.screen import Screen
from headwater.cli.signals import stopped
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.definitions.project import Project
    from headwater.definitions.source import Source
    from headwater.pipelines.intake import Limits
    from headwater.pipelines.shard import Committed

SUMMARY = "read streams into the online store, and keep features fresh"

_EVERY = 0.5  # seconds between two looks of the live line


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `headwater ingest`."""
    options.project(parser, model=False)
    options.store(parser)
    parser.add_argument("--batch", type=int, default=50_000, metavar="N", help="records in one commit at most (default: %(default)s)")
    parser.add_argument("--linger", type=float, default=0.02, metavar="SECONDS", help="how long to wait for records (default: %(default)s)")
    parser.add_argument(
        "--future", default="1d", metavar="DURATION", help="refuse events later than this after they were received (default: %(default)s)"
    )
    parser.add_argument(
        "--http",
        default="127.0.0.1:8321",
        metavar="HOST:PORT",
        help="where pushed events are received, if a source has them; `none` leaves them to another process (default: %(default)s)",
    )
    options.tokens(parser)
    options.shared_store(parser)
    parser.add_argument("--metrics-port", type=int, metavar="PORT", help="serve numbers for Prometheus at 127.0.0.1:PORT/metrics")
    parser.add_argument("--once", action="store_true", help="end when everything that the streams hold has been committed")
    parser.add_argument("--accept-loss", action="store_true", help="go on where a stream no longer has what is to be read next")
    parser.add_argument(
        "--max-clock-jump",
        default="5m",
        metavar="DURATION",
        help="commit nothing while the wall clock is off by more than this (default: %(default)s)",
    )
    parser.add_argument(
        "--no-broker-clock",
        dest="broker_clock",
        action="store_false",
        help="do not compare the wall clock with those of Kafka's brokers; otherwise a record a minute goes to the topic __headwater_clock",
    )
    parser.add_argument(
        "--keep-filtered",
        default="30d",
        metavar="DURATION",
        help="how long rows that a source's filter leaves out are kept, which `headwater explain` shows; 0s keeps none (default: %(default)s)",
    )
    for name, what in (("archive", "accepted events"), ("dead-letters", "refused records")):
        parser.add_argument(f"--keep-{name}", metavar="DURATION", help=f"how long {what} are kept, such as 400d (default: for good)")
    parser.add_argument(
        "--replay",
        metavar="START..END",
        help="play the sources' histories into a new store instead, by their own clock: two ISO 8601 times",
    )
    parser.add_argument("--speed", type=float, metavar="N", help="with --replay, seconds of it in a second (default: as fast as it can)")
    parser.add_argument(
        "--step", default="1m", metavar="DURATION", help="with --replay, how far its clock goes at once (default: %(default)s)"
    )
    options.catalog(parser)
    parser.add_argument("--allow-unapplied", action="store_true", help="run definitions that the catalog does not hold as they are")


def run(given: argparse.Namespace, screen: Screen) -> None:
    """Ingest until told to stop."""
    project = load(given.project).project
    from headwater.pipelines.intake import Limits
    from headwater.serving.ingesting import ingest

    if given.batch < 1 or given.linger < 0:
        raise UsageError(f"--batch is {given.batch} and --linger {given.linger}; give at least 1 record, and no negative wait")
    limits = Limits(
        batch=given.batch,
        linger=given.linger,
        future=given.future,
        accept_loss=given.accept_loss,
        filtered=given.keep_filtered,
        archive=given.keep_archive,
        dead_letters=given.keep_dead_letters,
        max_clock_jump=given.max_clock_jump,
        broker_clock=given.broker_clock,
    )
    tally = _Tally(screen)
    if given.replay is not None:
        _replay(project, given, limits, tally, screen)
        return
    _announce(project, given, screen)
    with stopped(lambda: screen.say("stopping after this commit; once more stops at once")) as stop, tally.live(), seldom_collected():
        ingest(
            project,
            given.store,
            folder=given.folder,
            limits=limits,
            http=None if given.http == "none" else given.http,
            tokens=given.tokens,
            metrics_port=given.metrics_port,
            once=given.once,
            catalog=given.catalog,
            allow_unapplied=given.allow_unapplied,
            shared=given.allow_shared_store,
            stop=stop,
            on_commit=tally.committed,
            supervised=given.supervised,
        )
    screen.say(str(tally))
    screen.next("headwater", "status", "--project", given.project, *options.same_store(given))


def _announce(project: Project, given: argparse.Namespace, screen: Screen) -> None:
    """Print what is read, and the address for pushed events."""
    from headwater.definitions.streams import Pushed
    from headwater.pipelines.arms import stored
    from headwater.pipelines.intake import streamed

    address = None if given.http == "none" or given.once else given.http
    for source in streamed([one.view for one in stored(project)]):
        where = ""
        if isinstance(source.stream, Pushed):
            where = " by another process" if address is None else f" to http://{address}/v1/events/{source.name}"
        screen.say(f"source {source.name}: {source.stream}{where}")


def _replay(project: Project, given: argparse.Namespace, limits: Limits, tally: _Tally, screen: Screen) -> None:
    """Play histories, as `hw.replay` does."""
    start, dots, end = given.replay.partition("..")
    if not dots or not start or not end:
        raise UsageError(f"--replay is {given.replay!r}; give START..END, such as 2024-05-01T00:00:00Z..2024-05-02T00:00:00Z")
    from headwater.definitions.freshness import Streaming
    from headwater.pipelines.arms import stored
    from headwater.pipelines.replay import replay

    views = [one.view for one in stored(project) if isinstance(one.view.freshness, Streaming)]
    if not views:
        raise UsageError(f"project {project.name!r} has no streaming view to replay; give one freshness=hw.streaming('2s')")
    with stopped(lambda: screen.say("stopping after this commit; once more stops at once")) as stop, tally.live():
        for step in replay(
            views,
            given.store,
            start=start,
            end=end,
            step=given.step,
            speed=given.speed,
            folder=options.place(given),
            limits=limits,
        ):
            for committed in step.committed:
                tally.played(step.now, committed)
            if stop.is_set():
                break
    screen.say(str(tally))
    screen.next("headwater", "parity", "--project", given.project, "--at", end, *options.same_store(given))


class _Tally:
    """What has been committed by this process, for whoever watches."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._counts: Counter[str] = Counter()
        self._left: dict[str, int] = {}
        self._since = clock.stopwatch()
        self._shown = (self._since, 0)
        self._update: Callable[[str], None] | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """A line that says how it goes, where someone watches."""
        with self._screen.live("reading on from what the store holds") as self._update:
            yield

    def committed(self, source: Source, committed: Committed, lag: Mapping[str, int]) -> None:
        """Count a commit."""
        if not self._counts["commits"]:
            self._screen.say(f"the first commit was made after {clock.stopwatch() - self._since:.1f} s")
        self._counts.update(committed.counts)
        self._counts["commits"] += 1
        self._left[source.name] = sum(lag.values())
        now = clock.stopwatch()
        if self._update is not None and now - self._shown[0] > _EVERY:
            rate = (self._counts["records"] - self._shown[1]) / (now - self._shown[0])
            left = ", ".join(f"{name} {n:,}" for name, n in self._left.items())
            self._update(f"{self} · {rate:,.0f} records/s · left to read: {left} · commit {committed.seconds * 1e3:.0f} ms")
            self._shown = (now, self._counts["records"])

    def played(self, now: int, committed: Committed) -> None:
        """Count a commit of a replay, whose clock says `now`."""
        self._counts.update(committed.counts)
        self._counts["commits"] += 1
        if self._update is not None and clock.stopwatch() - self._shown[0] > _EVERY:
            self._update(f"{clock.moment(now).isoformat()} · {self}")
            self._shown = (clock.stopwatch(), self._counts["records"])

    def __str__(self) -> str:
        said = [f"{self._counts['records']:,} records", f"{self._counts['accepted']:,} accepted"]
        said += [f"{n:,} {name}" for name in ("copies", "held", "filtered", "dead", "lost") if (n := self._counts[name])]
        return " · ".join([*said, f"{self._counts['commits']:,} commits"])


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have Python's collector look for cycles seldom, and never among what is there already.

    Records are made by the ten thousand and hold no cycles; at the usual thresholds, each batch has the collector walk through every
    object of every library some dozens of times.
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
