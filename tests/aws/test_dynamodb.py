"""Laws of batch views and predictions in DynamoDB, through the public interface: readers have the
cut before or the new one, and never a part of each.
"""

import json
import os
import signal
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

import headwater as hw
from headwater.testing import examples, stores
from headwater.testing.processes import Process
from headwater_aws.aws_client import AwsClient
from tests.waiting import until

pytestmark = [
    pytest.mark.services,
    pytest.mark.filterwarnings("ignore:stale values"),  # of the cut before, while none is made
    pytest.mark.filterwarnings("ignore:project 'shop' is not in the catalog"),
]

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
USERS = range(12)
# when the cut of noon is read, and that of the hour after
READ = [NOON + timedelta(minutes=30), NOON + timedelta(minutes=90)]


def view(freshness=None, name="user", **more):
    """Three events a user, one in each of the hours up to one o'clock, of amount 1, 10 and 100."""
    rows = [
        {"user": user, "n": 10.0**hour, "at": NOON + timedelta(minutes=60 * hour - 70 + user / 2)}
        for user in USERS
        for hour in range(3)
    ]
    source = hw.Source("visits", history=pl.DataFrame(rows), timestamp_field="at", **more)
    return hw.FeatureView(
        name,
        source=source,
        keys=["user"],
        windows=["30d"],
        features=[hw.sum("n"), hw.last("n"), hw.count()],
        freshness=freshness or hw.batch("1h", delay="10m"),
    )


def project(*views):
    table = pl.DataFrame({"user": USERS, "asked": [NOON] * 12, "paid": [float(u) for u in USERS]})
    labels = hw.Labels("paid", table=table, timestamp_field="asked", label="paid", known_after="1d")
    model = hw.Model(
        "pays",
        task="regression",
        features=hw.FeatureService("s", list(views or [view()])),
        labels=labels,
        predictions=hw.precomputed(hw.batch("1h", delay="10m"), keys=["user"]),
        estimator=LinearRegression(),
    )
    return hw.Project("shop", [model])


def make(url, at):
    (made,) = hw.materialize(project(), store=url, at=at)
    return made


def read(url, at, of=None):
    """The sum of each user."""
    frame = pl.DataFrame({"user": USERS})
    found = hw.get_online_features(of or view(), frame, store=url, at=at)
    return found["user__sum_n_30d"].to_list()


def order(emulator, **what):
    """kill=PID, or stop=PID, after so many further writes (after=N); lose=True, the first answer to
    each write.
    """
    request = urllib.request.Request(f"{emulator}/order", json.dumps(what).encode())
    urllib.request.urlopen(request).close()


def materialized(pipe, url, at, emulator="", what="", after=0):
    """In a process of its own, which is ended or stopped after so many writes: its id, and then
    what it made.
    """
    pipe.send(os.getpid())
    if what:
        order(emulator, **{what: os.getpid(), "after": after})
    try:
        pipe.send(("made", make(url, at).keys))
    except hw.errors.HeadwaterError as error:
        pipe.send((type(error).__name__, str(error)))


@pytest.fixture
def one(url):
    """The URL of a store that has the cut of noon."""
    make(url, READ[0])
    return url


def test_what_is_served_is_what_training_has(one):
    make(one, READ[1])
    for at in READ:
        frame = pl.DataFrame({"user": USERS, "timestamp": [at] * 12})
        offline = hw.get_historical_features(view(), frame)
        online = hw.get_online_features(view(), frame.select("user"), store=one, at=at)
        names = view().feature_names
        assert online.select(names).rows() == offline.select(names).rows()
    assert read(one, READ[0]) != read(one, READ[1])


def test_one_conditional_put_of_the_state_publishes_a_cut(emulator, one):
    """Nothing that is read changes before the last write of a run, which is of one item."""
    before = len(emulator.writes())
    make(one, READ[1])
    writes = [
        (operation, request)
        for operation, request in emulator.writes()[before:]
        if not request.get("Item", request.get("Key", {}))["p"]["S"].endswith("/l")  # the lease
    ]
    assert {operation for operation, _ in writes} == {"PutItem"}
    of_state = [
        n for n, (_, request) in enumerate(writes) if request["Item"]["p"]["S"][-2:] == "/s"
    ]
    assert of_state[-1] == len(writes) - 1
    assert len(writes) - len(of_state) == len(USERS)
    assert all("v = :v" in writes[n][1]["ConditionExpression"] for n in of_state)
    assert all(
        "attribute_not_exists(t) OR t <= :t" in request["ConditionExpression"]
        for n, (_, request) in enumerate(writes)
        if n not in of_state
    )


