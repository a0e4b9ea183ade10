"""A day replayed: at the served level it is what was served; at others, and with failures, what the
definitions say.
"""

import datetime as dt
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.models.registry import ModelRegistry
from tests.backtesting.delivery_world import LIVE
from tests.cli.conftest import run  # noqa: F401 (a fixture)
from tests.experiments.replayed_world import AFTER, DAY, bank
from tests.experiments.replayed_world import served as played


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replayed")
    return folder, played(folder)


def options(folder, **more):
    store = f"lmdb:{folder / 'online'}?size=1GB"
    return hw.experiments.ReplayOptions(
        data_dir=folder, **{"at": AFTER, "models": folder / "models", "store": store, **more}
    )


def replayed(served, day=DAY, **more):
    folder, known = served
    return hw.experiments.replay_day(known, day, options=options(folder), **more).result


def test_at_the_served_level_nothing_changes(served):
    found = replayed(served)
    assert (found.requests, found.with_outcome) == (80, 80)
    assert found.gap.changed == 0
    assert found.gap.flips.flipped == 0
    assert found.gap.metric.gap.value == 0
    assert found.gap.money.served == found.gap.money.other
    assert found.served.version == found.replayed.version == "1"
    assert found.served.how == found.replayed.how == {"on_request": 80}
    assert found.replayed.faults == found.served.faults
    assert abs(found.served.age_p50 - found.replayed.age_p50) < 2.1
    assert found.served.latency_p50 > 0
    assert found.replayed.latency_p50 > 0


def test_at_another_level_features_are_as_old_as_it_says(served):
    """The scores are those of the daily model on daily features, computed of the tables as a
    training row is.
    """
    folder, known = served
    found = replayed(served, level="daily")
    assert found.gap.changed > 0.5
    assert found.replayed.age_p50 > 6 * 3600 > found.served.age_p50
    assert found.gap.metric.other < found.gap.metric.served
    assert 0 < found.gap.flips.flipped <= 16
    cells = found.gap.flips
    assert (
        sum(cell.rows for cell in (cells.both, cells.served_only, cells.other_only, cells.neither))
        == 80
    )
    assert found.gap.money.other_level_a_day == 1.0
    assert "no interval: one interval needs 8 days" in found.gap.metric.note
    model, level = known.models[0], known.named_levels["daily"]
    start = LIVE + dt.timedelta(days=1)
    asked = pl.read_parquet(folder / "requests.parquet").filter(
        pl.col("asked").is_between(start, start + dt.timedelta(days=1), closed="left")
    )
    rows = hw.get_historical_features(
        model.features, asked.select("user", "machine", "amount", timestamp="asked"), level=level
    )
    scores = ModelRegistry(folder / "models").open(model, "daily").score(rows)
    order, worst = np.argsort(-scores, kind="stable"), round(0.1 * 80)
    assert set(asked["bad"].to_numpy()[order[:worst]]) <= {True, False}
    expected = int(asked["bad"].to_numpy()[scores >= scores[order[worst - 1]]].sum())
    assert cells.both.positive + cells.other_only.positive == expected


@pytest.mark.parametrize("name", ["machine", "readings"], ids=["view", "source"])
def test_what_fails_stays_as_it_was_at_midnight(served, name):
    found = replayed(served, fail=[name])
    assert found.replayed.faults["machine: older than promised"] == 80
    assert found.replayed.age_p95 > 15 * 3600
    assert found.gap.metric.other < found.gap.metric.served
    assert f"with {name} failing" in found.first_line


def test_a_view_that_refuses_stale_values_gives_no_answer(served, tmp_path):
    folder, known = served
    model = known.models[0]
    machine = model.features.view("machine")
    strict = hw.FeatureView(
        "machine", source=machine.source, keys=["machine"], features=[hw.last("state")], windows=["6h"], freshness=machine.freshness,
        on_stale="refuse",
    )  # fmt: skip
    service = hw.FeatureService(
        "payments_v1", [strict, model.features.view("user"), hw.RequestField("amount", float)]
    )
    other = hw.Project(
        "bank",
        [
            hw.Model(
                "risk", features=service, labels=model.labels, task="binary", outcomes="independent"
            )
        ],
    )
    found = hw.experiments.replay_day(other, DAY, fail=["machine"], options=options(folder)).result
    assert found.replayed.how == {"none": 80}
    assert found.replayed.errors == 80
    assert found.gap.metric is None
    assert "80 requests have no answer" in found.gap.notes[0]
    with_default = hw.Project(
        "bank",
        [
            hw.Model(
                "risk",
                features=service,
                labels=model.labels,
                task="binary",
                outcomes="independent",
                default=0.2,
            )
        ],
    )
    assert hw.experiments.replay_day(
        with_default, DAY, fail=["machine"], options=options(folder)
    ).result.replayed.how == {"default": 80}


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (
            {"day": "2020-01-01"},
            DataError,
            "no request of model 'risk' was logged .*the log holds 2024-04-15 to 2024-04-18",
        ),
        ({"day": "yesterday"}, UsageError, "give a date"),
        ({"level": "dayly"}, UsageError, "did you mean 'daily'"),
        ({"fail": ["machin"]}, UsageError, "did you mean 'machine'"),
        ({"model": "rsk"}, UsageError, "did you mean 'risk'"),
        ({"level": "live"}, DataError, "holds no version of risk at 'live'"),
    ],
)
def test_errors_say_what_to_do(served, given, error, match):
    with pytest.raises(error, match=match):
        replayed(served, **given)


