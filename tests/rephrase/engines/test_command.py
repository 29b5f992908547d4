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


KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    "env",
    [
        {"HF_TOKEN": "hf_literal"},
        {"VLLM_API_KEY": KEY},
        {"DB_PASSWORD": "$ecret-of-mine"},  # no name of a variable
        {"MODE": "fast", "MY_CREDENTIALS": "of mine"},
        {"HTTPS_PROXY": "http://me:word@proxy:80"},
        {"OTHER": "hf_0123456789abcdefghijklmn"},
    ],
)
def test_secrets_in_the_environment_are_named_and_not_written(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="holds a secret") as caught:
        settings(env=env)
    name, value = list(env.items())[-1]
    assert f'"{name}": "${name}"' in caught.value.fix
    assert value not in str(caught.value)
    settings(env={name: "$MINE"})
    settings(env={name: ""})
    settings(env={"MODE": "fast", "TOKENIZERS_PARALLELISM": "false", "HF_HOME": "/data/hf_models_of_all_teams"})


@pytest.mark.parametrize(
    ("more", "holder"),
    [
        (f"--api-key {KEY}", "--api-key"),
        ("--api-key abc", "--api-key"),
        ("--api_key=abc", "--api_key"),
        ("--hf-token abc", "--hf-token"),
        ("-hft abc", "-hft"),
        ("--token abc", "--token"),
        ("--password abc", "--password"),
        ("--admin-api-key abc", "--admin-api-key"),
        ("--ssl-keyfile-password abc", "--ssl-keyfile-password"),
        ("--api-key $VLLM_API_KEY", "--api-key"),  # no shell fills it in
        (f"--header 'Authorization: {KEY}'", "a key, a token or a password"),
        (f"--extra={KEY}", "--extra"),
        ("HF_TOKEN=abc", "HF_TOKEN"),
        ("--proxy http://me:word@proxy", "a key, a token or a password"),
        ("'vllm serve x --api-key abc'", "--api-key"),
        ("'HF_TOKEN=abc vllm serve x'", "HF_TOKEN"),
    ],
)
def test_secrets_in_the_command_are_refused(more: str, holder: str) -> None:
    with pytest.raises(ConfigError, match="holds a secret") as caught:
        settings(f"{VLLM} {more}")
    assert caught.value.what.endswith(f": {holder}")
    assert "serve_env" in caught.value.fix
    assert not any(word in str(caught.value) for word in ("abc", KEY, "word@"))


@pytest.mark.parametrize(
    "more",
    [
        "--hf-token --dtype half",
        "--api-key-file /run/key",
        "--ssl-keyfile /etc/key.pem",
        "--tokenizer a/b --max-tokens 5 --eos-token x",
        "--download-dir /data/hf_models_of_all_teams --served-model-name task-specific-model-of-ours",
        "--origin http://localhost:80/@x",
        """'HF_TOKEN=$HF_TOKEN vllm serve x --api-key $KEY'""",
        """--hf-overrides '{"token": 1}'""",
    ],
)
def test_what_is_no_secret_passes(more: str) -> None:
    assert settings(f"{VLLM} {more}").words()


def test_the_key_that_a_server_is_told_is_the_one_that_it_is_asked_with() -> None:
    assert settings(env={"VLLM_API_KEY": "$MINE", "HF_TOKEN": "$HF_TOKEN"}).key_env() == "MINE"
    assert settings(env={"LLAMA_API_KEY": "$LLAMA_API_KEY"}).key_env() == "LLAMA_API_KEY"
    assert settings(env={"HF_TOKEN": "$HF_TOKEN"}).key_env() == settings().key_env() == ""


@pytest.mark.parametrize(
    "same",
    [
        "/envs/v/bin/vllm serve {model} --port {port}",
        "vllm serve {model} --port={port} --gpu-memory-utilization 0.8 --max-num-seqs=512",
        "vllm serve {model} --tensor_parallel_size 2 --host 127.0.0.1 --port {port} --disable-log-requests",
        "vllm serve --enforce-eager {model} --max-model-len 4096 --trust-remote-code --port {port} --max_batch_size=4",
        "vllm serve {model} -c 4096 --ctx-size 512 --port {port} --swap-space 4 -t -1 --metrics",
        "vllm serve {model} --port {port} --log-file x.log --ssl-certfile a.pem --ssl-ca-certs b --pid-file p",
        "vllm serve {model} --port {port} --log-config-file c.json --stats-file s.json --uvicorn-log-level debug",
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
        f"{VLLM} --max-logprobs 5",
        f"{VLLM} --enforce-eager word",
        f"{VLLM} -c 'exec serve'",
    ]
    digests = {settings(command).answer_digest() for command in commands}
    digests.add(settings(env={"VLLM_ATTENTION_BACKEND": "X"}).answer_digest())
    assert len(digests) == 8
    assert all(len(digest) == 12 for digest in digests)
    template.write_text("two")
    assert settings(commands[3]).answer_digest() not in digests
    assert settings(f"{VLLM} --dtype float16 --port {{port}}").answer_digest() in digests
    assert settings(env={"HF_TOKEN": "$HF_TOKEN"}).answer_digest() == ""
    named = "python -m x.serve --model-path={model} --port {port} --host {host}"
    assert settings(named, "/a/model").answer_digest() == settings(named, "/b/model").answer_digest()


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--log-file {file}", False),
        ("--log-file={file}", False),
        ("--ssl-keyfile {file}", False),
        ("--pid-file {file}", False),
        ("--metrics-file {file}", False),
        ("--api-key-file {file}", False),
        ("--log-config {file}", False),
        ("--trace-out {file}", False),
        ("{file}", False),
        ("--chat-template {file}", True),
        ("--chat-template={file}", True),
        ("--chat-template-file {file}", True),
        ("--grammar-file {file}", True),
        ("--json-schema-file {file}", True),
        ("--config {file}", True),
        ("--lora {file}", True),
        ("--lora-modules name={file}", True),
        ("--logits-processors {file}", True),
        ("-S {file}.py", True),
        ("{file}.py", True),
        ("--lora-modules name={folder}", True),
        ("--generation-config {folder}", True),
        ("--tokenizer={folder}", True),
        ("--download-dir {folder}", False),
    ],
)
def test_contents_count_where_they_say_what_is_answered(
    words: str, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    folder.mkdir()
    files = [tmp_path / "file", tmp_path / "file.py", folder / "config.json"]

    def digest(content: str) -> str:
        for file in files:
            file.write_text(content)
        command = words.format(file=tmp_path / "file", folder=folder)
        return settings(f"vllm serve {{model}} {command} --port {{port}}").answer_digest()

    assert (digest("one") != digest("another")) is changes
    assert digest("one") == digest("one")


def test_files_are_looked_for_where_the_server_runs(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text("one")
    (tmp_path / "serve.py").write_text("one")
    for command in (f"{VLLM} --chat-template chat.jinja", "./serve.py {model} {host} {port}"):
        before = settings(command, cwd=str(tmp_path)).answer_digest()
        for file in tmp_path.iterdir():
            file.write_text(f"{file.read_text()} more")
        assert settings(command, cwd=str(tmp_path)).answer_digest() != before


def test_large_files_count_by_their_content_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    lora = tmp_path / "lora.gguf"
    digests = set()
    for byte in (b"a", b"b"):
        lora.write_bytes(byte * (1 << 20))
        digests.add(settings(f"{VLLM} --lora {lora}").answer_digest())
    assert len(digests) == 2
