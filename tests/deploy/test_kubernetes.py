"""The manifests: by the schema of Kubernetes, and what they refer to. There is no cluster to apply them to."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from batch_jobs.ingestion.source_mapping import load_mapping
from feature_repo.common.config import Config
from feature_repo.common.config_loading import SECRET_VARIABLES, load_config
from feature_repo.common.paths import log_paths, shared_paths, shop_paths
from online_api.app import create_app
from online_api.lists.rule_file import RuleSet
from online_api.search.synonym_file import Synonyms
from online_api.server import SHUTDOWN_SECONDS
from tests.deploy.commands import require_command

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASE = FOLDER / "base"
VERSION = "1.34"
USAGE_OR_REFUSED = [2, 3]  # exit codes that a retry does not mend
Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def kustomization(folder: Path) -> Manifest:
    (content,) = documents(folder / "kustomization.yaml")
    return content


MANIFESTS = [one for name in kustomization(BASE)["resources"] for one in documents(BASE / name)]


def named(kind: str, name: str) -> Manifest:
    (found,) = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> Iterator[tuple[str, Manifest]]:
    """The template of each pod, by the name of what makes it."""
    for one in MANIFESTS:
        spec = one["spec"].get("jobTemplate", one)["spec"]
        if "template" in spec:
            yield one["metadata"]["name"], spec["template"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


API = dict(pods())["tawsiya-api"]


def settings_of(container: Manifest, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The configuration in a container, whose working directory has the settings."""
    monkeypatch.chdir(BASE)
    return load_config(Path("settings/tawsiya.yaml"), environ=variables(container))


def variables(container: Manifest) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_it_follows_the_schema(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)
    assert "namespace" not in manifest["metadata"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest | {"misspelt": 1}, VERSION, strict=True)


def test_the_kustomizations_name_what_there_is() -> None:
    files = {path.name for path in BASE.glob("*.yaml")}
    assert files == {*kustomization(BASE)["resources"], "kustomization.yaml"}
    (settings,) = kustomization(BASE)["configMapGenerator"]
    assert {BASE / name for name in settings["files"]} == set((BASE / "settings").iterdir())
    images = {one["name"] for one in kustomization(BASE)["images"]}
    assert {one["image"] for _, pod in pods() for one in containers(pod)} == images

    overlay = kustomization(FOLDER / "gpu")
    assert [(FOLDER / "gpu" / name).resolve() for name in overlay["resources"]] == [BASE]
    assert {one["name"] for one in overlay["images"]} <= images
    for patch in overlay["patches"]:
        (change,) = documents(FOLDER / "gpu" / patch["path"])
        target = named(change["kind"], change["metadata"]["name"])
        patched, present = (one["spec"]["jobTemplate"]["spec"]["template"]["spec"] for one in (change, target))
        assert [one["name"] for one in patched["containers"]] == [one["name"] for one in present["containers"]]


