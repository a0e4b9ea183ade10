"""The baseline of the Fraud Detection Handbook, its features computed by headwater, on the
handbook's own data or on those of data.py.

    python handbook.py FOLDER    where FOLDER holds the handbook's raw data (2018-04-01.pkl and so
                                 on); needs pandas
    python handbook.py           the same protocol on data that data.py makes; nothing is published
                                 of them

The protocol is that of chapter 3, "Baseline fraud detection system" (Le Borgne, Siblini, Lebichot
and Bontempi, 2022): train on 25 to 31 July 2018, wait 7 days for outcomes, test on 8 to 14 August;
fifteen features over 1, 7 and 30 days, of terminals delayed by 7 days; cards known to be
compromised leave the test set day by day; scikit-learn's classifiers on standardised features.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import headwater as hw

TRAIN, WEEK, DELAY = datetime(2018, 7, 25, tzinfo=UTC), timedelta(days=7), timedelta(days=7)
WINDOWS = ("1d", "7d", "30d")
CLASSIFIERS: Mapping[str, Callable[[], object]] = {
    "logistic regression": lambda: LogisticRegression(random_state=0),
    "decision tree, depth 2": lambda: DecisionTreeClassifier(max_depth=2, random_state=0),
    "decision tree": lambda: DecisionTreeClassifier(random_state=0),
    "random forest": lambda: RandomForestClassifier(random_state=0, n_jobs=-1),
}
PUBLISHED = {  # AUC, average precision, card precision at 100
    "logistic regression": (0.871, 0.606, 0.291),
    "decision tree, depth 2": (0.763, 0.496, 0.241),
    "decision tree": (0.788, 0.309, 0.243),
    "random forest": (0.867, 0.658, 0.287),
    "XGBoost": (0.862, 0.639, 0.273),
}


def read(folder: Path) -> pl.DataFrame:
    """The handbook's raw data: a pickled pandas frame a day. Loading a pickle runs code: only those
    that you trust.
    """
    import pandas as pd

    files = sorted(folder.glob("2018-*.pkl"))
    if not files:
        raise SystemExit(
            f"{folder} holds no 2018-04-01.pkl and so on; clone the handbook's "
            "simulated-data-raw, and name its folder `data`"
        )
    frame = pl.from_pandas(pd.concat([pd.read_pickle(file) for file in files], ignore_index=True))
    return frame.select(
        payment=pl.col("TRANSACTION_ID").cast(pl.Int64),
        card=pl.col("CUSTOMER_ID").cast(pl.Int64),
        terminal=pl.col("TERMINAL_ID").cast(pl.Int64),
        paid_at=pl.col("TX_DATETIME").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        amount=pl.col("TX_AMOUNT").cast(pl.Float64),
        is_fraud=pl.col("TX_FRAUD").cast(pl.Boolean),
    ).sort("paid_at", "payment")


def service(payments: pl.DataFrame) -> hw.FeatureService:
    """The fifteen features."""
    source = hw.Source(
        "payments",
        history=payments,
        timestamp_field="paid_at",
        select=["card", "terminal", "amount", "is_fraud"],
    )
    outcomes = hw.Source(
        "outcomes",
        history=payments,
        timestamp_field="paid_at",
        known_after=DELAY,
        select=["terminal", "is_fraud"],
    )
    exact = [hw.window(length, hop="1s") for length in WINDOWS]
    card = hw.FeatureView(
        "card",
        source=source,
        keys=["card"],
        windows=exact,
        freshness=hw.on_request(),
        features=[hw.count(), hw.mean("amount")],
    )
    delayed = [hw.window(length, offset=DELAY, hop="1s") for length in WINDOWS]
    terminal = hw.FeatureView(
        "terminal", source=outcomes, keys=["terminal"], windows=delayed, freshness=hw.on_request(),
        features=[hw.count(), hw.mean("is_fraud", name="risk")],
    )  # fmt: skip

    @hw.request_feature
    def weekend(paid_at: datetime) -> int:
        return int(paid_at.weekday() >= 5)

    @hw.request_feature
    def night(paid_at: datetime) -> int:
        return int(paid_at.hour <= 6)

    return hw.FeatureService(
        "handbook", [hw.RequestField("amount", float), weekend, night, card, terminal]
    )


def features(payments: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Float64 (rows, 15): amount, weekend, night; count and mean amount of the card; count and
    share of fraud of the terminal.

    The handbook's windows are (t - w, t]: they hold the payment at t itself. headwater's are [T -
    w, T). Times have a resolution of one second, so the same payments are in the window of a
    request one second later.
    """
    asked = rows.with_columns(timestamp=pl.col("paid_at") + timedelta(seconds=1))
    computed = hw.get_historical_features(service(payments), asked)
    columns = [f"card__{name}_{window}" for window in WINDOWS for name in ("count", "mean_amount")]
    delayed = [
        f"terminal__{name}_{window}_offset_7d" for window in WINDOWS for name in ("count", "risk")
    ]
    return computed.select(
        "amount", "weekend", "night", *columns, pl.col(delayed).fill_null(0)
    ).cast(pl.Float64)


