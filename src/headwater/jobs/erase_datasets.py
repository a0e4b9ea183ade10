"""Manifests of training sets: where they are, and which of them an erasure touches.

HOME/datasets/1f2e3d4c5b6a7988.json       the path of a manifest that `headwater dataset` wrote
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import polars as pl
from polars.exceptions import PolarsError

from headwater.jobs.erasure_receipt import ErasureJournal, MarkedManifest
from headwater.jobs.key_match import ErasedKey, any_matches
from headwater.training.dataset_manifests import DATASETS, ERASED


def mark_manifests(home: Path, keys: Sequence[ErasedKey], journal: ErasureJournal) -> int:
    """Mark each known manifest with a rewritten file, or with the key in its training set; returns
    the number marked.

    A manifest that was moved or deleted is passed over.
    """
    rewritten = {file.before for file in journal.receipt.files}
    marked = 0
    for note in sorted((home / DATASETS).glob("*.json")):
        try:
            path = Path(json.loads(note.read_text(encoding="utf-8"))["manifest"])
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError):
            continue
        rows = _rows(path, keys)
        if not rows and not rewritten & _digests(manifest):
            continue
        marked += 1
        journal.receipt.manifests.append(MarkedManifest(str(path), rows))
        receipt = "" if journal.path is None else journal.path.name
        notes = cast("list[Mapping[str, object]]", manifest.setdefault(ERASED, []))
        if not journal.dry_run and all(mark["receipt"] != receipt for mark in notes):
            manifest[ERASED] = [
                *notes,
                {"at": journal.receipt.requested_at, "receipt": receipt, "rows": rows},
            ]
            draft = path.with_name(f"{path.name}.draft")
            draft.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            draft.replace(path)
    return marked


def _rows(manifest: Path, keys: Sequence[ErasedKey]) -> int:
    """How many rows of the training set of a manifest have the key."""
    stem = manifest.name.removesuffix(".manifest.json")
    for path, read in (
        (manifest.with_name(f"{stem}.parquet"), pl.read_parquet),
        (manifest.with_name(f"{stem}.csv"), pl.read_csv),
    ):
        if path.is_file():
            try:
                return int(any_matches(keys, read(path)).sum())
            except (OSError, PolarsError):
                return 0
    return 0


def _digests(manifest: Mapping[str, object]) -> set[str]:
    """The SHA-256 of every file that a manifest names."""
    digests: set[str] = set()
    pending: list[object] = [manifest.get("tables")]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("sha256"), str):
                digests.add(node["sha256"])
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return digests
