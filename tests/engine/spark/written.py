"""What Spark writes, next to what one machine computes."""

import polars as pl
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark


def written(features, rows, engine, output=None, **options):
    """What Spark writes, in the order of the rows."""
    options = {"resources": hw.Resources(engine=engine), **options}
    table = headwater_spark.write_historical_features(
        features, rows, output or headwater_spark.spark_output(), **options
    )
    return table.scan().collect().sort("number")


def assert_same(features, given, rows, engine, **options):
    """Assert that what Spark writes of `given` has the bits that one machine computes of `rows`."""
    expected = hw.get_historical_features(
        features, rows, **{**options, "resources": hw.Resources(engine="local")}
    )
    expected = expected.with_columns(pl.selectors.enum().cast(pl.String))  # statuses
    assert_frame_equal(
        written(features, given, engine, **options), expected.sort("number"), check_exact=True
    )
