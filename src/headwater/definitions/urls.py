"""URLs of tables: which strings are URLs, and which URLs are allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from headwater.errors import DefinitionError, nearest

SCHEMES: Final = ("s3", "s3a", "gs", "gcs", "az", "azure", "adl", "abfs", "abfss", "http", "https")
"""Those of object stores and of HTTP; file:// is a path of this machine."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FOLDED: Final = re.compile(rf"({'|'.join((*SCHEMES, 'file'))}):/(?!/)")
_CREDENTIAL: Final = re.compile(
    r"(^|[-_.])(sig|signature|token|key|apikey|accesskeyid|secret|password|credential)($|[-_.])",
    re.IGNORECASE,
)
_PLACE: Final = ("endpoint", "account_name")  # options that say which store a URL is of


def is_url(path: str) -> bool:
    """Whether a path is a URL.

    >>> is_url("s3://bucket/key"), is_url("data/events.parquet"), is_url("C://data")
    (True, False, False)
    """
    return _URL.match(path) is not None


def place(path: str) -> str:
    """A path of this machine, or a URL that can be read.

    Raises:
        DefinitionError: an unknown scheme, no host or bucket, or a URL that holds a credential.

    >>> place("file:///data/a%20b.csv"), place("S3://bucket/a b.parquet"), place("events.parquet")
    ('/data/a b.csv', 's3://bucket/a b.parquet', 'events.parquet')
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
    from headwater.definitions.streams import Env

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
    """The store that the options name: what identifies a table besides its URL, without secrets.

    Raises:
        DefinitionError: an endpoint that holds a password.

    >>> store_of({"aws_endpoint_url": "http://minio:9000", "aws_secret_access_key": "x"})
    'aws_endpoint_url=http://minio:9000'
    """
    addresses = {
        name: str(value)
        for name, value in options.items()
        if any(name_part in name.lower() for name_part in _PLACE)
    }
    for name, value in addresses.items():
        if "@" in value or "?" in value:
            raise DefinitionError(
                f"storage_options: {name!r} holds a user, a password or a query; give an address "
                "alone"
            )
    return ", ".join(f"{name}={value}" for name, value in sorted(addresses.items()))
