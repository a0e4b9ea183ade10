"""Experiments in production: a unit has one arm, each answer is that of its arm, and what was
exposed is logged once.
"""

from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.testing import clock
from tests.laws.test_roads import free_port

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
AT = [START - timedelta(hours=30, minutes=7 * n) for n in range(80)]
EVENTS = pl.DataFrame(
    {"user": [n % 5 for n in range(80)], "item": [f"i{n * n % 7}" for n in range(80)], "at": AT}
)
HOURLY, NIGHTLY = hw.batch("1h"), hw.Level(hw.batch("1d"))
LATER = [START - timedelta(hours=1)] * 60


def view(name, keys, *features):
    source = hw.Source("visits", history=EVENTS, timestamp_field="at")
    return hw.FeatureView(
        name, source=source, keys=keys, windows=["9d"], freshness=HOURLY, features=list(features)
    )


def labels(name, **columns):
    table = pl.DataFrame({"asked": LATER, "y": [n % 3 == 0 for n in range(60)], **columns})
    return hw.Labels(name, table=table, timestamp_field="asked", label="y", known_after="1m")


USER = [n % 5 for n in range(60)]
user, item = view("user", ["user"], hw.count()), view("item", ["item"], hw.count(), hw.last("user"))
recent = view("recent", ["user"], hw.last_n("item", k=3))
churn = hw.Model(
    "churn",
    task="binary",
    features=hw.FeatureService("churn_v1", [user]),
    labels=labels("left", user=USER),
    outcomes="independent",
)
feed = hw.Model(
    "feed",
    task=hw.Ranking(group="request", item="item", candidates=[recent["last_n_item_9d"]]),
    features=hw.FeatureService("feed_v1", [user, item]),
    labels=labels(
        "clicked",
        user=USER,
        item=[f"i{n % 6}" for n in range(60)],
        request=[n // 6 for n in range(60)],
    ),
    outcomes="independent",
)
LEVELS = {"hourly": None, "nightly": "nightly"}


def arms(model):
    return [hw.experiments.Arm("hourly", model), hw.experiments.Arm("nightly", model, NIGHTLY)]


def project(**more):
    experiments = [
        hw.Experiment("fresh", arms(churn), unit="user", **more),
        hw.Experiment("lists", arms(feed), unit="user", kind=hw.experiments.Interleaving()),
    ]
    return hw.Project("shop", [churn, feed], levels={"nightly": NIGHTLY}, experiments=experiments)


class World:
    """The shop with fitted models, at a time that stands still."""

    def __init__(self, folder, now):
        self.home, self.store, self.now = folder / "home", f"lmdb:{folder}/store?size=100MB", now
        hw.materialize(project(), store=self.store)
        registry = hw.operations.ModelRegistry(self.home / "models")
        for model in (churn, feed):
            for level, name in ((None, None), (NIGHTLY, "nightly")):
                hw.train(model, as_of=START, level=level, level_name=name).register(registry)

    @property
    def places(self):
        return hw.experiments.ExperimentPlaces(
            models=self.home / "models", store=self.store, data_dir=self.home, history=False
        )

    @contextmanager
    def running(self, name, made=None):
        """A client of the shop while an experiment runs, and the experiment's plan."""
        made = made or project()
        hw.experiments.start_experiment(made, name, by="law", places=self.places)
        with ExitStack() as stack:
            log = stack.enter_context(hw.operations.ServedLog(self.home))
            where, options = f"127.0.0.1:{free_port()}", hw.operations.ServeOptions(serving_log=log)
            given = {
                "models": self.home / "models",
                "levels": ("nightly",),
                "data_dir": self.home,
                "options": options,
            }
            url = stack.enter_context(hw.operations.serve(made, self.store, listen=where, **given))
            yield stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))
        hw.experiments.stop_experiment(
            made, name, by="law", reason="enough", models=self.home / "models"
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch, clock.at(START) as now:
        patch.setenv("HEADWATER_HOME", str(folder / "home"))
        yield World(folder, now)


def good(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def arm_of(unit, salt="fresh/1"):
    """The arm of a unit, as the semantics have it: SHA-256 of salt and unit, its first 8 bytes
    modulo 10,000, halved.
    """
    bucket = int.from_bytes(sha256(f"{salt}/arm:{unit}".encode()).digest()[:8], "big") % 10_000
    return "hourly" if bucket < 5000 else "nightly"


def logged(world, name, text):
    """How often a text stands in the files of exposures."""
    files = [path for path in (world.home / "exposures" / name).rglob("*") if path.is_file()]
    return sum(path.read_bytes().count(text.encode()) for path in files)


UNITS = [0, 7, 2**64 - 1, "Zo\u00eb", "a b", "0"]
REFUSED = {  # an exposure that is refused, and words of why
    "no unit": ({}, "unit"),
    "a fraction": ({"unit": 1.5}, "unit"),
    "an empty unit": ({"unit": ""}, "unit"),
    "an unknown arm": ({"unit": "u", "arm": "nightl"}, "nightly"),
    "an unknown field": ({"unit": "u", "arms": "nightly"}, "arm"),
    "no time": ({"unit": "u", "at": "soon"}, "soon"),
    "no propensity": ({"unit": "u", "arm": "nightly", "propensity": 0}, "propensity"),
    "more than certain": ({"unit": "u", "arm": "nightly", "propensity": 1.1}, "propensity"),
    "no flag": ({"unit": "u", "override": 1}, "override"),
    "no bucket": ({"unit": "u", "bucket": "3"}, "bucket"),
    "no request": ({"unit": "u", "request_id": 3}, "request_id"),
    "no source": ({"unit": "u", "source": 3}, "source"),
}


def test_each_unit_has_its_arm_and_each_exposure_is_logged_once(world):
    """Served, reported, and assigned by another system; those that are refused leave the others."""
    at = START.isoformat()
    with world.running("fresh") as client:
        (plan,) = good(client.get("/v1/experiments"))["experiments"]
        assert (plan["experiment"], plan["salt"], plan["unit"]) == ("fresh", "fresh/1", "user")
        for user in range(20):
            answer = good(
                client.post(
                    "/v1/predict/churn",
                    json={"row": {"user": user}},
                    headers={"x-request-id": f"r{user}"},
                )
            )
            assert (answer["experiment"], answer["arm"], answer["level"]) == (
                "fresh",
                arm_of(user),
                LEVELS[arm_of(user)],
            )
        several = good(
            client.post("/v1/predict/churn", json={"rows": [{"user": user} for user in range(20)]})
        )
        assert [one["arm"] for one in several["arms"]] == [arm_of(user) for user in range(20)]
        for unit in UNITS:  # each is a batch of its own
            assert good(client.post("/v1/exposures/fresh", json={"unit": unit, "at": at})) == {
                "accepted": 1,
                "refused": [],
            }
        external = {"arm": "nightly", "propensity": 0.1, "cluster": "oslo", "bucket": 3, "at": at}
        given = [
            {"unit": "x", **external},
            {"unit": "y", **external, "source": "other", "request_id": "q", "override": True},
        ]
        mixed = [given[0], *(row for row, _ in REFUSED.values()), given[1]]
        answer = good(client.post("/v1/exposures/fresh", json=mixed))
        assert (answer["accepted"], [one["index"] for one in answer["refused"]]) == (
            2,
            list(range(1, len(mixed) - 1)),
        )
        for one, (row, word) in zip(answer["refused"], REFUSED.values(), strict=True):
            assert word in one["reason"], (row, one)
        world.now.advance("1m")
        outcomes = [{"request_id": f"r{user}", "outcome": user % 3 == 0} for user in range(20)]
        assert good(client.post("/v1/outcomes/left", json=outcomes))["accepted"] == 20
        assert client.post("/v1/exposures/fresh", json={"unit": None}).status_code == 422
        assert client.post("/v1/exposures/other", json={"unit": "u"}).status_code == 404
    status = hw.experiments.experiment_status(project(), "fresh", places=world.places)
    units = {
        **{str(user): arm_of(user) for user in range(20)},
        **{str(unit): arm_of(unit) for unit in UNITS},
        "x": "nightly",
    }
    assert (status.state, status.units) == ("stopped", Counter(units.values()))
    assert status.exposed == Counter(
        [*(arm_of(user) for user in [*range(20)] * 2), *map(arm_of, UNITS), "nightly", "nightly"]
    )
    assert {
        source: logged(world, "fresh", source)
        for source in ("served", "reported", "external", "other")
    } == {
        "served": 40,
        "reported": len(UNITS),
        "external": 1,
        "other": 1,
    }
    assert logged(world, "fresh", "oslo") == 2
    served = hw.operations.served(world.home, model="churn").collect()
    assert Counter(zip(served["user"], served["headwater_arm"], strict=True)) == {
        (user, f"fresh/{arm_of(user)}"): 2 for user in range(20)
    }
    tomorrow, trained = START + timedelta(days=1), Counter(map(arm_of, range(20)))
    for arm in LEVELS:
        assert (
            hw.train(
                churn, from_log=hw.experiments.ArmLog("fresh", arm, world.home), as_of=tomorrow
            ).rows
            == trained[arm]
        )
    with pytest.raises(DataError, match="'nightly'"):
        hw.train(
            churn, from_log=hw.experiments.ArmLog("fresh", "nightli", world.home), as_of=tomorrow
        )
    # what was served and reported, in few files
    assert len(list((world.home / "exposures" / "fresh").rglob("*.segment"))) <= 2


def test_rankings_take_turns_in_an_interleaved_list(world):
    """An answer has each item once, with the features of the ranking that placed it, in the order
    in which they were drafted.
    """
    shown, candidates = {}, [f"i{n}" for n in range(7)]
    with world.running("lists") as client:
        for user in range(8):
            asked = {"row": {"user": user}, "candidates": candidates, "k": 5, "features": True}
            answer = good(client.post("/v1/rank/feed", json=asked))
            assert (answer["experiment"], answer["arm"], answer["candidates"]) == (
                "lists",
                "interleaved",
                7,
            )
            shown[str(user)] = [one["item"] for one in answer["items"]]
            assert len(set(shown[str(user)])) == 5
            assert all(
                one["features"]["item__count_9d"]["value"] > 0
                for one in answer["items"]
                if one["item"] in set(EVENTS["item"])
            )
            plain = good(client.post("/v1/rank/feed", json=asked | {"features": False}))
            assert [one["item"] for one in plain["items"]] == shown[str(user)]
            assert all(one.get("features") is None for one in plain["items"])
    served = hw.operations.served(world.home, model="feed").collect()
    teams = [
        Counter(answer["headwater_arm"]) for answer in served.partition_by("headwater_request")
    ]
    assert len(teams) == 16
    assert {(count["team 0"], count["team 1"]) for count in teams} == {(2, 3), (3, 2)}
    assert logged(world, "lists", "interleaved") == 16


def test_a_request_has_the_fields_that_any_arm_reads(world):
    """Of another model, too: what one arm alone reads is neither refused nor required, and is
    read.
    """
    wider = hw.Model(
        "wider",
        task="binary",
        features=hw.FeatureService("wider_v1", [user, hw.RequestField("amount", float)]),
        labels=labels("stayed", user=USER, amount=[n % 7 / 2 for n in range(60)]),
        outcomes="independent",
    )
    registry = hw.operations.ModelRegistry(world.home / "models")
    hw.train(wider, as_of=START).register(registry)
    named = [hw.experiments.Arm("hourly", churn), hw.experiments.Arm("wider", wider)]
    made = hw.Project(
        "shop",
        [churn, wider, feed],
        levels={"nightly": NIGHTLY},
        experiments=[hw.Experiment("models", named, unit="user")],
    )
    with world.running("models", made) as client:
        seen = set()
        for user_id in range(20):
            row = {"user": user_id, "amount": 1.5}
            answer = good(client.post("/v1/predict/churn", json={"row": row, "features": True}))
            assert (answer["arm"] == "wider") == ("amount" in answer["prediction"]["features"])
            several = good(client.post("/v1/predict/churn", json={"rows": [row, row]}))
            assert [one["arm"] for one in several["arms"]] == [answer["arm"]] * 2
            seen.add(answer["arm"])
        assert seen == {"hourly", "wider"}
        wrong = client.post("/v1/predict/churn", json={"row": {"user": 1, "amout": 1.5}})
        assert (wrong.status_code, "amout" in wrong.text) == (422, True)
