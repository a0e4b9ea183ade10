"""The latest lift by freshness of each served model, as a file of the model registry.

FOLDER/MODEL/LEVEL/level_lift.json     as `headwater watch --lift` found it, for metrics; replaced atomically
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from headwater.models.promises import read_json, write_json
from headwater.models.registry import ModelRegistry
from headwater.results.level_lift_result import LevelLiftResult

LIFT = "level_lift.json"


def write_level_lift(registry: ModelRegistry, result: LevelLiftResult) -> Path:
    """Keep the latest lift by freshness of a model at its served level.

    Raises:
        OSError: the registry cannot be written.
    """
    return write_json(registry.versions(result.model, result.served)[0].folder.parent / LIFT, result.to_dict())


def level_lifts(registry: ModelRegistry) -> Iterator[LevelLiftResult]:
    """The latest lift of every model and level that has one; one of another version of headwater is left out until it is written again.

    Raises:
        DataError: a file that is not JSON.
    """
    for model, level in registry.variants():
        data = read_json(registry.versions(model, level)[0].folder.parent / LIFT)
        if data is None:
            continue
        try:
            yield LevelLiftResult.from_dict(data)
        except msgspec.ValidationError:
            continue
