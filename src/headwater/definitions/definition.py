"""Definitions are frozen values that know their fingerprint and where they were written."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeGuard

from headwater.definitions.readable import Readable
from headwater.definitions.spelling import Spelled
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    import polars as pl

_PACKAGE = str(Path(__file__).resolve().parents[1])


def stack_level() -> int:
    """The `stacklevel` for a warning of the caller that points to the first line outside this
    package.
    """
    frame, level = sys._getframe(1), 1  # noqa: SLF001 (as in remember_site)
    # decorators that are contexts
    while frame.f_back is not None and frame.f_code.co_filename.startswith(
        (_PACKAGE, contextlib.__file__)
    ):
        frame, level = frame.f_back, level + 1
    return level


class Definition(Readable, metaclass=Spelled):
    """Base of every definition: equal iff the fingerprints are equal.

    Subclasses are `@dataclass(frozen=True, eq=False)`. A field with the metadata `{"fingerprint":
    False}` is left out, and one with `{"fingerprint": "given"}` while it is its default. A class
    that users write by another name says so: `called="batch"`.
    """

    _called: ClassVar[str]

    def __init_subclass__(cls, *, called: str = "", **more: object) -> None:
        super().__init_subclass__(**more)
        cls._called = called or cls.__name__

    def _set(self, **fields: object) -> None:
        """Set the fields, for an `__init__` that takes other types than it keeps."""
        self.__dict__.update(fields)

    def with_fields(self, **fields: object) -> Self:
        """A copy with other values of these fields, in the units that it keeps them in."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        other = object.__new__(type(self))
        other.__dict__.update(values | fields)
        return other

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of what this definition says."""
        return fingerprint_of(self)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(other) is type(self)
            and isinstance(other, Definition)
            and other.fingerprint == self.fingerprint
        )

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def remember_site(self) -> None:
        """Note the file and line that the user wrote this on, for errors that only data can
        reveal.
        """
        frame = sys._getframe(1)  # noqa: SLF001 (the public inspect.stack reads every source file: 100 times slower)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(
            (_PACKAGE, "<string>")
        ):
            frame = frame.f_back
        self.__dict__["_site"] = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"

    @property
    def site(self) -> str:
        """`file.py:line` of the definition, or an empty string."""
        return str(self.__dict__.get("_site", ""))


def fingerprint_of(value: object, digits: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of a value: of definitions, of plain values, and
    of collections of them.
    """
    return hashlib.sha256(json.dumps(canonical(value), sort_keys=True).encode()).hexdigest()[
        :digits
    ]


def canonical(value: object) -> object:
    """`value` as JSON-ready lists, strings and numbers: equal values give equal JSON, and different
    values different JSON.

    >>> canonical({"b": (1, 2), "a": None})
    {'a': None, 'b': [1, 2]}
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: canonical(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if _counts(f, getattr(value, f.name))
        }
        return [type(value).__name__, fields]
    if isinstance(value, Definition):
        return [type(value).__name__, value.fingerprint]
    if isinstance(value, Mapping):
        return dict(sorted((_key(k), canonical(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, timedelta):
        return ["timedelta", value.total_seconds()]
    if is_expr(value):
        return ["expr", value.meta.serialize(format="json")]
    if isinstance(value, type):
        return ["type", value.__module__, value.__qualname__]
    if inspect.isfunction(value):
        return ["function", _source(value)]
    return ["repr", type(value).__qualname__, re.sub(r" at 0x[0-9a-f]+", "", repr(value))]


def is_expr(value: object) -> TypeGuard[pl.Expr]:
    """Whether `value` is a polars expression, without importing polars."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(value, polars.Expr)


LONGEST_NAME: Final = 100
"""Characters of a name."""


def check_name(name: str, subject: str) -> None:
    """Refuse a name that could not stand in a feature name `view__feature`, or is too long for keys
    of stores and names of folders.
    """
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
        or "__" in name
        or name.endswith("_")
    ):
        raise DefinitionError(
            f"{subject} is named {name!r}; a name has letters, digits and single underscores, "
            "starts with a letter and does not end with an underscore"
        )
    if len(name) > LONGEST_NAME:
        raise DefinitionError(
            f"{subject} has a name of {len(name)} characters, {name[:40]!r}...; give one of at "
            f"most {LONGEST_NAME}"
        )


def _counts(field: dataclasses.Field[object], value: object) -> bool:
    says = field.metadata.get("fingerprint", True)
    return says is True or (says == "given" and value != field.default)


def _key(key: object) -> str:
    return str(key.fingerprint) if isinstance(key, Definition) else str(key)


def _source(function: object) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function))  # type: ignore[arg-type]
    except (OSError, TypeError):  # typed at a prompt: no file to read
        code = function.__code__  # type: ignore[attr-defined]
        return f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"
