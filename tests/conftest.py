"""What all tests share: how hard Hypothesis tries, the folder `shared`, servers of a run, and skips
that fail where none are allowed.
"""

import gc
import itertools
import os
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import services

pytest.register_assert_rewrite("tests.ingestion.world")

# workers of a run share the processors: LightGBM's threads would wait for one another at every tree
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HEADWATER_THREADS", "1")

# thousands of results of tests; tests/kept_runs keeps its own
os.environ.setdefault("HEADWATER_RUNS", "off")

# outside of the home, which a run of the tests may have for itself
_KERNELS = Path(tempfile.gettempdir(), f"headwater-kernels-{os.getuid()}")
_KERNELS.mkdir(mode=0o700, exist_ok=True)
if _KERNELS.lstat().st_uid == os.getuid():
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_KERNELS))

SHARED = Path(__file__).resolve().parents[2] / "shared"

# a case is a whole table, on machines that others use too
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "quick",
    deadline=None,
    max_examples=8,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=_SLOW,
)
settings.register_profile("long", settings.get_profile("quick"), max_examples=100)
settings.load_profile("quick")


@pytest.fixture(scope="session")
def shared():
    """The folder `shared` next to the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED.name} next to the checkout")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def one_fit_a_level():
    """Backtests of tests train each level once, unless they set refits;
    tests/backtesting/test_usual_refits.py has the usual number.
    """
    from headwater.definitions import evaluations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluations, "USUAL_REFITS", evaluations.Refits(0))
        yield


@pytest.fixture(autouse=True)
def forgotten_clock():
    """Each test may have a clock of its own: what the one before showed does not measure it."""
    from headwater.ingestion.clock_check import PROCESS

    PROCESS.last = None


# ---------------------------------------------------------------- servers, each started once in a process, by the first test that asks


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    from tests.stores.servers import serving

    if url := services.running("redis_url"):
        yield url
        return
    with serving(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory):
    from tests.stores.servers import serving

    with serving(tmp_path_factory.mktemp("valkey"), binary="valkey-server") as server:
        yield server.url


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory):
    from tests.stores.servers import clustered

    if url := services.running("cluster_url"):
        yield url
        return
    with clustered(tmp_path_factory.mktemp("cluster")) as servers:
        yield f"redis+cluster://127.0.0.1:{servers[0].port}"


@pytest.fixture(scope="session")
def sentinel_url(tmp_path_factory):
    """A primary with a replica, that a Sentinel names; a slow machine is no failure of it."""
    from tests.stores.servers import SentinelServer, Server

    folder = tmp_path_factory.mktemp("sentinel")
    with ExitStack() as stack:
        primary = stack.enter_context(closing(Server(folder / "primary")))
        stack.enter_context(closing(primary.replica(folder / "replica")))
        patient = "sentinel down-after-milliseconds shop 600000"
        sentinel = SentinelServer(folder / "sentinel", "shop", primary, patient)
        stack.enter_context(closing(sentinel))
        yield f"redis+sentinel://127.0.0.1:{sentinel.port}/shop"


@pytest.fixture(scope="session")
def postgres_url():
    from tests.stores.servers import serving_postgres

    if url := services.running("postgres_url"):
        yield url
        return
    with serving_postgres() as server:
        yield f"{server.address}/postgres"


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A broker of Apache Kafka; skips where something that it needs is missing."""
    from tests.ingestion.kafka.conftest import Broker, broker_of

    folder = tmp_path_factory.mktemp("kafka")
    if address := services.running("broker"):
        yield Broker(folder, address)
        return
    with broker_of(folder) as made:
        yield made


@pytest.fixture(scope="session")
def aws_url(tmp_path_factory):
    """The address of an emulator of Kinesis."""
    from tests.stores.emulators import emulating

    if url := services.running("aws_url"):
        yield url
        return
    with emulating(tmp_path_factory.mktemp("aws")) as url:
        yield url


_STORES = itertools.count()


@pytest.fixture(params=["lmdb", pytest.param("redis", marks=pytest.mark.services)])
def either(request, tmp_path):
    """A new online store of one machine, and one across the network."""
    import headwater as hw

    url = f"lmdb:{tmp_path}/either?size=1GB"
    if request.param == "redis":
        url = f"{request.getfixturevalue('redis_url')}?prefix=either{next(_STORES)}"
    with closing(hw.operations.open_store(url)) as made:
        yield made


_STARTED = time.monotonic()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    # thousands of items stay: looking through them again and again took as long as making them
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if not services.FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker("services")
    marks = [{mark.name for mark in item.iter_markers()} for item in items]
    config.left_out = {
        "services": sum("services" in each for each in marks),
        "slow": sum("slow" in each and "services" not in each for each in marks),
    }


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # who collects is a worker, who tells is not
        session.config.workeroutput["left_out"] = session.config.left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.left_out = getattr(node, "workeroutput", {}).get("left_out", {})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    services.begins(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    may_skip = "shared" in getattr(item, "fixturenames", ()) and not SHARED.is_dir()
    if report.skipped and not hasattr(report, "wasxfail") and not may_skip:
        _fail_where_no_skip_is_allowed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.skipped:
        _fail_where_no_skip_is_allowed(report)
    return report


def _fail_where_no_skip_is_allowed(report):
    if os.environ.get("HEADWATER_NO_SKIPS") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"HEADWATER_NO_SKIPS=1, and this would be skipped: {reason}"


def _minutes(seconds):
    return "{} min {} s".format(*divmod(round(seconds), 60))


def pytest_terminal_summary(terminalreporter):
    chosen = terminalreporter.config.option.markexpr
    left_out = getattr(terminalreporter.config, "left_out", {})
    for mark, command, why in (
        ("slow", "make test-long", "take seconds each"),
        ("services", "make test-services", "start a server or a browser"),
    ):
        if f"not {mark}" in chosen and left_out.get(mark):
            terminalreporter.line(f"left out: {left_out[mark]} tests that {why}; `{command}`")
    used = os.times()  # workers and servers are children, which have ended
    computed = used.user + used.system + used.children_user + used.children_system
    terminalreporter.line(
        f"took {_minutes(time.monotonic() - _STARTED)}, and {_minutes(computed)} of processor time"
    )
