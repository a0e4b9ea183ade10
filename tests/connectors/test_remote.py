"""Tables by URL: an S3 server, HTTP, and the errors where they cannot be read."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.connectors import remote, scan
from headwater.definitions.definition import canonical
from headwater.errors import ConnectError, DataError, read_error

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame({"user": [1, 1, 2], "at": [NOON.replace(hour=h) for h in (8, 9, 10)]})
ROWS = pl.DataFrame({"user": [1, 2], "timestamp": [NOON, NOON]})
SOON = 60  # seconds; what waits without end takes longer


PROJECT = """
import headwater as hw
visits = hw.Source("visits", history="events.parquet", timestamp_field="at")
view = hw.FeatureView("user", source=visits, keys=["user"], features=[hw.count()], windows=["1d"], freshness=hw.batch("1d"))
labels = hw.Labels("left", table="labels.parquet", timestamp_field="asked", label="left", known_after="1d")
project = hw.Project("shop", [hw.Model("left", task="binary", features=hw.FeatureService("left_v1", [view]), labels=labels)])
"""


def counted(history, rows=ROWS):
    visits = hw.Source("visits", history=history, timestamp_field="at")
    view = hw.FeatureView(
        "user",
        source=visits,
        keys=["user"],
        features=[hw.count()],
        windows=["1d"],
        freshness=hw.on_request(),
    )
    return hw.get_historical_features(view, rows)["user__count_1d"].to_list()


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        (["one/events.parquet"], "one/events.parquet"),
        (["glob/a.parquet", "glob/b.parquet"], "glob/*.parquet"),
        (["folder/a.parquet", "folder/below/b.parquet", "folder/_SUCCESS"], "folder/"),
        (["spaces in/süß ☃.parquet"], "spaces in/süß ☃.parquet"),
    ],
)
def test_a_history_is_read_from_s3(s3, keys, asked):
    tables = [key for key in keys if not key.endswith("_SUCCESS")]
    for number, key in enumerate(keys):
        s3.put(key, EVENTS[number :: len(tables)] if key in tables else b"")
    table = (hw.csv if asked.endswith(".csv") else hw.parquet)(
        f"s3://shop/{asked}", storage_options=s3.options
    )
    assert counted(table) == [2, 1]


def test_the_environment_says_how_a_url_is_read_wherever_a_table_is_expected(s3, monkeypatch):
    """A URL as text, as rows, history and labels; options by hw.env."""
    events, rows = (
        s3.put("environment/events.parquet", EVENTS),
        s3.put("environment/rows.csv", ROWS),
    )
    with_secret = s3.options | {"aws_secret_access_key": hw.env("SHOP_SECRET")}
    monkeypatch.setenv("SHOP_SECRET", s3.options["aws_secret_access_key"])
    assert counted(hw.parquet(events, storage_options=with_secret)) == [2, 1]
    for name, value in s3.options.items():
        monkeypatch.setenv(name.upper(), value)
    assert counted(events, rows) == [2, 1]
    assert counted(events.replace("s3://", "S3://"), hw.csv(rows)) == [2, 1]
    labels = hw.Labels("l", table=rows, timestamp_field="timestamp", label="user", known_after="1h")
    assert hw.get_historical_features(_view(hw.parquet(events)), labels).height == 2


def shop():
    """Two months of events, and labels."""
    random, start = np.random.default_rng(0), datetime(2024, 1, 1, tzinfo=UTC)
    at = [start + timedelta(seconds=s) for s in np.sort(random.uniform(0, 60 * 86400, 2000))]
    who = [f"u{i}" for i in random.integers(0, 20, 2000)]
    events = pl.DataFrame({"user": who, "amount": random.exponential(10, 2000), "at": at})
    asked = pl.col("at") + pl.duration(hours=1)
    labels = events[::2].select(
        "user",
        asked=asked,
        settled=asked + pl.duration(hours=2),
        churned=(pl.col("amount") > 7).cast(pl.Int64),
    )
    return events, labels


@pytest.mark.slow
def test_every_verb_over_urls(s3, tmp_path, monkeypatch):
    """From the draft to the assessment; nothing that is written holds a credential."""
    events, labels = shop()
    for name, value in s3.options.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    urls = [s3.put("init/events.parquet", events), s3.put("init/labels.csv", labels)]
    assert main(["init", *urls, "--request-time", "asked", "--known-at", "settled"]) == 0
    said = (tmp_path / "features.py").read_text(encoding="utf-8")
    assert f'hw.parquet("{urls[0]}")' in said
    assert f'hw.csv("{urls[1]}")' in said
    for verb in (
        "plan",
        "apply",
        "dataset --output rows.parquet",
        "train",
        "materialize",
        "backtest --output page.html",
        "assess",
    ):
        assert main(verb.split()) == 0, verb
    assert pl.read_parquet(tmp_path / "rows.parquet").height > 100
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    for path in written:
        content = path.read_bytes()
        assert b"AKIATEST" not in content
        assert b"the-secret-of-the-test" not in content


@pytest.mark.parametrize(
    "arguments",
    [
        ["dataset", "--output"],
    ],
)
def test_an_output_is_no_url(tmp_path, monkeypatch, capsys, arguments):
    (tmp_path / "features.py").write_text(PROJECT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "s3://shop/out.parquet"]) == 2
    assert "outputs are local files" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"features.py"}


def _view(history):
    visits = hw.Source("visits", history=history, timestamp_field="at")
    return hw.FeatureView(
        "user",
        source=visits,
        keys=["user"],
        features=[hw.count()],
        windows=["1d"],
        freshness=hw.on_request(),
    )


# ---------------------------------------------------------------- messages


def test_credentials_stand_nowhere(s3, tmp_path, monkeypatch):
    """Not in fingerprints, reprs, manifests or errors; an endpoint tells tables apart, a key does
    not.
    """
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    url = s3.put("secret/events.parquet", EVENTS)
    table = hw.parquet(url, storage_options=s3.options)
    other = hw.parquet(url, storage_options=s3.options | {"aws_secret_access_key": "another"})
    elsewhere = hw.parquet(
        url, storage_options=s3.options | {"aws_endpoint_url": "http://other:9000"}
    )
    assert table == other != elsewhere
    labels = s3.put("secret/labels.parquet", ROWS.with_columns(pl.lit(1.0).alias("y")))
    rows = hw.Labels(
        "l",
        table=hw.parquet(labels, storage_options=s3.options),
        timestamp_field="timestamp",
        label="y",
        known_after="1h",
    )
    model = hw.Model(
        "m", task="regression", features=hw.FeatureService("f", [_view(table)]), labels=rows
    )
    made = hw.dataset(model, tmp_path / "rows.parquet")
    said = [repr(x) + str(x) for x in (table, rows, model, _view(table), model.features, made)] + [
        json.dumps(canonical(table)),
        made.manifest_path.read_text(encoding="utf-8"),
    ]
    for text in said:
        assert "the-secret-of-the-test" not in text
        assert "AKIATEST" not in text
    assert made.manifest["tables"]["source visits"]["path"] == url
    again = hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    assert again.manifest["digest"] == made.manifest["digest"]
    s3.put("secret/events.parquet", EVENTS.with_columns(pl.col("user") * 2))
    with pytest.raises(
        DataError,
        match=r"source visits: 1 of its files is changed \(s3://shop/secret/events.parquet\)",
    ):
        hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("key", "options", "error", "says"),
    [
        ("x/none.parquet", {}, DataError, "nothing is there"),
        ("x/fine", {}, DataError, "A folder's URL ends with /"),
        ("x/text.parquet", {}, DataError, "cannot be read as parquet"),
        (
            "x/fine/a.parquet",
            {"aws_access_key_id": "AKIAWRONG"},
            ConnectError,
            "the store refuses: ",
        ),
    ],
)
def test_what_is_not_there_is_said(s3, key, options, error, says):
    s3.put("x/fine/a.parquet", EVENTS)
    s3.put("x/empty.csv")
    s3.put("x/text.parquet", b"no parquet at all, but text")
    table = (hw.csv if key.endswith(".csv") else hw.parquet)(
        f"s3://shop/{key}", storage_options=s3.options | options
    )
    with pytest.raises(error) as raised:
        scan(table)
    said = str(raised.value)
    assert says in said
    assert f"s3://shop/{key}" in said
    assert len(said) < 500
    for hidden in ("AKIAWRONG", "AKIATEST", "the-secret", "<"):
        assert hidden not in said
    assert raised.value.__cause__ is None  # a traceback would show what polars says


@pytest.mark.slow
@pytest.mark.parametrize(
    "ending",
    [
        ".parquet",
    ],
)
def test_an_endpoint_that_is_dead_or_silent_is_said_in_bounded_time(ending, monkeypatch):
    """A port without a listener, and one where connections are taken and nothing is answered."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0)) as dead,
    ):
        ports = {"silent": silent.getsockname()[1], "dead": dead.getsockname()[1]}
        dead.close()
        monkeypatch.setattr(remote, "FIRST", remote.FIRST | {"timeout": "1s"})
        for port in ports.values():
            options = {
                "aws_access_key_id": "a",
                "aws_secret_access_key": "s",
                "aws_region": "us-east-1",
                "aws_allow_http": True,
            }
            table = (hw.csv if ending == ".csv" else hw.parquet)(
                f"s3://shop/x{ending}",
                storage_options=options | {"aws_endpoint_url": f"http://127.0.0.1:{port}"},
            )
            with pytest.raises(ConnectError, match="the store does not answer"):
                scan(table)


@pytest.mark.slow
def test_ctrl_c_while_a_store_is_waited_for(tmp_path):
    (tmp_path / "features.py").write_text(
        PROJECT.replace('"events.parquet"', '"s3://shop/events.parquet"'), encoding="utf-8"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        own = {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        own |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HEADWATER_HOME": str(tmp_path / "home"),
        }
        command = [sys.executable, "-m", "headwater", "plan"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | own, stderr=subprocess.PIPE, text=True
        ) as process:
            silent.settimeout(SOON)
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                assert process.wait(SOON) == 130
            assert process.stderr.read().endswith("error: stopped\n")


# ---------------------------------------------------------------- definitions


def test_secrets_are_taken_out_of_what_a_library_says():
    error = OSError(
        "object-store error: GET https://a/b?sig=abc in 1 ms: no key hunter2 (path: "
        "az://other/x)\n\nCaused by:\n    0: a\n    1: b"
    )
    assert read_error(error, ["hunter2", "a"]) == "GET https://a/b in 1 ms: no key ...: b"
