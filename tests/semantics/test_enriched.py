"""Enriched sources in a call: computations, and how often; in labels and projects; and refusals."""

from dataclasses import replace

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError, LeakError
from tests.semantics.payments import NOON, asked, at, by_card, payments_of, rated_payments

# ---- features of features


USUAL = [hw.mean("amount", windows=["30d"]), hw.std("amount", windows=["30d"])]


def _z_score(view):
    @hw.request_feature
    def z_score(
        amount: float,
        mean: float | None = view["mean_amount_30d"],
        std: float | None = view["std_amount_30d"],
    ) -> float | None:
        return None if mean is None or not std else (amount - mean) / std

    return z_score


DAY = 24 * 60
PAID = [(0, 10), (DAY, 10), (2 * DAY, 13), (3 * DAY, 10), (33 * DAY + 1, 20), (34 * DAY, 20)]
# no mean; one value; std 0; of 10, 10, 13; of 10 alone; of 20 alone
SCORES = [None, None, None, (10 - 11) / 3**0.5, None, None]


def test_the_z_score_of_now_against_30_days():
    """Null without a mean, where one value has no deviation, and where all values are equal."""
    payments = payments_of(PAID)
    rows = asked(*(row[0] for row in PAID), amount=[float(row[1]) for row in PAID])
    found = hw.get_historical_features(_z_score(by_card(payments, *USUAL)), rows)
    assert found["z_score"].to_list() == pytest.approx(SCORES)


def test_the_z_score_of_each_event_is_a_column_of_it():
    payments = payments_of(PAID)
    view = by_card(payments, *USUAL)
    unusual = (pl.col("z_score").abs() > 0.5).alias("unusual")
    scored = hw.enrich(payments, "scored", [_z_score(view)], select=["card", "z_score", unusual])
    counts = by_card(
        scored, hw.count("z_score"), hw.count(where="unusual"), name="scored_card", windows=["30d"]
    )
    found = hw.get_historical_features([counts, view], asked(3 * DAY, 3 * DAY + 1, 35 * DAY))
    assert found.rows()[0][2:] == (0, 0, 11.0, pytest.approx(3**0.5))
    assert [row[2:4] for row in found.rows()[1:]] == [(1, 1), (0, 0)]


# ---- what a call computes


def test_where_nothing_can_count_nothing_is_read(tmp_path):
    nowhere = hw.Source(
        "payments", timestamp_field="at", history=hw.parquet(tmp_path / "none.parquet")
    )
    without = hw.Source("payments", timestamp_field="at")
    rated = hw.enrich(without, "rated", [by_card(without, hw.count())])
    found = hw.get_historical_features(
        by_card(rated, hw.count(), name="seen"), asked(0), level=hw.Level(hw.never())
    )
    assert found.row(0)[2] == 0
    with pytest.raises(DefinitionError, match="source 'payments' has no history"):
        hw.get_historical_features(by_card(rated, hw.count(), name="seen"), asked(0))
    with pytest.raises(DataError, match="no file at"):
        hw.get_historical_features(
            by_card(
                hw.enrich(nowhere, "rated", [by_card(nowhere, hw.count())]), hw.count(), name="seen"
            ),
            asked(0),
        )


def test_no_event_has_the_types_of_some():
    payments = payments_of([(0, 1)])
    rated = hw.enrich(payments, "rated", [by_card(payments, hw.last("card"), hw.count())])
    view = by_card(rated, hw.last("card__last_card_1h"), hw.max("card__count_1h"), name="seen")
    for level, rows in (
        (None, asked(30)),
        (hw.Level(hw.never()), asked(30)),
        (None, asked(-500)),
        (None, asked()),
    ):
        assert hw.get_historical_features(view, rows, level=level).dtypes[2:] == [
            pl.String,
            pl.Int64,
        ]


# ---- outcomes, projects, fingerprints


def test_an_outcome_of_enriched_events():
    payments = payments_of([(0, 1), (5, 4), (10, 2), (40, 20)])
    large = (pl.col("amount") > pl.col("card__mean_amount_1h")).alias("large")
    rated = hw.enrich(payments, "rated", [by_card(payments)], select=["card", large])
    soon = hw.Labels(
        "soon",
        table=asked(0, 6, 30),
        timestamp_field="timestamp",
        label=hw.outcome(rated, hw.count(where="large"), keys=["card"], within="15m"),
    )
    found = hw.get_historical_features(by_card(payments, hw.count()), soon)
    assert found["soon"].to_list() == [1.0, 0.0, 1.0]


def test_a_project_reaches_all_that_enriches():
    _, inner, outer = rated_payments()
    labels = hw.Labels(
        "y", table=asked(0, y=[1.0]), timestamp_field="timestamp", label="y", known_after="1h"
    )
    project = hw.Project(
        "p",
        [
            hw.Model(
                "m", task="regression", features=hw.FeatureService("svc", [outer]), labels=labels
            )
        ],
    )
    assert [s.name for s in project.sources] == ["rated", "payments"]
    assert project.all_views == (outer, inner)


