"""Which pushed events senders were told are committed, in a file apart from the online store: they
are not sent again.

A store that has made fewer commits has lost some: a standby without them took over, or an older
copy was restored.
"""

from __future__ import annotations

import os
from pathlib import Path

from headwater import disk
from headwater.definitions.connectors import Pushed
from headwater.definitions.source import Source

_NAME = "acknowledged"


class AcknowledgedCommits:
    """The last commit of a pushed source that senders were told of, and the offset after its
    events; 0 and 0 where there is none.

    folder: of the source's archive; None keeps them in memory. The file outlives a killed process;
    it is not synced to the disk.

    >>> told = AcknowledgedCommits(None)
    >>> told.note(7, 120)
    >>> told.commit, told.offset
    (7, 120)
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _NAME
        self.commit, self.offset = 0, 0
        if self._path is not None and self._path.exists():
            self.commit, self.offset = map(int, self._path.read_text().split())

    @classmethod
    def of(cls, source: Source, archive: Path | None) -> AcknowledgedCommits | None:
        """That of a source as the store names it; None where its stream can be read again. archive:
        with a folder for each source.
        """
        return (
            cls(None if archive is None else archive / source.name)
            if isinstance(source.stream, Pushed)
            else None
        )

    def note(self, commit: int, offset: int) -> None:
        """Keep that these were told, before they are."""
        self.commit, self.offset = commit, offset
        if self._path is None:
            return
        # one write of one length: a killed process leaves it whole
        line = b"%020d %020d\n" % (commit, offset)
        disk.make_folder(self._path.parent)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, line, 0)
        finally:
            os.close(file)
