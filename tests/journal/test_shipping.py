"""Logs of several machines arrive at one destination, and from there in one folder: each row once,
despite kills and absences.
"""

import json
import signal
import subprocess
import sys
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.errors import ConnectError, DataError, UsageError
from headwater.journal import shipping
from headwater.journal.conversion import ShipTo, command
from headwater.journal.exposure_log import ExposureLog, read_exposures
from headwater.journal.exposure_rows import Exposure
from headwater.journal.fetching import fetch
from headwater.journal.log_destination import destination
from headwater.journal.outcome_journal import Outcomes, outcomes
from headwater.journal.sample_rates import rate_of
from headwater.journal.serving_log_files import segments
from headwater.journal.shipping import ship, shipping_state
from headwater.monitoring.log_maintenance import maintain as convert_and_ship
from tests.connectors.conftest import s3  # noqa: F401 (a fixture)
from tests.journal.conftest import about, at, micros, model, one
from tests.waiting import until

MOST = 1 << 30
DAY = 86_400


@pytest.fixture(params=["folder", "s3"])
def url(request, tmp_path):
    """A destination with nothing in it."""
    if request.param == "folder":
        return f"file://{tmp_path}/shared"
    request.getfixturevalue("credentials")
    return f"s3://shop/{tmp_path.name}"


@pytest.fixture
def credentials(s3, monkeypatch):
    """Those of the S3 server, as programs find them in the environment."""
    for name, value in s3.options.items():
        monkeypatch.setenv(name.upper(), value)
    return s3


@pytest.fixture
def shared(tmp_path):
    return f"file://{tmp_path}/shared"


def served(folder, *entries, **more):
    """Log requests, and convert them."""
    log = hw.operations.ServedLog(folder, **more)
    for entry in entries:
        log.put(entry)
    log.close(timeout=120)  # a busy machine takes longer than a service waits
    assert log.counts().waiting == 0


def ids(folder):
    return sorted(hw.operations.served(folder).collect()["headwater_request"])


@pytest.mark.slow
def test_the_logs_of_two_machines_come_together(url, tmp_path):
    labels = model().labels
    for machine, number in (("a", 0), ("b", 10)):
        folder = tmp_path / machine
        with ExposureLog(folder) as log:
            log.put(
                "checkout", 1, [Exposure(f"u{number}", "daily", micros(number), propensity=0.5)]
            )
        posted = ExposureLog(folder)
        posted.add(
            "checkout", 1, [Exposure(f"p{number}", "daily", micros(number), source="external")]
        )
        own = Outcomes(folder, labels, keys=["user"])
        own.add(
            [
                {"request_id": f"r{number}", "outcome": True},
                {"request_id": "both", "outcome": False},
            ]
        )
        rows = [one(about(), number + n, (n,), second=number + n) for n in range(4)]
        served(
            folder,
            *rows,
            one(about(["user__visits", "user__mean"], model="other"), number, (3, None)),
            ship_to=url,
        )
        posted.add(
            "checkout", 1, [Exposure(f"q{number}", "daily", micros(number), source="external")]
        )
        posted.close()
        own.close()
        assert ship(folder, url, most=MOST).error is None

    together = tmp_path / "together"
    fetched = fetch(together, url)
    assert (fetched.rows, fetched.exposures, fetched.outcomes) == (10, 4, 2)
    assert_frame_equal(
        hw.operations.served(together)
        .collect()
        .sort("headwater_model", "headwater_at", maintain_order=True),
        pl.concat(
            [hw.operations.served(tmp_path / machine).collect() for machine in "ab"],
            how="diagonal_relaxed",
        ).sort("headwater_model", "headwater_at", maintain_order=True),
        check_column_order=False,
    )
    assert sorted(read_exposures(together, "checkout")["unit"]) == [
        "p0",
        "p10",
        "q0",
        "q10",
        "u0",
        "u10",
    ]
    assert sorted(outcomes(together, labels)["headwater_request"]) == ["both", "r0", "r10"]
    again = fetch(together, url)
    assert (again.rows, again.exposures, again.outcomes) == (0, 0, 0)


@pytest.mark.slow
def test_a_sample_keeps_its_rate(shared, tmp_path):
    served(tmp_path / "a", *(one(about(), n) for n in range(200)), sample=0.25, ship_to=shared)
    fetch(tmp_path / "b", shared)
    assert {rate_of(path) for path in segments(tmp_path / "b")} == {0.25}


