"""Doctor: each fault is named with its remedy, and a project that is ready has none."""

import shutil
from types import SimpleNamespace

import pytest

import headwater as hw
from headwater.assessing.doctor import doctor
from headwater.testing.examples import churn


def _by_name(found):
    return {check.name: check for check in found.checks}


def test_without_a_project_machine_and_packages_are_checked(tmp_path):
    found = doctor(data_dir=tmp_path)
    assert {check.part for check in found.checks} == {"machine", "packages"}
    assert found.broken == []
    assert str(found).endswith("ok")


def test_what_was_never_made_is_said_with_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    project = hw.Project("visits", [churn(freshness=hw.batch("1d"))])
    found = _by_name(doctor(project, store=f"lmdb:{tmp_path}/online"))
    assert found["catalog"].health == "warning"
    assert "headwater apply" in found["catalog"].remedy
    assert "headwater materialize" in found["store"].evidence
    assert found["churn"].remedy == "run `headwater train --model churn`"
    hw.apply(project)
    assert _by_name(doctor(project))["catalog"].health == "ok"


def test_a_table_without_a_column_is_broken(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    events = hw.Source(
        "events", history=hw.parquet(str(tmp_path / "none.parquet")), timestamp_field="at"
    )
    view = hw.FeatureView(
        "user",
        source=events,
        keys=["user"],
        windows=["1d"],
        features=[hw.count()],
        freshness=hw.batch("1d"),
    )
    labels = hw.Labels(
        "churned",
        table=hw.parquet(str(tmp_path / "labels.parquet")),
        timestamp_field="at",
        label="y",
        known_after="1d",
    )
    project = hw.Project(
        "p", [hw.Model("m", task="binary", features=hw.FeatureService("s", [view]), labels=labels)]
    )
    broken = [check.evidence for check in doctor(project).broken if check.part == "project"]
    assert any("none.parquet" in evidence for evidence in broken)
    assert any("labels.parquet" in evidence for evidence in broken)


@pytest.mark.parametrize(
    ("free", "health"), [(10 << 30, "ok"), (1 << 30, "warning"), (1 << 20, "broken")]
)
def test_room_on_the_disk(tmp_path, monkeypatch, free, health):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert _by_name(doctor(data_dir=tmp_path / "not" / "there"))["disk"].health == health
