"""A feature service whose third parties were asked, read from an online store."""

import datetime as dt

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.events.columns import STATUSES
from headwater.online.predictor import Predictor
from headwater.testing.examples import temporary_store, visiting
from tests.serving.third_party.conftest import ip, party  # noqa: F401 (fixtures)
from tests.serving.third_party.parties import ask, hangs, says

NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
T = int((NOON + dt.timedelta(minutes=10)).timestamp() * 1e6)


@pytest.fixture
def store():
    with temporary_store() as made:
        hw.materialize(visiting(hw.batch("1h", delay="10m")), store=made, at="2024-05-01T12:00Z")
        yield made


def service(ip):
    view = visiting(hw.batch("1h", delay="10m")).models[0].features.views[0]

    @hw.request_feature
    def risk(
        amount: float, score: float | None = ip["score"], seen: int = view["count_1d"]
    ) -> float | None:
        return None if score is None else amount * score + seen

    return hw.FeatureService(
        "s",
        [ip, view["count_1d"], view.alias("friend", keys={"user": ip["friend"]})["count_1d"], risk],
    )


NAMES = ("ip__score", "ip__friend", "user__count_1d", "friend__count_1d", "risk")


@pytest.mark.parametrize(
    ("behaviour", "expected", "said"),
    [
        (says({"score": 0.5, "friend": 2}), (0.5, 2, 6, 6, 11.0), ["present"] * 5),
        (
            says({"friend": 9}),
            (None, 9, 6, 0, None),
            ["missing", "present", "present", "missing", "empty"],
        ),
        (hangs, (0.25, None, 6, 0, 8.5), ["fallback", "fallback", "present", "missing", "present"]),
    ],
    ids=["answered", "half of an answer", "hanging"],
)
def test_what_third_parties_say_feeds_keys_and_functions(
    party, ip, store, behaviour, expected, said
):
    party.behaviour = behaviour
    one = ip(
        response={"score": float, "friend": int},
        fallback={"score": 0.25},
        timeout="100ms" if behaviour is hangs else "5s",
    )
    online = hw.operations.OnlineFeatures(service(one), store)
    called, _ = ask(one, "a")
    request = {"user": 1, "amount": 10.0, "ip_address": "a"}
    assert online.names == NAMES
    fetched = {name: column[0] for name, column in called.values.items()}
    answer = online.row(request | fetched, t=T)
    assert tuple(answer.values) == expected
    statuses = [
        STATUSES[called.statuses[n][0]] if n in called.statuses else STATUSES[c]
        for n, c in zip(NAMES, answer.statuses, strict=True)
    ]
    assert statuses == said
    many = online.rows({name: [value] * 3 for name, value in (request | fetched).items()}, t=T)
    assert [tuple(row) for row in zip(*many.values, strict=True)] == [expected] * 3
    frame = online.read(
        pl.DataFrame([request | fetched], schema_overrides={"ip__friend": pl.Int64}),
        at=NOON + dt.timedelta(minutes=10),
    )
    assert frame.row(0) == expected


def test_without_an_answer_the_values_are_the_fallback_ones(ip, store):
    one = ip(response={"score": float, "friend": int}, fallback={"score": 0.25})
    found = hw.get_online_features(
        service(one),
        [{"user": 1, "amount": 10.0, "ip_address": "a"}],
        store=store,
        at=NOON + dt.timedelta(minutes=10),
        details=True,
    )
    assert found.select(NAMES).row(0) == (0.25, None, 6, 0, 8.5)
    assert found.select(f"{name}__status" for name in NAMES).row(0) == (
        "fallback",
        "fallback",
        "present",
        "missing",
        "present",
    )
    answer = hw.operations.OnlineFeatures(service(one), store).row(
        {"user": 1, "amount": 10.0, "ip_address": "a"}, t=T
    )
    assert [STATUSES[code] for code in answer.statuses] == [
        "fallback",
        "fallback",
        "present",
        "missing",
        "present",
    ]


class Sum:
    """A scorer of the features that were in training."""

    version = "1"

    def one(self, values):
        return float(sum(values))

    def score(self, frame):
        return frame.sum_horizontal().cast(pl.Float64).to_numpy()


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_a_model_does_not_read_what_was_not_in_training(ip, store, rows):
    view = visiting(hw.batch("1h", delay="10m")).models[0].features.views[0]
    members = [hw.RequestField("a", float), ip(), view["count_1d"], hw.RequestField("b", float)]
    base = visiting(hw.batch("1h")).models[0]
    model = hw.Model(
        "m", task="binary", labels=base.labels, features=hw.FeatureService("s", members)
    )
    predictor = Predictor(model, hw.operations.OnlineFeatures(model.features, store), Sum())
    request = {"user": 1, "ip_address": "a", "a": 0.5, "b": 0.25, "ip__score": 100.0}
    assert predictor.one(request, t=T).predicted.value == 6.75
    many = predictor.many({name: [value] * rows for name, value in request.items()}, t=T)
    assert [one.value for one in many.predicted] == [6.75] * rows


def test_a_request_has_to_say_what_third_parties_are_asked(ip, store):
    one = ip(response={"score": float, "friend": int})
    with pytest.raises(
        DataError, match="no column 'ip_address', which third-party features 'ip' needs"
    ):
        hw.operations.OnlineFeatures(service(one), store).row({"user": 1, "amount": 10.0}, t=T)
