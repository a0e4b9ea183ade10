"""What tests run in processes of their own."""

import time
from contextlib import closing
from pathlib import Path

import polars as pl

import headwater as hw
from headwater.ingestion import archive
from headwater.jobs import precompute
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import Fitted
from headwater.stores import keyspace
from tests.flow import frame, micros, view_of

KEYS = 4000


def many():
    """A view of 12,000 events of 4,000 keys: three each, one of them before the first hour, of
    amount 1, 10 and 100.
    """
    rows = [(key, 3600 * n + 0.1 + key / 8000, 10.0**n) for key in range(KEYS) for n in range(3)]
    return view_of(
        frame(rows),
        freshness=hw.batch("1h", delay="10m"),
        features=[hw.sum("amount")],
        windows=["300d"],
    )


def known_late():
    """A variant that scores each key of `many` hourly: twice the sum of its amounts."""
    labels = hw.Labels(
        "labels",
        table=frame([(1, 10, 1.0)]),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    model = hw.Model(
        "model", task="regression", features=hw.FeatureService("service", [many()]), labels=labels
    )
    return hw.operations.ModelVariant(
        "ahead",
        model,
        hw.Level(predictions=hw.precomputed(hw.batch("1h", delay="10m"), keys=["key"])),
    )


class Doubled:
    """Twice its only input."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return 2 * X[:, 0]


def score_slowly(pipe, url, hours):
    """Score up to so many hours, in 8 parts, small commits; says each part that it has made, and
    takes its time after it.
    """
    precompute._ROWS, precompute._KEYS = KEYS // 8, 100
    variant = known_late()
    fitted = Fitted(
        Doubled(),
        fit_encoding(pl.DataFrame({"view__sum_amount_300d": [1.0]})),
        "regression",
        "doubled",
    )
    real, made = precompute._ScoringRun._scores, 0

    def told(self, keys):
        nonlocal made
        found = real(self, keys)
        made += 1
        pipe.send(made)
        time.sleep(0.05)
        return found

    precompute._ScoringRun._scores = told
    with closing(hw.operations.open_store(url)) as store:
        precompute.PrecomputeJob(variant, fitted, "1", store).run(micros(3600 * hours + 600))
        pipe.send("done")


def roll_objects_and_say(pipe, url, folder, pause):
    """Roll the archive to an object store, and say before the object is written, after it, and when
    the blocks are gone.

    pause: seconds to wait in the middle of the request that writes it.
    """
    from obstore.store import S3Store

    real = S3Store.put

    def told(store, path, content, **options):
        pipe.send("before")
        half = len(content) // 2
        real(store, path, _slowly(pipe, (content[:half], content[half:]), pause), **options)
        pipe.send("object")
        time.sleep(0.3)

    S3Store.put = told
    with closing(hw.operations.open_store(url)) as store:
        archive.Roller(store, keyspace.ARCHIVE, Path(folder), "events").roll()
        pipe.send("deleted")
        pipe.send("done")
        time.sleep(60)


def _slowly(pipe, pieces, pause):
    for piece in pieces:
        yield piece
        pipe.send("half")
        time.sleep(pause)
