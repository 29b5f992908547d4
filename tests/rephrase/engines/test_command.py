"""Commands of servers: what is run, with which environment, and what of it makes another model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.engines.command import ServerSettings

VLLM = "vllm serve {model} --port {port}"


def settings(command: str = VLLM, model: str = "org/model", **fields: Any) -> ServerSettings:
    return ServerSettings(command=command, model=model, **fields)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (VLLM, ["vllm", "serve", "a b", "--port", "{port}", "--host", "127.0.0.1"]),
        (
            "/envs/v/bin/vllm serve {model} --port={port} --host 127.0.0.1",
            ["/envs/v/bin/vllm", "serve", "a b", "--port={port}", "--host", "127.0.0.1"],
        ),
        (
            "python -m sglang.launch_server --model-path {model} --port {port}",
            ["python", "-m", "sglang.launch_server", "--model-path", "a b", "--port", "{port}", "--host", "127.0.0.1"],
        ),
        ("./serve {model} {host}:{port}", ["./serve", "a b", "127.0.0.1:{port}"]),
        ("./serve '{model}' \"{host}\" {port} 'x y'", ["./serve", "a b", "127.0.0.1", "{port}", "x y"]),
        (
            'vllm serve {model} --port {port} --hf-overrides \'{"a": {"b": 1}}\'',
            ["vllm", "serve", "a b", "--port", "{port}", "--hf-overrides", '{"a": {"b": 1}}', "--host", "127.0.0.1"],
        ),
    ],
)
def test_words(command: str, words: list[str]) -> None:
    assert settings(command, "a b").words() == words


def test_a_model_cannot_add_words() -> None:
    assert settings(VLLM, "m; rm -rf / --trust-remote-code $(x)").words()[2] == "m; rm -rf / --trust-remote-code $(x)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ""}, "is empty"),
        ({"command": "vllm 'serve"}, "cannot be read"),
        ({"command": "vllm serve {modle} --port {port}"}, "has {modle}"),
        ({"command": "vllm serve {model}"}, "does not take its port"),
        ({"command": "./serve {model} {port}"}, "does not take its address"),
        ({"model": ""}, "no model"),
        ({"port": 70_000}, "out of range"),
        ({"ready_seconds": 0.0}, "out of range"),
        ({"cwd": "/no/such/folder"}, "no folder"),
    ],
)
def test_commands_that_cannot_work(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**fields)
    assert settings("vllm serve {model}", port=8000).port == 8000


def test_programs_are_found_as_a_shell_does_and_beside_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "myserver"
    program.write_text("#!/bin/sh\n")
    command = "myserver {model} {host} {port}"
    with pytest.raises(ConfigError, match="no program myserver"):
        settings(command).program()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no program myserver"):  # it cannot be run
        settings(command).program()
    program.chmod(0o755)
    assert settings(command).program() == str(program)
    assert Path(settings("python {host} {port}").program()).parent == Path(sys.executable).parent
    with pytest.raises(ConfigError, match="no program"):
        settings(f"{tmp_path}/other {{host}} {{port}}").program()


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_API_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "DB_PASSWORD",
        "MY_APIKEY",
        "GOOGLE_CREDENTIALS",
    ):
        monkeypatch.setenv(name, "sk-1")
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(name, "/x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    command = f"{sys.executable} {{host}} {{port}}"
    found = settings(command, env={"HF_TOKEN": "$HF_TOKEN", "MODE": "fast"}).environment()
    assert [name for name, value in found.items() if value in ("sk-1", "/x")] == ["HF_TOKEN"]
    assert (found["CUDA_VISIBLE_DEVICES"], found["TOKENIZERS_PARALLELISM"], found["MODE"]) == ("3", "false", "fast")
    assert found["PATH"].startswith(str(Path(sys.executable).parent))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="HF_TOKEN is not set"):
        settings(command, env={"HF_TOKEN": "$HF_TOKEN"}).environment()


@pytest.mark.parametrize(
    "same",
    [
        "/envs/v/bin/vllm serve {model} --port {port}",
        "vllm serve {model} --port={port} --gpu-memory-utilization 0.8 --max-num-seqs=512",
        "vllm serve {model} --tensor_parallel_size 2 --host 127.0.0.1 --port {port} --disable-log-requests",
    ],
)
def test_options_of_speed_are_the_same_model(same: str) -> None:
    assert settings(same).answer_digest() == settings(VLLM).answer_digest() == ""


def test_options_that_change_answers_are_another_model(tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("one")
    commands = [
        f"{VLLM} --quantization fp8",
        f"{VLLM} --quantization=awq",
        f"{VLLM} --dtype float16",
        f"{VLLM} --chat-template {template}",
        f"{VLLM} --enforce-eager",
    ]
    digests = {settings(command).answer_digest() for command in commands}
    digests.add(settings(env={"VLLM_ATTENTION_BACKEND": "X"}).answer_digest())
    assert len(digests) == 6
    assert all(len(digest) == 12 for digest in digests)
    template.write_text("two")
    assert settings(commands[3]).answer_digest() not in digests
    assert settings(f"{VLLM} --dtype float16 --port {{port}}").answer_digest() in digests
    assert settings(env={"HF_TOKEN": "$HF_TOKEN"}).answer_digest() == ""
    named = "python -m x.serve --model-path={model} --port {port} --host {host}"
    assert settings(named, "/a/model").answer_digest() == settings(named, "/b/model").answer_digest()
