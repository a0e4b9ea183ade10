"""The formats in which fitted models are kept and brought: one file each, and one line here."""

from __future__ import annotations

from pathlib import Path

from headwater.definitions.model import Estimator
from headwater.errors import DataError, UsageError, nearest
from headwater.models.formats import lightgbm, mlflow, onnx, pickled
from headwater.models.formats.model_format import Format

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        lightgbm.FORMAT,
        onnx.FORMAT,
        mlflow.FORMAT,
        pickled.JOBLIB,
        pickled.PICKLE,  # the last: it holds any estimator
    )
}


def format_of(estimator: Estimator) -> Format:
    """How an estimator is kept: LightGBM's in its own text, ONNX and MLflow as they came, any other
    pickled.
    """
    return next(form for form in FORMATS.values() if form.holds(estimator))


def format_named(name: str) -> Format:
    """The format that a manifest names.

    Raises:
        DataError: it is unknown here.
    """
    if name not in FORMATS:
        raise DataError(
            f"the model is kept as {name!r}, which this version of headwater does not know; "
            f"{nearest(name, FORMATS)}"
        )
    return FORMATS[name]


def load_model(place: str | Path, *, allow_pickle: bool = False) -> Estimator:
    """A model that was trained elsewhere, as an estimator:
    `Model(estimator=load_model("churn.onnx"))`.

    It is replayed and never trained: `backtest` scores it at each level, `train` checks it and
    keeps it for serving.

    Args:
        place: a file of LightGBM (.txt), ONNX (.onnx), pickle (.pkl, .pickle) or joblib (.joblib);
            a folder of MLflow, or its URI, such as models:/churn/3.
        allow_pickle: allow formats that run code when they are loaded: pickle, joblib and MLflow.

    Raises:
        UsageError: a format that runs code and is not trusted, or one that is not known.
        DataError: nothing is there, or it cannot be loaded.
        MissingExtraError: onnxruntime or mlflow is not installed.
    """
    text = str(place)
    form = next((form for form in FORMATS.values() if form.opens(text)), None)
    if form is None:
        raise UsageError(
            f"load_model({text!r}): unknown format; known: .txt (LightGBM), .onnx, .pkl, .pickle, "
            ".joblib, folders of MLflow and its URIs, such as models:/churn/3"
        )
    check_allowed(form, text, allow_pickle=allow_pickle)
    return form.open(text)


def check_allowed(form: Format, location: str, *, allow_pickle: bool) -> None:
    """Refuse a format that runs code when it is loaded, unless it is trusted."""
    if form.runs_code and not allow_pickle:
        how_kept = {"pickle": "pickled", "joblib": "kept by joblib"}.get(
            form.name, f"kept by {form.name}"
        )
        raise UsageError(
            f"the model at {location} is {how_kept}, and loading "
            f"{'a pickle' if form.name == 'pickle' else 'it'} runs code; pass allow_pickle=True "
            "if you trust where it comes from"
        )
