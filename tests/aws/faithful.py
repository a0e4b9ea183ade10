"""A stream of Kinesis over HTTP that answers as AWS does where the emulators do not.

A closed shard is listed and keeps its records, its last answer has no next iterator, iterators
expire, and requests are throttled.
"""

import base64
import hashlib
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HASHES = 2**128
ARN = "arn:aws:kinesis:eu-central-1:1:stream/clicks"


class Shard:
    def __init__(self, number, first, last, parents=()):
        self.name, self.first, self.last, self.parents = (
            f"shardId-{number:012d}",
            first,
            last,
            parents,
        )
        self.records, self.closed = [], False


class FaithfulKinesis:
    """One stream, `clicks`.

    limit: records of an answer. throttled, expired: how many of the next requests are refused so;
    refused: how many were.
    """

    def __init__(self, shards=1):
        self.lock, self.numbers, self.sequence = (
            threading.RLock(),
            itertools.count(),
            itertools.count(10**55),
        )
        self.shards, self.limit = [], 10_000
        self.throttled = self.expired = self.refused = 0
        self.created, self.retention = 1_700_000_000.0, 24
        step = HASHES // shards
        for n in range(shards):
            self._add(n * step, HASHES - 1 if n == shards - 1 else (n + 1) * step - 1)
        stream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                status, body = stream.answer(operation, request)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    # ---- producers and operators

    def put(self, payload, key):
        """Write a record to the open shard of its key."""
        hashed = int(hashlib.md5(key.encode()).hexdigest(), 16)
        with self.lock:
            shard = next(
                shard
                for shard in self.shards
                if not shard.closed and shard.first <= hashed <= shard.last
            )
            shard.records.append((str(next(self.sequence)), payload, key, time.time()))

    def split(self, place=0):
        with self.lock:
            shard = [shard for shard in self.shards if not shard.closed][place]
            shard.closed, half = True, (shard.first + shard.last) // 2
            self._add(shard.first, half, [shard.name])
            self._add(half + 1, shard.last, [shard.name])

    def merge(self, place=0):
        with self.lock:
            one, other = sorted(
                (shard for shard in self.shards if not shard.closed), key=lambda shard: shard.first
            )[place : place + 2]
            one.closed = other.closed = True
            self._add(one.first, other.last, [one.name, other.name])

    def _add(self, first, last, parents=()):
        self.shards.append(Shard(next(self.numbers), first, last, parents))

    # ---- requests

    def answer(self, operation, request):
        with self.lock:
            if operation == "DescribeStreamSummary":
                if request["StreamName"] != "clicks":
                    return 400, {"__type": "ResourceNotFoundException", "message": "no such stream"}
                summary = {
                    "StreamName": "clicks",
                    "StreamARN": ARN,
                    "StreamCreationTimestamp": self.created,
                    "RetentionPeriodHours": self.retention,
                }
                return 200, {"StreamDescriptionSummary": summary}
            if operation == "ListStreams":
                return 200, {"StreamNames": ["clicks"], "HasMoreStreams": False}
            if operation == "ListShards":
                return 200, {"Shards": [_listed(shard) for shard in self.shards]}
            if operation == "GetShardIterator":
                return self._iterator(request)
            assert operation == "GetRecords", operation
            return self._records(request)

    def _iterator(self, request):
        shard = self._shard(request["ShardId"])
        if shard is None:
            return 400, {"__type": "ResourceNotFoundException", "message": "no such shard"}
        at = _place(
            shard.records,
            request["ShardIteratorType"],
            request.get("StartingSequenceNumber"),
            request.get("Timestamp"),
        )
        return 200, {"ShardIterator": f"{shard.name}:{at}"}

    def _shard(self, name):
        return next((shard for shard in self.shards if shard.name == name), None)

    def _records(self, request):
        if self.throttled:
            self.throttled, self.refused = self.throttled - 1, self.refused + 1
            return 400, {
                "__type": "ProvisionedThroughputExceededException",
                "message": "Rate exceeded for shard",
            }
        if self.expired:
            self.expired, self.refused = self.expired - 1, self.refused + 1
            return 400, {"__type": "ExpiredIteratorException", "message": "Iterator expired"}
        name, _, at = request["ShardIterator"].partition(":")
        shard = next((shard for shard in self.shards if shard.name == name), None)
        if shard is None:
            return 400, {"__type": "ResourceNotFoundException", "message": "no such shard"}
        first = int(at)
        some = shard.records[first : first + min(self.limit, request["Limit"])]
        after = first + len(some)
        left = len(shard.records) - after
        body = {
            "Records": [_record(record) for record in some],
            "MillisBehindLatest": max(1, round((time.time() - shard.records[after][3]) * 1000))
            if left
            else 0,
        }
        if left or not shard.closed:
            body["NextShardIterator"] = f"{name}:{after}"
        return 200, body


def _place(records, kind, sequence, timestamp):
    """How many records are before a starting position."""
    if kind == "TRIM_HORIZON":
        return 0
    if kind == "AT_TIMESTAMP":
        return next((n for n, record in enumerate(records) if record[3] >= timestamp), len(records))
    assert kind == "AFTER_SEQUENCE_NUMBER"
    return next(
        (n for n, record in enumerate(records) if int(record[0]) > int(sequence)), len(records)
    )


def _record(record):
    sequence, payload, key, at = record
    data = base64.b64encode(payload).decode()
    return {
        "SequenceNumber": sequence,
        "Data": data,
        "PartitionKey": key,
        "ApproximateArrivalTimestamp": at,
    }


def _listed(shard):
    numbers = {
        "StartingSequenceNumber": "1",
        **({"EndingSequenceNumber": "2"} if shard.closed else {}),
    }
    parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    keys = {"StartingHashKey": str(shard.first), "EndingHashKey": str(shard.last)}
    return {"ShardId": shard.name, "HashKeyRange": keys, "SequenceNumberRange": numbers, **parents}
