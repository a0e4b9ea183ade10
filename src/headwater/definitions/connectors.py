"""Where the rows of a source come from, as values: tables and streams.

Tables as values: paths, URLs and frames. `headwater.connectors` reads them.

URLs of tables: which strings are URLs, and which URLs are allowed.

Streams of events, as values: Kafka topics, pushed events and appended files.
`headwater.ingestion.sources` reads them.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from os import PathLike, fspath
from typing import (
    TYPE_CHECKING,
    Final,
    Literal,
    Protocol,
    TypedDict,
    cast,
    get_args,
    runtime_checkable,
)
from urllib.parse import parse_qsl, unquote, urlsplit

from headwater.definitions.checks import Spelled, check, check_choice, check_type
from headwater.definitions.definition import Definition, Readable
from headwater.errors import DataError, DefinitionError, nearest, read_error

if TYPE_CHECKING:
    import polars as pl

DateOrder = Literal["day-first", "month-first"]


@runtime_checkable
class ArrowFrame(Protocol):
    """Any frame that exports Arrow data: polars, pandas, pyarrow, DuckDB results, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True, eq=False, init=False)
class Files(Definition):
    """Files of one kind: a path of this machine, or the URL of an object store or of HTTP.

    storage_options: how a URL is read, credentials among them; no part of the fingerprint, and
    never shown. `store` is what they say of which store it is: an endpoint, an account.
    """

    path: str
    storage_options: Mapping[str, object] = field(repr=False, metadata={"fingerprint": False})
    store: str = field(default="", init=False, repr=False, metadata={"fingerprint": "given"})

    def __init__(
        self, path: str | PathLike[str], *, storage_options: Mapping[str, object] | None = None
    ) -> None:
        name = self._called
        check_type(
            path,
            str | PathLike,
            f"{name}(): path",
            f"one path, glob, folder or URL, such as {name}('events/*')",
        )
        location = checked_location(fspath(path))
        options = checked_options(storage_options) if is_url(location) else {}
        self._set(path=location, storage_options=options, store=store_of(options))

    def __str__(self) -> str:
        return self.path

    @property
    def is_remote(self) -> bool:
        """Whether the path is a URL."""
        return is_url(self.path)


@dataclass(frozen=True, eq=False, init=False)
class ParquetFiles(Files, called="parquet"):
    """Parquet files: one file, a glob, or a folder (plain or hive-partitioned), of this machine or
    of an object store.

    Args:
        path: a path, relative to the project file's folder; or a URL: `s3://`, `gs://`, `az://`,
            `abfss://`, `http(s)://`, `file://`. The URL of a folder ends with `/`. Over HTTP there
            are neither folders nor globs.
        storage_options: how a URL is read, as polars names it: `{"aws_region": "eu-north-1",
            "aws_secret_access_key": hw.env("SECRET")}`. Missing options come from the environment
            (`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, ...). They are not part of
            fingerprints and manifests, except an endpoint or account name, and are never shown.

    Raises:
        DefinitionError: an unknown scheme, a URL that holds a credential, or options that are not a
            mapping.

    >>> parquet("s3://shop/payments/*.parquet", storage_options={"aws_region": "eu-north-1"})
    ParquetFiles(s3://shop/payments/*.parquet)
    """


