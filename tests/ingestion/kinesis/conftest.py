"""Emulators of Kinesis on loopback. They differ after a split.

moto lists the closed parent, which still gets records of its keys, and may move its records to the
children, where they come a second time. ministack lists only the children, and the parent's unread
records are gone.
"""

import importlib.util
import os
import subprocess
import sys
import time

import pytest

from headwater.errors import HeadwaterError
from headwater_aws.aws_client import AwsClient
from tests import services
from tests.stores.servers import free_port

REGION = "eu-central-1"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
HASHES = 2**128


class Emulator:
    """A server, and what a producer and an operator do there."""

    def __init__(self, name, folder):
        services.starts("an emulator of AWS")
        self.name, self.port = name, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = {
            "moto": [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "moto.server",
                "-H",
                "127.0.0.1",
                "-p",
                str(self.port),
            ],
            "ministack": [sys.executable, "-W", "ignore", "-m", "ministack"],
        }[name]
        settings = {
            "GATEWAY_PORT": str(self.port),
            "EDGE_PORT": str(self.port),
            "HOME": str(folder),
            "SERVICES": "kinesis",
        }
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            command, env=os.environ | settings, cwd=folder, stdout=self.log, stderr=self.log
        )
        self.numbers = iter(range(10_000))
        until = time.monotonic() + 30
        while True:
            try:
                self.client = AwsClient("kinesis", REGION, self.url, patience=5.0)
                self.client.call("list_streams", {}, patience=0)
                return
            except HeadwaterError:
                assert self.process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stream(self, shards=1):
        """A new stream's name."""
        name = f"clicks-{next(self.numbers)}"
        self.client.call("create_stream", {"StreamName": name, "ShardCount": shards})
        while (
            self.client.call("describe_stream_summary", {"StreamName": name})[
                "StreamDescriptionSummary"
            ]["StreamStatus"]
            != "ACTIVE"
        ):
            time.sleep(0.05)
        return name

    def put(self, stream, payloads, key="k", hashed=None):
        """Write records; hashed: a hash key from 0 to 1, which chooses the shard."""
        more = {} if hashed is None else {"ExplicitHashKey": str(int(hashed * HASHES))}
        records = [{"Data": payload, "PartitionKey": key, **more} for payload in payloads]
        for first in range(0, len(records), 500):
            answer = self.client.call(
                "put_records", {"StreamName": stream, "Records": records[first : first + 500]}
            )
            assert not answer["FailedRecordCount"]

    def shards(self, stream):
        """The open shards, by the beginning of their keys."""
        listed = self.client.call("list_shards", {"StreamName": stream})["Shards"]
        mine = [
            shard for shard in listed if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        ]
        return sorted(mine, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))

    def split(self, stream, place=0):
        """Split an open shard in two halves."""
        shard = self.shards(stream)[place]
        first, last = (
            int(shard["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending")
        )
        half = {
            "StreamName": stream,
            "ShardToSplit": shard["ShardId"],
            "NewStartingHashKey": str((first + last) // 2),
        }
        self.client.call("split_shard", half)

    def merge(self, stream, place=0):
        """Merge an open shard with the next one."""
        one, other = (shard["ShardId"] for shard in self.shards(stream)[place : place + 2])
        self.client.call(
            "merge_shards",
            {"StreamName": stream, "ShardToMerge": one, "AdjacentShardToMerge": other},
        )


def started(name, factory):
    for module in (
        "boto3",
        *(("moto", "flask", "flask_cors") if name == "moto" else ("ministack",)),
    ):
        if importlib.util.find_spec(module) is None:
            if os.environ.get("HEADWATER_NO_SKIPS") == "1":
                pytest.fail(f"{module} is not installed; `make dev` installs it")
            pytest.skip(f"needs {module}")
    return Emulator(name, factory.mktemp(name))


@pytest.fixture(autouse=True, scope="session")
def credentials():
    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def moto(tmp_path_factory, credentials):
    server = started("moto", tmp_path_factory)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ministack(tmp_path_factory, credentials):
    server = started("ministack", tmp_path_factory)
    yield server
    server.stop()


@pytest.fixture(params=["moto", "ministack"])
def emulator(request):
    return request.getfixturevalue(request.param)
