"""Precomputed predictions: their cut, their events, the version of the model; and what becomes of a
request without one.
"""

import time
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, StaleError, StoreError, UsageError
from headwater.jobs import precompute
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import Fitted
from headwater.testing.processes import Process
from tests.children import KEYS, known_late, score_slowly
from tests.figures import figure
from tests.flow import BASE, at, frame, home, micros, store, view_of  # noqa: F401 (fixtures)

HOURLY = hw.batch("1h", delay="10m", wait="2m")
H = 3600


class Doubled:
    """Twice the last input, of a fitted model called `times`."""

    def __init__(self, times=2.0):
        self.times = times

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.times * X[:, -1]


def model_of(*views, members=(), **more):
    labels = hw.Labels(
        "labels",
        table=frame([(1, 10, 1.0)]),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    service = hw.FeatureService("service", [*views, *members])
    return hw.Model(
        "model", **({"task": "regression", "features": service, "labels": labels} | more)
    )


def total(events, **more):
    return view_of(
        events,
        freshness=more.pop("freshness", hw.on_request()),
        features=[hw.sum("amount")],
        windows=["300d"],
        **more,
    )


def variant_of(events, freshness=HOURLY, *, members=(), model=None, **more):
    """A variant whose scores are twice the sum of a key's amounts."""
    keys = more.pop("keys", ["key"])
    of = model or model_of(total(events), members=members)
    return hw.operations.ModelVariant(
        "ahead", of, hw.Level(predictions=hw.precomputed(freshness, keys=keys, **more))
    )


def fitted_of(variant, times=2.0, kind="regression", **more):
    names = variant.level.feature_names(variant.model)
    return Fitted(
        Doubled(times),
        fit_encoding(pl.DataFrame({name: [1.0] for name in names})),
        kind,
        "doubled",
        **more,
    )


EVENTS = frame([(1, 10, 1.0), (1, H + 10, 10.0), (2, H + 20, 5.0), (1, 2 * H + 10, 100.0)])


def looked_up(variant, store, second, *keys):
    found = hw.operations.PrecomputedReader(variant, store).many(
        {"key": list(keys)}, len(keys), micros(second)
    )
    return dict(zip(keys, found.values, strict=True))


# ---------------------------------------------------------------- which events, and which cut


def test_what_is_known_one_microsecond_after_the_cut_does_not_count(store):
    """Of an event at the cut, and of one known just after it, no score says anything; of those just
    before it does.
    """
    tick = 1e-6
    rows = [(1, H - tick, 1.0), (2, H, 1.0), (3, 10, 1.0), (4, 10, 1.0), (1, 10, 2.0), (1, 20, 4.0)]
    known = [H - tick, H, H, H + tick, H, H + tick]
    events = frame(rows).with_columns(known=pl.Series([at(s) for s in known]))
    view = total(events, source={"select": ["key", "amount"], "known_at_field": "known"})
    variant = variant_of(events, model=model_of(view))
    made = hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(H + 600))
    # `wait` is for the job alone
    assert (made.cut.T, made.cut.K, made.cut.keys) == (micros(H), micros(H + 120), 2)
    assert looked_up(variant, store, H + 600, 1, 2, 3, 4) == {1: 6.0, 2: None, 3: 2.0, 4: None}


def test_a_cut_is_read_when_its_delay_is_over(store):
    variant = variant_of(EVENTS)
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H - 1))
    assert looked_up(variant, store, 2 * H, 1, 2) == {1: 2.0, 2: None}
    # as soon as it can be
    made = hw.operations.materialize_model(
        variant, fitted_of(variant), store=store, at=at(2 * H + 120)
    )
    assert (micros(2 * H), micros(H)) == (made.cut.T, made.before.T)
    assert looked_up(variant, store, 2 * H + 600 - 1e-6, 1, 2) == {1: 2.0, 2: None}
    assert looked_up(variant, store, 2 * H + 600, 1, 2) == {1: 22.0, 2: 10.0}
    again = hw.operations.materialize_model(
        variant, fitted_of(variant), store=store, at=at(2 * H + 700)
    )
    assert again.done_before
    found = hw.operations.PrecomputedReader(variant, store).one({"key": 1}, micros(2 * H + 600))
    assert (found.how, found.age, found.stale, found.cut) == ("precomputed", 480.0, False, made.cut)


