"""Tables by URL: an S3 server, HTTP, and the errors where they cannot be read."""

import dataclasses
import functools
import http.server
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from headwater.connectors import contents, remote, scan
from headwater.definitions.definition import canonical
from headwater.engine.local import spill
from headwater.errors import ConnectError, DataError, DefinitionError, HeadwaterError, read_error

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
        (["per%20cent/a.parquet"], "per%20cent/a.parquet"),
        (["text/events.csv"], "text/events.csv"),
        (["texts/a.csv", "texts/b.csv"], "texts/*.csv"),
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


@pytest.mark.smoke
def test_partitions_of_a_folder_are_columns(s3):
    for user in (1, 2):
        s3.put(f"hive/user={user}/x.parquet", EVENTS.filter(pl.col("user") == user).drop("user"))
    assert counted(hw.parquet("s3://shop/hive/", storage_options=s3.options)) == [2, 1]


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


def test_scanning_is_lazy_and_reads_the_columns_and_row_groups_that_are_needed(s3):
    """A megabyte of noise next to the requested columns is not fetched: the plan says so."""
    url = s3.put("lazy/events.parquet", EVENTS.with_columns(pl.lit("noise").alias("noise")))
    frame = scan(hw.parquet(url, storage_options=s3.options))
    assert isinstance(frame, pl.LazyFrame)
    plan = frame.filter(pl.col("user") == 1).select("at").explain()
    assert "PROJECT 2/3 COLUMNS" in plan
    assert "SELECTION" in plan


def test_a_history_by_url_is_worked_on_in_parts(s3, tmp_path, monkeypatch):
    """In buckets on disk; and a second run does not go on with what a stopped one has read of
    it.
    """
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    table = hw.parquet(s3.put("parts/events.parquet", EVENTS), storage_options=s3.options)
    monkeypatch.setattr(spill, "planned", lambda *_: spill.BucketPlan(2, 1_000))
    monkeypatch.setattr(spill._SpillJob, "answers", _stopped)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(KeyboardInterrupt):
            hw.get_historical_features(_view(table), ROWS, resources=hw.Resources(memory="1GB"))
        monkeypatch.undo()
        monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
        monkeypatch.setattr(spill, "planned", lambda *_: spill.BucketPlan(2, 1_000))
        s3.put("parts/events.parquet", EVENTS.head(1))
        assert hw.get_historical_features(_view(table), ROWS, resources=hw.Resources(memory="1GB"))[
            "user__count_1d"
        ].to_list() == [1, 0]


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


def _stopped(*_):
    raise KeyboardInterrupt


