"""SQL that repeats the main figure of an experiment from two exported tables, `exposures` and
`outcomes`, in any engine with windows.
"""

from __future__ import annotations

from headwater.experiments.look_rows import LookRows

_UNITS = """WITH first AS (
  SELECT unit, arm, cluster, bucket FROM (
    SELECT *, row_number() OVER (PARTITION BY unit ORDER BY "at", request, arm) AS place
    FROM exposures WHERE NOT coalesce(override, false)
  ) AS ordered WHERE place = 1
), units AS (
  SELECT first.arm, first.cluster, first.bucket, outcomes.value, outcomes.base,
    outcomes."before", {stratum} AS stratum
  FROM first JOIN outcomes ON outcomes.unit = first.unit
  WHERE first.arm IN ('{control}', '{treated}')
)"""
_RATIO = """
SELECT treated.rate / control.rate - 1 AS lift FROM
  (SELECT sum(value) / sum(base) AS rate FROM units WHERE arm = '{treated}') AS treated,
  (SELECT sum(value) / sum(base) AS rate FROM units WHERE arm = '{control}') AS control"""
_UNIT = """, means AS (
  SELECT avg(value) AS value, avg(base) AS base, avg("before") AS centre FROM units
), linear AS (
  SELECT units.value / means.base - means.value * units.base / (means.base * means.base) AS y,
    units."before" AS x
  FROM units, means
), covariate AS (
  SELECT CASE WHEN avg(x * x) > avg(x) * avg(x)
    THEN (avg(x * y) - avg(x) * avg(y)) / (avg(x * x) - avg(x) * avg(x)) ELSE 0 END AS slope
  FROM linear
), strata AS (
  SELECT arm, stratum, count(*) AS units, sum(value) / sum(base) AS rate, avg("before") AS x
  FROM units GROUP BY arm, stratum
), shares AS (
  SELECT stratum, sum(units) * 1.0 / (SELECT sum(units) FROM strata) AS share
  FROM strata GROUP BY stratum
), arms AS (
  SELECT arm, sum(share * (rate - slope * (x - centre))) AS mean
  FROM strata JOIN shares ON shares.stratum = strata.stratum, covariate, means GROUP BY arm
)
SELECT treated.mean / control.mean - 1 AS lift FROM arms AS treated, arms AS control
WHERE treated.arm = '{treated}' AND control.arm = '{control}'"""
_SWITCHBACK = """, cells AS (
  SELECT cluster, bucket, min(arm) AS arm, sum(value) AS value, sum(base) AS base
  FROM units GROUP BY cluster, bucket
), control AS (
  SELECT sum(value) / sum(base) AS rate FROM cells WHERE arm = '{control}'
), linear AS (
  SELECT cluster, bucket, (value - rate * base) / (SELECT avg(base) FROM cells) AS y,
    CASE WHEN arm = '{treated}' THEN 1.0 ELSE 0.0 END AS w
  FROM cells, control
), within AS (
  SELECT
    y - avg(y) OVER (PARTITION BY cluster) - avg(y) OVER (PARTITION BY bucket)
      + avg(y) OVER () AS y,
    w - avg(w) OVER (PARTITION BY cluster) - avg(w) OVER (PARTITION BY bucket)
      + avg(w) OVER () AS w
  FROM linear
)
SELECT sum(w * y) / sum(w * w) / (SELECT rate FROM control) AS lift FROM within"""


def query(
    kind: str, arms: tuple[str, str], rows: LookRows, *, strata: bool, balanced: bool
) -> tuple[str, str]:
    """The query, and in words which figure it repeats.

    Args:
        kind: of the experiment.
        arms: the control and the other one.
        rows: of the deciding metric at the look.
        strata: whether cold starts are a stratum.
        balanced: of a switchback, whether every region has every bucket.
    """
    names = {
        "control": arms[0],
        "treated": arms[1],
        "stratum": "CASE WHEN outcomes.cold THEN 1 ELSE 0 END" if strata else "0",
    }
    figure = f"the lift of {arms[1]} over {arms[0]}"
    if kind == "ab" and rows.quantile is None:
        return (_UNITS + (_UNIT if rows.covariate or strata else _RATIO)).format(**names), figure
    if kind == "switchback" and balanced:
        return (_UNITS + _SWITCHBACK).format(**names), figure
    plain = (_UNITS + _RATIO).format(**names)
    return (
        plain,
        figure
        if kind == "cluster"
        else (
            f"the ratio of the arms' rates; {figure} needs a regression or a quantile, which the "
            "page has"
        ),
    )