def test_selectors_match_the_pods() -> None:
    labels = API["metadata"]["labels"]
    for kind, name in (("Service", "tawsiya-api"), ("Service", "tawsiya-api-pods")):
        assert named(kind, name)["spec"]["selector"] == labels
    stateful_set = named("StatefulSet", "tawsiya-api")["spec"]
    assert stateful_set["selector"]["matchLabels"] == labels
    assert stateful_set["serviceName"] == named("Service", "tawsiya-api-pods")["metadata"]["name"]
    assert "replicas" not in stateful_set
    assert named("PodDisruptionBudget", "tawsiya-api")["spec"]["selector"]["matchLabels"] == labels
    assert named("NetworkPolicy", "tawsiya-api")["spec"]["podSelector"]["matchLabels"] == labels
    for spread in API["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels
    scaled = named("HorizontalPodAutoscaler", "tawsiya-api")["spec"]
    target = scaled["scaleTargetRef"]
    assert named(target["kind"], target["name"])["apiVersion"] == target["apiVersion"]
    (metric,) = scaled["metrics"]
    (measured,) = [one for one in API["spec"]["containers"] if one["name"] == metric["containerResource"]["container"]]
    assert "cpu" in measured["resources"]["requests"]
    everyone = named("NetworkPolicy", "tawsiya-no-callers")["spec"]["podSelector"]["matchLabels"].items()
    assert all(everyone <= pod["metadata"]["labels"].items() for _, pod in pods())


def test_volumes_configurations_and_secrets_exist() -> None:
    claims = {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "PersistentVolumeClaim"}
    (settings,) = kustomization(BASE)["configMapGenerator"]
    templates = named("StatefulSet", "tawsiya-api")["spec"]["volumeClaimTemplates"]
    for name, pod in pods():
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        own = {one["metadata"]["name"] for one in templates} if name == "tawsiya-api" else set()
        for volume in volumes.values():
            assert volume.get("persistentVolumeClaim", {"claimName": "tawsiya-shop"})["claimName"] in claims
            assert volume.get("configMap", settings)["name"] == settings["name"]
            assert volume.get("secret", {"secretName": "tawsiya-secrets"})["secretName"] == "tawsiya-secrets"
        mounted = {mount["name"] for one in containers(pod) for mount in one["volumeMounts"]}
        assert mounted == volumes.keys() | own
        for container in containers(pod):
            files = {key.removesuffix("_FILE"): path for key, path in variables(container).items() if "_FILE" in key}
            assert files.keys() <= set(SECRET_VARIABLES)
            # As deploy/make_secrets.sh names them.
            written = (FOLDER.parent / "make_secrets.sh").read_text(encoding="utf-8")
            for path in files.values():
                assert path.startswith("/run/secrets/tawsiya/")
                assert f"write {Path(path).name}\n" in written


def test_every_container_is_hardened_and_limited() -> None:
    for name, pod in pods():
        security = pod["spec"]["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001), name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_commands_are_real() -> None:
    for _, pod in pods():
        for container in containers(pod):
            if "command" not in container:
                require_command(container["args"])
            elif container["command"] != ["sleep", "7200"]:
                (words,) = re.findall(r"^\s*tawsiya (.*)$", container["args"][0], re.MULTILINE)
                require_command(words.split())


def test_the_api_listens_where_probes_and_services_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = [one for one in API["spec"]["containers"] if one["name"] == "api"]
    config = settings_of(container, monkeypatch)
    assert container["ports"] == [{"name": "http", "containerPort": config.api.port}]
    routes = create_app(config).openapi()["paths"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"
        assert container[probe]["httpGet"]["path"] in routes
    for name in ("tawsiya-api", "tawsiya-api-pods"):
        assert [port["targetPort"] for port in named("Service", name)["spec"]["ports"]] == ["http"]
    # A pod that ends is found unready before it stops to answer, and has the time to finish.
    ready = container["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < config.api.drain_seconds
    assert config.api.drain_seconds + SHUTDOWN_SECONDS < API["spec"]["terminationGracePeriodSeconds"]


def test_what_the_api_logs_is_what_the_jobs_read(monkeypatch: pytest.MonkeyPatch) -> None:
    (api,) = [one for one in API["spec"]["containers"] if one["name"] == "api"]
    (job,) = containers(dict(pods())["tawsiya-refresh"])
    served, refreshed = settings_of(api, monkeypatch), settings_of(job, monkeypatch)
    places = {mount["mountPath"]: mount for mount in api["volumeMounts"]}
    # The volume is the data_dir of the jobs, so a place on it is one in the shop's folder.
    (var,) = [mount for mount in job["volumeMounts"] if mount["name"] == "var"]
    assert var["mountPath"] == f"/app/{refreshed.data_dir}"
    log = places[str(log_paths(served).root)]
    shop = shop_paths(refreshed).root.name
    assert (log["name"], log["subPathExpr"]) == ("shop", f"{shop}/hosts/$(POD_NAME)")
    assert places[str(shared_paths(served).root.parent)] == {"name": "shop", "mountPath": "/shared", "readOnly": True}
    assert {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in api["env"]
    pulls = [words for one in containers(API) for words in one["args"] if "/releases" in words]
    assert all(f"/shared/{shop}/releases" in words for words in pulls)
    assert len(pulls) == 2


def test_the_settings_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings_of({}, monkeypatch)
    assert RuleSet.load(config.api.rules_path)
    assert Synonyms.load(config.api.synonyms_path)
    assert load_mapping(config.data.source).folder == "data"


def test_the_jobs_are_scheduled_and_repeated_as_documented() -> None:
    jobs = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "CronJob"}
    assert {name: (job["schedule"], job.get("suspend")) for name, job in jobs.items()} == {
        "tawsiya-refresh": ("0 3 * * *", None),
        "tawsiya-prices": ("*/10 * * * *", None),
        "tawsiya-shell": ("0 0 1 1 *", True),
    }
    assert {job["concurrencyPolicy"] for job in jobs.values()} == {"Forbid"}
    (rule,) = jobs["tawsiya-refresh"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == USAGE_OR_REFUSED
