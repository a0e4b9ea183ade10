"""A shop on disk that `headwater serve` runs with all its processes: a batch view, a view that is
pushed to, and a model of both.
"""

import os
import runpy
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl

import headwater as hw
from tests.laws.test_writers import free_port
from tests.waiting import until

PROJECT = """
from datetime import datetime
import headwater as hw

visits = hw.Source("visits", history=hw.parquet("visits.parquet"), timestamp_field="at")
clicks = hw.Source(
    "clicks", history=hw.parquet("clicks.parquet"), timestamp_field="at", stream=hw.push(schema={"user": int, "at": datetime, "n": int})
)
user = hw.FeatureView(
    "user", source=visits, keys=["user"], windows=["2d"], freshness=hw.batch("1h"), features=[hw.count(), hw.mean("amount")]
)
live = hw.FeatureView("live", source=clicks, keys=["user"], windows=["1h"], freshness=hw.streaming("60s"), features=[hw.count()])
labels = hw.Labels("left", table=hw.parquet("labels.parquet"), timestamp_field="asked_at", label="gone", known_after="1m")
churn = hw.Model("churn", task="binary", features=hw.FeatureService("churn_v1", [user, live]), labels=labels)
project = hw.Project("shop", [churn])
"""
USERS = 20
# as long as compiling takes on a machine that others use, where nothing was compiled before
PATIENCE = 240.0


class Operated:
    """A project in a folder, its store, and the service that runs it."""

    def __init__(self, folder: Path, store: str | None = None):
        self.folder, self.store = folder, store or f"lmdb:{folder / 'online'}?size=1GB"
        self.port, self.ingest_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process, self.runs = None, 0
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        at = [now - timedelta(hours=1, minutes=7 * i) for i in range(120)]
        table = pl.DataFrame(
            {
                "user": [i % USERS for i in range(120)],
                "amount": [float(i % 17) for i in range(120)],
                "at": at,
            }
        )
        table.write_parquet(folder / "visits.parquet")
        table.select("user", "at", n=pl.lit(1)).write_parquet(folder / "clicks.parquet")
        table.select("user", asked_at="at", gone=pl.col("amount") > 8).write_parquet(
            folder / "labels.parquet"
        )
        (folder / "features.py").write_text(PROJECT, encoding="utf-8")

    def train(self, versions=1):
        """Fit the model, and keep it so many times; the first one is current."""
        here = Path.cwd()
        os.chdir(self.folder)  # as its project names files
        try:
            project = runpy.run_path("features.py")["project"]
            trained = hw.train(project.model("churn"), as_of=datetime.now(UTC))
        finally:
            os.chdir(here)
        self.registry = hw.operations.ModelRegistry(self.folder / ".headwater" / "models")
        for n in range(versions):
            trained.register(self.registry, promote=n == 0)

    def start(self, *arguments):
        """Start `headwater serve` with these options; what it prints goes to a file."""
        self.runs += 1
        self.log = self.folder / f"run-{self.runs}.log"
        command = [
            sys.executable,
            "-m",
            "headwater.cli",
            "serve",
            f"--store={self.store}",
            f"--listen=127.0.0.1:{self.port}",
            *arguments,
        ]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        return self.process

    def everything(self, *more, workers=2):
        """Start all of its processes."""
        ingest = f"--listen 127.0.0.1:{self.ingest_port} --allow-unapplied"
        return self.start(f"--workers={workers}", f"--ingest={ingest}", "--materialize", *more)

    def ready(self):
        """Wait until it can answer everything."""
        self.until(lambda: self.health() == 200, "readiness")

    def health(self):
        """The status of /readyz; None without an answer."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code
        except httpx.HTTPError:
            return None

    def metric(self, name):
        """A number of /metrics by its name and labels; None where it is not there."""
        lines = httpx.get(f"{self.url}/metrics", timeout=10, trust_env=False).text.splitlines()
        return next(
            (float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name),
            None,
        )

    def until(self, holds, what, seconds=PATIENCE):
        """Wait for something, as long as the service lives."""
        until(holds, what, self.process, seconds, self.said)

    def said(self):
        """All that was printed."""
        return self.log.read_text(encoding="utf-8")

    def children(self, what=""):
        """The processes under it by id, whose command line holds `what`."""
        return {pid: line for pid, line in below(self.process.pid).items() if what in line}

    def stop(self, number=signal.SIGTERM):
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def below(parent):
    """The processes that one has started, by id: their command lines."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                stat = (place / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == parent and stat[0] != "Z":
                    found[int(place.name)] = (
                        (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    )
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def alive(pid):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
