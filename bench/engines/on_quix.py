"""The job on Quix Streams: `QUIX/bin/python on_quix.py SERVERS TOPIC EVENTS FOLDER`.

Tumbling windows in its RocksDB state, without changelog topics.
"""

import sys
from datetime import datetime, timedelta
from itertools import count

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Sum

servers, topic, events, folder = sys.argv[1:]
seen = count()


def processed(*_):
    if next(seen) == int(events) - 1:
        app.stop()


app = Application(
    broker_address=servers,
    consumer_group=f"quix-{folder.rsplit('/', maxsplit=1)[-1]}",
    auto_offset_reset="earliest",
    state_dir=folder,
    use_changelog_topics=False,
    loglevel="ERROR",
    on_message_processed=processed,
)


def moment(value, _headers, _timestamp, _kind):
    return int(datetime.fromisoformat(value["authorised_at"]).timestamp() * 1000)


rows = app.dataframe(app.topic(topic, value_deserializer="json", timestamp_extractor=moment))
for width in (10, 60, 600):
    windows = rows.tumbling_window(timedelta(seconds=width), grace_ms=5000, name=f"every{width}")
    windows.agg(n=Count(), total=Sum("amount"), most=Max("amount")).final()
app.run()
