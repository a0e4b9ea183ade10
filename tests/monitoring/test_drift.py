"""Drift of served features: no alarm where nothing changed, planted shifts found, alerts only with
a loss or a change of statuses.
"""

import json
from datetime import timedelta

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.events.columns import STATUSES
from headwater.journal.serving_log_rows import BatchEntry
from headwater.models.manifest import manifest_text, read_manifest
from headwater.models.reference_distribution import AT, WEIGHT, references, shares_of
from headwater.models.registry import ModelRegistry
from headwater.monitoring.population_stability import dispersion, stability
from tests.journal.conftest import about, home, micros, run  # noqa: F401 (fixtures)

DAY = 86_400
ROWS = 400
NAMES = ("amount", "zeros", "vip", "country", "tags", "nothing", "same", "seen")


def draws(rng, n, second=0.0):
    """n rows of features of every kind, asked within the day that begins at `second`."""
    asked = micros(second) + (rng.random(n) * DAY * 1e6).astype(np.int64)
    seen = pl.Series(asked - (rng.exponential(3600e6, n)).astype(np.int64)).cast(
        pl.Datetime("us", "UTC")
    )
    tags = [rng.choice(["hat", "shoe", "coat"], rng.integers(0, 4)).tolist() for _ in range(n)]
    frame = pl.DataFrame(
        {
            "amount": rng.normal(size=n),
            "zeros": np.where(rng.random(n) < 0.7, 0.0, rng.exponential(size=n)),
            "vip": rng.random(n) < 0.3,
            "country": rng.choice(
                [f"c{i:02}" for i in range(20)], n, p=(w := 1 / np.arange(1.0, 21)) / w.sum()
            ),
            "tags": pl.Series(tags, dtype=pl.List(pl.String)),
            "nothing": pl.Series([None] * n, dtype=pl.Float64),
            "same": 5.0,
            "seen": seen,
        }
    )
    return frame, asked


def shares(reference, frame, asked, name):
    rows = frame.select(name).with_columns(pl.Series(AT, asked), pl.lit(1.0).alias(WEIGHT))
    return shares_of(reference.weights(rows.lazy(), name, []).collect(), len(reference.shares))


# ---------------------------------------------------------------- the index


def test_it_is_zero_of_equal_shares_and_as_defined_elsewhere():
    equal = np.array([0.2, 0.3, 0.5])
    assert stability(equal, 100, equal, 1000, level=0.01).psi == 0
    p, q = np.array([0.4, 0.6]), np.array([0.5, 0.5])
    assert stability(p, 1e9, q, 1e9, level=0.01).psi == pytest.approx(
        float(((p - q) * np.log(p / q)).sum()), rel=1e-6
    )


def test_an_empty_bin_is_finite_and_one_that_both_lack_counts_nowhere():
    served, reference = np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.0])
    found = stability(served, 50, reference, 1000, level=0.01)
    assert np.isfinite(found.psi)
    assert found == stability(served[:2], 50, reference[:2], 1000, level=0.01)
    assert stability(np.array([1.0, 0.0]), 50, np.array([1.0, 0.0]), 50, level=0.01).psi == 0, (
        "a constant"
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


def test_days_of_dependent_rows_are_dispersed_and_one_change_is_not():
    rng = np.random.default_rng(1)
    of = np.array([0.25] * 4)
    independent = [(rng.multinomial(400, of) / 400, 400.0) for _ in range(30)]
    tens = [(rng.multinomial(40, of) / 40, 400.0) for _ in range(30)]  # each row ten times
    assert dispersion(independent) < 1.5
    assert 6 < dispersion(tens) < 15
    moved = [*independent[:15], *((np.array([0.7, 0.1, 0.1, 0.1]), 400.0) for _ in range(15))]
    assert dispersion(moved) < 1.5
    assert dispersion(tens[:4]) == 1


# ---------------------------------------------------------------- the bins


def test_each_kind_of_feature_has_bins_that_sum_to_one():
    frame, asked = draws(np.random.default_rng(0), 2000)
    found = references(frame, asked)
    assert {name: one.bins for name, one in found.items()} == dict(
        zip(
            NAMES,
            [
                "quantiles",
                "quantiles",
                "values",
                "texts",
                "elements",
                "values",
                "values",
                "quantiles",
            ],
            strict=True,
        )
    )
    for one in found.values():
        assert sum(one.shares) == pytest.approx(1)
        assert len(one.shares) == len(one.labels)
        assert one.rows == 2000
    assert found["amount"].shares[:10] == pytest.approx([0.1] * 10)
    assert found["nothing"].labels == ["other", "null"]
    assert found["nothing"].shares == [0.0, 1.0]
    assert found["same"].labels == ["5.0", "other", "null"]
    assert len(found["country"].categories) == 9
    assert found["country"].categories[0] == "c00"
    assert found["tags"].labels == ["coat", "hat", "shoe", "other", "empty list", "null"] or set(
        found["tags"].categories
    ) == {
        "hat",
        "shoe",
        "coat",
    }
    assert found["seen"].before_request


def test_values_below_a_heavy_least_value_and_nan_have_bins_of_their_own():
    frame, asked = draws(np.random.default_rng(0), 2000)
    zeros = references(frame, asked)["zeros"]
    below = shares(
        zeros, pl.DataFrame({"zeros": [-1.0, 0.0, float("nan"), None]}), asked[:4], "zeros"
    )
    assert below[0] == 0.25
    assert below[1] == 0.25
    assert below[-1] == 0.5


def test_other_dtypes_of_the_log_are_counted_in_the_same_bins():
    """The log may hold integers for floats, and text for a category."""
    asked = np.zeros(4, np.int64)
    amounts = references(pl.DataFrame({"x": [1.0, 2.0, 2.0, None]}), asked)["x"]
    assert (
        shares(amounts, pl.DataFrame({"x": [1, 2, 2, None]}), asked, "x").tolist() == amounts.shares
    )
    flags = references(pl.DataFrame({"x": [True, False, True, None]}), asked)["x"]
    assert shares(flags, pl.DataFrame({"x": [1, 0, 1, None]}), asked, "x").tolist() == flags.shares
    nothing = references(pl.DataFrame({"x": [["a"], ["b"]]}), asked[:2])["x"]
    assert shares(nothing, pl.DataFrame({"x": [None, None]}), asked[:2], "x")[-1] == 1


def test_weights_count_and_make_rows_worth_less():
    asked = np.zeros(3, np.int64)
    one = references(
        pl.DataFrame({"x": ["a", "b", "b"]}), asked, weights=np.array([2.0, 1.0, 1.0])
    )["x"]
    assert dict(zip(one.labels, one.shares, strict=True)) == {
        "a": 0.5,
        "b": 0.5,
        "other": 0.0,
        "null": 0.0,
    }
    assert one.rows == pytest.approx(16 / 6)


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


def test_the_manifest_keeps_shares_of_values_nulls_and_statuses(trained):
    _, made, registry = trained
    kept = registry.current("churn", "as defined").manifest.references
    assert set(kept) == set(FEATURES)
    mean = kept["user__mean_pages_1d"]
    assert mean.rows == 2000
    assert mean.shares[-1] == pytest.approx(1 - mean.statuses["present"])
    assert set(mean.statuses) <= set(STATUSES)
    assert made.references.keys() == kept.keys()


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
        "Alert: 1 of 2 features of churn as defined moved away from training by 2024-05-07"
    )
    for text in (
        repr(again),
        again.to_markdown(),
        again._repr_html_(),
        again.write_html(tmp_path / "page.html").read_text(),
    ):
        assert "user__mean_pages_1d" in text
        assert "missing" in text


