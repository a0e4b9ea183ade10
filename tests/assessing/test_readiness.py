"""Readiness without a broker: histories, labels, logs, stores and PostgreSQL with planted faults,
answers, levels; nothing is written.
"""

import hashlib
import json
from contextlib import closing
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.assessing.questions import Answers
from headwater.assessing.readiness import readiness
from headwater.pages.assessment_page import readiness_blocks
from tests.assessing.conftest import NOW, ago, of, payments, source, view
from tests.journal.conftest import about, micros, one
from tests.stores.servers import serving

DAY = 86_400
GOOD = {
    "S2": 0.01,
    "S5": "tested",
    "X1": "yes",
    "X2": "named",
    "X3": "yes",
    "X4": "number given",
    "X5": "tagged",
    "D1": "present",
    "D2": "history or CDC",
}


def asked(count=200, *, cards=200, every=3600.0, delays=None, labelled=None):
    """Labelled requests, one an hour; `delays` in seconds; the last one is known at its own
    time.
    """
    at = [ago(every * (count - n) + 10) for n in range(count)]
    known = [
        t + timedelta(seconds=(delays or [60])[n % len(delays or [60])]) for n, t in enumerate(at)
    ]
    fraud = [n % 3 == 0 if labelled is None or n < labelled else None for n in range(count)]
    return pl.DataFrame(
        {"card": [f"c{n % cards}" for n in range(count)], "at": at, "known": known, "fraud": fraud},
        schema_overrides={"fraud": pl.Boolean},
    )


def labels(frame, **given):
    return hw.Labels(
        "fraud",
        table=frame,
        timestamp_field="at",
        label="fraud",
        **({"known_at_field": "known"} | given),
    )


# ---------------------------------------------------------------- histories


@pytest.mark.parametrize(("days", "state"), [(40, "green"), (5, "amber"), (0.5, "red")])
def test_span_of_the_archive(days, state):
    """It is trained on 199 hours, with a window of a day and labels that are known after ten
    minutes.
    """
    history = payments(int(days * 48), every=1800.0)
    found = of(
        readiness(
            project(
                view(source(history), windows=("1d",)),
                labels=labels(asked(), known_at_field=None, known_after="10m"),
            )
        ),
        "E7",
    )
    assert found.state == state, found


def project_of_labels(frame, **given):
    return hw.Project(
        "shop",
        [
            hw.Model(
                "fraud",
                features=hw.FeatureService("card_v1", [view(source(payments(200)))]),
                labels=labels(frame, **given),
                task="binary",
            )
        ],
    )


def project(*views, labels=None, **model):
    made = (
        labels
        if isinstance(labels, hw.Labels)
        else hw.Labels(
            "fraud", table=asked(), timestamp_field="at", label="fraud", known_after="10m"
        )
    )
    return hw.Project(
        "shop",
        [
            hw.Model(
                "fraud",
                features=hw.FeatureService("card_v1", list(views)),
                labels=made,
                task="binary",
                **model,
            )
        ],
    )


@pytest.mark.parametrize(("bad", "state"), [(0, "green"), (5, "amber"), (50, "red")])
def test_event_times_of_a_history(bad, state):
    later = (
        pl.when(pl.int_range(1000) < bad)
        .then(pl.lit(NOW + timedelta(days=2)))
        .otherwise("at")
        .alias("at")
    )
    assert (
        of(readiness(project(view(source(payments(1000).with_columns(later))))), "E2").state
        == state
    )


@pytest.mark.parametrize(
    ("late", "E3", "E4"), [(5, "green", "green"), (40, "amber", "amber"), (200, "red", "red")]
)
def test_lag_and_disorder_of_a_history_with_a_known_time(late, E3, E4):
    frame = payments(1000, cards=1, every=1.0)
    slow = pl.int_range(1000) % 50 == 0
    known = (
        pl.col("at")
        + pl.when(slow).then(pl.duration(seconds=late)).otherwise(pl.duration(seconds=0))
    ).alias("known")
    made = source(frame.with_columns(known), known_at_field="known")
    found = readiness(project(view(made)))
    assert (of(found, "E3").state, of(found, "E4").state) == (E3, E4), (
        of(found, "E3"),
        of(found, "E4"),
    )
    assert of(found, "D1").state == "green"


