"""Feature services and models at a freshness level, prepared for requests: readers, predictors, row
schemas and encoders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from headwater.definitions.level import ModelVariant
from headwater.definitions.project import Project, backtest_only, fingerprint, request_times
from headwater.definitions.ranking import Ranking
from headwater.errors import UsageError, nearest
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.key_encoder import KeyColumn
from headwater.online.precomputed import PrecomputedReader
from headwater.online.predictor import Predictor, Scorer
from headwater.online.ranker import Proposed, Ranker
from headwater.online.row_schema import RowField, RowSchema
from headwater.serving.arm_choice import RunningExperiment
from headwater.serving.http.response_encoder import ResponseEncoder
from headwater.serving.http.row_decoder import RowDecoder
from headwater.serving.loaded_models import Key
from headwater.serving.serving_result import FeatureShape
from headwater.state.prediction_codec import read_precomputed
from headwater.stores import OnlineStore


class FeatureEndpoint(NamedTuple):
    """A feature service at a level: its online reader, row decoder and response encoder."""

    features: OnlineFeatures
    rows: RowDecoder
    encoder: ResponseEncoder


class ModelEndpoint(NamedTuple):
    """A model at a level: predictor, precomputed predictions, row decoder and response encoder.

    service: the feature service that a request reads; empty where predictions are only looked up.
    """

    predictor: Predictor
    precomputed: PrecomputedReader | None
    rows: RowDecoder
    encoder: ResponseEncoder
    service: str


class RankingEndpoint(NamedTuple):
    """A ranking model at a level; decoders of the row that all candidates share, and of
    candidates.
    """

    ranker: Ranker
    shared: RowDecoder
    candidates: RowDecoder
    encoder: ResponseEncoder

    def propose(
        self, row: Mapping[str, object], candidates: Sequence[object] | None, t: int
    ) -> Proposed:
        """The candidates of a request of plain values.

        Raises:
            DataError: as `RowSchema.from_row`, and as `Ranker.propose`.
        """
        if candidates is not None:
            candidates = converted(self.candidates.schema, candidates)
        return self.ranker.propose(
            self.shared.schema.dated(self.shared.schema.from_row(row), t), candidates, t=t
        )


def converted(schema: RowSchema, candidates: Sequence[object]) -> list[object]:
    """Candidates of plain values as the declared types; raises as `RowSchema.from_row`."""
    return [
        schema.from_row(candidate) if isinstance(candidate, Mapping) else candidate
        for candidate in candidates
    ]


class Endpoints(threading.local):
    """The endpoints of a project, made when they are first used. Each thread has its own: readers
    and predictors cache their last read.

    Args:
        project, store: as for `hw.operations.Service`.
        scorer: finds the fitted model of a variant.
    """

    def __init__(
        self,
        project: Project,
        store: OnlineStore,
        scorer: Callable[[ModelVariant], Scorer],
    ) -> None:
        self._project, self._store, self._scorer = project, store, scorer
        self._variants: dict[Key, ModelVariant] = {}
        self._services = {model.features.name: model for model in project.models}
        self._open: dict[Key, FeatureEndpoint] = {}
        self._models: dict[Key, ModelEndpoint] = {}
        self._rankings: dict[Key, RankingEndpoint] = {}
        self._of_arms: dict[str, tuple[Sequence[RunningExperiment], RowDecoder, bool]] = {}
        self._candidates_of_arms: dict[
            str, tuple[Sequence[RunningExperiment], tuple[RowDecoder, RowDecoder]]
        ] = {}

    def features(self, service: str, level: str | None) -> FeatureEndpoint:
        """A feature service at a level.

        Raises:
            UsageError: an unknown service or level, or one for backtests only.
            StoreError: a view that is not in the online store.
        """
        opened = self._open.get((service, level))
        return opened or self.opened(self.of_service(service, level), level)

    def opened(self, variant: ModelVariant, level: str | None) -> FeatureEndpoint:
        """The features of a variant; models with the same feature service share them."""
        service = variant.model.features.name
        endpoint = self._open.get((service, level))
        if endpoint is None:
            features = OnlineFeatures(variant.service, self._store)
            schema = RowSchema(
                service, features.schema.fields, request_times=request_times(self._project, service)
            )
            endpoint = self._open[service, level] = FeatureEndpoint(
                features, RowDecoder(schema, self), ResponseEncoder(FeatureShape(features))
            )
        return endpoint

    def model(self, model: str, level: str | None) -> ModelEndpoint:
        """A model at a level.

        Raises:
            UsageError: an unknown model or level, or one for backtests only.
            ModelError: a fitted model that is missing or incompatible.
            StoreError: a required view that is not in the online store.
        """
        endpoint = self._models.get((model, level))
        if endpoint is None:
            endpoint = self._models[model, level] = self._model(self.variant(model, level), level)
        return endpoint

    def ranking(self, model: str, level: str | None) -> RankingEndpoint:
        """A ranking model at a level; raises as `model`, and UsageError for another model."""
        ranking = self._rankings.get((model, level))
        if ranking is None:
            endpoint, variant = self.model(model, level), self.variant(model, level)
            if variant.model.ranking is None:
                raise UsageError(
                    f"model {model!r} is not a ranking model: its task is {variant.model.task!r}; "
                    "allowed: hw.Ranking"
                )
            definition = variant.level.retrieval(variant.model)
            retrieval = None if definition is None else OnlineFeatures(definition, self._store)
            retrieval_fields = {} if retrieval is None else dict(retrieval.schema.fields)
            shared, candidate = ranking_schemas(
                endpoint.rows.schema, retrieval_fields, variant.model.ranking
            )
            ranking = RankingEndpoint(
                Ranker(endpoint.predictor, retrieval, endpoint.precomputed),
                RowDecoder(shared, self),
                RowDecoder(candidate, self),
                endpoint.encoder,
            )
            self._rankings[model, level] = ranking
        return ranking

    def rows_of_arms(
        self, model: str, experiments: Sequence[RunningExperiment]
    ) -> tuple[RowDecoder, bool]:
        """The decoder of a model's requests during experiments: the fields of all arms; each row
        needs those of its own.

        With whether all arms have the fields of the default. Raises: as `model`.
        """
        decoders = self._of_arms.get(model)
        if decoders is None or decoders[0] is not experiments:
            schemas = [self.model(*key).rows.schema for key in _keys(model, experiments)]
            default_rows = self.model(model, None).rows
            merged = _merged(schemas, experiments)
            alike = merged is schemas[0]
            decoders = experiments, default_rows if alike else RowDecoder(merged, self), alike
            self._of_arms[model] = decoders
        return decoders[1:]

    def candidates_of_arms(
        self, model: str, experiments: Sequence[RunningExperiment]
    ) -> tuple[RowDecoder, RowDecoder]:
        """As `rows_of_arms`, of a ranking: the decoders of the row that all candidates share, and
        of candidates.
        """
        decoders = self._candidates_of_arms.get(model)
        if decoders is None or decoders[0] is not experiments:
            endpoints = [self.ranking(*key) for key in _keys(model, experiments)]
            shared = _merged([endpoint.shared.schema for endpoint in endpoints], experiments)
            candidates = _merged([endpoint.candidates.schema for endpoint in endpoints], ())
            decoders = experiments, (RowDecoder(shared, self), RowDecoder(candidates, self))
            self._candidates_of_arms[model] = decoders
        return decoders[1]

    def variant(self, model: str, level: str | None) -> ModelVariant:
        """A model at a level, which can be served.

        Raises:
            UsageError: an unknown model or level, or one for backtests only.
        """
        variant = self._variants.get((model, level))
        if variant is None:
            variant = self._project.variant(model, level)
            why = backtest_only(variant)
            if why is not None:
                raise UsageError(
                    f"model {model!r} at level {variant.name!r} cannot be served: {why}"
                )
            self._variants[model, level] = variant
        return variant

    def of_service(self, service: str, level: str | None) -> ModelVariant:
        """A model that reads a feature service at a level.

        Raises:
            UsageError: an unknown service or level, or one for backtests only.
        """
        if service not in self._services:
            raise UsageError(
                f"project {self._project.name!r} has no feature service {service!r}; "
                f"{nearest(service, self._services)}"
            )
        return self.variant(self._services[service].name, level)

    def _model(self, variant: ModelVariant, level: str | None) -> ModelEndpoint:
        precomputed, service = variant.precomputed, variant.model.features.name
        if precomputed is None:
            opened = self.opened(variant, level)
            return ModelEndpoint(
                self._predictor(variant, opened.features, None),
                None,
                opened.rows,
                opened.encoder,
                service,
            )
        reader = PrecomputedReader(variant, self._store)
        if precomputed.on_request:
            opened = self.opened(variant, level)
            features, encoder, fields, times = (
                opened.features,
                opened.encoder,
                dict(opened.rows.schema.fields),
                opened.rows.schema.request_times,
            )
        else:
            features, fields, times = OnlineFeatures(variant.service, self._store), {}, frozenset()
            encoder = ResponseEncoder(FeatureShape(features))
        held = read_precomputed(self._store, fingerprint(variant, self._store.namespace))
        subject = f"the prediction of model {variant.model.name!r}"
        keys = {
            name: RowField(
                ["the precomputed prediction"],
                [] if held is None else [(subject, KeyColumn(name, name, held.dtypes[name]))],
            )
            for name in precomputed.keys
        }
        required = {
            name: field._replace(needed_by=keys[name].needed_by) if name in keys else field
            for name, field in fields.items()
        }
        schema = RowSchema(
            variant.model.name, {**keys, **required}, precomputed.keys, request_times=times
        )
        return ModelEndpoint(
            self._predictor(variant, features, reader),
            reader,
            RowDecoder(schema, self),
            encoder,
            service if precomputed.on_request else "",
        )

    def _predictor(
        self, variant: ModelVariant, features: OnlineFeatures, precomputed: PrecomputedReader | None
    ) -> Predictor:
        needed = precomputed is None or precomputed.definition.on_request
        return Predictor(
            variant.model, features, self._scorer(variant) if needed else None, precomputed
        )


def _keys(model: str, experiments: Sequence[RunningExperiment]) -> list[Key]:
    """The default of a model, and the arms of its experiments."""
    return list(
        dict.fromkeys(
            [
                (model, None),
                *(key for experiment in experiments for key in experiment.keys.values()),
            ]
        )
    )


def _merged(schemas: Sequence[RowSchema], experiments: Sequence[RunningExperiment]) -> RowSchema:
    """The first schema if it has the fields of all schemas and those that experiments assign by;
    else a joint schema.
    """
    first = schemas[0]
    assigned = {column for experiment in experiments for column in experiment.columns}
    alike = all(
        schema.fields.keys() == first.fields.keys() and schema.required == first.required
        for schema in schemas
    )
    if alike and assigned <= first.fields.keys():
        return first
    fields: dict[str, RowField] = {
        column: RowField(["an experiment"]) for column in sorted(assigned)
    }
    for schema in schemas:
        for name, field in schema.fields.items():
            before = fields.get(name)
            fields[name] = (
                field if before is None or not (before.keys or before.declared) else before
            )
    required = frozenset.intersection(*(schema.required for schema in schemas))
    times = frozenset.intersection(
        *(schema.request_times | (fields.keys() - schema.fields.keys()) for schema in schemas)
    )
    return RowSchema(first.owner, fields, required, "_of_arms", times)


def ranking_schemas(
    schema: RowSchema, retrieval_fields: Mapping[str, RowField], ranking: Ranking
) -> tuple[RowSchema, RowSchema]:
    """The schemas of the row that all candidates share, and of a candidate; `retrieval_fields`:
    those of a request for candidates.
    """
    who = ["the ranking"]
    shared = schema.optional({ranking.group: RowField(who), **retrieval_fields}, "_shared")
    return shared, schema.optional({ranking.item: RowField(who)}, "_candidate")
