"""Fingerprints of a table's contents: a quick one, to detect changes, and a full one, to identify
the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from headwater.connectors import ENDINGS, find_files, remote, with_file
from headwater.definitions.connectors import Connector, Frame, Table
from headwater.settings import in_project


def state(table: Table) -> list[object] | None:
    """A value that changes with the table: each file's name, size and modification time; for a
    frame, a hash of its rows. None for a URL.

    Raises:
        DataError: the files are missing.
    """
    if isinstance(table, Frame):
        return [table.fingerprint]
    if isinstance(table, Connector):
        return table.state()
    if table.is_remote:  # polars neither lists objects nor says when they were written
        return None
    return [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in _files(table)]


def contents(table: Table) -> dict[str, object]:
    """The contents of the table: a SHA-256 of each file, by its path below their common folder; for
    a frame, a hash of its contents. Of a URL, a hash of the rows of each file, which are read for
    it.

    Raises:
        DataError: the files are missing.
    """
    if isinstance(table, Frame):
        return {"frame": table.fingerprint}
    if isinstance(table, Connector):
        return table.contents()
    if table.is_remote:
        return remote.contents(table, partial(with_file, table))
    files = _files(table)
    path = in_project(table.path)
    root = path if path.is_dir() else files[0].parent
    return {
        "path": table.path,
        "files": {
            p.relative_to(root).as_posix() if p.is_relative_to(root) else p.name: _file(p)
            for p in files
        },
    }


def digests(root: Path, files: Sequence[Path]) -> dict[str, object]:
    """A SHA-256 of each file that is there, named below a folder."""
    return {path.relative_to(root).as_posix(): _file(path) for path in files if path.is_file()}


def _files(table: Table) -> list[Path]:
    assert not isinstance(table, Frame | Connector)
    return [Path(name) for name in find_files(table.path, ENDINGS[type(table).__name__]).names]


def _file(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
