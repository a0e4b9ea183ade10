"""What all tests share: skips that fail where none are allowed, the folder `shared`, servers of a
run, and how hard Hypothesis tries.
"""

import gc
import itertools
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import services
from tests.alone import turn
from tests.effort import (
    CLUSTER,
    FULL,
    IN_CLUSTERS,
    LONG,
    REST,
    SERVICES,
    depends_on_effort,
    sample,
    tries,
)
from tests.figures import PREFIX

pytest.register_assert_rewrite("tests.ingestion.world")

# workers of a run share the processors: LightGBM's threads would wait for one another at every tree
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if not (FULL or SERVICES):  # these compute in as many threads as users do
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
settings.register_profile("dev", deadline=None, max_examples=tries(60), suppress_health_check=_SLOW)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=tries(100),
    suppress_health_check=_SLOW,
    derandomize=True,
    print_blob=True,
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


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


@pytest.fixture(params=["lmdb", "redis"])
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


def pytest_collection_modifyitems(config, items):
    for item in items:
        if services.of_services(item):
            item.add_marker("services")
    kept = [item for item in items if _runs(item)]
    if REST:
        chosen = sample([item.nodeid for item in kept], _commit(config.rootpath))
        kept = [item for item in kept if item.nodeid in chosen]
    config.left_out = not CLUSTER and any(_of_cluster(item) for item in items)
    if len(kept) < len(items):
        ran = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in ran])
        items[:] = kept


def _runs(item):
    if item.get_closest_marker("long") is not None and not LONG:
        return False
    if REST and _is_short(item) and not _is_shortened(item):
        return False
    return _of_cluster(item) is CLUSTER and (FULL or _is_short(item))


def _commit(root):
    """The commit of the checkout; nothing where it has none."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=False
        ).stdout.strip()
    except FileNotFoundError:
        return ""


def _is_short(item):
    """Whether a test is of the short form."""
    marks = {mark.name for mark in item.iter_markers()}
    return SERVICES or ("slow" not in marks and ("services" not in marks or "smoke" in marks))


def _is_shortened(item):
    """Whether a test of the short form does more in the full one: more examples of a law, or more
    parameters.
    """
    if getattr(item.function, "is_hypothesis_test", False):
        return True
    names = _depending(Path(item.module.__file__))
    return (item.cls or item.function).__name__ in names or not names.isdisjoint(item.fixturenames)


@cache
def _depending(path):
    """Names of a module of tests, and of the fixtures that it has, that differ by form."""
    shared = [folder / "conftest.py" for folder in path.parents]
    return depends_on_effort(path).union(*(depends_on_effort(x) for x in shared if x.exists()))


def _of_cluster(item):
    return item.nodeid.startswith(IN_CLUSTERS) and item.get_closest_marker("slow") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    services.begins(item)
    if not hasattr(item.config, "workerinput"):  # no other worker runs next to this process
        return (yield)
    with turn(item.config.rootpath / "build", alone=item.get_closest_marker("alone") is not None):
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
    if not FULL:
        terminalreporter.line(
            "the short form: without tests that are marked slow, with one test of each service, "
            "and with few examples of each law; `make test-full` runs all"
        )
    if REST:
        terminalreporter.line(
            "a quarter of the parameters of each test; the commit chooses which, and "
            "`make test-full` runs all"
        )
    if getattr(terminalreporter.config, "left_out", False):
        terminalreporter.line(
            "without slow tests of several servers: `make test-cluster` runs them, by "
            "HEADWATER_TESTS=cluster"
        )
    used = os.times()  # workers and servers are children, which have ended
    computed = used.user + used.system + used.children_user + used.children_system
    terminalreporter.line(
        f"took {_minutes(time.monotonic() - _STARTED)}, and {_minutes(computed)} of processor time"
    )
    found = [
        (report.nodeid, line.removeprefix(PREFIX))
        for report in terminalreporter.stats.get("passed", [])
        for line in report.capstdout.splitlines()
        if line.startswith(PREFIX)
    ]
    if found:
        terminalreporter.section("figures")
    for name, text in found:
        terminalreporter.line(f"{name.partition('::')[2]}: {text}")
