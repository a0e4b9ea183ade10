"""The manifest of a fitted model: what it reads, what it was trained on, and how it is checked
again when it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from headwater.definitions.definition import fingerprint_of
from headwater.definitions.freshness import from_data
from headwater.definitions.level import Level
from headwater.definitions.model import TASKS, Model, Precomputed
from headwater.errors import DataError
from headwater.models.feature_encoding import Encoding, Kind
from headwater.models.named import Frames
from headwater.models.outcomes import ClassName
from headwater.models.reference_distribution import ReferenceDistribution

FORMAT = 2
_LIBRARIES = (
    "headwater",
    "polars",
    "numpy",
    "numba",
    "scikit-learn",
    "lightgbm",
    "onnxruntime",
    "mlflow-skinny",
)


class EstimatorFile(msgspec.Struct, frozen=True, kw_only=True):
    """How the estimator is kept. digest: the SHA-256 of its file or folder. tolerance: see
    `formats.base.Format`.
    """

    format: str
    file: str
    digest: str
    runs_code: bool
    tolerance: float
    about: dict[str, Any] = {}


class Example(msgspec.Struct, frozen=True):
    """A row of features in order, times in microseconds since 1970, and what the model said of
    it.
    """

    values: list[Any]
    prediction: float | list[float]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A view that the model reads, and how fresh it was in training.

    values: a fingerprint of what decides its values but for freshness. says: the freshness in
    words; `freshness` has its data, durations in microseconds. known_after: how long after their
    time its events are known, by the level.
    """

    values: str
    says: str
    freshness: dict[str, Any]
    known_after: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a fitted model, in the file `manifest.json` of its folder.

    task: binary, multiclass, regression or ranking. features: in order, with `dtypes` as polars
    writes them and `kinds` as they are encoded; `categories` of strings and `words` of lists by
    feature. frames: the library of the frames that the estimator takes, "" for a matrix. request,
    third_party: a fingerprint of each request feature and field, and of what a third party says.
    not_in_training: features that no history supplies.
    level: its name, words, fingerprint, and the precomputing, if any. seed: of the training. data:
    the digest, columns, events and left-out rows of the training set, as `dataset` writes them.
    metrics: `training` on the rows it was fitted on, `holdout` on later ones by a model of the
    earlier. examples: rows that it must still score as it did. references: how each feature was
    distributed in training; empty of models that were trained before this was kept.
    """

    format: int = FORMAT
    model: str = ""
    fingerprint: str = ""
    task: str
    estimator: str
    replayed: bool = False
    kept: EstimatorFile
    features: list[str]
    dtypes: list[str] = []
    kinds: list[Kind]
    categories: dict[str, list[str]]
    words: dict[str, list[str]] = {}
    frames: Frames = ""
    classes: list[ClassName] = []
    feature_service: dict[str, str] = {}
    labels: dict[str, str] = {}
    request: dict[str, str] = {}
    third_party: dict[str, str] = {}
    not_in_training: list[str] = []
    views: dict[str, View] = {}
    level: dict[str, Any] = {}
    until: str = ""
    seed: int = 0
    rows: int = 0
    left_out: dict[str, int] = {}
    data: dict[str, Any] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    examples: list[Example] = []
    references: dict[str, ReferenceDistribution] = {}
    versions: dict[str, str] = {}
    created_at: str = ""

    @property
    def encoding(self) -> Encoding:
        """How features become numbers."""
        return Encoding(self.features, self.categories, self.words, self.kinds)


def read_manifest(text: bytes, origin: object) -> Manifest:
    """The manifest that a file holds.

    Raises:
        DataError: it is none, or of another version of headwater.
    """
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
        if manifest.format != FORMAT:
            raise msgspec.ValidationError(
                f"it is of format {manifest.format}, and this version reads {FORMAT}"
            )
        if manifest.task not in TASKS:
            raise msgspec.ValidationError(
                f"its task is {manifest.task!r}, and the known ones are {', '.join(TASKS)}"
            )
        return manifest
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{origin} is not a model manifest that this version of headwater reads: {error}. "
            "Train the model again"
        ) from error


def manifest_text(manifest: Manifest) -> bytes:
    """The manifest as its file has it."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def definitions_of(model: Model, level: Level, level_name: str) -> dict[str, Any]:
    """What a manifest says of definitions: the fields from `model` to `level`."""
    service = model.features
    return {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "feature_service": {service.name: service.fingerprint},
        "labels": {model.labels.name: model.labels.fingerprint},
        "request": request_fingerprints(model),
        "views": views_of(model, level),
        "level": {
            "name": level_name,
            "describe": level.describe(model),
            "fingerprint": level.fingerprint,
            "predictions": _precomputed(level.precomputed(model)),
        },
        "not_in_training": list(service.not_in_training),
        "third_party": {http.name: http.fingerprint for http in service.http_features},
    }


def _precomputed(precomputed: Precomputed | None) -> dict[str, Any] | None:
    if precomputed is None:
        return None
    freshness = {"says": str(precomputed.freshness), "freshness": precomputed.freshness.to_data()}
    return {**freshness, "keys": list(precomputed.keys), "otherwise": precomputed.otherwise}


def trained_features(model: Model, level: Mapping[str, Any]) -> tuple[str, ...]:
    """The features that a model trains on, in order: features from history, or for precomputed
    predictions those that a job knows.

    Args:
        model: the definition.
        level: as a manifest says it.
    """
    in_training, then = model.features.in_training, level.get("predictions")
    if then is None:
        return in_training.feature_names
    precomputed = Precomputed(
        from_data(then["freshness"]), keys=then["keys"], otherwise=then["otherwise"]
    )
    return Level(predictions=precomputed).feature_names(replace(model, features=in_training))


def views_of(model: Model, level: Level) -> dict[str, View]:
    """Each view that the model reads, as fresh as the level says."""
    return {
        view.name: View(
            values=view.values_fingerprint(model.features.needed[view.name]),
            says=str(level.freshness(view)),
            freshness=level.freshness(view).to_data(),
            known_after=level.source(view).delay,
        )
        for view in model.features.in_training.views
    }


def request_fingerprints(model: Model) -> dict[str, str]:
    """For each request feature and field that the model reads, 16 hexadecimal digits of all that it
    says.
    """
    service = model.features.in_training
    contents: dict[str, object] = {
        field.name: ("field", field.dtype) for field in service.request_fields
    }
    for feature in service.request_features:
        contents[feature.name] = (
            feature.function,
            feature.fields,
            {name: ref.name for name, ref in feature.inputs.items()},
            feature.dtype,
        )
    return {name: fingerprint_of(content) for name, content in contents.items()}


def plain(value: object) -> object:
    """A feature's value as JSON holds it: timestamps and durations in microseconds, dates in
    days.
    """
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=value.tzinfo)) // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    return float(value) if isinstance(value, Decimal) else value


def library_versions() -> dict[str, str]:
    """The versions of the libraries that a result depends on."""
    return dict(_installed())


@cache
def _installed() -> dict[str, str]:
    """Once in a process: the descriptions of all packages are parsed for it."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
