"""What a format of fitted models is: how it is written, read, and recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headwater.definitions.model import Estimator
from headwater.errors import DataError, UsageError


@dataclass(frozen=True)
class Format:
    """One way to keep an estimator.

    name: as a manifest says it. file: its name in a folder. runs_code: whether loading runs code
    that the file holds.
    tolerance: how far a prediction may be from the one that it gave when it was kept, relative to
    that and absolute below 1.
    holds: whether this is how an estimator is kept. write: it into a folder; returns what a
    manifest says besides. read: it again, given what the manifest says besides.
    opens: whether a place (a path or URI) is in this format, by its name. open: the estimator
    there.
    """

    name: str
    file: str
    runs_code: bool
    tolerance: float
    holds: Callable[[Estimator], bool]
    write: Callable[[Estimator, Path], Mapping[str, object]]
    read: Callable[[Path, Mapping[str, object]], Estimator]
    opens: Callable[[str], bool]
    open: Callable[[str], Estimator]


class Fixed:
    """An estimator that was trained elsewhere: it only predicts."""

    def fit(self, X: object, y: object) -> object:  # noqa: ARG002 (scikit-learn's signature)
        """Refuse."""
        raise UsageError(
            f"{type(self).__name__}: a loaded model is not trained again; give an estimator that "
            "is not fitted"
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True


def digest_of(path: Path) -> str:
    """64 hexadecimal digits of the SHA-256 of a file, or of the names and contents of a folder's
    files.
    """
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(
            f"{file.relative_to(path).as_posix()}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def file_at(location: str) -> Path:
    """The file of that name.

    Raises:
        DataError: there is none.
    """
    path = Path(location)
    if not path.is_file():
        raise DataError(f"no model at {location}")
    return path
