"""The latest result of a kind for each served model, as a file of the model registry.

FOLDER/MODEL/LEVEL/drift.json          as `headwater watch` found it, for `status`, metrics and the
                                       console
FOLDER/MODEL/LEVEL/level_lift.json     as `headwater watch --lift` found it, for metrics and the
                                       console
FOLDER/MODEL/LEVEL/delivery.json       the latest comparison of a promise with production
                                       (`models/promises.py`)

Each is replaced atomically.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, Self, TypeVar

import msgspec

from headwater import disk
from headwater.errors import DataError
from headwater.models.registry import ModelRegistry
from headwater.results.drift_result import DriftResult
from headwater.results.level_lift_result import LevelLiftResult
from headwater.results.promise_result import DeliveryResult


class _Result(Protocol):
    def to_dict(self) -> dict[str, object]: ...

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self: ...


R = TypeVar("R", bound=_Result)


@dataclass(frozen=True)
class LatestResult(Generic[R]):
    """A kind of result, and the name of its file in the folder of a model's level."""

    file: str
    kind: type[R]

    def write(self, registry: ModelRegistry, model: str, level: str, result: R) -> Path:
        """Keep the result of a model at its served level, in place of the one before.

        Raises:
            OSError: the registry cannot be written.
        """
        return write_json(
            registry.versions(model, level)[0].folder.parent / self.file, result.to_dict()
        )

    def read(self, registry: ModelRegistry, model: str, level: str) -> R | None:
        """The result of a model at a level; None where there is none, or one of another version of
        headwater, until it is written again.

        Raises:
            DataError: the file is not JSON.
        """
        versions = registry.versions(model, level)
        data = read_json(versions[0].folder.parent / self.file) if versions else None
        try:
            return None if data is None else self.kind.from_dict(data)
        except msgspec.ValidationError:
            return None

    def all(self, registry: ModelRegistry) -> Iterator[R]:
        """The results of every model and level that has one; errors as for `read`."""
        for model, level in registry.variants():
            if (result := self.read(registry, model, level)) is not None:
                yield result


LATEST_DRIFT: Final = LatestResult("drift.json", DriftResult)
LATEST_LEVEL_LIFT: Final = LatestResult("level_lift.json", LevelLiftResult)
LATEST_DELIVERY: Final = LatestResult("delivery.json", DeliveryResult)


def read_json(path: Path) -> dict[str, object] | None:
    """The JSON data of a file of the registry; None where it is not there.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} is not JSON: {error}; delete it, and make it again with the command that "
            "wrote it"
        ) from error


def write_json(path: Path, data: dict[str, object]) -> Path:
    """Replace a file of the registry, atomically and durably."""
    disk.replace_file(path, msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n")
    return path
