"""What an operator does: compaction changes no value, logs arrive elsewhere once, samples are
weighted, a plan says what changes.
"""

import io
import json
import random
from collections import Counter
from contextlib import ExitStack, closing, redirect_stdout
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.errors import DataError, UsageError
from headwater.testing import clock
from tests.laws import roads
from tests.laws.test_roads import Asked, free_port, serving

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
FOREVER = hw.operations.IngestLimits(max_clock_jump="36000d", broker_clock=False)
UNAPPLIED = hw.operations.IngestOptions(allow_unapplied=True)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def command(*words):
    """What a command prints."""
    with redirect_stdout(io.StringIO()) as said:
        assert main(words) == 0
    return said.getvalue()


# ---------------------------------------------------------------- compaction


PROJECT = """
from datetime import UTC, datetime
import polars as pl
import headwater as hw

source = hw.Source(
    "visits", timestamp_field="at", id_field="id", id_horizon="1h", select=["user", "n"],
    stream=hw.appended({path!r}, schema={{"id": str, "user": str, "n": int, "at": datetime}}),
)
view = hw.FeatureView(
    "user", source=source, keys=["user"], windows=["1h", {window!r}], freshness=hw.streaming("2s"), on_incomplete="value",
    features=[hw.count(), hw.sum("n"), hw.last_n("n", k=4), hw.count_distinct("n")],
)
table = pl.DataFrame({{"asked": [datetime(2024, 1, 1, tzinfo=UTC)], "y": [True], "user": ["a"]}})
labels = hw.Labels("labels", table=table, timestamp_field="asked", label="y", known_after="1d")
model = hw.Model("model", task="binary", features=hw.FeatureService("service", [view]), labels=labels)
project = hw.Project("shop", [model])
"""


def defined(folder, window="3h"):
    """A file with a project, and the project."""
    path = folder / "features.py"
    path.write_text(PROJECT.format(path=f"{folder}/visits*.jsonl", window=window), encoding="utf-8")
    names = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return path, names["project"]


def append(folder, now, count, seed):
    chance = random.Random(seed)
    with (folder / "visits.jsonl").open("a", encoding="utf-8") as file:
        for n in range(count):
            at = now - timedelta(seconds=chance.randint(1, 9000))
            row = {
                "id": f"{seed}-{n}",
                "user": f"u{chance.randint(0, 80)}",
                "n": chance.randint(0, 9),
                "at": at.isoformat(),
            }
            file.write(json.dumps(row) + "\n")


def test_compaction_drops_what_no_window_reaches_and_changes_no_value(tmp_path, home):
    path, made = defined(tmp_path)
    url = f"lmdb:{tmp_path}/store?size=64MB"
    (view,) = made.models[0].features.views
    users = pl.DataFrame({"user": [f"u{n}" for n in range(82)]})
    given = ["--project", str(path), "--store", url, "--json"]
    with clock.at(NOON, file=tmp_path / "time") as now:

        def read(minutes):
            with closing(hw.operations.open_store(url, readonly=True)) as store:
                return hw.get_online_features(
                    view,
                    users,
                    store=store,
                    at=now.time() + timedelta(minutes=minutes),
                    details=True,
                )

        def compacted(*more):
            return json.loads(command("store", "compact", *given, *more))

        for step in range(2):
            append(tmp_path, now.time(), 120, step)
            hw.ingest(made, url, data_dir=home, once=True, limits=FOREVER, options=UNAPPLIED)
            now.advance("2h")
        before = [read(minutes) for minutes in (0, 1, 59, 240)]
        dry, told = compacted("--dry-run"), compacted()
        assert (told.pop("dry_run"), dry.pop("dry_run"), told) == (False, True, dry)
        assert [
            read(minutes).equals(one) for minutes, one in zip((0, 1, 59, 240), before, strict=True)
        ] == [True] * 4
        now.advance("300h")
        append(tmp_path, now.time(), 5, 9)
        hw.ingest(made, url, data_dir=home, once=True, limits=FOREVER, options=UNAPPLIED)
        before = read(0)
        (told,) = compacted()["views"]
        assert (told["view"], told["busy"]) == ("user", 0)
        assert 0 < told["records"] <= 5 < told["records_before"]
        assert (told["tiles"], told["bytes"] < told["bytes_before"]) == (told["records"], True)
        assert read(0).equals(before)
        assert 0 < before["user__count_3h"].sum() <= 5


