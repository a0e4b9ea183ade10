"""What waits to be shipped: a link to each file of the serving log that is not at the destination
yet.

FOLDER/shipping/queue/1714521600000000-WORKER-000001.parquet ->
../../served/headwater_date=2024-05-01/model=churn/... FOLDER/shipping/state.json
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from headwater import disk
from headwater.disk import sync
from headwater.journal.serving_log_files import SERVED

SHIPPING: Final = "shipping"
_QUEUE: Final = "queue"
_UP: Final = "../../"


def begin(folder: Path) -> None:
    """Queue each file that is converted in a data directory from now on."""
    if not (queue := folder / SHIPPING / _QUEUE).is_dir():
        disk.own_folder(folder)
        disk.make_folder(queue)


def add_all(folder: Path) -> None:
    """Queue every file of the serving log, as for a destination that has none."""
    queue = folder / SHIPPING / _QUEUE
    for path in (folder / SERVED).glob("headwater_date=*/*/*.parquet"):
        _link(queue, path, folder)
    sync(queue)


def add(folder: Path, path: Path) -> None:
    """Queue a file of the serving log, where files are queued at all."""
    if (queue := folder / SHIPPING / _QUEUE).is_dir():
        _link(queue, path, folder)
        sync(queue)


def waiting(folder: Path) -> list[tuple[Path, str]]:
    """The links of the queue, of the earliest requests first, each with the name of its file in the
    data directory.
    """
    queue = folder / SHIPPING / _QUEUE
    links = (
        sorted(queue.iterdir(), key=lambda link: (len(link.name.partition("-")[0]), link.name))
        if queue.is_dir()
        else []
    )
    return [(link, link.readlink().as_posix().removeprefix(_UP)) for link in links]


def _link(queue: Path, path: Path, folder: Path) -> None:
    with suppress(FileExistsError):
        (queue / path.name).symlink_to(f"{_UP}{path.relative_to(folder).as_posix()}")