def test_a_late_job_leaves_the_exact_scores_of_the_cut_before(store):
    variant = variant_of(EVENTS)
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    found = hw.operations.PrecomputedReader(variant, store).one({"key": 1}, micros(5 * H))
    assert (found.value, found.how, found.stale, found.age) == (
        2.0,
        "precomputed",
        True,
        4 * H - 120,
    )


@pytest.mark.parametrize(
    ("more", "how"),
    [
        ({"on_stale": "null"}, "default"),
        ({"on_stale": "null", "otherwise": "on_request"}, "on_request"),
        ({"on_stale": "refuse"}, None),
    ],
)
def test_what_is_told_of_stale_scores(store, more, how):
    view = total(EVENTS, freshness=hw.batch("1h"))
    variant = variant_of(EVENTS, model=model_of(view), **more)
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    reader = hw.operations.PrecomputedReader(variant, store)
    assert reader.one({"key": 1}, micros(2 * H)).value == 2.0
    for read in (
        lambda: reader.one({"key": 1}, micros(3 * H)),
        lambda: reader.many({"key": [1]}, 1, micros(3 * H)),
    ):
        if how is None:
            with pytest.raises(StaleError, match="older than promised"):
                read()
        else:
            assert how in (read().how, read().how[0])
            assert read().stale
            assert not any(value for value in read()[:1] if value not in (None, [None]))


def test_another_version_of_the_model_makes_a_cut_again(store):
    variant = variant_of(EVENTS)
    old, new = fitted_of(variant), fitted_of(variant, 3.0)
    hw.operations.materialize_model(variant, old, version="1", store=store, at=at(2 * H + 600))
    assert hw.operations.materialize_model(
        variant, old, version="1", store=store, at=at(2 * H + 601)
    ).done_before
    made = hw.operations.materialize_model(
        variant, new, version="2", store=store, at=at(2 * H + 602)
    )
    assert (made.cut.T, made.cut.version, made.before.version) == (micros(2 * H), "2", "1")
    assert looked_up(variant, store, 2 * H + 602, 1) == {1: 33.0}
    # the next cut, before its time
    hw.operations.materialize_model(variant, new, version="2", store=store, at=at(3 * H + 130))
    hw.operations.materialize_model(variant, old, version="3", store=store, at=at(3 * H + 140))
    assert looked_up(variant, store, 3 * H + 140, 1) == {1: 33.0}  # open reads are not overwritten
    hw.operations.materialize_model(variant, old, version="3", store=store, at=at(3 * H + 600))
    assert looked_up(variant, store, 3 * H + 600, 1) == {1: 222.0}


def test_a_model_without_a_version_is_told_from_another(store):
    variant = variant_of(EVENTS)
    one = hw.operations.materialize_model(
        variant, fitted_of(variant), store=store, at=at(2 * H + 600)
    )
    two = hw.operations.materialize_model(
        variant, fitted_of(variant, 3.0), store=store, at=at(2 * H + 600)
    )
    assert one.cut.version != two.cut.version
    assert (
        hw.operations.materialize_model(
            variant, fitted_of(variant), store=store, at=at(2 * H + 600)
        ).cut.version
        == one.cut.version
    )


# ---------------------------------------------------------------- which keys


def test_keys_that_are_idle_are_counted_or_left_out(store):
    variant = variant_of(frame([(1, 10, 1.0), (2, 86400 * 40, 1.0), (3, 86400 * 40 + 10, 1.0)]))
    now = at(86400 * 41)
    made = hw.operations.materialize_model(
        variant, fitted_of(variant), version="all", store=store, at=now
    )
    assert (made.cut.keys, made.inactive, made.skipped, made.unknown) == (3, 1, 0, 0)
    made = hw.operations.materialize_model(
        variant,
        fitted_of(variant),
        version="day",
        store=store,
        at=now,
        keys=hw.operations.ActiveKeys("1d"),
    )
    assert (made.cut.keys, made.inactive, made.skipped, made.window) == (2, 0, 1, 86400 * 10**6)
    assert looked_up(variant, store, 86400 * 41, 1, 2, 3) == {1: None, 2: 2.0, 3: 2.0}