def test_a_shift_with_a_missed_promise_is_an_alert(trained, tmp_path, monkeypatch):
    model, _, _ = trained
    log(
        tmp_path,
        model,
        2,
        np.random.default_rng(1),
        moved=lambda values, statuses: ([[v + 5 for v in values[0]], values[1]], statuses),
    )

    class Missed:
        withdrawn, first_line = True, "Withdrawn: production delivers less."

    monkeypatch.setattr("headwater.monitoring.drift.delivery_of", lambda *_: Missed)
    found = drifted(tmp_path, model, 2).result
    assert [(f.feature, f.reason) for f in found.alerts] == [
        ("user__count_1d", "the promise of the backtest was missed")
    ]
    assert found.loss == Missed.first_line


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


def test_todays_rows_count_only_where_there_are_no_others(trained, tmp_path):
    model, _, _ = trained
    log(tmp_path, model, 2, np.random.default_rng(1))
    days = [
        f.days
        for f in hw.operations.drift(
            model, data_dir=tmp_path, models=tmp_path / "models", at="2024-05-02T12:00Z"
        ).result.features
    ]
    assert [[day.day for day in each] for each in days] == [["2024-05-01"]] * 2
    days = [
        f.days
        for f in hw.operations.drift(
            model, data_dir=tmp_path, models=tmp_path / "models", at="2024-05-01T12:00Z"
        ).result.features
    ]
    assert [[day.day for day in each] for each in days] == [["2024-05-01"]] * 2


def test_a_model_that_was_trained_before_is_said(trained, tmp_path):
    model, _, registry = trained
    log(tmp_path, model, 1, np.random.default_rng(1))
    version = registry.current("churn", "as defined")
    path = version.folder / "manifest.json"
    old = {
        name: value for name, value in json.loads(path.read_bytes()).items() if name != "references"
    }
    path.write_text(json.dumps(old))
    assert read_manifest(path.read_bytes(), path).references == {}
    found = drifted(tmp_path, model, 1).result
    assert [f.state for f in found.features] == ["not compared"] * 2
    assert found.first_line == (
        "Nothing compared: version 1 of churn as defined was trained before distributions "
        "were kept; train it again."
    )


def test_a_manifest_is_read_as_it_was_written(trained):
    manifest = trained[2].current("churn", "as defined").manifest
    assert read_manifest(manifest_text(manifest), "here") == manifest
    assert msgspec.json.decode(manifest_text(manifest))["references"]["user__count_1d"]["bins"] in (
        "values",
        "quantiles",
    )


def test_what_cannot_be_compared_is_said(trained, tmp_path):
    model, _, _ = trained
    with pytest.raises(DataError, match="no serving log"):
        drifted(tmp_path, model, 1)
    with pytest.raises(UsageError, match="drift\\(\\) takes a Model, and was given str"):
        hw.operations.drift("churn")
    log(tmp_path, model, 1, np.random.default_rng(1))
    with pytest.raises(UsageError, match="give an earlier since"):
        hw.operations.drift(
            model,
            data_dir=tmp_path,
            models=tmp_path / "models",
            since="2024-05-02T00:00Z",
            at="2024-05-01T00:00Z",
        )
    none = hw.operations.drift(
        model,
        data_dir=tmp_path,
        models=tmp_path / "models",
        since="2024-06-01T00:00Z",
        at="2024-06-02T00:00Z",
    ).result
    assert (
        none.first_line
        == "Nothing compared: no feature of churn as defined was served in this period."
    )
