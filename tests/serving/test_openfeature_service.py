"""OpenFeature against a service over HTTP: the provider assigns as the service does, and exposures
that are tracked are in its log.
"""

import time

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.track import TrackingEventDetails

import headwater as hw
from headwater.experiments.openfeature_provider import HeadwaterProvider
from headwater.journal.exposure_log import read_exposures
from tests.serving.experiment_world import T, both_levels, expected, serving, started


@pytest.fixture(scope="module")
def filled_store(tmp_path_factory):
    made = hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('arms') / 'online'}?size=1GB")
    yield both_levels(made)
    made.close()


def test_the_provider_assigns_as_the_service_does(tmp_path, filled_store):
    store = started(tmp_path / "models")
    with (
        serving(filled_store, tmp_path, store) as http,
        hw.client.Client(str(http.base_url)) as service,
    ):
        provider = HeadwaterProvider(service, now=lambda: T)
        api.set_provider_and_wait(provider)
        try:
            client = api.get_client()
            for unit in range(50):
                assert client.get_string_value(
                    "fresh", "none", EvaluationContext(str(unit))
                ) == expected(store, unit)
            # an evaluation alone is not an exposure
            assert read_exposures(tmp_path, "fresh").is_empty()
            for unit in range(50):
                details = TrackingEventDetails(
                    attributes={"experiment": "fresh", "request_id": f"r{unit}"}
                )
                client.track("exposure", EvaluationContext(str(unit)), details)
            end = time.monotonic() + 20
            while read_exposures(tmp_path, "fresh").height < 50:
                assert time.monotonic() < end
                time.sleep(0.05)
        finally:
            api.shutdown()
        assert provider.failed == 0
    logged = read_exposures(tmp_path, "fresh")
    assert dict(logged.select("unit", "arm").rows()) == {
        str(unit): expected(store, unit) for unit in range(50)
    }
    assert logged["source"].unique().to_list() == ["reported"]
