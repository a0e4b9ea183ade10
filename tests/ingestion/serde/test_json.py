"""JSON records to rows: which are kept, which are refused and why, and that neither depends on its
neighbours.
"""

import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.ingestion.sources import stream_reader
from headwater.ingestion.sources.stream_reader import decoder

SCHEMA = {"s": str, "i": int, "f": float, "b": bool, "at": datetime}
NOTHING = (None,) * 5
GOOD = b'{"s":"a","i":1,"f":1.5,"b":true,"at":"2024-05-01T10:00:00Z"}'
GOOD_ROW = ("a", 1, 1.5, True, datetime(2024, 5, 1, 10, tzinfo=UTC))


@pytest.fixture(autouse=True, scope="module", params=[0, 10**9], ids=["compiled", "msgspec"])
def reader(request):
    """The reader: the compiled one, even for few records, or msgspec alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_reader, "FEW", request.param)
        yield


def source(schema=SCHEMA, timezone=None, **stream):
    at = "at" if "at" in schema else next(iter(schema))
    return hw.Source(
        "events", timestamp_field=at, timezone=timezone, stream=hw.push(schema=schema, **stream)
    )


def row(**values):
    return tuple(values.get(name) for name in SCHEMA)


DECODE = decoder(source())

KEPT = [
    (GOOD, GOOD_ROW),
    (b"{}", NOTHING),
    (b'{"s":null,"i":null,"f":null,"b":null,"at":null}', NOTHING),
    (b' \n{ "i" :\t5 }\r\n ', row(i=5)),
    (b'{"i":1,\n"s":"two lines"}', row(i=1, s="two lines")),
    (b'{"other":[1,{"s":"inner"}],"i":2}', row(i=2)),
    (b'{"i":1,"i":2}', row(i=2)),  # of a name that comes twice, the last counts
    (b'{"s":"a","s":null}', NOTHING),
    (b'{"\\u0073":"escaped"}', row(s="escaped")),
    (b'{"S":"other case"}', NOTHING),
    (b'{"i":9223372036854775807}', row(i=2**63 - 1)),
    (b'{"i":-9223372036854775808}', row(i=-(2**63))),
    (b'{"i":-0}', row(i=0)),
    (b'{"f":3}', row(f=3.0)),
    (b'{"f":1e300}', row(f=1e300)),
    (b'{"f":1e-400}', row(f=0.0)),
    (b'{"f":123456789012345678901234567890}', row(f=123456789012345678901234567890.0)),
    (b'{"s":""}', row(s="")),
    (b'{"s":"\\u0000"}', row(s="\0")),
    (b'{"s":"\\ud83d\\ude00 \xf0\x9f\x98\x80"}', row(s="\U0001f600 \U0001f600")),
    (b'{"s":"5"}', row(s="5")),
    (b'{"s":"line\\nbreak"}', row(s="line\nbreak")),
    (
        b'{"at":"2024-05-01T12:00:00.25+02:00"}',
        row(at=datetime(2024, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC)),
    ),
]

REFUSED = [
    (None, "tombstone"),
    (b"", "truncated"),
    (b"  ", "truncated"),
    (b"\n", "truncated"),
    (b"null", "got `null`"),
    (b"[]", "got `array`"),
    (b'[{"i":1}]', "got `array`"),
    (b"5", "got `int`"),
    (b'"{}"', "got `str`"),
    (b'{"i":1}{"i":2}', "trailing"),
    (b'{"i":1}\n{"i":2}', "trailing"),
    (b'{"i":1} x', "trailing"),
    (b'{"i":1', "truncated"),
    (b'{"i":1,}', "malformed"),
    (b"{'i':1}", "malformed"),
    (b'\xef\xbb\xbf{"i":1}', "malformed"),
    (b'{"i":01}', "invalid number"),
    (b'{"i":+1}', "malformed|invalid"),
    (b'{"i":0x1}', "malformed|invalid"),
    (b'{"f":NaN}', "invalid"),
    (b'{"f":Infinity}', "invalid"),
    (b'{"f":-Infinity}', "invalid"),
    (b'{"other":NaN}', "invalid"),
    (b'{"f":1e400}', "out of range"),
    (b'{"f":-1e400}', "out of range"),
    (b'{"f":"1.5"}', r"got `str` - at `\$.f`"),
    (b'{"f":"NaN"}', "got `str`"),
    (b'{"i":"1"}', r"Expected `int . null`, got `str` - at `\$.i`"),
    (b'{"i":1.0}', "got `float`"),
    (b'{"i":1e3}', "got `float`"),
    (b'{"i":9223372036854775808}', "9223372036854775807"),
    (b'{"i":-9223372036854775809}', "9223372036854775808"),
    (b'{"i":1' + b"0" * 5000 + b"}", "out of range|9223372036854775807|malformed"),
    (b'{"i":true}', "got `bool`"),
    (b'{"b":1}', "got `int`"),
    (b'{"b":"true"}', "got `str`"),
    (b'{"s":5}', "got `int`"),
    (b'{"s":true}', "got `bool`"),
    (b'{"s":{"a":1}}', "got `object`"),
    (b'{"s":["a"]}', "got `array`"),
    (b'{"i":[1]}', "got `array`"),
    (b'{"s":"\xff"}', "UTF-8"),
    (b'{"s":"\\ud800"}', "."),
    (b'{"s":"\x01"}', "invalid character"),
    (b'{"s":"a\nb"}', "invalid character"),
    (
        b'{"at":"yesterday"}',
        r"'yesterday' is not a timestamp in ISO 8601 with an offset, such as 2026-03-12T14:15:00Z - at `\$.at`",
    ),
    (b'{"at":"2024-05-01T10:00:00"}', "is not a timestamp"),  # where? no zone is given
    (b'{"at":"2024-02-30T10:00:00Z"}', "is not a timestamp"),
    (
        b'{"at":1714557600}',
        r"a number is not a timestamp in ISO 8601 with an offset, such as 2026-03-12T14:15:00Z - at `\$.at`",
    ),
    (b'{"other":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    (b"[" * 100_000, "."),
    (b'{"s":' * 100_000, "."),
    (b'{"other":"' + b"x" * 10_000_000, "truncated"),
]
IDS = [repr(payload)[:40] for payload, _ in REFUSED]


@pytest.mark.parametrize(("payload", "expected"), KEPT, ids=[repr(p)[:40] for p, _ in KEPT])
def test_what_is_kept(payload, expected):
    found = DECODE([payload])
    assert found.refused == []
    assert found.frame.rows() == [expected]
    assert dict(found.frame.schema) == {
        "s": pl.String,
        "i": pl.Int64,
        "f": pl.Float64,
        "b": pl.Boolean,
        "at": pl.Datetime("us", "UTC"),
    }


@pytest.mark.parametrize(("payload", "why"), REFUSED, ids=IDS)
def test_what_is_refused_moves_no_neighbour(payload, why):
    alone = DECODE([payload])
    assert alone.frame.height == 0
    assert len(alone.refused) == 1
    assert re.search(why, alone.refused[0][1]), alone.refused
    assert "\n" not in alone.refused[0][1]
    among = DECODE([GOOD, payload, b'{"i":7}', payload, GOOD])
    assert among.frame.rows() == [GOOD_ROW, row(i=7), GOOD_ROW]
    assert among.rows.tolist() == [0, 2, 4]
    assert among.refused == [(1, alone.refused[0][1]), (3, alone.refused[0][1])]


# ---------------------------------------------------------------- laws

ODD = st.sampled_from(
    [payload for payload, _ in REFUSED if payload is None or len(payload) < 10_000]
    + [payload for payload, _ in KEPT]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.just("2024-05-01T10:00:00Z")
)
OBJECTS = st.dictionaries(
    st.sampled_from([*SCHEMA, "other"]), SCALARS | st.lists(SCALARS, max_size=2) | st.just({"s": 1})
)
PAYLOADS = st.lists(
    ODD
    | st.binary(max_size=20)
    | OBJECTS.map(lambda o: json.dumps(o).encode())
    | OBJECTS.map(lambda o: json.dumps(o).encode()[:-2]),
    max_size=14,
)


@given(PAYLOADS)
def test_a_batch_is_its_records_one_by_one(payloads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_reader, "_CHUNK", 4)
        together = DECODE(payloads)
    alone = [DECODE([payload]) for payload in payloads]
    assert together.frame.rows() == [r for one in alone for r in one.frame.rows()]
    assert together.rows.tolist() == [n for n, one in enumerate(alone) if one.frame.height]
    assert together.refused == [
        (n, one.refused[0][1]) for n, one in enumerate(alone) if one.refused
    ]
    assert len(together.rows) + len(together.refused) == len(payloads)
    assert together.rows.dtype == np.int64


def fits(name, value):
    """Whether a value that Python read is one of the column's."""
    if value is None:
        return True
    if name == "at":
        return value == "2024-05-01T10:00:00Z"
    kind = {"s": str, "i": int, "f": (int, float), "b": bool}[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and name != "b"):
        return False
    return name != "i" or -(2**63) <= value < 2**63


