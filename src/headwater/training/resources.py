"""What a call may use while it computes features, and whom it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headwater.definitions.memory_sizes import Size
from headwater.training.feature_cache import Cache

Tick = Callable[[str, int, int], None]
"""Called with the current step (mostly a view's name), rows done and rows to do."""


@dataclass(frozen=True)
class Resources:
    """Threads (every core where None), memory (unlimited where None), progress, and a cache of computed features."""

    threads: int | None = None
    memory: Size | None = None
    tick: Tick | None = None
    cache: Cache | None = None


DEFAULT_RESOURCES = Resources()
"""Every core, unlimited memory, no progress and no cache."""
