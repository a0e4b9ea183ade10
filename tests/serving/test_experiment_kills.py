"""Serving and ingestion are killed during an experiment: what clients were answered is logged, but
for the last batch, and nothing twice; arms stay, and every event counts once.
"""

import itertools
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater.journal.exposure_log import read_exposures
from headwater.online.view_reader import OnlineView
from tests.effort import LONG
from tests.figures import figure
from tests.serving.experiment_world import both_levels, expected, started, totals
from tests.serving.world import ROW, free_port

LOST = 64
"""Answers of 50 ms, of a client that asks again when it is answered."""
KILLS = 200 if LONG else 5
"""`make trust` kills 200 times, by turns the one and the other."""
USERS = 90


class Shop:
    """The two processes, what clients were answered, and what senders were acknowledged."""

    def __init__(self, folder):
        self.folder, self.url, self.chance = (
            folder,
            f"lmdb:{folder / 'online'}?size=1GB",
            random.Random(0),
        )
        self.children, self.port = {}, free_port()
        self.lives = []  # of each service, in order: user and arm by request
        self.numbers, self.acknowledged = itertools.count(), []

    def start(self, role):
        """Start "serve" or "ingest"; both are there when it answers."""
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "tests.serving.experiment_child",
            role,
            self.url,
            str(self.folder),
            str(port),
        ]
        child = self.children[role] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        if role == "serve":
            self.port = port
            self.lives.append({})

    def kill(self, role):
        """Kill a process while clients ask, and wait until it is gone."""
        child = self.children[role]
        threading.Timer(self.chance.uniform(0, 0.02), child.kill).start()
        self.ask(1000, lambda: child.poll() is not None)
        child.wait()
        child.stdout.close()

    def ask(self, most, over=lambda: False):
        """Ask for predictions, one after another."""
        answered = self.lives[-1]
        with (
            httpx.Client(
                base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=30
            ) as client,
            suppress(httpx.HTTPError),
        ):
            for _ in range(most):
                if over():
                    return
                request, user = f"r{len(self.lives)}-{len(answered)}", len(answered) * 7 % USERS
                answer = client.post(
                    "/v1/predict/churn",
                    json={"row": {**ROW, "user": user}},
                    headers={"x-request-id": request},
                )
                answered[request] = user, answer.json()["arm"]


class Sender(threading.Thread):
    """Pushes batches through the service, each until it is acknowledged."""

    def __init__(self, shop, number):
        super().__init__(daemon=True)
        self.shop, self.number, self.over, self.tries, self.batches = (
            shop,
            number,
            threading.Event(),
            0,
            0,
        )

    def run(self):
        chance = random.Random(self.number)
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self.over.is_set():
                numbers = [next(self.shop.numbers) for _ in range(chance.randint(1, 20))]
                rows = [
                    {"user": n % 5, "n": n, "at": datetime.now(UTC).isoformat()} for n in numbers
                ]
                self.batches += 1
                while not self.acknowledged(client, rows, f"{self.number}-{self.batches}"):
                    time.sleep(0.02)
                self.shop.acknowledged.extend(numbers)

    def acknowledged(self, client, rows, key):
        self.tries += 1
        with suppress(httpx.HTTPError):
            answer = client.post(
                f"http://127.0.0.1:{self.shop.port}/v1/events/pushes",
                json=rows,
                headers={"idempotency-key": key},
            )
            assert answer.status_code in (200, 503), answer.text
            return answer.status_code == 200
        return False


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path)
    both_levels(hw.operations.open_store(made.url)).close()
    yield made
    for child in made.children.values():
        child.kill()
        child.wait()


@pytest.mark.long
@pytest.mark.slow
def test_kills(shop):
    begun, store = time.monotonic(), started(shop.folder / "models")
    shop.start("ingest")
    shop.start("serve")
    senders = [Sender(shop, number) for number in range(2)]
    for sender in senders:
        sender.start()
    for kill in range(KILLS):
        role = ("ingest", "serve")[kill % 2]
        shop.ask(shop.chance.randrange(120))
        shop.kill(role)
        shop.start(role)
    shop.ask(100)
    for sender in senders:
        sender.over.set()
    for sender in senders:
        sender.join(60)
        assert not sender.is_alive()
    for role in ("serve", "ingest"):
        shop.children[role].terminate()
        assert shop.children[role].wait(60) == 0
        shop.children[role].stdout.close()
    lost = _exposures(shop, store)
    _events(shop)
    answers, tries, batches = (
        sum(map(len, shop.lives)),
        sum(s.tries for s in senders),
        sum(s.batches for s in senders),
    )
    figure(
        f"{KILLS} kills of serving and ingestion, by turns, in {time.monotonic() - begun:.0f} s: "
        f"{answers:,} answers, {lost:,} of them not logged and at most {LOST} of a killed "
        f"process, none twice; {len(shop.acknowledged):,} events acknowledged in {batches:,} "
        f"batches sent {tries:,} times, each counted once"
    )


def _exposures(shop, store):
    """Check them; how many answers are not logged."""
    frame = read_exposures(shop.folder, "fresh")
    logged = dict(zip(frame["request"], frame.select("unit", "arm").rows(), strict=True))
    assert len(logged) == frame.height  # none twice
    arms = {user: expected(store, user) for user in range(USERS)}
    lost = 0
    for n, answered in enumerate(shop.lives, 1):
        requests = list(answered)
        assert all(arms[user] == arm for user, arm in answered.values())
        kept = [request for request in requests if request in logged]
        assert kept == requests[: len(kept)]  # only the last ones are lost
        assert len(requests) - len(kept) <= (LOST if n < len(shop.lives) else 0)
        assert all(
            logged[request] == (str(answered[request][0]), answered[request][1]) for request in kept
        )
        lost += len(requests) - len(kept)
    unheard = logged.keys() - {request for answered in shop.lives for request in answered}
    # answered, and not received
    assert all(
        count == 1 for count in Counter(request.partition("-")[0] for request in unheard).values()
    )
    return lost


def _events(shop):
    """Every acknowledged event counts once, in the store and in the archive."""
    counts, sums = Counter(), Counter()
    for n in shop.acknowledged:
        counts[n % 5] += 1
        sums[n % 5] += n
    store = hw.operations.open_store(shop.url, readonly=True)
    try:
        read = OnlineView(totals, store).read(
            pl.DataFrame({"user": list(range(5))}), int(time.time() * 1e6)
        )
    finally:
        store.close()
    assert [column.to_list() for column in read.features] == [
        [counts[user] for user in range(5)],
        [sums[user] for user in range(5)],
    ]
    files = sorted((shop.folder / "archive" / "pushes").glob("*/*.parquet"))
    assert sorted(n for file in files for n in pl.read_parquet(file)["n"]) == sorted(
        shop.acknowledged
    )
