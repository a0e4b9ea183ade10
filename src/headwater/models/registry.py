"""Which fitted models are served: for each model and level a sequence of versions, and one of them
that is current.

    <folder>/<model>/<level>/1/manifest.json, model.txt      a version; it never changes
    <folder>/<model>/<level>/current                         {"version": 1, "before": []}

A version is written under another name, and then renamed; `current` is replaced atomically. A
writer that is killed leaves a folder that nothing reads.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from headwater import clock, disk, settings
from headwater.definitions.definition import Readable, cut
from headwater.definitions.level import AS_DEFINED, at_level
from headwater.definitions.model import Model
from headwater.disk import sync
from headwater.errors import DataError, UsageError, nearest
from headwater.models.artifact import manifest_in, open_model
from headwater.models.manifest import Manifest
from headwater.models.pointer import Pointer, Stamp, locked, read_pointer, stamp_of, write_pointer
from headwater.models.serving_model import ServedModel

EXPERIMENTS = "running-experiments"
"""The folder of started experiments, next to those of models, whose names have no hyphen."""
MONITORED = "monitored-levels"
"""The registry of the models that are only scored for comparison, in the same folder; none of them
is served.
"""
"""The folder of the promoted version of each view, next to those of models."""
RUNNING_SERVICES = "running-services"
"""The folder of the processes that serve models from this registry, next to those of models, whose
names have no hyphen.
"""
_WRITING = ".new-"
_ABANDONED = 86_400  # seconds after which what a writer left is taken away


@dataclass(frozen=True)
class Version(Readable):
    """A version of a model at a level: `number` counts from 1, `folder` holds it."""

    model: str
    level: str
    number: int
    folder: Path

    @cached_property
    def manifest(self) -> Manifest:
        """What it is made of."""
        return manifest_in(self.folder)

    def __str__(self) -> str:
        return f"{at_level(self.model, self.level)}, version {self.number}"


class ModelRegistry:
    """The versions of fitted models in a folder; several processes may use it.

    A folder that is made here, and `models` in headwater's home, are private. To let another user
    serve the models that this one trains, make the folder with `mkdir -m 750` and name it: every
    user who can read the folder can read the files in it.

    Args:
        folder: None is `models` in headwater's home.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = (
            settings.home() / "models"
            if folder is None
            else settings.on_disk(folder, "the folder of models")
        )
        self._is_default = folder is None
        if self._is_default:
            disk.own_if_there(self.folder)

    def __repr__(self) -> str:
        return f"ModelRegistry({cut(str(self.folder), 80)!r})"

    def add(
        self,
        model: str,
        write: Callable[[Path], object],
        *,
        level: str = AS_DEFINED,
        promote: bool = True,
    ) -> Version:
        """A new version: what `write` puts into an empty folder.

        `promote` makes it the current one; the first version of a model and level is current in any
        case.

        Raises:
            DataError: the folder cannot be written.
        """
        folder = self._version_folder(model, level)
        try:
            self._make_folder(folder)
            _take_away_abandoned(folder)
            staging = (
                folder / Path(tempfile.mkdtemp(prefix=_WRITING, dir=folder)).name
            )  # from Python 3.12 on, mkdtemp gives an absolute path
            try:
                write(staging)
                disk.share_like(staging, self.folder)
                _sync(staging)
                version = self._numbered(staging, model, level)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            sync(folder)
        except OSError as error:
            raise DataError(
                f"the model registry at {self.folder} cannot be written: {error}"
            ) from error
        with locked(folder):
            if promote or read_pointer(folder) is None:
                self._point(folder, version.number)
        return version

    def versions(self, model: str, level: str = AS_DEFINED) -> list[Version]:
        """Every version, the oldest first."""
        folder = self._version_folder(model, level)
        numbers = (
            sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())
            if folder.is_dir()
            else []
        )
        return [Version(model, level, number, folder / str(number)) for number in numbers]

    def current(self, model: str, level: str = AS_DEFINED) -> Version:
        """The version that is served.

        Raises:
            DataError: there is none.
        """
        pointer = read_pointer(self._version_folder(model, level))
        if pointer is None:
            raise self._none(model, level)
        return self.version(pointer.version, model, level)

    def version(self, number: int, model: str, level: str = AS_DEFINED) -> Version:
        """One version, current or not.

        Raises:
            UsageError: there is none of that number.
        """
        versions = self.versions(model, level)
        for candidate in versions:
            if candidate.number == number:
                return candidate
        if not versions:
            raise self._none(model, level)
        raise UsageError(
            f"{at_level(model, level)} has no version {number}; it has {_listed(versions)}"
        )

    def promote(self, number: int, model: str, level: str = AS_DEFINED) -> Version:
        """Make a version the current one.

        Raises:
            UsageError: there is none of that number.
        """
        version = self.version(number, model, level)
        folder = self._version_folder(model, level)
        with locked(folder):
            self._point(folder, number)
        return version

    def rollback(self, model: str, level: str = AS_DEFINED) -> Version:
        """Make the version current that was before the current one; again, the one before that.

        Raises:
            UsageError: none was.
        """
        folder = self._version_folder(model, level)
        self.before(model, level)
        with locked(folder):
            back = self._before(model, level)
            write_pointer(folder, back, self.folder)
        return self.version(back.version, model, level)

    def before(self, model: str, level: str = AS_DEFINED) -> Version:
        """The version that `rollback` would make current.

        Raises:
            UsageError: there is none.
        """
        return self.version(self._before(model, level).version, model, level)

    def _before(self, model: str, level: str) -> Pointer:
        """The pointer after a rollback."""
        pointer = read_pointer(self._version_folder(model, level))
        if pointer is None:
            raise self._none(model, level)
        back = pointer.back({version.number for version in self.versions(model, level)})
        if back is None:
            raise UsageError(
                f"{at_level(model, level)}: no version was current before version "
                f"{pointer.version}; promote one of {_listed(self.versions(model, level))}"
            )
        return back

    def variants(self) -> list[tuple[str, str]]:
        """Every model and level that has a version, by name."""
        if not self.folder.is_dir():
            return []
        names = [
            (unquote(m.name), unquote(p.name))
            for m in self._models()
            for p in m.iterdir()
            if p.is_dir()
        ]
        return sorted(pair for pair in names if self.versions(*pair))

    def _models(self) -> list[Path]:
        others = (EXPERIMENTS, MONITORED, RUNNING_SERVICES)
        return [
            folder
            for folder in self.folder.iterdir()
            if folder.is_dir() and folder.name not in others
        ]

    def stamp(self, model: str, level: str = AS_DEFINED) -> Stamp | None:
        """What changes whenever another version is made current; None where none is. It costs one
        look at a file, and reads nothing.
        """
        return stamp_of(self._version_folder(model, level))

    def open(
        self,
        model: Model,
        level: str = AS_DEFINED,
        *,
        version: int | None = None,
        allow_pickle: bool = False,
    ) -> ServedModel:
        """A version, ready for requests; the current one where None. As
        `models.artifact.open_model`, which says what it refuses.
        """
        chosen = (
            self.current(model.name, level)
            if version is None
            else self.version(version, model.name, level)
        )
        return open_model(
            chosen.folder, model, allow_pickle=allow_pickle, version=str(chosen.number)
        )

    def _version_folder(self, model: str, level: str) -> Path:
        return self.folder / _file_name(model) / _file_name(level)

    def _numbered(self, staging: Path, model: str, level: str) -> Version:
        """Give the written version the next free number; concurrent writers get different ones."""
        number = max((version.number for version in self.versions(model, level)), default=0) + 1
        while True:
            folder = staging.parent / str(number)
            try:
                staging.rename(folder)
                return Version(model, level, number, folder)
            except OSError:
                if not folder.exists():
                    raise
                number += 1

    def _make_folder(self, path: Path) -> None:
        """Make the folder of a model and level, as readable as the registry."""
        (disk.own_folder if self._is_default else disk.make_folder)(self.folder)
        disk.make_folder(path)
        for folder in (path.parent, path):
            disk.share_like(folder, self.folder, below=False)

    def _point(self, folder: Path, number: int) -> None:
        pointer = read_pointer(folder)
        if pointer is None or pointer.version != number:
            write_pointer(
                folder,
                Pointer(number) if pointer is None else pointer.moved_to(number),
                self.folder,
            )

    def _none(self, model: str, level: str) -> DataError:
        others = [name for other_model, name in self.variants() if other_model == model]
        hint = (
            f"it has one at {', '.join(map(repr, others))}"
            if others
            else nearest(model, {other_model for other_model, _ in self.variants()})
        )
        chosen = "" if level == AS_DEFINED else f" --level {level!r}"
        return DataError(
            f"{self.folder} holds no version of {model} at {level!r}; {hint}. Run: headwater "
            f"train --model {model}{chosen}"
        )


def _file_name(name: str) -> str:
    return quote(name, safe=" ").replace(".", "%2E")


def _listed(versions: Sequence[Version]) -> str:
    numbers = [version.number for version in versions]
    return (
        f"{numbers[0]} to {numbers[-1]}"
        if numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 1
        else ", ".join(map(str, numbers))
    )


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _take_away_abandoned(folder: Path) -> None:
    """Remove what writers that were killed left behind."""
    for path in folder.glob(f"{_WRITING}*"):
        if clock.now_micros() / 1e6 - path.stat().st_mtime > _ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
