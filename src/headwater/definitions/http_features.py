"""Features that a third party returns over HTTP during a request."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from headwater.definitions.checks import (
    Duration,
    check,
    check_choice,
    check_integer,
    check_reference,
    check_type,
    micros,
    refusal,
    text,
)
from headwater.definitions.connectors import Env
from headwater.definitions.definition import check_name
from headwater.definitions.feature_view import FeatureRef, FeatureView, ThirdPartyFeatures, made
from headwater.definitions.freshness import on_request
from headwater.definitions.source import DTYPES, Source, check_dtype
from headwater.errors import DefinitionError

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NOT_IN_FINGERPRINT = {"fingerprint": False}  # how answers are come by, not what they say
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, eq=False)
class HttpFeatures(ThirdPartyFeatures):
    """Features that a third party returns over HTTP during a request: `ip["score"]` is one of them.

    A call that is slow, fails or returns an invalid response loses its features, never the
    prediction.

    Args:
        name: letters, digits and single underscores; the features are named `name__column`.
        url: the endpoint. `{field}` is replaced by the request's field, quoted; other fields go
            into the query, or with POST into the body, a JSON object.
        request: the request's fields that are sent to the third party, and their types: float, int,
            str, bool or datetime.
        response: columns and their types; a column is the field of that name of the answer, a JSON
            object. ("risk.scores.0", float) says where else it stands: names, and places in lists,
            from the outside in.
        timeout: the time limit of a response, retries included.
        cache: the maximum age of a cached response.
        headers: sent with every call; secrets as `env("NAME")`. They are in no fingerprint, log or
            error.
        fallback: the value of a column without a response; null for columns that are not named.
        history: earlier responses: a source with the request's fields, the columns, and each
            response's time as event time. It supplies training values: the latest response to the
            same request fields before the request. None: "not in training".
        method: "GET" or "POST".
        idempotent: whether a call may be repeated; None is true of GET alone.
        retries: how often a broken call is repeated, within `timeout`.
        stale_while_revalidate: how much older than `cache` a response may be that is returned
            immediately while a new one is fetched.
        cache_entries: how many responses are cached.
        concurrency: how many calls may run concurrently in each process; others wait, within
            `timeout`.
        breaker: how long no call is made after half of the last calls failed; then one call is
            tried. None always calls.

    Raises:
        DefinitionError: an invalid url, or one that holds a secret; an unknown type or option; a
            history that lacks a column.

    >>> import headwater as hw
    >>> ip = HttpFeatures(
    ...     "ip",
    ...     url="https://ip.example/v1/{ip_address}",
    ...     request={"ip_address": str},
    ...     response={"score": float},
    ... )
    >>> ip.feature_names, ip["score"].name, ip.trains
    (('ip__score',), 'ip__score', False)
    """

    name: str
    _: KW_ONLY
    url: str
    request: Mapping[str, type]
    response: Mapping[str, type | tuple[str, type]]
    timeout: Duration = field(default="200ms", metadata=_NOT_IN_FINGERPRINT)
    cache: Duration = field(default="0s", metadata=_NOT_IN_FINGERPRINT)
    headers: Mapping[str, str | Env] = field(
        default_factory=dict, repr=False, metadata=_NOT_IN_FINGERPRINT
    )
    fallback: Mapping[str, object] = field(default_factory=dict)
    history: Source | None = None
    method: Literal["GET", "POST"] = "GET"
    idempotent: bool | None = field(default=None, metadata=_NOT_IN_FINGERPRINT)
    retries: int = field(default=1, metadata=_NOT_IN_FINGERPRINT)
    stale_while_revalidate: Duration = field(default="0s", metadata=_NOT_IN_FINGERPRINT)
    cache_entries: int = field(default=100_000, metadata=_NOT_IN_FINGERPRINT)
    concurrency: int = field(default=64, metadata=_NOT_IN_FINGERPRINT)
    breaker: Duration | None = field(default="1s", metadata=_NOT_IN_FINGERPRINT)

    def __post_init__(self) -> None:
        self.remember_site()
        check_name(self.name, "third-party features")
        subject = f"third-party features {self.name!r}"
        for name, columns in (("request", self.request), ("response", self.response)):
            named = isinstance(columns, Mapping) and columns
            check(
                named,
                columns,
                f"{subject}: {name}",
                "names and their types, such as {'ip_address': str}",
            )
        for name, dtype in self.request.items():
            _check_column(name, dtype, f"{subject}: request")
        object.__setattr__(self, "request", dict(self.request))
        object.__setattr__(
            self,
            "response",
            {
                name: _column(name, columns, f"{subject}: response")
                for name, columns in self.response.items()
            },
        )
        check_choice(self.method, ("GET", "POST"), f"{subject}: method")
        self._check_url(subject)
        self._check_headers(subject)
        self._check_fallback(subject)
        self._check_knobs(subject)
        self._check_history(subject)

    @property
    def columns(self) -> Mapping[str, tuple[str, type]]:
        """Each column: where it stands in the answer, and its type."""
        return self.response  # type: ignore[return-value]  # as __post_init__ has left it

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The full names `name__column`, in the order of `response`."""
        return tuple(f"{self.name}__{column}" for column in self.response)

    @property
    def trains(self) -> bool:
        """Whether a history supplies training values."""
        return self.history is not None and self.history.history is not None

    @property
    def repeatable(self) -> bool:
        """Whether a call may be repeated."""
        return self.method == "GET" if self.idempotent is None else self.idempotent

    @property
    def oldest(self) -> int:
        """The maximum age of a served value, in microseconds."""
        return micros(self.cache, "cache") + micros(
            self.stale_while_revalidate, "stale_while_revalidate"
        )

    @property
    def place(self) -> str:
        """The url without its query, for messages."""
        return self.url.partition("?")[0]

    @cached_property
    def view(self) -> FeatureView:
        """The features as history answers them: the latest row of the same request fields before
        the request.

        Training data and backtests read it like any view; online, the third party is asked instead.
        """
        source = self.history or Source(f"{self.name}_answers", timestamp_field="fetched_at")
        return FeatureView(
            self.name,
            source=source,
            keys=tuple(self.request),
            features=[made("latest", tuple(self.response), None, None, None)],
            freshness=on_request(),
            third_party=self,
        )

    def __getitem__(self, column: str) -> FeatureRef:
        short = column.removeprefix(f"{self.name}__")
        check_reference(
            short, self.response, f"third-party features {self.name!r} have no column {column!r}"
        )
        return self.view[short]

    def _check_url(self, subject: str) -> None:
        parts = urlsplit(self.url) if isinstance(self.url, str) else None
        if (
            parts is None
            or parts.scheme not in ("http", "https")
            or not parts.hostname
            or "{" in parts.netloc
            or parts.fragment
        ):
            give = (
                "http:// or https://, a host, and a path, such as "
                "'https://ip.example/v1/{ip_address}'"
            )
            raise refusal(self.url, f"{subject}: url", give)
        if parts.username is not None or parts.password is not None:
            raise DefinitionError(
                f"{subject}: the url holds a user or a password; send it as "
                "headers={'Authorization': hw.env('NAME')}"
            )
        for name in PLACEHOLDER.findall(self.url):
            check_reference(
                name,
                self.request,
                f"{subject}: the url has a place for {name!r}, which request does not name",
            )
        encoded = re.search(r"[{}\s]", PLACEHOLDER.sub("", self.url)) is None
        check(
            encoded,
            self.url,
            f"{subject}: url",
            "it with percent-encoded spaces, and braces that are not placeholders of a field",
        )

    def _check_headers(self, subject: str) -> None:
        if not isinstance(self.headers, Mapping):
            raise DefinitionError(
                f"{subject}: headers is {type(self.headers).__name__}; give a mapping of names to "
                "strings"
            )
        for name, value in self.headers.items():
            if not isinstance(name, str) or not _HEADER.fullmatch(name):
                raise DefinitionError(f"{subject}: {name!r} is not a header name")
            if not isinstance(value, str | Env) or (
                isinstance(value, str) and not (value.isascii() and value.isprintable())
            ):
                raise DefinitionError(
                    f"{subject}: the header {name!r} is neither a string of one line nor "
                    "hw.env('NAME')"
                )  # its value is not said
        object.__setattr__(self, "headers", dict(self.headers))

    def _check_fallback(self, subject: str) -> None:
        check_type(
            self.fallback,
            Mapping,
            f"{subject}: fallback",
            "a mapping from columns of response to their values",
        )
        for name, value in self.fallback.items():
            check_reference(
                name, self.response, f"{subject}: fallback names {name!r}, which response does not"
            )
            dtype = self.columns[name][1]
            check(
                value is None or fits(value, dtype),
                value,
                f"{subject}: the fallback of {name!r}",
                f"{DTYPES[dtype]}, or None",
            )
        object.__setattr__(
            self, "fallback", {name: self.fallback.get(name) for name in self.response}
        )

    def _check_knobs(self, subject: str) -> None:
        durations = ["timeout", "cache", "stale_while_revalidate"] + ["breaker"] * (
            self.breaker is not None
        )
        for name in durations:
            length = micros(
                getattr(self, name), f"{subject}: {name}", positive=name in ("timeout", "breaker")
            )
            object.__setattr__(self, name, text(length))
        for name, least, most in (
            ("retries", 0, 10),
            ("cache_entries", 1, 10_000_000),
            ("concurrency", 1, 10_000),
        ):
            check_integer(getattr(self, name), f"{subject}: {name}", least=least, most=most)
        check_type(
            self.idempotent,
            bool | None,
            f"{subject}: idempotent",
            "True if a call may be repeated, or leave it out",
        )
        if self.cache == "0s" and self.stale_while_revalidate != "0s":
            raise DefinitionError(
                f"{subject}: stale_while_revalidate needs cache=, how old an answer may be before "
                "a new one is fetched"
            )

    def _check_history(self, subject: str) -> None:
        if self.history is None:
            return
        check_type(self.history, Source, f"{subject}: history", "a Source of earlier answers")
        for name in (*self.request, *self.response):
            check_reference(
                name,
                self.history.columns,
                f"{subject}: history, source {self.history.name!r}, has no {name!r}",
            )


def fits(value: object, dtype: type) -> bool:
    """Whether a value is of a type, as a response or a request may hold it: finite, and within
    int64; an integer is a float too.

    >>> fits(1, float), fits(True, int), fits(float("nan"), float)
    (True, False, False)
    """
    if dtype is float:
        return type(value) in (int, float) and abs(value) <= 1.7e308 and math.isfinite(value)  # type: ignore[arg-type]
    if dtype is int:
        return type(value) is int and -(2**63) <= value < 2**63
    if dtype is datetime:
        return isinstance(value, datetime) and value.tzinfo is not None
    return type(value) is dtype


def _column(name: str, declared: object, subject: str) -> tuple[str, type]:
    path, dtype = (
        declared if isinstance(declared, tuple) and len(declared) == 2 else (name, declared)
    )
    _check_column(name, dtype, subject)
    if not isinstance(path, str) or not all(path.split(".")):
        raise refusal(
            path,
            f"{subject}: the path of {name!r}",
            "names separated by dots, such as 'risk.score'",
        )
    assert isinstance(dtype, type)
    return path, dtype


def _check_column(name: str, dtype: object, subject: str) -> None:
    check_name(name, f"{subject}: a column")
    check_dtype(dtype, f"{subject}: {name!r}")
