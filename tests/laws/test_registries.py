"""Tables of cases keep their rows: one that lost some would pass all the same."""

import pytest

from headwater.testing import cases, conformance
from tests.laws import (
    test_backtested_rows,
    test_corrections,
    test_formats,
    test_http,
    test_limits,
    test_planted_aggregations,
    test_planted_keys,
    test_planted_statuses,
    test_planted_ties,
    test_planted_values,
    test_planted_windows,
    test_refusals,
    test_requests,
    test_third_parties,
)

LEAST = [
    (cases.aggregations(), 90),
    (conformance.LAWS, 7),
    (test_backtested_rows.AUDIT, 10),
    (test_corrections.CHANGES, 14),
    (test_formats.ODD, 70),
    (test_http.ASKED, 23),
    (test_http.HEADS, 12),
    (test_limits.LIMITS, 25),
    (test_planted_aggregations.VALUES, 52),
    (test_planted_keys.KEYS, 18),
    (test_planted_statuses.STATUSES, 17),
    (test_planted_ties.TIES, 15),
    (test_planted_values.VALUES, 74),
    (test_planted_windows.CUTS, 11),
    (test_refusals.DEFINITIONS, 100),
    (test_refusals.DATA, 75),
    (test_requests.WRONG_KEYS, 12),
    (test_third_parties.WRONG, 12),
]


@pytest.mark.parametrize("number", range(len(LEAST)))
def test_no_row_is_lost(number):
    rows, least = LEAST[number]
    assert len(rows) >= least