@dataclass(frozen=True, eq=False, init=False)
class CsvFiles(Files, called="csv"):
    """CSV files with a header: one file or a glob, of this machine or of an object store; `path`
    and `storage_options` as of `parquet`.

    separator: the character between fields, such as ";" or a tab.
    dates: "day-first" or "month-first": the order of dates such as 01/02/2026. Without it, a column
        of them is an error, unless a value such as 31/01/2026 shows that the day is first. Dates of
        ISO 8601 and with dots, 31.01.2026, need no order.
    types: columns and their types, str, int, float, bool or polars dtypes, such as {"code": str} of
        007; the first 10,000 lines of each file say those of the others. Times have the type that
        they are written in.
    null_values: words for null, such as ["NULL", "NA"], besides an empty field.

    Raises:
        DefinitionError: as `parquet`, a separator that is not one character of ASCII, another
            order, a type of times, or null_values that are not a list of strings.

    >>> csv("https://example.org/payments.csv", types={"code": str}, null_values=["NA"])
    CsvFiles(https://example.org/payments.csv)
    """

    separator: str = field(default=",", metadata={"fingerprint": "given"})
    dates: DateOrder | None = field(default=None, metadata={"fingerprint": "given"})
    types: Schema | None = field(default=None, metadata={"fingerprint": "given"})
    null_values: Sequence[str] = field(default=(), metadata={"fingerprint": "given"})

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        separator: str = ",",
        dates: DateOrder | None = None,
        types: Schema | None = None,
        null_values: Sequence[str] = (),
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        is_character = (
            isinstance(separator, str)
            and len(separator) == 1
            and separator.isascii()
            and separator not in '"\r\n'
        )
        check(
            is_character,
            separator,
            "csv(): separator",
            "one character of ASCII, such as ';' or '\\t'",
        )
        if dates is not None:
            check_choice(
                dates, get_args(DateOrder), "csv(): dates", "the order of dates such as 01/02/2026"
            )
        words = not isinstance(null_values, str) and isinstance(null_values, Sequence)
        check(
            words and all(isinstance(word, str) for word in null_values),
            null_values,
            "csv(): null_values",
            "a list of strings, such as ['NULL', 'NA']",
        )
        check_schema(types, "iso", "csv()", argument="types")
        for name, dtype in (types or {}).items():
            check(
                dtype in (str, int, float, bool) or not _is_bytes_or_time(dtype),
                dtype,
                f"csv(): the type of {name!r}",
                "str, int, float, bool or such a polars dtype; times need none: ISO 8601 is read, "
                "dates= says the order of other dates, and select= parses strings",
            )
        super().__init__(path, storage_options=storage_options)
        self._set(
            separator=separator,
            dates=dates,
            types=None if types is None else dict(types),
            null_values=tuple(null_values),
        )

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """The declared types, as polars has them."""
        import polars as pl

        plain: dict[object, pl.DataType] = {
            str: pl.String(),
            int: pl.Int64(),
            float: pl.Float64(),
            bool: pl.Boolean(),
        }
        return {
            name: plain.get(dtype)
            or cast("pl.DataType", dtype() if isinstance(dtype, type) else dtype)
            for name, dtype in (self.types or {}).items()
        }


@dataclass(frozen=True, eq=False, init=False)
class JsonLinesFiles(Files, called="json_lines"):
    """JSON lines, an object a line: one file, a glob or a folder; `path` and `storage_options` as
    of `parquet`.

    JSON has no times: convert strings and numbers in `select`, such as
    `pl.col("at").str.to_datetime("%+", time_unit="us")`.

    >>> json_lines("clicks.jsonl")
    JsonLinesFiles(clicks.jsonl)
    """


class Frame(Definition):
    """A frame in memory; its fingerprint is that of its contents."""

    is_remote = False

    def __init__(self, data: ArrowFrame) -> None:
        self.data = data

    def __str__(self) -> str:
        return "a frame in memory"

    @property
    def fingerprint(self) -> str:
        """A hash of the column names, types and rows; read once."""
        if "_fingerprint" not in self.__dict__:
            self.__dict__["_fingerprint"] = _content_hash(self.data)
        return str(self.__dict__["_fingerprint"])


class Connector(Definition):
    """A table of a kind of its own: a frozen dataclass whose fields say where it lies, and which
    reads it. One file in `headwater.connectors`, or in a package of yours.

    >>> from dataclasses import dataclass
    >>> import polars as pl
    >>> @dataclass(frozen=True, eq=False)
    ... class Ndjson(Connector):
    ...     path: str
    ...
    ...     def scan(self):
    ...         return pl.scan_ndjson(self.path)
    >>> as_table(Ndjson("clicks.ndjson"), "history").path
    'clicks.ndjson'
    """

    # whether `state` cannot say that a table changed, so that nothing of it is cached
    is_remote = False

    def scan(self) -> pl.LazyFrame:
        """The rows, as a lazy frame: columns and rows that are not needed are not read.

        Raises:
            DataError: nothing is there, or it cannot be read.
        """
        raise NotImplementedError

    def contents(self) -> dict[str, object]:
        """A hash of the table's rows, for the manifest of a training set."""
        return {"rows": _content_hash(self.scan().collect())}

    def state(self) -> list[object]:
        """A value that changes when the table does; return something cheap where possible, such as
        the number of a version.
        """
        return [self.contents()]


