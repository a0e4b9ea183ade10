"""One request, one answer: in process, over HTTP, by both clients, as a frame, alone and among
others, from the log, and in training.
"""

import asyncio
import json
import random
import socket
import threading
from contextlib import ExitStack, closing
from datetime import timedelta

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater.testing import clock
from tests.laws import roads
from tests.laws.streams import alike

PARTS = ("value", "status", "age", "stale", "incomplete")


class Asked:
    """The shop, ingested at a time that stands still, served, and asked."""

    def __init__(self, folder, now, seed=0):
        self.folder, self.now, self.chance = folder, now, random.Random(seed)
        self.project, self.sent, self.number = roads.project(folder), {"visits": [], "reads": []}, 0
        self.url, self.home = f"lmdb:{folder}/store?size=100MB", folder / "home"

    def send(self, most=40):
        """Append visits and reads, some with an id that came before."""
        for name, rows in self.sent.items():
            with (self.folder / f"{name}-0.jsonl").open("a", encoding="utf-8") as file:
                for _ in range(self.chance.randint(5, most)):
                    self.number += 1
                    at = self.now.time() - timedelta(
                        seconds=self.chance.choice(
                            [self.chance.randint(1, 60), self.chance.randint(1, 7 * 3600)]
                        )
                    )
                    row = {
                        "at": at,
                        "user": self.chance.randint(0, 4),
                        "page": self.chance.choice(["p", "q", "r", "é"]),
                        "spent": self.chance.choice([1.5, 2.25, 99.0, None, 7.0]),
                        "id": f"n{self.number}",
                        "bought": self.chance.choice([True, False, None]),
                        "until": at + timedelta(seconds=self.chance.randint(1, 7200)),
                    }
                    if rows and self.chance.random() < 0.2:
                        row = {
                            name: value
                            for name, value in self.chance.choice(rows).items()
                            if name != "readable"
                        }
                    shown = {
                        name: value.isoformat() if hasattr(value, "isoformat") else value
                        for name, value in row.items()
                    }
                    file.write(json.dumps(shown) + "\n")
                    rows.append({**row, "readable": self.now.time()})

    def ingest(self, store):
        limits = hw.operations.IngestLimits(max_clock_jump="36000d")
        options = hw.operations.IngestOptions(allow_unapplied=True)
        hw.ingest(
            self.project, store, data_dir=self.home, once=True, limits=limits, options=options
        )
        hw.materialize(self.project, store=store)

    def requests(self, count=6):
        return [
            {
                "user": self.chance.choice([0, 1, 2, 3, 4, 77, None]),
                "page": self.chance.choice(["p", "q", "é", "never", None]),
                "peer": self.chance.choice([0, 1, 2, None]),
                "amount": self.chance.choice([1.0, 5.5, 100.0]),
                "country": self.chance.choice(["no", "se"]),
            }
            for _ in range(count)
        ]


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    with clock.at(roads.START, file=tmp_path / "time") as now:
        yield Asked(tmp_path, now)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serving(stack, asked, store, **options):
    """The URL of the shop, served."""
    where = f"127.0.0.1:{free_port()}"
    given = {
        "models": options.pop("models", {"taste": roads.Total(), "lapse": roads.Total()}),
        "levels": options.pop("levels", ()),
    }
    return stack.enter_context(
        hw.operations.serve(
            asked.project,
            store,
            listen=where,
            data_dir=asked.home,
            options=hw.operations.ServeOptions(**options),
            **given,
        )
    )


# ---------------------------------------------------------------- answers, in one form


def of_struct(row):
    return {
        name: tuple(plain(getattr(value, part)) for part in PARTS) for name, value in row.items()
    }


def of_json(row):
    return {name: tuple(plain(value[part]) for part in PARTS) for name, value in row.items()}


def of_frame(frame, names):
    parts = ("__status", "__age", "__stale", "__incomplete")
    return [
        {name: (plain(row[name]), *(row[f"{name}{part}"] for part in parts)) for name in names}
        for row in frame.iter_rows(named=True)
    ]


