"""Rankings that explore: a share of lists in random order, each item logged with the probability
that its place had it.
"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

import headwater as hw
from headwater.errors import DefinitionError
from headwater.journal import serving_log_files
from headwater.online.ranker import Ranker
from tests.serving.world import PROJECT, asking


def exploring(share):
    feed = PROJECT.model("feed")
    return hw.Project("shop", [replace(feed, task=replace(feed.task, explore=share))])


def logged(store, folder, share, requests=60, **body):
    with (
        hw.operations.ServedLog(folder) as served,
        asking(store, exploring(share), serving_log=served, data_dir=folder) as client,
    ):
        answers = [
            client.post("/v1/rank/feed", json={"row": {"user": 1}, "k": 2, **body}).json()
            for _ in range(requests)
        ]
        assert served.flush()
    return answers, serving_log_files.read(
        serving_log_files.segments(folder, model="feed")
    ).collect()


@pytest.mark.parametrize(
    "body", [{}, {"candidates": ["a", "b", "c", "new", "odd"]}], ids=["retrieved", "given"]
)
def test_a_share_of_lists_is_in_random_order_and_logged_so(store, tmp_path, body):
    share = 0.5
    answers, rows = logged(store, tmp_path, share, **body)
    lists = rows.sort("headwater_row").group_by("headwater_request", maintain_order=True)
    explored = 0
    seen = set()
    for answer, (_, items) in zip(answers, lists, strict=True):
        assert len(answer["items"]) == 2
        if items["headwater_explored"][0]:
            explored += 1
            candidates = items["headwater_candidates"][0].to_list()
            seen |= set(items["item"].to_list())
            assert set(items["item"]) <= set(candidates)
            assert items["headwater_candidates"][1:].null_count() == items.height - 1
        else:
            assert items["headwater_candidates"].null_count() == items.height
            assert items["headwater_propensity"].min() > 1 - share
    assert 15 < explored < 45
    assert len(seen) > 2
    assert len({round(p, 6) for p in rows["headwater_propensity"]}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_propensities_are_the_frequencies(share, k):
    """Over many draws each place has each item as often as its logged propensity says."""
    ranker = object.__new__(Ranker)
    ranker._explore, ranker._random = share, Random(7)
    items, draws = list("abcde"), 40_000
    order = [3, 1, 4, 0, 2]
    counts, logged_as = np.zeros((k, 5)), {}
    for _ in range(draws):
        shown, how = ranker._shown(order, k, items)
        assert len(set(shown)) == k
        for place, (n, p) in enumerate(zip(shown, how.propensities, strict=True)):
            counts[place, n] += 1
            logged_as[place, n] = p
    for (place, n), p in logged_as.items():
        assert abs(counts[place, n] / draws - p) < 5 * np.sqrt(p * (1 - p) / draws)
    assert all(
        sum(p for (at, _), p in logged_as.items() if at == place) == pytest.approx(1)
        for place in range(k)
    )


@pytest.mark.parametrize("share", [-0.1, 1.1, True, "a", float("nan")])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(DefinitionError, match="explore is"):
        hw.Ranking(group="request", item="item", explore=share)
