"""The error that count_distinct states, full registers, and hashes, which stored states depend on."""

import math

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.aggregations.base import FinalizeContext
from headwater.aggregations.count_distinct import DISTINCT
from headwater.kernel.arrays import NOTHING, Column, Events, RequestTimes
from headwater.kernel.hashes import hashes_of_strings, mixed
from headwater.kernel.layers import Layer, Use, spans

USE, LIFETIME = Use(("x",)), hw.window("lifetime")
STANDARD_ERROR = 1.04 / 64


def state(family, values, hashes=None):
    """The state of one key's values."""
    n = len(values)
    events = Events(
        np.array([0, n]),
        np.arange(n),
        NOTHING,
        0,
        NOTHING,
        {"x": Column(np.asarray(values), None, hashes)},
    )
    return family.partial(
        USE,
        spans(
            Layer(events), RequestTimes(np.array([0, 1]), np.array([n]), np.array([n])), LIFETIME
        ),
    )


def finished(family, made, **params):
    return family.finalize(
        made, FinalizeContext("", params, np.array([0]), None, USE, LIFETIME)
    ).values[0]


def distinct(values):
    return finished(DISTINCT, state(DISTINCT, values))


@pytest.mark.slow
@pytest.mark.parametrize("n", [513, 1000, 5000, 20_000, 100_000, 1_000_000])
def test_the_standard_error_is_the_stated_one(n):
    """Over thirty sets the root of the mean square is near it, none is far off, and the mean has no
    bias.
    """
    sets = (
        np.random.default_rng(n).integers(-(2**63), 2**63 - 1, (30, n))
        if n <= 100_000
        else [np.arange(n) + n * i for i in range(4)]
    )
    errors = np.array([distinct(values) / n - 1 for values in sets])
    assert np.sqrt(np.mean(errors**2)) < 1.35 * STANDARD_ERROR
    assert np.abs(errors).max() < 4 * STANDARD_ERROR
    assert abs(errors.mean()) < 4 * STANDARD_ERROR / math.sqrt(len(errors))


@pytest.mark.parametrize(("full", "least"), [(4096, 2**62), (4095, 10**7), (2048, 5000)])
def test_registers_that_are_full(full, least):
    """Hashes of zeros after the register, which no set of values is likely to have."""
    hashes = np.concatenate([np.arange(full) << 52, (np.arange(full, 4096) << 52) | (1 << 51)])
    assert finished(DISTINCT, state(DISTINCT, np.arange(4096), hashes=hashes)) >= least


def test_hashes_are_the_same_everywhere():
    """SplitMix64's first outputs for the seed 0, and FNV-1a's published ones."""
    golden = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed(golden.view(np.int64)).view(np.uint64).tolist() == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]
    fnv = {"": 0xCBF29CE484222325, "a": 0xAF63DC4C8601EC8C, "foobar": 0x85944171F73967E8}
    assert (
        hashes_of_strings(pl.Series(list(fnv))).tolist()
        == mixed(np.array(list(fnv.values()), np.uint64).view(np.int64)).tolist()
    )
    assert (
        hashes_of_strings(pl.Series(["é", "foobar"]))[1]
        == hashes_of_strings(pl.Series(["foobar"]))[0]
    )
