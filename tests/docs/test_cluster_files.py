"""The files in deploy/ that start several machines: their form, and that what they name exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
_COMMANDS = {"serve": {"--no-worker"}, "worker": {"--launcher", "ray"}}
_KUBERNETES = {"Deployment": "apps/v1", "Service": "v1"}


def _compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "cluster.compose.yaml").read_text(encoding="utf-8"))
    return document


def _kubernetes(kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind, by name."""
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))
    assert all(document["apiVersion"] == _KUBERNETES[document["kind"]] for document in documents)
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def _is_setting(variable: str) -> bool:
    name = variable.removeprefix("LUTHIER_").lower()
    return not variable.startswith("LUTHIER_") or name in Settings.model_fields


def test_compose_services_refer_to_each_other() -> None:
    compose = _compose()
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert all(_is_setting(variable) for variable in service["environment"])
        sources = [volume.partition(":")[0] for volume in service["volumes"]]
        assert {source for source in sources if not source.startswith(".")} <= set(compose["volumes"])
    assert set(services["database"]["healthcheck"]["test"]) >= {"CMD", "pg_isready"}
    build = services["server"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_compose_starts_two_workers_on_the_database_and_data_of_the_server() -> None:
    server, worker = (_compose()["services"][name] for name in ("server", "worker"))
    assert worker["deploy"]["replicas"] == 2
    assert (server["command"][0], worker["command"][0]) == ("serve", "worker")
    assert worker["image"] == server["image"]
    assert worker["environment"].items() <= server["environment"].items()
    assert set(worker["volumes"]) <= set(server["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])


@pytest.mark.parametrize("page", ["cluster.md", "cluster.zh-CN.md"])
def test_the_page_writes_what_the_compose_file_reads(page: str) -> None:
    text = (DEPLOY.parent / "docs" / page).read_text(encoding="utf-8")
    compose = (DEPLOY / "cluster.compose.yaml").read_text(encoding="utf-8")
    variables = set(re.findall(r"\$\{(\w+)", compose))
    assert variables
    assert all(f'"{variable}=' in text for variable in variables)
    mounted = [volume.partition(":")[0] for volume in _compose()["services"]["server"]["volumes"]]
    created_files = {f"./{name}" for name in re.findall(r"> deploy/(\S+)", text)}
    assert {source for source in mounted if source.startswith(".")} <= created_files
    owner = re.search(r"chown (\d+) deploy/keys", text)
    assert owner
    assert f"--uid {owner[1]} " in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_the_context_of_the_image_is_what_it_copies() -> None:
    """A builder reads all of the context, and may not read the keys."""
    lines = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied_paths = {source for line in re.findall(r"^COPY (.+)", dockerfile, re.M) for source in line.split()[:-1]}
    assert lines.index("*") < min(lines.index(f"!{source}") for source in copied_paths)
    assert copied_paths == {line[1:] for line in lines if line.startswith("!")}
    assert all((DEPLOY.parent / source).exists() for source in copied_paths)


@pytest.mark.parametrize("name", ["luthier-server", "luthier-worker"])
def test_a_deployment_selects_its_pods_and_mounts_what_it_has(name: str) -> None:
    spec = _kubernetes("Deployment")[name]["spec"]
    pod = spec["template"]
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    command, *flags = container["args"]
    assert set(flags) <= _COMMANDS[command]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["spec"]["volumes"]}
    assert set(mounts.values()) == {"/data", "/cache"}
    assert pod["spec"]["securityContext"] == {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001}
    assert pod["spec"]["terminationGracePeriodSeconds"] >= 120
    assert container["envFrom"] == [{"secretRef": {"name": "luthier"}}]


def test_the_service_finds_the_servers() -> None:
    server = _kubernetes("Deployment")["luthier-server"]["spec"]["template"]
    service = _kubernetes("Service")["luthier"]["spec"]
    (container,) = server["spec"]["containers"]
    assert service["selector"].items() <= server["metadata"]["labels"].items()
    names = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= names
    assert {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")} == {
        "/ready",
        "/health",
    }


def test_the_variables_of_the_secret_are_settings() -> None:
    text = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    variables = {word.partition("=")[0] for word in text.split("--from-literal=")[1:]}
    assert {"LUTHIER_STORE", "LUTHIER_BLOBS", "LUTHIER_API_KEYS"} <= variables
    assert all(_is_setting(variable) for variable in variables)
