"""MLflow: its models, through its `pyfunc`, which read the features by name and run code of their
own; and runs of its tracking.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import polars as pl

from headwater.definitions.model import Estimator
from headwater.errors import ConnectError, DataError, MissingExtraError
from headwater.kernel.arrays import F64
from headwater.models.formats.model_format import Fixed, Format, digest_of

if TYPE_CHECKING:
    import pandas as pd

_SCHEMES = (
    "models:/",
    "runs:/",
    "mlflow-artifacts:/",
    "s3://",
    "gs://",
    "abfss://",
    "wasbs://",
    "dbfs:/",
)
_DTYPES = {
    "double": pl.Float64,
    "float": pl.Float32,
    "long": pl.Int64,
    "integer": pl.Int32,
    "boolean": pl.Boolean,
    "string": pl.String,
}
# what the name of a metric or a parameter may not have
_UNNAMED: Final = re.compile(r"[^\w\-. :/]")
_LONGEST: Final = 500  # characters of a parameter's value


class _Pyfunc(Protocol):
    def predict(self, data: object) -> object: ...


class MlflowModel(Fixed):
    """A model that `mlflow.pyfunc` loads, behind scikit-learn's names.

    `names`: the columns that its signature takes, with their types; empty where it has none, and
    takes all features in order.
    """

    takes_frames = True

    def __init__(self, folder: Path, pyfunc: _Pyfunc, names: Mapping[str, str]) -> None:
        self.folder, self.names, self._pyfunc = folder, names, pyfunc
        if names:
            self.feature_names_in_ = list(names)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sha256 {digest_of(self.folder)})"

    def predict(self, X: object) -> F64:
        """float64 (rows), or of several outputs (rows, outputs)."""
        if not isinstance(X, pl.DataFrame):
            raise DataError(f"{type(self).__name__} takes a frame with the features as columns")
        scores = np.asarray(self._pyfunc.predict(self._to_pandas(X)), np.float64)
        return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores

    def _to_pandas(self, frame: pl.DataFrame) -> pd.DataFrame:
        wanted = self.names or dict.fromkeys(frame.columns, "")
        columns = [
            frame[name].cast(_DTYPES[kind]) if kind in _DTYPES else frame[name]
            for name, kind in wanted.items()
        ]
        try:
            return pl.DataFrame(columns).to_pandas()
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "mlflow") from error


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its own code while it loads
            import mlflow.artifacts
            import mlflow.pyfunc
    except ImportError as error:
        raise MissingExtraError("mlflow-skinny", "mlflow") from error
    return mlflow


def _load(folder: Path) -> Estimator:
    mlflow = _library()
    try:
        pyfunc = mlflow.pyfunc.load_model(str(folder))
    except mlflow.exceptions.MlflowException as error:
        raise DataError(f"{folder} is not a model that MLflow loads: {error}") from error
    signature = pyfunc.metadata.get_input_schema()
    names = (
        {}
        if signature is None or not signature.has_input_names()
        else dict(zip(signature.input_names(), signature.input_types(), strict=True))
    )
    return MlflowModel(
        folder, pyfunc, {name: str(getattr(kind, "name", kind)) for name, kind in names.items()}
    )


def _open(location: str) -> Estimator:
    """The model at a folder or URI, copied here first where it lies elsewhere."""
    mlflow = _library()
    try:
        return _load(Path(mlflow.artifacts.download_artifacts(artifact_uri=location)))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise DataError(f"no model at {location}: {error}") from error


def _write(estimator: Estimator, folder: Path) -> Mapping[str, object]:
    assert isinstance(estimator, MlflowModel)
    shutil.copytree(estimator.folder, folder / FORMAT.file)
    return {"inputs": dict(estimator.names)}


FORMAT: Format = Format(
    name="mlflow",
    file="mlflow",
    runs_code=True,
    tolerance=1e-6,
    holds=lambda estimator: isinstance(estimator, MlflowModel),
    write=_write,
    read=lambda folder, _: _load(folder / FORMAT.file),
    opens=lambda location: location.startswith(_SCHEMES) or (Path(location) / "MLmodel").is_file(),
    open=_open,
)


class TrackedRun(NamedTuple):
    """The entries for MLflow tracking. key: the tag and its value that a run is found by, so that
    nothing is logged twice.
    """

    name: str
    key: tuple[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    files: Mapping[str, str]


def log_run(run: TrackedRun, tracking_uri: str, experiment: str) -> str:
    """Log a run, unless it was logged before, and return MLflow's id of it.

    Args:
        run: the entries.
        tracking_uri: of the tracking server, or a `file:` URI.
        experiment: the name of MLflow's experiment; it is made where it is not there.

    Raises:
        MissingExtraError: mlflow is not installed.
        ConnectError: the server cannot be reached, or refuses.
    """
    mlflow = _library()
    try:
        # else it asks Spark, where pyspark is installed
        client = mlflow.MlflowClient(tracking_uri, registry_uri=tracking_uri)
        existing = client.get_experiment_by_name(experiment)
        experiment_id = (
            client.create_experiment(experiment) if existing is None else existing.experiment_id
        )
        tag, value = run.key
        logged = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        if logged:
            return str(logged[0].info.run_id)
        number = str(
            client.create_run(
                experiment_id, tags={**run.tags, tag: value}, run_name=run.name
            ).info.run_id
        )
        for name, metric in run.metrics.items():
            client.log_metric(number, _UNNAMED.sub("_", name), metric)
        for name, text in run.params.items():
            client.log_param(number, _UNNAMED.sub("_", name), text[:_LONGEST])
        for name, text in run.files.items():
            client.log_text(number, text, name)
        client.set_terminated(number)
    except mlflow.exceptions.MlflowException as error:
        raise ConnectError(f"MLflow at {tracking_uri} refused the run: {error}") from error
    return number
