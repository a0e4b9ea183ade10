"""ONNX, run by onnxruntime on one thread: the numbers as float32, or each feature by its own name
and type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from headwater.definitions.model import Estimator
from headwater.errors import DataError, MissingExtraError
from headwater.kernel.arrays import F64
from headwater.models.formats.model_format import Fixed, Format, file_at

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
} | {"tensor(bool)": np.bool_}
_TEXT = "tensor(string)"
_Array = np.ndarray[Any, np.dtype[Any]]


class OnnxModel(Fixed):
    """A model in ONNX behind scikit-learn's names: a value a row.

    It has one input of as many numbers as there are features, or an input of its own for each. One
    row is run as two: for a matrix of one row onnxruntime takes another kernel, whose sums differ
    in the last bits.
    """

    def __init__(self, data: bytes, session: InferenceSession) -> None:
        self.data, self._session = data, session
        inputs = session.get_inputs()
        self.takes_frames = len(inputs) > 1
        self.inputs = {tensor.name: tensor.type for tensor in inputs}
        self._output = _output(session)
        if self.takes_frames:
            self.feature_names_in_ = [tensor.name for tensor in inputs]
        elif isinstance(inputs[0].shape[-1], int):
            self.n_features_in_ = inputs[0].shape[-1]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sha256 {hashlib.sha256(self.data).hexdigest()})"

    def predict(self, X: object) -> F64:
        """float64 (rows)."""
        return self._run(X)

    def _run(self, X: object) -> F64:
        fed = (
            self._fed(X)
            if self.takes_frames
            else {name: np.asarray(X, _NUMBERS[kind]) for name, kind in self.inputs.items()}
        )
        rows = len(next(iter(fed.values())))
        if rows == 1:
            fed = {name: np.concatenate([values, values]) for name, values in fed.items()}
        output = self._session.run([self._output], fed)[0]
        if isinstance(output, list):  # of maps from each class to its probability
            output = [list(class_map.values()) for class_map in output]
        return np.asarray(output, np.float64)[:rows]

    def _fed(self, X: object) -> dict[str, _Array]:
        if not isinstance(X, pl.DataFrame):
            raise DataError(
                f"{type(self).__name__} takes a frame with the columns {list(self.inputs)}"
            )
        return {name: _column(X[name], kind)[:, None] for name, kind in self.inputs.items()}


class OnnxClasses(OnnxModel):
    """A model in ONNX that tells classes apart."""

    def predict_proba(self, X: object) -> F64:
        """float64 (rows, classes)."""
        return self._run(X)


def _output(session: InferenceSession) -> str:
    """The output with the probabilities of the classes, else the only one."""
    outputs = session.get_outputs()
    return str(
        (
            next((tensor for tensor in outputs if "prob" in tensor.name.lower()), None)
            or outputs[-1]
        ).name
    )


def _column(series: pl.Series, kind: str) -> _Array:
    if kind == _TEXT:
        return np.array(series.cast(pl.String).fill_null("").to_list(), dtype=object)
    if kind not in ("tensor(float)", "tensor(double)"):
        if series.null_count():
            raise DataError(
                f"the feature {series.name!r} is missing in a row, and the model takes {kind}, "
                "which holds no missing value"
            )
        return series.cast(pl.Int64).to_numpy().astype(_NUMBERS[kind])
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(_NUMBERS[kind])


def _loaded(data: bytes, location: object) -> Estimator:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    # requests run in parallel, not one request
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no root but this one
        raise DataError(f"{location} is not a model that onnxruntime runs: {error}") from error
    kinds = [tensor.type for tensor in session.get_inputs()]
    unknown = [
        kind for kind in kinds if kind not in _NUMBERS and (kind != _TEXT or len(kinds) == 1)
    ]
    if unknown:
        raise DataError(
            f"{location} takes {unknown[0]}; a model takes one tensor of numbers, or numbers and "
            "strings by the features' names"
        )
    output = next(tensor for tensor in session.get_outputs() if tensor.name == _output(session))
    several = output.type.startswith("seq(map") or (
        len(output.shape or ()) == 2 and isinstance(output.shape[1], int) and output.shape[1] > 1
    )
    return OnnxClasses(data, session) if several else OnnxModel(data, session)


def _write(estimator: Estimator, folder: Path) -> Mapping[str, object]:
    assert isinstance(estimator, OnnxModel)
    (folder / FORMAT.file).write_bytes(estimator.data)
    return {"inputs": _said(estimator)}


def _said(model: OnnxModel) -> object:
    kinds = {
        name: "text" if kind == _TEXT else np.dtype(_NUMBERS[kind]).name
        for name, kind in model.inputs.items()
    }
    return kinds if model.takes_frames else next(iter(kinds.values()))


def _read(folder: Path, _: Mapping[str, object]) -> Estimator:
    path = folder / FORMAT.file
    return _loaded(path.read_bytes(), path)


FORMAT: Format = Format(
    name="onnx",
    file="model.onnx",
    runs_code=False,
    tolerance=1e-5,  # float32 has seven digits, and kernels differ between processors
    holds=lambda estimator: isinstance(estimator, OnnxModel),
    write=_write,
    read=_read,
    opens=lambda location: location.endswith(".onnx"),
    open=lambda location: _loaded(file_at(location).read_bytes(), location),
)
