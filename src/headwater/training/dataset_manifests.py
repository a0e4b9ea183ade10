"""Manifests of training sets: where they are, and what they say of erasures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from headwater import permissions

DATASETS: Final = "datasets"


ERASED: Final = "erased"
"""The field of a manifest that erasures are noted in."""


def remember_manifest(home: Path, manifest: Path) -> None:
    """Note where a manifest is, so that an erasure finds it."""
    path = str(manifest.absolute())
    folder = permissions.own_folder(home / DATASETS)
    note = folder / f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.json"
    permissions.create(note).write_text(json.dumps({"manifest": path}), encoding="utf-8")


def erasure_of(manifest: Mapping[str, object]) -> str | None:
    """What a manifest says of erasures; None where it has none."""
    notes = cast("Sequence[Mapping[str, object]]", manifest.get(ERASED, []))
    if not notes:
        return None
    listed = ", ".join(f"{note['at']} (receipt {note['receipt']}, {note['rows']} rows of the training set)" for note in notes)
    return f"data that it was made of were erased at {listed}"
