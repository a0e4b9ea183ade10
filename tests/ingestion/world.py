"""Processes that ingest and are killed, senders that never give up, and what must have been counted
in the end.
"""

import http.client
import itertools
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

import headwater as hw
from headwater.cli.projects import load
from headwater.ingestion.validate import COPY
from headwater.online.view_reader import OnlineView
from tests.waiting import until

USERS = 20

PROJECT = """
import headwater as hw
import headwater_aws
import polars as pl

schema = {{"user": str, "n": int, "at": pl.Datetime("us", "UTC")}}
source = hw.Source("visits", timestamp_field="at", stream={stream}{more})
features = [hw.count(), hw.sum("n"), hw.max("n")]
view = hw.FeatureView("user", source=source, keys=["user"], windows=["1h", "7d"], features=features, freshness=hw.streaming("2s"),
    on_incomplete="value")
table = pl.DataFrame({{"user": ["u0"], "asked": [0], "y": [1]}}).with_columns(pl.col("asked").cast(pl.Datetime("us", "UTC")))
labels = hw.Labels("left", table=table, timestamp_field="asked", label="y", known_after="1d")
project = hw.Project("shop", [hw.Model("m", task="binary", features=hw.FeatureService("s", [view]), labels=labels)])
"""


class World:
    """A project, its store, and processes that ingest into it; what was sent is remembered."""

    def __init__(self, folder, url, stream, more="", *, script=None):
        self.folder, self.url, self.script = folder, url, script
        self.port = free_port()
        self.sent, self.bad, self.numbers = Counter(), itertools.count(), itertools.count()
        self.good, self.refused = [], 0
        self.incomplete = False  # whether records were lost that cannot be read any more
        self.lock = threading.Lock()
        (folder / "features.py").write_text(
            PROJECT.format(stream=stream, more=more), encoding="utf-8"
        )
        self.runs = 0

    # ---- processes

    def start(self, *more, **options):
        """Start `headwater ingest`; stdout and stderr go to a file."""
        self.runs += 1
        arguments = [
            "--store",
            self.url,
            "--listen",
            f"127.0.0.1:{self.port}",
            "--allow-unapplied",
            "--batch",
            "500",
            *more,
        ]
        command = [
            sys.executable,
            *(["-m", "headwater.cli"] if self.script is None else [str(self.script)]),
            "ingest",
            *arguments,
        ]
        log = self.folder / f"run-{self.runs}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                **options,
            )
        process.log = log
        return process

    def begun(self, process):
        """Wait for the first commit; kernels may have to be compiled, by several processes."""
        until(lambda: said(process, "first commit"), "the first commit", process, seconds=180)

    def once(self, *more):
        """Ingest all there is, and stop."""
        process = self.start("--once", *more)
        assert process.wait(60) == 0, process.log.read_text()

    def killed(self, times, pause=0.25, seed=0):
        """Start and kill processes at random times."""
        chance = random.Random(seed)
        for _ in range(times):
            process = self.start()
            if chance.random() < 0.15:  # while it starts
                time.sleep(chance.uniform(0.3, 1.5))
            else:
                self.begun(process)
                time.sleep(chance.uniform(0, pause))
            process.send_signal(signal.SIGKILL)
            process.wait()

    # ---- events

    def appender(self, path, **options):
        return Appender(self, path, **options)

    def sender(self, number):
        return Sender(self, number)

    def event(self):
        """One event as JSON, now and then a bad one; and whether it is good."""
        n = next(self.numbers)
        at = datetime.now(UTC) - timedelta(seconds=(n * 7919) % 1800)
        if n % 97 == 13:
            return f'{{"user": "u1", "n": "bad {n}"}}'.encode(), None
        return json.dumps({"user": f"u{n % USERS}", "n": n, "at": at.isoformat()}).encode(), n

    def took(self, numbers):
        """Remember the events to be counted."""
        with self.lock:
            self.good += [n for n in numbers if n is not None]
            self.refused += sum(n is None for n in numbers)

    # ---- what came of it

    def check(self):
        """Every count is exact: of tiles, archive and dead letters."""
        assert self.found() == self.expected()
        archive = self.rows("archive")
        numbers = archive["n"].to_list() if archive is not None else []
        assert len(numbers) == len(self.good)
        assert set(numbers) == set(self.good)
        dead = self.rows("dead_letters")  # of copies too
        assert (0 if dead is None else dead.filter(pl.col("reason") != COPY).height) == self.refused

    def expected(self):
        counts, sums = Counter(), Counter()
        for n in self.good:
            counts[f"u{n % USERS}"] += 1
            sums[f"u{n % USERS}"] += n
        return {user: (counts[user], sums[user]) for user in names()}

    def found(self, name="view"):
        """By user, the count and the sum of the long window, as the store has them."""
        view = self.view(name)
        store = hw.operations.open_store(self.url, readonly=True)
        try:
            served = OnlineView(view, store).read(
                pl.DataFrame({"user": names()}), int(time.time() * 1e6)
            )
        finally:
            store.close()
        assert served.read_version.incomplete == self.incomplete
        columns = dict(zip([f.name for f in view.outputs], served.features, strict=True))
        return dict(
            zip(
                names(),
                zip(columns["count_7d"], columns["sum_n_7d"].fill_null(0), strict=True),
                strict=True,
            )
        )

    def view(self, name):
        return load(str(self.folder / "features.py")).names[name]

    def rows(self, what):
        """The archive or the dead letters; everything is in files after a graceful stop."""
        files = sorted((self.folder / ".headwater" / what / "visits").glob("*/*.parquet"))
        return pl.concat([pl.read_parquet(file) for file in files]) if files else None


