"""LightGBM's own text format, and one row at a time through its C interface."""

from __future__ import annotations

import ctypes
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from headwater.definitions.model import Estimator
from headwater.errors import DataError
from headwater.kernel.arrays import F64
from headwater.models.formats.model_format import Fixed, Format, file_at

if TYPE_CHECKING:
    from lightgbm import Booster

Row = Callable[["array[float]"], Sequence[float]]
_FLOAT64 = 1  # C_API_DTYPE_FLOAT64
_NORMAL = 0  # C_API_PREDICT_NORMAL


class _Library(Protocol):
    """The two functions of LightGBM's C interface for one row; they return 0 where all went
    well.
    """

    def LGBM_BoosterPredictForMatSingleRowFastInit(self, *arguments: object) -> int: ...  # noqa: N802 (their names)

    def LGBM_BoosterPredictForMatSingleRowFast(self, *arguments: object) -> int: ...  # noqa: N802

    def LGBM_FastConfigFree(self, *arguments: object) -> int: ...  # noqa: N802


class LightGbm(Fixed):
    """A LightGBM booster behind scikit-learn's names: a value a row."""

    def __init__(self, booster: Booster) -> None:
        self.booster = booster
        self.n_features_in_ = booster.num_feature()
        self.feature_names_in_ = booster.feature_name()
        self.row = fast(booster) or self._plain

    def predict(self, X: object) -> F64:
        """float64 (rows), or of several classes (rows, classes)."""
        return np.asarray(self.booster.predict(cast("F64", X)), np.float64)

    def _plain(self, row: array[float]) -> Sequence[float]:
        """What the booster says of one row, a number or one a class; through its own predict where
        `fast` is not to be had.
        """
        scores = self.booster.predict(
            np.frombuffer(row).reshape(1, -1), num_threads=1, validate_features=False
        )
        return np.asarray(scores, np.float64).reshape(-1).tolist()


class LightGbmClasses(LightGbm):
    """A LightGBM booster of classes."""

    def __init__(self, booster: Booster, classes: Sequence[object]) -> None:
        super().__init__(booster)
        self.classes_ = np.asarray(classes)

    def predict_proba(self, X: object) -> F64:
        """float64 (rows, classes)."""
        scores = super().predict(X)
        return scores if scores.ndim == 2 else np.column_stack([1 - scores, scores])

    def predict(self, X: object) -> F64:
        """The class of each row."""
        return cast("F64", self.classes_[self.predict_proba(X).argmax(axis=1)])


def native(estimator: Estimator) -> Estimator:
    """The booster of a fitted LightGBM estimator, in its place; any other estimator as it is."""
    booster = getattr(estimator, "booster_", None)
    if booster is None:
        return estimator
    classes = getattr(estimator, "classes_", None)
    return (
        LightGbm(booster)
        if classes is None
        else LightGbmClasses(booster, np.asarray(classes).tolist())
    )


def fast(booster: Booster) -> Row | None:
    """A function for one row through LightGBM's `PredictForMatSingleRowFast`; None where it is
    missing or differs by a bit from predict.

    The C function is public, and Python's package does not wrap it. A thread's first call makes a
    configuration and buffers of its own, so that threads never share them.
    """
    try:
        from lightgbm import basic

        # Guarded: where another version names them otherwise, rows go the plain way.
        row_function = _threaded(cast("_Library", vars(basic)["_LIB"]), booster)
        return row_function if _agree(row_function, booster) else None
    except (AttributeError, KeyError, OSError, ValueError, ctypes.ArgumentError):
        return None


def _threaded(library: _Library, booster: Booster) -> Row:
    thread_state, width = threading.local(), booster.num_feature()
    predict = library.LGBM_BoosterPredictForMatSingleRowFast

    def row(values: array[float]) -> Sequence[float]:
        try:
            thread: _Thread = thread_state.thread
        except AttributeError:
            thread = thread_state.thread = _Thread(library, booster)
        if len(values) != width:  # C would read on
            raise DataError(f"a row has {len(values)} numbers, and the booster takes {width}")
        if predict(
            thread.config, ctypes.c_void_p(values.buffer_info()[0]), thread.length, thread.scores
        ):
            raise DataError("LightGBM could not score a row")
        return thread.scores[:]

    return row


class _Thread:
    """What one thread needs to score a row; LightGBM's part of it is freed with the thread, and
    before the booster.
    """

    def __init__(self, library: _Library, booster: Booster) -> None:
        self.config, self._booster = ctypes.c_void_p(), booster
        self.scores = (ctypes.c_double * booster.num_model_per_iteration())()
        self.length = ctypes.byref(ctypes.c_int64())
        self._free = library.LGBM_FastConfigFree
        status = library.LGBM_BoosterPredictForMatSingleRowFastInit(
            booster._handle,  # noqa: SLF001 (guarded, as above)
            _NORMAL,
            0,
            -1,
            _FLOAT64,
            booster.num_feature(),
            b"num_threads=1",
            ctypes.byref(self.config),
        )
        if status:
            raise ValueError("LightGBM made no configuration for single rows")

    def __del__(self) -> None:
        if self.config.value is not None:
            self._free(self.config)


def _agree(row: Row, booster: Booster) -> bool:
    """Whether both ways give the same bits: on random rows, on small integers (categories), and
    with gaps.
    """
    drawn = np.random.default_rng(0)
    width = booster.num_feature()
    rows = np.concatenate([drawn.normal(0, 10, (8, width)), drawn.integers(0, 4, (8, width))])
    rows[drawn.random(rows.shape) < 0.2] = np.nan
    expected = np.asarray(booster.predict(rows), np.float64).reshape(len(rows), -1)
    row_scores = np.array([row(array("d", values)) for values in rows])
    return row_scores.tobytes() == expected.tobytes()


def _write(estimator: Estimator, folder: Path) -> Mapping[str, object]:
    served = native(estimator)
    assert isinstance(served, LightGbm)
    (folder / FORMAT.file).write_text(served.booster.model_to_string(), encoding="utf-8")
    classes = served.classes_.tolist() if isinstance(served, LightGbmClasses) else None
    return {} if classes is None else {"classes": classes}


def _read(folder: Path, about: Mapping[str, object]) -> Estimator:
    booster = _booster(folder / FORMAT.file)
    classes = about.get("classes")
    return (
        LightGbm(booster)
        if classes is None
        else LightGbmClasses(booster, cast("list[object]", classes))
    )


def _open(location: str) -> Estimator:
    return LightGbm(_booster(file_at(location)))


def _booster(path: Path) -> Booster:
    """The booster of a file. LightGBM trusts what it reads, so a file that was cut is refused."""
    import lightgbm

    try:
        text = path.read_text(encoding="utf-8")  # its own line ends, where an editor wrote others
        if "\nend of trees" not in text:
            raise DataError(
                f"{path} is not a whole LightGBM model: it has no line 'end of trees'; write it "
                "with Booster.save_model"
            )
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, OSError, ValueError) as error:
        raise DataError(f"{path} is not a model that LightGBM reads: {error}") from error


FORMAT: Format = Format(
    name="lightgbm",
    file="model.txt",
    runs_code=False,
    tolerance=1e-12,
    holds=lambda estimator: isinstance(native(estimator), LightGbm),
    write=_write,
    read=_read,
    opens=lambda location: location.endswith(".txt"),
    open=_open,
)
