"""Decodes the rows of requests by the struct of their feature service."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from headwater.errors import DataError
from headwater.online.feature_vectors import FeatureVector
from headwater.online.ranker import Proposed
from headwater.online.row_schema import MOST_ROWS, RowSchema, Scalar
from headwater.serving.arm_choice import ArmChoice
from headwater.serving.http.request_schema import (
    AnyRequest,
    FeaturesRequest,
    PredictionRequest,
    RankingRequest,
    explained,
)

_new: Final = tuple.__new__  # without the arguments' names, which take most of the time
_OUTER: Final = re.compile(r"^\.(row|rows(\[\d+\])?|columns|candidates(\[\d+\])?)$")


class SharedRead(NamedTuple):
    """The features of a request's row, read together with other rows. seconds: its share of the
    time.
    """

    features: FeatureVector
    seconds: float


class ParsedRequest(NamedTuple):
    """A request whose rows have their declared types.

    row: of a request for one row; else `columns`, with `height` rows. service: the feature service
    to read; empty for none. proposed: the candidates of a ranking. shared: its features, if they
    were read already. arms: during an experiment, who answers which row. endpoints: the `Endpoints`
    that it was parsed by and is answered by, despite promotions meanwhile.
    """

    row: Mapping[str, object] | None
    columns: Mapping[str, Sequence[object]]
    height: int
    service: str = ""
    proposed: Proposed | None = None
    shared: SharedRead | None = None
    arms: ArmChoice | None = None
    endpoints: object = None

    def as_columns(self) -> Mapping[str, Sequence[object]]:
        """The rows as columns."""
        return (
            self.columns
            if self.row is None
            else {name: [value] for name, value in self.row.items()}
        )


class RowDecoder:
    """Decodes the rows of JSON requests by a schema. endpoints: which each parsed request names.

    Raises, from each method:
        DataError: what `RowSchema` raises; no rows, too many, rows in several forms, or columns of
        different lengths.
    """

    def __init__(self, schema: RowSchema, endpoints: object = None) -> None:
        self.schema, self._endpoints = schema, endpoints
        self._row = msgspec.json.Decoder(schema.row).decode
        self._rows = msgspec.json.Decoder(list[schema.row]).decode  # type: ignore[name-defined]
        self._columns = msgspec.json.Decoder(schema.columns).decode

    def body(
        self, body: FeaturesRequest | PredictionRequest, service: str, t: int
    ) -> ParsedRequest:
        """The rows of a request that came at t (microseconds), for which `service` is read."""
        if body.row and not body.rows and not body.columns:
            return _new(
                ParsedRequest,
                (self.row(body.row, t), {}, 1, service, None, None, None, self._endpoints),
            )
        forms = [name for name in ("row", "rows", "columns") if getattr(body, name)]
        if len(forms) != 1:
            raise DataError(
                f"the request has {len(forms) or 'none'} of `row`, `rows` and `columns`; give one "
                "of them"
            )
        if forms == ["rows"]:
            rows = self._decoded(self._rows, body.rows, ".rows")
            checked_count(len(rows), "rows")
            several = self.schema.dated(self.schema.column_values(rows), t, len(rows))
            return ParsedRequest(None, several, len(rows), service, endpoints=self._endpoints)
        columns = self.schema.values(self._decoded(self._columns, body.columns, ".columns"))
        sizes = {len(column) for column in columns.values()}  # type: ignore[arg-type]
        if len(sizes) > 1:
            raise DataError(
                f"the columns of the request hold {sorted(sizes)} values; give each one value a row"
            )
        count = checked_count(sizes.pop() if sizes else 0, "rows")
        return ParsedRequest(
            None, self.schema.dated(columns, t, count), count, service, endpoints=self._endpoints
        )

    def row(self, row: Raw, t: int) -> dict[str, object]:
        """One row of a request that came at t (microseconds)."""
        return self.schema.dated(self.schema.values(self._decoded(self._row, row, ".row")), t)

    def candidates(self, candidates: Raw) -> list[object] | None:
        """The candidates of a ranking: items, or rows of fields of their own."""
        if not candidates or bytes(candidates) == b"null":
            return None
        kind = list[self.schema.row | Scalar]  # type: ignore[name-defined]
        decoded = self._decoded(
            lambda raw: msgspec.json.decode(raw, type=kind), candidates, ".candidates"
        )
        checked_count(len(decoded), "candidates")
        return [
            self.schema.values(row) if isinstance(row, msgspec.Struct) else row for row in decoded
        ]

    def _decoded(self, decode: Callable[[Raw], Any], raw: Raw, root: str) -> Any:  # noqa: ANN401 (as the schema says)
        try:
            return decode(raw)
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$")
            path = root + path.removesuffix("`")
            message = f"{reason} - at `${path}`"
            if "field `" not in reason and (
                _OUTER.match(path) or (root == ".columns" and "[" not in path)
            ):
                raise DataError(explained(message, ())) from error
            raise self.schema.explained(message) from error


def checked_count(count: int, noun: str) -> int:
    """The number of rows of a request.

    Raises:
        DataError: none, or too many.
    """
    if not 0 < count <= MOST_ROWS:
        raise DataError(f"the request has {count:,} {noun}; give 1 to {MOST_ROWS:,}")
    return count


def is_one_row(body: Any) -> bool:  # noqa: ANN401 (as its route says)
    """Whether a request is for one row, before it is decoded."""
    return (
        isinstance(body, FeaturesRequest | PredictionRequest)
        and bool(body.row)
        and not body.rows
        and not body.columns
    )


def estimated_rows(body: AnyRequest) -> int:
    """About how many rows a request has, before they are decoded: large requests are answered in a
    thread.
    """
    if isinstance(body, RankingRequest):
        candidates = bytes(body.candidates)
        return max(1, candidates.count(b"{") or candidates.count(b",") + 1)
    if not body.rows and not body.columns:
        return 1
    columns = bytes(body.columns)
    return max(
        1, bytes(body.rows).count(b"{"), columns.count(b",") // max(1, columns.count(b"[")) + 1
    )


def document_type(
    kind: type[msgspec.Struct], schema: RowSchema, candidate: RowSchema | None = None
) -> type[msgspec.Struct]:
    """The struct of a request with the rows of a schema, for the OpenAPI document."""
    several = msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MOST_ROWS})
    rows: dict[str, Any] = {
        "row": schema.row,
        "rows": Annotated[list[schema.row], several],  # type: ignore[name-defined]
        "columns": schema.columns,
    }
    if candidate is not None:
        rows["candidates"] = Annotated[list[candidate.row | Scalar], several] | None  # type: ignore[name-defined]
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        field_type, required = rows.get(field.name, field.type), field.required
        default: Any = (
            None if field.name == "candidates" else UNSET if field.name in rows else field.default
        )
        fields.append(
            (field.name, field_type)
            if required
            else (field.name, field_type | UnsetType if default is UNSET else field_type, default)
        )
    return msgspec.defstruct(
        f"{kind.__name__}_{schema.owner}", fields, forbid_unknown_fields=True, kw_only=True
    )
