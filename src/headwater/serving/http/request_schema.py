"""Request bodies. Their rows are decoded apart, by the struct of the feature service (see
`row_decoder`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, Final

import msgspec
from msgspec import Raw

from headwater.errors import DataError, nearest

Row = dict[str, str | int | float | bool | None]
"""A row whose fields no definition types, such as an outcome."""
Rows = Row | list[Row]
"""One such row, or several."""


class FeaturesRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request for features, with one of `row`, `rows` and `columns`.

    level: one of the project's levels; None uses each view's own freshness. compact: arrays instead
    of an object a feature.
    """

    row: Raw = Raw()
    rows: Raw = Raw()
    columns: Raw = Raw()
    level: str | None = None
    compact: bool = False


class PredictionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request for predictions. features: return the features of each prediction. timing: return
    the time of each stage.

    arm: of a running experiment, for testers: needs the scope admin, and is not analysed.
    """

    row: Raw = Raw()
    rows: Raw = Raw()
    columns: Raw = Raw()
    level: str | None = None
    features: bool = False
    timing: bool = False
    arm: str | None = None


class RankingRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request to rank candidates.

    row: the fields that all candidates share. candidates: items, or objects with the item and its
    own fields; None uses those that the model retrieves. k: number of candidates to return. arm: as
    for predictions.
    """

    row: Raw
    candidates: Raw = Raw()
    k: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    level: str | None = None
    features: bool = False
    timing: bool = False
    arm: str | None = None


class FlagRequest(msgspec.Struct):
    """A request of OFREP to evaluate one flag or all. context: `targetingKey`, the unit; its other
    entries are columns of a request.
    """

    context: dict[str, Any] = {}


AnyRequest = FeaturesRequest | PredictionRequest | RankingRequest

_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_REMEDIES: Final = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (
            r"Expected `object`, got `array`$",
            'send {"row": {...}} for one row, or {"rows": [...]} for several',
        ),
        (r"at `\$\.rows`$", "give a list of rows, or one row as `row`"),
        (r"at `\$\.row`$", "give one object with the fields of a row, or several rows as `rows`"),
        (r"at `\$\.columns`$", "give an object with a list for each field, or rows as `rows`"),
        (r"at `\$\.columns\.", "each column is a list with one value for each row"),
        (r"at `\$\.rows\[\d+\]`$", "each row is an object with its fields"),
        (
            r"at `\$\.candidates",
            "a candidate is an item, or an object with the item and its own fields",
        ),
    )
)


def parser(kind: Any) -> Callable[[bytes], Any]:  # noqa: ANN401 (as msgspec has it)
    """A parser of request bodies of a type.

    Raises, from a body:
        DataError: it has another type; the message has the nearest field and the allowed form.
        msgspec.DecodeError, UnicodeDecodeError: it is not JSON.

    >>> parser(FeaturesRequest)(b'{"levle": null}')
    Traceback (most recent call last):
    headwater.errors.DataError: Object contains unknown field `levle`; did you mean 'level'?
    """
    decode = msgspec.json.Decoder(kind).decode
    fields = tuple(getattr(kind, "__struct_fields__", ()))

    def parse(data: bytes) -> Any:  # noqa: ANN401 (as `kind` says)
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            raise DataError(explained(str(error), fields)) from error

    return parse


def explained(message: str, fields: Collection[str]) -> str:
    """A message of msgspec with a remedy."""
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        message = f"{message}; {nearest(unknown[1], fields)}"
        return (
            message
            if "did you mean" in message
            else f"{message}. The fields of a row go into `row`"
        )
    return next(
        (f"{message}; {remedy}" for pattern, remedy in _REMEDIES if pattern.search(message)),
        message,
    )