def test_a_plan_reads_schemas_and_says_what_it_cannot_reach(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    labels = hw.Labels(
        "l",
        table=ROWS.with_columns(pl.lit(1.0).alias("y")),
        timestamp_field="timestamp",
        label="y",
        known_after="1h",
    )
    url = s3.put("plan/events.parquet", EVENTS)
    lost = {**s3.options, "aws_endpoint_url": "http://127.0.0.1:9"}
    for asked, options, says in (
        (url, s3.options, []),
        (url.replace("events", "none"), s3.options, ["nothing is there"]),
        (url, lost, ["does not answer"]),
    ):
        view = dataclasses.replace(
            _view(hw.parquet(asked, storage_options=options)), freshness=hw.batch("1d")
        )
        model = hw.Model(
            "m", task="regression", features=hw.FeatureService("f", [view]), labels=labels
        )
        refused = hw.plan(hw.Project("p", [model]), str(tmp_path / "catalog.sqlite")).refused
        assert len(refused) == len(says)
        for text, one in zip(says, refused, strict=True):
            assert text in str(one)
            assert "source 'visits'" in str(one)


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
    "arguments", [["dataset", "--output"], ["backtest", "--output"], ["train", "--output"]]
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


def test_what_changes_in_the_store_is_read_by_the_next_run(s3, tmp_path, monkeypatch):
    """Nothing of a table by URL is kept in the cache of columns, since changes cannot be
    detected.
    """
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    table = hw.parquet(s3.put("cache/events.parquet", EVENTS), storage_options=s3.options)
    rows = hw.Labels(
        "l",
        table=ROWS.with_columns(pl.lit(1.0).alias("y")),
        timestamp_field="timestamp",
        label="y",
        known_after="1h",
    )
    model = hw.Model(
        "m", task="regression", features=hw.FeatureService("f", [_view(table)]), labels=rows
    )
    assert hw.dataset(model, tmp_path / "a.parquet").rows.frame["user__count_1d"].to_list() == [
        2,
        1,
    ]
    s3.put("cache/events.parquet", EVENTS.head(1))
    assert hw.dataset(model, tmp_path / "b.parquet").rows.frame["user__count_1d"].to_list() == [
        1,
        0,
    ]


def test_contents_are_of_each_file_and_of_every_value(s3):
    nested = EVENTS.with_columns(
        pl.Series("list", [[1], [], None]), pl.Series("kind", ["a", "b", "a"], dtype=pl.Categorical)
    )
    s3.put("contents/a.parquet", nested)
    s3.put("contents/b.parquet", nested.head(1))
    table = hw.parquet("s3://shop/contents/*.parquet", storage_options=s3.options)
    before = contents(table)["files"]
    assert {name: found["rows"] for name, found in before.items()} == {
        "s3://shop/contents/a.parquet": 3,
        "s3://shop/contents/b.parquet": 1,
    }
    s3.put("contents/a.parquet", nested.with_columns(pl.Series("list", [[1], [2], None])))
    after = contents(table)["files"]
    assert [name for name in before if before[name] != after[name]] == [
        "s3://shop/contents/a.parquet"
    ]


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("key", "options", "error", "says"),
    [
        ("x/none.parquet", {}, DataError, "nothing is there"),
        ("x/none.csv", {}, DataError, "nothing is there"),
        ("x/none*.parquet", {}, DataError, "no file is there"),
        ("x/nowhere/", {}, DataError, "no file is there"),
        ("x/fine", {}, DataError, "A folder's URL ends with /"),
        ("x/empty.csv", {}, DataError, "the file is empty"),
        ("x/text.parquet", {}, DataError, "cannot be read as parquet"),
        (
            "x/fine/a.parquet",
            {"aws_access_key_id": "AKIAWRONG"},
            ConnectError,
            "the store refuses: ",
        ),
        (
            "x/fine/*.parquet",
            {"aws_access_key_id": "AKIAWRONG"},
            ConnectError,
            "InvalidAccessKeyId",
        ),
        ("x/fine/a.parquet", {"timeout": "soon"}, DataError, "Duration"),
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


@pytest.mark.parametrize(
    "url",
    [
        "gs://shop/x.parquet",
        "az://shop/x.parquet",
        "abfss://shop@account.dfs.core.windows.net/x.parquet",
    ],
)
def test_without_credentials_it_is_an_error_of_ours(url, monkeypatch):
    """The libraries of the clouds, which polars asks where they are installed, raise errors of
    their own.
    """

    def nobody(*_, **__):
        raise RuntimeError("Your default credentials were not found")

    monkeypatch.setattr(pl, "scan_parquet", nobody)
    with pytest.raises(
        ConnectError,
        match=r"x.parquet: the store refuses: Your default credentials were not found. Check the credentials",
    ):
        scan(hw.parquet(url))


def test_a_bucket_that_is_missing_is_said(s3):
    with pytest.raises(
        DataError, match=r"s3://nowhere/x.parquet: nothing is there: .*NoSuchBucket"
    ):
        scan(hw.parquet("s3://nowhere/x.parquet", storage_options=s3.options))


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".parquet", ".csv", "/*.parquet"])
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
            began = time.monotonic()
            with pytest.raises(ConnectError, match="the store does not answer"):
                scan(table)
            assert time.monotonic() - began < SOON


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