def test_a_naive_time_is_not_measured_and_bars_even_daily_values():
    naive = payments(10).with_columns(pl.col("at").dt.replace_time_zone(None))
    found = readiness(project(view(source(naive))))
    assert of(found, "E2").state == "unknown"
    assert "time zone" in of(found, "E2").said
    (only,) = found.views
    assert only.reachable == only.possible == "none"


# ---------------------------------------------------------------- labels and logs


@pytest.mark.parametrize(
    ("delays", "labelled", "state"),
    [
        ([3600], 200, "green"),
        ([20 * DAY], 200, "amber"),
        ([90 * DAY], 200, "red"),
        ([3600], 150, "amber"),
        ([3600], 80, "red"),
    ],
)
def test_label_delay_and_share_labelled(delays, labelled, state):
    found = of(readiness(project_of_labels(asked(delays=delays, labelled=labelled))), "L1")
    assert found.state == state
    assert found.reading.origin == "measured"


@pytest.mark.parametrize(("strange", "state"), [(0, "green"), (2, "amber")])
def test_posted_outcomes_join_the_log_by_request_id(home, strange, state):
    made = project(view(source(payments(200))))
    with hw.operations.ServedLog(home) as log:
        for n in range(20):
            log.put(
                one(about(model="fraud", request=("card",)), n, (1,), request={"card": f"c{n}"})
            )
    posted = hw.operations.Outcomes(home, made.models[0].labels)
    posted.add(
        [{"request_id": f"{'x' if n < strange else 'r'}{n}", "outcome": True} for n in range(20)]
    )
    posted.close()
    before = _files(home)
    found = of(readiness(made), "L2")
    assert found.state == state, found.said
    assert found.reading.value == pytest.approx(1 - strange / 20)
    assert any(name.startswith("outcomes/fraud/") for name in before)
    assert _files(home) == before, "the log and the journal are only read"


def test_no_prediction_log_is_red():
    found = of(readiness(project(view(source(payments(200))))), "L2")
    assert found.state == "red"
    assert "no serving log" in found.said


@pytest.mark.parametrize(("age", "state"), [(60, "green"), (100, "amber"), (200, "red")])
def test_served_age_against_what_training_assumes(home, age, state):
    made = project(view(source(payments(200)), freshness=hw.streaming("1m")))
    kind = about(("card__count_1h",), model="fraud", request=("card",), views=("card",))
    with hw.operations.ServedLog(home) as log:
        for n in range(50):
            moment = [(micros(n), micros(n - age), {None: 7}, False, False)]
            log.put(one(kind, n, (1,), request={"card": "c0"}, moments=moment))
    found = of(readiness(made), "S3")
    assert found.state == state, found.said
    assert found.reading.value == pytest.approx(age / 60)


@pytest.mark.parametrize(("new", "state"), [(0, "green"), (30, "amber"), (100, "red")])
def test_cold_start_of_labelled_requests(new, state):
    history = payments(400, every=7200.0)
    rows = asked(200).with_columns(
        pl.when(pl.int_range(200) < new)
        .then(pl.lit("nobody") + pl.col("card"))
        .otherwise(pl.lit("c1"))
        .alias("card")
    )
    made = project(view(source(history)), labels=labels(rows))
    found = of(readiness(made), "D3")
    assert found.state == state, found.said
    assert found.reading.value == pytest.approx(new / 200)


# ---------------------------------------------------------------- stores


