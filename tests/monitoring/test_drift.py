"""Drift of served features: no alarm where nothing changed, planted shifts found, alerts only with
a loss or a change of statuses.
"""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.events.columns import STATUSES
from headwater.journal.serving_log_rows import BatchEntry
from headwater.models.registry import ModelRegistry
from headwater.monitoring.population_stability import stability
from tests.journal.conftest import about, home, micros, run  # noqa: F401 (fixtures)

DAY = 86_400
ROWS = 400


# ---------------------------------------------------------------- the index


def test_it_is_zero_of_equal_shares_and_as_defined_elsewhere():
    equal = np.array([0.2, 0.3, 0.5])
    assert stability(equal, 100, equal, 1000, level=0.01).psi == 0
    p, q = np.array([0.4, 0.6]), np.array([0.5, 0.5])
    assert stability(p, 1e9, q, 1e9, level=0.01).psi == pytest.approx(
        float(((p - q) * np.log(p / q)).sum()), rel=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 30, 300, 3000])
@pytest.mark.parametrize("m", [300, 20_000])
def test_chance_exceeds_the_limit_as_rarely_as_it_says(n, m):
    """2,000 pairs of samples of one distribution: at most 5 %, and of large samples close to it."""
    rng = np.random.default_rng(n + m)
    of = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    pairs = zip(rng.multinomial(n, of, 2000) / n, rng.multinomial(m, of, 2000) / m, strict=True)
    found = [stability(p, n, q, m, level=0.05) for p, q in pairs]
    rate = np.mean([one.psi > one.limit for one in found])
    assert rate <= 0.065
    if n >= 300:
        assert rate >= 0.035
        assert np.mean([one.psi for one in found]) == pytest.approx(
            np.mean([one.by_chance for one in found]), rel=0.08
        )


# ---------------------------------------------------------------- from training to the log


@pytest.fixture
def trained(tmp_path):
    """A model of one view whose training is registered."""
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.random(3000)) * 30 * DAY - 31 * DAY
    users = rng.integers(0, 50, 3000)
    events = pl.DataFrame(
        {
            "user": users,
            "pages": rng.exponential(size=3000),
            "at": (micros(0) + seconds * 1e6).astype(np.int64),
        }
    )
    events = events.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    view = hw.FeatureView(
        "user",
        source=hw.Source("visits", history=events, timestamp_field="at", select=["user", "pages"]),
        keys=["user"],
        features=[hw.count(), hw.mean("pages")],
        windows=["1d"],
        freshness=hw.on_request(),
    )
    asked = pl.DataFrame(
        {
            "user": rng.integers(0, 50, 2000),
            "at": rng.random(2000) * 25 * DAY - 26 * DAY,
            "left": rng.random(2000) < 0.3,
        }
    )
    asked = asked.with_columns(
        (pl.col("at") * 1e6 + micros(0)).cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    )
    labels = hw.Labels("leaving", table=asked, timestamp_field="at", label="left", known_after="1h")
    model = hw.Model(
        "churn", features=hw.FeatureService("user_v1", [view]), labels=labels, task="binary"
    )
    made = hw.train(model, as_of=asked["at"].max() + timedelta(hours=2))
    registry = ModelRegistry(tmp_path / "models")
    made.register(registry)
    return model, made, registry


FEATURES = ("user__count_1d", "user__mean_pages_1d")


