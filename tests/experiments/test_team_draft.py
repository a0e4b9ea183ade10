"""Interleaving: fair lists, and a preference that is right at its level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import DataError
from headwater.experiments.team_draft import interleaved, preference


@given(
    st.permutations(range(8)), st.permutations(range(8)), st.integers(0, 12), st.text(max_size=5)
)
def test_lists_have_no_item_twice_and_teams_take_turns(
    first: list[int], second: list[int], length: int, salt: str
) -> None:
    drafted = interleaved(first, second, length, salt)
    items = [entry.item for entry in drafted]
    assert len(items) == len(set(items)) == min(length, 8)
    for turn in range(0, len(drafted) - 1, 2):
        assert {drafted[turn].team, drafted[turn + 1].team} == {0, 1}
    assert drafted == interleaved(first, second, length, salt)


def test_a_ranking_that_ends_leaves_the_rest_to_the_other() -> None:
    drafted = interleaved(["a"], ["b", "c", "d"], 10, "s")
    assert {entry.item: entry.team for entry in drafted} == {"a": 0, "b": 1, "c": 1, "d": 1}
    assert interleaved([], [], 5, "s") == []


def test_each_team_leads_half_of_the_lists() -> None:
    leads = [interleaved(["a", "b"], ["b", "a"], 2, f"request {n}")[0].team for n in range(4_000)]
    assert np.mean(leads) == pytest.approx(0.5, abs=0.03)


def test_no_preference_is_found_at_its_level_and_one_is_found() -> None:
    random = np.random.default_rng(1)
    found = {}
    for share in (0.5, 0.57):
        found[share] = 0
        for _ in range(400):
            lists = 1 + random.poisson(2, 500)
            second = random.binomial(lists, share)
            found[share] += (
                preference((lists - second).astype(float), second.astype(float)).p_value < 0.05
            )
    assert 7 <= found[0.5] <= 33
    assert found[0.57] >= 380
    with pytest.raises(DataError, match="1 units"):
        preference(np.array([1.0, 0.0]), np.array([0.0, 0.0]))