# ---------------------------------------------------------------- logs that are shipped


def asked_of(stack, folder, log, count):
    """Serve the shop and ask so often; the ids of the requests."""
    now = stack.enter_context(clock.at(roads.START))
    asked = Asked(folder, now)
    store = stack.enter_context(closing(hw.operations.open_store(asked.url)))
    hw.materialize(asked.project, store=store)
    url = serving(
        stack,
        asked,
        store,
        models={"taste": roads.Total(), "lapse": roads.Total()},
        serving_log=log,
    )
    client = stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))
    for n in range(count):
        answer = client.post(
            "/v1/predict/lapse",
            json={"rows": [{"user": n % 5}, {"user": 77}]},
            headers={"x-request-id": f"r{n}"},
        )
        assert answer.status_code == 200, answer.text
    return [f"r{n}" for n in range(count)]


def test_logs_arrive_elsewhere_once(tmp_path, home):
    """Shipped twice, with more in between, and fetched twice: each row is there once."""
    to = f"file://{tmp_path}/shared"
    ids = []
    for turn in range(2):
        (tmp_path / str(turn)).mkdir()
        with ExitStack() as stack:
            log = stack.enter_context(hw.operations.ServedLog(home))
            ids += asked_of(stack, tmp_path / str(turn), log, 6 + turn)
        command("logs", "ship", to, "--data-dir", str(home))
        command("logs", "ship", to, "--data-dir", str(home))
    here = hw.operations.served(home).collect()
    assert Counter(here["headwater_request"]) == {
        one: 2 * count for one, count in Counter(ids).items()
    }
    for _ in range(2):
        command("logs", "fetch", to, "--data-dir", str(tmp_path / "there"))
    there = hw.operations.served(tmp_path / "there").collect()
    order = ["headwater_request", "headwater_at", "headwater_row", "headwater_latency_us"]
    assert there.select(here.columns).sort(order).equals(here.sort(order))


# ---------------------------------------------------------------- a sampled log


def trained(home):
    _, lapse = roads.project(home).models
    hw.train(lapse, as_of=roads.START).register(hw.operations.ModelRegistry(home / "models"))
    return lapse


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_sampled_log_counts_each_request_for_those_left_out(tmp_path, home, share):
    lapse = trained(home)
    with ExitStack() as stack:
        log = stack.enter_context(hw.operations.ServedLog(home, sample=share))
        asked_of(stack, tmp_path, log, 40)
    kept = hw.operations.served(home).collect()
    assert (kept.height == 80) is (share == 1.0)
    given = {"data_dir": home, "models": home / "models", "at": roads.START + timedelta(days=1)}
    found = hw.operations.drift(lapse, **given).result
    for feature in found.features:
        for day in feature.days:
            assert (day.rows, round(day.weight, 6)) == (kept.height, kept.height / share)


@pytest.mark.parametrize("note", ["0", "1.5", "nan"])
def test_a_wrong_note_of_the_share_is_refused(tmp_path, home, note):
    lapse = trained(home)
    with ExitStack() as stack:
        log = stack.enter_context(hw.operations.ServedLog(home, sample=0.5))
        asked_of(stack, tmp_path, log, 8)
    (path,) = [one for one in (home / "served" / "sample_rates").iterdir() if one.is_file()]
    assert path.read_text() == "0.5"
    path.write_text(note)
    with pytest.raises(DataError, match="above 0 and up to 1"):
        hw.operations.drift(
            lapse, data_dir=home, models=home / "models", at=roads.START + timedelta(days=1)
        )
    for good in ("1", "1e-9", "0.25"):
        path.write_text(good)
        hw.operations.drift(
            lapse, data_dir=home, models=home / "models", at=roads.START + timedelta(days=1)
        )


# ---------------------------------------------------------------- a plan


