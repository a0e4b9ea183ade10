"""A shop whose visits are streamed, for laws about faults: small, and each event is a bit of a sum,
so that a value says what it counts.
"""

import json
import shutil
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

import headwater as hw
from headwater.testing import faults
from tests.waiting import until

USERS = ["annabella", "bob", "cem"]
AT = datetime(2024, 5, 1, tzinfo=UTC)
SCHEMA = {"id": str, "user": str, "n": int, "at": pl.Datetime("us", "UTC")}
LIMITS = hw.operations.IngestLimits(batch=4, linger=0.0, max_clock_jump="365d")
SINCE = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
"""The beginning of an hour of late, which all of a law's events come after. A process that starts
in another hour has it from its place.
"""
_NOTHING = ("no online store", "not in the online store", "not filled yet")


@dataclass
class Place:
    """Where a piece of work is done: a folder and a store.

    store: while it is open in this process. since: `SINCE` of the process that made the place.
    """

    folder: Path
    url: str
    store: object = field(default=None, compare=False)
    since: datetime = SINCE

    @property
    def home(self):
        return self.folder / "home"


def shop(place, *, stream=None, history=None, more=(), **rules):
    """The project, and its views: by user, of files that visits are appended to, or of another
    stream; and more of the same source.

    rules: what its source is defined by otherwise.
    """
    usual = {
        "timestamp_field": "at",
        "id_field": "id",
        "select": ["id", "user", "n"],
        "filter": pl.col("n") >= 0,
    }
    stream = stream or hw.appended(f"{place.folder}/visits*.jsonl", schema=SCHEMA)
    source = hw.Source("visits", history=history, stream=stream, **(usual | rules))
    features = [hw.count(), hw.sum("n"), hw.last("n")]
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        windows=["30d"],
        features=features,
        freshness=hw.streaming("2s"),
    )
    table = pl.DataFrame({"user": USERS[:1], "asked": [AT], "left": [True]})
    labels = hw.Labels("left", table=table, timestamp_field="asked", label="left", known_after="1d")
    views = [view, *(make(source) for make in more)]
    return hw.Project(
        "shop",
        [hw.Model("leaves", task="binary", features=hw.FeatureService("s", views), labels=labels)],
    ), views


def event(number, *, since):
    return {
        "id": f"e{number}",
        "user": USERS[number % 3],
        "n": 1 << number,
        "at": (since + timedelta(minutes=number)).isoformat(),
    }


def visits(first, last, *, since):
    """Lines of these visits, after each fourth a copy of one before, one that the filter leaves
    out, and one without a time.
    """
    lines = []
    for number in range(first, last):
        lines.append(event(number, since=since))
        if number % 4 == 3:
            lines += [
                lines[-1],
                event(number, since=since) | {"id": f"f{number}", "n": -1},
                {"id": f"g{number}", "user": USERS[0], "n": 1},
            ]
    return [json.dumps(line) for line in lines]


def corrected(place, *, more=()):
    """The shop, whose visits may be taken back."""
    schema = SCHEMA | {"known": pl.Datetime("us", "UTC"), "gone": bool}
    return shop(
        place,
        stream=hw.appended(f"{place.folder}/visits*.jsonl", schema=schema),
        more=more,
        select=["id", "user", "n", "known", "gone"],
        known_at_field="known",
        changes="gone",
    )


def image(place, number, minutes, *, gone=False):
    """What is known of an event, so many minutes after all of them."""
    known = place.since + timedelta(hours=1, minutes=minutes)
    return json.dumps(event(number, since=place.since) | {"known": known.isoformat(), "gone": gone})


def append(place, lines):
    with (place.folder / "visits.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def ingest(watch, place, project, *, on_commit=None):
    """All that the streams hold, into the store and the archive."""
    options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=on_commit)
    with opened(watch, place) as store, watch.disk(place.home), watch.streams():
        hw.ingest(
            project,
            store,
            data_dir=place.home,
            once=True,
            listen=None,
            limits=LIMITS,
            options=options,
        )


@contextmanager
def opened(watch, place):
    """The store of a place, whose calls are seen; the place has the store itself meanwhile."""
    with closing(hw.operations.open_store(place.url)) as store:
        place.store = store
        try:
            yield watch.store(store)
        finally:
            place.store = None