Table = ParquetFiles | CsvFiles | JsonLinesFiles | Frame | Connector

if TYPE_CHECKING:
    TableLike = Table | ArrowFrame | str | PathLike[str] | pl.LazyFrame

parquet, csv, json_lines = ParquetFiles, CsvFiles, JsonLinesFiles
"""As users write them."""


def as_table(value: object, subject: str) -> Table:
    """The table that a user gave: a connector, a path or URL, or any frame with an Arrow interface.

    A lazy frame of polars is collected here: its rows are what the definition is told by, and they
    stay as they are.

    Raises:
        DefinitionError: it is none of these.
        DataError: a lazy frame that cannot be read.
    """
    if isinstance(value, ParquetFiles | CsvFiles | JsonLinesFiles | Frame | Connector):
        return value
    if isinstance(value, str | PathLike):
        path = checked_location(fspath(value))
        name = path.partition("?")[0]
        if name.endswith((".jsonl", ".ndjson")):
            return JsonLinesFiles(path)
        return CsvFiles(path) if name.endswith(".csv") else ParquetFiles(path)
    if type(value).__name__ == "LazyFrame" and type(value).__module__.startswith("polars"):
        value = _collected(value, subject)
    check_frame(value, subject)
    if isinstance(value, ArrowFrame):
        return Frame(value)
    framed = (
        ". polars.DataFrame(...) makes a frame of it"
        if isinstance(value, list | dict) and value
        else ""
    )
    raise DefinitionError(
        f"{subject} is {type(value).__name__}; give a path, hw.parquet(path), hw.csv(path), a "
        "LazyFrame of polars, or a frame with an Arrow interface (polars, pandas 2.2+, "
        f"pyarrow){framed}"
    )


def check_frame(value: object, subject: str) -> None:
    """Refuse a frame of Spark: its Arrow interface would fetch all of its rows, and fails where it
    has times.

    Raises:
        DefinitionError: it is one.
    """
    if type(value).__module__.startswith("pyspark."):
        frame = "frame" if hasattr(value, "mapInArrow") else "frame.to_spark()"  # of its pandas API
        raise DefinitionError(
            f"{subject} is a {type(value).__name__} of Spark; give "
            f"headwater_spark.spark_table({frame}, name='payments')"
        )


def _collected(lazy: object, subject: str) -> object:
    """The rows of a lazy frame of polars."""
    from polars.exceptions import PolarsError  # it is loaded: the frame is of it

    try:
        return lazy.collect()  # type: ignore[attr-defined]
    except (OSError, PolarsError) as error:
        raise DataError(f"{subject}: the lazy frame cannot be read: {read_error(error)}") from error


def _content_hash(data: ArrowFrame) -> str:
    """16 hexadecimal digits for the names, types and rows of a frame, in order."""
    import polars as pl  # a frame is data: only then is a library needed

    frame = data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)
    digest = hashlib.sha256(repr(dict(frame.schema)).encode())
    if frame.width:
        digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
    return digest.hexdigest()[:16]


