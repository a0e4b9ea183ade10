"""Archived events are read from the data directory or an object store; where the archive is
somewhere else, that is refused.
"""

import shutil

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.monitoring.archived_sources import check_archive, with_archive
from headwater.monitoring.parity import check_view
from tests.connectors.conftest import s3  # noqa: F401 (a fixture)
from tests.flow import Flow, at, clock, home, micros, project_of, store, streaming_view  # noqa: F401 (fixtures)
from tests.ingestion.test_archive_objects import bucket  # noqa: F401 (a fixture)

pytestmark = pytest.mark.services

PLACES = ["folder", "object store"]


@pytest.fixture(params=PLACES)
def archived(request, tmp_path, store, monkeypatch):
    """A view whose events are half in files or objects, and half in the store."""
    request.getfixturevalue("bucket")
    if request.param == "folder":
        monkeypatch.delenv("HEADWATER_ARCHIVE_URL")
    view = streaming_view([hw.sum("amount")])
    flow = Flow([view], store, tmp_path / "data")
    flow.send([{"key": k % 2, "at": k, "amount": 2.0**k} for k in range(4)], 4)
    flow.ingestor.roll(least=1)
    flow.send([{"key": k % 2, "at": k, "amount": 2.0**k} for k in range(4, 8)], 8)
    return request.param, view


def test_a_model_over_its_archive(archived, tmp_path, store):
    _, view = archived
    model = with_archive(project_of(view).models[0], tmp_path / "data", store)
    asked = pl.DataFrame({"key": [0, 1], "timestamp": [at(60), at(60)]})
    found = hw.get_historical_features(model.features, asked)
    assert found[f"{view.name}__{view.outputs[0].name}"].to_list() == [85.0, 170.0]


def test_without_the_store_the_latest_events_are_missing_and_that_is_said(archived, tmp_path):
    place, view = archived
    with pytest.raises(
        DataError, match="its latest events are in the online store; give store="
    ) as raised:
        with_archive(project_of(view).models[0], tmp_path / "data", None)
    assert ("s3://shop" in str(raised.value)) == (place == "object store")


@pytest.mark.parametrize("waiting", [0, 4])
def test_logs_that_were_fetched_without_the_archive(waiting, archived, tmp_path, store, clock):
    """waiting: events that the store still holds."""
    place, view = archived
    clock(8)
    if not waiting:
        Flow([view], store, tmp_path / "data").ingestor.roll(least=1)
    together = tmp_path / "together"
    together.mkdir()
    if place == "object store":  # every machine reads it there
        assert check_view(view, store, together, at=micros(9)).mismatches == []
        return
    for read in (
        lambda: check_view(view, store, together, at=micros(9)),
        lambda: with_archive(project_of(view).models[0], together, store),
    ):
        with pytest.raises(
            DataError,
            match=rf"{8 - waiting} events of source 'events' are archived, and no archive of it is in .*together/archive",
        ):
            read()
    shutil.copytree(tmp_path / "data" / "archive", together / "archive")
    assert check_view(view, store, together, at=micros(9)).mismatches == []


def test_events_that_all_wait_in_the_store_need_no_folder(store, tmp_path):
    view = streaming_view([hw.sum("amount")])
    check_archive(store, tmp_path, view.source.name)
    Flow([view], store, tmp_path).send([{"key": 1, "at": 1, "amount": 1.0}], 4)
    check_archive(store, tmp_path / "elsewhere", view.source.name)