@pytest.mark.parametrize("kind", ["frame", "parquet", "csv"])
def test_keys_can_be_listed(kind, store, tmp_path):
    variant = variant_of(EVENTS)
    listed = pl.DataFrame(
        {"key": [2, 9, 2, None], "other": "x"}, schema_overrides={"key": pl.Int32}
    )
    listed.write_parquet(tmp_path / "keys.parquet")
    listed.write_csv(tmp_path / "keys.csv")
    given = {
        "frame": listed,
        "parquet": hw.parquet(tmp_path / "keys.parquet"),
        "csv": hw.csv(tmp_path / "keys.csv"),
    }[kind]
    made = hw.operations.materialize_model(
        variant, fitted_of(variant), store=store, at=at(2 * H + 600), keys=given
    )
    assert (made.cut.keys, made.unknown) == (1, 1)
    assert looked_up(variant, store, 2 * H + 600, 1, 2, 9) == {1: None, 2: 10.0, 9: None}
    with pytest.raises(
        DataError, match=r"the list of keys has no column 'key'.*it has \['other'\]"
    ):
        hw.operations.materialize_model(
            variant,
            fitted_of(variant),
            version="2",
            store=store,
            at=at(2 * H + 600),
            keys=listed.select("other"),
        )


def test_pairs_of_keys_are_those_whose_parts_are_known(store):
    events = frame([(1, 10, 1.0), (2, 20, 2.0)], shop=["a", "b"])
    source = hw.Source(
        "events", history=events, timestamp_field="at", select=["key", "shop", "amount"]
    )
    rules = {"source": source, "features": [hw.sum("amount")], "freshness": hw.on_request()}
    views = [
        hw.FeatureView("user", keys=["key"], **rules),
        hw.FeatureView("shop", keys=["shop"], **rules),
    ]
    variant = variant_of(events, model=model_of(*views), keys=["key", "store"])
    with pytest.raises(UsageError, match="no view of these keys alone has the key 'store'"):
        hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    views[1] = views[1].alias("in_store", keys={"shop": "store"})
    variant = variant_of(events, model=model_of(*views), keys=["key", "store"])
    made = hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    assert made.cut.keys == 4
    found = hw.operations.PrecomputedReader(variant, store).many(
        {"key": [1, 1, 2, 3], "store": ["a", "b", "a", "a"]}, 4, micros(2 * H)
    )
    assert found.values == [2.0, 4.0, 2.0, None]
    pair = hw.FeatureView("pair", keys=["key", "shop"], **rules).alias(
        "both", keys={"shop": "store"}
    )
    variant = variant_of(events, model=model_of(pair), keys=["key", "store"])
    assert (
        hw.operations.materialize_model(
            variant, fitted_of(variant), store=store, at=at(2 * H)
        ).cut.keys
        == 2
    )


LONG = "x" * 600


@pytest.mark.parametrize(
    ("keys", "ask", "value"),
    [
        ([1, 2], 1, 2.0),
        ([1, 2], None, None),
        ([1, 2], 7, None),
        (["a", "b"], "a", 2.0),
        (["a", LONG], LONG, 4.0),
        (["a", LONG], "x" * 599 + "y", None),
        ([True, False], True, 2.0),
        ([at(5).date(), at(90000).date()], at(5).date(), 2.0),
        ([at(5), at(6)], at(6), 4.0),
    ],
)
def test_keys_of_any_type_are_found(keys, ask, value, store):
    events = pl.DataFrame({"key": keys, "amount": [1.0, 2.0], "at": [at(10), at(20)]})
    variant = variant_of(events)
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    assert (
        hw.operations.PrecomputedReader(variant, store).one({"key": ask}, micros(2 * H)).value
        == value
    )
    assert hw.operations.PrecomputedReader(variant, store).many(
        {"key": [ask, keys[0]]}, 2, micros(2 * H)
    ).values == [value, 2.0]


def test_keys_that_cannot_be(store):
    variant = variant_of(EVENTS)
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    reader = hw.operations.PrecomputedReader(variant, store)
    with pytest.raises(DataError, match="key"):
        reader.one({"key": "one"}, micros(2 * H))
    with pytest.raises(
        DataError,
        match=r"the request has no 'key', which the prediction of model 'model' is looked up by; did you mean 'kex'",
    ):
        reader.one({"kex": 1}, micros(2 * H))