SCHEMES: Final = ("s3", "s3a", "gs", "gcs", "az", "azure", "adl", "abfs", "abfss", "http", "https")
"""Those of object stores and of HTTP; file:// is a path of this machine."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

_FOLDED: Final = re.compile(rf"({'|'.join((*SCHEMES, 'file'))}):/(?!/)")

_CREDENTIAL: Final = re.compile(
    r"(^|[-_.])(sig|signature|token|key|apikey|accesskeyid|secret|password|credential)($|[-_.])",
    re.IGNORECASE,
)

_STORE_OPTIONS: Final = ("endpoint", "account_name")  # options that say which store a URL is of


def is_url(path: str) -> bool:
    """Whether a path is a URL.

    >>> is_url("s3://bucket/key"), is_url("data/events.parquet"), is_url("C://data")
    (True, False, False)
    """
    return _URL.match(path) is not None


def checked_location(path: str) -> str:
    """A path of this machine, or a URL that can be read.

    Raises:
        DefinitionError: an unknown scheme, no host or bucket, or a URL that holds a credential.

    >>> checked_location("file:///data/a%20b.csv"), checked_location("S3://bucket/a b.parquet")
    ('/data/a b.csv', 's3://bucket/a b.parquet')
    """
    if (folded := _FOLDED.match(path)) is not None:
        raise DefinitionError(
            f"{path} looks like a URL that pathlib.Path has made a path of; give a URL as text: "
            f"'{folded[1]}://...'"
        )
    match = _URL.match(path)
    if match is None:
        return path
    scheme = match[1].lower()
    if scheme == "file":
        local = path[match.end() :].removeprefix("localhost")
        if not local.startswith("/"):
            raise DefinitionError(
                f"{path} names another machine; a file:// URL is of this one: file:///folder/file"
            )
        return unquote(local)
    if scheme not in SCHEMES:
        raise DefinitionError(
            f"a table cannot be read from {scheme}://: {nearest(scheme, (*SCHEMES, 'file'))}. Or "
            "give a path or a frame"
        )
    rest = path[match.end() :]
    host = rest.partition("/")[0]
    if not host:
        raise DefinitionError(
            f"{scheme}://{rest} names no {'host' if scheme.startswith('http') else 'bucket'}; "
            f"give {scheme}://NAME/table"
        )
    # abfss://container@account.dfs.core.windows.net/...
    container = scheme.startswith(("abfs", "adl", "az"))
    if "@" in host and (not container or ":" in host):
        shown = f"{scheme}://{rest.rpartition('@')[2]}"
        raise DefinitionError(
            f"the URL of {shown} holds a user or a password; give them in storage_options= or in "
            "the environment"
        )
    if scheme.startswith("http") and any(
        map(
            _CREDENTIAL.search,
            (name for name, _ in parse_qsl(urlsplit(path).query, keep_blank_values=True)),
        )
    ):
        shown = f"{scheme}://{rest.partition('?')[0]}"
        raise DefinitionError(
            f"the query of {shown} seems to hold a credential, and the URL of a table is kept in "
            "manifests; a signed URL also ends with its signature. Give the object's own URL "
            "(s3://, gs://, az://) with storage_options="
        )
    return f"{scheme}://{rest}"


def checked_options(options: object, called: str = "storage_options") -> dict[str, object]:
    """The options of a storage: strings, numbers, booleans or `env(name)` by name. No message holds
    a value. called: the argument.

    Raises:
        DefinitionError: they are not such a mapping.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise DefinitionError(
            f"{called} is {type(options).__name__}; give a mapping of names to strings, such as "
            '{"aws_region": "eu-north-1", "aws_secret_access_key": hw.env("SECRET")}'
        )
    for name, value in options.items():
        if not isinstance(name, str) or not isinstance(value, str | int | Env):
            raise DefinitionError(
                f"{called}: {name!r} has a {type(value).__name__}; give a string, a number, or "
                "hw.env(name)"
            )
    return dict(options)


def store_of(options: Mapping[str, object]) -> str:
    """The store in the options: the part of a table's identity besides its URL, without secrets.

    Raises:
        DefinitionError: an endpoint that holds a password.

    >>> store_of({"aws_endpoint_url": "http://minio:9000", "aws_secret_access_key": "x"})
    'aws_endpoint_url=http://minio:9000'
    """
    addresses = {
        name: str(value)
        for name, value in options.items()
        if any(name_part in name.lower() for name_part in _STORE_OPTIONS)
    }
    for name, value in addresses.items():
        if "@" in value or "?" in value:
            raise DefinitionError(
                f"storage_options: {name!r} holds a user, a password or a query; give an address "
                "alone"
            )
    return ", ".join(f"{name}={value}" for name, value in sorted(addresses.items()))


Schema = Mapping[str, "pl.DataType | type"]

Timestamps = Literal["iso", "s", "ms", "us"]

Format = Literal["json", "avro", "protobuf", "debezium"]

