"""Wrong arguments of a call: one that is misspelt gets the nearest name, one that is missing is
named with all that are needed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from headwater.definitions.checks import check_reference
from headwater.errors import DefinitionError, HeadwaterError

P = ParamSpec("P")
T = TypeVar("T")


def spelled(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which refuses an unknown keyword argument with the nearest name, and a call
    that lacks arguments.

    >>> @spelled
    ... def batch(every: str, *, delay: str = "0s") -> str:
    ...     return every
    >>> batch("1d", dealy="4h")
    Traceback (most recent call last):
    headwater.errors.DefinitionError: batch() takes no argument 'dealy'; did you mean 'delay'?
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        check_arguments(function.__name__, kwargs, signature.parameters)
        try:
            return function(*args, **kwargs)
        except TypeError:
            check_call(function.__name__, signature, args, kwargs)
            raise

    return call


def check_arguments(
    name: str,
    names: Iterable[str],
    known: Collection[str],
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse keyword arguments that a function or class does not have."""
    for argument in names:
        check_reference(argument, known, f"{name}() takes no argument {argument!r}", error)


def check_call(
    name: str,
    signature: inspect.Signature,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    error: type[HeadwaterError] = DefinitionError,
) -> None:
    """Refuse a call that Python refuses: an argument is missing, given twice, or has no name where
    it needs one.

    >>> def batch(every: str, *, delay: str) -> None: ...
    >>> check_call("batch", inspect.signature(batch), ["1d"], {})
    Traceback (most recent call last):
    headwater.errors.DefinitionError: batch() is called without delay=; it needs every, delay=
    """
    by_place = [
        p.name
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    spread = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    written = {
        n: n if n in by_place else f"{n}="
        for n, p in signature.parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    needed = [n for n in written if signature.parameters[n].default is inspect.Parameter.empty]
    placed = by_place[: len(args)]
    if twice := [n for n in placed if n in kwargs]:
        raise error(
            f"{name}() is given {twice[0]} twice, by its place and by its name; the order is "
            f"{', '.join(by_place)}"
        ) from None
    if len(args) > len(by_place) and not spread:
        others = ", ".join(text for n, text in written.items() if n not in by_place)
        raise error(
            f"{name}() takes {len(by_place) or 'no'} values without a name, and was given "
            f"{len(args)}" + (f"; write their names: {others}" if others else "")
        ) from None
    if missing := [n for n in needed if n not in placed and n not in kwargs]:
        raise error(
            f"{name}() is called without {', '.join(written[n] for n in missing)}; it needs "
            f"{', '.join(written[n] for n in needed)}"
        ) from None


class Spelled(type):
    """The metaclass of dataclasses that refuse an unknown keyword argument with the nearest name,
    and a call that lacks arguments.
    """

    if not TYPE_CHECKING:  # a type checker reads the signature of the class itself

        def __call__(cls, *args, **kwargs):  # noqa: ANN002, ANN003, ANN204
            name = getattr(cls, "_called", cls.__name__)
            code = getattr(cls.__init__, "__code__", None)
            known = (
                ()
                if code is None
                else code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            )
            if not kwargs.keys() <= {*known}:
                check_arguments(name, kwargs, known)
            try:
                return super().__call__(*args, **kwargs)
            except TypeError:
                check_call(name, cls.__signature__, args, kwargs)
                raise

        @property
        def __signature__(cls) -> inspect.Signature:
            """The parameters of the class, for help() and editors; they would show those of
            `__call__`.
            """
            signature = inspect.signature(cls.__init__)
            return signature.replace(
                parameters=list(signature.parameters.values())[1:],
                return_annotation=inspect.Signature.empty,
            )