# ---------------------------------------------------------------- lookups of missing entries


def test_nothing_was_made_yet(store):
    variant = variant_of(EVENTS)
    with pytest.raises(
        StoreError,
        match=(
            "no predictions of model 'model' at level 'ahead' were made yet; run `headwater "
            "materialize model`"
        ),
    ):
        hw.operations.PrecomputedReader(variant, store).one({"key": 1}, micros(H))
    chain = variant_of(
        EVENTS, model=model_of(total(EVENTS, freshness=hw.batch("1h"))), otherwise="on_request"
    )
    reader = hw.operations.PrecomputedReader(chain, store)
    assert reader.one({"key": 1}, micros(2 * H)) == (None, "on_request", None, 0.0, True)
    hw.operations.materialize_model(chain, fitted_of(chain), store=store, at=at(2 * H))
    # the same reader finds them
    assert reader.one({"key": 1}, micros(2 * H))[:2] == (2.0, "precomputed")


def test_keys_of_another_type_are_found_by_the_same_reader(store, tmp_path):
    path = tmp_path / "events.parquet"
    EVENTS.write_parquet(path)
    variant = variant_of(hw.parquet(path))
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(H + 600))
    reader = hw.operations.PrecomputedReader(variant, store)
    assert reader.one({"key": 1}, micros(H + 600)).value == 2.0
    EVENTS.with_columns(pl.col("key").cast(pl.String)).write_parquet(path)
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H + 600))
    with pytest.raises(DataError):
        reader.one({"key": 1}, micros(2 * H + 600))
    assert reader.one({"key": "1"}, micros(2 * H + 600)).value == 22.0


# ---------------------------------------------------------------- tasks


def test_a_score_for_each_class(store):
    class Shares(Doubled):
        def predict_proba(self, X):
            return np.stack([X[:, 0], 1 - X[:, 0]], axis=1)

    variant = variant_of(EVENTS, model=model_of(total(EVENTS), task="multiclass"))
    fitted = Fitted(
        Shares(),
        fit_encoding(pl.DataFrame({"view__sum_amount_300d": [1.0]})),
        "multiclass",
        "shares",
        classes=("a", "b"),
    )
    with pytest.raises(
        UsageError,
        match=r"shares cannot be distinguished from other models: .*Shares.*; name it with version=",
    ):
        hw.operations.materialize_model(variant, fitted, store=store, at=at(2 * H))
    made = hw.operations.materialize_model(variant, fitted, version="1", store=store, at=at(2 * H))
    assert made.cut.names == ["score_a", "score_b"]
    assert looked_up(variant, store, 2 * H, 1) == {1: (1.0, 0.0)}


def test_a_list_for_each_key(store):
    """Candidates in order of their scores, those of one score as they were found, as of the cut; a
    key without candidates has no list.
    """
    clicks = pl.DataFrame(
        {
            "user": [1, 1, 2, 2, 2, 3],
            "item": ["a", "b", "c", "a", "c", None],
            "price": [1.0, 5.0, 2.0, 3.0, 4.0, 1.0],
            "at": [at(s) for s in (10, 20, 30, H + 10, 2 * H + 10, 5)],
        }
    )
    source = hw.Source(
        "clicks", history=clicks, timestamp_field="at", select=["user", "item", "price"]
    )
    rules = {"source": source, "freshness": hw.on_request()}
    recent = hw.FeatureView("recent", keys=["user"], features=[hw.last_n("item", k=3)], **rules)
    item = hw.FeatureView("item", keys=["item"], features=[hw.sum("price")], **rules)
    labels = hw.Labels(
        "l",
        table=clicks.with_columns(request=1),
        timestamp_field="at",
        label="price",
        known_after="1h",
    )
    task = hw.Ranking(group="request", item="item", candidates=[recent["last_n_item"]])
    of = hw.Model("feed", task=task, features=hw.FeatureService("feed_v1", [item]), labels=labels)
    variant = hw.operations.ModelVariant(
        "ahead", of, hw.Level(predictions=hw.precomputed(HOURLY, keys=["user"]))
    )
    assert variant.level.feature_names(of) == ("item__sum_price",)
    fitted = fitted_of(variant, 1.0, "ranking")
    made = hw.operations.materialize_model(variant, fitted, store=store, at=at(2 * H))
    assert (made.cut.names, made.cut.keys, made.unknown) == ([], 2, 1)
    found = hw.operations.PrecomputedReader(variant, store).many(
        {"user": [1, 2, 3]}, 3, micros(2 * H)
    )
    assert found.values == [(["b", "a"], [5.0, 1.0]), (["c"], [2.0]), None]
    hw.operations.materialize_model(variant, fitted, store=store, at=at(3 * H))
    assert hw.operations.PrecomputedReader(variant, store).one(
        {"user": 2}, micros(3 * H)
    ).value == (["a", "c"], [4.0, 2.0])


