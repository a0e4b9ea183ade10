"""Precomputed predictions: their cut, their events, the version of the model; and what becomes of a
request without one.
"""

import polars as pl
import pytest

import headwater as hw
from headwater.errors import StaleError
from headwater.jobs import precompute
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import Fitted
from headwater.testing.processes import Process
from tests.children import KEYS, known_late, score_slowly
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
