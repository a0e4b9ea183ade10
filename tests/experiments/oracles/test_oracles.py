"""Estimates next to those of gbstats, savvi, statsmodels and cluster-experiments on random inputs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headwater.errors import DataError
from headwater.experiments.arm_moments import arm_moments, unit_lift
from headwater.experiments.cluster_lift import cluster_lift
from headwater.experiments.confidence_sequence import sequence_multiplier
from headwater.experiments.sample_ratio import sequential_sample_ratio_p
from headwater.experiments.switchback_lift import SwitchbackBuckets, switchback_lift

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
INPUTS = 100


def _asked(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The oracle's answer to each row."""
    home = Path(os.environ.get("HEADWATER_ORACLES", ROOT / "build" / "oracles")) / name
    if not (home / ".complete").exists():
        pytest.skip(f"needs {name} in {home}; run: scripts/oracles.sh {name}")
    script = HERE / f"ask_{name.replace('-', '_')}.py"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run(
        [home / "bin" / "python", "-I", script],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(rows)
    return answers


def _sums(value: np.ndarray, other: np.ndarray | None = None) -> dict[str, Any]:
    found = {"n": len(value), "sum": float(value.sum()), "squares": float((value**2).sum())}
    if other is not None:
        found |= {
            "other_sum": float(other.sum()),
            "other_squares": float((other**2).sum()),
            "products": float((value * other).sum()),
        }
    return found


def _arms(kind: str, random: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """A value and another column of each unit: a base for a ratio, a covariate for CUPED, of uneven
    arms and of any size of effect.
    """
    arms = []
    for _ in range(2):
        units, more = int(random.integers(50, 5_000)), random.uniform(0.7, 1.4)
        if kind == "proportion":
            value, other = (random.random(units) < 0.2 * more).astype(float), np.ones(units)
        elif kind == "ratio":
            other = 1.0 + random.poisson(np.exp(1 + random.standard_normal(units)))
            value = random.binomial(
                other.astype(int), np.clip(0.2 * more * random.random(units), 0, 1)
            ).astype(float)
        else:
            other = random.normal(10, 3, units)
            value = np.exp(random.standard_normal(units)) * more + 0.5 * other
        arms.append((value, other))
    return arms


@pytest.mark.services
@pytest.mark.parametrize("kind", ["proportion", "mean", "ratio", "cuped"])
def test_gbstats(kind: str) -> None:
    random = np.random.default_rng(len(kind))
    inputs = [_arms(kind, random) for _ in range(INPUTS)]
    with_other = kind in ("ratio", "cuped")
    asked = [
        {"kind": kind, "arms": [_sums(*(arm if with_other else arm[:1])) for arm in arms]}
        for arms in inputs
    ]
    for arms, theirs in zip(inputs, _asked("gbstats", asked), strict=True):
        moments = [
            arm_moments(
                value,
                **(
                    {"base": other}
                    if kind == "ratio"
                    else {"before": other}
                    if kind == "cuped"
                    else {}
                ),
            )
            for value, other in arms
        ]
        found = unit_lift(*moments)
        se = found.se * (1 + found.lift)
        # theirs is relative to the unadjusted mean, ours to the adjusted one: the adjustment itself
        # is the same
        if kind == "cuped":
            assert found.treated - found.control == pytest.approx(
                theirs["difference"], rel=1e-9, abs=1e-12
            )
            control, treated = theirs["variances"]
            assert found.se == pytest.approx(
                np.sqrt(control / found.control**2 + treated / found.treated**2), rel=1e-9
            )
            continue
        assert found.lift == pytest.approx(theirs["lift"], rel=1e-9, abs=1e-12)
        # theirs divides the variance of a proportion by n, ours by n - 1
        assert se == pytest.approx(theirs["se"], rel=0.02 if kind == "proportion" else 1e-9)
        if kind == "proportion":
            continue
        units = sum(len(value) for value, _ in arms)
        assert se * sequence_multiplier(units) == pytest.approx(theirs["half_width"], rel=1e-9)


@pytest.mark.services
def test_a_negative_base_is_refused_where_gbstats_turns_the_sign() -> None:
    random = np.random.default_rng(1)
    control, treated = random.normal(-10, 1, 500), random.normal(-8, 1, 500)
    (theirs,) = _asked("gbstats", [{"kind": "mean", "arms": [_sums(control), _sums(treated)]}])
    assert theirs["difference"] > 0 > theirs["lift"]
    with pytest.raises(DataError, match="a relative lift needs positive means"):
        unit_lift(arm_moments(control), arm_moments(treated))


@pytest.mark.services
def test_savvi() -> None:
    random = np.random.default_rng(2)
    inputs = []
    for _ in range(300):
        weights = [[0.5, 0.5], [0.25, 0.75], [0.2, 0.3, 0.5]][int(random.integers(3))]
        real = np.array(weights) * random.uniform(0.9, 1.1, len(weights))
        looks = np.cumsum(
            random.multinomial(
                int(random.integers(10, 400)), real / real.sum(), int(random.integers(1, 20))
            ),
            axis=0,
        )
        inputs.append({"weights": weights, "prior": 100.0, "looks": looks.tolist()})
    ours = [sequential_sample_ratio_p(asked["looks"], asked["weights"]) for asked in inputs]
    theirs = [answer["p"] for answer in _asked("savvi", inputs)]
    assert ours == pytest.approx(theirs, rel=1e-8)
    assert min(ours) < 0.01
    assert max(ours) == 1


def _switchback(random: np.random.Generator, *, washout: bool) -> SwitchbackBuckets:
    regions, times = int(random.integers(3, 12)), int(random.integers(6, 30))
    base = random.poisson(200.0, (regions, times)).astype(float) + 1
    treated = random.random((regions, times)) < 0.5
    value = base * random.normal(5, 1, (regions, times)) * (1 + 0.1 * treated)
    kept = random.random((regions, times)) < 0.8
    kept[:, 0] = kept[0] = True
    return SwitchbackBuckets(value, base, treated, kept if washout else None)


@pytest.mark.services
@pytest.mark.parametrize("washout", [False, True])
def test_the_two_way_regression_of_statsmodels(washout: bool) -> None:
    random = np.random.default_rng(3)
    rows = [_switchback(random, washout=washout) for _ in range(INPUTS)]
    asked = []
    for of in rows:
        kept = np.ones(of.value.shape, bool) if of.kept is None else of.kept
        outcome = (of.value - of.control_rate() * of.base) / of.base[kept].mean()
        region, bucket = np.nonzero(kept)
        asked.append(
            {
                "kind": "two-way",
                "outcome": outcome[kept].tolist(),
                "treated": of.treated[kept].astype(float).tolist(),
                "region": region.tolist(),
                "bucket": bucket.tolist(),
            }
        )
    for of, theirs in zip(rows, _asked("statsmodels", asked), strict=True):
        found = switchback_lift(of)
        effect, se = found.treated - found.control, found.se * (1 + found.lift) * found.control
        assert effect == pytest.approx(theirs["effect"], rel=1e-6, abs=1e-9)
        assert se == pytest.approx(theirs["se"], rel=1e-6)
        assert 2 * stats.t.sf(abs(effect / se), found.degrees) == pytest.approx(
            theirs["p"], rel=1e-5
        )


def _clusters(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    count = 2 * int(random.integers(5, 30))
    treated = random.permutation(count) < count // 2
    return random.normal(100, 3, count) * (1 + 0.02 * treated), treated


@pytest.mark.services
def test_welchs_test_of_statsmodels() -> None:
    """Ours is of the logarithm, so equal up to the next power of the lift."""
    random = np.random.default_rng(4)
    inputs = [_clusters(random) for _ in range(INPUTS)]
    asked = [
        {"kind": "welch", "arms": [value[~treated].tolist(), value[treated].tolist()]}
        for value, treated in inputs
    ]
    for (value, treated), theirs in zip(inputs, _asked("statsmodels", asked), strict=True):
        found = cluster_lift(value, np.ones(len(value)), treated)
        assert found.z == pytest.approx(theirs["t"], rel=0.05, abs=0.02)
        assert found.degrees == pytest.approx(theirs["degrees"], rel=0.1)
        assert found.p_value == pytest.approx(theirs["p"], abs=0.01)


@pytest.mark.services
def test_clusters_of_cluster_experiments() -> None:
    random = np.random.default_rng(5)
    inputs = [_clusters(random) for _ in range(20)]
    asked = [
        {
            "kind": "means",
            "rows": {
                "target": value.tolist(),
                "treated": treated.tolist(),
                "cluster": list(range(len(value))),
            },
        }
        for value, treated in inputs
    ]
    for (value, treated), theirs in zip(inputs, _asked("cluster-experiments", asked), strict=True):
        assert cluster_lift(value, np.ones(len(value)), treated).p_value == pytest.approx(
            theirs["p"], abs=0.01
        )


@pytest.mark.services
def test_the_two_way_regression_of_cluster_experiments() -> None:
    random = np.random.default_rng(6)
    rows = [_switchback(random, washout=False) for _ in range(10)]
    asked = []
    for of in rows:
        region, bucket = np.nonzero(np.ones(of.value.shape, bool))
        outcome = (of.value - of.control_rate() * of.base) / of.base.mean()
        table = {
            "target": outcome.ravel().tolist(),
            "treated": of.treated.ravel().tolist(),
            "cluster": region.tolist(),
            "region": [f"r{number}" for number in region],
            "time": [f"t{number}" for number in bucket],
        }
        asked.append({"kind": "two-way", "rows": table, "effects": ["region", "time"]})
    for of, theirs in zip(rows, _asked("cluster-experiments", asked), strict=True):
        found = switchback_lift(of)
        assert found.treated - found.control == pytest.approx(theirs["effect"], rel=1e-6, abs=1e-9)
        assert found.se * (1 + found.lift) * found.control == pytest.approx(theirs["se"], rel=1e-6)
