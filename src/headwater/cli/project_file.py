"""headwater.toml in the folder of a project file: values of options, for every command and for
single ones.

    store = "redis://cache:6379/0"      # for every command
    data-dir = "data"
    catalog = "catalog.sqlite"
    archive-url = "s3://bucket/prefix"  # the archive of streams, instead of the data directory
    engine = "spark:sc://host:15002"    # what reads histories and computes features of training
                                        data; "local" is this machine
    reads = "redis://production:6379/0" # a development environment: views that are there are read
    from there, and never written

    [serve]                             # options of `headwater serve`; [ingest] and [materialize]
                                        likewise
    listen = "127.0.0.1:8320"
    workers = 2
    ingest = true

Flags override environment variables, which override this file, which overrides defaults. Relative
paths are relative to the folder of the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from headwater import settings
from headwater.cli.command import SECTIONS, Flag
from headwater.errors import UsageError, nearest

NAME: Final = "headwater.toml"
_USED: Final = {"archive-url": settings.use_archive_url, "engine": settings.use_engine}
_SHARED: Final = {"store": "store", "data-dir": "data_dir", "catalog": "catalog", "reads": "reads"}
_NOT_HERE: Final = frozenset({*_SHARED, "project", "json", "debug", "help"})


@dataclass(frozen=True)
class ProjectFile:
    """The content of a headwater.toml, with paths relative to the working folder.

    path: of the file. shared: values for every command. sections: values for one command each; both
    by the Python name of the option.
    settings: values by key that no option has, such as `engine`.
    """

    path: Path
    shared: Mapping[str, str]
    sections: Mapping[str, Mapping[str, object]]
    settings: Mapping[str, str] = field(default_factory=dict)

    def use_settings(self) -> None:
        """Use the values that no option has, unless an environment variable says otherwise."""
        for key, value in self.settings.items():
            _USED[key](value)

    def defaults(self, command: str | None) -> dict[str, object]:
        """The values for a command."""
        return {**self.shared, **self.sections.get(command or "", {})}


def read(project: str | Path) -> ProjectFile | None:
    """The headwater.toml in the folder of a project file; None where there is none.

    A value whose variable is set (HEADWATER_STORE, HEADWATER_DATA_DIR or HEADWATER_HOME,
    HEADWATER_CATALOG) is left out.

    Raises:
        UsageError: it is not TOML, has an unknown key, or a value of the wrong type.
    """
    folder = Path(project).parent
    path = folder / NAME
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error
    shared: dict[str, str] = {}
    sections: dict[str, Mapping[str, object]] = {}
    for key, value in held.items():
        if key in SECTIONS:
            if not isinstance(value, dict):
                raise UsageError(f"{path}: {key} is {value!r}; write a section: [{key}]")
            sections[key] = _section(path, key, value)
        elif key not in (*_SHARED, *_USED):
            raise UsageError(
                f"{path} has no key {key!r}; {nearest(key, [*_SHARED, *_USED, *SECTIONS])}"
            )
        elif not isinstance(value, str) or not value:
            raise UsageError(f"{path}: {key} is {value!r}; give a string in quotes")
        elif key in _SHARED and not settings.overridden(key):
            shared[_SHARED[key]] = _url(value, folder)
    return ProjectFile(path, shared, sections, {key: held[key] for key in _USED if key in held})


def section_options(section: str) -> dict[str, Flag]:
    """The options of a command that its section may set, by key."""
    return {
        param.flag.removeprefix("--"): param
        for param in import_module(f"headwater.cli.{section}").COMMAND.params
        if isinstance(param, Flag) and param.flag.removeprefix("--") not in _NOT_HERE
    }


def _section(path: Path, section: str, held: Mapping[str, object]) -> dict[str, object]:
    """The values of a section, each of the type of its option."""
    options = section_options(section)
    values: dict[str, object] = {}
    for key, value in held.items():
        if key in _SHARED:
            raise UsageError(
                f"{path}: {key} is for every command; write it above the sections, not in "
                f"[{section}]"
            )
        if key not in options:
            raise UsageError(f"{path}: [{section}] has no key {key!r}; {nearest(key, options)}")
        option = options[key]
        assert option.name is not None
        values[option.name] = _value(f"{path}: [{section}] {key}", option, value, path.parent)
    return values


def _value(key: str, option: Flag, value: object, folder: Path) -> object:
    """A value as click takes it.

    Raises:
        UsageError: it is of another type than the option.
    """
    if option.multiple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(
                f'{key} is {value!r}; give a list of strings, such as ["{option.metavar}"]'
            )
        return value
    if option.is_flag or (isinstance(value, bool) and option.may_be_bare):
        if not isinstance(value, bool):
            raise UsageError(f"{key} is {value!r}; give true or false")
        return value if option.is_flag else "" if value else None
    kind: tuple[type, ...] = {click.INT: (int,), click.FLOAT: (int, float)}.get(option.type, (str,))
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = (
            "a string in quotes"
            if kind == (str,)
            else "an integer"
            if kind == (int,)
            else "a number"
        )
        raise UsageError(f"{key} is {value!r}; give {wanted}")
    return (
        _url(value, folder)
        if isinstance(option.type, click.Path) and isinstance(value, str)
        else value
    )


def _url(text: str, folder: Path) -> str:
    """A URL unchanged; a path, also of an LMDB store, relative to the project file's folder."""
    if text.startswith("lmdb:"):
        return f"lmdb:{folder / text.removeprefix('lmdb:')}"
    return text if ":" in text else str(folder / text)
