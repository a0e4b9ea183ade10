"""Common parts of stores on servers: URLs with options, and leases that are renewed.

URLs of stores that a server keeps: options after the `?`, and the form without passwords that
messages show.

A lease on a server ends by itself when its holder is silent; a holder that is alive renews it in
a thread of its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from headwater import clock
from headwater.definitions.checks import micros
from headwater.errors import StoreError, UsageError, nearest

_COMMON_OPTIONS = ("prefix", "timeout", "read_timeout")


@dataclass(frozen=True)
class ServerUrl:
    """A URL in parts.

    where: without password and options, for messages. prefix: what the store's data have in front,
    so that several fit in a database. timeout, read_timeout: seconds to wait for an answer, and
    where a request waits for it. options: the others, of the kind of server.

    >>> parse("redis://:secret@cache:6379/0?prefix=shop&replicas=1", ["replicas"])
    ServerUrl(where='redis://cache:6379/0', prefix='shop', timeout=10.0, read_timeout=0.2, options={'replicas': '1'})
    """  # noqa: E501 (output as it is printed)

    where: str
    prefix: str
    timeout: float
    read_timeout: float
    options: Mapping[str, str]


def parse(url: str, options_known: Sequence[str]) -> ServerUrl:
    """The parts of a URL; `options_known` are the options of its kind of server.

    Raises:
        UsageError: an option that is not known, or a prefix that cannot be one.
        DefinitionError: a timeout is not a duration.
    """
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    options = dict(parse_qsl(parts.query))
    for name in options:
        if name not in (*_COMMON_OPTIONS, *options_known):
            raise UsageError(
                f"the option {name!r} of {where} is not known; "
                f"{nearest(name, (*_COMMON_OPTIONS, *options_known))}"
            )
    prefix = options.get("prefix", "headwater")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", prefix):
        raise UsageError(
            f"prefix={prefix!r} of {where}: use up to 63 letters, digits, '.', '_' and '-'"
        )
    timeout, read_timeout = (
        micros(options.get(name, default), name) / 1e6
        for name, default in (("timeout", "10s"), ("read_timeout", "200ms"))
    )
    return ServerUrl(
        where,
        prefix,
        timeout,
        read_timeout,
        {name: value for name, value in options.items() if name in options_known},
    )


LEASE: Final = 5.0
"""Seconds after which a lease ends that nobody renews."""


@contextmanager
def renewed(renew: Callable[[], object]) -> Iterator[None]:
    """Renew a lease often enough while the context lasts. One that cannot be renewed lapses; the
    next commit says why.
    """
    stop = threading.Event()

    def run() -> None:
        while not clock.wait(LEASE / 3, stop):
            with suppress(StoreError):
                renew()

    thread = threading.Thread(target=run, name="renew a lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
