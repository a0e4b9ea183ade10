"""Jobs, replays, versions and erasures on DynamoDB: tests of other stores, run here on emulators. Some of them are in the full form too."""

import functools
import itertools
from contextlib import closing

import pytest

import headwater as hw
from tests.erasure import test_erase
from tests.erasure.test_erase import (  # noqa: F401 (tests)
    test_batch_records_and_predictions,
    test_no_trace_of_a_text_key_is_left,
    test_one_key_of_a_view_by_two_columns,
)
from tests.flow import clock, home  # noqa: F401 (fixtures)
from tests.ingestion import test_shared_records
from tests.ingestion.test_mixed_versions import (  # noqa: F401 (tests)
    test_a_running_process_of_the_version_before_reads_and_writes_nothing_more,
    test_a_running_process_stops_where_a_newer_version_migrates,
)
from tests.ingestion.test_replay import test_what_was_known_before_the_start_and_happens_after_it  # noqa: F401 (a test)
from tests.ingestion.test_shared_records import (  # noqa: F401 (tests and a fixture)
    history,
    test_a_store_of_format_2_is_migrated,
    test_a_view_is_added_changed_and_dropped_while_the_others_are_live,
    test_forget_leaves_the_other_sections,
    test_sections_of_dropped_views_go_at_the_next_write_or_by_compaction,
)
from tests.jobs.test_precompute import (  # noqa: F401 (tests)
    test_a_cut_is_read_when_its_delay_is_over,
    test_a_killed_run_of_other_keys_leaves_no_score,
    test_keys_of_any_type_are_found,
    test_one_run_at_a_time,
)
from tests.online_stores import test_view_versions
from tests.online_stores.emulators import DYNAMODB
from tests.online_stores.test_view_versions import filled  # noqa: F401 (a fixture)

_NUMBERS = itertools.count()
_LONG = [pytest.param(kind, marks=pytest.mark.long) for kind in DYNAMODB]
in_full = pytest.mark.parametrize("make_store", [pytest.param("ministack", marks=pytest.mark.slow), *_LONG[1:]], indirect=True)


@pytest.fixture(params=_LONG)
def make_store(request, dynamodb_url):
    return functools.partial(hw.operations.open_store, dynamodb_url(request.param, f"operations{next(_NUMBERS)}"))


@pytest.fixture
def store(make_store):
    with closing(make_store()) as made:
        yield made


@in_full
def test_a_writer_elsewhere_is_fenced_and_goes_on_after_an_erasure(make_store, tmp_path):
    test_erase.test_a_writer_elsewhere_is_fenced_and_goes_on(make_store, tmp_path)


@in_full
def test_a_commit_and_a_fill_of_two_processes_lose_no_update(history, monkeypatch):
    test_shared_records.test_a_commit_and_a_fill_of_two_processes_lose_no_update(history, monkeypatch)


@in_full
def test_both_versions_of_a_view_are_filled_and_one_is_read_by_name(filled, tmp_path, clock):
    test_view_versions.test_both_versions_are_filled_and_one_is_read_by_name(filled, tmp_path, clock)


def test_no_answer_mixes_versions_while_they_are_promoted_and_rolled_back(filled, tmp_path):
    test_view_versions.test_no_answer_mixes_versions_while_they_are_promoted_and_rolled_back(filled, tmp_path)