# ---------------------------------------------------------------- refusals


@hw.request_feature
def fee(amount: float) -> float:
    return amount / 10


@pytest.mark.parametrize(
    ("made", "error", "says"),
    [
        (
            lambda: hw.operations.ModelVariant("now", model_of(total(EVENTS))),
            UsageError,
            "at level 'now' is predicted on request; give the level predictions=",
        ),
        (
            lambda: variant_of(EVENTS, hw.streaming("1m")),
            UsageError,
            r"is for backtests only: .*a job computes them at cuts",
        ),
        (
            lambda: hw.operations.ModelVariant(
                "x",
                model_of(v := total(EVENTS)),
                hw.Level(
                    predictions=hw.precomputed(HOURLY, keys=["key"]), known_after={v.source: "1h"}
                ),
            ),
            UsageError,
            "is for backtests only: known_after of events",
        ),
        (
            lambda: variant_of(
                EVENTS.rename({"key": "score"}),
                model=model_of(total(EVENTS, keys=["key"]).alias("v", {"key": "score"})),
                keys=["score"],
            ),
            UsageError,
            "'score' is also the name of a column that is written with the keys",
        ),
    ],
)
def test_what_cannot_be_precomputed(made, error, says, store):
    variant = made()
    with pytest.raises(error, match=says):
        hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))


def test_a_model_that_reads_the_request_is_refused(store):
    variant = variant_of(EVENTS, members=[hw.RequestField("size", float)])
    every = hw.operations.ModelVariant("now", variant.model, hw.Level())
    with pytest.raises(
        DataError,
        match=r"was trained on size, which a job that precomputes for \['key'\] does not know; train it at this level",
    ):
        hw.operations.materialize_model(variant, fitted_of(every), store=store, at=at(2 * H))
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    assert looked_up(variant, store, 2 * H, 1) == {1: 2.0}


# ---------------------------------------------------------------- kills, and two concurrent runs


@pytest.mark.slow
def test_a_run_that_is_killed_is_gone_on_with(store, tmp_path, home):
    """Reads stay at the cut before; the next run makes only the parts that are missing, and every
    score is exact.
    """
    url, made = f"lmdb:{tmp_path}/killed?size=1GB", 0
    first = Process(score_slowly, url, 1)
    while first.wait() != "done":
        pass
    for _ in range(4):
        child = Process(score_slowly, url, 2)
        for _ in range(2):
            child.wait()
        child.kill()
        parts = list((home / "work").rglob("part*.parquet"))
        assert len(parts) >= made
        made = len(parts)
        read = hw.operations.open_store(url, readonly=True)
        found = hw.operations.PrecomputedReader(known_late(), read).many(
            {"key": list(range(KEYS))}, KEYS, micros(2 * H + 600)
        )
        assert (set(found.values), found.stale) == ({2.0}, True)
        read.close()
    last = Process(score_slowly, url, 2)
    said = 0
    while (told := last.wait()) != "done":
        said = told
    figure(f"of 8 parts, 4 runs that were killed had made {made}; the last made {said}")
    assert 0 < made < 8
    assert said == 8 - made
    read = hw.operations.open_store(url, readonly=True)
    found = hw.operations.PrecomputedReader(known_late(), read).many(
        {"key": list(range(KEYS))}, KEYS, micros(2 * H + 600)
    )
    assert (set(found.values), found.stale) == ({22.0}, False)
    read.close()
    assert not list((home / "work").rglob("part*"))


