"""Loading a user's project file."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from headwater.errors import DefinitionError, HeadwaterWarning, UsageError, nearest

if TYPE_CHECKING:
    from headwater.definitions.level import Level
    from headwater.definitions.project import Project


@dataclass(frozen=True)
class LoadedProject:
    """A project, and all names that its file defines."""

    project: Project
    names: Mapping[str, object]

    def levels(self) -> Mapping[str, Level]:
        """The project's levels, or the usual ladder."""
        from headwater.definitions.level import ladder

        return self.project.named_levels or ladder()

    def level(self, name: str | None) -> Level | None:
        """The level of that name, or of that arm, EXPERIMENT-ARM; None, as each view defines, where
        no name is given.
        """
        from headwater.definitions.level import AS_DEFINED

        if name is None:
            return None
        arms = {
            variant.name: variant.level
            for variant in self.project.variants
            if variant.name != AS_DEFINED
        }
        levels = {**self.levels(), **arms}
        if name not in levels:
            raise UsageError(f"unknown level {name!r}; {nearest(name, levels)}")
        return levels[name]


def load(path: str) -> LoadedProject:
    """Run a project file, with its folder on the import path, and take its `project`.

    Raises:
        UsageError: the file does not exist.
        DefinitionError: it fails, with the line; or it defines no `project`.
    """
    from headwater.definitions.project import Project

    file = Path(path)
    if not file.is_file():
        siblings = [p.name for p in file.parent.glob("*.py")] if file.parent.is_dir() else []
        near = f"; {nearest(file.name, siblings)}" if siblings else ""
        raise UsageError(
            f"no project file at {path}{near}{'' if near.endswith('?') else '.'} Name one with "
            "--project, or write one with: headwater init EVENTS LABELS"
        )
    names = vars(_run(file))
    defined = names.get("project")
    others = [
        name for name, value in names.items() if isinstance(value, Project) and value is not defined
    ]
    if isinstance(defined, Project):
        if others:
            warnings.warn(
                f"{path} defines the projects {', '.join(map(repr, ['project', *others]))}; "
                "`project` is read, and the others are not. Write a file for each",
                HeadwaterWarning,
                stacklevel=2,
            )
        return LoadedProject(defined, names)
    if "project" in names:
        raise DefinitionError(
            f"{path}: `project` is {type(defined).__name__}; write project = hw.Project(name, "
            "[models])"
        )
    public = [name for name in names if not name.startswith("_")]
    hint = f"rename {' or '.join(map(repr, others))}" if others else nearest("project", public)
    raise DefinitionError(
        f"{path} defines no `project`; {hint}{'' if hint.endswith('?') else '.'} Write project = "
        "hw.Project(name, [models])"
    )


def _run(file: Path) -> ModuleType:
    spec = spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is not a Python file; name it like features.py")
    module = module_from_spec(spec)
    # so that its classes can be pickled, and modules of its folder import it once
    sys.modules.setdefault(file.stem, module)
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, DefinitionError) else f"{type(error).__name__}: "
        message = error.msg if isinstance(error, SyntaxError) else error
        raise DefinitionError(f"{file}:{_line(error, file)}: {kind}{message}") from error
    return module


def _line(error: BaseException, file: Path) -> int:
    """The line of the file that raised, or that called what did."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).name == file.name:
        return error.lineno or 1
    full = file.resolve()
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == full
    ]
    return (lines[-1] if lines else None) or 1
