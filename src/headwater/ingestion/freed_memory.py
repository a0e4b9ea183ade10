"""Memory that commits free stays with the process, since the next commit needs as much."""

from __future__ import annotations

import numpy as np

_LARGEST = (32 << 20) - (16 << 10)  # bytes: a little below glibc's DEFAULT_MMAP_THRESHOLD_MAX


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of freed memory, in this process from here on; elsewhere, this
    does nothing.

    glibc returns the end of the heap to the system when more is free there than twice the largest
    block that was ever mapped and freed (mallopt(3), M_MMAP_THRESHOLD). If a process frees no block
    that is larger than the arrays of a small commit, each commit returns its memory, and the next
    one gets it back page by page, with a page fault and a page of zeros each. So a block of the
    largest size that counts is mapped and freed; it is never touched. MALLOC_TRIM_THRESHOLD_ and
    the like are respected where they are set.
    """
    np.empty(_LARGEST, np.uint8)
