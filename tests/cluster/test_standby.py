"""Two processes of a source with ids: one writes all partitions, the other stands by, and goes on
when the first one is killed.
"""

import random
import signal
import time

import pytest

from tests.cluster.world import producing
from tests.waiting import until

pytestmark = pytest.mark.services


def test_a_process_that_stands_by_goes_on_for_one_that_was_killed(url, network, group_at, topic):
    here, chance = group_at(url, writers=""), random.Random(7)
    with producing(here, network.servers, topic):
        (first,) = here.begin(None)
        for _ in range(2):
            second = stood_by(here)
            time.sleep(chance.uniform(0, 2))
            made = here.commits()
            first.send_signal(signal.SIGKILL)
            first.wait()
            until(
                lambda made=made: here.commits() > made, "a commit of the one that stood by", second
            )
            first = second
    here.end()


def stood_by(here):
    """A further process, when it has said that another one writes."""
    here.port += 1
    process = here.start()
    here.processes.append(process)
    until(
        lambda: "Standing by" in process.log.read_text(), "that it stands by", process, seconds=180
    )
    return process
