"""A field more in an answer is one line: added in a copy of the source tree, and found in Python,
over HTTP, in OpenAPI and by clients.
"""

import json

import pytest

from tests.test_additions import tree  # noqa: F401 (fixture)

RUN = """
    import json, socket
    import headwater as hw, httpx
    from headwater.testing.examples import temporary_store, visiting

    class Same:
        version = "1"
        def one(self, values):
            return 1.0

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    project = visiting(hw.batch("1h"))
    model = project.models[0].name
    found = {}
    with temporary_store() as store:
        hw.materialize(project, store=store, at="2024-05-01T12:00Z")
        with hw.operations.Service(project, store, models={model: Same()}) as service:
            (row,) = service.features("churn_v1", {"user": 1}).rows
            found["python"] = row["user__count_1d"].width
            found["python prediction"] = service.predict(model, {"user": 1}).predictions[0].half
        with hw.operations.serve(project, store, listen=f"127.0.0.1:{port}", models={model: Same()}) as url:
            for form, more in (("http", {}), ("compact", {"compact": True})):
                said = httpx.post(f"{url}/v1/features/churn_v1", json={"row": {"user": 1}, **more}, trust_env=False).json()
                found[form] = (said["views"]["user"] if more else said["features"]["user__count_1d"])["width"]
            said = httpx.post(f"{url}/v1/features/churn_v1", json={"columns": {"user": [1]}}, trust_env=False).json()
            found["columns"] = said["features"]["user__count_1d"]["width"]
            said = httpx.post(f"{url}/v1/predict/{model}", json={"row": {"user": 1}}, trust_env=False).json()
            found["http prediction"] = said["prediction"]["half"]
            schemas = httpx.get(f"{url}/openapi.json", trust_env=False).json()["components"]["schemas"]
            found["openapi"] = [name for name in ("FeatureValue", "FeatureColumn", "ViewVersion") if "width" in schemas[name]["properties"]]
            found["openapi"] += [name for name in schemas if "half" in schemas[name]["properties"]]
            with hw.client.Client(url) as client:
                found["client"] = client.features("churn_v1", {"user": 1}).rows[0]["user__count_1d"].width
                found["client prediction"] = client.predict(model, {"user": 1}).predictions[0].half
    print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_field_is_one_line(tree):
    schema = "serving/http/response_schema.py"
    tree.put(
        schema, "incomplete: Annotated", "width: Annotated[int, Computed(lambda version, t: 7)]"
    )
    assert (tree.files, tree.lines) == (set(), {schema})
    tree.put(
        schema,
        "age: Annotated[float, Computed(lambda predicted",
        "half: Annotated[float, Computed(lambda predicted: predicted.value / 2)]",
    )
    found = json.loads(tree.run(RUN))
    assert found.pop("openapi")[:3] == ["FeatureValue", "FeatureColumn", "ViewVersion"]
    assert {
        name: value for name, value in found.items() if "prediction" not in name
    } == dict.fromkeys(("python", "http", "compact", "columns", "client"), 7)
    assert {name: value for name, value in found.items() if "prediction" in name} == dict.fromkeys(
        ("python prediction", "http prediction", "client prediction"), 0.5
    )