def test_a_dead_store_is_not_asked_again_and_again():
    """Each connection is closed immediately: how often it is tried is counted."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                asked.append(1)
                connection.close()

        threading.Thread(target=close, daemon=True).start()
        options = {
            "aws_access_key_id": "a",
            "aws_secret_access_key": "s",
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
        endpoint = {"aws_endpoint_url": f"http://127.0.0.1:{server.getsockname()[1]}"}
        with pytest.raises(ConnectError):
            scan(hw.parquet("s3://shop/x.parquet", storage_options=options | endpoint))
        server.shutdown(socket.SHUT_RDWR)
    assert 1 <= len(asked) <= 10


def test_a_store_that_is_lost_while_rows_are_read_is_an_error_of_ours(s3):
    """The schema was read before; then the object is gone."""
    url = s3.put("lost/events.parquet", EVENTS)
    frame = scan(hw.parquet(url, storage_options=s3.options))
    s3.put("lost/events.parquet", b"no longer parquet, but something else altogether")
    from headwater.events.read_events import collect

    with pytest.raises(HeadwaterError, match="source 'visits' cannot be read"):
        collect(frame, "source 'visits'")


# ---------------------------------------------------------------- HTTP


class Ranged(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, whole or in part."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        asked = self.headers.get("Range", "")
        if not asked or not path.is_file():
            return super().do_GET()
        content = path.read_bytes()
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) if first else max(len(content) - int(last), 0)
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(content[start:stop])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """The URL of a server of a folder's files, by handler."""
    servers = []

    def start(handler):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path))
        )
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("name", "asked"),
    [("e.parquet", "e.parquet"), ("e.csv", "e.csv"), ("a b ü.parquet", "a%20b%20%C3%BC.parquet")],
)
def test_a_file_over_http(web, tmp_path, name, asked):
    EVENTS.write_csv(tmp_path / name) if name.endswith(".csv") else EVENTS.write_parquet(
        tmp_path / name
    )
    assert counted(f"{web(Ranged)}/{asked}") == [2, 1]


class Whole(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("handler", "asked", "error", "says"),
    [
        (Ranged, "none.parquet", DataError, "nothing is there (404"),
        (Ranged, "*.parquet", DataError, "neither folders nor globs"),
        (Ranged, "folder/", DataError, "neither folders nor globs"),
        (Whole, "e.parquet", DataError, "download the file and give its path"),
    ],
)
def test_what_cannot_be_read_over_http(web, tmp_path, handler, asked, error, says):
    EVENTS.write_parquet(tmp_path / "e.parquet")
    with pytest.raises(error) as raised:
        scan(hw.parquet(f"{web(handler)}/{asked}"))
    assert says in str(raised.value)


