"""The decision page: what stands first, that it is self-contained, and that its query repeats the
main figure.
"""

import json
import re
from html.parser import HTMLParser

import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.experiments.experiment_money import ExperimentEvidence
from tests.experiments.analysis_world import World


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    world = World(seed=3, users=3_000, effect=0.4)
    world.guardrails = (
        hw.experiments.ExperimentMetric(
            "amount", value=world.outcome(hw.sum("amount")), margin=0.02
        ),
    )
    evidence = ExperimentEvidence(
        worth=100_000.0,
        costs={"daily": 100.0, "streaming": 5_100.0},
        source="as given",
    )
    return world.analyse(tmp_path_factory.mktemp("models"), break_even=evidence)


def test_the_page_is_self_contained_and_begins_with_the_verdict(analysis, tmp_path):
    page = analysis.write_html(tmp_path / "page.html").read_text(encoding="utf-8")
    HTMLParser().feed(page)
    assert not re.findall(r"""(?:src|href)=["']https?://""", page)
    assert "<script" not in page
    assert "default-src 'none'" in page
    shown = analysis.page()
    assert analysis.result.first_line == f"{shown.sentence} {shown.effect}"
    assert re.findall(r"<h1[^>]*>([^<]+)</h1>", page) == [shown.sentence]
    assert [name for name, chosen in shown.choices if chosen] == [analysis.result.decision]
    assert analysis.result.digest in page
    assert "Net value of streaming" in page
    assert "break-even" in page


def test_net_value_is_the_interval_times_the_worth_less_the_cost(analysis):
    (net,) = analysis.result.money
    lift = analysis.result.deciding[0].lift
    for end in ("value", "low", "high"):
        assert getattr(net.a_month, end) == pytest.approx(getattr(lift, end) * 100_000 - 5_000)
    assert analysis.result.break_even == pytest.approx(0.05)


def test_the_export_has_each_unit_with_its_outcome_and_the_plan(tmp_path):
    analysis = World(seed=3, users=1_000, effect=0.4).analyse(tmp_path / "models")
    folder = analysis.export(tmp_path / "export")
    exposures, outcomes = (
        pl.read_parquet(folder / f"{table}.parquet") for table in ("exposures", "outcomes")
    )
    assert outcomes.height == sum(analysis.result.matured[-1:])
    assert exposures.group_by("arm").agg(pl.col("unit").n_unique()).sort("arm").rows() == [
        (arm.name, arm.units) for arm in sorted(analysis.result.arms, key=lambda arm: arm.name)
    ]
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert plan["digest"] == analysis.result.digest


@pytest.mark.parametrize(("effect", "code"), [(0.4, 0), (-0.6, 1)])
def test_the_command_writes_the_page_and_its_code_says_harm(
    tmp_path, monkeypatch, capsys, effect, code
):
    world = World(seed=3, users=2_000, effect=effect)
    world.orders.write_parquet(tmp_path / "orders.parquet")
    world.analyse(tmp_path / "models")
    from headwater.journal.exposure_log import ExposureLog
    from headwater.journal.exposure_rows import Exposure

    with ExposureLog(tmp_path) as log:
        rows = (
            world.exposures.sort("at")
            .select("unit", "arm", "at", "request", "propensity", "age", "promised_age")
            .rows()
        )
        log.put(
            "fresh",
            1,
            [
                Exposure(unit, arm, round(at.timestamp() * 1e6), *more)
                for unit, arm, at, *more in rows
            ],
        )
    (tmp_path / "features.py").write_text(
        "import polars as pl\nfrom tests.experiments.analysis_world import World\n"
        f"project = World(seed=3, users=2_000, effect={effect}).project()\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    arguments = [
        "experiment",
        "analyse",
        "fresh",
        "--models",
        "models",
        "--data-dir",
        str(tmp_path),
        "--at",
        "2026-03-15T00:00Z",
        "--json",
    ]
    assert main(arguments) == code
    shown = json.loads(capsys.readouterr().out)
    assert shown["decision"] == ("real-time" if effect > 0 else "harm")
    assert (tmp_path / "experiment.html").is_file()
