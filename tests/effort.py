"""How much a run of the tests does: the short form of `make test`, everything with HEADWATER_TESTS=full, as `make test-full` sets it, and
the longest form of some with HEADWATER_TRUST=long, as `make trust` sets it."""

import os

LONG = os.environ.get("HEADWATER_TRUST") == "long"
FULL = LONG or os.environ.get("HEADWATER_TESTS") == "full"


def tries(full: int) -> int:
    """How many examples Hypothesis tries of a law: so many in the full form, a tenth of them in the short one, but at least 5."""
    return full if FULL else min(full, max(5, full // 10))
