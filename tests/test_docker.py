"""The files that start clusters, each read by the program or the schema that it is written for.

Versions in them, and the command lines in them and in docs/cluster.md, are those of the project.
"""

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray
import typer
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from ray.scripts.scripts import cli as ray_cli

from harness.cli import app

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
GUIDE = ROOT / "docs" / "cluster.md"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
NEEDS = {
    need.name: need
    for need in map(Requirement, [*PROJECT["project"]["dependencies"], *EXTRAS["run"]])
}
PINS = {
    pin.name: pin
    for line in (DOCKER / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
    for pin in [Requirement(line)]
}
RAY = PINS["ray"]
COMMANDS = {"chronograd": typer.main.get_command(app), "ray": ray_cli}

of_dockerfiles = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)


def call(program, *arguments, **environment):
    """Runs a program that comes with the development dependencies."""
    path = shutil.which(program, path=sysconfig.get_path("scripts"))
    assert path is not None, f"{program} is not installed"
    return subprocess.run(
        [path, *arguments], capture_output=True, text=True, env={**os.environ, **environment}
    )


def resolve(words):
    """The command that a command line calls, and the arguments it gives."""
    command, words = COMMANDS[words[0]], words[1:]
    while words and words[0] in getattr(command, "commands", ()):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def parse(words):
    """What the command makes of its arguments, without running; raises where it refuses them."""
    command, arguments = resolve(words)
    return command.make_context(command.name, list(arguments)).params


# Images


@of_dockerfiles
def test_hadolint_finds_nothing(file):
    done = call("hadolint", "--no-color", file)
    assert (done.returncode, done.stdout) == (0, "")


@of_dockerfiles
def test_an_image_runs_as_a_user_that_is_not_root(file):
    assert re.findall(r"^USER (.*)$", file.read_text(), re.MULTILINE) == ["1000"]


@of_dockerfiles
def test_an_image_has_the_torch_of_the_project(file):
    assert re.findall(r"torch==\S+", file.read_text()) == [str(NEEDS["torch"])]


@of_dockerfiles
def test_an_image_has_the_ray_of_all_nodes(file):
    assert "--constraint /checkout/docker/constraints.txt" in file.read_text()
    (pin,) = RAY.specifier
    assert (RAY.name, pin.operator) == ("ray", "==")
    assert pin.version in NEEDS["ray"].specifier


def test_an_image_pins_every_package_of_the_project():
    """And what these need in turn, as far as it is installed here."""
    assert EXTRAS["cluster"][0] == "chronograd[run]"
    left = [*NEEDS.values(), *map(Requirement, EXTRAS["cluster"][1:])]
    seen = set()
    while left:
        need = left.pop()
        name = canonicalize_name(need.name)
        if name in seen or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        (pin,) = PINS[name].specifier
        assert pin.operator == "=="
        assert need.specifier.contains(pin.version, prereleases=True), need
        with contextlib.suppress(metadata.PackageNotFoundError):
            left += map(Requirement, metadata.requires(name) or ())
    assert len(seen) > 50
    assert str(PINS["torch"]) == str(NEEDS["torch"])


def test_images_have_one_python_which_the_project_takes():
    text = "".join(file.read_text() for file in DOCKERFILES)
    (base,) = set(re.findall(r"^FROM (.*)$", text, re.MULTILINE))
    pinned = re.fullmatch(r"python:(\d+\.\d+\.\d+)-slim-\w+", base)
    assert pinned is not None, base
    assert pinned[1] in SpecifierSet(PROJECT["project"]["requires-python"])


def test_docker_is_sent_what_is_installed_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    packages = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    needed = {name.removesuffix("*") for name in packages} | {"LICENSE", "pyproject.toml"}
    assert "*" in lines
    assert sent == needed | {PROJECT["project"]["readme"], "docker/constraints.txt"}


