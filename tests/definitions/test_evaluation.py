"""Wrong values of option objects are refused where they are written, not amid a backtest."""

import pytest

import headwater as hw
from headwater.errors import DefinitionError, UsageError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metrics": "auc"}, r"metrics is the string 'auc'; give a list, such as \['auc'\]"),
        ({"refits": -1}, "refits is -1; give how often each level is trained again"),
        ({"refits": "3"}, "refits is '3'"),
        ({"tune": 0}, "tune is 0; give an integer of at least 1, the number of trials"),
        ({"tune": "5"}, "tune is '5'"),
        ({"resamples": -1}, "resamples is -1; give an integer of at least 0"),
        ({"resamples": 1.5}, "resamples is 1.5"),
        ({"seed": True}, "seed is True"),
        ({"timeouts": (2,)}, "a share in timeouts is 2; give a share of calls from 0 to 1"),
        ({"cold_start": "10"}, "cold_start is '10'"),
        ({"cold_start": -1}, "cold_start is -1"),
        ({"blocks": "0h"}, "blocks is '0h'; give a length of time"),
        ({"blocks": "7 fortnights"}, "blocks"),
    ],
)
def test_an_evaluation(given, words):
    with pytest.raises((UsageError, DefinitionError), match=words):
        hw.Evaluation(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"threads": 0}, "threads is 0; give an integer of at least 1"),
        ({"threads": True}, "threads is True"),
        ({"memory": "lots"}, "memory is 'lots'; give a number and a unit"),
        ({"progress": "bar"}, "progress is 'bar'; give True, False, or a function"),
        ({"cache": "here"}, "cache is 'here'; give True, False, or a hw.operations.Cache"),
    ],
)
def test_resources(given, words):
    with pytest.raises(UsageError, match=words):
        hw.Resources(**given)


def test_what_is_right_is_taken():
    assert (
        hw.Resources(threads=1, memory=2_000_000, progress=lambda *_: None, cache=True).bytes
        == 2_000_000
    )
    assert hw.Evaluation(
        metrics=("auc",), refits=hw.evaluation.Refits(seeds=2), tune=3, slices={}
    ).refits == hw.evaluation.Refits(seeds=2)
