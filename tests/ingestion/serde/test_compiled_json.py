"""The compiled reader of JSON compared with msgspec: msgspec reads all that it takes, to the
bit.
"""

import random
from datetime import datetime

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.definitions.connectors import push
from headwater.ingestion.serde.json import Payloads, compiled_reader
from headwater.ingestion.sources import stream_reader
from headwater.ingestion.sources.stream_reader import decoder, stream_schema

SCHEMA = {
    "id": pl.String(),
    "n": pl.Int64(),
    "amount": pl.Float64(),
    "at": pl.Datetime("us", "UTC"),
    "ok": pl.Boolean(),
    "small": pl.Int8(),
    "size": pl.UInt64(),
    "day": pl.Date(),
    "half": pl.Float32(),
    "kind": pl.Enum(["abc", "é"]),
    "né": pl.Categorical(),
    "local": pl.Datetime("ms"),
}
ZONE = "Europe/Berlin"


def source(schema=SCHEMA, **stream):
    return hw.Source(
        "events", timestamp_field="at", timezone=ZONE, stream=push(schema=schema, **stream)
    )


@pytest.fixture(autouse=True, scope="module")
def of_few_records():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_reader, "FEW", 0)
        yield


def by_msgspec(given):
    """What decodes without the compiled reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_reader, "compiled_reader", lambda *_: None)
        return decoder(given)


def bits(column):
    """A column with floats as their bits, so that -0.0 is another one than 0.0."""
    if column.dtype.is_temporal():
        return column.to_physical().to_list()  # years that Python does not know, too
    if column.dtype.is_float():
        return column.cast(pl.Float64).to_numpy().view(np.int64).tolist()
    return column.to_list()


def wrong(payloads, read, reference):
    """How many payloads the compiled reader takes, and those of them that msgspec rejects or reads
    otherwise.
    """
    frame, sure = read(Payloads.pack(payloads))
    theirs = reference(payloads)
    rows = np.full(len(payloads), -1)
    rows[theirs.rows] = np.arange(len(theirs.rows))
    taken = np.flatnonzero(sure)
    bad = set(taken[rows[taken] < 0].tolist())
    here = taken[rows[taken] >= 0]
    mine, others = frame[here], theirs.frame[rows[here]]
    assert mine.schema == others.schema
    for name in mine.columns:
        if bits(mine[name]) != bits(others[name]):
            bad |= {
                int(n)
                for n, a, b in zip(here, bits(mine[name]), bits(others[name]), strict=True)
                if a != b
            }
    return len(taken), [payloads[n] for n in sorted(bad)]


# ---------------------------------------------------------------- random payloads

NUMBERS = (  # noqa: SIM905 (words)
    "0 -0 -0.0 0.0 00 01 -01 1. .5 - -. 1e5 1E-3 1e400 127 128 -128 -129 255 999999999999999 "
    "9999999999999999 9007199254740992 9007199254740993 "
    "900719925474099.3 123456789012345.6 9223372036854775807 9223372036854775808 "
    "-9223372036854775808 100000000000000000 1000000000000000000 "
    "0.1 0.3 1.005 2.675 0.00000000000000000000001 0.0000000000000000000001 0.1234567890123456789 "
    "5e-324 nul null true false tru NaN Infinity +1 1_0 "
    '0x1 1.0 "5" [1] {} [] {"a":1} 1.2.3 --1 3.4e38 16777217 16777216.5 18446744073709551615'
).split()
TIMES = (  # noqa: SIM905 (words)
    "2024-02-29T00:00:00Z 2023-02-29T00:00:00Z 1900-01-01T00:00:00Z 0001-01-01T00:00:00Z "
    "0001-01-01T00:00:00+01:00 9999-12-31T23:59:59.999999Z 9999-12-31T23:59:59-01:00 2024-05-01 "
    "2024-05-01T10:00:00 2024-05-01T10:00Z 20240501T100000Z 1970-01-01T00:00:00Z "
    "2024-05-01T24:00:00Z 2024-05-01T10:00:60Z 2024-05-01T10:00:00z 2024-05-01t10:00:00Z "
    "2024-05-01T10:00:00+2:00 2024-05-01T10:00:00+0200 2024-05-01T10:00:00,5Z 2024-03-31T02:30:00 "
    "2024-10-27T02:30:00 2024-03-31T01:30:00Z 0000-01-01T00:00:00Z 2024-00-10T00:00:00Z "
    "2024-05-01T10:00:00+24:00 2024-05-01T10:00:00+23:59 2024-05-01T10:00:00-00:00"
).split()
DAYS = (  # noqa: SIM905 (words)
    "2024-02-29 2023-02-29 0001-01-01 9999-12-31 0000-01-01 2024-13-01 2024-1-01 2024-01-32 "
    "20240101 2024-05-01T00:00:00 2024-05-01Z"
).split()
STRINGS = [
    *(
        b"abc",
        b"",
        b"a\\n",
        "é".encode(),
        b"\\u0041",
        b"x" * 40,
        b'q\\"',
        b"\t",
        b"a b",
        b"\x7f",
        b"\x00",
        b"\xc3",
        b"\xc0\x80",
        b"\xed\xa0\x80",
    ),
    *(
        b"\xf4\x90\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xff",
        b"\\ud800",
        "\U0001f600".encode(),
        "\uffff".encode(),
        b"null",
        b"\\",
        b"/",
        b"\xf0\x8f\xbf\xbf",
    ),
]


def number(r):
    plain = (
        str(r.randrange(-(10**6), 10**6)),
        f"{r.uniform(-1e6, 1e6):.2f}",
        repr(r.uniform(-1, 1)),
        repr(r.uniform(0, 1e300)),
    )
    return r.choice([*plain, *plain, r.choice(NUMBERS)]).encode()


def digits(r):
    """A decimal with up to 20 digits, and the point anywhere."""
    text = str(r.randrange(10 ** r.randrange(1, 21)))
    place = r.randrange(len(text) + 1)
    return f"{text[:place] or 0}.{text[place:]}".encode() if r.random() < 0.7 else text.encode()


def timestamp(r):
    if r.random() < 0.3:
        return r.choice(TIMES).encode()
    two = lambda n: f"{r.randrange(n + 2):02}"  # noqa: E731 (a short word)
    fraction = r.choice(["", ".", *(f".{r.randrange(10**n):0{n}}" for n in range(1, 8))])
    zone = r.choice(
        [
            "Z",
            "Z",
            "Z",
            "+02:00",
            "-11:30",
            "+14:00",
            "",
            "z",
            f"{r.choice('+-')}{two(24)}:{two(60)}",
        ]
    )
    return f"{r.randrange(1, 10000):04}-{two(11)}-{two(30)}T{two(23)}:{two(59)}:{two(59)}{fraction}{zone}".encode()


def quoted(value):
    return b'"' + value + b'"'


PLAIN = {
    "id": lambda r: quoted(f"p{r.randrange(10**6)}".encode()),
    "n": lambda r: str(r.randrange(-1000, 1000)).encode(),
    "amount": lambda r: f"{r.uniform(-1e6, 1e6):.{r.randrange(9)}f}".encode(),
    "at": lambda r: quoted(
        f"20{r.randrange(10, 99)}-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}T10:00:{r.randrange(60):02}.5Z".encode()
    ),
    "ok": lambda r: r.choice([b"true", b"false"]),
    "small": lambda r: str(r.randrange(-128, 128)).encode(),
    "size": lambda r: str(r.randrange(10**17)).encode(),
    "day": lambda r: quoted(
        f"{r.randrange(1, 10000):04}-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}".encode()
    ),
    "half": lambda r: f"{r.uniform(-1e3, 1e3):.{r.randrange(5)}f}".encode(),
    "kind": lambda r: quoted(r.choice([b"abc", "é".encode()])),
    "né": lambda r: quoted(r.choice([b"x", b"y", b""])),
    "local": lambda r: quoted(b"2024-05-01T10:00:00.25+02:00"),
}
ODD = [
    number,
    digits,
    lambda r: quoted(r.choice(STRINGS)),
    lambda r: quoted(timestamp(r)),
    lambda r: quoted(r.choice(DAYS).encode()),
    lambda r: b"null",
]


def payload(r):
    """An object, often an odd one: fields in any order, of odd values, twice, unknown, broken
    bytes, cut off.
    """
    odd = r.choice([0.0, 0.05, 0.3])
    fields = [
        (name.encode(), (r.choice(ODD) if r.random() < odd else plain)(r))
        for name, plain in PLAIN.items()
    ]
    if r.random() < 0.2:
        r.shuffle(fields)
    if r.random() < 0.1:
        fields.append((r.choice([b"n", b"id"]), b"3"))
    while r.random() < 0.1:
        name = r.choice([b"other", b"", b"\\u006e", b"i", b"idx", b"\xff", "ö".encode()])
        fields.insert(r.randrange(len(fields) + 1), (name, r.choice(ODD)(r)))
    while fields and r.random() < 0.2:
        fields.pop(r.randrange(len(fields)))
    space = (
        (lambda: r.choice([b"", b"", b" ", b"\n", b"\t\r"])) if r.random() < 0.2 else (lambda: b"")
    )
    text = b",".join(
        space() + quoted(name) + space() + b":" + space() + value + space()
        for name, value in fields
    )
    text = (
        space()
        + b"{"
        + text
        + b"}"
        + (r.choice([b"", b" ", b"x", b"}", b"\x00", b",{}"]) if r.random() < 0.1 else b"")
    )
    if r.random() < 0.1:
        place = r.randrange(len(text))
        text = text[:place] + bytes([r.randrange(256)]) + text[place + 1 :]
    return text[: r.randrange(len(text))] if r.random() < 0.03 else text


def fuzz(count, seed):
    """So many payloads through both; how many the compiled reader took, and those that it read
    otherwise.
    """
    r, given, taken, bad = random.Random(seed), source(), 0, []
    read, reference = compiled_reader(SCHEMA, given.stream, ZONE), by_msgspec(given)
    for begin in range(0, count, 5_000):
        some, failed = wrong(
            [payload(r) for _ in range(min(5_000, count - begin))], read, reference
        )
        taken, bad = taken + some, bad + failed
    return taken, bad


def test_random_payloads_are_read_as_msgspec_reads_them():
    taken, bad = fuzz(5_000, 1)
    assert not bad
    assert 1_000 < taken < 4_500


# ---------------------------------------------------------------- what it takes, and what it leaves to msgspec


@pytest.mark.parametrize(("unit", "factor"), [("s", 1_000_000), ("ms", 1_000), ("us", 1)])
def test_timestamps_that_are_numbers(unit, factor):
    given = source({"at": datetime}, timestamps=unit)
    payloads = [b'{"at":1714557600}', b'{"at":1.5}', b'{"at":9223372036854775807}', b'{"at":-1}']
    frame, sure = compiled_reader(stream_schema(given), given.stream, ZONE)(Payloads.pack(payloads))
    assert sure.tolist() == [True, False, False, True]
    assert frame["at"].dt.epoch("us").to_list()[::3] == [1714557600 * factor, -factor]
    assert decoder(given)(payloads).frame.equals(by_msgspec(given)(payloads).frame)
