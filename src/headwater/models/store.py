"""A fitted model in a folder: a manifest that says what it reads, and the estimator beside it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np

from headwater.compute.arrays import F64
from headwater.definitions.model import Estimator, Model
from headwater.errors import DataError, UsageError
from headwater.models.encoding import Encoding
from headwater.models.fit import Fitted

_LIBRARIES = ("headwater", "polars", "numpy", "numba", "scikit-learn", "lightgbm")


def library_versions() -> dict[str, str]:
    """The versions of the libraries that a result depends on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return found


def save(fitted: Fitted, folder: Path, about: Mapping[str, object]) -> Path:
    """Write the estimator and its manifest into `folder`, in place of a model that was there, and return the manifest's path.

    LightGBM is kept in its own text format; anything else is pickled, and the manifest says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    booster = getattr(fitted.estimator, "booster_", None)
    if booster is not None:
        kept, old = {"format": "lightgbm", "file": "model.txt"}, "model.pkl"
        (folder / "model.txt").write_text(booster.model_to_string())
    else:
        kept, old = {"format": "pickle", "file": "model.pkl"}, "model.txt"
        (folder / "model.pkl").write_bytes(pickle.dumps(fitted.estimator))
    manifest = {
        **about,
        "task": fitted.kind,
        "estimator": fitted.description,
        "kept": kept,
        "features": list(fitted.encoding.columns),
        "categories": {k: list(v) for k, v in fitted.encoding.categories.items()},
        "words": {k: list(v) for k, v in fitted.encoding.words.items()},
        "kinds": list(fitted.encoding.kinds),
        "classes": list(fitted.classes),
        "versions": library_versions(),
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    (folder / old).unlink(missing_ok=True)
    return path


@dataclass(frozen=True)
class _Booster:
    """A LightGBM booster behind scikit-learn's names."""

    booster: _Predicts

    def fit(self, X: object, y: object) -> object:  # noqa: ARG002 (scikit-learn's signature)
        raise UsageError("a loaded booster is not trained again; run headwater train")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: object) -> F64:
        return np.asarray(self.booster.predict(X), np.float64)


class _Predicts:
    def predict(self, X: object) -> object: ...


def load(folder: Path, model: Model, *, trust: bool = False) -> Fitted:
    """The fitted model in `folder`.

    Args:
        folder: what `save` wrote.
        model: the definition it must agree with.
        trust: allow a format that runs code when it is loaded (pickle).

    Raises:
        DataError: nothing is there, or its features are not those of `model`.
        UsageError: it is pickled and not trusted.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(f"no model at {folder}: {path.name} is missing; run headwater train")
    manifest = json.loads(path.read_text())
    known, given = list(manifest["features"]), list(model.features.in_training.feature_names)
    if known != given:
        missing, more = sorted(set(known) - set(given)), sorted(set(given) - set(known))
        raise DataError(
            f"the model at {folder} reads other features than {model.features.name!r}: it lacks {more or 'none'}, and reads {missing or 'none'} "
            "more; train it again"
        )
    kept = manifest["kept"]
    encoding = Encoding(known, manifest["categories"], manifest["words"], manifest["kinds"])
    if kept["format"] == "lightgbm":
        import lightgbm

        booster = lightgbm.Booster(model_file=str(folder / kept["file"]))
        return Fitted(
            cast("Estimator", _Booster(cast("_Predicts", booster))),
            encoding,
            manifest["task"],
            manifest["estimator"],
            classes=tuple(manifest["classes"]),
        )
    if not trust:
        raise UsageError(
            f"the model at {folder} is pickled, and loading a pickle runs code; pass trust=True if you trust where it comes from"
        )
    return Fitted(
        cast("Estimator", pickle.loads((folder / kept["file"]).read_bytes())),
        encoding,
        manifest["task"],
        manifest["estimator"],
        classes=tuple(manifest["classes"]),
    )
