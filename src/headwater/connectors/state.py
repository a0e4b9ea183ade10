"""What a table's bytes are, as far as the file system tells: two equal answers mean that nothing was written in between."""

from __future__ import annotations

from pathlib import Path

from headwater.connectors.files import found
from headwater.definitions.connectors import CsvFiles, Frame, Table


def state(table: Table) -> list[tuple[str, int, int]]:
    """The path, size and time of change (nanoseconds) of each file; for a frame its fingerprint."""
    if isinstance(table, Frame):
        return [(table.fingerprint, 0, 0)]
    names = found(table.path, ".csv" if isinstance(table, CsvFiles) else ".parquet")
    stats = [(str(Path(name).resolve()), Path(name).stat()) for name in names]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
