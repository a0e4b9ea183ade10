"""Exposures that callers report, and the plans that they assign by."""

from datetime import UTC, datetime

import pytest

import headwater as hw
from headwater.errors import StoreError, UsageError
from headwater.experiments.assigners import assigner_of
from headwater.journal.exposure_log import ExposureLog, read_exposures
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import ExperimentStore
from headwater.serving.exposure_events import add_exposures
from tests.serving.experiment_world import T, expected, serving, started

AT = datetime.fromtimestamp(T / 1e6, UTC).isoformat()


@pytest.fixture(scope="module")
def filled_store(tmp_path_factory):
    made = hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('arms') / 'online'}?size=1GB")
    yield made
    made.close()


def posted(tmp_path, *rows, **changes):
    store = started(tmp_path / "models", **changes)
    own = ExposureLog(tmp_path)
    added = add_exposures(own, store.started(), "fresh", rows)
    return added, read_exposures(tmp_path, "fresh"), store


@pytest.mark.parametrize(
    ("unit", "text"),
    [(7, "7"), (2**64 - 1, "18446744073709551615"), ("Zoë", "Zoë"), (True, "true")],
)
def test_a_unit_that_headwater_assigns(tmp_path, unit, text):
    added, frame, store = posted(tmp_path, {"unit": unit, "at": AT, "request_id": "r"})
    assert added == (1, [])
    assert frame.select("unit", "arm", "request", "propensity", "source").rows() == [
        (text, expected(store, text), "r", 0.5, "reported")
    ]
    assert int(frame["at"][0].timestamp() * 1e6) == T


def test_a_unit_that_another_system_has_assigned(tmp_path):
    _, frame, _ = posted(
        tmp_path,
        {
            "unit": "u",
            "arm": "nightly",
            "propensity": 0.1,
            "source": "growthbook",
            "cluster": "oslo",
            "bucket": 3,
        },
    )
    columns = ("arm", "propensity", "source", "cluster", "bucket", "override", "model")
    assert frame.select(columns).rows() == [("nightly", 0.1, "growthbook", "oslo", 3, False, None)]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"unit": None}, "units are strings that are not empty"),
        ({"unit": 1.5}, "units are strings that are not empty"),
        ({}, "units are strings that are not empty"),
        ({"unit": "u", "arm": "nightl"}, "did you mean 'nightly'"),
        ({"unit": "u", "arm": 3}, "has no arm 3"),
        ({"unit": "u", "arms": "x"}, "no field 'arms'; did you mean 'arm'"),
        ({"unit": "u", "at": "yesterday"}, "yesterday"),
        ({"unit": "u", "arm": "nightly", "propensity": 0}, "above 0, up to 1"),
        ({"unit": "u", "override": "yes"}, "give true or false"),
        ({"unit": "u", "bucket": "3"}, "give an integer"),
        ({"unit": "u", "request_id": 3}, "give a string"),
    ],
)
def test_refused_ones_leave_the_others(tmp_path, row, why):
    added, frame, _ = posted(tmp_path, {"unit": "a", "at": AT}, row, {"unit": "b", "at": AT})
    assert added.accepted == frame.height == 2
    assert [(index, why in reason) for index, reason in added.refused] == [(1, True)]


def test_a_unit_outside_the_enrolment_is_refused(tmp_path):
    added, _, store = posted(tmp_path, *({"unit": n, "at": AT} for n in range(50)), enrolled=(0.5,))
    assert added.accepted == sum(expected(store, n) is not None for n in range(50)) < 50
    assert "takes no part" in added.refused[0][1]


def test_an_experiment_that_does_not_run(tmp_path):
    with pytest.raises(
        UsageError,
        match=(
            "experiment 'fresh' is not running, and none does; start it: headwater experiment "
            "start fresh"
        ),
    ):
        add_exposures(ExposureLog(tmp_path), [], "fresh", [{"unit": "u"}])


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "exposures").write_text("no folder")
    with pytest.raises(StoreError, match="cannot be written"):
        ExposureLog(tmp_path).add("one", 1, [Exposure("u", "a", T)])


def test_over_http(tmp_path, filled_store):
    store = started(
        tmp_path / "models", enrolled=(0.5,), holdout=0.1, layer="prices", span=(0.0, 0.9)
    )
    with (
        serving(filled_store, tmp_path, store) as http,
        hw.client.Client(str(http.base_url)) as client,
    ):
        (running,) = client.experiments().experiments
        assert (running.experiment, running.salt, running.kind, running.unit) == (
            "fresh",
            "fresh/1",
            "ab",
            "user",
        )
        assert (running.enrolled, running.holdout, running.layer, running.span) == (
            0.5,
            0.1,
            "prices",
            [0.0, 0.9],
        )
        assert [arm["weight"] for arm in running.arms] == [0.5, 0.5]
        counts = client.exposures("fresh", [{"unit": n, "at": AT} for n in range(20)])
        assert counts.accepted == read_exposures(tmp_path, "fresh").height
        assert counts.accepted + len(counts.refused) == 20
        assert http.post("/v1/exposures/fresh", json={"unit": None}).status_code == 422
        assert http.post("/v1/exposures/other", json={"unit": "u"}).status_code == 404
        store.stop("fresh", T, "test", "enough")


def test_killed_while_a_record_was_written(tmp_path):
    own = ExposureLog(tmp_path)
    own.add("one", 1, [Exposure("u", "a", T)])
    (path,) = (tmp_path / "exposures" / "one" / "1").iterdir()
    own.add("one", 1, [Exposure("w", "a", T)])
    path.write_bytes(path.read_bytes()[:-3])
    assert read_exposures(tmp_path, "one")["unit"].to_list() == ["u"]


def test_the_store_gives_every_process_the_same_arms(tmp_path):
    store = started(tmp_path / "models")
    again = ExperimentStore(tmp_path / "models")
    one, other = assigner_of(store.started()[0]), assigner_of(again.started()[0])
    assert [one(str(n), None, T) for n in range(200)] == [
        other(str(n), None, T) for n in range(200)
    ]
