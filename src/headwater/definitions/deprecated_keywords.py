"""Keywords and attributes that moved or are renamed: they work for one release, with a warning that names the new one."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from headwater.definitions.definition import stack_level

P = ParamSpec("P")
T = TypeVar("T")
Merge = Callable[[object, Mapping[str, object]], object]
"""The new value of a parameter, from the one that was given (or None) and the old keywords by their new names."""


def moved(parameter: str, names: Mapping[str, str], instead: str, merge: Merge) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: the keywords `names` (old to new) are merged into `parameter`. `instead` is what to write, with {fields} for them."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            old = [name for name in kwargs if name in names]
            if not old:
                return function(*args, **kwargs)
            given = {names[name]: kwargs.pop(name) for name in old}
            fields = ", ".join(f"{name}=..." for name in given)
            listed = ", ".join(f"{name}=" for name in old)
            name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
            message = f"{name}({listed}) is deprecated and will be removed in the next release; write {instead.format(fields=fields)}"
            warnings.warn(message, DeprecationWarning, stacklevel=stack_level())
            known = {name: value for name, value in kwargs.items() if name in signature.parameters}
            others = {name: value for name, value in kwargs.items() if name not in signature.parameters}  # of a further decorator
            bound = signature.bind_partial(*args, **known)
            bound.arguments[parameter] = merge(bound.arguments.get(parameter), given)
            return cast("Callable[..., T]", function)(*bound.args, **bound.kwargs, **others)

        return call

    return decorate


def moved_into(parameter: str, options: type, *names: str, **renamed: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: keywords that are fields of an option object now, `renamed` (old to new) under another name.

    >>> from headwater.definitions.evaluation import Evaluation
    >>> @moved_into("evaluation", Evaluation, "split", seeds="refits")
    ... def judge(evaluation: Evaluation | None = None) -> object:
    ...     return evaluation.refits
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     judge(seeds=3)
    3
    >>> print(caught[0].message)
    judge(seeds=) is deprecated and will be removed in the next release; write evaluation=Evaluation(refits=...)
    """

    def merge(existing: object, given: Mapping[str, object]) -> object:
        if existing is None:
            return options(**given)
        return dataclasses.replace(existing, **given)  # type: ignore[type-var]  # an instance of `options`

    return moved(parameter, {**{name: name for name in names}, **renamed}, f"{parameter}={options.__name__}({{fields}})", merge)


def renamed(parameter: str, old: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: the keyword `old` is called `parameter` now."""
    return moved(parameter, {old: parameter}, "{fields}", lambda _, given: given[parameter])


class RenamedAttribute:
    """An attribute or method of a class that is called `new` now, under its old name.

    >>> class Job:
    ...     state = "done"
    ...     status = RenamedAttribute("state")
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     Job().status
    'done'
    >>> print(caught[0].message)
    Job.status is Job.state now; the next release removes the old name
    """

    def __init__(self, new: str) -> None:
        self._new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = name

    def __get__(self, instance: object, owner: type) -> Any:  # noqa: ANN401 (as the attribute is)
        warn_of_renaming(f"{owner.__name__}.{self._old}", f"{owner.__name__}.{self._new}")
        return operator.attrgetter(self._new)(owner if instance is None else instance)


def warn_of_renaming(old: str, new: str) -> None:
    """Warn the caller outside this package that a name is another one now."""
    warnings.warn(f"{old} is {new} now; the next release removes the old name", DeprecationWarning, stacklevel=stack_level())