@given(OBJECTS)
def test_values_are_those_that_python_reads(record):
    text = json.dumps(record)
    found = DECODE([text.encode()])
    odd = any(word in text for word in ("NaN", "Infinity")) or any(
        isinstance(v, str) and any(0xD800 <= ord(c) < 0xE000 for c in v) for v in record.values()
    )
    if odd:
        return
    if all(fits(name, value) for name, value in record.items() if name in SCHEMA):
        at = record.get("at") and datetime(2024, 5, 1, 10, tzinfo=UTC)
        real = None if record.get("f") is None else float(record["f"])
        wanted = row(**{k: v for k, v in record.items() if k in SCHEMA} | {"at": at, "f": real})
        assert found.frame.rows() == [wanted]
    else:
        assert found.frame.height == 0


@given(st.binary(max_size=200))
def test_random_bytes_are_a_row_or_a_reason(payload):
    found = DECODE([payload])
    assert found.frame.height + len(found.refused) == 1


@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_record_is_refused(length):
    assert [n for n, _ in DECODE([GOOD, GOOD[:length]]).refused] == [1]


# ---------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        (pl.Int8, "127", 127),
        (pl.Int8, "128", ...),
        (pl.UInt8, "-1", ...),
        (pl.UInt32, "4294967295", 2**32 - 1),
        (pl.UInt64, "18446744073709551615", 2**64 - 1),
        (pl.UInt64, "18446744073709551616", ...),
        (pl.Float32, "0.5", 0.5),
        (pl.Float32, "1e39", ...),
        (pl.Date, '"2024-02-29"', date(2024, 2, 29)),
        (pl.Date, '"2023-02-29"', ...),
        (pl.Time, '"10:00:01"', time(10, 0, 1)),
        (pl.Decimal(10, 2), "1.25", Decimal("1.25")),
        (pl.Decimal(10, 2), '"1.25"', Decimal("1.25")),
        (pl.Decimal(4, 2), "12345.00", ...),
        (pl.Enum(["a", "b"]), '"b"', "b"),
        (pl.Enum(["a", "b"]), '"c"', ...),
        (pl.Categorical(), '"c"', "c"),
        (pl.Binary, '"AAE="', b"\x00\x01"),
        (pl.Binary, '"?"', ...),
        (pl.List(pl.Int64), "[1,null,3]", [1, None, 3]),
        (pl.List(pl.Int64), '[1,"2"]', ...),
        (pl.List(pl.String), "[]", []),
        (pl.Struct({"x": pl.Int64, "y": pl.String}), '{"y":"a","z":1}', {"x": None, "y": "a"}),
        (pl.Struct({"x": pl.Int64}), '{"x":"a"}', ...),
        (pl.List(pl.Struct({"x": pl.Float64})), '[{"x":1}]', [{"x": 1.0}]),
    ],
    ids=str,
)
def test_each_type(dtype, text, expected):
    made = decoder(source({"x": dtype}))([b'{"x":%s}' % text.encode(), b"{}"])
    rest = [] if expected is ... else [expected]
    assert made.frame["x"].to_list() == [*rest, None]
    assert made.frame["x"].dtype == (dtype() if isinstance(dtype, type) else dtype)
    assert len(made.refused) == (expected is ...)
