"""The pages of features, lineage, freshness and serving: what they show, of a seeded project and of
an empty one.
"""

import json
import re
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from starlette.testclient import TestClient

import headwater as hw
from headwater import clock
from headwater.console.console_app import console_app
from headwater.console.console_context import ConsoleContext
from headwater.events.columns import STATUSES
from headwater.jobs.materialize import materialize_view
from headwater.journal.conversion import convert
from headwater.journal.serving_log_rows import EntryContext, RowEntry
from headwater.monitoring.daily_statistics import update
from headwater.monitoring.status import status
from headwater.testing.examples import visiting
from tests.waiting import until

HOST = "http://127.0.0.1:8330"
HOSTILE = '"><script>alert(1)</script>'
NOW = datetime.now(UTC).replace(microsecond=0)


def payments_project(folder):
    """A batch view over history, a streaming view over a file, a model, and an experiment; hostile
    strings.
    """
    at = [NOW - timedelta(hours=n) for n in range(1, 60)]
    events = pl.DataFrame(
        {"card": [n % 3 for n in range(59)], "amount": [float(n) for n in range(59)], "at": at}
    )
    payments = hw.Source(
        "payments",
        history=events,
        timestamp_field="at",
        known_after="0s",
        owner=HOSTILE,
        tags=[HOSTILE],
        description=HOSTILE,
    )
    clicks = hw.Source(
        "clicks",
        timestamp_field="at",
        stream=hw.appended(
            folder / "clicks.jsonl", schema={"user": str, "at": datetime, "amount": float}
        ),
        id_field=None,
    )
    card = hw.FeatureView(
        "card",
        source=payments,
        keys=["card"],
        windows=["1d"],
        freshness=hw.batch("1h"),
        features=[hw.count(), hw.mean("amount")],
    )
    user = hw.FeatureView(
        "user",
        source=clicks,
        keys=["user"],
        windows=["1h"],
        freshness=hw.streaming("5s"),
        features=[hw.count()],
    )
    labels = hw.Labels(
        "fraud",
        table=events.with_columns(user=pl.lit("u")),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    model = hw.Model(
        "risk",
        features=hw.FeatureService("risk_v1", [card, user]),
        labels=labels,
        task="regression",
        description=HOSTILE,
    )
    arms = [
        hw.experiments.Arm("old", model, hw.batch("1d")),
        hw.experiments.Arm("new", model, hw.batch("1h")),
    ]
    test = hw.Experiment(
        "hourly",
        arms,
        unit="card",
        metrics=[hw.experiments.ExperimentMetric("amount", value="label")],
    )
    return hw.Project("shop", [model], experiments=[test])


def ingested(project, store, folder):
    """Two good events, two refused ones and one of the future, ingested from a file."""
    events = [
        {"user": "u1", "at": (NOW - timedelta(minutes=n)).isoformat(), "amount": 1.0}
        for n in (1, 2)
    ]
    future = {"user": "u1", "at": (NOW + timedelta(minutes=4)).isoformat(), "amount": 1.0}
    lines = [
        json.dumps(event)
        for event in [*events, {"user": HOSTILE, "at": "yesterday", "amount": 1}, future]
    ]
    (folder / "clicks.jsonl").write_text("\n".join([*lines, f"not json {HOSTILE}\x1b"]) + "\n")
    stop = threading.Event()
    options = {
        "data_dir": folder / "data",
        "options": hw.operations.IngestOptions(allow_unapplied=True),
        "stop": stop,
    }
    ingesting = threading.Thread(target=lambda: hw.ingest(project, store, **options))
    ingesting.start()
    try:
        until(
            lambda: [
                s for s in status(project, store=store, data_dir=folder / "data").streams if s.dead
            ],
            "the refused records",
            seconds=240,
        )
    finally:
        stop.set()
        ingesting.join(30)


def served(project, folder):
    """A serving log of three days: a default and a fallback among them."""
    service, t = project.models[0].features, clock.now_micros()
    about = EntryContext.for_service(
        "predict", "shop", service, model="risk", version="1", stages=("read",)
    )
    with hw.operations.ServedLog(folder / "data") as log:
        for day in range(3):
            for n in range(10):
                at = t - day * 86_400_000_000 - n * 1000
                statuses = bytes(
                    STATUSES.index("fallback" if n == 0 else "present")
                    for _ in service.feature_names
                )
                moments = [(at, at - 90_000_000, {None: 1}, n == 0, False) for _ in service.views]
                how = "default" if n == 0 else "on_request"
                values = [float(n + day)] * len(service.feature_names)
                log.put(
                    RowEntry(
                        about,
                        f"r{day}-{n}",
                        at,
                        {"card": 1},
                        values,
                        statuses,
                        moments,
                        0.5,
                        how,
                        seconds=0.002,
                        stages={"read": 0.001},
                    )
                )
    convert(folder / "data", close=True, wait=20)
    update(folder / "data")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeded")
    project, url = payments_project(folder), f"lmdb:{folder}/online?size=1GB"
    store = hw.operations.open_store(url)
    for view in project.all_views:
        if view.freshness.scheduled:
            materialize_view(view, store, clock.now_micros())
    ingested(project, store, folder)
    store.close()
    served(project, folder)
    context = ConsoleContext(project, folder / "data", store=url, models=folder / "models")
    yield context
    context.close()


@pytest.fixture(scope="module")
def client(seeded):
    return TestClient(console_app(seeded, None), base_url=HOST, follow_redirects=False)


@pytest.fixture
def empty(tmp_path):
    context = ConsoleContext(
        visiting(hw.batch("1h")),
        tmp_path / "data",
        store=f"lmdb:{tmp_path}/online",
        models=tmp_path / "models",
    )
    yield TestClient(console_app(context, None), base_url=HOST, follow_redirects=False)
    context.close()


def text_of(client, path):
    answer = client.get(f"/console{path}")
    assert answer.status_code == 200, answer.text
    assert "<script>alert" not in answer.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer.text))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/features", ["7 definitions", "payments", "&gt;&lt;script&gt;", "2 features"]),
        (
            "/features?q=mean",
            ["2 definitions with", "1 of 2 features", "card__mean_amount_1d", "risk_v1"],
        ),
        ("/features?q=nothing%20like%20it", ["No definition matches"]),
        ("/definition?of=view%20card", ["every 1h", "card__count_1d", "count() over 1d"]),
        ("/lineage", ["2 sources, 2 views, 1 service, 1 model, 1 experiment; 3 features"]),
        (
            "/features/card__mean_amount_1d",
            [
                "at most 1 h old",
                "model risk",
                "1.5 min (median)",
                "not compared yet",
                "Drift from training",
                "risk:",
                "curl -X POST",
            ],
        ),
        ("/freshness", ["card", "current", "Newest event", "clicks", "10 reads on"]),
        (
            "/freshness/clicks",
            ["2 records refused; 2 not replayed", "not a timestamp", "not json", "Replay all"],
        ),
        (
            "/serving",
            [
                "model risk",
                "2 ms median",
                "10 %",
                "of 30 predictions",
                "read",
                "Features with fallbacks",
                "card__count_1d",
            ],
        ),
    ],
)
def test_a_page_shows_the_project(client, path, says):
    text = text_of(client, path)
    assert [part for part in says if part not in text] == [], text


@pytest.mark.parametrize(
    "path",
    ["/features/card__cont_1d", "/definition?of=view%20crad", "/definition", "/freshness/nothing"],
)
def test_what_there_is_not_is_not_found(client, path):
    answer = client.get(f"/console{path}")
    assert (answer.status_code, "Not found" in answer.text) == (404, True)


def test_records_are_replayed_by_admins_with_a_form_of_the_session(client):
    form = {"source": "clicks", "reason": ""}
    assert client.post("/console/replay", data=form).status_code == 403
    csrf = re.search(r'name="csrf" value="([^"]+)"', client.get("/console/freshness/clicks").text)[
        1
    ]
    answer = client.post("/console/replay", data={**form, "csrf": csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/freshness/clicks")
    assert "2 refused records: 2 refused" in text_of(client, "/freshness/clicks")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/features", "4 definitions"),
        ("/features/user__count_1d", "Nothing was served"),
        ("/features/user__count_1d?explain=1&key.user=1", "Explain a value"),
        ("/lineage", "1 source"),
        ("/freshness", "Nothing has been ingested"),
        ("/serving", "Nothing was served"),
    ],
)
def test_an_empty_project_has_every_page(empty, path, says):
    assert says in text_of(empty, path)
