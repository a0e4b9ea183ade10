"""Features made at request time: fields of the request, and functions of them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from headwater.definitions.checks import refusal
from headwater.definitions.definition import Definition, check_name
from headwater.definitions.feature_view import FeatureRef
from headwater.definitions.source import DTYPES, check_dtype
from headwater.errors import DefinitionError


@dataclass(frozen=True, eq=False)
class RequestField(Definition):
    """A field of the request that is itself a feature: `RequestField("distance", float)`."""

    name: str
    dtype: type

    def __post_init__(self) -> None:
        check_name(self.name, "a request field")
        check_dtype(self.dtype, f"request field {self.name!r}")


@dataclass(frozen=True, eq=False)
class RequestFeature(Definition):
    """A function of request fields and of other features; made by the decorator
    `request_feature`.
    """

    name: str
    function: Callable[..., object]
    fields: Mapping[str, type]  # parameter -> dtype of the request field of that name
    inputs: Mapping[str, FeatureRef]  # parameter -> the feature that fills it
    dtype: type
    site_line: str = field(default="", metadata={"fingerprint": False})

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of all parameters in the function's order."""
        return tuple(inspect.signature(self.function).parameters)

    @cached_property
    def required(self) -> tuple[int, ...]:
        """The positions of the parameters that are not annotated with `| None`: where one of them
        is null, the feature is null.
        """
        hints = typing.get_type_hints(self.function)
        return tuple(
            position
            for position, name in enumerate(self.parameters)
            if not _admits_none(hints.get(name))
        )

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call the function as it was written."""
        return self.function(*args, **kwargs)


def request_feature(function: Callable[..., object]) -> RequestFeature:
    """Make a feature of a plain function.

    A parameter is the request field of that name; one whose default is a feature
    (`view["mean_amount_30d"]`) is filled with that feature. Types come from the annotations: float,
    int, str, bool, datetime, `list[...]` for a feature that is a list, `dict[..., ...]` for one
    that is a map, each possibly `| None`. Datetimes arrive tz-aware. On a row where a parameter
    without `| None` is null, the feature is null, and the function is not called.

    Raises:
        DefinitionError: an annotation is missing or of another type; a default is not a feature.

    >>> @request_feature
    ... def cents(amount: float) -> int:
    ...     return round(amount * 100)
    >>> cents.fields, cents(1.5)
    ({'amount': <class 'float'>}, 150)

    A feature of features, the z-score of now against 30 days; a single value has no deviation, and
    equal values have a deviation of 0:

    >>> import headwater as hw, polars as pl
    >>> from datetime import datetime, UTC
    >>> day = lambda number: datetime(2024, 5, number, tzinfo=UTC)
    >>> paid = pl.DataFrame(
    ...     {"card": ["a", "a", "b"], "at": [day(1), day(2), day(1)], "amount": [10.0, 14.0, 5.0]}
    ... )
    >>> payments = hw.Source("payments", history=paid, timestamp_field="at")
    >>> card = hw.FeatureView(
    ...     "card",
    ...     source=payments,
    ...     keys=["card"],
    ...     features=[hw.mean("amount"), hw.std("amount")],
    ...     windows=["30d"],
    ...     freshness=hw.streaming("2s"),
    ... )
    >>> usual, spread = card["mean_amount_30d"], card["std_amount_30d"]
    >>> @hw.request_feature
    ... def z_score(
    ...     amount: float, mean: float | None = usual, std: float | None = spread
    ... ) -> float | None:
    ...     return None if mean is None or not std else (amount - mean) / std
    >>> rows = pl.DataFrame(
    ...     {"card": ["a", "b", "c"], "timestamp": [day(3)] * 3, "amount": [18.0, 6.0, 1.0]}
    ... )
    >>> [z and round(z, 2) for z in hw.get_historical_features(z_score, rows)["z_score"]]
    [2.12, None, None]
    """
    name = getattr(function, "__name__", "")
    subject = f"request feature {name!r}"
    if name == "<lambda>":
        raise DefinitionError(
            "a request feature is a lambda, which has no name and no types; write def "
            "name(amount: float) -> float instead"
        )
    check_name(name, "a request feature")
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise DefinitionError(f"{subject}: an annotation cannot be read: {error}") from error
    fields: dict[str, type] = {}
    inputs: dict[str, FeatureRef] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise DefinitionError(
                f"{subject}: the parameter {parameter.name!r} is variable; name each field"
            )
        if isinstance(parameter.default, FeatureRef):
            inputs[parameter.name] = parameter.default
        elif parameter.default is not parameter.empty:
            default = f"{subject}: the default of {parameter.name!r}"
            raise refusal(
                parameter.default, default, "a feature, such as view['count_1h'], or leave it out"
            )
        else:
            fields[parameter.name] = _plain(
                hints.get(parameter.name), f"{subject}: the parameter {parameter.name!r}"
            )
    return RequestFeature(
        name, function, fields, inputs, _plain(hints.get("return"), f"{subject}: the result")
    )


def _admits_none(hint: object) -> bool:
    """Whether a parameter with this annotation takes a null.

    >>> [
    ...     _admits_none(hint)
    ...     for hint in (float, None, float | None, typing.Optional[list[int]], typing.Any)
    ... ]
    [False, False, True, True, True]
    """
    return hint in (object, typing.Any) or types.NoneType in typing.get_args(hint)


def _plain(hint: object, subject: str) -> type:
    options = (
        [a for a in typing.get_args(hint) if a is not types.NoneType]
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else [hint]
    )
    if len(options) == 1 and isinstance(options[0], type) and options[0] in DTYPES:
        return options[0]
    annotation = "no annotation" if hint is None else f"the annotation {hint}"
    raise DefinitionError(
        f"{subject} has {annotation}; annotate it with float, int, str, bool or datetime (with `| "
        "None` where it may be missing)"
    )
