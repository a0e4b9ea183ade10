"""`headwater init --feast`: the file that is written gives Feast's own training values, and what
was not carried over is said.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.errors import UsageError
from headwater.init.feast_repo import read_feast_repo

HERE = Path(__file__).parent / "feast"
ORACLE = (
    Path(os.environ.get("HEADWATER_ORACLES", Path(__file__).parents[2] / "build" / "oracles"))
    / "feast"
)
START = datetime(2026, 3, 1, tzinfo=UTC)
CONFIG = (
    "project: shop\nregistry: registry.db\nprovider: local\nonline_store:\n  type: sqlite\n  "
    "path: online.db\nentity_key_serialization_version: 3\n"
)


@pytest.fixture(scope="module")
def feast() -> str:
    if not (ORACLE / ".complete").exists():
        pytest.skip(f"needs Feast in {ORACLE}; run: scripts/oracles.sh feast")
    return str(ORACLE / "bin" / "python")


@pytest.fixture(scope="module")
def repo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a team") / "feature repo"
    folder.mkdir()
    shutil.copy(HERE / "definitions.py", folder)
    (folder / "feature_store.yaml").write_text(CONFIG)
    random = np.random.default_rng(0)
    orders = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in random.integers(0, 20, 400)],
            "ordered_at": [
                START + timedelta(minutes=int(m))
                for m in random.choice(20_000, 400, replace=False) * 2
            ],
            "amt": np.round(random.gamma(2, 20, 400), 2),
            "items": random.integers(1, 9, 400),
            "city": [["Oslo", "Bergen", 'Tr"ondheim'][n] for n in random.integers(0, 3, 400)],
        }
    ).with_columns(
        loaded_at=pl.col("ordered_at") + timedelta(hours=2),
        basket=pl.Series([["a"]] * 400),
        city=pl.col("city"),
    )
    orders.write_parquet(folder / "orders.parquet")
    return folder


@pytest.fixture(scope="module")
def written(feast, repo) -> tuple[Path, str]:
    target = repo.parent / "ours" / "features.py"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "headwater",
            "init",
            "--feast",
            repo,
            "--feast-python",
            feast,
            "--output",
            target,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target, done.stdout + done.stderr


@pytest.fixture(scope="module")
def module(written):
    spec = importlib.util.spec_from_file_location("from_feast", written[0])
    made = importlib.util.module_from_spec(spec)
    before = Path.cwd()
    os.chdir(written[0].parent)  # paths are relative to the file
    spec.loader.exec_module(made)
    yield made
    os.chdir(before)


@pytest.mark.services
def test_values_are_those_of_feast(feast, repo, module, tmp_path):
    random = np.random.default_rng(1)
    rows = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in random.integers(0, 20, 200)],
            # no ties
            "event_timestamp": [
                START + timedelta(minutes=int(m))
                for m in random.choice(20_000, 200, replace=False) * 2 + 1
            ],
            "offered": random.uniform(1, 90, 200),
        }
    )
    rows.write_parquet(tmp_path / "rows.parquet")
    command = [
        feast,
        HERE / "ask_feast.py",
        repo,
        tmp_path / "rows.parquet",
        tmp_path / "out.parquet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = pl.read_parquet(tmp_path / "out.parquet").with_columns(
        pl.col("event_timestamp").cast(pl.Datetime("us", "UTC"))
    )
    service = hw.FeatureService(
        "all",
        [
            module.user_orders,
            module.lasting,
            module.of_frames_over,
            module.twice,
            module.ratio,
            module.many,
        ],
    )
    ours = hw.get_historical_features(
        service, rows, timestamp_field="event_timestamp", level=hw.on_request()
    )
    both = theirs.join(
        ours, on=["user_id", "event_timestamp"], suffix="_ours", maintain_order="left"
    )
    # Feast drops rows whose entity has nothing within the ttl; every row that it answers is here
    assert theirs.height > 120
    assert both.height == theirs.height
    assert both["many"].equals(
        (both["user_orders__items"].fill_null(0) > 3).cast(pl.Int64), check_names=False
    )  # Feast has these online only
    names = {
        "user__orders__amount": "user_orders__amount",
        "user__orders__items": "user_orders__items",
        "user__orders__city": "user_orders__city",
        "lasting__city": "lasting__city_ours",
        "of_frames__over": "of_frames_over",
        "of_frames__twice": "twice",
        "of_lists__ratio": "ratio",
    }
    for name, own in names.items():
        expected, got = (
            both[c].fill_nan(None) if both[c].dtype.is_float() else both[c] for c in (name, own)
        )
        if got.dtype.is_numeric():
            expected = expected.cast(pl.Float64)
            assert ((expected - got).abs().fill_null(0) < 1e-9).all()
            assert (expected.is_null() == got.is_null()).all()
        else:
            assert expected.equals(got, check_names=False)


def test_bad_input(tmp_path, capsys):
    with pytest.raises(UsageError, match="no folder"):
        read_feast_repo(tmp_path / "none", sys.executable)
    with pytest.raises(UsageError, match=r"has no feature_store\.yaml"):
        read_feast_repo(tmp_path, sys.executable)
    (tmp_path / "feature_store.yaml").write_text(CONFIG)
    with pytest.raises(UsageError, match="has no Feast; give --feast-python"):
        read_feast_repo(tmp_path, sys.executable)
    with pytest.raises(UsageError, match="does not run"):
        read_feast_repo(tmp_path, str(tmp_path / "python"))
    assert main(["init", "--feast", str(tmp_path), "events.parquet"]) == 2
    assert "--feast reads definitions" in capsys.readouterr().err
    assert main(["init"]) == 2
    assert "name the EVENTS" in capsys.readouterr().err