@contextmanager
def pushing(place, project, *, limits=LIMITS):
    """Ingests what is posted meanwhile: a function that posts lines and waits for the answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    stop = threading.Event()
    options = hw.operations.IngestOptions(allow_unapplied=True)
    with opened(faults.Watch(), place) as store, ThreadPoolExecutor(1) as threads:
        ingesting = threads.submit(
            hw.ingest,
            project,
            store,
            data_dir=place.home,
            listen=address,
            stop=stop,
            limits=limits,
            options=options,
        )

        def post(lines):
            body = "\n".join(lines).encode()
            return json.loads(_post(f"http://{address}/v1/events/visits", body, ingesting))

        try:
            yield post
        finally:
            stop.set()
            ingesting.result()


def push(place, project, *batches):
    """Ingest the posted events: each batch is answered for before the next is sent."""
    with pushing(place, project) as post:
        for lines in batches:
            post(lines)


def _post(url, body, ingesting):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})

    def posted():
        try:
            with urllib.request.urlopen(request) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            error.close()
            raise
        except urllib.error.URLError:
            if ingesting.done():
                raise

    return until(posted, "an answer")


class Copies:
    """Copies of a place whose stream is not of its folder: what the store holds, and the files."""

    def __init__(self, places, place):
        self.places, self.home, self.held = places, place.home, contents(place)

    def __call__(self):
        place = self.places()
        if self.home.exists():
            shutil.copytree(self.home, place.home)
        hold(place, self.held)
        return place


def contents(place):
    """All that the store of a place holds."""
    with closing(hw.operations.open_store(place.url)) as store:
        return dict(store.scan(b""))


def hold(place, held):
    """Have the store of a place hold this, and nothing else, as a copy of a store that is put back
    does.
    """
    with closing(hw.operations.open_store(place.url)) as store:
        store.commit(dict.fromkeys(key for key, _ in store.scan(b"")), {})
        # a store that is there keeps the later of two records, so they are gone first
        store.commit(held, {})


def readable(place):
    """The store, which may be open in this process already."""
    return (
        nullcontext(place.store)
        if place.store
        else closing(hw.operations.open_store(place.url, readonly=True))
    )


def values(place, views, *, at=None):
    """The served values of each user, with its status, by view; None where the store has nothing to
    serve.
    """
    try:
        with readable(place) as store:
            asked = pl.DataFrame({"user": USERS})
            found = [
                hw.get_online_features(view, asked, store=store, at=at, details=True)
                for view in views
            ]
    except hw.errors.StoreError as error:
        if not any(reason in str(error) for reason in _NOTHING):
            raise
        return None
    return [frame.select(pl.exclude("^.*__(age|stale)$")).to_dicts() for frame in found]


def files(place, *, besides=()):
    """The rows of archive, filtered rows and dead letters, without when they were committed, and
    without more columns.
    """
    of_commits = ["headwater_known_at", "headwater_sequence", "headwater_received_at"]
    found = {}
    for name in ("archive", "filtered", "dead_letters"):
        frames = [
            pl.read_parquet(path, hive_partitioning=False)
            for path in sorted((place.home / name).glob("visits/*/*.parquet"))
        ]
        rows = [
            str(row)
            for frame in frames
            for row in frame.select(pl.exclude(*of_commits, *besides)).rows()
        ]
        found[name] = sorted(row.replace(str(place.folder), "") for row in rows)
    return found


def counted(served, name="user"):
    """Which events the values of a view count, by number; each user's values agree. None where it
    is incomplete, and has no values.
    """
    numbers = set()
    for user, row in zip(USERS, served, strict=True):
        total, count = row[f"{name}__sum_n_30d"], row[f"{name}__count_30d"]
        if row[f"{name}__count_30d__incomplete"]:
            assert total is count is None, row
            return None
        own = {number for number in range(60) if total >> number & 1}
        assert len(own) == count, row
        assert row[f"{name}__last_n_30d"] == (1 << max(own) if own else None), row
        assert all(USERS[number % 3] == user for number in own), row
        numbers |= own
    return numbers
