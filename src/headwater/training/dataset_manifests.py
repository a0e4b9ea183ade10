"""Manifests of training sets: where they are, and what they say of erasures."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from headwater import disk
from headwater.errors import UsageError

DATASETS: Final = "datasets"


ERASED: Final = "erased"
"""The field of a manifest that erasures are noted in."""


def folder_of_notes(home: Path) -> Path:
    """The folder of the notes, which is made.

    Raises:
        UsageError: it cannot be written.
    """
    folder = home / DATASETS
    try:
        disk.own_folder(folder)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror}. It notes where training sets are, so "
            "that an erasure finds them. Give this user the right to write there, or name "
            "another home: HEADWATER_HOME"
        ) from error
    return folder


def remember_manifest(home: Path, manifest: Path) -> None:
    """Note where a manifest is, so that an erasure finds it."""
    path = str(manifest.absolute())
    folder = folder_of_notes(home)
    note = folder / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.json"
    disk.create(note).write_text(json.dumps({"manifest": path}), encoding="utf-8")


def erasure_of(manifest: Mapping[str, object]) -> str | None:
    """What a manifest says of erasures; None where it has none."""
    notes = cast("Sequence[Mapping[str, object]]", manifest.get(ERASED, []))
    if not notes:
        return None
    listed = ", ".join(
        f"{note['at']} (receipt {note['receipt']}, {note['rows']} rows of the training set)"
        for note in notes
    )
    return f"data that it was made of were erased at {listed}"
