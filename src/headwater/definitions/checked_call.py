"""Calls of the public functions: a misspelt or missing argument, and a model where a project is
needed, are refused before any work.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.definitions.spelling import check_arguments, check_call
from headwater.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

_TAKEN: Final[dict[str, tuple[type, str]]] = {
    "Model": (Model, "take one from project.models"),
    "Project": (Project, "give hw.Project(name, [models]), such as `project` of the project file"),
}
"""By a parameter's annotation: what it takes, and what to give instead of something else."""


def checked_call(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which refuses wrong arguments with what it takes.

    >>> @checked_call
    ... def train(model: Model, *, seed: int = 0) -> None: ...
    >>> train(None, sede=1)
    Traceback (most recent call last):
    headwater.errors.UsageError: train() takes no argument 'sede'; did you mean 'seed'?
    >>> train("churn")
    Traceback (most recent call last):
    headwater.errors.UsageError: train() takes a Model, and was given str; take one from project.models
    """  # noqa: E501 (output as it is printed)
    signature = inspect.signature(function)
    name = function.__name__
    takes = {
        n: _TAKEN[p.annotation] for n, p in signature.parameters.items() if p.annotation in _TAKEN
    }

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        check_arguments(name, kwargs, signature.parameters, UsageError)
        check_call(name, signature, args, kwargs, UsageError)
        for parameter, value in (
            dict(zip(signature.parameters, args, strict=False)) | kwargs
        ).items():
            if parameter in takes and not isinstance(value, takes[parameter][0]):
                kind, instead = takes[parameter]
                raise UsageError(
                    f"{name}() takes a {kind.__name__}, and was given {type(value).__name__}; "
                    f"{instead}"
                )
        return function(*args, **kwargs)

    return call