@pytest.mark.parametrize("after", [2, 3, 8, 15, 16])
def test_a_run_that_is_killed_changes_nothing_and_is_gone_on_with(emulator, one, after):
    """SIGKILL after a write: of the lease, of a record, and of the state, before and after it is
    published.
    """
    was, will = read(one, READ[0]), [111.0] * 12
    run = Process(materialized, one, READ[1], emulator.url, "kill", after)
    assert run.end()[0] == -signal.SIGKILL
    assert read(one, READ[0]) == was == [11.0] * 12
    published = read(one, READ[1])
    assert published == (will if after == 16 else was)
    assert make(one, READ[1]).done_before is (after == 16)
    assert (read(one, READ[0]), read(one, READ[1])) == (was, will)


def test_of_two_at_once_both_end_with_one_cut(one):
    runs = [Process(materialized, one, READ[1]) for _ in range(2)]
    for run in runs:
        run.wait()
    said = [run.answer() for run in runs]
    assert sorted(said) == [("made", 0), ("made", 12)]
    assert read(one, READ[1]) == [111.0] * 12


def test_a_run_that_stood_still_is_refused_and_changes_nothing(emulator, one):
    """It stops amid its records; another one makes that cut and the next, and then it goes on."""
    run = Process(materialized, one, READ[1], emulator.url, "stop", 6)
    pid = run.wait()
    later = READ[1] + timedelta(hours=1)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "T", "it stands still")
    made = make(one, later)  # waits until the lease has lapsed
    assert made.cut.T > made.before.T
    values = read(one, later)
    os.kill(pid, signal.SIGCONT)
    kind, text = run.answer()
    assert kind == "FencedError"
    assert "was written by another process meanwhile" in text
    assert read(one, later) == values == [111.0] * 12


def test_a_slow_reader_gets_one_cut(one, monkeypatch):
    """Two cuts are made between its reading of the view's item and of the records: nothing that
    the item named is there any more.
    """
    call, made = AwsClient.call, []

    def calling(self, operation, request, **options):
        keys = (
            next(iter(request["RequestItems"].values()))["Keys"]
            if operation == "batch_get_item" and not made
            else []
        )
        states = [key for key in keys if key["p"]["S"].endswith("/s")]
        if not 0 < len(states) < len(keys):
            return call(self, operation, request, **options)
        made.append(True)
        ((table, wanted),) = request["RequestItems"].items()
        first = {"RequestItems": {table: {**wanted, "Keys": states}}}
        answer = call(self, operation, first, **options)
        for hours in (0, 1):
            make(one, READ[1] + timedelta(hours=hours))
        rest = {**wanted, "Keys": [key for key in keys if key not in states]}
        return {**answer, "UnprocessedKeys": {table: rest}}

    monkeypatch.setattr(AwsClient, "call", calling)
    assert read(one, READ[1]) == [111.0] * 12
    assert made


def test_a_write_whose_answer_is_lost_is_made_once(emulator, one):
    order(emulator.url, lose=True)
    try:
        assert make(one, READ[1]).keys == 12
        store = hw.operations.open_store(one)
        store.commit({b"a": b"1"}, {b"a": None})
        store.commit({b"a": b"2"}, {b"a": b"1"})
        with pytest.raises(hw.errors.FencedError):
            store.commit({b"a": b"3"}, {b"a": None})
        assert store.get([b"a"]) == [b"2"]
        store.close()
    finally:
        order(emulator.url)
    assert read(one, READ[1]) == [111.0] * 12


def test_views_that_stream_are_refused(url, tmp_path):
    schema = {"user": int, "n": float, "at": datetime}
    streaming = view(
        hw.streaming("1s"), stream=hw.appended(str(tmp_path / "*.ndjson"), schema=schema)
    )
    with pytest.raises(
        hw.errors.UsageError,
        match=r"keeps batch views and predictions, and no streams\. Nothing was written\. Ingest "
        "into LMDB, Redis or PostgreSQL",
    ):
        hw.ingest(project(streaming), store=url, data_dir=tmp_path, once=True)
    store = hw.operations.open_store(url)
    assert [key for key, _ in store.scan(b"") if not key.startswith(b"m")] == []
    store.close()


def test_an_erased_key_is_gone(one, tmp_path):
    make(one, READ[1])
    hw.operations.erase(project(), {"user": 3}, store=one, data_dir=tmp_path, dry_run=False)
    left = [None if user == 3 else 111.0 for user in USERS]
    values = read(one, READ[1])
    assert values[3] in (None, 0.0)
    assert values[:3] + values[4:] == left[:3] + left[4:]
    store = hw.operations.open_store(one)
    key = (3).to_bytes(8, "little")
    records = [place for place, _ in store.scan(stores.RECORD)]
    assert len(records) == 2 * 11
    assert not [place for place in records if key in place or key[::-1] in place]
    store.close()


