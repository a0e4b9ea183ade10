"""The switches of tests/conftest.py, in a checkout of their own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.effort import sample

SHARED_BY_ALL = [
    Path(__file__).resolve().parents[0] / name
    for name in (
        "alone.py",
        "conftest.py",
        "effort.py",
        "figures.py",
        "kernels_once.py",
        "services.py",
    )
]

TESTS = """
import pytest
from hypothesis import settings

def test_plain():
    pass

def test_skips():
    pytest.skip("no such machine")

@pytest.mark.skip(reason="marked")
def test_marked():
    pass

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    raise AssertionError

def test_needs_shared(shared):
    assert (shared / "something").exists()

def test_profile():
    assert settings.get_current_profile_name() == {profile!r}
"""


@pytest.mark.parametrize(
    ("environment", "shared", "expected"),
    [
        ({}, False, {"passed": 2, "skipped": 3, "xfailed": 1}),
        ({}, True, {"passed": 3, "skipped": 2, "xfailed": 1}),
        (
            {"HEADWATER_NO_SKIPS": "1"},
            False,
            {"passed": 2, "failed": 1, "error": 1, "skipped": 1, "xfailed": 1},
        ),
        (
            {"HEADWATER_NO_SKIPS": "1", "CI": "1"},
            True,
            {"passed": 3, "failed": 1, "error": 1, "xfailed": 1},
        ),
    ],
)
def test_no_skips_makes_every_skip_a_failure_but_that_of_a_missing_shared_folder(
    tmp_path, environment, shared, expected
):
    summary = _run(
        tmp_path, environment, shared, TESTS.format(profile="ci" if "CI" in environment else "dev")
    ).splitlines()[-1]
    assert {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", summary)} == expected


def test_a_module_that_skips_itself_fails_too(tmp_path):
    module = "import pytest\npytest.importorskip('surely_not_installed')\n"
    assert "1 skipped" in _run(tmp_path / "allowed", {}, False, module)
    assert "1 error" in _run(tmp_path / "forbidden", {"HEADWATER_NO_SKIPS": "1"}, False, module)


SLOW = """
import pytest
from hypothesis import given, settings, strategies
from tests.effort import tries

@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number):
    pass

@pytest.mark.long
def test_long():
    pass

TRIED = []

@settings(max_examples=tries(200))
@given(strategies.integers())
def test_law(number):
    TRIED.append(number)

def test_tried():
    assert len(TRIED) == {tried}
"""


@pytest.mark.parametrize(
    ("environment", "tried", "expected"),
    [
        ({}, 20, {"passed": 2, "deselected": 4}),
        ({"HEADWATER_TESTS": "full"}, 40, {"passed": 5, "deselected": 1}),
        ({"HEADWATER_TESTS": "rest"}, 40, {"passed": 2, "deselected": 4}),
        ({"HEADWATER_TRUST": "long"}, 200, {"passed": 6}),
    ],
)
def test_each_form_leaves_out_what_is_for_longer_ones_and_the_short_one_says_so(
    tmp_path, environment, tried, expected
):
    said = _run(tmp_path, environment, False, SLOW.format(tried=tried))
    assert {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|deselected|failed)", said.splitlines()[-1])
    } == expected
    shortened = environment in ({}, {"HEADWATER_TESTS": "rest"})
    assert ("`make test-full` runs all" in said) == shortened


def test_a_form_that_does_not_exist_is_refused(tmp_path):
    said = _run(tmp_path, {"HEADWATER_TESTS": "rset"}, False, SLOW.format(tried=20))
    assert "HEADWATER_TESTS is 'rset'; give full, rest" in said
    assert "passed" not in said


def test_the_rest_has_a_quarter_of_the_parameters_and_each_at_some_commit():
    tests = [f"test_a.py::test_many[{number}]" for number in range(7)]
    tests += ["test_a.py::test_two[lmdb]", "test_a.py::test_two[redis]", "test_a.py::test_alone"]
    commits = [sample(tests, f"commit {number}") for number in range(50)]
    assert set().union(*commits) == set(tests)
    for chosen in commits:
        names = [test.partition("[")[0].partition("::")[2] for test in chosen]
        assert names.count("test_many") in (1, 2)
        assert (names.count("test_two"), names.count("test_alone")) == (1, 1)


SERVICES = """
import pytest
from hypothesis import given, strategies
from tests import services

@pytest.fixture
def redis_url():
    services.starts("Redis")

@pytest.fixture(params=["lmdb", "redis"])
def url(request):
    if request.param == "redis":
        services.starts("Redis")

def test_plain():
    pass

def test_by_its_fixture(redis_url):
    pass

def test_by_a_parameter(url):
    pass

@pytest.mark.services
def test_by_hand():
    services.starts("Kafka")

@pytest.mark.smoke
def test_kept(redis_url):
    services.starts("Redis")

def test_unmarked():
    services.starts("a browser")

@given(strategies.integers())
def test_law(number):
    pass
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"passed": 4, "failed": 1, "deselected": 3}),
        ({"HEADWATER_TESTS": "full"}, {"passed": 8}),
        # what the short form left out, and the law
        ({"HEADWATER_TESTS": "rest"}, {"passed": 4, "deselected": 4}),
    ],
)
def test_the_short_form_keeps_one_test_of_each_service_and_the_rest_has_the_others(
    tmp_path, environment, expected
):
    said = _run(tmp_path, environment, False, SERVICES)
    assert {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|deselected|failed)", said.splitlines()[-1])
    } == expected
    assert ("starts a browser: mark it with @pytest.mark.services" in said) == (environment == {})
    assert re.search(r"^took 0 min \d+ s, and 0 min \d+ s of processor time$", said, re.MULTILINE)


def _run(tmp_path, environment, shared, module):
    tests = tmp_path / "checkout" / "tests"
    tests.mkdir(parents=True)
    for file in SHARED_BY_ALL:
        shutil.copy(file, tests)
    (tests / "test_module.py").write_text(module, encoding="utf-8")
    if shared:
        (tmp_path / "shared" / "something").mkdir(parents=True)
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "HEADWATER_NO_SKIPS", "HEADWATER_TESTS", "HEADWATER_TRUST")
        and not name.startswith("PYTEST_")
    }
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(tests)]
    # plugins take most of the time
    environment = clean | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tests.parent, env=environment
    )
    return ran.stderr + ran.stdout
