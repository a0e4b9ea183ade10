"""A folder of the archive belongs to the project, or the development environment, that first wrote
to it.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

import headwater as hw
from headwater.errors import UsageError
from tests.laws.streams import TIME, project

AT = datetime.now(UTC) - timedelta(minutes=5)


class Here:
    """A folder of data that projects share, and the stores of each."""

    def __init__(self, folder):
        self.folder, self.sent = folder, 0
        stream = hw.appended(
            folder / "events.jsonl", schema={"key": int, "amount": float, "at": TIME}
        )
        self.source = hw.Source("events", stream=stream, timestamp_field="at")

    def store(self, name):
        return f"lmdb:{self.folder / name}?size=100MB"

    def view(self, *features):
        return hw.FeatureView(
            "view",
            source=self.source,
            keys=["key"],
            features=list(features) or [hw.count()],
            windows=["1d"],
            freshness=hw.streaming("2s"),
        )

    def ingest(self, name, store, *features, data="data", shared=False):
        self.sent += 1
        row = {"key": 1, "amount": 1.0, "at": AT.isoformat()}
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        hw.ingest(
            project([self.view(*features)], name),
            self.store(store),
            data_dir=self.folder / data,
            once=True,
            listen=None,
            options=hw.operations.IngestOptions(allow_unapplied=True, shared=shared),
        )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return Here(tmp_path)


def test_two_projects_with_sources_of_one_name_do_not_share_a_folder(here):
    for _ in range(2):
        here.ingest("shop", "one")
    refusal = r"archive/events is that of project 'shop', as its file 'owner' says, and this is project 'bank'.*--data-dir"
    with pytest.raises(UsageError, match=refusal):
        here.ingest("bank", "two")
    here.ingest("bank", "two", data="another")
    # in the store of the other, where its sources have names of their own
    here.ingest("bank", "one", shared=True)
    # who comes first to an empty folder
    shutil.rmtree(here.folder / "data" / "archive" / "events")
    here.ingest("bank", "two")
    with pytest.raises(UsageError, match="is that of project 'bank'"):
        here.ingest("shop", "one")


def test_production_and_development_environments_have_folders_of_their_own(here, monkeypatch):
    here.ingest("shop", "production")
    monkeypatch.setenv("HEADWATER_READS", here.store("production"))
    here.ingest("shop", "mine", hw.max("amount"))
    with pytest.raises(
        UsageError,
        match=r"development.events is that of project 'shop', development environment .* and this is project 'shop'",
    ):
        here.ingest("shop", "yours", hw.max("amount"))