@pytest.mark.slow
def test_training_takes_the_same_rows_from_what_was_fetched(shared, tmp_path):
    of = model()
    for machine in (0, 1):
        folder = tmp_path / f"m{machine}"
        own = Outcomes(folder, of.labels, keys=["user"])
        numbers = range(machine, 20, 2)
        own.add(
            [
                {"request_id": f"r{n}", "outcome": n % 3 == 0, "known_at": at(DAY + n)}
                for n in numbers
            ]
        )
        own.close()
        served(folder, *(one(about(["user__visits_1d"]), n) for n in numbers), ship_to=shared)
    one_machine = tmp_path / "one"
    own = Outcomes(one_machine, of.labels, keys=["user"])
    own.add(
        [{"request_id": f"r{n}", "outcome": n % 3 == 0, "known_at": at(DAY + n)} for n in range(20)]
    )
    own.close()
    served(one_machine, *(one(about(["user__visits_1d"]), n) for n in range(20)))
    fetch(tmp_path / "together", shared)
    frames = []
    for folder in (one_machine, tmp_path / "together"):
        hw.dataset(of, folder / "rows.parquet", from_log=folder)
        frames.append(pl.read_parquet(folder / "rows.parquet"))
    assert frames[0].height == 20
    assert_frame_equal(*frames, check_row_order=False)


