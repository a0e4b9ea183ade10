"""A request is judged alike by the service in process, over HTTP, and by `get_online_features`."""

from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from tests.serving.world import ASKED_AT, PROJECT

ROW = {"user": 1, "item": "i0"}
SERVICE = PROJECT.model("feed").features
JUDGED = {
    "as it should be": (ROW, None),
    "another field": (
        {**ROW, "usr": 3},
        "'usr', which 'feed_v1' does not read; did you mean 'user'?",
    ),
    "a field far from any": (
        {**ROW, "zzz": 3},
        "'zzz', which 'feed_v1' does not read; known: item, user",
    ),
    "a field that is missing": ({"user": 1}, "'item', which view 'item' needs"),
    "a null key": ({**ROW, "user": None}, None),
    "a key of another type": (
        {**ROW, "user": "1"},
        "the key 'user' is Int64 in the source and String in the requests",
    ),
    "a key that is a float": ({**ROW, "user": 1.5}, "the key 'user' is a float"),
}


@pytest.mark.parametrize("several", [False, True], ids=["one row", "several"])
@pytest.mark.parametrize("name", JUDGED)
def test_a_row_is_judged_alike(client, service, store, name, several):
    row, says = JUDGED[name]
    body = {"rows": [row, row]} if several else {"row": row}
    answer = client.post("/v1/features/feed_v1", json=body)
    given = [row, row] if several else row
    if says is not None:
        assert answer.status_code == 422
        assert says in answer.json()["error"]
        for call in (
            lambda: service.features("feed_v1", given),
            lambda: service.predict("feed", given),
            lambda: hw.get_online_features(SERVICE, [row, row], store=store),
        ):
            with pytest.raises(DataError) as raised:
                call()
            assert says in str(raised.value)
        return
    found = service.features("feed_v1", given, at=ASKED_AT).rows[0]
    said = answer.json()["rows"][0] if several else answer.json()["features"]
    assert {name: (one.value, one.status) for name, one in found.items()} == {
        name: (one["value"], one["status"]) for name, one in said.items()
    }
    frame = hw.get_online_features(SERVICE, [row, row], store=store, at=ASKED_AT, details=True)
    assert {name: (frame[name][0], frame[f"{name}__status"][0]) for name in found} == {
        name: (one.value, one.status) for name, one in found.items()
    }


def test_a_null_key_is_a_key_that_is_not_known(service):
    null, unknown = (
        service.features("feed_v1", {**ROW, "user": user}, at=ASKED_AT).rows[0]
        for user in (None, 999)
    )
    assert null == unknown
    assert (null["user__count_2d"].value, null["user__count_2d"].status) == (0, "missing")


def test_rows_of_different_fields_are_refused_alike(client, service, store):
    rows = [ROW, {**ROW, "usr": 1}]
    assert "row 1: " in client.post("/v1/features/feed_v1", json={"rows": rows}).json()["error"]
    for call in (
        lambda: service.features("feed_v1", rows),
        lambda: hw.get_online_features(SERVICE, rows, store=store),
    ):
        with pytest.raises(DataError, match="row 1: "):
            call()
    with pytest.raises(DataError, match=r"have different fields|no field 'item'"):
        hw.get_online_features(SERVICE, [ROW, {"user": 1}], store=store)


def test_a_frame_may_have_other_columns(store):
    frame = pl.DataFrame([{**ROW, "label": 1}])
    assert hw.get_online_features(SERVICE, frame, store=store, at=ASKED_AT).height == 1


def test_rankings_are_judged_alike(client, service):
    for row, candidates, says in (
        ({"usr": 1}, None, "'usr'"),
        ({"user": 1}, [{"item": "i0", "prise": 1}], "'prise'"),
    ):
        body = {"row": row} if candidates is None else {"row": row, "candidates": candidates}
        assert says in client.post("/v1/rank/feed", json=body).json()["error"]
        with pytest.raises(DataError, match=says):
            service.rank("feed", row, candidates=candidates)
    assert service.rank("feed", {"user": 1}, at=datetime.now(UTC)).items
