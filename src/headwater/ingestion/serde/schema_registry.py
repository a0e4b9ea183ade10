"""A schema registry of the Confluent kind: records begin with the id of their schema, which the
registry gives over HTTP.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from headwater import clock, settings
from headwater.definitions.connectors import Env, Registry
from headwater.errors import ConnectError, DefinitionError
from headwater.settings import in_project

T = TypeVar("T")

# options may set others
_CLIENT: Final = {"timeout": 10.0, "max.retries": 2, "retries.wait.ms": 200}
_PATHS: Final = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
_MISSING: Final = 5.0  # seconds after which a missing schema is requested again
# seconds to wait for one, between two requests, and after it did not come
_WAIT, _PAUSE, _REST = 3.0, 0.5, 60.0
_HEAD: Final = struct.Struct(">bI")


def split(payload: bytes) -> tuple[int, bytes]:
    """The id of a record's schema, and the rest.

    Raises:
        ValueError: the record does not begin as one with a registered schema does.

    >>> split(bytes([0, 0, 0, 0, 7]) + b"rest")
    (7, b'rest')
    """
    if len(payload) < _HEAD.size or payload[0] != 0:
        raise ValueError(
            f"does not begin with a zero byte and the id of a schema, but {bytes(payload[:5])!r}"
        )
    return _HEAD.unpack_from(payload)[1], payload[_HEAD.size :]


@dataclass(frozen=True)
class _None:
    """Why a schema id is missing; and when, on the stopwatch, it may be requested again."""

    why: str
    until: float


class RegistryClient:
    """Requests to a schema registry, through the client of confluent-kafka: its authentication, TLS
    and retries.
    """

    def __init__(self, registry: Registry) -> None:
        from headwater.ingestion.sources.kafka_client import registry_library

        self._registry = registry
        library = registry_library()
        self._refusal: type[Exception] = library.error.SchemaRegistryError
        url = _resolved(registry.url)
        if not url.startswith(("http://", "https://")):
            raise DefinitionError(
                f"registry= is {registry.url!r}; give a URL that begins with http:// or https://"
            )
        try:
            self._client = library.SchemaRegistryClient(
                {"url": url, **_CLIENT, **_settings(registry)}
            )
        except (OSError, TypeError, ValueError) as error:
            # a certificate that cannot be read is an OSError
            raise DefinitionError(
                f"the options of the schema registry {registry.url!r} are wrong: {error}"
            ) from error

    def schema(self, number: int, form: str | None) -> Any:  # noqa: ANN401 (the library's Schema)
        """The schema with an id; None where there is none. form: the format of its text.

        Raises:
            ConnectError: the registry does not answer, or refuses.
        """
        return self._answer(f"schema {number}", lambda: self._client.get_schema(number, fmt=form))

    def version(self, subject: str, version: int | str, form: str | None = None) -> Any:  # noqa: ANN401 (the library's Schema)
        """A version of a subject, also a deleted one, or the "latest"; None where there is none.
        Raises as `schema`.
        """
        deleted = version != "latest"  # records that were written with it may still be in the topic
        schema = self._answer(
            f"version {version} of {subject!r}",
            lambda: self._client.get_version(subject, version, deleted=deleted, fmt=form),
        )
        return None if schema is None else schema.schema

    def compatibility(self, subject: str) -> str:
        """The compatibility level that is enforced for a subject; "NONE" where none is set. Raises
        as `schema`.
        """
        setting = f"the compatibility of {subject!r}"
        return str(
            self._answer(setting, lambda: self._client.get_compatibility(subject))
            or self._answer(setting, self._client.get_compatibility)
            or "NONE"
        )

    def _answer(self, subject: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            return call()
        except self._refusal as error:
            status = getattr(error, "http_status_code", None)
            if status == 404:
                return None
            raise ConnectError(
                f"the schema registry {self._registry.url!r} refuses {subject} with {status}: "
                f"{error}"
            ) from error
        except Exception as error:  # the errors of several libraries: HTTP, OAuth, JSON
            raise ConnectError(
                f"the schema registry {self._registry.url!r} does not answer for {subject}: {error}"
            ) from error


class Schemas(Generic[T]):
    """The schemas of a registry by id, compiled and cached.

    compile_schema: takes a schema as a string, and the schemas that it refers to by name.
    """

    def __init__(
        self, registry: Registry, kind: str, compile_schema: Callable[[str, Mapping[str, str]], T]
    ) -> None:
        self._registry, self._kind, self._compile = registry, kind, compile_schema
        # descriptors, where the text would need a compiler
        self._form = "serialized" if kind == "PROTOBUF" else None
        self._known: dict[int, T | _None] = {}
        self._waited = -_REST

    @cached_property
    def _client(self) -> RegistryClient:
        return RegistryClient(self._registry)

    def __getitem__(self, number: int) -> T:
        """The schema with that id.

        Raises:
            ValueError: the registry has none, or it is of another kind.
            ConnectError: the registry does not answer, or refuses.
        """
        schema = self._known.get(number)
        if schema is None or (isinstance(schema, _None) and schema.until < clock.stopwatch()):
            schema = self._known[number] = self._patiently(number)
        if isinstance(schema, _None):
            raise ValueError(schema.why)  # noqa: TRY004 (it is the record that is wrong)
        return schema

    def _patiently(self, number: int) -> T | _None:
        """Request it again for a while where it is missing: a replica of the registry may lag
        behind the writer of the record.

        A record with an unknown schema must not hold up all others, so a failed lookup is not
        repeated for a minute.
        """
        schema = self._requested(number)
        since = clock.stopwatch()
        while (
            isinstance(schema, _None) and schema.until < math.inf and since - self._waited > _REST
        ):
            if clock.stopwatch() - since > _WAIT:
                self._waited = clock.stopwatch()
                break
            clock.wait(_PAUSE)
            schema = self._requested(number)
        return schema

    def _requested(self, number: int) -> T | _None:
        schema = self._client.schema(number, self._form)
        if schema is None:
            return _None(f"the registry has no schema {number}", clock.stopwatch() + _MISSING)
        if schema.schema_type != self._kind:
            return _None(
                f"schema {number} of the registry is {schema.schema_type}, not {self._kind}",
                math.inf,
            )
        return self._compile(schema.schema_str, self._references(schema))

    def _references(self, schema: Any) -> dict[str, str]:  # noqa: ANN401
        """The text of every schema that this one refers to, directly or not, by name; dependencies
        come first.
        """
        texts: dict[str, str] = {}
        for reference in schema.references or []:
            below = self._client.version(reference.subject, reference.version, self._form)
            if below is not None:
                texts |= self._references(below)
                texts[reference.name] = below.schema_str
        return texts


def _settings(registry: Registry) -> dict[str, object]:
    """The settings of the client for authentication, and the options; secrets are read here."""
    client_settings: dict[str, object] = {}
    if registry.token is not None:
        client_settings = {
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": _resolved(registry.token),
        }
    elif registry.user is not None:
        password = _resolved(registry.password or "")
        client_settings = {"basic.auth.user.info": f"{_resolved(registry.user)}:{password}"}
    for name, value in registry.options.items():
        text = _resolved(value) if isinstance(value, str | Env) else None
        client_settings[name] = (
            value if text is None else str(in_project(text)) if name in _PATHS else text
        )
    if "bearer.auth.credentials.source" in client_settings:
        # the client insists on it; only Confluent Cloud has one
        client_settings.setdefault("bearer.auth.logical.cluster", "")
    return client_settings


def _resolved(value: str | Env) -> str:
    return settings.secret(value.name) if isinstance(value, Env) else value