def test_an_http_server_that_is_dead_or_silent_is_said_in_bounded_time(monkeypatch):
    monkeypatch.setattr(remote, "_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(ConnectError, match="does not answer"):
            scan(hw.parquet(f"http://127.0.0.1:{silent.getsockname()[1]}/x.parquet"))
        port = silent.getsockname()[1]
    with pytest.raises(ConnectError, match="does not answer"):
        scan(hw.csv(f"http://127.0.0.1:{port}/x.csv"))


# ---------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hw.parquet("ftp://host/x.parquet"), "a table cannot be read from ftp://"),
        (lambda: hw.parquet("s3:///x.parquet"), "names no bucket"),
        (lambda: hw.parquet("https:///x.parquet"), "names no host"),
        (lambda: hw.parquet("file://elsewhere/x.parquet"), "names another machine"),
        (lambda: hw.parquet("s3://me:hidden@bucket/x.parquet"), "holds a user or a password"),
        (lambda: hw.csv("https://me:hidden@host/x.csv"), "storage_options="),
        (lambda: hw.csv("https://host/x.csv?X-Amz-Signature=hidden"), "seems to hold a credential"),
        (lambda: hw.csv("https://host/x.csv?sv=1&sig=hidden"), "a signed URL also ends"),
        (lambda: hw.csv("https://host/x.csv?access_token=hidden"), "seems to hold a credential"),
        (lambda: hw.parquet(Path("s3://bucket/x.parquet")), "give a URL as text: 's3://...'"),
        (
            lambda: hw.parquet("s3://b/x", storage_options="hidden"),
            "storage_options is str; give a mapping",
        ),
        (lambda: hw.parquet("s3://b/x", storage_options={"key": ["hidden"]}), "'key' has a list"),
        (
            lambda: hw.parquet(
                "s3://b/x", storage_options={"aws_endpoint_url": "http://u:hidden@h"}
            ),
            "give an address alone",
        ),
        (lambda: hw.parquet("s3://b/x", storage_option={}), "did you mean 'storage_options'?"),
    ],
)
def test_what_is_no_table_is_said_where_it_is_written(make, says):
    with pytest.raises(DefinitionError) as raised:
        make()
    assert says in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_definition_by_path_has_the_fingerprint_that_it_had():
    """Catalogs and manifests hold it; options of this machine's files say nothing."""
    assert hw.parquet("events.parquet").fingerprint == "c7553e2e0f0a43a0"
    assert hw.parquet(
        "events.parquet", storage_options={"aws_endpoint_url": "http://h"}
    ) == hw.parquet("events.parquet")
    assert pickle.loads(pickle.dumps(hw.csv("s3://b/x.csv"))) == hw.csv("s3://b/x.csv")


def test_an_option_that_the_environment_lacks_is_named(monkeypatch):
    monkeypatch.delenv("SHOP_SECRET", raising=False)
    with pytest.raises(HeadwaterError, match="SHOP_SECRET is not set"):
        scan(
            hw.parquet(
                "s3://b/x.parquet", storage_options={"aws_secret_access_key": hw.env("SHOP_SECRET")}
            )
        )


def test_secrets_are_taken_out_of_what_a_library_says():
    error = OSError(
        "object-store error: GET https://a/b?sig=abc in 1 ms: no key hunter2 (path: "
        "az://other/x)\n\nCaused by:\n    0: a\n    1: b"
    )
    assert read_error(error, ["hunter2", "a"]) == "GET https://a/b in 1 ms: no key ...: b"


@pytest.mark.parametrize("lost", [False, True])
def test_a_lazy_frame_is_read_once_where_it_is_defined(tmp_path, lost):
    EVENTS.write_parquet(tmp_path / "e.parquet")
    lazy = pl.scan_parquet(tmp_path / "e.parquet")
    if lost:
        (tmp_path / "e.parquet").unlink()
        with pytest.raises(
            DataError, match="source 'visits': history: the lazy frame cannot be read"
        ):
            counted(lazy)
        return
    visits = hw.Source("visits", history=lazy, timestamp_field="at")
    (tmp_path / "e.parquet").unlink()
    assert visits.table.data.equals(EVENTS)


@pytest.mark.parametrize(
    "rows", ["frame", "pandas", "pyarrow", "lazy", "text", "path", "URL", "connector"]
)
@pytest.mark.parametrize(
    "history", ["frame", "pandas", "pyarrow", "lazy", "text", "path", "URL", "connector"]
)
def test_a_table_may_be_any_of_these(tmp_path, history, rows):
    assert counted(
        _form(EVENTS, history, tmp_path / "e.parquet"), _form(ROWS, rows, tmp_path / "r.parquet")
    ) == [2, 1]


def _form(frame, form, path):
    frame.write_parquet(path)
    made = {
        "frame": lambda: frame,
        "pandas": frame.to_pandas,
        "pyarrow": frame.to_arrow,
        "lazy": frame.lazy,
        "text": lambda: str(path),
    }
    return (
        made | {"path": lambda: path, "URL": path.as_uri, "connector": lambda: hw.parquet(path)}
    )[form]()
