"""A home of each test's own, and payments of cards: as records of a topic, as a history, and a
project over both.
"""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.assessing.probes.request_probe import of_labels  # noqa: F401 (loaded once: kernels compile)
from tests.catalog.conftest import postgres_server  # noqa: F401 (a fixture)
from tests.cli.conftest import folder, run  # noqa: F401 (fixtures)
from tests.connectors.conftest import registry  # noqa: F401 (a fixture)

NOW = datetime.now(UTC).replace(microsecond=0)
SCHEMA = {"id": str, "card": str, "at": datetime, "amount": float}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HEADWATER_STORE", raising=False)
    return tmp_path / "home"


def ago(seconds):
    """A time before the tests began."""
    return NOW - timedelta(seconds=float(seconds))


def payments(count, *, cards=200, every=30.0, last=60.0):
    """Payments, the latest `last` seconds ago, one `every` seconds, on so many cards in turn."""
    return pl.DataFrame(
        {
            "id": [f"p{n}" for n in range(count)],
            "card": [f"c{n % cards}" for n in range(count)],
            "at": pl.Series(
                [ago(last + every * (count - 1 - n)) for n in range(count)],
                dtype=pl.Datetime("us", "UTC"),
            ),
            "amount": [float(n % 7) for n in range(count)],
        }
    )


def records(frame):
    """Each row as a record of JSON."""
    return [json.dumps(row | {"at": row["at"].isoformat()}).encode() for row in frame.to_dicts()]


def source(history=None, **given):
    """Payments; `history` None has none."""
    given = {"timestamp_field": "at", "id_field": "id", "select": ["card", "amount"]} | given
    return hw.Source("payments", history=history, **given)


def view(of, *, freshness=None, windows=("1h",), **given):
    features = [hw.count(), hw.sum("amount")]
    freshness = hw.streaming("1m") if freshness is None else freshness
    return hw.FeatureView(
        "card",
        source=of,
        **(
            {"keys": ["card"], "features": features, "windows": windows, "freshness": freshness}
            | given
        ),
    )


def project(*views, labels=None, **model):
    """A project of one model over these views."""
    asked = pl.DataFrame(
        {
            "id": ["r0", "r1"],
            "card": ["c0", "c1"],
            "at": [ago(7200), ago(3600)],
            "fraud": [True, False],
        }
    )
    made = hw.Labels(
        "fraud",
        table=asked if labels is None else labels,
        timestamp_field="at",
        label="fraud",
        known_after="10m",
    )
    model = {
        "features": hw.FeatureService("card_v1", list(views)),
        "labels": made,
        "task": "binary",
    } | model
    return hw.Project("shop", [hw.Model("fraud", **model)])


def of(found, check):
    """The one finding of a check."""
    (one,) = [finding for finding in found.findings if finding.check == check]
    return one
