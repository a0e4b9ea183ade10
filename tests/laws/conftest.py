"""Places for laws: a folder and a store each."""

import base64
import itertools
import os

import httpx
import pytest

from tests.effort import LONG
from tests.laws.shop import Place

_NUMBERS = itertools.count()
_SERVERS = {
    "redis": "redis_url",
    "postgres": "postgres_url",
    "cluster": "cluster_url",
    "sentinel": "sentinel_url",
}
_ON_A_CLUSTER = ("test_erasure.py", "test_faults_of_an_erasure.py")
"""Files of laws that are tried on a Redis cluster too."""


def pytest_generate_tests(metafunc):
    marks = metafunc.definition.iter_markers("parametrize")
    if "places" not in metafunc.fixturenames or any("places" in mark.args[0] for mark in marks):
        return
    on_a_cluster = metafunc.definition.path.name in _ON_A_CLUSTER
    servers = ["redis", "postgres"] + on_a_cluster * ["cluster"] + LONG * ["sentinel"]
    marked = [pytest.param(name, marks=pytest.mark.services) for name in servers]
    metafunc.parametrize("places", ["lmdb", *marked], indirect=True)


@pytest.fixture
def places(request, tmp_path):
    """Makes places, each with a store of its own; also on a cluster of Redis, where a test asks for
    it.
    """
    server = None if request.param == "lmdb" else request.getfixturevalue(_SERVERS[request.param])

    def place():
        folder = tmp_path / f"place{next(_NUMBERS)}"
        folder.mkdir()
        return Place(
            folder,
            f"lmdb:{folder}/store?size=64MB"
            if server is None
            else f"{server}?prefix=law{os.getpid()}x{next(_NUMBERS)}",
        )

    return place


_LONG_THERE = {
    ("cluster", "test_erasure.py"),
    ("cluster", "test_faults_of_an_erasure.py"),
    ("postgres", "test_erasure_among_processes.py"),
    ("postgres", "test_generations.py"),
}
"""Laws that are for `make trust` on some servers."""

_LONG_TESTS_THERE = {
    ("postgres", "test_pushed_events_go_to_the_one_that_writes"),
    ("postgres", "test_one_whose_clock_is_wrong_lets_another_one_write"),
    ("postgres", "test_old_values_are_served_as_incomplete_while_a_view_is_repaired"),
    ("redis", "test_old_values_are_served_as_incomplete_while_a_view_is_repaired"),
    ("redis", "test_ingestion_makes_a_generation_in_parts"),
    ("postgres", "test_one_that_stands_by_goes_on_for_one_that_was_killed"),
    ("postgres", "test_one_that_was_stopped_for_a_while_writes_no_more"),
    ("redis", "test_a_view_that_needs_more_is_filled_while_events_are_taken_back"),
    ("redis", "test_a_key_is_erased_among_processes_that_are_killed"),
    ("redis", "test_an_erasure_counts_the_records_of_all_generations_once"),
}

_ONLY_LONG = ("test_faults_of_", "test_rewind.py", "test_fill.py")
"""Laws that try every fault: on servers they are for `make trust`, but those of a commit."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        place = getattr(item, "callspec", None) and item.callspec.params.get("places")
        if (place, item.path.name) in _LONG_THERE or (
            place,
            item.originalname,
        ) in _LONG_TESTS_THERE:
            item.add_marker("long")
        if (
            place in _SERVERS
            and item.path.name.startswith(_ONLY_LONG)
            and (place, item.path.name) != ("redis", "test_faults_of_a_commit.py")
        ):
            item.add_marker("long")


class Aws:
    """An emulator of Kinesis, and what a producer does there."""

    region = "eu-central-1"

    def __init__(self, url):
        self.url = url

    def kinesis(self, action, **given):
        """Call an action; what the emulator answers."""
        signed = (
            f"AWS4-HMAC-SHA256 Credential=test/20240101/{self.region}/kinesis/aws4_request, "
            "SignedHeaders=host, Signature=0"
        )
        headers = {
            "X-Amz-Target": f"Kinesis_20131202.{action}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": signed,
        }
        answer = httpx.post(self.url, headers=headers, json=given, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.content else None

    def stream(self, shards):
        """A new stream's name."""
        name = f"law{os.getpid()}x{next(_NUMBERS)}"
        self.kinesis("CreateStream", StreamName=name, ShardCount=shards)
        while (
            self.kinesis("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"][
                "StreamStatus"
            ]
            != "ACTIVE"
        ):
            pass
        return name

    def put(self, stream, payloads, key="k"):
        """Write records; the shard is that of the key."""
        records = [
            {"Data": base64.b64encode(payload).decode(), "PartitionKey": key}
            for payload in payloads
        ]
        if records:
            assert (
                self.kinesis("PutRecords", StreamName=stream, Records=records)["FailedRecordCount"]
                == 0
            )


@pytest.fixture
def aws(aws_url, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield Aws(aws_url)
    httpx.post(f"{aws_url}/moto-api/reset", trust_env=False)
