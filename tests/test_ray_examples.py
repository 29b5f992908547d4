"""examples/ray/ and docs/ray.md: what they name exists, and the scripts do what they say."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
import yaml

from tests.executors.ray_cluster import descendants
from tests.executors.support import digests
from tokenmill.core.pipeline import load_file

ROOT = Path(__file__).resolve().parents[1]
RAY = ROOT / "examples/ray"
SCRIPTS = ("submit.sh", "slurm.sh")
TEXTS = [ROOT / "docs/ray.md", *(RAY / name for name in ("mixed.py", "rayjob.yaml", "Dockerfile", *SCRIPTS))]
MIXED = ["examples/ray/mixed.py:mixed", "--input", str(ROOT / "examples/data"), "--split", "300kB"]

USERS = '''"""Recipes of a user's, in a folder of their own."""
from helper import MOST
from tokenmill import Doc, Filter, Pipeline, WriteParquet
from tokenmill.core.errors import ShardError
from tokenmill.io.jsonl import ReadJsonl


class NotTooLong(Filter):
    reads = ("text",)

    def judge(self, doc: Doc) -> str | None:
        return "long" if len(doc.text) > MOST else None


class Unreadable(ReadJsonl):
    def read(self, shard, skip):
        raise ShardError("this one cannot be read")


