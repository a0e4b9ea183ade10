"""Files that a user writes and edits, and names that have to be on disk before a program goes
on.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from headwater.errors import UsageError


def read_toml(path: Path, missing: str) -> dict[str, object]:
    """The content of a TOML file. missing: the error where there is none.

    Raises:
        UsageError: the file does not exist, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(missing) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def write_new(path: Path, text: str, holds: str) -> None:
    """Write a new file. holds: what an existing one may hold.

    Raises:
        UsageError: the file exists.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} already exists, and may hold {holds}; name a new file") from None


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
