"""How much a run of the tests does: the short form of `make test`, or everything with HEADWATER_TESTS=full, as `make test-full` sets it."""

import os

FULL = os.environ.get("HEADWATER_TESTS") == "full"


def tries(full: int) -> int:
    """How many examples Hypothesis tries of a law: so many in the full form, a tenth of them in the short one, but at least 5."""
    return full if FULL else min(full, max(5, full // 10))
