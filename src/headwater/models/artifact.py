"""A fitted model in a folder: a manifest and the estimator's file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.model import Estimator, Model
from headwater.errors import DataError
from headwater.models.compatibility import feature_differences, other_features
from headwater.models.feature_encoding import Encoding, Kind
from headwater.models.fit import Fitted
from headwater.models.formats import FORMATS, check_allowed, format_named, format_of
from headwater.models.formats.model_format import Fixed, digest_of
from headwater.models.manifest import (
    EstimatorFile,
    Example,
    Manifest,
    library_versions,
    manifest_text,
    plain,
    read_manifest,
    trained_features,
)
from headwater.models.serving_model import ServedModel, said

MANIFEST = "manifest.json"


def save(
    fitted: Fitted, folder: Path, about: Mapping[str, Any], examples: pl.DataFrame | None = None
) -> Path:
    """Write the estimator and its manifest into `folder`, in place of a model that was there, and
    return the manifest's path.

    LightGBM is kept in its own text format, ONNX and MLflow as they came; anything else is pickled,
    and the manifest says so.

    Args:
        fitted: the model.
        folder: where; made where it is missing.
        about: fields of the manifest that the model itself does not give.
        examples: rows of features that it has to score alike when it is loaded.

    Raises:
        DataError: an estimator that cannot be kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    form = format_of(fitted.estimator)
    more = form.write(fitted.estimator, folder)
    estimator_file = EstimatorFile(
        format=form.name,
        file=form.file,
        digest=digest_of(folder / form.file),
        runs_code=form.runs_code,
        tolerance=form.tolerance,
        about=dict(more),
    )
    classes = fitted.classes if fitted.known is None else [fitted.classes[i] for i in fitted.known]
    encoding = fitted.encoding
    manifest = Manifest(
        **about,
        task=fitted.kind,
        estimator=fitted.description,
        replayed=fitted.replayed,
        kept=estimator_file,
        features=list(encoding.columns),
        kinds=list(encoding.kinds),
        categories={name: list(texts) for name, texts in encoding.categories.items()},
        words={name: list(texts) for name, texts in encoding.words.items()},
        frames=fitted.frames,
        classes=list(classes),
        examples=[] if examples is None else _examples(fitted, examples),
        versions=library_versions(),
    )
    path = folder / MANIFEST
    path.write_bytes(manifest_text(manifest))
    return path


def load(folder: Path, model: Model, *, allow_pickle: bool = False) -> Fitted:
    """The fitted model in `folder`, as `open_model`; its features must also be the features of
    `model`.
    """
    return open_model(folder, model, allow_pickle=allow_pickle).fitted


def open_model(
    folder: Path, model: Model | None = None, *, allow_pickle: bool = False, version: str = ""
) -> ServedModel:
    """The model in `folder`, ready for requests.

    Args:
        folder: what `save` wrote.
        model: the definition whose features it must have, in order.
        allow_pickle: allow a format that runs code when it is loaded (pickle, joblib, MLflow).
        version: what it is called in answers and logs.

    Raises:
        DataError: nothing is there, a file is not what was written, its features are not those of
            `model`, or it no longer scores the rows that it was kept with as it did.
        UsageError: a format that runs code and is not trusted.
        MissingExtraError: a library is not installed.
    """
    manifest = manifest_in(folder)
    if model is not None and (
        differences := feature_differences(
            manifest.features, trained_features(model, manifest.level)
        )
    ):
        raise other_features(model, version, differences)
    estimator_file = manifest.kept
    form = format_named(estimator_file.format)
    check_allowed(form, str(folder), allow_pickle=allow_pickle)
    path = folder / form.file  # the file that is loaded, independent of the manifest
    if estimator_file.file != form.file:
        raise DataError(
            f"the manifest of the model at {folder} names {estimator_file.file!r}, and {form.name} "
            "keeps a "
            f"model in {form.file!r}; train it again"
        )
    if not path.exists() or digest_of(path) != estimator_file.digest:
        raise DataError(
            f"the model at {folder} is not what was kept: {form.file} "
            f"{'has changed' if path.exists() else 'is gone'}; train it again"
        )
    estimator = form.read(folder, estimator_file.about)
    _check_inputs(estimator, manifest, folder)
    classes = tuple(manifest.classes)
    fitted = Fitted(
        estimator,
        manifest.encoding,
        manifest.task,
        manifest.estimator,
        manifest.replayed,
        classes,
        frames=manifest.frames,
    )
    served = ServedModel(fitted, manifest=manifest, version=version)
    _check_examples(served, manifest, folder)
    return served


