"""A wall clock that cannot be right: nothing is committed, nothing is lost, and a store that is
ahead can be repaired.
"""

import json
import threading
from contextlib import nullcontext
from dataclasses import replace

import pytest

import headwater as hw
from headwater.errors import ClockError, HeadwaterWarning
from headwater.ingestion.clock_check import Anchor, ClockCheck
from headwater.ingestion.ingest import ingest
from headwater.jobs.schedule import schedule
from tests.flow import (
    Flow,
    at,
    clock,  # noqa: F401
    frame,
    home,  # noqa: F401
    micros,
    project_of,
    store,  # noqa: F401
    streaming_view,
    view_of,
)
from tests.waiting import until

MINUTE, HOUR, DAY = 60, 3600, 86_400
YEAR = 365 * DAY


class Clocks:
    """The wall clock and the two steady ones, in seconds."""

    def __init__(self, monkeypatch):
        self.wall = 0.0
        self.steady = [0.0, 0.0]  # the second counts while the machine sleeps
        monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(self.wall))
        monkeypatch.setattr("headwater.clock.now", lambda: at(self.wall))
        monkeypatch.setattr(
            "headwater.clock.steady_micros", lambda: tuple(round(s * 1e6) for s in self.steady)
        )

    def on(self, wall=0, awake=None, asleep=None):
        """Let time pass: on the wall clock, on the clock that stops while the machine sleeps, and
        on the one that does not.
        """
        self.wall += wall
        self.steady[0] += wall if awake is None else awake
        self.steady[1] += (wall if awake is None else awake) if asleep is None else asleep


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("passed", "more", "refused"),
    [
        pytest.param({"wall": 3600}, {}, None, id="an hour without a commit (SIGSTOP)"),
        pytest.param(
            {"wall": 8 * 3600, "awake": 0, "asleep": 8 * 3600},
            {},
            None,
            id="a suspended machine, by the clock that goes on",
        ),
        pytest.param(
            {"wall": 30 * DAY, "awake": 30 * DAY, "asleep": 0},
            {},
            None,
            id="or by the other one alone",
        ),
        pytest.param(
            {"wall": 4 * MINUTE, "awake": 0}, {}, None, id="set forward by less than is allowed"
        ),
        pytest.param(
            {"wall": 6 * MINUTE, "awake": 0}, {}, "set forward by 6m", id="set forward by more"
        ),
        pytest.param(
            {"wall": -6 * MINUTE, "awake": 0}, {"committed": -HOUR}, "set back by 6m", id="set back"
        ),
        pytest.param({"wall": YEAR, "awake": 1}, {}, "set forward by 365d", id="a year ahead"),
        pytest.param(
            {"wall": 6 * MINUTE, "awake": 0},
            {"server": 6 * MINUTE},
            None,
            id="set forward, and a server says that it is right",
        ),
        pytest.param({}, {"server": 6 * MINUTE}, "server by 6m", id="behind a server"),
        pytest.param({}, {"server": -6 * MINUTE}, "server by 6m", id="ahead of a server"),
        pytest.param({}, {"server": 4 * MINUTE}, None, id="near a server's clock"),
        pytest.param(
            {}, {"committed": 6 * MINUTE}, "6m behind the last commit", id="behind the last commit"
        ),
        pytest.param({}, {"committed": 4 * MINUTE}, None, id="a little behind the last commit"),
        pytest.param({}, {"committed": -YEAR}, None, id="after a year without ingestion"),
        pytest.param(
            {},
            {"received": 6 * MINUTE},
            "behind a record that the broker took in",
            id="behind a broker",
        ),
        pytest.param({}, {"received": -YEAR}, None, id="a backlog of a year"),
    ],
)
def test_which_clocks_are_refused(clocks, passed, more, refused):
    server = more.get("server")
    check = ClockCheck(300_000_000, lambda: None if server is None else micros(server), Anchor())
    if server is None or passed:
        right = ClockCheck(300_000_000, lambda: None, check.anchor)
        assert right.refusal(micros(0)) is None
    clocks.on(**passed)
    why = check.refusal(
        micros(more.get("committed", 0)), micros(more["received"]) if "received" in more else 0
    )
    assert (why is None) == (refused is None), why
    for words in [] if refused is None else [refused, "at most 5m", "Nothing was committed"]:
        assert words in why


