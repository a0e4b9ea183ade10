"""The receipt of an erasure, which is also its journal: each step is recorded before the next, so a
killed erasure can be resumed.

    FOLDER/erasures/20240501T120000Z-1f2e3d4c.json

It holds no value of the key, only its HMAC. The secret of that is in `erasures/secret`: with a
receipt alone the key cannot be found by trying values, and the operator can show that a receipt is
of a key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from headwater import clock, disk, settings
from headwater.disk import sync
from headwater.errors import StoreError
from headwater.ingestion.archive import content, put

ERASURES: Final = "erasures"
_HMAC_KEY: Final = "secret"  # the file
_HMAC_KEY_BYTES: Final = 32
_FORMAT: Final = 1


class RewrittenFile(msgspec.Struct):
    """A file or object without the erased rows: path or URL, what it is part of, how many rows,
    SHA-256 before and after.
    """

    path: str
    place: str
    rows: int
    before: str
    after: str


class NotSearched(msgspec.Struct, frozen=True):
    """A place that may still hold the key, and why it was not searched, or the remedy."""

    place: str
    why: str


class MarkedManifest(msgspec.Struct, frozen=True):
    """The manifest of a training set with erased data; rows: of the key in the training set, which
    stays as it is.
    """

    path: str
    rows: int


class Receipt(msgspec.Struct):
    """The erased key, the removed records, and the places that could not be searched.

    path: of the receipt's file, None for a dry run.
    columns: of the key. key_hash: HMAC-SHA256 of the key with the secret of the folder; "" of a dry
    run. rows: removed, by place.
    finished_at: None until all is done.
    until: rows that were known by then are erased, microseconds.
    left_out: the sources whose history still has the key, which every fill leaves out.
    done: the steps that are finished. pending: what the steps to come need, removed at the end.
    """

    project: str
    columns: list[str]
    key_hash: str
    requested_at: str
    requested_by: str
    store: str
    folder: str
    path: str | None = None
    until: int = 0
    left_out: list[str] = []
    finished_at: str | None = None
    rows: dict[str, int] = {}
    files: list[RewrittenFile] = []
    manifests: list[MarkedManifest] = []
    not_searched: list[NotSearched] = []
    done: list[str] = []
    pending: dict[str, list[str]] = {}
    format: int = _FORMAT

    def to_dict(self) -> dict[str, object]:
        """The receipt as its JSON file holds it."""
        document: dict[str, object] = msgspec.to_builtins(self)
        return document


@dataclass
class ErasureJournal:
    """A receipt that is being written, at `path`; None writes nothing, as a dry run."""

    receipt: Receipt
    path: Path | None

    @staticmethod
    def begin(
        project: str, key: Mapping[str, str], store: str, folder: Path, *, dry_run: bool
    ) -> ErasureJournal:
        """The journal of an unfinished erasure of this key from this store, or a new one, which is
        not saved yet.

        Raises:
            StoreError: the folder cannot be written.
        """
        erasures = folder / ERASURES
        key_hash = "" if dry_run else _hash(_secret(erasures), key)
        for path in sorted(erasures.glob("*.json")) if not dry_run else ():
            receipt = read_receipt(path)
            if (
                receipt.finished_at is None
                and receipt.store == store
                and receipt.key_hash == key_hash
            ):
                return ErasureJournal(receipt, path)
        now = clock.now()
        receipt = Receipt(
            project=project,
            columns=sorted(key),
            key_hash=key_hash,
            requested_at=now.isoformat(),
            requested_by=settings.who(),
            store=store,
            folder=str(folder.absolute()),
        )
        journal = ErasureJournal(
            receipt,
            None if dry_run else erasures / f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json",
        )
        if journal.path is not None:
            receipt.path = str(journal.path.absolute())
        return journal

    @property
    def dry_run(self) -> bool:
        """Whether nothing is changed."""
        return self.path is None

    def save(self) -> None:
        """Write the receipt, whole and on disk.

        Raises:
            StoreError: it cannot be written.
        """
        if self.path is None:
            return
        draft = self.path.with_suffix(".draft")
        try:
            with disk.open_private(draft, "wb") as file:
                file.write(json.dumps(self.receipt.to_dict(), indent=1).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            sync(self.path.parent)
        except OSError as error:
            raise StoreError(
                f"the receipt {self.path} cannot be written: {error.strerror}; make room, and run "
                "the same command again"
            ) from error

    def is_done(self, step: str) -> bool:
        """Whether a step was finished, by this process or one that was killed."""
        return step in self.receipt.done

    def finish_step(self, step: str, rows: Mapping[str, int]) -> None:
        """Note that a step is finished, and how many rows it removed by place."""
        self.receipt.done.append(step)
        self.count(rows)
        self.save()

    def finish(self) -> None:
        """Note that all is done."""
        if self.path is not None:
            self.receipt.finished_at = clock.now().isoformat(timespec="seconds")
        self.save()

    def count(self, rows: Mapping[str, int]) -> None:
        """Add to the rows that were removed."""
        for searched, number in rows.items():
            if number:
                self.receipt.rows[searched] = self.receipt.rows.get(searched, 0) + number

    def not_searched(self, place: str, why: str) -> None:
        """Note a place that was not searched, once."""
        note = NotSearched(place, why)
        if note not in self.receipt.not_searched:
            self.receipt.not_searched.append(note)

    def keep_pending(self, name: str, values: set[str]) -> set[str]:
        """Add values for later steps to those that an earlier run noted; returns all of them."""
        every = values | set(self.receipt.pending.get(name, []))
        self.receipt.pending[name] = sorted(every)
        self.save()
        return every

    def rewrite(
        self, path: Path, place: str, removed: int, write: Callable[[IO[bytes]], object]
    ) -> None:
        """Replace a file by one with the rows that stay, as `write` writes them, and note it; a
        kill leaves the old file or the new.

        Raises:
            StoreError: it cannot be written.
        """
        noted = RewrittenFile(str(path.absolute()), place, removed, digest_of_file(path), "")
        self.receipt.files.append(noted)
        if self.path is None:
            return
        draft = path.with_suffix(".draft")
        try:
            with disk.open_private(draft, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            noted.after = digest_of_file(draft)
            self.save()
            draft.replace(path)
            sync(path.parent)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}; make room, and run the same command "
                "again"
            ) from error

    def rewrite_object(self, url: str, place: str, removed: int, body: bytes) -> None:
        """Replace an object of the archive, and note it; a kill leaves the old object or the new.

        Raises:
            ConnectError: the store does not answer, or refuses.
        """
        before = _digest_of_object(url)
        if before is None:
            return  # ingestion has removed it, since its day is over
        self.receipt.files.append(
            RewrittenFile(url, place, removed, before, hashlib.sha256(body).hexdigest())
        )
        if self.path is not None:
            self.save()
            put(url, body)

    def forget_unreplaced(self) -> None:
        """Forget the file that a killed process noted and did not replace: it is still to be
        rewritten.
        """
        files = self.receipt.files
        if not files:
            return
        path = files[-1].path
        digest = (
            _digest_of_object(path)
            if "://" in path
            else digest_of_file(Path(path))
            if Path(path).is_file()
            else None
        )
        if digest is not None and digest != files[-1].after:
            files.pop()
            self.save()

    def rows_in_files(self, place: str) -> int:
        """How many rows were removed from the files of a place."""
        return sum(file.rows for file in self.receipt.files if file.place == place)


def read_receipt(path: Path) -> Receipt:
    """The receipt in a file.

    Raises:
        StoreError: it is not one.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Receipt)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(
            f"{path} is not a receipt of an erasure: {error}; move it elsewhere, and run the same "
            "command again"
        ) from error


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_object(url: str) -> str | None:
    body = content(url)
    return None if body is None else hashlib.sha256(body).hexdigest()


def _secret(erasures: Path) -> bytes:
    """The secret of the folder's receipts; a new one where there is none.

    Raises:
        StoreError: it cannot be read or written.
    """
    path = erasures / _HMAC_KEY
    try:
        if not path.exists():
            draft = disk.own_folder(erasures) / f"{_HMAC_KEY}-{secrets.token_hex(4)}"
            with disk.open_private(draft, "wb") as file:
                file.write(secrets.token_bytes(_HMAC_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            sync(erasures)
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"the secret of the receipts, {path}, cannot be read or written: "
            f"{error.strerror or error}"
        ) from error


def _hash(secret: bytes, key: Mapping[str, str]) -> str:
    return hmac.digest(secret, json.dumps(sorted(key.items())).encode(), "sha256").hex()