def manifest_in(folder: Path) -> Manifest:
    """The manifest of the model in `folder`.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"no model at {folder}: {path.name} is missing; run headwater train")
    return read_manifest(path.read_bytes(), path)


def _clear(folder: Path) -> None:
    """Take away what an earlier model left, the manifest first: a folder without one is not a
    model.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    for form in FORMATS.values():
        old = folder / form.file
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)


def _check_inputs(estimator: Estimator, manifest: Manifest, folder: Path) -> None:
    """Refuse an estimator whose input columns are not the manifest's, in its order, as far as it
    names or counts them.
    """
    columns = (
        list(manifest.features)
        if getattr(estimator, "takes_frames", False)
        else list(manifest.encoding.inputs)
    )
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    width = getattr(estimator, "n_features_in_", len(names) or None)
    if isinstance(estimator, Fixed) and getattr(estimator, "takes_frames", False):
        wrong = not set(names) <= set(columns)  # it takes what it needs by name
    else:
        wrong = width not in (None, len(columns)) or bool(
            set(names) & set(columns) and names != columns
        )
    if wrong:
        raise DataError(
            f"the model at {folder} takes {names or f'{width} columns'}, and its manifest says "
            f"{columns}: the file and the manifest are not of one model; train it again"
        )


def _examples(fitted: Fitted, rows: pl.DataFrame) -> list[Example]:
    columns = rows.select(fitted.encoding.columns)
    score = fitted.score(columns)
    if not np.isfinite(score).all():
        raise DataError(
            f"{fitted.description} returns scores that are not finite numbers, such as "
            f"{score[~np.isfinite(score)][0]}"
        )
    return [
        Example([plain(value) for value in row], prediction)
        for row, prediction in zip(columns.iter_rows(), said(score), strict=True)
    ]


def _check_examples(served: ServedModel, manifest: Manifest, folder: Path) -> None:
    """Refuse a model that no longer scores as it did, in a frame or by the row."""
    if not manifest.examples:
        return
    rows = [restored(example, manifest.encoding) for example in manifest.examples]
    frame = pl.DataFrame(
        {
            name: pl.Series(values, strict=False)
            for name, values in zip(manifest.features, zip(*rows, strict=True), strict=True)
        }
    )
    for form, scores in (
        ("a frame", said(served.score(frame))),
        ("one row", [served.one(row) for row in rows]),
    ):
        for example, now in zip(manifest.examples, scores, strict=True):
            then = np.atleast_1d(np.asarray(example.prediction, np.float64))
            apart = np.abs(np.atleast_1d(now) - then)
            if (
                apart.shape != then.shape
                or not (apart <= manifest.kept.tolerance * np.maximum(1, np.abs(then))).all()
            ):
                raise DataError(
                    f"the model at {folder} no longer scores as it did when it was kept: "
                    f"{example.prediction} then, and {now} now ({form}); {_changed(manifest)}. "
                    "Train it again"
                )


def _changed(manifest: Manifest) -> str:
    now = library_versions()
    changed = [
        f"{name} {then} then and {now.get(name)} now"
        for name, then in manifest.versions.items()
        if now.get(name) != then
    ]
    return (
        f"these libraries are not the same: {', '.join(changed)}"
        if changed
        else "no library has changed"
    )


def restored(example: Example, encoding: Encoding) -> Sequence[object]:
    """The values of an example as features have them."""
    return [_value(value, kind) for value, kind in zip(example.values, encoding.kinds, strict=True)]


def _value(value: object, kind: Kind) -> object:
    if not isinstance(value, int) or kind not in ("time", "date", "duration"):
        return value
    if kind == "time":
        return clock.timestamp(value)
    return (
        timedelta(microseconds=value)
        if kind == "duration"
        else date(1970, 1, 1) + timedelta(days=value)
    )