DEBEZIUM_COLUMNS = ("__deleted", "__op", "__source_ts", "__ts", "__lsn")
"""What an envelope of Debezium says besides the row: whether it deletes, the operation, when it was
committed in the database and when the connector read it, and its place in the log of the database.
"""

PYTHON_TYPES = (str, int, float, bool, bytes, datetime, date)

# What headwater answers for itself: the online store holds the offsets, and nothing is skipped in
# silence.
_DECIDED_OPTIONS = {
    "bootstrap.servers": "servers=",
    "group.id": "group=",
    "auto.offset.reset": "start=",
    "enable.auto.commit": "nothing: the online store holds the offsets",
    "enable.auto.offset.store": "nothing: the online store holds the offsets",
    "enable.partition.eof": (
        "nothing: headwater uses it to notice skipped records, such as those of aborted "
        "transactions"
    ),
    "isolation.level": "nothing: aborted transactions are never read",
}

_OF_REGISTRY = {
    "url": "url",
    "basic.auth.user.info": "user= and password=",
    "bearer.auth.token": "token=",
}


@dataclass(frozen=True)
class Env(Readable, metaclass=Spelled):
    """The value of an environment variable when a connection is made: for passwords, tokens and
    addresses. It is never shown.

    Raises:
        DefinitionError: a name that no variable has.

    >>> env("BROKER_PASSWORD")
    env('BROKER_PASSWORD')
    """

    _called = "env"

    name: str

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name)
        check(
            named,
            self.name,
            "env(): name",
            "the name of an environment variable: letters, digits and underscores",
        )

    def __repr__(self) -> str:
        return f"env({self.name!r})"


env = Env


@dataclass(frozen=True)
class ProtobufMessage:
    """A message type in a file of descriptors, as `protoc --include_imports
    --descriptor_set_out=FILE` writes it.
    """

    descriptors: str
    name: str


@dataclass(frozen=True)
class Registry(Readable):
    """A schema registry of the Confluent kind.

    Args:
        url: its URL.
        user, password: for basic authentication.
        token: a fixed bearer token.
        options: further settings of confluent-kafka's `SchemaRegistryClient`, secrets as
            `env("NAME")`; paths are from the project file. OAuth: `bearer.auth.credentials.source`
            ("OAUTHBEARER"), `bearer.auth.issuer.endpoint.url`, `bearer.auth.client.id`,
            `bearer.auth.client.secret`, `bearer.auth.scope`. TLS with a client certificate:
            `ssl.ca.location`, `ssl.certificate.location`, `ssl.key.location`, `ssl.key.password`.

    Raises:
        DefinitionError: a URL with a user or password in it, or an option that is set by another
            argument.

    >>> Registry(
    ...     "https://registry:8081",
    ...     options={"ssl.ca.location": "ca.pem", "ssl.key.password": env("KEY_PASSWORD")},
    ... )
    Registry('https://registry:8081')
    """

    url: str | Env
    _: KW_ONLY
    user: str | Env | None = None
    password: str | Env | None = None
    token: str | Env | None = None
    options: Mapping[str, str | float | Env] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.url, str) and "@" in urlsplit(self.url).netloc:
            raise DefinitionError(
                "the URL of a schema registry holds a user or a password; give hw.Registry(url, "
                "user=..., password=...)"
            )
        if not isinstance(self.options, Mapping):
            raise DefinitionError(
                f"Registry: options is {type(self.options).__name__}; give a mapping of settings "
                "to values"
            )
        for name, value in self.options.items():
            if name in _OF_REGISTRY:
                raise DefinitionError(
                    f"Registry: options sets {name!r}; give {_OF_REGISTRY[name]} instead"
                )
            if not isinstance(value, str | int | float | Env):
                raise DefinitionError(
                    f"Registry: the option {name!r} is {type(value).__name__}; give a string, a "
                    "number, or env('NAME')"
                )


class Stream(Definition):
    """A stream of events, as a value; a subclass is a frozen dataclass.

    schema: columns and their types; None takes those of the source's history. format: how a record
    is written, a name in `ingestion.serde`. timestamps: how a record writes the timestamps of the
    schema; see `kafka`.
    """

    schema: Schema | None
    format: str
    timestamps: Timestamps

    @property
    def address(self) -> str:
        """The identity of this stream, such as `kafka payments`: a source of the same name may have
        another.
        """
        raise NotImplementedError