def test_small_steps_and_drift_add_up_to_nothing(clocks):
    check = ClockCheck(300_000_000, lambda: None, Anchor())
    for _ in range(50):
        clocks.on(wall=DAY, awake=DAY - MINUTE)
        assert check.refusal(0) is None


def test_a_clock_that_is_right_again_is_accepted(clocks):
    check = ClockCheck(300_000_000, lambda: None, Anchor())
    assert check.refusal(0) is None
    clocks.on(wall=DAY, awake=10)
    assert check.refusal(0) is not None
    clocks.on(wall=30 - DAY, awake=20)
    assert check.refusal(0) is None


# ---------------------------------------------------------------- ingestion


def world(tmp_path):
    path = tmp_path / "events.ndjson"
    stream = hw.appended(
        str(path), schema={"key": int, "amount": float, "at": hw.definitions.connectors.datetime}
    )
    view = streaming_view(source={"stream": stream}, windows=["1d"], freshness=hw.streaming("10s"))

    def write(second, n):
        with path.open("a") as file:
            file.writelines(
                json.dumps({"key": 1, "amount": 1.0, "at": at(second).isoformat()}) + "\n"
                for _ in range(n)
            )

    return view, write


def counted(store, view, second):
    found = hw.get_online_features(
        view, [{"key": 1}], store=store, at=at(second), details=True
    ).row(0, named=True)
    return found["view__count_1d"], found["view__count_1d__stale"]


def dead(tmp_path):
    return list((tmp_path / "dead_letters").rglob("*.parquet"))


@pytest.mark.parametrize("behind", [5 * DAY, -YEAR], ids=["5 days behind", "a year ahead"])
def test_a_wrong_clock_stops_a_run_and_loses_nothing(store, tmp_path, clocks, behind):
    view, write = world(tmp_path)
    write(0, 10)
    clocks.on(wall=1)
    ingest(project_of(view), store, data_dir=tmp_path, once=True)
    write(2, 1000)
    clocks.on(wall=4 - behind, awake=4)
    with pytest.raises(ClockError, match=r"max_clock_jump.*Nothing was committed"):
        ingest(project_of(view), store, data_dir=tmp_path, once=True)
    assert (dead(tmp_path), counted(store, view, 5)) == ([], (10, False))
    clocks.on(wall=behind, awake=0)
    ingest(project_of(view), store, data_dir=tmp_path, once=True)
    assert (dead(tmp_path), counted(store, view, 6)) == ([], (1010, False))


def test_a_running_ingestion_waits_for_the_right_clock(store, tmp_path, clocks, caplog):
    """What was read by the wrong clock is read again: a time of receipt that is days behind would
    refuse events as from the future.
    """
    view, write = world(tmp_path)
    write(0, 10)
    clocks.on(wall=1)
    stop, seen, failed = threading.Event(), [], []

    def run():
        try:
            ingest(
                project_of(view),
                store,
                data_dir=tmp_path,
                stop=stop,
                on_commit=lambda _, made, __: seen.append(made),
            )
        except BaseException as error:  # noqa: BLE001 (raised below)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    until(lambda: failed or sum(made.counts.get("accepted", 0) for made in seen) == 10)
    clocks.on(wall=-5 * DAY, awake=0)
    write(1, 1000)
    until(lambda: "set back by 5d" in caplog.text or "behind the last commit" in caplog.text)
    assert sum(made.counts.get("accepted", 0) for made in seen) == 10
    clocks.on(wall=5 * DAY + 1, awake=1)
    until(lambda: failed or sum(made.counts.get("accepted", 0) for made in seen) == 1010)
    stop.set()
    thread.join()
    assert (failed, dead(tmp_path), counted(store, view, 3)[0]) == ([], [], 1010)