@pytest.mark.parametrize("name", [*(f.name for f in DOCKERFILES), "ray-cluster.yaml", "slurm.sh"])
def test_usage_statistics_are_off(name):
    assert "RAY_USAGE_STATS_ENABLED=0" in (DOCKER / name).read_text()


# Compose

COMPOSE = {"cpu": ["compose.yaml"], "cuda": ["compose.yaml", "compose.gpu.yaml"]}


def files_of(kind):
    return [flag for name in COMPOSE[kind] for flag in ("--file", DOCKER / name)]


@functools.cache
def services(kind):
    """What Docker Compose makes of the files; it checks them against its schema."""
    arguments = (*files_of(kind), "config", "--format", "json")
    done = call("docker-compose", *arguments, RAY_AUTH_TOKEN="secret")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)["services"]


@pytest.mark.parametrize(("kind", "workers"), [("cpu", 2), ("cuda", 1)])
def test_compose_starts_workers_once_the_head_is_well(kind, workers):
    head, worker = services(kind)["head"], services(kind)["worker"]
    assert worker["scale"] == workers
    assert worker["depends_on"]["head"]["condition"] == "service_healthy"
    assert head["healthcheck"]["test"][-1].endswith("/api/gcs_healthz")
    assert ("gpus" in worker) == (kind == "cuda")


@pytest.mark.parametrize("kind", COMPOSE)
def test_every_container_asks_for_the_token_and_has_no_capabilities(kind):
    for container in services(kind).values():
        assert container["environment"] == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}
        assert container["cap_drop"] == ["ALL"]
        assert container["security_opt"] == ["no-new-privileges:true"]


def test_compose_without_a_token_says_how_to_make_one(tmp_path):
    done = call("docker-compose", *files_of("cpu"), "--env-file", os.devnull, "config")
    assert done.returncode != 0
    assert "RAY_AUTH_TOKEN" in done.stderr
    assert "compose.yaml" in done.stderr
    header = (DOCKER / "compose.yaml").read_text().split("\n\n")[0].splitlines()
    (line,) = (line.removeprefix("#").strip() for line in header if "secrets" in line)
    assert line in GUIDE.read_text()
    (tmp_path / "docker").mkdir()
    subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
    made = (tmp_path / "docker" / ".env").read_text()
    assert re.fullmatch(r"RAY_AUTH_TOKEN=[0-9a-f]{64}\n", made)
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize(
    ("kind", "service", "image"),
    [("cpu", "head", "cpu"), ("cpu", "worker", "cpu"), ("cuda", "worker", "cuda")],
)
def test_a_container_is_built_here_and_starts_ray(kind, service, image):
    container = services(kind)[service]
    build = container["build"]
    assert container["image"] == f"chronograd:{image}"
    assert Path(build["context"]) == ROOT
    assert ROOT / build["dockerfile"] == DOCKER / f"{image}.Dockerfile"
    started = parse(container["command"])
    assert started["head"] == (service == "head")
    assert started["object_store_memory"] < int(container["shm_size"])


@pytest.mark.parametrize("kind", COMPOSE)
def test_the_docker_of_this_machine_reads_the_compose_files(kind):
    docker = [shutil.which("docker"), "compose"]
    if docker[0] is None or subprocess.run([*docker, "version"], capture_output=True).returncode:
        pytest.skip("needs Docker with its compose plugin")
    environment = {**os.environ, "RAY_AUTH_TOKEN": "secret"}
    subprocess.run([*docker, *files_of(kind), "config", "--quiet"], check=True, env=environment)


# Kubernetes

CLAIM, POLICY, JOB = yaml.safe_load_all((DOCKER / "rayjob.yaml").read_text())
RAY_CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = [RAY_CLUSTER["headGroupSpec"], *RAY_CLUSTER["workerGroupSpecs"]]
of_groups = pytest.mark.parametrize(
    "group", GROUPS, ids=lambda group: group.get("groupName", "head")
)


def fields(required, **properties):
    """The schema of an object with these fields and no others."""
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