class BrokerStream(Stream):
    """A stream whose records a service keeps in partitions, in any format.

    registry, avro, message: see `kafka`.
    """

    registry: Registry | None
    avro: str | None
    message: ProtobufMessage | None


@dataclass(frozen=True, eq=False, init=False)
class KafkaTopic(BrokerStream, called="kafka"):
    """The records of a topic of Apache Kafka.

    Args:
        topic: its name.
        servers: host:port, several separated by commas.
        group: the consumer group that shares the partitions out; None is one of the processes that
            write to one online store: `headwater-`, the source's name, and a name that no other
            store has.
        format: "json" (an object a record), "avro", "protobuf", or "debezium": envelopes, each a
            change image of a row, as JSON or, with `registry` or `avro`, as Avro. The schema names
            columns of the row; the stream has these in addition: `__deleted` (for `changes=`),
            `__op`, `__source_ts` (when it was committed in the database), `__ts` (when the
            connector read it, for `known_at_field=`) and `__lsn`.
        schema: columns and their types (polars dtypes, or str, int, float, bool, bytes, datetime,
            date); None takes those of the source's history. Fields that a record lacks are null;
            those that the schema does not name are not read.
        timestamps: how a record writes the timestamps of the schema: "iso" for ISO 8601 strings, or
            the unit of a number since 1970 in UTC. Avro's and Protobuf's own timestamps are read as
            what they are.
        registry: the URL of a schema registry of the Confluent kind, or a `Registry`, which has
            settings for authentication.
        avro: the path of an Avro schema (.avsc) that all records are written with; use it without a
            registry.
        message: the path of a set of Protobuf descriptors and the full name of the message type;
            use it without a registry.
        start: where to begin in a topic that no offset is known of. Partitions that a topic grows
            later begin at their beginning.
        options: further settings of librdkafka, such as `security.protocol`; secrets as
            `env("NAME")`.

    Raises:
        DefinitionError: a name, type or setting that does not exist, or formats and schemas that do
            not fit together.

    >>> kafka("payments", servers=env("BROKERS"), schema={"card": str, "amount": float}).servers
    env('BROKERS')
    """

    topic: str
    servers: str | Env = field(metadata={"fingerprint": False})
    group: str | None = field(metadata={"fingerprint": False})
    format: Format
    schema: Schema | None
    timestamps: Timestamps
    registry: Registry | None = field(metadata={"fingerprint": False})
    avro: str | None
    message: ProtobufMessage | None
    start: Literal["earliest", "latest"]
    options: Mapping[str, str | Env] = field(metadata={"fingerprint": False})

    def __init__(  # noqa: PLR0913 (each is a keyword that a topic may need)
        self,
        topic: str,
        *,
        servers: str | Env = "localhost:9092",
        group: str | None = None,
        format: Format = "json",
        schema: Schema | None = None,
        timestamps: Timestamps = "iso",
        registry: Registry | str | Env | None = None,
        avro: str | PathLike[str] | None = None,
        message: ProtobufMessage | tuple[str, str] | None = None,
        start: Literal["earliest", "latest"] = "earliest",
        options: Mapping[str, str | Env] | None = None,
    ) -> None:
        subject = f"kafka({topic!r})"
        named = isinstance(topic, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic)
        check(
            named,
            topic,
            "kafka(): topic",
            "a name of 1 to 249 letters, digits, dots, underscores and dashes",
        )
        check_choice(start, ("earliest", "latest"), f"{subject}: start")
        if not isinstance(options, Mapping | None):
            raise DefinitionError(
                f"{subject}: options is {type(options).__name__}; give a mapping of settings to "
                "strings"
            )
        for name, value in (options or {}).items():
            if name in _DECIDED_OPTIONS:
                raise DefinitionError(
                    f"{subject}: options sets {name!r}, which headwater decides; give "
                    f"{_DECIDED_OPTIONS[name]}"
                )
            check_type(
                value, str | Env, f"{subject}: the option {name!r}", "a string, or env('NAME')"
            )
        records = record_format(subject, format, schema, timestamps, registry, avro, message)
        self._set(
            topic=topic,
            servers=servers,
            group=group,
            start=start,
            options=dict(options or {}),
            **records,
        )

    def __str__(self) -> str:
        return f"the Kafka topic {self.topic!r}"

    @property
    def address(self) -> str:
        return f"kafka {self.topic}"


