"""Ingests the shop as `headwater ingest` does, with a store that takes a while for commits of a fill,
so that a test can do something in the middle of it.

Arguments: folder and URL of the place, since when its events are, how its project is made, what its
stream is otherwise, and the seconds.
"""

import signal
import sys
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path

import headwater as hw
from tests.laws import shop
from tests.laws.test_fill import Slow
from tests.laws.test_generations import spent


def project_of(place, make, stream):
    """The project and its views. make: of events, or of such as can be "corrected"; stream: servers
    and topic of Kafka, or "".
    """
    if make == "corrected":
        return shop.corrected(place, more=[spent])
    if not stream:
        return shop.shop(place, more=[spent])
    servers, topic = stream.split("/")
    records = hw.kafka(topic, servers=servers, schema=shop.SCHEMA)
    return shop.shop(place, more=[spent], stream=records, id_field=None)


def main(folder, url, since, make, stream, seconds):
    place = shop.Place(Path(folder), url, since=datetime.fromisoformat(since))
    project, stop = project_of(place, make, stream)[0], threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    limits = hw.operations.IngestLimits(batch=1, linger=0.0, max_clock_jump="365d")
    with closing(hw.operations.open_store(place.url)) as store:
        slow = Slow(store, float(seconds))
        options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=slow.committed)
        hw.ingest(
            project,
            slow,
            data_dir=place.home,
            stop=stop,
            listen=None,
            limits=limits,
            options=options,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
