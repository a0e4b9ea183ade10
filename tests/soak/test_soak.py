"""The service under load for long: at 70 % of its peak, with a thousand connections, slow and
leaving clients, and a store that restarts.

Ten minutes by `make soak` (HEADWATER_SOAK=long) with workers that are killed, some seconds
otherwise, without; HEADWATER_SOAK=60 takes a minute for each.
"""

import asyncio
import itertools
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.figures import figure
from tests.laws.operated import Operated
from tests.soak.load import Load
from tests.stores.servers import serving

pytestmark = pytest.mark.alone
ASKED = os.environ.get("HEADWATER_SOAK", "14")
SECONDS = 600 if ASKED == "long" else int(ASKED)
LONG = SECONDS >= 600
KILLS = (0.5, 0.7)  # of the time, when a worker is killed
CASES = [
    pytest.param(kills, id="killed" if kills else "none")
    for kills in ((), KILLS)
    if (SECONDS >= 60 if kills else not LONG)
]
"""A worker that was killed takes some seconds; ten minutes are for killed workers."""
SHARE = 0.7
# times as long as the store was away, until what piled up meanwhile is answered at 70 % of the peak
RECOVERY = 4.0
# seconds in which a worker that replaces another one loads what it runs
STARTS = 10.0 if LONG else 5.0
# MB a minute of a worker's memory at most; in seconds, caches are still being filled
GROWTH = 1.0 if LONG else 60.0
MEMORY = 40.0  # MB at most, all in all
# the last third's p99 over the first's at most, where other processes have the machine too
SLOWER = 2.0 if LONG else 6.0


def rss(pid):
    """Megabytes of a process; NaN where it has ended."""
    try:
        fields = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":" in line
        )
        return int(fields["VmRSS"].split()[0]) / 1024
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return float("nan")


class Sizes(threading.Thread):
    """Looks at the memory of processes every so often."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.at, self.sizes = list(pids), [], []
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.25):
            self.at.append(time.monotonic())
            self.sizes.append([rss(pid) for pid in self.pids])

    def slopes(self):
        """Megabytes a minute of each, over the second half."""
        half = len(self.at) // 2
        return np.polyfit(np.array(self.at[half:]) / 60, np.array(self.sizes[half:]), 1)[0]

    def thirds(self):
        """The median megabytes of each in each third, (3, processes)."""
        return [np.median(part, axis=0) for part in np.array_split(np.array(self.sizes), 3)]

    def growth(self):
        """Megabytes from the first quarter's median to the last one's, of each."""
        sizes, quarter = np.array(self.sizes), max(len(self.sizes) // 4, 1)
        return np.median(sizes[-quarter:], axis=0) - np.median(sizes[:quarter], axis=0)


@pytest.fixture
def shop(tmp_path):
    """A shop on Redis, with two workers."""
    with serving(tmp_path / "redis", "--appendonly", "yes") as server:
        made = Operated(tmp_path, server.url)
        made.server = server
        made.train()
        made.everything("--log-sample=0.001")
        try:
            made.ready()
            yield made
        finally:
            made.stop(signal.SIGKILL if made.process.poll() is None else signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("kills", CASES)
def test_memory_and_latency_stay_flat(shop, kills):
    workers = shop.children(" serve ")
    load = Load(shop.port)
    peak = asyncio.run(load.peak(10.0 if LONG else 2.0))
    killed, *kept = sorted(workers)
    sizes = Sizes(kept if kills else workers)
    sizes.start()
    down, killings = [], []

    def restart():
        """Take the store away for a short time."""
        time.sleep(SECONDS * 0.3)
        down.append(time.monotonic())
        shop.server.kill()
        time.sleep(0.5)
        shop.server.start()
        down.append(time.monotonic())

    def kill():
        """Kill a worker, and the one that replaces it."""
        begin, victim = time.monotonic(), killed
        for share in kills:
            time.sleep(max(begin + SECONDS * share - time.monotonic(), 0))
            os.kill(victim, signal.SIGKILL)
            before = {victim, *kept}
            killings.append([time.monotonic()])
            while not (new := shop.children(" serve ").keys() - before):
                time.sleep(0.05)
            killings[-1].append(time.monotonic())
            (victim,) = new

    others = [threading.Thread(target=work) for work in (restart, kill)]
    for other in others:
        other.start()
    asyncio.run(load.run(SHARE * peak, SECONDS))
    for other in others:
        other.join()
    sizes.done.set()
    sizes.join()

    at, took, statuses = (np.array(column) for column in zip(*sorted(load.answers), strict=True))
    gone = down[1] - down[0]
    away = (at > down[0] - 0.5) & (at < down[1] + RECOVERY * gone)
    # one worker less: it starts again, and both take the processors
    starting = np.zeros(len(at), np.bool_)
    for begin, end in killings:
        starting |= (at > begin - 0.5) & (at < end + STARTS)
    thirds = [took[~away & ~starting & (at >= low) & (at <= high)] for low, high in _thirds(at)]
    p99s = [float(np.percentile(third, 99)) * 1e3 for third in thirds]
    slopes, growth = sizes.slopes(), sizes.growth()
    figure(
        f"peak {peak:,.0f} predictions/s; {len(took):,} at {SHARE:.0%} of it over {SECONDS} s, "
        f"{load.active + load.idle_count:,} connections"
    )
    figure(
        f"p99 {p99s[0]:.1f} ms in the first third, {p99s[1]:.1f} in the second, {p99s[2]:.1f} in "
        "the last"
    )
    figure(
        "memory of workers: "
        f"{', '.join(f'{one:+.2f} MB ({slope:+.2f} MB/min)' for one, slope in zip(growth, slopes, strict=True))}"
    )
    figure(
        "memory by thirds: "
        f"{'; '.join(' and '.join(f'{one:.1f}' for one in third) for third in sizes.thirds())} MB"
    )
    figure(
        f"{len(killings)} workers were killed: {int((statuses[starting] != 200).sum()):,} answers "
        "were not 200 meanwhile"
    )
    figure(
        f"the store was away for {gone:.1f} s: {int((statuses[away] == 503).sum()):,} answers "
        f"were 503, the longest took {took[away].max():.2f} s"
    )

    assert set(statuses[~away & ~starting].tolist()) == {200}
    assert set(statuses[away & ~starting].tolist()) <= {200, 503}
    assert set(statuses[starting].tolist()) <= {200, 503, 0}
    # at most what each connection waited for
    assert (statuses[starting] == 0).sum() <= len(killings) * load.active
    assert (statuses[away] == 503).any() or took[away].max() > gone / 2  # it was missed
    assert len(killings) == len(kills)
    assert shop.children(" serve ").keys() >= set(sizes.pids)  # no other process died
    assert len(shop.children(" serve ")) == len(workers)
    assert load.slow
    assert load.left > SECONDS
    assert sum(status != 200 for status in load.slow) <= 8 * (
        (1 + RECOVERY) * gone + STARTS * len(killings)
    )
    assert kills or load.dropped_idle == 0  # those of a killed worker are gone
    assert max(slopes) < GROWTH
    assert max(growth) < MEMORY
    assert p99s[2] < max(SLOWER * p99s[0], 20)


def _thirds(at):
    edges = np.linspace(at[0], at[-1], 4)
    return list(itertools.pairwise(edges))
