"""Loading a user's project file."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from headwater.errors import DefinitionError, UsageError, nearest

if TYPE_CHECKING:
    from headwater.definitions.level import Level
    from headwater.definitions.project import Project


@dataclass(frozen=True)
class Loaded:
    """A project, and every name that its file defines."""

    project: Project
    names: Mapping[str, object]

    def levels(self) -> Mapping[str, Level]:
        """The project's levels, or the usual ladder."""
        from headwater.definitions.level import ladder

        return self.project.levels or ladder()

    def level(self, name: str | None) -> Level | None:
        """The level of that name; None, as each view defines, where no name is given."""
        if name is None:
            return None
        levels = self.levels()
        if name not in levels:
            raise UsageError(f"there is no level {name!r}; {nearest(name, levels)}")
        return levels[name]


def load(path: str) -> Loaded:
    """Run a project file, with its folder on the import path, and take its `project`.

    Raises:
        UsageError: there is no such file.
        DefinitionError: it fails, with the line; or it defines no `project`.
    """
    from headwater.definitions.project import Project

    place = Path(path)
    if not place.is_file():
        beside = [p.name for p in place.parent.glob("*.py")] if place.parent.is_dir() else []
        near = f"; {nearest(place.name, beside)}" if beside else ""
        raise UsageError(
            f"no project file at {path}{near}{'' if near.endswith('?') else '.'} Name one with --project, or write one with: headwater init EVENTS LABELS"
        )
    names = vars(_run(place))
    found = names.get("project")
    if isinstance(found, Project):
        return Loaded(found, names)
    if "project" in names:
        raise DefinitionError(f"{path}: `project` is {type(found).__name__}; write project = hw.Project(name, [models])")
    projects = [name for name, value in names.items() if isinstance(value, Project)]
    public = [name for name in names if not name.startswith("_")]
    hint = f"rename {projects[0]!r}" if projects else nearest("project", public)
    raise DefinitionError(
        f"{path} defines no `project`; {hint}{'' if hint.endswith('?') else '.'} Write project = hw.Project(name, [models])"
    )


def _run(place: Path) -> ModuleType:
    spec = spec_from_file_location(place.stem, place)
    if spec is None or spec.loader is None:
        raise UsageError(f"{place} is not a Python file; name it like features.py")
    module = module_from_spec(spec)
    sys.modules.setdefault(place.stem, module)  # its own classes can then be pickled, and files beside it import it once
    folder = str(place.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, DefinitionError) else f"{type(error).__name__}: "
        message = error.msg if isinstance(error, SyntaxError) else error
        raise DefinitionError(f"{place}:{_line(error, place)}: {kind}{message}") from error
    return module


def _line(error: BaseException, place: Path) -> int:
    """The line of the file that raised, or that called what did."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == place.name:
        return error.lineno or 1
    full = place.resolve()
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve() == full]
    return (lines[-1] if lines else None) or 1
