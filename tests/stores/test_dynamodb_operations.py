"""Jobs, replays, versions, erasures and development environments on DynamoDB: tests of other
stores, run here on emulators.

The full form has some of them on one emulator; the longest form has all on both, with the state in
the table and in PostgreSQL.
"""

import functools
import itertools
from contextlib import closing

import pytest

import headwater as hw
from headwater.stores.dynamodb.dynamodb_items import Items
from tests.flow import clock, home  # noqa: F401 (fixtures)
from tests.ingestion.test_replay import (  # noqa: F401 (tests)
    test_the_archive_of_a_replay_is_what_was_played,
    test_what_was_known_before_the_start_and_happens_after_it,
)
from tests.jobs import test_erase
from tests.jobs.test_erase import (  # noqa: F401 (tests)
    test_batch_records_and_predictions,
    test_change_images_of_a_key,
    test_events_of_the_history_that_a_stream_began_with,
    test_no_trace_of_a_text_key_is_left,
    test_one_key_of_a_view_by_two_columns,
    test_what_is_left_is_as_if_the_key_had_never_been,
)
from tests.jobs.test_precompute import (  # noqa: F401 (tests)
    test_a_cut_is_read_when_its_delay_is_over,
    test_a_killed_run_of_other_keys_leaves_no_score,
    test_keys_of_any_type_are_found,
    test_one_run_at_a_time,
)
from tests.stores import test_development, test_two_owners
from tests.stores.emulators import DYNAMODB
from tests.stores.test_development import (  # noqa: F401 (tests and fixtures)
    developing,
    production,
    test_a_store_that_a_project_has_written_to_is_not_one_s_own,
    test_it_writes_nothing_to_production,
)
from tests.stores.test_ownership import (  # noqa: F401 (tests)
    test_every_command_refuses_the_store_of_another_project,
    test_two_projects_share_nothing,
    test_who_comes_first_owns_a_store,
)

_NUMBERS = itertools.count()
_LONG = [pytest.param(kind, marks=pytest.mark.long) for kind in DYNAMODB]
_FULL = [pytest.param("ministack", marks=pytest.mark.slow), *_LONG[1:]]
in_full = pytest.mark.parametrize("make_store", _FULL, indirect=True)


@pytest.fixture(params=_LONG)
def make_store(request, dynamodb_url):
    return functools.partial(
        hw.operations.open_store, dynamodb_url(request.param, f"operations{next(_NUMBERS)}")
    )


@pytest.fixture
def store(make_store):
    with closing(make_store()) as made:
        yield made


@pytest.fixture
def urls(make_store, dynamodb_url, request):
    """A production store, and where one's own is."""
    (url,) = make_store.args
    return url, dynamodb_url(
        request.node.callspec.params["make_store"], f"operations{next(_NUMBERS)}"
    )


@pytest.fixture(autouse=True)
def no_server_clock(request, monkeypatch):
    """The time of these tests is not that of the servers."""
    monkeypatch.setattr(Items, "server_time", lambda _: None)
    if "_and_postgres" in request.node.name:
        monkeypatch.setattr("headwater.stores.postgres.PostgresStore.server_time", lambda _: None)


@in_full
def test_a_writer_elsewhere_is_fenced_and_goes_on_after_an_erasure(make_store, tmp_path):
    test_erase.test_a_writer_elsewhere_is_fenced_and_goes_on(make_store, tmp_path)


@in_full
def test_a_development_environment_reads_production(production, developing, clock):
    test_development.test_it_reads_production_and_builds_what_changed(production, developing, clock)


def test_an_event_that_is_held_is_released_by_its_owner_alone(make_store):
    test_two_owners.held_event_is_released_once(*make_store.args)
