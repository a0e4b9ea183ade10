"""A day of a model with a third party: no stream, no archive, integer ids, and a log that no
process has converted.
"""

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from headwater.journal.journal_files import CLOSED, OPEN
from headwater.journal.serving_log_rows import EntryContext
from headwater.models.registry import ModelRegistry
from tests.journal.conftest import at, one

N = 700


def project(*, computed=False, **more):
    rng = np.random.default_rng(4)
    users = np.arange(N) % 7
    visits = pl.DataFrame({"user": users, "at": [at(-1000 + n) for n in range(N)]})
    answers = pl.DataFrame(
        {
            "address": [f"10.0.0.{u}" for u in range(7)],
            "score": (np.arange(7) / 10).tolist(),
            "fetched": [at(-5000)] * 7,
        }
    )
    view = hw.FeatureView(
        "user",
        source=hw.Source("visits", history=visits, timestamp_field="at"),
        keys=["user"],
        features=[hw.count(name="visits")],
        windows=["1d"],
        freshness=hw.on_request(),
    )
    ip = hw.HttpFeatures(
        "ip",
        url="https://ip.example/{address}",
        request={"address": str},
        response={"score": float},
        fallback={"score": 0.9},
        history=hw.Source("ip_history", history=answers, timestamp_field="fetched"),
    )

    @hw.request_feature
    def doubled(score: float | None = ip["score"]) -> float | None:
        return None if score is None else 2 * score

    members = [view, ip, *([doubled] if computed else [])]
    labels = pl.DataFrame(
        {
            "user": users,
            "address": [f"10.0.0.{u}" for u in users],
            "at": [at(-100 + n) for n in range(N)],
            "left": rng.random(N) < users / 7,
        }
    )
    model = hw.Model(
        "churn",
        features=hw.FeatureService("user_v1", members),
        labels=hw.Labels(
            "leaving", table=labels, timestamp_field="at", label="left", known_after="1m"
        ),
        task="binary",
        outcomes="independent",
        **more,
    )
    return hw.Project("shop", [model], levels={"nightly": hw.Level(hw.batch("1d"))})


def logged(folder, shop, *, close=True):
    """Thirty requests as the model answered them, in the log of one process."""
    model = shop.models[0]
    trained = hw.train(model, as_of="2024-05-03T00:00Z", seed=1)
    trained.register(ModelRegistry(folder / "models"))
    scorer = ModelRegistry(folder / "models").open(model)
    context = EntryContext.for_service(
        "predict", "shop", model.features, model="churn", version="1"
    )
    log = hw.operations.ServedLog(folder)
    for n in range(30):
        user = n % 7
        rows = pl.DataFrame(
            {"user": [user], "address": [f"10.0.0.{user}"], "timestamp": [at(1000 + 120 * n)]}
        )
        values = list(
            hw.get_historical_features(model.features, rows)
            .select(model.features.feature_names)
            .row(0)
        )
        request = {"user": user, "address": f"10.0.0.{user}"}
        log.put(
            one(
                context,
                n,
                values,
                second=1000 + 120 * n,
                request=request,
                prediction=scorer.one(values),
            )
        )
    assert log.flush()
    if close:
        log.close()
    return scorer, log


def replayed(folder, shop, day="2024-05-01", **more):
    options = hw.experiments.ReplayOptions(
        data_dir=folder, models=folder / "models", at="2024-05-03T00:00Z"
    )
    return hw.experiments.replay_day(shop, day, options=options, **more).result


@pytest.mark.slow
@pytest.mark.parametrize("computed", [False, True], ids=["plain", "with a request feature of it"])
def test_a_third_party_that_fails_gives_its_fallback(tmp_path, computed):
    shop = project(computed=computed)
    logged(tmp_path, shop)
    assert replayed(tmp_path, shop).gap.changed == 0
    found = replayed(tmp_path, shop, fail=["ip"])
    assert found.replayed.faults["ip__score: fallback"] == 30
    assert found.requests == 30
    assert found.gap.changed > 0
    assert any("no decision is declared" in note for note in found.notes)


def test_an_unconverted_log_of_one_process_is_read(tmp_path):
    shop = project()
    _, log = logged(tmp_path, shop, close=False)
    assert [path for path in tmp_path.rglob("*") if path.suffix in (OPEN, CLOSED)]
    assert not list(tmp_path.rglob("served/headwater_date=*/*/*.parquet"))
    found = replayed(tmp_path, shop)
    log.close()
    assert (found.requests, found.gap.changed) == (30, 0)


def test_a_day_before_the_log_is_refused_with_the_days_it_has(tmp_path):
    shop = project()
    logged(tmp_path, shop)
    with pytest.raises(
        HeadwaterError, match=r"the log holds 2024-05-01 to 2024-05-01|segments of today"
    ):
        replayed(tmp_path, shop, day="2024-04-20")


def test_a_model_without_a_version_at_the_level_is_refused(tmp_path):
    shop = project()
    logged(tmp_path, shop)
    with pytest.raises(HeadwaterError, match="headwater train --model churn --level 'nightly'"):
        replayed(tmp_path, shop, level="nightly")
