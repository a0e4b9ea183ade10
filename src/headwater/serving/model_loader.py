"""Sources of the fitted models to serve: a folder of versions, or objects in memory."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.errors import DataError, HeadwaterWarning
from headwater.models.artifact import MANIFEST, open_model
from headwater.models.compatibility import check
from headwater.models.hot_reload import Reloading
from headwater.models.registry import ModelRegistry
from headwater.models.serving_model import ServedModel
from headwater.online.predictor import Scorer
from headwater.training.train import Trained


class Scorers(Protocol):
    """A source of fitted models."""

    def __call__(self, variant: ModelVariant) -> Scorer:
        """The fitted model of a model at a level.

        Raises:
            DataError: it is missing, or incompatible with the definitions.
            UsageError: its format runs code, and `allow_pickle` is false.
        """
        ...


def in_folder(folder: Path, *, allow_pickle: bool = False) -> Scorers:
    """The current versions in the registry `folder` of `headwater train`, or a folder of each
    model's name as written with --output.
    """
    registry = ModelRegistry(folder)

    def find(variant: ModelVariant) -> Scorer:
        def checked(served: ServedModel) -> None:
            for warning in check(
                variant.model, variant.level, served, allow_staler=variant.allow_staler
            ):
                warnings.warn(
                    f"model {variant.model.name!r}: {warning}", HeadwaterWarning, stacklevel=2
                )

        model_folder = folder / variant.model.name
        if not (model_folder / MANIFEST).is_file():
            instead = AS_DEFINED if variant.allow_staler else None
            return Reloading(
                registry,
                variant.model,
                variant.name,
                allow_pickle=allow_pickle,
                check=checked,
                instead=instead,
            )
        version = hashlib.sha256((model_folder / MANIFEST).read_bytes()).hexdigest()[:12]
        served = open_model(model_folder, variant.model, allow_pickle=allow_pickle, version=version)
        checked(served)
        return served

    return find


def in_memory(scorers: Mapping[str, Scorer | Trained]) -> Scorers:
    """Fitted models in memory, by the names of their models."""

    def find(variant: ModelVariant) -> Scorer:
        name = variant.model.name
        if name not in scorers:
            raise DataError(
                f"model {name!r} has no fitted model to serve; run `headwater train --model {name}`"
            )
        scorer = scorers[name]
        return ServedModel(scorer.fitted) if isinstance(scorer, Trained) else scorer

    return find