def split(payments: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to train on, and those to test on, without the payments of cards that are known to
    be compromised on each day.
    """
    day = (pl.col("paid_at") - TRAIN).dt.total_days()
    rows = payments.filter(pl.col("paid_at") >= TRAIN).with_columns(day=day)
    train = rows.filter(pl.col("day") < WEEK.days)
    known = set(train.filter("is_fraud")["card"])
    tests = []
    for number in range(WEEK.days):
        known |= set(
            rows.filter((pl.col("day") == WEEK.days + number - 1) & pl.col("is_fraud"))["card"]
        )
        today = rows.filter(pl.col("day") == (WEEK + DELAY).days + number)
        tests.append(today.filter(~pl.col("card").is_in(list(known))))
    return train, pl.concat(tests)


def card_precision(test: pl.DataFrame, score: np.ndarray, k: int = 100) -> float:
    """The share of frauds among the k cards with the highest scores of a day, cards once caught
    left out; the mean over days.
    """
    caught: set[int] = set()
    precisions = []
    for _, today in test.with_columns(score=score).group_by("day", maintain_order=True):
        cards = today.group_by("card", maintain_order=True).agg(pl.max("score"), pl.max("is_fraud"))
        best = (
            cards.filter(~pl.col("card").is_in(list(caught)))
            .sort("score", descending=True, maintain_order=True)
            .head(k)
        )
        hits = best.filter("is_fraud")["card"].to_list()
        precisions.append(len(hits) / k)
        caught.update(hits)
    return float(np.mean(precisions))


def boosting() -> Mapping[str, Callable[[], object]]:
    """XGBoost where it is installed, with the defaults that it had when the book was written."""
    if find_spec("xgboost") is None:
        return {}
    from xgboost import XGBClassifier

    return {
        "XGBoost": lambda: XGBClassifier(
            random_state=0, n_jobs=-1, tree_method="exact", base_score=0.5
        )
    }


def run(payments: pl.DataFrame) -> dict[str, tuple[float, float, float]]:
    """AUC, average precision and card precision at 100 of each classifier."""
    train, test = split(payments)
    print(
        f"{train.height:,} payments to train on, {train['is_fraud'].sum()} of them fraud; "
        f"{test.height:,} to test on, {test['is_fraud'].sum()}"
    )
    both = features(payments, pl.concat([train, test]))
    scaler = StandardScaler().fit(both.head(train.height).to_numpy())
    x_train, x_test = (
        scaler.transform(both.head(train.height).to_numpy()),
        scaler.transform(both.tail(test.height).to_numpy()),
    )
    results = {}
    for name, make in (CLASSIFIERS | boosting()).items():
        model = make().fit(x_train, train["is_fraud"].to_numpy())  # type: ignore[attr-defined]
        score = model.predict_proba(x_test)[:, 1]
        truth = test["is_fraud"].to_numpy()
        results[name] = (
            roc_auc_score(truth, score),
            average_precision_score(truth, score),
            card_precision(test, score),
        )
    return results


if __name__ == "__main__":
    published = len(sys.argv) > 1
    if published:
        table = read(Path(sys.argv[1]))
    else:
        from data import payments as made

        table = made(days=150)
    print(f"{'':24}{'AUC':>8}{'AP':>8}{'CP@100':>8}" + ("   published" if published else ""))
    for name, figures in run(table).items():
        line = "   " + " ".join(f"{value:.3f}" for value in PUBLISHED[name]) if published else ""
        print(f"{name:24}" + "".join(f"{value:8.3f}" for value in figures) + line)
