"""The clients' method of a route: its name, docstring and arguments. Clients load this file, so it
imports nothing that computes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

Place = Literal["path", "rows", "field", "list", "body", "parameter", "parameters", "header"]
"""Where an argument goes: the name in the path; the fields `row` or `rows` of the body, or another
field, or one that is a list; the whole body, a mapping or a list; a parameter of the query, or a
mapping of parameters; a header.
"""


@dataclass(frozen=True)
class Argument:
    """An argument of a method.

    type: as in Python source. default: the default `...` makes it required; others are given by
    keyword, and not sent if they are None, or False by default. wire: its name in the request,
    where that differs. otherwise: makes the value of an argument that is None.
    """

    name: str
    type: str
    place: Place
    default: Any = ...
    wire: str | None = None
    otherwise: Callable[[], str] | None = None


@dataclass(frozen=True)
class ClientMethod:
    """The method that asks a route. It returns the route's response.

    arguments: those after the name in the path. one_row: the field of the response, a list of one
    entry, and the field that has this entry instead, where the request has one row. decode: makes
    what the method returns from the status and the body, where that is not the route's response.
    """

    name: str
    doc: str
    arguments: tuple[Argument, ...] = ()
    one_row: tuple[str, str] | None = None
    decode: Callable[[int, bytes], Any] | None = None


def options(request: type[msgspec.Struct], but: Collection[str] = ()) -> tuple[Argument, ...]:
    """The fields of a request that have a default, as arguments; without rows, which are decoded
    apart.
    """
    return tuple(
        Argument(field.name, _source(field.type), "field", field.default)
        for field in msgspec.structs.fields(request)
        if field.type is not msgspec.Raw and field.name not in but
    )


def _source(kind: Any) -> str:  # noqa: ANN401 (a type)
    """A type as in Python source."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return str(plain) if isinstance(plain, UnionType) else plain.__name__
