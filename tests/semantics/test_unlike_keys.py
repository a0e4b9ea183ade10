"""Keys that never match give a warning that shows both sides: they are written in another way."""

import warnings
from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import NoEventsWarning
from tests.flow import BASE, home  # noqa: F401 (a fixture)

USERS = [f"u{n:02}" for n in range(40)]


def view(keys=("user",), history=None, **source):
    rows = pl.DataFrame(
        {
            "user": USERS,
            "n": range(40),
            "city": ["Oslo"] * 40,
            "at": [BASE + timedelta(minutes=n) for n in range(40)],
        }
    )
    return hw.FeatureView(
        "v",
        source=hw.Source(
            "paid",
            history=rows if history is None else history(rows),
            timestamp_field="at",
            **source,
        ),
        keys=list(keys),
        features=[hw.count()],
        windows=["1d"],
        freshness=hw.on_request(),
    )


def warned(of, rows, **more):
    asked = pl.DataFrame(rows).with_columns(timestamp=pl.lit(BASE + timedelta(hours=9)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hw.get_historical_features(of, asked, **more)
    return [
        str(warning.message) for warning in caught if issubclass(warning.category, NoEventsWarning)
    ]


@pytest.mark.parametrize(
    "write",
    [str.upper, lambda user: f"{user}   ", lambda user: f"user-{user}", lambda user: user[1:]],
)
def test_keys_that_are_written_in_another_way_are_a_warning(write):
    """As of char(10), which keeps its blanks, or a UUID in capitals."""
    (message,) = warned(view(), {"user": [write(user) for user in USERS]})
    assert "none of the keys of the 40 rows is one of source 'paid' by user" in message
    assert f"{write('u00')!r} in the rows and 'u00' in the source" in message


@pytest.mark.parametrize("memory", [None, "1GB"])
def test_integers_and_composite_keys_are_judged_too(memory):
    resources = hw.Resources(memory=memory)
    (message,) = warned(
        view(["n", "city"]), {"n": range(40), "city": ["oslo"] * 40}, resources=resources
    )
    assert "by n, city" in message
    assert "0, 'oslo' in the rows and 0, 'Oslo' in the source" in message
    spread = view(["n"], lambda rows: rows.with_columns(pl.col("n") * 1000 + 7))
    (message,) = warned(spread, {"n": [n * 1000 for n in range(40)]}, resources=resources)
    assert "by n" in message


def test_one_key_that_matches_a_few_new_keys_and_nulls_are_no_warning():
    assert warned(view(), {"user": [*(user.upper() for user in USERS), "u07"]}) == []
    assert warned(view(), {"user": ["new", "newer"]}) == []
    assert warned(view(), {"user": pl.Series([None] * 40, dtype=pl.String)}) == []
    assert warned(view([]), {"other": range(40)}) == []


def test_the_warning_comes_again_from_the_cache(tmp_path):
    (tmp_path / "paid.parquet").unlink(missing_ok=True)

    def kept(rows):
        rows.write_parquet(tmp_path / "paid.parquet")
        return tmp_path / "paid.parquet"

    of, resources = view(history=kept), hw.Resources(cache=hw.operations.Cache(tmp_path / "cache"))
    rows = {"user": [user.upper() for user in USERS]}
    first, again = warned(of, rows, resources=resources), warned(of, rows, resources=resources)
    assert len(first) == 1
    assert first == again


def test_a_training_warns(recwarn):
    at = [BASE + timedelta(hours=n) for n in range(200)]
    labels = pl.DataFrame(
        {
            "user": [user.upper() for user in USERS] * 5,
            "asked": at,
            "y": [n % 3 == 0 for n in range(200)],
        }
    )
    model = hw.Model(
        "m",
        task="binary",
        features=hw.FeatureService("f", [view(), hw.RequestField("z", float)]),
        labels=hw.Labels(
            "l",
            table=labels.with_columns(z=1.0),
            timestamp_field="asked",
            label="y",
            known_after="1h",
        ),
    )
    warnings.simplefilter("always", NoEventsWarning)
    hw.train(model)
    assert any("none of the keys of the" in str(warning.message) for warning in recwarn)
