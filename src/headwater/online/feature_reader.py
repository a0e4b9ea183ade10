"""Current features: the one read of a feature service, for frames and for plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from headwater import clock
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.feature_service import FeatureService, Member, as_service, check_request
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.project import checked_call
from headwater.errors import DataError, IncompleteError, RebuiltError, StaleError
from headwater.events.read_events import as_frame
from headwater.online.compiled_reader import CompiledReader
from headwater.online.feature_vectors import FeatureVector, FeatureVectors
from headwater.online.key_encoder import KeyColumn
from headwater.online.list_reader import ListReader
from headwater.online.read_versions import ReadVersion
from headwater.online.request_evaluator import RequestFeatureEvaluator
from headwater.online.request_features import POLARS, check_declared
from headwater.online.row_schema import RowSchema, answers_of
from headwater.online.value_details import details_of, warn_stale
from headwater.online.view_reader import OnlineView
from headwater.stores import OnlineStore, opened
from headwater.stores.keyspace import opened_for

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike

Columns = Mapping[str, Sequence[object] | pl.Series]


@checked_call
def get_online_features(
    features: FeatureService | Member | Sequence[Member],
    rows: TableLike | Sequence[Mapping[str, object]],
    *,
    store: OnlineStore | str | None = None,
    at: datetime | str | None = None,
    details: bool = False,
    project: str | None = None,
) -> pl.DataFrame:
    """The features of some rows as the online store has them now: one row out for each row in, in
    order.

    Args:
        features: a feature service, or features, views and request features.
        rows: keys and request fields; a frame with an Arrow interface, a LazyFrame of polars or a
            path, which may have other columns too, or a list of mappings, which are requests: a
            field that nothing reads is refused, as over HTTP. A null key is a key that is not
            known. What third parties say is taken from columns named like their features
            (`serving.third_party.fetcher` fetches it); where they lack, the values are the fallback
            ones.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        at: the request time, tz-aware, or ISO 8601 with an offset; None is now. Never before what
            the store has taken in.
        details: for each feature `<feature>__status`, `<feature>__age` in seconds,
            `<feature>__stale`, whether it is older than its view promises, and
            `<feature>__incomplete`, whether a window of the view may lack events that were
            received.
        project: whose values, by its name, in a store that several projects share; None is the
            project that the store belongs to.

    Warns:
        StaleWarning: values older than promised, of views with on_stale="previous", the default;
            not where `details` says it.

    Raises:
        DataError: rows that lack a column, or keys of other types.
        StoreError: a view that is not in the store, or a project whose store it is not.
        StaleError: values older than promised, of a view with on_stale="refuse".

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h", delay="10m"))
    >>> rows = [{"user": 1}, {"user": 3}]
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     found = hw.get_online_features(
    ...         project.models[0].features, rows, store=store, at="2024-05-01T12:10Z", details=True
    ...     )
    >>> found.select(
    ...     "user__count_1d", "user__mean_pages_1d", "user__count_1d__status", "user__count_1d__age"
    ... ).rows()
    [(6, 5.0, 'present', 600.0), (0, None, 'missing', 600.0)]
    """
    service = as_service(features)
    with (
        opened(store, readonly=True)
        if project is None
        else opened_for(project, store, readonly=True) as opened_store
    ):
        return OnlineFeatures(service, opened_store).read(rows, at=at, details=details)


class OnlineFeatures:
    """A feature service over an online store; made once for many reads, by one thread at a time.
    Threads may share an `hw.operations.Service`.

    `read` takes and gives frames; `row` and `rows` plain values, many times quicker for few keys.
    `names` are those of the features, in order; `of` says for each the index of its read version in
    the answers, -1 for request-time features.
    """

    def __init__(self, service: FeatureService, store: OnlineStore) -> None:
        self.service, self.store = service, store
        self.views = {view.name: OnlineView(view, store) for view in service.views}
        self.names = service.feature_names
        owners = {
            name: index for index, view in enumerate(service.views) for name in view.feature_names
        }
        self.of = tuple(owners.get(name, -1) for name in self.names)
        self._asks = frozenset(service.needed_by())
        self._fallback = {
            name: http.fallback[c]
            for http in service.http_features
            for name, c in zip(http.feature_names, http.columns, strict=True)
        }

    def __repr__(self) -> str:
        return f"OnlineFeatures({self.service.name}, {len(self.names)} features)"

    @cached_property
    def schema(self) -> RowSchema:
        """The struct of a request's rows.

        Raises:
            StoreError: a view that is not in the store.
        """
        refs = {
            f.name
            for v in self.service.views
            for k in v.keys
            if isinstance(f := v.request_key(k), FeatureRef)
        }
        keys = {
            name: [column for column in view.key_columns if column.column not in refs]
            for name, view in self.views.items()
        }
        return RowSchema.for_service(self.service, keys)

    def warm(self) -> None:
        """Compile all code of a read, so that the first one takes no longer than the next; reads
        null keys.

        Raises:
            StoreError: a view that is not in the store.
        """
        now = clock.now_micros()
        with suppress(StaleError, IncompleteError):
            for reader in self._readers:
                nulls = reader.null_request
                reader.read({column: [null, null] for column, null in nulls.items()}, 2, now)
                reader.one(nulls, now)

    def read(
        self,
        rows: TableLike | Sequence[Mapping[str, object]],
        *,
        at: datetime | str | None = None,
        details: bool = False,
    ) -> pl.DataFrame:
        """As `get_online_features`."""
        t = clock.now_micros() if at is None else parse_timestamp(at, "at")
        if isinstance(rows, Mapping):
            rows = [rows]
        if isinstance(rows, list | tuple):
            columns, count = self._from_mappings(rows), len(rows)
        else:
            frame = as_frame(rows, "rows")
            columns, count = {name: frame[name] for name in frame.columns}, frame.height
        features = self._rows(columns, count, t)
        frame = pl.DataFrame(
            [
                pl.Series(name, values, self.dtypes[name])
                for name, values in zip(self.names, features.values, strict=True)
            ]
        )
        if not details:
            warn_stale(dict(zip(self.service.views, features.read_versions, strict=True)), t)
            return frame
        return pl.DataFrame(
            [*frame, *details_of(self.names, features.statuses, features.read_versions, self.of, t)]
        )

    def row(
        self,
        request: Mapping[str, object],
        *,
        t: int | None = None,
        third_party_statuses: Mapping[str, bytes] | None = None,
        typed: bool = False,
    ) -> FeatureVector:
        """The features of one request at t (microseconds, None is now); raises the errors of
        `get_online_features`.

        `third_party_statuses` are those of third-party values, by feature name, where the caller
        knows them. typed: the request's own values are as `schema` decodes them.
        """
        now = clock.now_micros() if t is None else t
        try:
            only = self._only
            answer = (
                only.one(request, now) if only is not None else self._row(request, now, typed=typed)
            )
        except RebuiltError:
            self._reopen()
            answer = self._row(request, now, typed=typed)
        except KeyError:
            check_request(self.service, list(request))
            raise
        if third_party_statuses:
            codes = [
                third_party_statuses.get(name, answer.statuses[n : n + 1])
                for n, name in enumerate(self.names)
            ]
            return answer._replace(statuses=b"".join(codes))
        return answer

    def rows(
        self,
        request: Mapping[str, Sequence[object]],
        *,
        t: int | None = None,
        third_party_statuses: Mapping[str, bytes] | None = None,
    ) -> FeatureVectors:
        """As `row`, for requests in columns."""
        sizes = {len(column) for column in request.values()}
        if len(sizes) != 1:
            raise DataError(
                f"the columns of a request hold {sorted(sizes)} values; give each one value a row"
            )
        now = clock.now_micros() if t is None else t
        answers = self._rows(request, sizes.pop(), now)
        if third_party_statuses:
            return answers._replace(
                statuses=[
                    third_party_statuses.get(name, codes)
                    for name, codes in zip(self.names, answers.statuses, strict=True)
                ]
            )
        return answers

    def each(
        self, requests: Sequence[Mapping[str, object]], t: int
    ) -> Sequence[FeatureVector | None]:
        """As `row`, for several requests in one read; None where the caller must use `row`, which
        then raises an error.

        Args:
            requests: rows as `schema` decodes them.
            t: the request time of all.
        """
        if self._fallback:
            return [None] * len(requests)
        try:
            read = (
                self._readers[0].each(requests, t)
                if len(self._readers) == 1
                else self._in_rounds(requests, t)
            )
        except RebuiltError:
            self._reopen()
            return self.each(requests, t)
        return (
            read
            if self._alone
            else [
                self._completed(request, vector)
                for request, vector in zip(requests, read, strict=True)
            ]
        )

    def _completed(
        self, request: Mapping[str, object], read: FeatureVector
    ) -> FeatureVector | None:
        """The features of a request, with its request features; None where one raises."""
        try:
            return FeatureVector(
                *self._evaluator.one(request, read.values, read.statuses), read.read_versions
            ).with_words(read.words)
        except DataError:
            return None

    def _row(self, request: Mapping[str, object], t: int, *, typed: bool) -> FeatureVector:
        if self._alone:
            return self._read_row(request, t)
        values = request if typed and not self._fallback else self._typed(request)
        read = self._read_row({**self._fallback, **values} if self._fallback else values, t)
        return FeatureVector(
            *self._evaluator.one(values, read.values, read.statuses), read.read_versions
        ).with_words(read.words)

    def _read_row(self, request: Mapping[str, object], t: int) -> FeatureVector:
        return (
            self._readers[0].one(request, t)
            if len(self._readers) == 1
            else self._in_rounds([request], t)[0]
        )

    def _in_rounds(
        self, requests: Sequence[Mapping[str, object]], t: int
    ) -> Sequence[FeatureVector]:
        """Read the views in rounds, each in one call: features of earlier rounds are keys of later
        ones.
        """
        completed = [dict(request) for request in requests]
        rounds = []
        for reader in self._readers:
            rounds.append(reader.each(completed, t))
            for request, read in zip(completed, rounds[-1], strict=True):
                request.update(zip(reader.names, read.values, strict=True))
        positions = {
            part.view.name: (n, place)
            for n, reader in enumerate(self._readers)
            for place, part in enumerate(reader.parts)
        }
        places = [positions[view.name] for view in self.service.views]
        return [
            FeatureVector(
                [value for part in parts for value in part.values],
                b"".join(part.statuses for part in parts),
                [parts[n].read_versions[place] for n, place in places],
            )
            for parts in zip(*rounds, strict=True)
        ]

    def _rows(self, request: Columns, count: int, t: int) -> FeatureVectors:
        if not request.keys() >= self._asks:
            check_request(self.service, list(request))
        try:
            return self._read_rows(request, count, t)
        except RebuiltError:
            self._reopen()
            return self._read_rows(request, count, t)

    def _read_rows(self, request: Columns, count: int, t: int) -> FeatureVectors:
        if self._alone and len(self._readers) == 1:
            return self._readers[0].read(request, count, t)
        columns = request if self._alone else self._typed_columns(request)
        fallback = {name: [value] * count for name, value in self._fallback.items()}
        known: dict[str, Sequence[object] | pl.Series] = {**fallback, **columns}
        values, statuses, read_versions = (
            list[list[object]](),
            list[bytes](),
            dict[str, ReadVersion](),
        )
        words = None
        for reader in self._readers:
            read = reader.read(known, count, t)
            words = read.words if len(self._readers) == 1 else None
            known |= zip(reader.names, read.values, strict=True)
            values += read.values
            statuses += read.statuses
            read_versions |= zip(
                (part.view.name for part in reader.parts), read.read_versions, strict=True
            )
        in_order = [read_versions[view.name] for view in self.service.views]
        if self._alone:
            return FeatureVectors(values, statuses, in_order).with_words(words)
        fields = {
            name: column.to_list() if isinstance(column, pl.Series) else column
            for name, column in columns.items()
            if name in self._request_columns
        }
        return FeatureVectors(
            *self._evaluator.many(fields, values, statuses, count), in_order
        ).with_words(words)

    def _typed(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """A request's own fields, and the answers of third parties, in their declared types."""
        typed = self.schema.from_row(
            request
            if request.keys() == self._asks
            else {name: request[name] for name in self._asks}
        )
        if not self._fallback:
            return typed
        answered = {name: request[name] for name in self._fallback if name in request}
        return typed | self._answers.from_row(answered) if answered else typed

    def _typed_columns(self, request: Columns) -> Columns:
        """As `_typed`, for columns; columns of frames are checked by their dtype, and stay."""
        frame = {name: column for name, column in request.items() if isinstance(column, pl.Series)}
        for schema in (self.schema, self._answers):
            for name, field in schema.fields.items():
                for declared in field.declared if name in frame else ():
                    check_declared(frame[name].dtype, declared.dtype, declared.context)
        plain = {
            name: column for name, column in request.items() if not isinstance(column, pl.Series)
        }
        if not plain:
            return frame
        answered = {name: plain[name] for name in self._fallback if name in plain}
        return {
            **self.schema.from_columns({name: plain[name] for name in self._asks}),
            **self._answers.from_columns(answered),
        }

    def _from_mappings(self, rows: Sequence[Mapping[str, object]]) -> Columns:
        """Rows of plain values, which may have third-party answers, as columns."""
        if not rows:
            check_request(self.service, [])
            return {}
        return self._mapped.from_rows(rows)

    def _reopen(self) -> None:
        """Open the views again, after their records were made again."""
        self.views = {view.name: OnlineView(view, self.store) for view in self.service.views}
        for name in ("_readers", "_evaluator", "_alone", "_only", "dtypes", "_mapped", "schema"):
            self.__dict__.pop(name, None)

    @cached_property
    def _readers(self) -> list[CompiledReader | ListReader]:
        """The views, read in rounds: views with features as keys follow the views of these
        features; mostly there is one round.

        In a round, views that are looked up by one list share a reader.
        """
        rounds: dict[tuple[int, str], list[FeatureView]] = {}
        rounds_of_views: dict[str, int] = {}
        for view in self.service.views:
            filled = [view.request_key(key) for key in view.keys]
            rounds_of_views[view.name] = max(
                (
                    rounds_of_views[f.view.name] + 1
                    for f in filled
                    if isinstance(f, FeatureRef) and f.view.name in self.views
                ),
                default=0,
            )
            listed = self.views[view.name].list_column
            rounds.setdefault(
                (rounds_of_views[view.name], "" if listed is None else listed.column), []
            ).append(view)
        return [self._reader(views) for _, views in sorted(rounds.items())] or [self._reader([])]

    def _reader(self, views: Sequence[FeatureView]) -> CompiledReader | ListReader:
        parts = [
            self.views[view.name].part([feature.name for feature in self.service.needed[view.name]])
            for view in views
        ]
        read = [
            f"{part.view.name}__{part.view.outputs[n].name}"
            for part in parts
            for n in part.output_indexes
        ]
        names = [
            *(name for name in self.names if name in read),
            *(n for n in read if n not in self.names),
        ]
        lists = [
            column for view in views if (column := self.views[view.name].list_column) is not None
        ]
        if not lists:
            return CompiledReader(self.store, parts, names)
        return ListReader(
            CompiledReader(self.store, parts, names, share=1.0), min(lists, key=_max_length)
        )

    @cached_property
    def _evaluator(self) -> RequestFeatureEvaluator:
        return RequestFeatureEvaluator(
            self.service,
            [name for reader in self._readers for name in reader.names],
            self.schema.whole,
        )

    @cached_property
    def _answers(self) -> RowSchema:
        return answers_of(self.service)

    @cached_property
    def _mapped(self) -> RowSchema:
        """The struct of rows that may have third-party answers too."""
        return RowSchema(
            self.service.name, {**self.schema.fields, **self._answers.fields}, self.schema.required
        )

    @cached_property
    def _request_columns(self) -> frozenset[str]:
        """The columns of a request that request features or fallbacks need, in addition to keys."""
        return (
            frozenset(name for name, field in self.schema.fields.items() if field.declared)
            | self._fallback.keys()
        )

    @cached_property
    def _alone(self) -> bool:
        """Whether all features are read from views."""
        return tuple(name for reader in self._readers for name in reader.names) == tuple(self.names)

    @cached_property
    def _only(self) -> CompiledReader | ListReader | None:
        """The reader that gives the whole answer, if one does."""
        return self._readers[0] if self._alone and len(self._readers) == 1 else None

    @cached_property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        """The dtype of each feature in a frame."""
        dtypes = {
            name: dtype if view.view.list_key is None else pl.List(dtype)
            for view in self.views.values()
            for name, dtype in view.dtypes.items()
        }
        dtypes |= {
            name: POLARS[field.declared[0].dtype] for name, field in self._answers.fields.items()
        }
        dtypes |= {field.name: POLARS[field.dtype] for field in self.service.request_fields}
        return dtypes | {
            feature.name: POLARS[feature.dtype] for feature in self.service.request_features
        }


def _max_length(column: KeyColumn) -> int:
    """How long the list in a column may be."""
    assert column.max_length is not None
    return column.max_length
