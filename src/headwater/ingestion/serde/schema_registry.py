"""A schema registry of the Confluent kind: records begin with the number of their schema, which it gives over HTTP."""

from __future__ import annotations

import base64
import json
import math
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from headwater import clock, settings
from headwater.definitions.streams import Env, Registry
from headwater.errors import ConnectError, DefinitionError

T = TypeVar("T")

_SECONDS: Final = 10.0
_MISSING: Final = 5.0  # seconds after which a registry is asked again for a schema that it did not have
_WAIT, _PAUSE, _REST = 3.0, 0.5, 60.0  # seconds to wait for one, between two questions, and after it did not come
_HEAD: Final = struct.Struct(">bI")
_BYTES: Final = 16_000_000  # more than any schema has


def split(payload: bytes) -> tuple[int, bytes]:
    """The number of a record's schema, and the rest.

    Raises:
        ValueError: the record does not begin as one with a registered schema does.

    >>> split(bytes([0, 0, 0, 0, 7]) + b"rest")
    (7, b'rest')
    """
    if len(payload) < _HEAD.size or payload[0] != 0:
        raise ValueError(f"does not begin with a zero byte and the number of a schema, but {bytes(payload[:5])!r}")
    return _HEAD.unpack_from(payload)[1], payload[_HEAD.size :]


@dataclass(frozen=True)
class _None:
    """Why a number stands for no schema; and when, on the stopwatch, the registry is to be asked again."""

    why: str
    until: float


class Schemas(Generic[T]):
    """The schemas of a registry by number, each made into what `made` makes of its text and those it refers to, and kept."""

    def __init__(self, registry: Registry, kind: str, compile_schema: Callable[[str, Mapping[str, str]], T]) -> None:
        self._registry, self._kind, self._compile = registry, kind, compile_schema
        self._form = "?format=serialized" if kind == "PROTOBUF" else ""  # descriptors, where the text would need a compiler
        self._known: dict[int, T | _None] = {}
        self._waited = -_REST

    def __getitem__(self, number: int) -> T:
        """The schema of that number.

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
        """Ask once more after a while where a schema is missing: a replica of the registry may lag behind the writer of the record.

        A record with an unknown schema must not hold up all others, so a failed lookup is not repeated for a minute.
        """
        schema = self._asked(number)
        since = clock.stopwatch()
        while isinstance(schema, _None) and schema.until < math.inf and since - self._waited > _REST:
            if clock.stopwatch() - since > _WAIT:
                self._waited = clock.stopwatch()
                break
            time.sleep(_PAUSE)
            schema = self._asked(number)
        return schema

    def _asked(self, number: int) -> T | _None:
        answer = asked(self._registry, f"/schemas/ids/{number}{self._form}")
        if answer is None:
            return _None(f"the registry has no schema {number}", clock.stopwatch() + _MISSING)
        kind = answer.get("schemaType", "AVRO")
        if kind != self._kind:
            return _None(f"schema {number} of the registry is {kind}, not {self._kind}", math.inf)
        return self._compile(str(answer["schema"]), self._references(answer))

    def _references(self, answer: Mapping[str, object]) -> dict[str, str]:
        """The text of every schema that this one refers to, directly or not, by name; dependencies come first."""
        texts: dict[str, str] = {}
        references = answer.get("references", [])
        for reference in references if isinstance(references, list) else []:
            below = asked(self._registry, f"/subjects/{reference['subject']}/versions/{reference['version']}{self._form}")
            if below is not None:
                texts |= self._references(below)
                texts[str(reference["name"])] = str(below["schema"])
        return texts


def asked(registry: Registry, path: str) -> dict[str, object] | None:
    """What a registry says; None where it has no such thing.

    Raises:
        ConnectError: it does not answer, or refuses.
        DefinitionError: its URL is none.
    """
    url = f"{_resolved(registry.url).rstrip('/')}{path}"
    if not url.startswith(("http://", "https://")):
        raise DefinitionError(f"registry= is {registry.url!r}; give a URL that begins with http:// or https://")
    request = urllib.request.Request(url, headers=_headers(registry))  # noqa: S310 (the scheme is checked above)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
            answer: dict[str, object] = json.loads(response.read(_BYTES))
            return answer
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise ConnectError(f"the schema registry {registry.url!r} refuses {path} with {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise ConnectError(f"the schema registry {registry.url!r} does not answer {path}: {error}") from error


def _headers(registry: Registry) -> dict[str, str]:
    own = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
    if registry.token is not None:
        return own | {"Authorization": f"Bearer {_resolved(registry.token)}"}
    if registry.user is not None:
        both = f"{_resolved(registry.user)}:{_resolved(registry.password or '')}"
        return own | {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
    return own


def _resolved(value: str | Env) -> str:
    return settings.secret(value.name) if isinstance(value, Env) else value