class Appender(threading.Thread):
    """Appends lines to a file until it is told to stop."""

    def __init__(self, world, path, rate=4000):
        super().__init__(daemon=True)
        self.world, self.path, self.rate, self.over = world, path, rate, threading.Event()

    def run(self):
        with Path(self.path).open("ab") as file:
            while not self.over.is_set():
                made = [self.world.event() for _ in range(self.rate // 50)]
                file.write(b"".join(line + b"\n" for line, _ in made))
                file.flush()
                self.world.took([n for _, n in made])
                self.over.wait(0.02)

    def end(self):
        self.over.set()
        self.join()


class Sender(threading.Thread):
    """Pushes batches, each until it is answered for; now and then it hangs up before it hears the
    answer, and sends the same again.
    """

    def __init__(self, world, number):
        super().__init__(daemon=True)
        self.world, self.number, self.over = world, number, threading.Event()
        self.chance, self.batches, self.hung_up, self.tries = random.Random(number), 0, 0, 0
        self.problem = None

    def run(self):
        while not self.over.is_set():
            made = [self.world.event() for _ in range(self.chance.randint(1, 20))]
            body = b"\n".join(line for line, _ in made)
            self.batches += 1
            key = f"{self.number}-{self.batches}"
            while (answer := self.post(body, key)) is None:
                time.sleep(0.02)
            refused = [n for n, (_, good) in enumerate(made) if good is None]
            if [r["index"] for r in answer["refused"]] != refused:
                self.problem = (made, answer)
            if answer["accepted"] + answer["copies"] != len(made) - len(refused):
                self.problem = (made, answer)
            self.world.took([good for _, good in made])

    def post(self, body, key):
        """The answer, or None where the same is to be sent again."""
        self.tries += 1
        connection = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=5)
        try:
            connection.request("POST", "/v1/events/visits", body, {"Idempotency-Key": key})
            if self.chance.random() < 0.1:
                self.hung_up += 1
                time.sleep(self.chance.uniform(0, 0.02))
                return None
            response = connection.getresponse()
            said = json.loads(response.read())
            if response.status == 503:
                return None
            assert response.status in (200, 422), said
            return said
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


def names():
    return [f"u{i}" for i in range(USERS)]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def said(process, text):
    return text in process.log.read_text(errors="replace")
