"""What became of a record."""

from __future__ import annotations

FILTERED, ACCEPTED, COPY, HELD, REFUSED = range(5)
