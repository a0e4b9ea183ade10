"""Places for laws: a folder and a store each."""

import base64
import itertools
import os

import httpx
import pytest

from tests.laws import planted as planting
from tests.laws.shop import Place

_NUMBERS = itertools.count()
_SERVERS = {
    "redis": "redis_url",
    "postgres": "postgres_url",
    "cluster": "cluster_url",
}
_ON_A_CLUSTER = ("test_erasure.py", "test_faults_of_an_erasure.py")
"""Files of laws that are tried on a Redis cluster too."""


def pytest_generate_tests(metafunc):
    marks = metafunc.definition.iter_markers("parametrize")
    if "places" not in metafunc.fixturenames or any("places" in mark.args[0] for mark in marks):
        return
    servers = ["redis", "postgres"]
    if metafunc.definition.path.name in _ON_A_CLUSTER:
        servers.append("cluster")
    marked = [
        pytest.param(name, marks=[pytest.mark.services] + (name != "redis") * [pytest.mark.slow])
        for name in servers
    ]
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


@pytest.fixture
def planted():
    return planting.planted


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
