"""A record says the same in each format: rows in JSON, Avro, Protobuf, CSV and aggregates of
Kinesis become the same features.
"""

import base64
import hashlib
import io
import json
import random
import struct
import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fastavro
import polars as pl
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import headwater as hw
import headwater_aws
from headwater.testing import clock
from tests.laws.streams import project

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SCHEMA = {"id": str, "user": str, "n": int, "share": float, "good": bool, "at": datetime}
TEXTS = ["a", "ü b", "日本", "", "x" * 300]


def rows(count=60, seed=0):
    chance = random.Random(seed)
    return [
        {
            "id": f"e{n}",
            "user": chance.choice(["a", "b", "c"]),
            "text": chance.choice([None, *TEXTS]),
            "n": chance.choice([0, -1, 2**62, -(2**62), chance.randint(-99, 99)]),
            "share": chance.choice([0.0, -1.5, 1e300, chance.random()]),
            "good": chance.random() < 0.5,
            "at": NOON
            - timedelta(seconds=chance.randint(1, 3000), microseconds=chance.randint(0, 999)),
        }
        for n in range(count)
    ]


AVRO = {
    "type": "record",
    "name": "Visit",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "user", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["new", "old"]}},
        {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 3}},
        {"name": "nothings", "type": {"type": "array", "items": "null"}},
        {"name": "tags", "type": {"type": "map", "values": ["null", "double"]}},
        {
            "name": "more",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "More",
                    "fields": [{"name": "x", "type": "float"}],
                },
            },
        },
        {"name": "other", "type": ["null", "Digest", "boolean", "bytes"]},
        {"name": "n", "type": "long"},
        {"name": "share", "type": "double"},
        {"name": "good", "type": "boolean"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}


def avro(row):
    n = int(row["id"][1:])
    more = {
        "kind": "old",
        "digest": b"abc",
        "nothings": [None] * (n % 4),
        "tags": {"a": None, "b": 0.5},
        "more": [{"x": 1.5}] * (n % 3),
    }
    more |= {"other": [None, b"abc", True, b"\x00" * 9][n % 4]}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), row | more)
    return out.getvalue()


def described():
    """A file of Protobuf whose second message is within another one."""
    kinds = descriptor_pb2.FieldDescriptorProto
    types = {
        "id": kinds.TYPE_STRING,
        "user": kinds.TYPE_STRING,
        "n": kinds.TYPE_SINT64,
        "share": kinds.TYPE_DOUBLE,
        "good": kinds.TYPE_BOOL,
    }
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Other")
    outer = file.message_type.add(name="Outer")
    outer.nested_type.add(name="First")
    visit = outer.nested_type.add(name="Visit")
    for number, (name, kind) in enumerate(types.items(), 1):
        visit.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    file.dependency.append("google/protobuf/timestamp.proto")
    where = {
        "type": kinds.TYPE_MESSAGE,
        "type_name": ".google.protobuf.Timestamp",
        "label": kinds.LABEL_OPTIONAL,
    }
    visit.field.add(name="at", number=9, **where)
    return file


def protobuf(row):
    from google.protobuf import timestamp_pb2

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(described())
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Outer.Visit"))()
    for name in SCHEMA:
        if name != "at":
            setattr(made, name, row[name])
    made.at.FromDatetime(row["at"].replace(tzinfo=None))
    return made.SerializeToString()


def shown(row):
    return json.dumps(
        {name: value.isoformat() if name == "at" else value for name, value in row.items()}
    ).encode()


