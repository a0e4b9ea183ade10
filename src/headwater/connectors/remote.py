"""Tables by URL: object stores and HTTP, read by polars in pieces, with an end to waiting."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

import polars as pl
from polars.exceptions import PolarsError

from headwater import settings
from headwater.definitions.connectors import Env, Files
from headwater.errors import ConnectError, DataError, read_error

FIRST: Final = {"max_retries": 1, "timeout": "10s", "connect_timeout": "5s"}
DATA: Final = {"max_retries": 2, "timeout": "120s", "connect_timeout": "5s"}
_SECONDS: Final = 10.0
_GLOB: Final = re.compile(r"[*?\[]")
_SECRET: Final = re.compile("key|secret|token|password|sas|credential|bearer|auth", re.IGNORECASE)
_FILE: Final = "__file"
_ROWS: Final = 100_000
_AWAY: Final = (ConnectionError, TimeoutError, PermissionError)


def exists(spec: Files, pattern: str) -> bool:
    """Whether a store has an object of a pattern that is not empty.

    Raises:
        ConnectError: the store does not answer in time, or refuses.
    """
    try:
        return (
            pl.scan_lines(pattern, storage_options=FIRST | resolved(spec.storage_options))
            .head(1)
            .collect()
            .height
            > 0
        )
    except Exception as error:  # noqa: BLE001 (the library of a cloud, which polars asks for credentials, raises its own)
        refusal = read_failure(error, spec, "")
        if isinstance(refusal, ConnectError):
            raise refusal from None
        return True  # a value that is not a string, such as compressed metadata


def resolved(options: Mapping[str, object]) -> dict[str, object]:
    """The options with the values of the environment."""
    with_secrets = {
        name: settings.secret(value.name) if isinstance(value, Env) else value
        for name, value in options.items()
    }
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in with_secrets.items()
    }


def write(spec: Files, frame: pl.DataFrame) -> None:
    """Write one parquet file to a URL: a whole object, or none. A store that is away costs seconds.

    Raises:
        ConnectError: the store does not answer, or refuses. DataError: it cannot be written.
    """
    try:
        frame.write_parquet(spec.path, storage_options=FIRST | resolved(spec.storage_options))
    except Exception as error:  # noqa: BLE001 (as `exists`)
        raise read_failure(error, spec, "parquet") from None


def listed(spec: Files) -> list[str]:
    """The parquet files with rows that match a glob, sorted; none where nothing matches. Of each,
    only the footer is read.

    Raises:
        ConnectError, DataError: as `write`.
    """
    options = DATA | resolved(spec.storage_options)
    try:
        files = pl.scan_parquet(
            spec.path,
            schema={},
            extra_columns="ignore",
            hive_partitioning=False,
            include_file_paths=_FILE,
            storage_options=options,
        )
        return sorted(files.select(pl.col(_FILE).unique()).collect()[_FILE])
    except Exception as error:  # noqa: BLE001 (as `exists`)
        text = str(error)
        if "expanded paths were empty" in text or (
            isinstance(error, FileNotFoundError) and not spec.is_remote
        ):
            return []
        refusal = read_failure(error, spec, "parquet")
        if "parquet magic bytes" in text:
            refusal = DataError(
                f"a file that matches {spec.path} is cut off, or is no parquet; it is smaller "
                "than its like: remove it, and write it again"
            )
        raise refusal from None


def read(spec: Files) -> pl.DataFrame:
    """One parquet file, whole.

    Raises:
        ConnectError, DataError: as `write`.
    """
    try:
        return pl.read_parquet(
            spec.path,
            glob=False,
            hive_partitioning=False,
            storage_options=DATA | resolved(spec.storage_options),
        )
    except Exception as error:  # noqa: BLE001 (as `exists`)
        raise read_failure(error, spec, "parquet") from None


def contents(spec: Files, frame: Callable[[str], pl.LazyFrame]) -> dict[str, object]:
    """A hash of the rows of each file, in order, and their number; only the store knows the bytes.

    frame: the table with a column of that name, the file of each row.
    """
    hashes: dict[str, tuple[hashlib._Hash, int]] = {}
    try:
        lazy = frame(_FILE)
        schema = repr(
            {name: dtype for name, dtype in lazy.collect_schema().items() if name != _FILE}
        )
        for batch in lazy.collect_batches(chunk_size=_ROWS, maintain_order=True):
            for (name,), rows in batch.partition_by(
                _FILE, as_dict=True, maintain_order=True
            ).items():
                digest, count = hashes.get(str(name)) or (hashlib.sha256(schema.encode()), 0)
                digest.update(_plain(rows.drop(_FILE)).hash_rows(seed=0).to_numpy().tobytes())
                hashes[str(name)] = digest, count + rows.height
    except (OSError, PolarsError) as error:
        raise read_failure(error, spec, "") from None
    return {
        "path": spec.path,
        **({"store": spec.store} if spec.store else {}),
        "files": {
            name: {"rows": count, "rows_sha256": digest.hexdigest()}
            for name, (digest, count) in sorted(hashes.items())
        },
    }


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Categories as strings: their codes differ between processes."""
    return rows.with_columns(
        pl.col(name).cast(pl.String)
        for name, dtype in rows.schema.items()
        if isinstance(dtype, pl.Categorical)
    )


