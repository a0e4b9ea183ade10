"""Python's own formats, which hold any estimator and run what they hold: pickle, and joblib's for
the files of others.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from headwater.definitions.model import Estimator
from headwater.errors import DataError
from headwater.models.formats.model_format import Format, file_at


def _write(estimator: Estimator, folder: Path) -> Mapping[str, object]:
    try:
        data = pickle.dumps(estimator)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DataError(
            f"{type(estimator).__name__} cannot be kept: {error}. Define it at the top of a "
            "module that serving can import, or give one of LightGBM, scikit-learn, ONNX or "
            "MLflow"
        ) from error
    (folder / PICKLE.file).write_bytes(data)
    return {}


def _unpickled(path: Path) -> Estimator:
    try:
        return cast("Estimator", pickle.loads(path.read_bytes()))  # noqa: S301 (the caller passed allow_pickle=True)
    except (pickle.UnpicklingError, AttributeError, ImportError, EOFError) as error:
        raise DataError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error


def _unjoblibed(location: str) -> Estimator:
    import joblib

    try:
        return cast("Estimator", joblib.load(file_at(location)))
    except (
        pickle.UnpicklingError,
        AttributeError,
        ImportError,
        EOFError,
        KeyError,
        ValueError,
    ) as error:
        raise DataError(f"{location} cannot be loaded: {type(error).__name__}: {error}") from error


PICKLE: Format = Format(
    name="pickle",
    file="model.pkl",
    runs_code=True,
    tolerance=1e-9,  # another build of BLAS may sum in another order
    holds=lambda _: True,
    write=_write,
    read=lambda folder, _: _unpickled(folder / PICKLE.file),
    opens=lambda location: location.endswith((".pkl", ".pickle")),
    open=lambda location: _unpickled(file_at(location)),
)
JOBLIB: Format = Format(
    name="joblib",
    file="model.joblib",
    runs_code=True,
    tolerance=PICKLE.tolerance,
    holds=lambda _: False,  # headwater itself pickles
    write=_write,
    read=lambda folder, _: _unjoblibed(str(folder / JOBLIB.file)),
    opens=lambda location: location.endswith(".joblib"),
    open=_unjoblibed,
)