@pytest.mark.slow
def test_outcomes_are_shipped_where_nothing_is_served(shared, tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.journal.writer._IDLE", 0.1)
    monkeypatch.setattr("headwater.journal.serving_log._CONVERT", 0.1)
    monkeypatch.setattr(
        "headwater.journal.serving_log.command", lambda _, *more: command("normal", *more)
    )
    own = Outcomes(tmp_path / "a", model().labels, keys=["user"])
    own.add([{"request_id": "r1", "outcome": True}])
    own.close()
    with hw.operations.ServedLog(tmp_path / "a", ship_to=shared):
        until(lambda: list((tmp_path / "shared").rglob("outcomes/leaving/*.parquet")), "a file")
        assert fetch(tmp_path / "b", shared).outcomes == 1


# ---------------------------------------------------------------- a destination that is away


def test_what_waits_is_shipped_when_the_store_is_back(credentials, tmp_path, monkeypatch):
    # polars keeps a client of a bucket, with the endpoint that it had
    there = credentials.put("", bucket="returns") + tmp_path.name
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    served(tmp_path / "a", one(about(), 1), ship_to=there)
    state = shipping_state(tmp_path / "a")
    assert (state.waiting, state.parts, state.dropped) == (1, 0, 0)
    assert state.waiting_bytes > 0
    assert "does not answer" in state.error
    assert "the-secret" not in state.error
    since = state.failing_since
    assert ship(tmp_path / "a", there, most=MOST).failing_since == since
    monkeypatch.setenv("AWS_ENDPOINT_URL", credentials.url)
    state = ship(tmp_path / "a", there, most=MOST)
    assert (state.waiting, state.parts, state.error, state.failing_since) == (0, 1, None, None)
    assert fetch(tmp_path / "b", there).rows == 1


def test_wrong_credentials_are_said_without_them(credentials, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ANOTHER")
    served(tmp_path / "a", one(about(), 1), ship_to=f"s3://shop/{tmp_path.name}")
    assert "refuses" in shipping_state(tmp_path / "a").error
    with pytest.raises(ConnectError, match="refuses"):
        fetch(tmp_path / "b", "s3://another/logs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectError, match="does not answer"):
        fetch(tmp_path / "b", "s3://away/logs")


def test_a_full_buffer_deletes_the_oldest_and_counts_them(shared, tmp_path, monkeypatch):
    folder = tmp_path / "a"
    for day in range(4):
        served(folder, one(about(), day, second=day * DAY))
    sizes = {path.parent.parent.name: path.stat().st_size for path in segments(folder)}
    monkeypatch.setattr("headwater.journal.log_destination.LogDestination.put", _away)
    state = ship(folder, shared, most=sum(list(sizes.values())[2:]))
    assert (state.waiting, state.dropped) == (2, 2)
    assert [path.parent.parent.name for path in segments(folder)] == sorted(sizes)[2:]
    monkeypatch.undo()
    state = ship(folder, shared, most=1)
    assert (state.waiting, state.parts, state.dropped) == (0, 2, 2)
    assert not list(folder.rglob("served/headwater_date=*/*/*.parquet"))  # shipped, so no loss


@pytest.mark.slow
def test_shipped_files_are_deleted_before_those_that_wait(shared, tmp_path, monkeypatch):
    folder = tmp_path / "a"
    served(folder, one(about(), 9, second=9 * DAY), ship_to=shared)
    served(folder, one(about(), 1, second=DAY))
    monkeypatch.setattr("headwater.journal.log_destination.LogDestination.put", _away)
    state = ship(folder, shared, most=max(path.stat().st_size for path in segments(folder)))
    assert (state.waiting, state.dropped, state.parts) == (1, 0, 1)
    assert [path.parent.parent.name for path in segments(folder)] == ["headwater_date=2024-05-02"]


def test_a_day_that_was_deleted_before_it_was_shipped_is_counted(shared, tmp_path, monkeypatch):
    folder = tmp_path / "a"
    with monkeypatch.context() as patched:
        patched.setattr("headwater.journal.log_destination.LogDestination.put", _away)
        served(folder, one(about(), 1))
        ship(folder, shared, most=MOST)
    next(iter(segments(folder))).unlink()
    state = ship(folder, shared, most=MOST)
    assert (state.waiting, state.dropped, state.parts) == (0, 1, 0)


def _away(*_):
    raise ConnectError("the store does not answer")


# ---------------------------------------------------------------- killed in the middle


KILLED = """
import os, signal, sys
from pathlib import Path
from headwater.journal import {module} as module
from headwater.journal.conversion import ShipTo
from headwater.monitoring.log_maintenance import maintain

count = [0]
kept = {owner}.{name}

def killed(*arguments, **more):
    if count[0] == {after}:
        {before}os.kill(os.getpid(), signal.SIGKILL)
    count[0] += 1
    return kept(*arguments, **more)

{owner}.{name} = killed
maintain(Path(sys.argv[1]), None, ShipTo(sys.argv[2], 1 << 30))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "owner", "name"),
    [
        ("conversion", "module", "durable"),  # before a file of a segment
        ("shipping_queue", "module", "add"),  # after the file, before it is queued
        ("log_destination", "module.LogDestination", "put"),  # before a part is put
        ("log_destination", "module", "durable"),
    ],
)
@pytest.mark.parametrize("after", [0, 2])
def test_a_killed_shipment_goes_on_where_it_was(module, owner, name, after, shared, tmp_path):
    folder = tmp_path / "a"
    log = hw.operations.ServedLog(folder, every="1h")
    for n in range(12):
        log.put(one(about(model=f"m{n % 3}"), n, second=n % 2 * DAY))
    own = Outcomes(folder, model().labels, keys=["user"])
    own.add([{"request_id": "r1", "outcome": True}])
    own.close()
    posted = ExposureLog(folder)
    posted.add("checkout", 1, [Exposure("u1", "daily", micros(1), source="external")])
    assert log.flush()
    log._writer.close(5)  # the segments are complete, and not converted
    code = KILLED.format(
        module=module,
        owner=owner,
        name=name,
        after=after,
        before="kept(*arguments, **more); " if name == "put" else "",
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(folder), shared],
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    posted.add("checkout", 1, [Exposure("u2", "daily", micros(2), source="external")])
    posted.close()
    fetch(tmp_path / "b", shared)  # all that has arrived
    convert_and_ship(folder, None, ShipTo(shared, MOST))
    fetch(tmp_path / "b", shared)
    assert ids(tmp_path / "b") == sorted(f"r{n}" for n in range(12))
    assert outcomes(tmp_path / "b", model().labels)["headwater_request"].to_list() == ["r1"]
    assert sorted(read_exposures(tmp_path / "b", "checkout")["unit"]) == ["u1", "u2"]
    for path in (folder / "exposures").rglob("*.segment"):
        assert (tmp_path / "b" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    state = shipping_state(folder)
    assert (state.waiting, state.dropped) == (0, 0)


def test_one_process_ships_at_a_time(shared, tmp_path):
    served(tmp_path / "a", one(about(), 1))
    with shipping._alone(_begun(tmp_path / "a"), 0) as mine:
        assert mine
        assert ship(tmp_path / "a", shared, most=MOST) is None


def _begun(folder):
    shipping.shipping_queue.begin(folder)
    return folder


# ---------------------------------------------------------------- wrong calls


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s4://bucket/logs", "known: abfs"),
        ("bucket/logs", "Give s3://"),
        ("https://host/logs", "logs cannot go to"),
        ("s3:///logs", "names no bucket"),
        ("kafka://host:9092/topic", "known: abfs"),
    ],
)
def test_a_url_that_is_none(url, why, tmp_path):
    with pytest.raises(UsageError, match=why):
        destination(url)
    with pytest.raises(UsageError, match=why):
        hw.operations.ServedLog(tmp_path, ship_to=url)


@pytest.mark.slow
def test_a_folder_that_ships_is_not_fetched_into(shared, tmp_path):
    served(tmp_path / "a", one(about(), 1), ship_to=shared)
    with pytest.raises(UsageError, match="ships its own logs"):
        fetch(tmp_path / "a", shared)


@pytest.mark.slow
def test_another_destination_gets_everything(tmp_path):
    folder, first, second = tmp_path / "a", f"file://{tmp_path}/one", f"file://{tmp_path}/two"
    served(folder, one(about(), 1), ship_to=first)
    served(folder, one(about(), 2), ship_to=second)
    fetch(tmp_path / "b", second)
    assert ids(tmp_path / "b") == ["r1", "r2"]


@pytest.mark.slow
def test_days_before_since_stay_away(shared, tmp_path):
    served(tmp_path / "a", one(about(), 1), one(about(), 2, second=2 * DAY), ship_to=shared)
    assert fetch(tmp_path / "b", shared, since=date(2024, 5, 2)).rows == 1
    assert ids(tmp_path / "b") == ["r2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            pl.all().exclude("headwater_request"),
            "its column 'headwater_request' is missing, and has to be String",
        ),
        (
            pl.all().exclude("headwater_at"),
            "its column 'headwater_at' is missing, and has to be Datetime",
        ),
        (
            [pl.all().exclude("headwater_at"), pl.col("headwater_at").cast(pl.String)],
            "is String, and has to be Datetime",
        ),
    ],
)
def test_a_part_of_another_version_is_refused_by_name(change, why, shared, tmp_path):
    """In the folder it would be an error of every command; a column more is none."""
    served(tmp_path / "a", one(about(), 1), ship_to=shared)
    (part,) = (tmp_path / "shared").rglob("*.parquet")
    rows = pl.read_parquet(part)
    rows.select(change).write_parquet(part)
    with pytest.raises(
        DataError,
        match=rf"the part served/.*{part.name} of file:.* is not one that this version reads: .*{why}",
    ):
        fetch(tmp_path / "b", shared)
    assert not list((tmp_path / "b").rglob("*.parquet"))
    rows.with_columns(headwater_later=1).write_parquet(part)
    assert fetch(tmp_path / "b", shared).rows == 1
    assert ids(tmp_path / "b") == ["r1"]


@pytest.mark.slow
def test_a_part_that_is_cut_off_is_an_error_until_it_is_written_again(shared, tmp_path):
    served(tmp_path / "a", one(about(), 1), ship_to=shared)
    (part,) = (tmp_path / "shared").rglob("*.parquet")
    content = part.read_bytes()
    part.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DataError, match=r"a file that matches .*shared/.* is cut off, or is no parquet"
    ):
        fetch(tmp_path / "b", shared)
    part.write_bytes(content)
    assert fetch(tmp_path / "b", shared).rows == 1


def test_a_bucket_that_does_not_exist_is_named(credentials, tmp_path):
    with pytest.raises(
        DataError,
        match=r"s3://nobucket/logs/.*: there is no such bucket; correct its name, or create it",
    ):
        fetch(tmp_path / "b", "s3://nobucket/logs")


def test_foreign_names_are_no_parts(shared, tmp_path):
    served(tmp_path / "a", one(about(), 1), ship_to=shared)
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "shared" / "notes.parquet")
    assert fetch(tmp_path / "b", shared).rows == 1
    assert not (tmp_path / "b" / "notes.parquet").exists()


# ---------------------------------------------------------------- the commands


def test_the_commands(run, shared, tmp_path, monkeypatch):
    served(tmp_path / "a", one(about(), 1))
    answer = run("logs", "ship", shared, "--data-dir", tmp_path / "a", "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["parts"] == 1
    answer = run("logs", "fetch", shared, "--data-dir", tmp_path / "b")
    assert answer.returncode == 0, answer.stderr
    assert "1 rows of the serving log" in answer.stdout
    answer = run("logs", "status", "--data-dir", tmp_path / "b")
    assert answer.returncode == 2
    assert "--ship-logs" in answer.stderr


def test_the_command_says_what_waits(run, tmp_path, monkeypatch):
    for name, value in {
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
        "REGION": "x",
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    served(tmp_path / "a", one(about(), 2))
    answer = run("logs", "ship", "s3://shop/logs", "--data-dir", tmp_path / "a")
    assert answer.returncode == 1
    assert "1 files wait" in answer.stderr
    assert "It fails" in run("logs", "--data-dir", tmp_path / "a").stdout
