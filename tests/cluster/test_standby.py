"""Two processes of a source with ids: one writes all partitions, the other stands by, and goes on
when the first one is killed.
"""

import random
import signal
import time

import pytest

from tests.cluster.world import producing
from tests.effort import LONG
from tests.figures import figure
from tests.ingestion.world import wait_until


@pytest.mark.slow
def test_a_process_that_stands_by_goes_on_for_one_that_was_killed(url, network, group_at, topic):
    here, chance, waits = group_at(url, writers=""), random.Random(7), []
    with producing(here, network.servers, topic):
        (first,) = here.begin(None)
        for _ in range(20 if LONG else 2):
            second = stood_by(here)
            time.sleep(chance.uniform(0, 2))
            made, since = here.commits(), time.perf_counter()
            first.send_signal(signal.SIGKILL)
            first.wait()
            wait_until(
                lambda made=made: here.commits() > made, "a commit of the one that stood by", second
            )
            waits.append(time.perf_counter() - since)
            first = second
    here.end()
    figure(
        f"a process that stood by: {len(waits)} kills, its first commit after {max(waits):.1f} s "
        f"at most; {len(here.good):,} events exact"
    )


def stood_by(here):
    """A further process, when it has said that another one writes."""
    here.port += 1
    process = here.start()
    here.processes.append(process)
    wait_until(
        lambda: "Standing by" in process.log.read_text(), "that it stands by", process, seconds=180
    )
    return process