def test_a_fingerprint_says_what_enriches():
    payments, inner, _ = rated_payments()
    rated = hw.enrich(payments, "rated", [inner])
    assert rated == hw.enrich(payments, "rated", [inner])
    other = replace(inner, freshness=hw.batch("1d"))
    assert (
        len(
            {
                s.fingerprint
                for s in (
                    rated,
                    hw.enrich(payments, "rated", [other]),
                    hw.enrich(payments, "rated", [inner["count_1d"]]),
                    payments,
                )
            }
        )
        == 4
    )


# ---- errors


USERS = hw.Source(
    "paid", history=pl.DataFrame({"user": [1], "at": [NOON], "amount": [1.0]}), timestamp_field="at"
)
NAMED = replace(USERS, select=["user", "amount"])
BY_USER = hw.FeatureView(
    "user",
    source=USERS,
    keys=["user"],
    features=[hw.count()],
    windows=["1h"],
    freshness=hw.on_request(),
)
TYPO = BY_USER.alias("typo", keys={"user": "usr"})

WRONG = {
    "nothing": (
        NAMED,
        [],
        {},
        "give a list of feature views, single features and request features",
    ),
    "one view": (NAMED, BY_USER, {}, "give a list of feature views"),
    "a request field": (
        NAMED,
        [hw.RequestField("amount", float)],
        {},
        "what the event itself carries is a column already",
    ),
    "a key that is not there": (
        NAMED,
        [TYPO],
        {},
        "source 'paid' have no column 'usr', which view 'typo' needs; did you mean 'user'",
    ),
    "a name": (NAMED, [BY_USER], {"name": "a__b"}, "source is named 'a__b'"),
    "twice": (NAMED, [BY_USER, BY_USER["count_1h"]], {}, "two features are named 'user__count_1h'"),
    "a column of another name": (
        NAMED,
        [BY_USER],
        {"select": [pl.col("user__cuont_1h").alias("n")]},
        "did you mean 'user__count_1h'",
    ),
    "a filter": (
        NAMED,
        [BY_USER],
        {"filter": pl.col("amuont") > 0},
        "uses 'amuont', which is neither a column of the events nor a feature",
    ),
    "what spans rows": (
        NAMED,
        [BY_USER],
        {"select": [pl.col("user__count_1h").shift(1)]},
        "not row-wise",
    ),
    "a clash": (
        replace(USERS, select=["user", pl.col("amount").alias("user__count_1h")]),
        [BY_USER],
        {},
        "'user__count_1h' of source 'paid' is named like",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_where_it_is_written(case):
    base, features, rules, says = WRONG[case]
    with pytest.raises(DefinitionError, match=says):
        hw.enrich(base, rules.pop("name", "rated"), features, **rules)


BROKEN = {
    "a key that is not there": (USERS, [TYPO], {}, ["typo__count_1h"], ((("source 'paid' have no column 'usr', which view 'typo' needs; did you mean "  # noqa: UP034
        "'user'")))),
    "a column of another name": (USERS, [BY_USER], {}, ["amuont"], ((("source 'paid', which it enriches, has no column 'amuont'; did you mean "  # noqa: UP034
        "'amount'")))),
    "in a selection": (USERS, [BY_USER], {"select": ["user", pl.col("user__n").alias("n")]}, ["n"], ("has no column "
        "'user__n'")),
    "a clash": (replace(USERS, history=USERS.history.data.rename({"amount": "user__count_1h"})), [BY_USER], {}, ["user__count_1h"], ((("is named like a "  # noqa: UP034
        "feature")))),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_the_table_shows_not_to_fit_is_refused_when_it_is_read(case):
    base, features, rules, columns, says = BROKEN[case]
    view = replace(
        BY_USER,
        name="seen",
        source=hw.enrich(base, "rated", features, **rules),
        features=[hw.count(c) for c in columns],
    )
    with pytest.raises(DataError, match=says):
        hw.get_historical_features(view, pl.DataFrame({"user": [1], "timestamp": [at(1)]}))


def test_later_timestamps_of_the_base_are_refused_still():
    table = pl.DataFrame({"user": [1], "at": [NOON], "settled": [at(60)]})
    source = hw.Source("paid", history=table, timestamp_field="at")
    view = replace(BY_USER, name="seen", source=hw.enrich(source, "rated", [BY_USER]))
    with pytest.raises(LeakError, match=r"source 'paid' .*'settled'"):
        hw.get_historical_features(view, pl.DataFrame({"user": [1], "timestamp": [at(1)]}))


def test_a_source_whose_events_are_taken_back_is_not_enriched():
    payments = hw.Source(
        "payments", timestamp_field="at", known_at_field="known", id_field="id", changes="is_before"
    )
    with pytest.raises(
        DefinitionError, match=r"'payments' has changes='is_before'.*aggregate this source itself"
    ):
        hw.enrich(payments, "rated", [by_card(payments, hw.count())])


def test_only_a_source_is_enriched():
    with pytest.raises(
        DefinitionError, match=r"source 'rated': source of enrich\(\) is 3; give a hw.Source"
    ):
        hw.enrich(3, "rated", [BY_USER])
