"""The description of the service fits what it does: made-up requests by its schemas never find a fault of the service."""

from dataclasses import replace

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.serving.world import PROJECT, asking

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
POSTED = [
    *(f"/v1/features/{model.features.name}" for model in PROJECT.models),
    *(f"/v1/predict/{model.name}" for model in PROJECT.models),
    "/v1/rank/feed",
    *(f"/v1/outcomes/{model.labels.name}" for model in PROJECT.models),
]
ASKED = ["/v1/explain", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"]


@pytest.fixture(scope="module")
def described(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    with asking(store, replace(PROJECT, levels={}), folder=folder) as client:  # of levels that are not in the store, 503 is said
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("path", [*POSTED, "/v1/explain"])
def test_made_up_requests_find_no_fault(described, path, mode):
    kind = schemathesis.GenerationMode(mode)
    seen = []

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=described[path]["POST" if path in POSTED else "GET"].as_strategy(generation_mode=kind))
    def ask(case):
        answer = case.call()
        seen.append(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    if mode == "negative":
        assert set(seen) & {400, 422}, set(seen)
    elif path in POSTED and "outcomes" not in path:  # what outcomes have is for the labels to say, row by row
        assert 200 in seen, set(seen)


def test_every_route_is_described(described):
    assert set(described) == {*POSTED, *ASKED}