TEXT, COUNT, TEMPLATE = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "object"}
START_OPTIONS = {"type": "object", "additionalProperties": TEXT}
WORKERS = fields(
    "groupName replicas rayStartParams template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=START_OPTIONS,
    template=TEMPLATE,
)
RAY_JOB = fields(  # what rayjob.yaml uses of KubeRay's RayJob v1, whose own schema is not on PyPI
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields("name", name=TEXT),
    spec=fields(
        "entrypoint rayClusterSpec",
        entrypoint=TEXT,
        backoffLimit=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=fields(
            "rayVersion authOptions headGroupSpec workerGroupSpecs",
            rayVersion=TEXT,
            authOptions=fields("mode", mode={"enum": ["token", "disabled"]}),
            headGroupSpec=fields(
                "rayStartParams template", rayStartParams=START_OPTIONS, template=TEMPLATE
            ),
            workerGroupSpecs={"type": "array", "minItems": 1, "items": WORKERS},
        ),
    ),
)


def test_the_ray_job_has_the_fields_of_one():
    jsonschema.validate(JOB, RAY_JOB)


def test_the_ray_job_names_the_ray_of_the_images():
    assert f"ray=={RAY_CLUSTER['rayVersion']}" == str(RAY)


def test_the_ray_job_asks_for_a_token():
    assert RAY_CLUSTER["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("document", [CLAIM, POLICY], ids=lambda document: document["kind"])
def test_kubernetes_takes_the_documents(document):
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@of_groups
def test_the_network_policy_is_for_the_pods(group):
    labels = group["template"]["metadata"]["labels"]
    assert POLICY["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    among, from_outside = POLICY["spec"]["ingress"]
    assert among["from"] == [{"podSelector": POLICY["spec"]["podSelector"]}]
    assert "ports" not in among
    assert from_outside["ports"] == [{"port": 8265}]  # where jobs are handed in
    job = {"job-name": JOB["metadata"]["name"]}
    assert {"podSelector": {"matchLabels": job}} in from_outside["from"]


@of_groups
def test_a_pod_has_no_more_rights_than_it_needs(group):
    pod = group["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    writable = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert writable >= {"/tmp", "/home/chronograd"}


@of_groups
def test_kubernetes_takes_the_pods(group):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@of_groups
def test_a_pod_runs_our_image_not_as_root_and_mounts_what_it_has(group):
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "chronograd:cpu"
    assert pod["securityContext"]["runAsNonRoot"]
    mounted = [mount["name"] for mount in container.get("volumeMounts", ())]
    assert mounted == [volume["name"] for volume in pod.get("volumes", ())]


@of_groups
def test_ray_takes_the_start_options_of_a_group(group):
    options = (f"--{name}={value}" for name, value in group["rayStartParams"].items())
    assert parse(["ray", "start", *options])


def test_the_ray_job_leaves_its_results_in_the_claim():
    volume, *_ = GROUPS[0]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    mount, *_ = GROUPS[0]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert mount["name"] == volume["name"]
    out = parse(shlex.split(JOB["spec"]["entrypoint"]))["out"]
    assert out.is_relative_to(mount["mountPath"])


# Ray's cluster launcher

LAUNCHER = yaml.safe_load((DOCKER / "ray-cluster.yaml").read_text())


def test_the_launcher_file_keeps_rays_schema():
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(LAUNCHER, json.loads(schema.read_text()))


@pytest.mark.parametrize("name", [name for name in LAUNCHER if name.endswith("_commands")])
def test_shellcheck_finds_nothing_in_the_launchers_commands(name, tmp_path):
    script = tmp_path / "commands.sh"
    script.write_text("\n".join(["#!/usr/bin/env bash", *LAUNCHER[name], ""]))
    done = call("shellcheck", "--exclude=SC2086", script)  # $RAY_HEAD_IP is one word
    assert (done.returncode, done.stdout) == (0, "")


def test_the_launcher_installs_what_it_copies():
    (there,) = (there for there, here in LAUNCHER["file_mounts"].items() if here == ".")
    install = LAUNCHER["setup_commands"][-1]
    assert f"--constraint {there}/docker/constraints.txt {there}'[cluster]'" in install


@pytest.mark.parametrize("group", ["head", "worker"])
def test_the_launchers_nodes_ask_for_the_token_that_it_copies(group):
    assert "~/.ray/auth_token" in LAUNCHER["file_mounts"]
    assert "RAY_AUTH_MODE=token" in LAUNCHER[f"{group}_start_ray_commands"][-1]


# Slurm

SLURM = DOCKER / "slurm.sh"


def test_shellcheck_finds_nothing_in_the_slurm_script():
    subprocess.run(["bash", "-n", SLURM], check=True)
    done = call("shellcheck", SLURM)
    assert (done.returncode, done.stdout) == (0, "")


def test_slurm_sees_every_directive():
    lines = SLURM.read_text().splitlines()
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < first_command  # it reads no further


def test_slurm_starts_ray_on_every_node_and_the_sweep_on_the_first(tmp_path):
    (tmp_path / "scontrol").write_text("#!/bin/sh\nprintf '%s\\n' node7 node8 node9\n")
    (tmp_path / "srun").write_text(
        '#!/bin/sh\nprintf \'%s\\n\' "$RAY_AUTH_MODE $RAY_AUTH_TOKEN" "$@"\n'
    )
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    job = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_NODELIST": "node[7-9]",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_ON_NODE": "16",
    }
    ran = subprocess.run(["bash", SLURM], env=job, capture_output=True, text=True, check=True)
    access, *words = ran.stdout.splitlines()
    assert re.fullmatch("token [0-9a-f]{64}", access)
    start, end = words.index("ray"), words.index("--")
    assert words[:start] == ["--ntasks-per-node=1", "--cpus-per-task=16"]
    nodes = parse(words[start:end])
    assert (nodes["address"], nodes["min_nodes"]) == ("node7:6379", 3)
    assert parse(words[end + 1 :])["address"] == "auto"


# Command lines


def command_lines():
    """Every command line of ours and of Ray's in the guide and in docker/, by where it stands."""
    names = "|".join(f"{name} (?:{'|'.join(group.commands)})" for name, group in COMMANDS.items())
    argument = r"""(?:[^`"'\n|]|"[^"\n]*"|'[^'\n]*')*"""
    pattern = re.compile(rf"(?<![\w.])(?=((?:{names})(?![\w:]){argument}))")  # also one in another
    found = {}
    for file in [GUIDE, *sorted(DOCKER.iterdir())]:
        text = re.sub(r"\\\n\s*", "", file.read_text())
        text = re.sub(r"\$\w+", "1", text)  # a variable's value
        for line in map(str.strip, pattern.findall(text)):
            words = shlex.split(line, comments=True)
            if resolve(words)[1]:  # not a mere mention of a command
                found[f"{file.name}: {line}"] = words
    return found


LINES = command_lines()
SWEEPS = {
    place: words for place, words in LINES.items() if words[1] == "sweep" and "--out" in words
}


@pytest.mark.parametrize("words", LINES.values(), ids=LINES)
def test_a_command_line_is_accepted(words):
    assert parse(words)


@pytest.mark.parametrize("words", SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_of_the_guide_and_of_docker_can_be_made(words, chronograd, monkeypatch):
    monkeypatch.chdir(ROOT)
    if "--address" in words:  # a dry run contacts the cluster
        place = words.index("--address")
        words = [*words[:place], *words[place + 2 :]]
    code, out, err = chronograd(*words[1:], "--dry-run")
    assert (code, err) == (0, "")
    assert "trials" in out


def test_the_guide_names_every_file_and_no_other():
    named = {DOCKER / name for name in re.findall(r"docker/([\w.-]*\w)", GUIDE.read_text())}
    token = {DOCKER / ".env"}  # which users make
    assert named - token == set(DOCKER.iterdir()) - token