def shop(features, rows=1, hop="10m", long="6h"):
    """A project with a view of a frame with so many rows, and a window in such steps."""
    frame = pl.DataFrame(
        {"user": ["a"] * rows, "n": [1] * rows, "at": [NOON - timedelta(days=9)] * rows}
    )
    source = hw.Source("visits", history=frame, timestamp_field="at")
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        windows=["1h", hw.window(long, hop=hop), "lifetime"],
        features=features,
        freshness=hw.batch("1d"),
    )
    asked = pl.DataFrame({"asked": [NOON] * 4, "y": [True, False] * 2, "user": ["a"] * 4})
    labels = hw.Labels("labels", table=asked, timestamp_field="asked", label="y", known_after="1d")
    service = hw.FeatureService("service", [view])
    model = hw.Model("model", task="binary", features=service, labels=labels)
    return hw.Project("shop", [model])


def test_what_breaks_a_trained_model_is_not_applied_unless_it_is_allowed(tmp_path, home):
    """Nor by another process, which reads the same catalog."""
    catalog, registry = tmp_path / "catalog.db", hw.operations.ModelRegistry(home / "models")
    before, after = shop([hw.count()]), shop([hw.count()], hop="20m")
    hw.apply(before, catalog, registry=registry)
    hw.train(before.models[0], as_of=NOON + timedelta(days=2)).register(registry)
    assert hw.plan(after, catalog, registry=registry).breaking
    with pytest.raises(UsageError, match="allow_breaking"):
        hw.apply(after, catalog, registry=registry)
    assert hw.plan(before, catalog, registry=registry).changes == ()
    assert hw.apply(after, catalog, registry=registry, allow_breaking=True).applied == 2


# ---------------------------------------------------------------- an erasure


def test_an_erasure_marks_the_training_sets_that_hold_the_key(tmp_path, home):
    """Those of other keys are as they were, and what is marked is not made again."""
    project = shop([hw.count()])
    (model,), store = project.models, f"lmdb:{tmp_path}/store?size=64MB"
    made = hw.dataset(model, tmp_path / "rows.parquet", as_of=NOON + timedelta(days=2))
    before = made.manifest_path.read_bytes()
    hw.materialize(project, store=store, at=NOON + timedelta(days=2))
    for user, rows in (("b", []), ("a", [made.rows.frame.height])):
        receipt = hw.operations.erase(project, {"user": user}, store=store, data_dir=home)
        assert [one.rows for one in receipt.manifests] == rows
        assert (made.manifest_path.read_bytes() == before) is (user == "b")
        if user == "b":
            hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    with pytest.raises(DataError, match="erased"):
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "third.parquet")


# ---------------------------------------------------------------- readiness


@pytest.mark.parametrize("otherwise", ["default", "on_request"])
def test_a_server_is_ready_when_all_that_its_answers_need_is_there(tmp_path, home, otherwise):
    """Of precomputed predictions, features are read on request alone."""
    plain, later = shop([hw.count()]), NOON + timedelta(days=2)
    (model,), store = plain.models, f"lmdb:{tmp_path}/store?size=64MB"
    kept = hw.precomputed(hw.batch("1d"), keys=["user"], otherwise=otherwise)
    level, registry = hw.Level(hw.batch("6h"), predictions=kept), home / "models"
    project = hw.Project("shop", [model], levels={"nightly": level})
    with clock.at(later):
        hw.materialize(plain, store=store)
        for at, name in ((None, None), (level, "nightly")):
            fitted = hw.train(model, as_of=later, level=at, level_name=name)
            fitted.register(hw.operations.ModelRegistry(registry))

        def ready():
            listen = f"127.0.0.1:{free_port()}"
            given = {"models": registry, "levels": ("nightly",), "data_dir": home}
            with hw.operations.serve(project, store, listen=listen, **given) as url:
                said = httpx.get(f"{url}/readyz", timeout=60, trust_env=False)
                row = {"row": {"user": "a"}, "level": "nightly"}
                asked = httpx.post(f"{url}/v1/predict/model", json=row, timeout=60, trust_env=False)
            return said.status_code, asked.status_code, said.text

        assert ready()[0] == 503  # no predictions were made
        variant = hw.operations.ModelVariant("nightly", model, level)
        hw.operations.materialize_model(variant, fitted.fitted, store=store)
        status, answered, said = ready()
        assert (status, "user" in said) == ((200, False) if otherwise == "default" else (503, True))
        assert answered == status
        hw.materialize(project, store=store)
        assert ready()[:2] == (200, 200)
