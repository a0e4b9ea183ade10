"""`headwater plan` and `headwater apply` as a user calls them."""

import json

import pytest

from tests.cli.test_calls import fails


def rewrite(folder, old, new):
    path = folder / "features.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
def test_plan_and_apply_lead_to_each_other(folder, run):
    planned = run("plan")
    assert planned.returncode == 0, planned.stderr
    assert "+ view user         added, needs backfill" in planned.stdout
    assert planned.stderr == "next: headwater apply --project features.py --expect 0\n"
    assert not (folder / ".headwater").exists()
    done = run("apply", "--expect", "0")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "applied: version 1\nnext: headwater materialize --project features.py\n"
    again = run("plan", "--check")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert "0 added, 0 changed, 0 removed, 7 unchanged" in again.stdout
    assert run("apply").stderr == "nothing to apply\n"


def test_check_ends_with_1_where_they_differ(folder, run):
    done = run("plan", "--check", "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["changes"]) == 7
    assert json.loads(done.stdout)["engine"] == "local"
    assert done.stderr == "error: features.py and the catalog differ in 7 definitions\n"


@pytest.mark.slow
def test_a_breaking_change_needs_its_flag(folder, run):
    assert run("apply").returncode == 0
    assert run("train").returncode == 0
    rewrite(folder, '"7d"], features', '"14d"], features')
    planned = run("plan", "--json")
    assert json.loads(planned.stdout)["needs_backfill"] == ["user"]
    assert "models read what changes: model churn reads user__count_7d" in planned.stderr
    assert fails(
        run("apply"),
        2,
        "model churn reads user__count_7d, user__mean_amount_7d, which would be gone",
        "--allow-breaking",
    )
    done = run("apply", "--allow-breaking", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["applied"] == 2


@pytest.mark.slow
def test_a_bad_catalog_is_told(folder, run):
    assert fails(
        run("plan", "--catalog", "features.py"),
        1,
        "the catalog features.py cannot be used: file is not a database",
        "--catalog",
    )
    assert fails(
        run("plan", "--catalog", "oracle://me:secret@host/name"),
        2,
        "oracle://me:***@host/name",
        "PostgreSQL",
    )
    assert fails(run("apply", "--expect", "3"), 2, "version 0", "3 was expected")
    assert fails(run("plan", "--chek"), 2, "did you mean '--check'?")