@pytest.mark.parametrize("more", [b"", b"\n"], ids=["left again", "completed later"])
def test_one_run_over_a_file_without_a_last_newline_ends(store, tmp_path, clocks, more):
    """The last line is left: it may be half of one. Once it is complete, it counts once."""
    view, write = world(tmp_path)
    write(0, 3)
    path = tmp_path / "events.ndjson"
    path.write_bytes(path.read_bytes()[:-1])
    clocks.on(wall=1)
    for step, expected in enumerate((2, 2 + len(more), 2 + len(more))):
        ingest(project_of(view), store, data_dir=tmp_path, once=True)
        assert counted(store, view, 2)[0] == expected
        with path.open("ab") as file:
            file.write(b"" if step else more)


# ---------------------------------------------------------------- jobs


@pytest.mark.parametrize(
    ("off", "refused"),
    [(6 * MINUTE, True), (-6 * MINUTE, True), (4 * MINUTE, False), (None, False)],
)
def test_what_is_due_is_not_made_by_a_clock_that_a_server_contradicts(
    store, clock, monkeypatch, off, refused
):
    view = view_of(frame([(1, 10.0, 1.0)]), freshness=hw.batch("1h"))
    clock(2 * 3600)
    monkeypatch.setattr(
        type(store), "server_time", lambda _: None if off is None else micros(2 * 3600 + off)
    )
    if refused:
        with pytest.raises(
            ClockError,
            match=r"differs from the clock of the online store's server by 6m.*Nothing was committed",
        ):
            hw.materialize(project_of(view), store=store)
    else:
        assert [made.cut.T for made in hw.materialize(project_of(view), store=store)] == [
            micros(2 * 3600)
        ]
    (given,) = hw.materialize(project_of(view), store=store, at=at(2 * 3600))
    assert micros(2 * 3600) == given.cut.T
    stop = threading.Event()
    done = next(schedule(project_of(view), store, stop=stop))
    assert isinstance(done.error, ClockError) == refused


def made_by(jobs):
    """The errors of due checks, each made once."""
    stop, errors = threading.Event(), []
    for done in jobs(stop):
        stop.set()
        errors.append(done.error)
    return errors


@pytest.mark.parametrize("what", ["a cut", "a stream"])
@pytest.mark.parametrize(("behind", "refused"), [(6 * MINUTE, True), (4 * MINUTE, False)])
def test_a_job_makes_nothing_by_a_clock_behind_what_the_store_holds(
    what, behind, refused, store, tmp_path, clock
):
    """A store without a server says by its last commit that the clock went back."""
    batch = view_of(frame([(1, 10.0, 1.0)]), freshness=hw.batch("1h"))
    live = streaming_view([hw.count()], name="live")
    live = replace(live, source=replace(live.source, name="pushed"))
    project = project_of(batch, live)
    clock(10 * HOUR)
    if what == "a cut":
        hw.materialize(project, store=store)
    else:
        Flow([live], store, tmp_path).send([{"key": 1, "at": 5.0, "amount": 1.0}], 10 * HOUR)
    clock(10 * HOUR - behind)
    (error,) = made_by(lambda stop: schedule(project, store, stop=stop))
    if not refused:
        assert error is None
        return
    assert isinstance(error, ClockError)
    for words in (
        "is 6m behind the last commit",
        "store rewind",
        "--full-refresh",
        "Nothing was committed",
    ):
        assert words in str(error)
    with pytest.raises(ClockError, match="6m behind the last commit"):
        hw.materialize(project, store=store)
    with (
        pytest.warns(HeadwaterWarning, match="nothing was done")
        if what == "a cut"
        else nullcontext()
    ):
        hw.materialize(project, store=store, at=at(9 * HOUR))