def plain(value):
    """A value as JSON has it: keys are text."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple | pl.Series) else value


def of_compact(said):
    names, rows = said["names"], len(said["values"][0])
    return [
        {
            name: (
                said["values"][n][row],
                said["statuses"][n][row],
                *(said["views"][owner][part] for part in PARTS[2:]),
            )
            for n, name in enumerate(names)
            if (owner := name.split("__")[0]) in said["views"]
        }
        for row in range(rows)
    ]


def equal(answers, wanted, road):
    """Each answer is the wanted one to the bit."""
    assert len(answers) == len(wanted), road
    for number, (answer, want) in enumerate(zip(answers, wanted, strict=True)):
        for name in answer:
            assert all(alike(a, b) for a, b in zip(answer[name], want[name], strict=True)), (
                road,
                number,
                name,
                answer[name],
                want[name],
            )


def test_every_road_gives_one_answer(asked):
    """Ages too: all of these requests are of one moment."""
    service_of = asked.project.models[0].features
    served, url = [], None
    with closing(hw.operations.open_store(asked.url)) as store:
        with ExitStack() as stack:
            log = stack.enter_context(hw.operations.ServedLog(asked.home))
            for _ in range(2):
                asked.now.advance(asked.chance.choice(["1m", "10m", "1h"]))
                asked.send()
                asked.ingest(store)
                url = url or serving(stack, asked, store, serving_log=log)
                # without a commit: values grow older than promised
                for later in ("1us", "1500ms", "1s"):
                    asked.now.advance(later)
                    rows = asked.requests(3)
                    frame = pl.DataFrame(rows, schema=roads.FIELDS)
                    wanted = of_frame(
                        hw.get_online_features(service_of, frame, store=store, details=True),
                        service_of.feature_names,
                    )
                    served.append((asked.now.time(), rows, wanted))
                    roads_of_features(asked, store, url, rows, wanted)
                    roads_of_predictions(asked, store, url, rows, wanted)
        what_was_logged(asked, store, served)
    equals_training(asked, served)


def roads_of_features(asked, store, url, rows, wanted):
    name = "taste_v1"
    with hw.operations.Service(
        asked.project,
        store,
        models={"taste": roads.Total(), "lapse": roads.Total()},
        data_dir=asked.home,
    ) as service:
        equal(
            [of_struct(service.features(name, row).rows[0]) for row in rows], wanted, "service, one"
        )
        equal(
            [of_struct(row) for row in service.features(name, rows).rows], wanted, "service, many"
        )
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:

        def post(**body):
            answer = http.post(f"/v1/features/{name}", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        equal([of_json(post(row=row)["features"]) for row in rows], wanted, "HTTP, one")
        equal([of_json(row) for row in post(rows=rows)["rows"]], wanted, "HTTP, many")
        equal(of_compact(post(rows=rows, compact=True)), wanted, "HTTP, compact")
    with hw.client.Client(url, timeout=60) as client:
        each = [client.features(name, row) for row in rows]
        equal([of_struct(one.rows[0]) for one in each], wanted, "client, one")
        assert {one.at for one in each} == {asked.now.time()}
        equal([of_struct(row) for row in client.features(name, rows).rows], wanted, "client, many")

    async def together():
        async with hw.client.AsyncClient(url, timeout=60) as client:
            return await asyncio.gather(
                *(client.features(name, row) for row in rows), client.features(name, rows)
            )

    *each, every = asyncio.run(together())
    equal([of_struct(answer.rows[0]) for answer in each], wanted, "asyncio, one")
    equal([of_struct(row) for row in every.rows], wanted, "asyncio, many")


def roads_of_predictions(asked, store, url, rows, wanted):
    names = asked.project.models[0].features.feature_names
    scores = [roads.Total().one([want[name][0] for name in names]) for want in wanted]
    with hw.operations.Service(
        asked.project,
        store,
        models={"taste": roads.Total(), "lapse": roads.Total()},
        data_dir=asked.home,
    ) as service:
        answers = service.predict("taste", rows, features=True).predictions
        assert [one.value for one in answers] == scores
        equal([of_struct(one.features) for one in answers], wanted, "predict, features")
    with hw.client.Client(url, timeout=60) as client:
        each = [client.predict("taste", row) for row in rows]
        assert [one.predictions[0].value for one in each] == scores
        assert {one.at for one in each} == {asked.now.time()}
        answers = client.predict("taste", rows, features=True).predictions
        assert [one.value for one in answers] == scores
        equal([of_struct(one.features) for one in answers], wanted, "client, predict")


def what_was_logged(asked, store, served):
    """The log has what was answered, parity over it finds nothing, and a value that is changed in
    it is found.
    """
    logged = hw.operations.served(asked.home, service="taste_v1").collect()
    names = [
        name for name in asked.project.models[0].features.feature_names if name in logged.columns
    ]
    assert len(names) > 20
    by_moment = {}
    for row in logged.iter_rows(named=True):
        key = tuple(
            row.get(f"headwater_given_{name}" if name in names else name, row.get(name))
            for name in ("user", "page", "peer", "amount")
        )
        by_moment[row["headwater_at"], key] = row
    compared = 0
    for at, rows, wanted in served:
        for request, want in zip(rows, wanted, strict=True):
            row = by_moment[at, tuple(request[name] for name in ("user", "page", "peer", "amount"))]
            for name in names:
                if name == "country":
                    continue
                value, status, *version = want[name]
                assert plain(row[name]) == value, (name, row[name], value)
                owner = name.split("__")[0]
                if "__" in name:
                    assert [
                        row[f"{owner}__age"].total_seconds(),
                        row[f"{owner}__stale"],
                        row[f"{owner}__incomplete"],
                    ] == version, name
                assert row[f"{name}__status"] == status
                compared += 1
    assert compared > 300
    clean = hw.operations.served_parity(asked.project, store=store, data_dir=asked.home)
    assert sum(found.values for found in clean) > 300
    assert [mismatch for found in clean for mismatch in found.mismatches] == []
    changed = 0
    for file in (asked.home / "served").rglob("*.parquet"):
        frame = pl.read_parquet(file)
        if "user__count_1h" in frame.columns:
            frame.with_columns(
                pl.col("user__count_1h") + (pl.int_range(pl.len()) == 0)
            ).write_parquet(file)
            changed += 1
    assert changed
    dirty = hw.operations.served_parity(asked.project, store=store, data_dir=asked.home)
    assert {mismatch.feature for found in dirty for mismatch in found.mismatches} == {
        "user__count_1h"
    }


def equals_training(asked, served):
    """Training gives the same rows, of all that was sent."""
    service, level = roads.training(asked.folder, asked.sent)
    rows = [{**row, "asked": at} for at, requests, _ in served for row in requests]
    table = pl.DataFrame(rows, schema=roads.FIELDS | {"asked": pl.Datetime("us", "UTC")})
    trained = hw.get_historical_features(
        service,
        table.rename({"country": "country"}),
        timestamp_field="asked",
        level=level,
        statuses=True,
    )
    wanted = [want for _, _, answers in served for want in answers]
    compared = 0
    for name in service.feature_names:
        if name == "country":
            continue
        statuses = (
            trained[f"{name}__status"].to_list()
            if f"{name}__status" in trained.columns
            else [None] * trained.height
        )
        for row, (value, status) in enumerate(zip(trained[name].to_list(), statuses, strict=True)):
            answer = wanted[row][name]
            assert alike(plain(value), answer[0]), (name, table.row(row), value, answer)
            assert status in (None, answer[1]), (name, table.row(row), status, answer)
            compared += 1
    assert compared > 300


def test_precomputed_predictions_are_those_of_their_cut(asked):
    """By every road; requests without one are answered on request."""
    lapse = asked.project.models[1]
    with ExitStack() as stack:
        store = stack.enter_context(closing(hw.operations.open_store(asked.url)))
        asked.now.advance("1h")
        trained = hw.train(lapse, level=roads.NIGHTLY, level_name="nightly", as_of=asked.now.time())
        hw.materialize(asked.project, store=store)
        variant = hw.operations.ModelVariant("nightly", lapse, roads.NIGHTLY)
        hw.operations.materialize_model(variant, trained.fitted, version="1", store=store)
        asked.now.advance("3h")
        hw.materialize(asked.project, store=store)
        rows = [{"user": user} for user in (0, 1, 2, 3, 77)]
        models = {"taste": roads.Total(), "lapse": trained}
        url = serving(stack, asked, store, models=models, levels=("nightly",))
        cut = asked.now.time().replace(hour=0, minute=0, second=0)
        if cut > asked.now.time() - timedelta(hours=4):  # the job ran before midnight
            cut -= timedelta(days=1)
        table = pl.DataFrame(
            [{**row, "asked": cut} for row in rows],
            schema={"user": pl.Int64, "asked": pl.Datetime("us", "UTC")},
        )
        features = hw.get_historical_features(
            lapse.features, table, timestamp_field="asked", level=hw.on_request()
        ).select(lapse.features.feature_names)
        wanted = roads.Total().predict(features.fill_null(float("nan")).to_numpy()).tolist()[:4]
        with (
            hw.operations.Service(
                asked.project, store, models=models, levels=("nightly",), data_dir=asked.home
            ) as service,
            hw.client.Client(url, timeout=60) as client,
        ):
            for ask in (service.predict, client.predict):
                one = [ask("lapse", row, level="nightly").predictions[0] for row in rows]
                many = ask("lapse", rows, level="nightly").predictions
                for answers in (one, many):
                    assert [answer.how for answer in answers] == ["precomputed"] * 4 + [
                        "on_request"
                    ]
                    assert [answer.value for answer in answers[:4]] == wanted
                    assert [answer.age for answer in answers[:4]] == [
                        (asked.now.time() - cut).total_seconds()
                    ] * 4


def test_a_request_reads_one_commit(asked):
    """While commits are made: the features of an answer are all of one of them, and never go
    back.
    """
    asked.project = counted(asked.folder)
    view = asked.project.models[0].features.views[0]
    stop, wrong, answers = threading.Event(), [], 0
    number = 0
    with closing(hw.operations.open_store(asked.url)) as store, ExitStack() as stack:

        def send():
            nonlocal number
            with (asked.folder / "visits-0.jsonl").open("a", encoding="utf-8") as file:
                for _ in range(20):
                    number += 1
                    at = asked.now.time() - timedelta(seconds=100) + timedelta(microseconds=number)
                    file.write(
                        json.dumps({"at": at.isoformat(), "user": 1, "spent": float(number)}) + "\n"
                    )

        send()
        ingest_only(asked, store)
        where = f"127.0.0.1:{free_port()}"
        url = stack.enter_context(
            hw.operations.serve(
                asked.project,
                store,
                listen=where,
                data_dir=asked.home,
                models={"counted": roads.Total()},
            )
        )

        def ask(read):
            nonlocal answers
            before = 0
            while not stop.is_set():
                row = read()
                count, total, last = (
                    row[f"user__{name}_1h"] for name in ("count", "sum_spent", "last_spent")
                )
                if not (last == count >= before and total == count * (count + 1) / 2):
                    wrong.append((count, total, last, before))
                before = count
                answers += 1

        client = stack.enter_context(hw.client.Client(url, timeout=60))
        readers = [
            lambda: hw.get_online_features(view, [{"user": 1}], store=store).row(0, named=True),
            lambda: {
                name: one.value
                for name, one in client.features("counted_v1", {"user": 1}).rows[0].items()
            },
        ]
        threads = [threading.Thread(target=ask, args=(read,)) for read in readers]
        for thread in threads:
            thread.start()
        try:
            for _ in range(15):
                send()
                ingest_only(asked, store, batch=7)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        row = hw.get_online_features(view, [{"user": 1}], store=store).row(0, named=True)
    assert row["user__count_1h"] == number
    assert answers > 2
    assert wrong == []


def counted(folder):
    """A project of one view, whose features are all made of one number."""
    source = hw.Source(
        "visits",
        stream=hw.appended(
            f"{folder}/visits*.jsonl",
            schema={"at": pl.Datetime("us", "UTC"), "user": pl.Int64, "spent": pl.Float64},
        ),
        timestamp_field="at",
    )
    features = [hw.count(), hw.sum("spent"), hw.last("spent")]
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        windows=["1h"],
        features=features,
        freshness=hw.streaming("1d"),
    )
    rows = pl.DataFrame({"at": [roads.START], "label": [1.0], "user": [1]})
    labels = hw.Labels(
        "labels", table=rows, timestamp_field="at", label="label", known_after="1h", select=["user"]
    )
    return hw.Project(
        "shop",
        [
            hw.Model(
                "counted",
                task="regression",
                features=hw.FeatureService("counted_v1", [view]),
                labels=labels,
            )
        ],
    )


def ingest_only(asked, store, **limits):
    given = hw.operations.IngestLimits(**limits)
    hw.ingest(
        asked.project,
        store,
        data_dir=asked.home,
        once=True,
        limits=given,
        options=hw.operations.IngestOptions(allow_unapplied=True),
    )