@dataclass(frozen=True, eq=False, init=False)
class Pushed(Stream, called="push"):
    """Events that come by HTTP POST, a JSON object each.

    Args:
        schema, timestamps: as for `kafka`.
        format: "json".
        at_least_once: take events without an id or an Idempotency-Key, which count twice where a
            sender repeats them.

    >>> push(schema={"card": str}).at_least_once
    False
    """

    schema: Schema | None
    format: Literal["json"]
    timestamps: Timestamps
    at_least_once: bool

    def __init__(
        self,
        *,
        schema: Schema | None = None,
        format: Literal["json"] = "json",
        timestamps: Timestamps = "iso",
        at_least_once: bool = False,
    ) -> None:
        check_choice(format, ("json",), "push(): format")
        check_schema(schema, timestamps, "push()")
        columns = None if schema is None else dict(schema)
        self._set(schema=columns, format=format, timestamps=timestamps, at_least_once=at_least_once)

    def __str__(self) -> str:
        return "events pushed over HTTP"

    @property
    def address(self) -> str:
        return "push"


@dataclass(frozen=True, eq=False, init=False)
class AppendedFiles(Stream, called="appended"):
    """Files that are being appended to: each line a JSON object, or CSV under a header.

    Args:
        path: a file or a glob; files that come later are read from their beginning. A file that is
            renamed to a name that the glob matches is read on; one that is replaced is an error.
        format: "json", "csv", or "debezium" as of `kafka`.
        schema, timestamps: as for `kafka`.

    >>> print(appended("log/*.ndjson", schema={"card": str}))
    lines appended to log/*.ndjson
    """

    path: str
    format: Literal["json", "csv", "debezium"]
    schema: Schema | None
    timestamps: Timestamps

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        format: Literal["json", "csv", "debezium"] = "json",
        schema: Schema | None = None,
        timestamps: Timestamps = "iso",
    ) -> None:
        check_type(
            path, str | PathLike, "appended(): path", "a file or a glob, such as 'log/*.ndjson'"
        )
        subject = f"appended({fspath(path)!r})"
        check_choice(format, ("json", "csv", "debezium"), f"{subject}: format")
        check_schema(schema, timestamps, subject)
        check_debezium(format, schema, subject)
        columns = None if schema is None else dict(schema)
        self._set(path=fspath(path), format=format, schema=columns, timestamps=timestamps)

    def __str__(self) -> str:
        return f"lines appended to {self.path}"

    @property
    def address(self) -> str:
        return f"appended {self.path}"


kafka, push, appended = KafkaTopic, Pushed, AppendedFiles
"""As users write them."""


def check_stream(stream: Stream, subject: str, *, has_history: bool) -> None:
    """Refuse a value that is not a stream, and a stream without a schema where the source has no
    history either.
    """
    give = "hw.kafka(topic), hw.push(), hw.appended(path), or the stream of a plugin"
    check_type(stream, Stream, f"{subject}: stream", give)
    if stream.schema is None and not has_history:
        raise DefinitionError(
            f"{subject}: the columns of {stream} are not known; give the stream a schema=, such "
            "as {'card': str, 'amount': float}, or the source a history"
        )


class RecordFormat(TypedDict):
    """How the records of a broker are written; as the fields of a `BrokerStream`."""

    format: Format
    schema: Schema | None
    timestamps: Timestamps
    registry: Registry | None
    avro: str | None
    message: ProtobufMessage | None


