"""The model of each level on the served model's schedule: for each version that served, one of the
same training cutoff and seed.

Without that, the difference of two levels would be that of two training sets. A version of the
level itself is taken where the served registry has it; any other is trained and kept in a registry
of its own, `MODELS/monitored-levels`, which nothing serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater import clock
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import DataError, HeadwaterError
from headwater.models.registry import MONITORED, ModelRegistry, Version
from headwater.models.serving_model import ServedModel
from headwater.training.resources import Resources
from headwater.training.train import train


@dataclass(frozen=True)
class LevelModel:
    """The model of a level for the requests that one served version answered. digest: the SHA-256
    of the estimator's file.
    """

    version: Version
    served: ServedModel
    seconds: float

    @property
    def digest(self) -> str:
        """The SHA-256 of the estimator."""
        return self.version.manifest.kept.digest


@dataclass
class LevelModels:
    """The models of levels, found or trained when they are first asked for.

    Args:
        model: as it is defined.
        registry: of the served models.
        resources: what training may use.
        allow_pickle: open models of a format that runs code.
        trained: seconds of training by level, of what had to be trained. by_key: by level and
            served version.
    """

    model: Model
    registry: ModelRegistry
    resources: Resources
    allow_pickle: bool = False
    trained: dict[str, float] = field(default_factory=dict)
    by_key: dict[tuple[str, int], LevelModel] = field(default_factory=dict)

    @property
    def comparison_registry(self) -> ModelRegistry:
        """The registry of the models that are only scored for comparison."""
        return ModelRegistry(Path(self.registry.folder) / MONITORED)

    def get(self, name: str, level: Level, served: Version) -> LevelModel:
        """The model of a level with the training cutoff and the seed of a served version.

        Raises:
            DataError: nothing trains at the level by then, or its estimator cannot be kept.
        """
        key = (name, served.number)
        if key not in self.by_key:
            self.by_key[key] = self._find(name, level, served) or self._trained(name, level, served)
        return self.by_key[key]

    def _find(self, name: str, level: Level, served: Version) -> LevelModel | None:
        for registry in (self.registry, self.comparison_registry):
            for version in reversed(registry.versions(self.model.name, name)):
                if self._same(version, level, served):
                    opened = registry.open(
                        self.model, name, version=version.number, allow_pickle=self.allow_pickle
                    )
                    return LevelModel(version, opened, 0.0)
        return None

    def _same(self, version: Version, level: Level, served: Version) -> bool:
        """Whether a version is of this level and of the served version's definitions, cutoff and
        seed.
        """
        try:
            manifest, theirs = version.manifest, served.manifest
        except HeadwaterError:  # of another version of headwater: trained again
            return False
        alike = (manifest.fingerprint, manifest.until, manifest.seed) == (
            theirs.fingerprint,
            theirs.until,
            theirs.seed,
        )
        return alike and manifest.level.get("fingerprint") == level.fingerprint

    def _trained(self, name: str, level: Level, served: Version) -> LevelModel:
        began, manifest = clock.stopwatch(), served.manifest
        if not manifest.until:
            raise DataError(
                f"{served} does not say until when it was trained, so no level can be trained "
                "alike; train it again"
            )
        fitted = train(
            self.model,
            level=level,
            level_name=name,
            as_of=manifest.until,
            seed=manifest.seed,
            resources=self.resources,
        )
        version = fitted.register(self.comparison_registry)
        seconds = clock.stopwatch() - began
        self.trained[name] = self.trained.get(name, 0.0) + seconds
        # this process has just written it
        opened = self.comparison_registry.open(
            self.model, name, version=version.number, allow_pickle=True
        )
        return LevelModel(version, opened, seconds)


def served_versions(
    registry: ModelRegistry, model: Model, level: str, numbers: Sequence[str]
) -> Mapping[str, Version]:
    """The versions that served, by number as the log has it, without removed versions and versions
    of other definitions.
    """
    by_number = {str(version.number): version for version in registry.versions(model.name, level)}
    return {
        number: by_number[number]
        for number in numbers
        if number in by_number and by_number[number].manifest.fingerprint == model.fingerprint
    }