def test_predictions(one, emulator):
    made = project()
    model = made.models[0]
    _, fitted = examples.precomputed_variant(model, model.predictions)
    for at in READ:
        hw.operations.materialize_model(model, fitted, version="1", store=one, at=at)
    store = hw.operations.open_store(one)
    reader = hw.operations.PrecomputedReader(hw.operations.ModelVariant("as_defined", model), store)
    for at in READ:
        found = [reader.one({"user": user}, int(at.timestamp() * 1e6)) for user in USERS]
        assert {prediction.how for prediction in found} == {"precomputed"}
        assert {prediction.cut.T for prediction in found} == {
            int((at - timedelta(minutes=30)).timestamp() * 1e6)
        }
    last = emulator.writes()[-1]
    assert last[0] in ("PutItem", "DeleteItem", "BatchWriteItem")
    store.close()


def test_five_hundred_keys_end(emulator):
    """On an emulator that copies its table for each item of a transaction."""
    url = emulator.store()
    rows = pl.DataFrame({"user": range(500), "n": [1.0] * 500, "at": [NOON] * 500})
    source = hw.Source("visits", history=rows, timestamp_field="at")
    many = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        windows=["30d"],
        features=[hw.sum("n")],
        freshness=hw.batch("1h"),
    )
    (made,) = hw.materialize(project(many), store=url, at=NOON + timedelta(hours=1))
    assert made.keys == 500


def test_a_view_is_forgotten_and_made_again(one):
    assert hw.operations.forget(project(), ["user"], store=one) == {"user": 12}
    with pytest.raises(hw.errors.StoreError, match="is not in the online store"):
        read(one, READ[0])
    make(one, READ[1])
    assert read(one, READ[1]) == [111.0] * 12


def test_a_backup_is_restored(one, emulator, tmp_path):
    store = hw.operations.open_store(one)
    store.backup(tmp_path / "backup")
    store.close()
    other = emulator.store(prefix="other")
    restored = hw.operations.open_store(other)
    stores.restore_into(tmp_path / "backup", restored)
    restored.close()
    assert read(other, READ[0]) == [11.0] * 12


@pytest.mark.parametrize(
    "law",
    [
        "records are kept too",
        "scans rise",
        "one of two threads wins",
        "one of two processes wins",
        "reopening keeps all",
        "the lease has one holder",
        "a newer format is refused",
        "records never go back",
    ],
)
def test_law_of_stores(law, url):
    stores.LAWS[law](Opened(url), Random(0))


class Opened:
    """Opens a store, in other processes too."""

    def __init__(self, url):
        self.url = url

    def __call__(self):
        return hw.operations.open_store(self.url)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("dynamodb://ab?region=eu-west-1", "names no table of DynamoDB: give dynamodb://TABLE"),
        ("dynamodb://features?region=eu-west-1&state=x", "option 'state' .* is not known"),
        ("dynamodb://nothing?region=eu-west-1&endpoint={url}", "there is no table 'nothing' in"),
        ("dynamodbs://features", "is not known; give lmdb:FOLDER, .*did you mean 'dynamodb'"),
    ],
)
def test_errors_say_what_to_give(emulator, address, said):
    with pytest.raises(hw.errors.HeadwaterError, match=said):
        hw.operations.open_store(address.format(url=emulator.url))


def test_a_record_that_no_item_takes_is_refused(url):
    store = hw.operations.open_store(url)
    with pytest.raises(hw.errors.StoreError, match="an item of DynamoDB takes 407,552"):
        store.commit(
            {stores.RECORD + b"x" * 8 + b"user-7\0000": stores.record(1, bytes(500_000))}, {}
        )
    store.close()


def test_several_keys_change_together_or_not_at_all(url):
    store = hw.operations.open_store(url)
    store.commit({b"a": b"1", b"b": b"2"}, {b"a": None})
    with pytest.raises(hw.errors.FencedError):
        store.commit({b"a": b"3", b"b": b"3"}, {b"b": b"1"})
    with pytest.raises(hw.errors.FencedError):
        store.commit({b"a": None}, {b"a": b"2"})
    with pytest.raises(hw.errors.StoreError, match="at most 100 keys besides records"):
        store.commit({b"k%d" % n: b"" for n in range(101)}, {b"k1": None})
    assert store.get([b"a", b"b", b"k1"]) == [b"1", b"2", None]
    store.commit({b"k%d" % n: b"" for n in range(250)}, {})
    assert len(list(store.scan(b"k"))) == 250
    store.close()