def test_without_a_log_or_an_unknown_timezone(served, tmp_path):
    folder, known = served
    with pytest.raises(DataError, match=r"no request of model 'risk' was logged .*no serving log"):
        hw.experiments.replay_day(
            known,
            DAY,
            options=hw.experiments.ReplayOptions(data_dir=tmp_path, models=folder / "models"),
        )
    with pytest.raises(UsageError, match="timezone 'Mars' is not known"):
        hw.experiments.replay_day(known, DAY, options=hw.experiments.ReplayOptions(timezone="Mars"))


def test_a_day_has_a_timezone(served):
    folder, known = served
    there = hw.experiments.replay_day(
        known, DAY, options=options(folder, timezone="Asia/Tokyo")
    ).result
    assert (there.requests, there.timezone) == (80, "Asia/Tokyo")
    assert there.gap.changed == 0


def test_a_version_that_is_gone_is_named(served, tmp_path):
    folder, known = served
    shutil.copytree(folder / "models", tmp_path / "models")
    registry = ModelRegistry(tmp_path / "models")
    hw.train(known.models[0], as_of=AFTER, seed=5).register(registry)
    shutil.rmtree(registry.version(1, "risk").folder)
    found = hw.experiments.replay_day(
        known, DAY, options=options(folder, models=tmp_path / "models")
    )
    assert found.result.replayed.version == "2"
    assert any(
        "version 1 of that time is gone from the registry; version 2 is used" in note
        for note in found.result.notes
    )
    assert any("its figures are too good" in note for note in found.result.notes)


def test_undeclared_outcomes_compare_decisions_and_no_metric(served):
    folder, _ = served
    undeclared, _ = bank(folder, outcomes=None)
    found = hw.experiments.replay_day(
        undeclared, DAY, level="daily", options=options(folder)
    ).result
    assert found.gap.metric is None
    assert found.gap.flips.flipped > 0
    assert any("does not declare what its outcomes depend on" in note for note in found.notes)


def test_outcomes_that_are_not_known_yet(served):
    folder, known = served
    early = hw.experiments.replay_day(
        known,
        DAY,
        level="daily",
        options=options(folder, at=LIVE + dt.timedelta(days=1, hours=9, minutes=30)),
    ).result
    assert (early.requests, early.with_outcome) == (40, 20)
    with pytest.raises(UsageError, match="is before the day"):
        hw.experiments.replay_day(known, DAY, options=options(folder, at=LIVE))


def test_pages_and_the_command(served, run, tmp_path):
    folder, known = served
    found = hw.experiments.replay_day(
        known, DAY, level="daily", fail=["machine"], options=options(folder)
    )
    line = found.result.first_line
    assert line.startswith(f"On {DAY}, risk at daily with machine failing: ")
    assert line in " ".join(repr(found).split())
    assert line.split(":")[0] in found.write_html(tmp_path / "page.html").read_text()
    assert "Decisions: the 10 % with the highest scores" in found._repr_html_()
    assert found.to_markdown().startswith("# On ")
    assert type(found.result).from_dict(json.loads(json.dumps(found.to_dict()))).first_line == line
    (folder / "features.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})\nfrom "
        "pathlib import Path\nfrom tests.experiments.replayed_world import bank\nproject, _ = "
        "bank(Path(__file__).parent)\n"
    )
    where = [
        "--project",
        folder / "features.py",
        "--models",
        folder / "models",
        "--data-dir",
        folder,
    ]
    where += [
        "--store",
        f"lmdb:{folder / 'online'}?size=1GB",
        "--at",
        AFTER,
        "--output",
        tmp_path / "cli.html",
    ]
    done = run(
        "replay",
        str(DAY),
        *where,
        "--level",
        "daily",
        "--fail",
        "machine",
        "--json",
        "--markdown",
        tmp_path / "cli.md",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["first_line"] == line
    assert (tmp_path / "cli.md").read_text().startswith("# On ")
    wrong = run("replay", "2020-01-01", *where)
    assert wrong.returncode != 0
    assert "the log holds 2024-04-15 to 2024-04-18" in " ".join(wrong.stderr.split())