@pytest.mark.parametrize("kind", ["lmdb", pytest.param("redis", marks=pytest.mark.services)])
def test_a_store_is_timed_and_compared_and_not_changed(tmp_path, kind):
    made = project(view(source(payments(2000)), freshness=hw.batch("1h"), windows=("1d",)))

    def look(url):
        hw.materialize(made, store=url)
        before = _held(url)
        found = readiness(made, hw.operations.Locations(store=url, budget="1s"))
        assert of(found, "S1").state == "green", of(found, "S1").said
        assert (
            of(readiness(made, hw.operations.Locations(store=url, budget="1us")), "S1").state
            == "red"
        )
        assert "50 keys" in of(found, "S1").reading.source
        assert of(found, "S4").state == "green", of(found, "S4").said
        assert of(found, "S4").reading.value == 0
        assert before
        assert _held(url) == before

    if kind == "lmdb":
        look(f"lmdb:{tmp_path}/online?size=100MB")
    else:
        with serving(tmp_path / "redis") as server:
            look(server.url)


def test_a_store_whose_values_differ_is_red(tmp_path):
    """The same definition over another history: serving differs from training."""
    path, url = tmp_path / "events.parquet", f"lmdb:{tmp_path}/online?size=100MB"
    payments(2000).write_parquet(path)
    made = project(view(source(hw.parquet(path)), freshness=hw.batch("1h"), windows=("1d",)))
    hw.materialize(made, store=url)
    payments(2000).with_columns(pl.col("amount") + 1).write_parquet(path)
    assert of(readiness(made, hw.operations.Locations(store=url)), "S4").state == "red"


def _held(url):
    with closing(hw.operations.open_store(url, readonly=True)) as store:
        return dict(store.scan(b""))


# ---------------------------------------------------------------- PostgreSQL


def test_what_reads_postgres_cannot_write(postgres_server):
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from headwater.connectors.postgres_tables import read_only

    with (
        pytest.raises(DBAPIError, match="read-only"),
        read_only(f"{postgres_server}/postgres", 5).begin() as connection,
    ):
        connection.execute(text("CREATE TABLE made (n int)"))


# ---------------------------------------------------------------- levels


def test_levels_and_ladders(tmp_path):
    """All answered and measured: hourly; then a missing stream bars streaming."""
    url = f"lmdb:{tmp_path}/online?size=100MB"
    frame = payments(2000).with_columns(known=pl.col("at") + timedelta(seconds=1))
    made = project(
        view(source(frame, known_at_field="known"), freshness=hw.batch("1h")),
        labels=labels(asked(20, cards=1)),
        latency_budget="1s",
    )
    hw.materialize(made, store=url)
    found = readiness(made, hw.operations.Locations(store=url), Answers(GOOD))
    (only,) = found.views
    bars = [b for b in only.blockers if b.level == "hourly"]
    assert {b.check for b in bars} == {"S3"}, "nothing was served yet"
    assert only.reachable == "daily"
    assert only.possible == "hourly"
    barring = {b.state: b.what for b in only.blockers if b.level == "streaming"}
    assert "no stream=" in barring["red"]
    assert (found.online.reached, found.online.possible) == (0, 2), (
        "no rung of the ladder below the stream lacks a part"
    )
    assert found.learning.reached == 0, "no prediction log exists"
    assert readiness_blocks(found)[0].rows[0][3].startswith("S3, for hourly")
    json.dumps(found.to_dict(), allow_nan=False)


# ---------------------------------------------------------------- the command


@pytest.mark.slow
def test_the_command_changes_no_file(folder, run):
    (folder / ".headwater").mkdir()
    before = _files(folder)
    done = run("assess", "readiness", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [v["view"] for v in said["views"]] == ["user"]
    assert run("assess", "cost", "--json").returncode == 0
    assert _files(folder) == before
    done = run("assess", "readiness", "--write-questions", "q.toml")
    assert "--answers q.toml" in done.stderr
    assert run("assess", "readiness", "--answers", "q.toml").returncode == 0
    assert run("assess", "readiness", "--source-table", "events").returncode == 2


def _files(folder):
    every = [p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in every}
