"""The files of a path."""

from __future__ import annotations

from pathlib import Path

from headwater import settings
from headwater.errors import DataError, listed, nearest


def found(path: str, ending: str) -> list[str]:
    """The files that `path` names (a file, a glob, or a folder searched for `ending`), sorted, as they are opened; never none.

    Raises:
        DataError: nothing is there, or only empty files.
    """
    local_path = settings.in_project(path)
    names = (
        sorted(str(p) for p in local_path.rglob(f"*{ending}"))
        if local_path.is_dir()
        else [str(settings.in_project(name)) for name in named(path)]
    )
    if not names:
        if local_path.is_dir():
            held = [p.name for p in local_path.iterdir()]
            raise DataError(
                f"the folder {path} has no file that ends with {ending!r}; it holds {listed(sorted(held)) or 'nothing'}. Name another folder, a file "
                "or a glob"
            )
        raise missing(path)
    if all(Path(name).stat().st_size == 0 for name in names):
        raise DataError(f"{path} is empty: it has no bytes, so no columns either; write the table again")
    return names


def missing(path: str) -> DataError:
    """The error for a file that is not there: its folder, and the nearest name in it."""
    local_path = settings.in_project(path)
    if not local_path.parent.is_dir():
        return DataError(f"no file at {path}; its folder does not exist")
    siblings = [p.name for p in local_path.parent.iterdir()]
    where = f"in {local_path.parent}: {nearest(local_path.name, siblings)}" if siblings else f"the folder {local_path.parent} is empty"
    return DataError(f"no file at {path}; {where}")


def named(path: str) -> list[str]:
    """The file of that name, or what the glob finds, sorted; as `path` names them, so they do not depend on the working folder."""
    local_path = settings.in_project(path)
    if local_path.is_file():
        return [path]
    pattern_path = Path(path)
    folder = Path(pattern_path.anchor) if pattern_path.anchor else settings.in_project(".")
    pattern = str(pattern_path.relative_to(pattern_path.anchor))
    return sorted(str(p if pattern_path.anchor else p.relative_to(folder)) for p in folder.glob(pattern))
