"""The latest drift of each served model, as a file of the model registry.

FOLDER/MODEL/LEVEL/drift.json     as `headwater watch` found it, for `status`, metrics and the console; replaced atomically
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from headwater.models.promises import read_json, write_json
from headwater.models.registry import ModelRegistry
from headwater.results.drift_result import DriftResult

DRIFT = "drift.json"


def write_drift(registry: ModelRegistry, result: DriftResult) -> Path:
    """Keep the latest drift of a model at its served level.

    Raises:
        OSError: the registry cannot be written.
    """
    return write_json(registry.versions(result.model, result.level)[0].folder.parent / DRIFT, result.to_dict())


def drifts(registry: ModelRegistry) -> Iterator[DriftResult]:
    """The latest drift of every model and level that has one, with each feature's days, bins and shares: what pages show without
    reading the serving log. One of another version of headwater is left out until it is written again.

    Raises:
        DataError: a file that is not JSON.
    """
    for model, level in registry.variants():
        data = read_json(registry.versions(model, level)[0].folder.parent / DRIFT)
        if data is None:
            continue
        try:
            yield DriftResult.from_dict(data)
        except msgspec.ValidationError:
            continue
