"""How much a run of the tests does: the short form of `make test`, everything with
HEADWATER_TESTS=full, as `make test-full` sets it, and the longest form of some with
HEADWATER_TRUST=long, as `make trust` sets it.

HEADWATER_TESTS=services, as `make mutants` sets it, is every test with the examples of the short
form.

HEADWATER_TESTS=rest, as `make test-rest` sets it, is the full form without the tests that the short
form has run just as they are there. Slow tests of IN_CLUSTERS run with HEADWATER_TESTS=cluster, as
`make test-cluster` sets it, and nothing else does then.
"""

import os

LONG = os.environ.get("HEADWATER_TRUST") == "long"
SERVICES = os.environ.get("HEADWATER_TESTS") == "services"
CLUSTER = os.environ.get("HEADWATER_TESTS") == "cluster"
REST = os.environ.get("HEADWATER_TESTS") == "rest"
FULL = LONG or CLUSTER or REST or os.environ.get("HEADWATER_TESTS") == "full"


def tries(full: int) -> int:
    """How many examples Hypothesis tries of a law: all in the longest form, a third in the full, a
    tenth in the short one, at least 5.
    """
    return full if LONG else min(full, max(5, full // 3 if FULL else full // 10))


IN_CLUSTERS = ("tests/cluster/", "tests/engine/spark/", "tests/ingestion/kinesis/")
"""Folders of tests of several servers and processes."""
