"""Where the fitted models that are served come from."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from headwater.definitions.arm import Arm
from headwater.definitions.base import HeadwaterWarning
from headwater.errors import DataError
from headwater.models.artifact import MANIFEST, open_model
from headwater.models.compatibility import check
from headwater.models.hot_reload import Reloading
from headwater.models.registry import ModelRegistry
from headwater.models.serving_model import ServedModel
from headwater.online.predictor import Scorer
from headwater.training.train import Trained


class Scorers(Protocol):
    """Where fitted models are found."""

    def __call__(self, arm: Arm) -> Scorer:
        """The one that serves a model at a level.

        Raises:
            DataError: there is none, or it does not fit what is served.
            UsageError: its format runs code, and is not trusted.
        """
        ...


def in_folder(folder: Path, *, trust: bool = False) -> Scorers:
    """The current versions that `headwater train` keeps in `folder`, or with --output each in a folder of its own name."""
    registry = ModelRegistry(folder)

    def find(arm: Arm) -> Scorer:
        def checked(served: ServedModel) -> None:
            for told in check(arm.model, arm.level, served):
                warnings.warn(f"model {arm.model.name!r}: {told}", HeadwaterWarning, stacklevel=2)

        place = folder / arm.model.name
        if not (place / MANIFEST).is_file():
            return Reloading(registry, arm.model, arm.name, trust=trust, check=checked)
        version = hashlib.sha256((place / MANIFEST).read_bytes()).hexdigest()[:12]
        served = open_model(place, arm.model, trust=trust, version=version)
        checked(served)
        return served

    return find


def given(scorers: Mapping[str, Scorer | Trained]) -> Scorers:
    """Models that are at hand, by their names."""

    def find(arm: Arm) -> Scorer:
        name = arm.model.name
        if name not in scorers:
            raise DataError(f"model {name!r} has no fitted model to serve; run `headwater train --model {name}`")
        found = scorers[name]
        return ServedModel(found.fitted) if isinstance(found, Trained) else found

    return find
