"""Three processes of one group, under load: killed, stopped, joined again; in the end every feature is exact."""

import signal
import time

import pytest

from tests.cluster.world import producing
from tests.figures import figure


@pytest.mark.slow
def test_processes_that_are_killed_stopped_and_started_again(url, network, group_at, topic):
    here = group_at(url)
    with producing(here, network.servers, topic):
        first, second, _ = here.begin(None, None, None)
        first.send_signal(signal.SIGKILL)
        first.wait()
        time.sleep(1)
        (fourth,) = here.begin(None)
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0, second.log.read_text()
        fourth.send_signal(signal.SIGKILL)  # its group has not noticed the first one long ago
        fourth.wait()
        here.begin(None)
        time.sleep(1)
    here.end()
    figure(f"three processes, two killed, one stopped, two joined: {len(here.good):,} events and their copies exact")
