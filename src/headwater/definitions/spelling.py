"""Misspelt keyword arguments: the error names the nearest one that exists."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from headwater.errors import DefinitionError, nearest

P = ParamSpec("P")
T = TypeVar("T")


def spelled(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which refuses an unknown keyword argument with the nearest name.

    >>> @spelled
    ... def batch(every: str, *, delay: str = "0s") -> str:
    ...     return every
    >>> batch("1d", dealy="4h")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: batch() takes no argument 'dealy'; did you mean 'delay'?
    """
    known = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        check_arguments(function.__name__, kwargs, known)
        return function(*args, **kwargs)

    return call


def check_arguments(name: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse keyword arguments that a function or class does not have."""
    for argument in names:
        if argument not in known:
            raise DefinitionError(f"{name}() takes no argument {argument!r}; {nearest(argument, known)}")


class Spelled(type):
    """The metaclass of dataclasses that refuse an unknown keyword argument with the nearest name.

    `former_names` of a class are those that the release before gave its fields: as arguments they work, with a warning.
    """

    if not TYPE_CHECKING:  # a type checker reads the signature of the class itself

        def __call__(cls, *args, **kwargs):  # noqa: ANN002, ANN003, ANN204
            former = getattr(cls, "former_names", {})
            for old in [name for name in kwargs if name in former]:
                renamed = f"{cls.__name__}({old}=) is {cls.__name__}({former[old]}=) now; the next release removes the old name"
                warnings.warn(renamed, DeprecationWarning, stacklevel=2)
                kwargs[former[old]] = kwargs.pop(old)
            fields = getattr(cls, "__dataclass_fields__", None)
            if fields is not None and not kwargs.keys() <= fields.keys():
                check_arguments(cls.__name__, kwargs, [name for name, field in fields.items() if field.init])
            return super().__call__(*args, **kwargs)
