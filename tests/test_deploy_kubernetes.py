"""The manifests of deploy/kubernetes are valid without a cluster, and start commands, read files
and ask routes that there are.
"""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from headwater.cli.command import SECTIONS
from headwater.cli.parser import parse
from headwater.cli.project_file import read
from headwater.serving.http.routes import ROUTES

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="needs kubernetes-validate; `make dev` installs it"
)

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
RESOURCES = [
    pytest.param(one, id=f"{one['kind']} {one['metadata']['name']}")
    for path in FILES
    for one in yaml.safe_load_all(path.read_text("utf-8"))
]
BY_KIND = {
    (param.values[0]["kind"], param.values[0]["metadata"]["name"]): param.values[0]
    for param in RESOURCES
}


def pods():
    """The pod of each workload, by its name."""
    for (kind, name), one in BY_KIND.items():
        if kind in ("Deployment", "StatefulSet", "Job"):
            yield name, one["spec"]["template"]
        if kind == "CronJob":
            yield name, one["spec"]["jobTemplate"]["spec"]["template"]


PODS = dict(pods())
CONTAINERS = {
    f"{name} {one['name']}": (PODS[name]["spec"], one)
    for name in PODS
    for one in [*PODS[name]["spec"].get("initContainers", []), *PODS[name]["spec"]["containers"]]
}


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_a_manifest_is_valid(resource, version):
    kubernetes_validate.validate(resource, version, strict=True)


