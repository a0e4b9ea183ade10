"""count_distinct and approx_percentile: within the error they state, exact where they say so, and
the same however events are split.
"""

import math
import random
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.aggregations.approx_percentile import PERCENTILES
from headwater.aggregations.base import FinalizeContext
from headwater.aggregations.count_distinct import DISTINCT
from headwater.kernel.arrays import NOTHING, Column, Events, RequestTimes
from headwater.kernel.hashes import hashes_of_strings, mixed
from headwater.kernel.layers import Layer, Use, spans
from headwater.testing.examples import value_of

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


def swept(feature, values):
    """Through everything, over a lifetime."""
    return value_of(feature, window="lifetime", x=values)


# ---------------------------------------------------------------- count_distinct


@pytest.mark.parametrize("n", [0, 1, 511, 512])
@pytest.mark.parametrize("start", [0, -(10**12), 2**62])
def test_up_to_512_values_are_counted_exactly(n, start):
    assert distinct(np.tile(np.arange(n) * 7919 + start, 2)) == n


@pytest.mark.parametrize("n", [511, 512, 513, 514, 600, 700])
def test_history_is_exact_as_far_as_states_are(n):
    values = [i * 31 for i in range(n)]
    assert swept(hw.count_distinct("x"), values) == distinct(np.array(values))
    assert (distinct(np.array(values)) == n) == (n <= 512)


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


@pytest.mark.parametrize("kind", ["numbers in a row", "floats", "strings"])
def test_what_kind_of_values_makes_no_difference_to_the_error(kind):
    n = 20_000
    values = {
        "numbers in a row": range(n),
        "floats": [i / 7 for i in range(n)],
        "strings": [f"user-{i}" for i in range(n)],
    }[kind]
    value = swept(hw.count_distinct("x"), list(values))
    assert abs(value / n - 1) < 4 * STANDARD_ERROR
    assert value != n  # it is an estimate


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 2**32))
def test_any_split_and_order_merges_to_the_same_bits(cuts, seed):
    draw = random.Random(seed)
    values = np.array([draw.randrange(2000) for _ in range(draw.choice([300, 900, 3000]))])
    whole = state(DISTINCT, values)
    dealt = np.array([draw.choice(cuts) for _ in values])
    parts = [state(DISTINCT, values[dealt == part]) for part in range(4)]
    draw.shuffle(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = DISTINCT.merge(merged, part)
    assert [x.tolist() for x in merged] == [x.tolist() for x in whole]
    assert finished(DISTINCT, merged) == swept(hw.count_distinct("x"), values.tolist())


@pytest.mark.parametrize(("full", "least"), [(4096, 2**62), (4095, 10**7), (2048, 5000)])
def test_registers_that_are_full(full, least):
    """Hashes of zeros after the register, which no set of values is likely to have."""
    hashes = np.concatenate([np.arange(full) << 52, (np.arange(full, 4096) << 52) | (1 << 51)])
    assert finished(DISTINCT, state(DISTINCT, np.arange(4096), hashes=hashes)) >= least


def test_there_is_one_zero():
    values = np.arange(1.0, 1001.0)
    assert len({distinct(np.append(values, zero)) for zero in (0.0, -0.0)}) == 1
    assert distinct(np.concatenate([values[:500], [0.0, -0.0]])) == 501


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


def test_a_text_has_the_same_hash_whatever_other_texts_there_are():
    few, many = [f"w{i}" for i in range(600)], [f"w{i}" for i in range(600)] + ["aa", "zz"]
    filtered = value_of(
        hw.count_distinct("x", where="ok"), window="lifetime", x=many, ok=[True] * 600 + [False] * 2
    )
    assert filtered == swept(hw.count_distinct("x"), few)


# ---------------------------------------------------------------- approx_percentile


def exact(values, q):
    """The least value that the share q does not exceed."""
    ordered, rank = sorted(values), max(1, math.ceil(Fraction(str(q)) * len(values)))
    return ordered[rank - 1]


SHARES = [0, 0.000001, 0.01, 0.07, 0.25, 0.5, 0.9, 0.95, 0.999, 0.999999, 1]
SAMPLES = {
    "lognormal": np.random.default_rng(1).lognormal(3, 2, 5000),
    "both signs": np.random.default_rng(2).normal(0, 1, 5000),
    "whole": np.arange(1, 1001),
    "rank on a step": np.arange(1, 101),
    "one": np.array([7.3]),
    "zeros": np.array([0.0, -0.0, 0.0]),
    "far apart": np.array([-1.7e308, -1e-300, 2.3e-308, 1.0, 1.797e308]),
    "powers of two": np.array([2.0**i for i in range(-50, 50)]),
    "int64": np.array([-(2**63), 2**63 - 1, 2**53 + 1]),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("q", SHARES)
def test_within_the_stated_error_of_the_exact_percentile(name, q):
    values = SAMPLES[name]
    found, wanted = (
        finished(PERCENTILES, state(PERCENTILES, values), q=q),
        float(exact(values.tolist(), q)),
    )
    assert abs(Fraction(float(found)) - Fraction(wanted)) <= abs(Fraction(wanted)) / 128
    assert found == swept(hw.approx_percentile("x", q=q), values.tolist())


def test_the_bound_is_nearly_reached():
    """The lower end of a power of two's first bucket is the worst case."""
    found = finished(PERCENTILES, state(PERCENTILES, np.array([64.0])), q=0.5)
    assert found == 64.5


def test_what_is_nearer_to_zero_than_any_bucket_is_zero():
    for value in (5e-324, -1e-308, 2.2e-308):
        assert finished(PERCENTILES, state(PERCENTILES, np.array([value])), q=1) == 0.0


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    st.sampled_from(SHARES),
    st.integers(0, 2**32),
)
def test_any_split_merges_to_the_same_buckets(values, q, seed):
    draw = random.Random(seed)
    dealt = np.array([draw.randrange(3) for _ in values])
    parts = [state(PERCENTILES, np.array(values)[dealt == part]) for part in range(3)]
    merged = PERCENTILES.merge(PERCENTILES.merge(parts[2], parts[0]), parts[1])
    whole = state(PERCENTILES, np.array(values))
    assert [x.tolist() for x in merged] == [x.tolist() for x in whole]
    wanted = exact([0.0 if abs(v) < 2.0**-1022 else v for v in values], q)
    assert (
        abs(Fraction(float(finished(PERCENTILES, merged, q=q))) - Fraction(wanted))
        <= abs(Fraction(wanted)) / 128
    )
