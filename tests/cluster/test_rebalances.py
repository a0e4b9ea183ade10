"""Three processes of one group, under load: killed, stopped, joined again; in the end every feature
is exact.
"""

import signal
import time

import pytest

from tests.cluster.world import producing

pytestmark = pytest.mark.services


def test_processes_that_are_killed_stopped_and_started_again(url, network, group_at, topic):
    here = group_at(url)
    with producing(here, network.servers, topic):
        for _ in range(1):
            first, second, third = here.begin(None, None, None)
            kill(first)
            time.sleep(1)
            (fourth,) = here.begin(None)
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 0, second.log.read_text()
            kill(fourth)
            here.begin(None)
            time.sleep(1)
            kill(third)
    here.end()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