good = Pipeline("good", [ReadJsonl(), NotTooLong(), WriteParquet()])
bad = Pipeline("bad", [Unreadable(), NotTooLong(), WriteParquet()])
'''


def commands(text: str, program: str) -> list[list[str]]:
    """The command lines that begin with `program` in a text, comment marks and line ends taken away."""
    joined = re.sub(r"\\\n\s*(#\s*)?", " ", text)
    found = []
    for line in re.findall(rf"(?:^|[\s`;(])(?:\S*/)?{program} ([^`\n]*)", joined):
        found.append(shlex.split(re.split(r"\s(?:#|\||>|&|\|\|)(?:\s|$)", line)[0].replace("'", "").replace('"', "")))
    return found


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}


def used(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_options_in_commands_exist(path: Path) -> None:
    from tokenmill.cli.main import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = path.read_text()
    for words in commands(text.replace(">-\n    tokenmill", "tokenmill").replace("\n    --", " --"), "tokenmill"):
        if words and words[0] in known:
            assert used(words) <= options_of(known[words[0]]), words
    for words in commands(text, r"submit\.sh"):
        assert used(words) <= options_of(known["run"]), words
    for words in re.findall(r"--[a-z-]+", "\n".join(re.findall(r"sbatch .*", text))):
        assert words in {"--nodes", "--input", "--output", "--gpus-per-node"}, words


def test_the_documentation_has_commands_of_every_kind() -> None:
    text = (ROOT / "docs/ray.md").read_text()
    for program, least in (("tokenmill", 6), ("ray", 2), (r"submit\.sh", 2), ("sbatch", 1), ("kubectl", 2)):
        assert len(commands(text, program)) >= least, program
    for name in (path.name for path in RAY.iterdir() if path.suffix in (".py", ".sh", ".yaml")):
        assert name in text, f"{name} is not explained"


@pytest.mark.ci
def test_options_of_ray_exist() -> None:
    pytest.importorskip("ray")
    from ray.dashboard.modules.job.cli import submit
    from ray.scripts.scripts import start

    for path in TEXTS:
        text = path.read_text()
        for words in commands(text, "ray"):
            if words[:1] == ["start"]:
                assert used(words) <= options_of(start), (path.name, words)
            if words[:2] == ["job", "submit"]:
                before = words[: words.index("--")] if "--" in words else words
                assert used(before) <= options_of(submit), (path.name, words)
    array = re.search(r"^start=\((.*?)\)\n", (RAY / "slurm.sh").read_text(), re.S | re.M)
    assert array is not None
    assert used(array[1].split()) <= options_of(start)
    manifest = yaml.safe_load((RAY / "rayjob.yaml").read_text())["spec"]["rayClusterSpec"]
    for group in (manifest["headGroupSpec"], *manifest["workerGroupSpecs"]):
        assert {f"--{name}" for name in group["rayStartParams"]} <= options_of(start)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", RAY / name], check=True)
    assert os.access(RAY / name, os.X_OK)


def test_the_manifest_has_what_a_rayjob_needs() -> None:
    """Names of fields as in the API reference of KubeRay, ray.io/v1."""
    job = yaml.safe_load((RAY / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster = spec.pop("rayClusterSpec")
    assert set(spec) == {
        "entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"
    }  # fmt: skip
    assert spec["backoffLimit"] >= 1, "75 is tried again"
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["entrypoint"].startswith("tokenmill run /recipes/mixed.py:mixed --input s3://")
    assert "--executor ray" in spec["entrypoint"]
    assert set(cluster) == {
        "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"
    }  # fmt: skip
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    gpu = groups["gpu"]["template"]["spec"]["containers"][0]["resources"]
    assert gpu["limits"]["nvidia.com/gpu"] == "1"
    actors = 1 / load_file(str(RAY / "mixed.py")).PageScore.resources.gpus
    assert int(gpu["limits"]["cpu"]) > actors, "each actor has a CPU of its own"
    for group in (cluster["headGroupSpec"], *groups.values()):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == "REGISTRY/tokenmill:TAG"
        assert {"secretRef": {"name": "tokenmill-s3"}} in container["envFrom"]
        assert int(group["rayStartParams"]["object-store-memory"]) >= 78_643_200, "Ray's least"
        if "groupName" in group:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            assert pod["terminationGracePeriodSeconds"] > 0
            assert container["lifecycle"]["preStop"]["exec"]["command"][-1] == "ray stop"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the kind that train_model.py leaves, with weights of chance."""
    mixed = load_file(str(RAY / "mixed.py"))
    random = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("model") / "page_score.npz"
    layers = {"hidden": (mixed.BUCKETS, 4), "bias": (4,), "out": (4,)}
    np.savez(path, **{name: random.normal(size=shape).astype(np.float32) for name, shape in layers.items()})
    return path


def test_the_recipe_has_three_phases_with_a_gpu_and_one_without(model: Path) -> None:
    from tokenmill.core.plan import make_plan

    example = load_file(str(RAY / "mixed.py"))
    plan = make_plan(example.mixed.with_settings([("page_score", "model", str(model))]), [])
    assert [phase.resources.gpus for phase in plan.phases] == [0, 0.25, 0]
    assert len(plan.digests["page_score"]["model"]) == 64
    plan = make_plan(example.mixed_cpu.with_settings([("page_score_cpu", "model", str(model))]), [])
    assert [phase.resources.gpus for phase in plan.phases] == [0]


def test_scores_depend_on_the_words_and_a_missing_model_is_told(model: Path) -> None:
    from tokenmill.core.errors import ConfigError

    example = load_file(str(RAY / "mixed.py"))
    stage = example.PageScore(model=str(model))
    stage.setup()
    scores = stage.score(["The server answers requests.", "the SERVER answers requests .", "", "{ } ;"])["page_score"]
    assert scores.dtype == np.float32
    assert scores[0] == scores[1] != scores[3]
    assert ((scores > 0) & (scores < 1)).all()
    with pytest.raises(ConfigError, match="no model at"):
        example.PageScore(model="nowhere.npz").model_digest()


# What follows starts Ray and takes minutes.


def token() -> dict[str, str]:
    """A cluster of the test has a token of its own; where a user has one, Ray would ask for that."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def quiet(**more: str) -> dict[str, str]:
    """The environment of a shell in which this Python environment is active."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    silent = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    return {**os.environ, "PATH": path, **silent, **more}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def kill_tree(process: subprocess.Popen[Any]) -> None:
    """End a process that a test has started, and all below it; `ray stop` would end every cluster of this machine."""
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A head with two CPUs, a GPU in name and a dashboard; gives the environment in which jobs are submitted."""
    pytest.importorskip("ray")
    names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    names += ("dashboard-agent-grpc-port", "metrics-export-port", "runtime-env-agent-port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    place = Path("/tmp") / f"tm-ray-{os.getpid()}"  # paths of sockets may have 107 characters
    log = tmp_path_factory.mktemp("head") / "log"
    environment = quiet(**token(), RAY_API_SERVER_ADDRESS=f"http://127.0.0.1:{ports['dashboard-port']}")
    command = ["ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--num-gpus=1"]
    command += ["--object-store-memory=100000000", f"--temp-dir={place}", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
    try:
        until = time.monotonic() + 90
        while "block forever" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.5)
        yield environment
    finally:
        kill_tree(process)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with a recipe and a module that it imports, and documents beside it."""
    place = tmp_path / "mine"
    place.mkdir()
    (place / "my.py").write_text(USERS)
    (place / "helper.py").write_text("MOST = 20\n")
    (tmp_path / "in").mkdir()
    for shard in range(3):
        lines = [json.dumps({"text": f"document {n} of {shard}" + " and more" * (n % 2)}) for n in range(10)]
        (tmp_path / f"in/{shard}.jsonl").write_text("\n".join(lines))
    return place


def submit(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(RAY / "submit.sh"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)


def local(tmp_path: Path, *arguments: str, cwd: Path = ROOT) -> Path:
    """The folder of the same run without Ray."""
    out = tmp_path / "local"
    command = [sys.executable, "-m", "tokenmill", "run", *arguments, "--output", str(out), "--workers", "2"]
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    return out


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same bytes, but for where the file of the recipe lay."""
    found = []
    for run in (one, other):
        record = json.loads((run / "run.json").read_text())
        for entry in record["stages"]:
            entry.pop("file", None)
        found.append({**digests(run), "run.json": json.dumps(record)})
    return found[0] == found[1]


@pytest.mark.slow
def test_a_checkout_is_submitted_and_scores_overlap_with_filters(
    tmp_path: Path, head: dict[str, str], model: Path
) -> None:
    chosen = [*MIXED, "--set", f"page_score.model={model}", "--set", "low_score.min_score=0.4"]
    log = tmp_path / "log"
    done = submit(head, ".", *chosen, "--output", tmp_path / "out", "--log-json", log)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCEEDED, exit code 0" in done.stderr
    assert "low_page_score" in done.stdout, "the funnel is in the log of the job"
    assert same(tmp_path / "out", local(tmp_path, *chosen))
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    ends = [(event["time"], event["phase"]) for event in events if event["event"] == "shard_done"]
    scored, filtered = ([time for time, phase in ends if phase == number] for number in (2, 1))
    assert len(scored) == len(filtered) == 6
    assert min(scored) < max(filtered), "the classifier waited for all filters to end"


@pytest.mark.slow
def test_a_users_folder_is_submitted_with_and_without_a_wheel(
    tmp_path: Path, head: dict[str, str], folder: Path
) -> None:
    """Recipe, the module that it imports, and the watched children: all find the user's code."""
    arguments = ["my.py:good", "--input", str(tmp_path / "in")]
    bare = submit(head, folder, *arguments, "--output", tmp_path / "bare")
    assert bare.returncode == 0, bare.stdout + bare.stderr
    texts = pq.read_table(tmp_path / "bare/data").column("text").to_pylist()
    assert len(texts) == 15
    assert max(map(len, texts)) <= 20
    expected = local(tmp_path, *arguments, cwd=folder)
    assert same(tmp_path / "bare", expected)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    wheel = submit(head, folder, *arguments, "--output", tmp_path / "wheel")
    assert wheel.returncode == 0, wheel.stdout + wheel.stderr
    assert same(tmp_path / "wheel", expected)


@pytest.mark.slow
def test_the_exit_code_of_a_job_is_that_of_tokenmill(tmp_path: Path, head: dict[str, str], folder: Path) -> None:
    common = ["--input", tmp_path / "in", "--output", tmp_path / "out"]
    failed = submit(head, folder, "my.py:bad", *common)
    assert failed.returncode == 75, failed.stdout + failed.stderr
    assert "FAILED, exit code 75" in failed.stderr
    assert "this one cannot be read" in failed.stdout
    assert submit(head, folder, "my.py:good", *common).returncode == 2, "the output holds another run"


FAKE = {
    "srun": """#!/bin/bash
# runs the command once, here; a second machine on this host takes other ports
while [[ $1 == --* ]]; do shift; done
echo "srun $*" >> "$FAKE_LOG"
if [[ $1 == hostname ]]; then echo 127.0.0.1 192.0.2.7; exit; fi
if [[ "$*" == *--address=* ]]; then
  set -- "$@" --node-ip-address=127.0.0.1 --dashboard-agent-listen-port=0 --dashboard-agent-grpc-port=0
  set -- "$@" --metrics-export-port=0 --runtime-env-agent-port=0
else
  set -- "$@" --temp-dir="$FAKE_TEMP"
fi
exec "$@"
""",
    "scontrol": """#!/bin/bash
echo "scontrol $*" >> "$FAKE_LOG"
if [[ $1 == show ]]; then echo first; echo second; fi
""",
}


class Slurm:
    """What the script finds in a job of two machines: srun and scontrol by name."""

    def __init__(self, place: Path, job: int) -> None:
        (place / "bin").mkdir(parents=True)
        for name, code in FAKE.items():
            (place / "bin" / name).write_text(code)
            (place / "bin" / name).chmod(0o755)
        self.log = place / "log"
        self.temp = Path("/tmp") / f"tm-slurm-{os.getpid()}-{job}"
        job_variables = {"SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_CPUS_PER_TASK": "1"}
        self.environment = quiet(**token(), **job_variables, FAKE_LOG=str(self.log), FAKE_TEMP=str(self.temp))
        self.environment["PATH"] = f"{place / 'bin'}:{self.environment['PATH']}"

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = ["bash", str(RAY / "slurm.sh"), *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip


@pytest.mark.slow
def test_the_slurm_script_runs_stops_in_time_and_goes_on(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("ray")
    job = int(time.time()) % 9000  # its port
    slurm = Slurm(tmp_path / "slurm", job)
    recipe, log = f"{folder}/my.py:good", tmp_path / "json"
    slow = USERS.replace('        return "long"', '        time.sleep(1)\n        return "long"').replace(
        "from helper", "import time\nfrom helper"
    )
    (folder / "my.py").write_text(slow)
    arguments = [recipe, "--input", tmp_path / "in", "--output", tmp_path / "out", "--log-json", log]
    process = slurm.start(*arguments)
    try:
        until = time.monotonic() + 120
        while not (log.exists() and "shard_start" in log.read_text()):
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            assert time.monotonic() < until
            time.sleep(0.2)
        processes = set(descendants(process.pid))
        process.send_signal(signal.SIGTERM)  # as --signal=B:TERM@120 does: the script alone hears it
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 75, output
        assert "run the same command again to resume" in output
        said = slurm.log.read_text()
        assert said.count("srun ray start") == 2
        assert f"scontrol requeue {job}" in said
        assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()], "Ray ends with the script"
        slurm.log.unlink()
        shutil.rmtree(slurm.temp, ignore_errors=True)
        process = slurm.start(*arguments)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        assert "requeue" not in slurm.log.read_text()
    finally:
        kill_tree(process)
        shutil.rmtree(slurm.temp, ignore_errors=True)
    assert pq.read_table(tmp_path / "out/data").num_rows == 15
