"""URLs of Redis: which servers they name, apart from the library that connects to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from headwater.errors import UsageError
from headwater.stores.redis.commands import RedisOptions
from headwater.stores.server_url import parse

_PORT, _SENTINEL_PORT = 6379, 26379
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
_TLS = (*_FILES, "ssl_password", "ssl_cert_reqs", "ssl_check_hostname")
_PASSED_ON = (*_TLS, "max_connections", "client_name", "db")
_OF_SENTINEL = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class RedisUrl:
    """A URL in parts.

    kind: "", "cluster" or "sentinel". address: the first host, as the library takes a URL. hosts:
    host and port of the others; of Sentinel, of all. name: of the primary in Sentinel.
    read_timeout: seconds, where a request waits for an answer.
    """

    kind: str
    address: str
    hosts: Sequence[tuple[str, int]]
    name: str
    options: RedisOptions
    read_timeout: float


def parse_redis(url: str) -> RedisUrl:
    """The parts of a URL.

    Raises:
        UsageError: it names no server, or has an option that is not known.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    known = (*_PASSED_ON, *(_OF_SENTINEL if kind == "sentinel" else ()))
    at = parse(url, ("replicas", *known))
    if kind not in ("", "cluster", "sentinel") or (kind and scheme == "unix"):
        raise UsageError(
            f"{at.where}: the scheme is redis, rediss, unix, redis+cluster, rediss+cluster, "
            "redis+sentinel or rediss+sentinel"
        )
    replicas = at.options.get("replicas", "0")
    if not replicas.isdecimal():
        raise UsageError(f"replicas={replicas!r} of {at.where}: give an integer")
    name, _, database = (
        parts.path.strip("/").partition("/")
        if kind == "sentinel"
        else ("", "", parts.path.strip("/"))
    )
    if kind == "sentinel" and not name:
        raise UsageError(
            f"{at.where}: give the name by which Sentinel knows the primary, such as "
            "redis+sentinel://host:26379/mymaster"
        )
    if scheme != "unix" and database and not database.isdecimal():
        raise UsageError(f"the database {database!r} of {at.where}: give an integer")
    user, sign, names = parts.netloc.rpartition("@")
    if scheme != "unix" and not all(names.split(",")):
        raise UsageError(f"{at.where} names no host, or an empty one; give redis://HOST:PORT/DB")
    if not scheme.startswith("rediss") and (
        tls := next((option for option in at.options if option in _TLS), None)
    ):
        secure = f"rediss{'+' if kind else ''}{kind}"
        raise UsageError(
            f"{tls}= of {at.where} needs TLS, which {parts.scheme}:// does not use: give "
            f"{secure}://"
        )
    for option in [
        option
        for option in at.options
        if option in _FILES and not Path(at.options[option]).exists()
    ]:
        raise UsageError(
            f"{option}={at.options[option]} of {at.where}: there is no such file or folder"
        )
    first, *others = names.split(",") if kind else [names]
    passed = urlencode({option: value for option, value in at.options.items() if option in known})
    address = f"{scheme}://{user}{sign}{first}{f'/{database}' if name else parts.path}?{passed}"
    hosts = (
        _hosts([first, *others], _SENTINEL_PORT) if kind == "sentinel" else _hosts(others, _PORT)
    )
    options = RedisOptions(at.where, at.prefix.encode(), int(replicas), at.timeout)
    return RedisUrl(kind, address, hosts, name, options, at.read_timeout)


def why_not_connected(where: str, message: str) -> str:
    """What to do about a server that a client could not connect to, by the client's message.

    >>> why_not_connected("redis://cache:6379/0", "Connection refused")
    'Is it running, and within reach?'
    >>> why_not_connected("redis://cache:6380/0", "(104, 'Connection reset by peer')")
    'Is it running, and within reach? If it uses TLS, give rediss:// in place of redis://'
    """
    secure = where.startswith("rediss")
    for pattern, remedy in _REMEDIES.items():
        if re.search(pattern, message):
            return remedy
    other = (
        where.partition(":")[0].replace("rediss", "redis")
        if secure
        else "rediss" + where.partition(":")[0].removeprefix("redis")
    )
    if not where.startswith("unix") and re.search(
        "SSL|Timeout|reset by peer|[Cc]losed by server", message
    ):
        uses = "does not use" if secure else "uses"
        return (
            f"Is it running, and within reach? If it {uses} TLS, give {other}:// in place of "
            f"{where.partition(':')[0]}://"
        )
    return "Is it running, and within reach?"


_REMEDIES = {
    "Cluster mode is not enabled": (
        "It is one server, and no cluster: leave +cluster out of the URL"
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "Give the certificate of the server's authority with ssl_ca_certs=, and the host as the "
        "server's certificate names it"
    ),
    "KEY_VALUES_MISMATCH": "ssl_certfile= and ssl_keyfile= do not belong together",
    (
        "EOF occurred in violation|alert (bad certificate|certificate required|handshake "
        "failure|unknown ca)"
    ): ("It may want a certificate of its clients: give ssl_certfile= and ssl_keyfile="),
    "invalid username-password pair|Authentication required|WRONGPASS|NOAUTH": (
        "Sentinel has a user and a password of its own: give sentinel_password=, and "
        "sentinel_username= where it has users"
    ),
}
"""By the client's message, as a pattern."""


def _hosts(names: Sequence[str], port: int) -> list[tuple[str, int]]:
    return [
        (host.hostname or "", host.port or port)
        for host in (urlsplit(f"//{name}") for name in names)
    ]