def check_http(url: str) -> None:
    """Ask an HTTP server for the first byte: polars would wait for a silent one without end, and
    reads in pieces.

    Raises:
        ConnectError: it does not answer in time, or refuses.
        DataError: it has no such file, or gives files only whole.
    """
    if "*" in url.partition("?")[0] or url.partition("?")[0].endswith("/"):
        raise DataError(
            f"{url}: over HTTP there are neither folders nor globs, since no server lists its "
            "files; give the URL of one file"
        )
    request = urllib.request.Request(  # noqa: S310
        quote(url, safe="%/:?&=#+,;@~!$'()*[]"), headers={"Range": "bytes=0-0"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            whole = answer.status != 206
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            raise DataError(f"{url}: nothing is there (404 {error.reason})") from None
        if error.code == 416:
            raise DataError(
                f"{url} is empty: it has no bytes, so no columns either; write the table again"
            ) from None
        raise ConnectError(f"{url}: the server refuses with {error.code} {error.reason}") from None
    except OSError as error:
        raise ConnectError(
            f"{url}: the server does not answer: {getattr(error, 'reason', error)}. See that it "
            "runs and try again"
        ) from None
    if whole:
        raise DataError(
            f"{url}: the server does not answer requests for a part of a file (Range), which "
            "reading in pieces takes; download the file and give its path, or use a server or an "
            "object store that does"
        )


def read_failure(error: Exception, spec: Files, called: str) -> DataError | ConnectError:
    """The error for files of a store that cannot be read as a format, without credentials."""
    hint = f"as {called}" if called else ""
    return table_error(error, spec.path, spec.storage_options, hint)


def table_error(
    error: Exception, path: str, options: Mapping[str, object], format_hint: str
) -> DataError | ConnectError:
    """The error for a table that cannot be read, without credentials. format_hint: such as "as
    CSV".
    """
    secrets = [str(value) for name, value in resolved(options).items() if _SECRET.search(name)]
    text = read_error(error, secrets).rstrip(".")
    if "expanded paths were empty" in text or "empty CSV" in text:
        empty = (
            "the file is empty: it has no bytes, so no columns either"
            if "empty CSV" in text
            else "no file is there"
        )
        return DataError(
            f"{path}: {empty}; check the bucket and the pattern, or write the table first"
        )
    if isinstance(error, FileNotFoundError):
        folder = "" if _GLOB.search(path) or path.endswith("/") else ". A folder's URL ends with /"
        return DataError(f"{path}: nothing is there: {text}{folder}")
    refused = re.search(
        r"\b40[13]\b|[Cc]redential|[Uu]nauthorized|ACCESS_DENIED|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch",
        text,
    )
    if refused:
        return ConnectError(
            f"{path}: the store refuses: {text}. Check the credentials in storage_options= or the "
            "environment, and what they may read"
        )
    if re.search("NoSuchBucket|ContainerNotFound|bucket does not exist", text):
        return DataError(f"{path}: there is no such bucket; correct its name, or create it")
    if isinstance(error, _AWAY) or re.search(
        "Error performing|NETWORK_CONNECTION|error sending request", text
    ):
        return ConnectError(
            f"{path}: the store does not answer: {text}. Check the endpoint and that it can be "
            "reached from here"
        )
    return DataError(f"{path} cannot be read {format_hint}".rstrip() + f": {text}")
