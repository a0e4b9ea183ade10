"""Metrics of ingestion and jobs, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from headwater import clock
from headwater.definitions.source import Source
from headwater.errors import UsageError
from headwater.ingestion.committed import Committed
from headwater.jobs.schedule import JobResult

_TOTALS: Final = {
    "records": "records read",
    "accepted": "events accepted",
    "released": "held events released at their event time",
    "held": "events held until their event time",
    "copies": "duplicates of accepted events",
    "conflicts": "duplicates that differ from the accepted event",
    "late": "accepted events older than one accepted before",
    "outside": "accepted events older than every window",
    "filtered": "events that the source's filter leaves out",
    "dead": "records refused",
    "unexpected": "events that break an expectation of their source",
    "refused_again": "refused records that were sent again",
    "lost": "records deleted before they were read",
}
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class JobMetrics:
    """The metrics of the jobs of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._successes = Counter(
            "headwater_job_successes", "successful runs of a job", ["job"], registry=self.registry
        )
        self._failures = Counter(
            "headwater_job_failures", "failed runs of a job", ["job"], registry=self.registry
        )
        self._at = Gauge(
            "headwater_job_last_success_timestamp_seconds",
            "time of the last successful run of a job",
            ["job"],
            registry=self.registry,
        )

    def done(self, done: JobResult) -> None:
        """Count a run of a job."""
        self._failures.labels(done.name).inc(done.error is not None)
        self._successes.labels(done.name).inc(done.error is None)
        if done.error is None:
            self._at.labels(done.name).set(clock.now_micros() / 1e6)


class IngestMetrics:
    """The metrics of ingestion in one process; `committed` is an `OnCommit`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._totals = {
            name: Counter(f"headwater_{name}", documentation, ["source"], registry=self.registry)
            for name, documentation in _TOTALS.items()
        }
        self._commits = Counter(
            "headwater_commits", "commits made", ["source"], registry=self.registry
        )
        self._seconds = Histogram(
            "headwater_commit_seconds",
            "seconds a commit took",
            ["source"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._lag = Gauge(
            "headwater_lag",
            "records, or bytes of files, that are not read yet",
            ["source", "partition"],
            registry=self.registry,
        )
        self._at = Gauge(
            "headwater_last_commit_timestamp_seconds",
            "time of the last commit",
            ["source"],
            registry=self.registry,
        )
        self._known_timestamp = Gauge(
            "headwater_known_timestamp_seconds",
            "everything received by this time is readable",
            ["source"],
            registry=self.registry,
        )
        self._partitions: dict[str, set[str]] = {}

    def committed(self, source: Source, committed: Committed, lag: Mapping[str, int]) -> None:
        """Count a commit."""
        for name, counted in self._totals.items():
            counted.labels(source.name).inc(committed.counts.get(name, 0))
        self._commits.labels(source.name).inc()
        self._seconds.labels(source.name).observe(committed.seconds)
        self._at.labels(source.name).set(committed.at / 1e6)
        self._known_timestamp.labels(source.name).set(committed.known / 1e6)
        for partition in self._partitions.get(source.name, set()) - set(lag):
            self._lag.remove(source.name, partition)
        for partition, behind in lag.items():
            self._lag.labels(source.name, partition).set(behind)
        self._partitions[source.name] = set(lag)

    @contextmanager
    def served(self, port: int) -> Iterator[IngestMetrics]:
        """Serve the metrics at 127.0.0.1 while the context lasts.

        Raises:
            UsageError: the port is in use.
        """
        try:
            server, thread = start_http_server(port, "127.0.0.1", self.registry)
        except OSError as error:
            raise UsageError(
                f"cannot serve metrics at 127.0.0.1:{port}: {error.strerror}; give another "
                "--metrics-port"
            ) from error
        self._age = Gauge(
            "headwater_up_since_timestamp_seconds", "start of ingestion", registry=self.registry
        )
        self._age.set(clock.now_micros() / 1e6)
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