def log(
    folder,
    model,
    days,
    rng,
    *,
    moved=lambda values, statuses: (values, statuses),
    sample=1.0,
    rows=ROWS,
):
    """Serve rows whose features are drawn as in training, changed by `moved` on the last of the
    days.
    """
    frame = hw.get_historical_features(model.features, model.labels, statuses=True)
    of = about(FEATURES)
    with hw.operations.ServedLog(folder, sample=sample) as written:
        for day in range(days):
            at = rng.integers(0, frame.height, rows)
            drawn = frame[at]
            values = [drawn[name].to_list() for name in FEATURES]
            statuses = [
                bytes(STATUSES.index(word) for word in drawn[f"{name}__status"])
                for name in FEATURES
            ]
            if day == days - 1:
                values, statuses = moved(values, statuses)
            for row in range(rows):
                second = day * DAY + (row + 0.5) * DAY / rows
                written.put(
                    BatchEntry(
                        of,
                        f"d{day}-{row}",
                        micros(second),
                        {"user": [int(at[row])]},
                        [[column[row]] for column in values],
                        [codes[row : row + 1] for codes in statuses],
                        [(micros(second), micros(second), {}, False, False)],
                        1,
                        [0.3],
                        "on_request",
                    )
                )


def drifted(tmp_path, model, days):
    return hw.operations.drift(
        model,
        data_dir=tmp_path,
        models=tmp_path / "models",
        since="2024-05-01T00:00Z",
        at=hw_at(days),
    )


def hw_at(days):
    return f"2024-05-{1 + days:02}T00:00Z"


def test_stationary_rows_raise_no_alarm_and_the_numbers_are_the_days(trained, tmp_path):
    model, _, _ = trained
    log(tmp_path, model, 6, np.random.default_rng(1))
    found = drifted(tmp_path, model, 6).result
    assert [feature.state for feature in found.features] == ["no shift shown"] * 2
    assert found.first_line.startswith("No shift shown: by 2024-05-06 none of 2 features")
    for feature in found.features:
        assert [day.day for day in feature.days] == [f"2024-05-0{n}" for n in range(1, 7)]
        assert {day.rows for day in feature.days} == {ROWS}
        assert all(
            day.null_share == pytest.approx(1 - day.statuses["present"], abs=1e-9)
            for day in feature.days
            if "mean" in feature.feature
        )


def test_a_shift_alone_is_information_and_with_its_statuses_an_alert(trained, tmp_path):
    model, _, _ = trained
    log(
        tmp_path,
        model,
        6,
        np.random.default_rng(1),
        moved=lambda values, statuses: ([[v + 5 for v in values[0]], values[1]], statuses),
    )
    found = drifted(tmp_path, model, 6).result
    assert [(f.feature, f.state, f.since) for f in found.shifted] == [
        ("user__count_1d", "shifted", "2024-05-06")
    ]
    assert found.alerts == []
    assert "without a loss or a change of statuses" in found.first_line
    missing = bytes([STATUSES.index("missing")]) * ROWS

    def gone(values, statuses):
        return [values[0], [None] * ROWS], [statuses[0], missing]

    log(tmp_path, model, 7, np.random.default_rng(2), moved=gone)
    again = drifted(tmp_path, model, 7)
    (alert,) = again.result.alerts
    assert (alert.feature, alert.reason) == ("user__mean_pages_1d", "its status shares changed")
    assert again.result.first_line.startswith(
        "Alert: 1 of 2 features of churn as defined moved away from training. By 2024-05-07 "
    )
    for text in (
        repr(again),
        again.to_markdown(),
        again._repr_html_(),
        again.write_html(tmp_path / "page.html").read_text(),
    ):
        assert "user__mean_pages_1d" in text
        assert "missing" in text


def test_a_sampled_log_stands_for_all_rows_and_says_less(trained, tmp_path):
    model, _, _ = trained
    log(tmp_path, model, 1, np.random.default_rng(1), sample=0.25, rows=2000)
    (day,) = drifted(tmp_path, model, 1).result.features[0].days
    assert day.weight == pytest.approx(4 * day.rows)
    assert 400 < day.rows < 600
    assert day.by_chance >= (1 / day.rows + 1 / 2000)


def test_a_few_rows_alarm_nobody(trained, tmp_path):
    model, _, _ = trained
    log(tmp_path, model, 1, np.random.default_rng(1), rows=3)
    assert drifted(tmp_path, model, 1).result.shifted == []