def test_an_unknown_field_is_seen():
    broken = BY_KIND["Service", "headwater-serve"] | {"spec": {"port": 80}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.31", strict=True)


def test_there_is_what_a_cluster_needs():
    kinds = {kind for kind, _ in BY_KIND}
    assert kinds >= {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "CronJob",
        "ConfigMap",
        "NetworkPolicy",
    }
    assert {
        "headwater-serve",
        "headwater-ingest",
        "headwater-materialize",
        "headwater-watch",
        "headwater-apply",
    } == set(PODS)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_runs_a_command_with_what_it_mounts(name):
    pod, container = CONTAINERS[name]
    assert "command" not in container  # the image's entry point is headwater
    assert parse(container["args"]) is not None
    mounts = {one["mountPath"] for one in container["volumeMounts"]}
    for path in re.findall(
        r"/(?:srv|run|var)/[\w./-]+",
        " ".join([*container["args"], *(e["value"] for e in container.get("env", []))]),
    ):
        assert path == "/srv/features/features.py" or any(
            path.startswith(mount) for mount in mounts
        ), path
    assert {one["name"] for one in container["volumeMounts"]} <= {
        one["name"] for one in pod["volumes"]
    }
    assert {"/tmp", "/var/lib/headwater"} <= mounts  # the rest is read-only


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_can_do_no_more_than_it_needs(name):
    pod, container = CONTAINERS[name]
    allowed = container["securityContext"]
    assert (
        allowed["readOnlyRootFilesystem"],
        allowed["allowPrivilegeEscalation"],
        allowed["capabilities"],
    ) == (
        True,
        False,
        {"drop": ["ALL"]},
    )
    user = re.search(r"--uid (\d+)", (DEPLOY / "Dockerfile").read_text("utf-8"))[1]
    assert (pod["securityContext"]["runAsNonRoot"], str(pod["securityContext"]["runAsUser"])) == (
        True,
        user,
    )
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # HEADWATER_SERVE_PORT of a Service is not an option
    # else each start changes the owner of every file of a volume
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", [name for kind, name in BY_KIND if kind == "CronJob"])
def test_a_job_that_hangs_does_not_keep_the_next_ones_out(name):
    schedule = BY_KIND["CronJob", name]["spec"]
    assert schedule["concurrencyPolicy"] == "Forbid"
    assert schedule["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    assert schedule["startingDeadlineSeconds"] > 0


def test_what_is_named_is_there():
    claims = {name for kind, name in BY_KIND if kind == "PersistentVolumeClaim"}
    maps = {name for kind, name in BY_KIND if kind == "ConfigMap"}
    for pod in PODS.values():
        volumes = pod["spec"]["volumes"]
        assert {
            v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v
        } <= claims
        assert {v["configMap"]["name"] for v in volumes if "configMap" in v} <= maps
    labels = [pod["metadata"]["labels"].items() for pod in PODS.values()]
    selectors = [
        one["spec"].get("selector", one["spec"].get("podSelector"))
        for (kind, _), one in BY_KIND.items()
        if kind in ("Service", "NetworkPolicy", "PodDisruptionBudget")
    ]
    for selector in selectors:
        assert any(selector.get("matchLabels", selector).items() <= own for own in labels), selector
    assert (
        (BY_KIND["HorizontalPodAutoscaler", "headwater-serve"]["spec"]["scaleTargetRef"]["name"])
        == "headwater-serve"
    )
    # a second apply would undo the autoscaler
    assert "replicas" not in BY_KIND["Deployment", "headwater-serve"]["spec"]


def test_no_pod_takes_connections_that_no_policy_allows():
    policies = [one["spec"] for (kind, _), one in BY_KIND.items() if kind == "NetworkPolicy"]
    closed = [
        policy["podSelector"]["matchLabels"].items()
        for policy in policies
        if "ingress" not in policy
    ]
    for name, pod in PODS.items():
        assert any(selector <= pod["metadata"]["labels"].items() for selector in closed), name


@pytest.mark.parametrize("name", ["headwater-serve", "headwater-ingest"])
def test_a_node_can_be_drained_and_pods_are_spread(name):
    budget = BY_KIND["PodDisruptionBudget", name]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    (spread,) = PODS[name]["spec"]["topologySpreadConstraints"]
    assert (
        spread["labelSelector"]["matchLabels"].items() <= PODS[name]["metadata"]["labels"].items()
    )
    deployment = BY_KIND["Deployment", name]["spec"]
    (container,) = PODS[name]["spec"]["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] < deployment.get(
        "progressDeadlineSeconds", 600
    )


def test_probes_ask_routes_that_need_no_token():
    open_routes = {route.path for route in ROUTES if route.scope is None}
    _, serve = CONTAINERS["headwater-serve serve"]
    probes = {
        name: serve[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert {probe["path"] for probe in probes.values()} <= open_routes
    assert {probe["port"] for probe in probes.values()} == {"http"}
    # a store that is away is not a reason to restart
    assert probes["livenessProbe"]["path"] == "/healthz"
    assert serve["ports"] == [{"name": "http", "containerPort": 8320}]
    annotations = PODS["headwater-serve"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in {route.path for route in ROUTES}


def test_the_project_file_is_one(tmp_path):
    text = BY_KIND["ConfigMap", "headwater"]["data"]["headwater.toml"]
    (tmp_path / "headwater.toml").write_text(text, encoding="utf-8")
    values = read(tmp_path / "features.py").sections
    assert set(values) <= set(SECTIONS)
    serve = values["serve"]
    _, container = CONTAINERS["headwater-serve serve"]
    mounts = {one["mountPath"] for one in container["volumeMounts"]}
    assert {serve["models"], str(Path(serve["tokens"]).parent)} <= mounts
    assert serve["listen"].endswith(":8320")
    grace = PODS["headwater-serve"]["spec"]["terminationGracePeriodSeconds"]
    assert (
        2 * (serve["graceful_timeout"] + 2) + container["lifecycle"]["preStop"]["sleep"]["seconds"]
        < grace
    )
    home = next(v for v in PODS["headwater-serve"]["spec"]["volumes"] if v["name"] == "home")[
        "emptyDir"
    ]["sizeLimit"]
    assert int(home.removesuffix("Gi")) > int(serve["ship_buffer"].removesuffix("GB"))
    assert CONTAINERS["headwater-watch fetch"][1]["args"][2] == serve["ship_logs"]


def test_the_autoscaler_reads_a_metric_of_the_service():
    scaler = BY_KIND["HorizontalPodAutoscaler", "headwater-serve"]["spec"]
    (rule,) = yaml.safe_load(
        BY_KIND["ConfigMap", "headwater-prometheus-adapter"]["data"]["config.yaml"]
    )["rules"]
    assert scaler["metrics"][0]["pods"]["metric"]["name"] == rule["name"]["as"]
    series = re.match(r"(headwater_\w+)_total\{", rule["seriesQuery"])[1]
    code = (DEPLOY.parent / "src/headwater/serving/metrics/request_metrics.py").read_text("utf-8")
    assert re.search(rf'CounterMetricFamily\(\s*"{series}"', code)
    workers = tomllib.loads(BY_KIND["ConfigMap", "headwater"]["data"]["headwater.toml"])["serve"][
        "workers"
    ]
    target = scaler["metrics"][0]["pods"]["target"]["averageValue"]
    assert int(target.removesuffix("m")) == 600 * workers  # 60 % of each worker's processor
    assert CONTAINERS["headwater-serve serve"][1]["resources"]["requests"]["cpu"] == str(workers)


def test_no_secret_stands_in_a_manifest():
    assert not [name for kind, name in BY_KIND if kind == "Secret"]
    text = "".join(path.read_text("utf-8") for path in FILES)
    assert re.search(r"://[^@/\s]*:[^@/\s]+@", text) is None