class Registry:
    """A registry of two schemas on loopback: 1 is Avro, 2 is Protobuf."""

    def __init__(self):
        encoded = base64.b64encode(described().SerializeToString()).decode()
        known = {
            "1": {"schema": json.dumps(AVRO)},
            "2": {"schema": encoded, "schemaType": "PROTOBUF"},
        }
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                number = self.path.partition("?")[0].rpartition("/")[2]
                asked.append(number)
                missing = {"error_code": 40403, "message": f"no schema {number}"}
                body = json.dumps(known.get(number, missing)).encode()
                self.send_response(200 if number in known else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def registry():
    made = Registry()
    yield made
    made.server.shutdown()
    made.server.server_close()


def varint(number):
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """A field of a Protobuf message, by hand."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def aggregated(payloads):
    """Records as the Kinesis Producer Library puts them into one."""
    keys = ["k" * (1 + n % 3) * 100 for n in range(3)]
    body = b"".join(field(1, key.encode()) for key in keys)
    body += b"".join(
        field(3, field(1, n % 3) + field(3, payload)) for n, payload in enumerate(payloads)
    )
    return b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()


def served(folder, stream):
    """What is read of a view over a stream, in every row that counts."""
    source = hw.Source(
        "visits",
        stream=stream,
        timestamp_field="at",
        select=[name for name in SCHEMA if name != "at"],
        id_field="id",
    )
    features = [hw.count(), hw.last_n("n", k=60), hw.max("share"), hw.last("at")]
    features += [hw.fraction("good"), hw.collect_set("id", max_size=99)]
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=features,
        windows=["1h"],
        freshness=hw.streaming("2s"),
    )
    store = f"lmdb:{folder}/store?size=64MB"
    options = hw.operations.IngestOptions(allow_unapplied=True)
    limits = hw.operations.IngestLimits(max_clock_jump="36000d", broker_clock=False)
    with clock.at(NOON):
        hw.ingest(
            project([view]),
            store,
            data_dir=folder / "home",
            once=True,
            options=options,
            limits=limits,
        )
        with closing(hw.operations.open_store(store, readonly=True)) as opened:
            return hw.get_online_features(
                view, pl.DataFrame({"user": ["a", "b", "c"]}), store=opened
            )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What JSON in a file says."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "visits.jsonl").write_bytes(b"".join(shown(row) + b"\n" for row in rows()))
    found = served(folder, hw.appended(f"{folder}/visits.jsonl", schema=SCHEMA))
    assert found["user__count_1h"].sum() == 60
    assert sorted(one for ids in found["user__collect_set_id_1h"] for one in ids) == sorted(
        row["id"] for row in rows()
    )
    return found


def test_empty_lines_end_no_record(tmp_path, expected):
    """Before the first record, between two, and at the end of what was appended so far."""
    lines = [shown(row) for row in rows()]
    path = tmp_path / "visits.jsonl"
    path.write_bytes(b"\n" + lines[0] + b"\n\n" + lines[1] + b"\n" + lines[2][:20])
    stream = hw.appended(path, schema=SCHEMA)
    assert served(tmp_path, stream)["user__count_1h"].sum() == 2
    with path.open("ab") as file:
        file.write(lines[2][20:] + b"\n" + b"\n".join(lines[3:]) + b"\n\n")
    assert served(tmp_path, stream).equals(expected)


INTEGERS = {
    **{
        f"int{bits}": (getattr(pl, f"Int{bits}"), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        for bits in (8, 16, 32, 64)
    },
    **{
        f"uint{bits}": (getattr(pl, f"UInt{bits}"), 0, min(2**bits, 2**63) - 1)
        for bits in (8, 16, 32, 64)
    },
}


def refused_and_read(folder, source, features, lines, asked=None):
    """Why lines are refused, and the values of the rest: of user a, or in a row for each that is
    asked for.
    """
    written = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    (folder / "lines.jsonl").write_bytes(b"".join(line + b"\n" for line in written))
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["user"],
        features=features,
        windows=["1d"],
        freshness=hw.streaming("2s"),
    )
    made, store = project([view]), f"lmdb:{folder}/store?size=64MB"
    with clock.at(NOON):
        options = hw.operations.IngestOptions(allow_unapplied=True)
        hw.ingest(made, store, data_dir=folder / "home", once=True, options=options)
        with closing(hw.operations.open_store(store, readonly=True)) as opened:
            users = pl.DataFrame({"user": ["a"]}) if asked is None else asked
            found = hw.get_online_features(view, users, store=opened)
            found = found if asked is not None else found.row(0, named=True)
        refused = hw.operations.dead_letters(
            made, source.name, store=store, data_dir=folder / "home"
        )
    return refused["reason"].to_list() if refused.height else [], found


def test_integers_of_records_lie_in_their_type(tmp_path):
    """The least and the greatest are read, one less and one more are refused."""
    base = {"user": "a", "at": (NOON - timedelta(minutes=1)).isoformat()}
    schema = {"user": str, "at": datetime} | {name: kind for name, (kind, _, _) in INTEGERS.items()}
    stream = hw.appended(tmp_path / "lines.jsonl", schema=schema)
    source = hw.Source("s", stream=stream, timestamp_field="at", select=["user", *INTEGERS])
    features = [hw.min(*INTEGERS), hw.max(*INTEGERS), *(hw.count(name) for name in INTEGERS)]
    lines = [
        base | {name: value}
        for name, (_, low, high) in INTEGERS.items()
        for value in (low, high, low - 1, high + 1)
    ]
    refused, found = refused_and_read(tmp_path, source, features, lines)
    for name, (_, low, high) in INTEGERS.items():
        assert (
            found[f"v__min_{name}_1d"],
            found[f"v__max_{name}_1d"],
            found[f"v__count_{name}_1d"],
        ) == (low, high, 2), name
    assert len(refused) == 2 * len(INTEGERS)


def is_text(encoded):
    try:
        encoded.decode()
    except UnicodeDecodeError:
        return False
    return True


def characters():
    """Each first byte of a character with the least and the greatest of the others, and one less and
    one more.
    """
    return [
        bytes([first, second, *rest])
        for first in (0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5)
        for second in (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
        for rest in ((), (0x7F,), (0x80,), (0xBF,), (0x80, 0x80), (0xBF, 0xC0), (0xBF, 0xBF))
    ]


VALUES = {
    "n": [
        *("0", "-0", "01", "-1", "1.0", "1e2", "1 ", "", "9223372036854775807"),
        *("9223372036854775808", "true", "null", "nul", '"1"', "[1]", "- 1"),
    ],
    "share": [
        *("1", "-0.0", "1.5", "1.", ".5", "1e309", "0.1234567890123456789"),
        *("9007199254740993", "1E-2", "nan", "Infinity", "null", "12.50"),
    ],
    "good": ["true", "false", "null", "tru", "falsey", "True", "1", '"true"'],
    "text": [r'"\""', r'"\u00e9"', r'"\ud800"', r'"a\nb"', '"a\tb"', '"x', "null"],
    "more": ["1", "-1.5e3", "null", '"x"', "[1, {}]", '{"a": [2]}', "tru", ""],
    "at": [
        *('"2024-05-01T11:00:00"', '"2024-02-30T11:00:00Z"', '"2024-05-01"', '"noon"', '""'),
        *('"2024-05-01 11:00:00Z"', '"2024-05-01T11:00:00.123456789Z"'),
        *('"2024-05-01T13:00:00+02:00"', '"0000-01-01T00:00:00Z"'),
    ],
    "day": ['"2024-02-29"', '"2023-02-29"', '"2024-2-9"', '"2024-02-29T00:00:00"', "1"],
}
ODD = [
    *(f'"{name}": {value}' for name, values in VALUES.items() for value in values),
    *('"n": 1, "n": 2', '"n": 1, "n": null', '"n": 1 , "share" :2', '"n": 1,', '"n": 1} {'),
    *('"n": 1}x{"n": 2', '"n" 1', '"n: 1', "n: 1", ""),
]
"""What a record may have within its braces, sound or not."""


def test_a_record_says_the_same_among_thousands_and_among_few(tmp_path):
    """Large batches are read by compiled loops, and what those are not sure of otherwise."""
    kinds = {"n": int, "share": float, "good": bool, "text": str, "day": date}
    schema = {"user": str, "at": datetime} | kinds
    base = b'{"user": "%d", "at": "2024-05-01T11:59:00Z", %b}'
    within = [b'"text": "%b"' % text for text in characters()] + [odd.encode() for odd in ODD]
    lines = [base % (n, odd) for n, odd in enumerate(within)]
    lines += [  # the time last, and only once
        b'{"user": "%d", "at": %b}' % (len(lines) + n, at.encode())
        for n, at in enumerate(VALUES["at"])
    ]
    lines += [b'{"user": "0", "text": "' + text for text in characters()[::7]]  # ends too early
    lines += [b"}", b",", b"[]", b"null", b"{}", b' { "user" : "x", "at":"2024-05-01T11:59:00Z" } ']
    lines += [base % (len(lines) + n, b'"n": %d' % n) for n in range(1_000)]
    read = {}
    for at_once in (len(lines), 400):
        folder = tmp_path / str(at_once)
        folder.mkdir()
        stream = hw.appended(folder / "lines.jsonl", schema=schema)
        source = hw.Source("s", stream=stream, timestamp_field="at", select=["user", *kinds])
        features = [hw.count(), hw.last("at", *kinds)]
        for first in range(0, len(lines), at_once):
            refused, found = refused_and_read(
                folder,
                source,
                features,
                lines[: first + at_once],
                pl.DataFrame({"user": [*map(str, range(len(lines))), "x"]}),
            )
        read[at_once] = sorted(refused), found
    refused, found = read[400]
    assert read[len(lines)][0] == refused
    assert read[len(lines)][1].equals(found)
    counts = found["v__count_1d"].to_list()
    assert counts[: len(characters())] == [int(is_text(text)) for text in characters()]
    assert sum(counts) + len(refused) == len(lines)
    assert counts[-1] == 1


@pytest.fixture
def written(tmp_path, registry):
    """By format: how a record is written, and what tells a stream so."""
    (tmp_path / "visit.avsc").write_text(json.dumps(AVRO), encoding="utf-8")
    from google.protobuf import timestamp_pb2

    dependency = descriptor_pb2.FileDescriptorProto.FromString(
        timestamp_pb2.DESCRIPTOR.serialized_pb
    )
    (tmp_path / "shop.desc").write_bytes(
        descriptor_pb2.FileDescriptorSet(file=[dependency, described()]).SerializeToString()
    )
    # the second type, and the second within it
    nested = b"\x00" + struct.pack(">I", 2) + b"\x04\x02\x02"
    return {
        "json": (shown, {}),
        "avro": (avro, {"format": "avro", "avro": tmp_path / "visit.avsc"}),
        "avro, registered": (
            lambda row: b"\x00" + struct.pack(">I", 1) + avro(row),
            {"format": "avro", "registry": registry.url},
        ),
        "protobuf": (
            protobuf,
            {"format": "protobuf", "message": (tmp_path / "shop.desc", "shop.Outer.Visit")},
        ),
        "protobuf, registered": (
            lambda row: nested + protobuf(row),
            {"format": "protobuf", "registry": registry.url},
        ),
    }


@pytest.mark.services
@pytest.mark.parametrize(
    "kind", ["json", "avro", "avro, registered", "protobuf", "protobuf, registered"]
)
def test_records_of_kafka(broker, tmp_path, expected, written, kind):
    write, more = written[kind]
    topic = broker.topic(partitions=2)
    for row in rows():
        broker.produce(topic, [write(row)], len(row["user"]) % 2)
    assert served(tmp_path, hw.kafka(topic, servers=broker.servers, schema=SCHEMA, **more)).equals(
        expected
    )


@pytest.mark.services
@pytest.mark.parametrize("kind", ["json", "avro", "protobuf"])
def test_aggregates_of_kinesis(aws, tmp_path, expected, written, kind):
    write, more = written[kind]
    stream, all_of = aws.stream(1), rows()
    for first in range(0, 60, 20):
        aws.put(stream, [aggregated([write(row) for row in all_of[first : first + 20]])])
    found = served(
        tmp_path,
        headwater_aws.kinesis(
            stream, region=aws.region, endpoint_url=aws.url, schema=SCHEMA, **more
        ),
    )
    assert found.equals(expected)


@pytest.mark.services
def test_a_record_that_claims_too_much_is_refused(broker, tmp_path, written):
    """An array of nothings takes no bytes, and may not take all memory either."""
    _, more = written["avro"]
    claimed = bytes([2, 48, 2, 97, 0]) + b"abc" + bytes([0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0])
    topic = broker.topic(partitions=1)
    broker.produce(topic, [claimed, *(avro(row) for row in rows(3))], 0)
    stream = hw.kafka(topic, servers=broker.servers, schema=SCHEMA, **more)
    found = served(tmp_path, stream)
    assert found["user__count_1h"].sum() == 3


@pytest.mark.services
def test_records_whose_schema_is_missing_hold_no_others_up(broker, tmp_path, registry):
    """The first is waited for, as a replica of the registry may lag behind; the next ones are not."""
    topic, sent = broker.topic(partitions=1), rows(3)
    unknown = [b"\x00" + struct.pack(">I", 70 + n) + avro(row) for n, row in enumerate(sent)]
    broker.produce(topic, [*unknown, b"\x00" + struct.pack(">I", 1) + avro(sent[0])], 0)
    more = {"format": "avro", "registry": registry.url}
    found = served(tmp_path, hw.kafka(topic, servers=broker.servers, schema=SCHEMA, **more))
    assert found["user__count_1h"].sum() == 1
    counts = [registry.asked.count(str(number)) for number in (70, 71, 72)]
    assert counts[0] > 3
    assert counts[1:] == [1, 1]
