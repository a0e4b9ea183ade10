"""A home of each test's own, entries of the serving log, and outcomes of a small model."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.events.columns import STATUSES
from headwater.journal.serving_log_rows import BatchEntry, EntryContext, RowEntry
from tests.cli.conftest import run  # noqa: F401 (a fixture)

BASE = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def at(seconds):
    """A time, so many seconds after the first of May."""
    return BASE + timedelta(microseconds=round(seconds * 1_000_000))


def micros(seconds):
    return round(BASE.timestamp() * 1_000_000) + round(seconds * 1_000_000)


def about(
    features=("user__visits",),
    *,
    views=("user",),
    request=("user",),
    kind="predict",
    model="churn",
    **more,
):
    said = {"service": "user_v1", "version": "1"} | more
    return EntryContext(
        kind,
        "shop",
        model=model,
        features=tuple(features),
        views=dict.fromkeys(views, "f"),
        request=tuple(request),
        **said,
    )


def as_of(second, *, age=2.0, cut=0.0, commits=None, stale=False, incomplete=False):
    return (
        micros(second - cut),
        micros(second - age),
        {None: 7} if commits is None else commits,
        stale,
        incomplete,
    )


def one(
    of,
    number,
    values=(3,),
    *,
    second=None,
    request=None,
    statuses=None,
    moments=None,
    prediction=0.25,
    how="on_request",
    **more,
):
    """A request of one row, asked `number` seconds after midnight unless `second` says
    otherwise.
    """
    second = number if second is None else second
    said = statuses or ["present"] * len(values)
    return RowEntry(
        of,
        f"r{number}",
        micros(second),
        {"user": number} if request is None else request,
        list(values),
        bytes(STATUSES.index(word) for word in said),
        [as_of(second) for _ in of.views] if moments is None else moments,
        prediction,
        how,
        **more,
    )


def many(of, number, values, *, request, prediction, second=None):
    """A request of several rows: a list of values for each feature."""
    second = number if second is None else second
    height = len(prediction)
    return BatchEntry(
        of,
        f"r{number}",
        micros(second),
        request,
        values,
        [bytes(height) for _ in values],
        [as_of(second) for _ in of.views],
        height,
        prediction,
        "on_request",
    )


def model(*, label="left", task="binary", table=None, name="churn", features=None, **more):
    """A model of whether users leave, over a view of their visits."""
    visits = pl.DataFrame(
        {"user": [1, 1, 2], "pages": [1.0, 2.0, 3.0], "at": [at(-30), at(-20), at(-10)]}
    )
    view = hw.FeatureView(
        "user",
        source=hw.Source("visits", history=visits, timestamp_field="at", select=["user", "pages"]),
        keys=["user"],
        features=features or [hw.count(name="visits")],
        windows=["1d"],
        freshness=hw.on_request(),
    )
    asked = pl.DataFrame({"user": [1], "at": [at(0)], "left": [True]}) if table is None else table
    labels = hw.Labels(
        "leaving", table=asked, timestamp_field="at", label=label, **({"known_after": "1d"} | more)
    )
    return hw.Model(name, features=hw.FeatureService("user_v1", [view]), labels=labels, task=task)


def serve(log, features, of, number, request, second):
    """Read the features of one request as they are at `second`, and log what was answered."""
    got = features.row(request, t=micros(second))
    log.put(
        RowEntry(
            of,
            f"r{number}",
            micros(second),
            request,
            got.values,
            got.statuses,
            got.read_versions,
            0.5,
            "on_request",
        )
    )
    return got
