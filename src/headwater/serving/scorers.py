"""Fitted models as they are served."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl

from headwater.compute.arrays import F64
from headwater.definitions.arm import AS_DEFINED
from headwater.definitions.model import Model
from headwater.errors import DataError
from headwater.models.fit import Fitted
from headwater.models.registry import ModelRegistry
from headwater.models.store import MANIFEST, load
from headwater.pipelines.predict import Scorer


class FittedScorer:
    """A `Fitted` model."""

    def __init__(self, fitted: Fitted, version: str) -> None:
        self._fitted, self._version = fitted, version

    @property
    def version(self) -> str:
        return self._version

    def one(self, values: Sequence[object]) -> float:
        columns = [pl.Series(name, [value], strict=False) for name, value in zip(self._fitted.encoding.columns, values, strict=True)]
        return float(self.score(pl.DataFrame(columns))[0])

    def score(self, frame: pl.DataFrame) -> F64:
        return self._fitted.score(frame)


class Scorers(Protocol):
    """Where fitted models are found."""

    def __call__(self, model: Model, level: str | None) -> Scorer:
        """The one that serves a model at a level.

        Raises:
            DataError: there is none, or it reads other features.
        """
        ...


def in_folder(folder: Path, *, trust: bool = False) -> Scorers:
    """The current versions that `headwater train` keeps in `folder`, or with --output each in a folder of its own name."""

    def find(model: Model, level: str | None) -> Scorer:
        place = folder / model.name / level if level is not None and (folder / model.name / level).is_dir() else folder / model.name
        if not (place / MANIFEST).is_file():
            place = ModelRegistry(folder).current(model.name, level or AS_DEFINED).folder
        fitted = load(place, model, trust=trust)
        return FittedScorer(fitted, hashlib.sha256((place / MANIFEST).read_bytes()).hexdigest()[:12])

    return find


def given(scorers: Mapping[str, Scorer]) -> Scorers:
    """Models that are at hand, by their names."""

    def find(model: Model, level: str | None) -> Scorer:  # noqa: ARG001 (as `Scorers`)
        if model.name not in scorers:
            raise DataError(f"model {model.name!r} has no fitted model to serve; run `headwater train --model {model.name}`")
        return scorers[model.name]

    return find
