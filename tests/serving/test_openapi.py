"""The description of the service fits what it does: made-up requests by its schemas never find a fault of the service."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.serving.world import PROJECT, asking


@pytest.fixture(scope="module")
def described(store):
    with asking(store) as client:
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_made_up_requests_find_no_fault(case):
    case.call_and_validate(checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance])


def test_every_route_is_described(described):
    paths = {operation.ok().path for operation in described.get_all_operations()}
    assert {f"/v1/predict/{model.name}" for model in PROJECT.models} <= paths
    assert len(paths) == 3 + 3 + 1 + 6