def test_a_killed_run_of_other_keys_leaves_no_score(store, monkeypatch):
    """A cut was written for all keys when the process died; the run that follows scores fewer, and
    only those are found.

    Even before it has dropped what the first one left.
    """
    variant = variant_of(EVENTS)
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(H + 600))

    def dies(*_, **__):
        raise KeyboardInterrupt

    commit = store.commit
    # all records are written, and the cut is not published
    monkeypatch.setattr(precompute, "PrecomputedCut", dies)
    with pytest.raises(KeyboardInterrupt):
        hw.operations.materialize_model(
            variant, fitted_of(variant), store=store, at=at(2 * H + 600)
        )
    monkeypatch.undo()
    assert store.commit == commit
    assert looked_up(variant, store, 2 * H + 600, 1, 2) == {1: 2.0, 2: None}
    monkeypatch.setattr(precompute, "_sweep", lambda *_: None)
    hw.operations.materialize_model(
        variant,
        fitted_of(variant),
        store=store,
        at=at(2 * H + 600),
        keys=pl.DataFrame({"key": [1]}),
    )
    assert looked_up(variant, store, 2 * H + 600, 1, 2) == {1: 22.0, 2: None}


def test_one_run_at_a_time(store):
    variant = variant_of(EVENTS)
    job = precompute.PrecomputeJob(variant, fitted_of(variant), "1", store)
    with (
        store.lease(f"score-{job.fingerprint}", wait=0),
        pytest.raises(StoreError, match="another process holds the lease"),
    ):
        job.run(micros(2 * H), wait=0.1)
    assert job.run(micros(2 * H), wait=0.1).cut.keys == 1


# ---------------------------------------------------------------- files, and speed


def test_files_appear_whole(store, tmp_path):
    variant, folder = variant_of(EVENTS), tmp_path / "scores"
    hw.operations.materialize_model(
        variant, fitted_of(variant), version="1", store=store, at=at(H + 600)
    )
    made = hw.operations.materialize_model(
        variant, fitted_of(variant), version="1", store=store, at=at(H + 600), sinks=[folder]
    )  # the store has it already
    assert made.cut == made.before
    assert sorted(path.name for path in folder.iterdir()) == ["20240501T010000Z"]
    hw.operations.materialize_model(
        variant, fitted_of(variant), version="1", store=store, at=at(2 * H + 600), sinks=[folder]
    )
    hw.operations.materialize_model(
        variant,
        fitted_of(variant, 3.0),
        version="2",
        store=store,
        at=at(2 * H + 600),
        sinks=[folder],
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "20240501T010000Z",
        "20240501T020000Z",
    ]
    found = pl.read_parquet(folder / "*/*.parquet").sort("cut", "key")
    assert found.select("key", "score", "model_version").rows() == [
        (1, 2.0, "1"),
        (1, 33.0, "2"),
        (2, 15.0, "2"),
    ]
    assert found["cut"].to_list() == [at(H), at(2 * H), at(2 * H)]
    assert (found["known_until"] - found["cut"]).unique().to_list() == [timedelta(minutes=2)]
    again = hw.operations.materialize_model(
        variant,
        fitted_of(variant, 3.0),
        version="2",
        store=store,
        at=at(2 * H + 600),
        sinks=[folder],
    )
    assert (again.done_before, again.parts) == (True, (0, 0))


def test_one_key_is_looked_up_in_microseconds(store):
    n = 20_000
    variant = variant_of(
        pl.DataFrame({"key": np.arange(n), "amount": np.ones(n), "at": [BASE] * n})
    )
    hw.operations.materialize_model(variant, fitted_of(variant), store=store, at=at(2 * H))
    reader, t = hw.operations.PrecomputedReader(variant, store), micros(2 * H)
    best = (
        min(
            _seconds(lambda: [reader.one({"key": key}, t) for key in range(1000)]) for _ in range(5)
        )
        / 1000
    )
    many = (
        min(_seconds(lambda: reader.many({"key": list(range(1000))}, 1000, t)) for _ in range(5))
        / 1000
    )
    figure(f"a score is looked up in {best * 1e6:.1f} us, and in {many * 1e6:.2f} us among 1,000")
    assert best < 100e-6


def _seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
