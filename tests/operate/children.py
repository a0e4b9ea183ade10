"""What tests run in processes of their own."""

import time
from contextlib import closing
from pathlib import Path

import headwater as hw
from headwater import clock
from headwater.logs import rolling
from headwater.online_stores import spaces
from headwater.pipelines import materialize, seed
from headwater.pipelines.materialize import materialize_view
from headwater.pipelines.online import OnlineView
from tests.operate.conftest import Flow, frame, micros, streaming_view, view_of

KEYS = 4000


def many():
    """A view of 12,000 events of 4,000 keys: three each, one of them before the first hour, of amount 1, 10 and 100."""
    rows = [(key, 3600 * n + 0.1 + key / 8000, 10.0**n) for key in range(KEYS) for n in range(3)]
    return view_of(frame(rows), freshness=hw.batch("1h", delay="10m"), features=[hw.sum("amount")], windows=["300d"])


def materialize_slowly(pipe, url, hours):
    """Materialize up to so many hours, in 13 buckets of small commits; says each commit."""
    materialize._EVENT = 1_000_000
    materialize._KEYS = 100
    with closing(hw.open_store(url)) as store:
        commit, made = store.commit, 0

        def told(changes, expect):
            nonlocal made
            commit(changes, expect)
            made += 1
            pipe.send(made)

        store.commit = told
        materialize_view(many(), store, micros(3600 * hours), memory="1000MB")
        pipe.send("done")


def read_all(pipe, url, keys, moments):
    """Read all keys at each of the moments, again and again; says which values were seen together at which moment and T."""
    with closing(hw.open_store(url, readonly=True)) as store:
        online, seen, ended = OnlineView(many(), store), set(), False
        asked = frame([(key, 0.0, 0.0) for key in range(keys)]).select("key")
        while not ended:
            ended = store.get([b"end"])[0] is not None
            for t in moments:
                served = online.read(asked, t)
                if not seen:
                    pipe.send("reading")
                seen.add((t, served.moment.T, served.moment.stale, *sorted(set(served.features[0].to_list()))))
        pipe.send(seen)


def materialize_at(pipe, url, t, wait):
    """Materialize, and say what was done."""
    with closing(hw.open_store(url)) as store:
        made = materialize_view(many(), store, t, wait=wait)
        pipe.send((made.cut.T, made.events))


def seed_slowly(pipe, url, folder):
    """Open a stream with a view that is new, and fill it in parts of 8 events; says each commit, and takes its time after it."""
    seed._ROWS = 8
    clock.now_micros = lambda: micros(50)
    with closing(hw.open_store(url)) as store:
        commit, made = store.commit, 0

        def told(changes, expect):
            nonlocal made
            commit(changes, expect)
            made += 1
            pipe.send(made)
            time.sleep(0.2)

        store.commit = told
        sums = [hw.sum("amount"), hw.last_n("amount", k=3)]
        Flow([streaming_view(sums), streaming_view(sums, name="new")], store, Path(folder))
        time.sleep(60)


def roll_and_say(pipe, url, folder):
    """Roll the archive once, and say when the file is written, whole, in its place, and when the blocks are gone."""
    real = rolling.durable

    def told(frame, path):
        pipe.send("before")
        real(frame, path)
        pipe.send("file")
        time.sleep(0.3)

    rolling.durable = told
    with closing(hw.open_store(url)) as store:
        rolling.Roller(store, spaces.ARCHIVE, Path(folder), "events").roll()
        pipe.send("deleted")
        pipe.send("done")
        time.sleep(60)