def record_format(
    subject: str,
    format: Format,
    schema: Schema | None,
    timestamps: Timestamps,
    registry: Registry | str | Env | None,
    avro: str | PathLike[str] | None,
    message: ProtobufMessage | tuple[str, str] | None,
) -> RecordFormat:
    """The format of records from the arguments, see `kafka`; arguments that contradict each other
    are refused.
    """
    check_choice(format, get_args(Format), f"{subject}: format")
    check_schema(schema, timestamps, subject)
    check_debezium(format, schema, subject)
    pair = (
        isinstance(message, tuple) and len(message) == 2 and isinstance(message[0], str | PathLike)
    )
    give = "descriptors and the full name of a message, such as ('payments.desc', 'shop.Payment')"
    check(pair or isinstance(message, ProtobufMessage | None), message, f"{subject}: message", give)
    descriptor = (
        message
        if isinstance(message, ProtobufMessage) or message is None
        else ProtobufMessage(fspath(message[0]), message[1])
    )
    check_formats(format, registry, avro, descriptor, subject)
    return {
        "format": format,
        "schema": None if schema is None else dict(schema),
        "timestamps": timestamps,
        "registry": Registry(registry) if isinstance(registry, str | Env) else registry,
        "avro": None if avro is None else fspath(avro),
        "message": descriptor,
    }


def check_schema(
    schema: Schema | None, timestamps: object, subject: str, argument: str = "schema"
) -> None:
    """Refuse a schema that is not one of columns and types. argument: its name in the call."""
    check_choice(timestamps, get_args(Timestamps), f"{subject}: timestamps")
    if schema is None:
        return
    named = isinstance(schema, Mapping) and schema
    check(
        named,
        schema,
        f"{subject}: {argument}",
        "columns and their types, such as {'card': str, 'amount': float}",
    )
    for name, dtype in schema.items():
        if not isinstance(name, str) or not (dtype in PYTHON_TYPES or _is_polars(dtype)):
            allowed = ", ".join(t.__name__ for t in PYTHON_TYPES)
            raise DefinitionError(
                f"{subject}: {argument}= gives {name!r} the type {dtype!r}; give a column's "
                f"name a polars dtype, or one of {allowed}"
            )


def check_debezium(format: str, schema: Schema | None, subject: str) -> None:
    """Refuse a schema with the names of the fields in every envelope of Debezium."""
    taken = [name for name in DEBEZIUM_COLUMNS if name in (schema or ())]
    if format == "debezium" and taken:
        raise DefinitionError(
            f"{subject}: the schema names {taken[0]!r}, which every envelope gives; name the "
            "columns of the row alone"
        )


def _is_bytes_or_time(dtype: object) -> bool:
    return dtype in (bytes, datetime, date) or (
        _is_polars(dtype)
        and (dtype.is_temporal() or dtype.is_nested() or dtype == sys.modules["polars"].Binary)  # type: ignore[attr-defined]
    )


def _is_polars(dtype: object) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and (
        isinstance(dtype, polars.DataType)
        or (isinstance(dtype, type) and issubclass(dtype, polars.DataType))
    )


def check_formats(
    format: str, registry: object, avro: object, message: object, subject: str
) -> None:
    """Refuse a format without its schema, and a schema of another format."""
    give = "a URL, env('NAME') or hw.Registry(url, user=..., password=...)"
    check_type(registry, str | Env | Registry | None, f"{subject}: registry", give)
    for name, schema_source, fits in (
        ("avro", avro, ("avro", "debezium")),
        ("message", message, ("protobuf",)),
    ):
        if schema_source is not None and format not in fits:
            raise DefinitionError(
                f"{subject}: {name}= is for format={' or '.join(map(repr, fits))}, and format is "
                f"{format!r}"
            )
    if format == "json" and registry is not None:
        raise DefinitionError(
            f"{subject}: registry= is for format='avro', 'protobuf' or 'debezium'; JSON is read "
            "by schema="
        )
    if format == "debezium" and registry is not None and avro is not None:
        raise DefinitionError(
            f"{subject}: envelopes in Avro need registry= or avro=, and both are given"
        )
    schema_argument = (
        "avro='payments.avsc'" if format == "avro" else "message=('payments.desc', 'shop.Payment')"
    )
    if format in ("avro", "protobuf") and (registry is None) == (avro is None and message is None):
        raise DefinitionError(
            f"{subject}: format={format!r} needs either registry=, the URL of a schema registry, "
            f"or {schema_argument}"
        )
