"""The command of a server of models: its words, its environment, and what of it can change answers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenmill.core.errors import ConfigError

_PLACE = re.compile(r"\{(\w+)\}")
_KNOWN = ("model", "port", "host")
_HOST = "127.0.0.1"
_TAKE_HOST = re.compile(r"(^|[/ ])(vllm|transformers|llama-server|sglang)( |$)|sglang\.|llama_cpp\.|vllm\.")
"""Commands that take --host; vLLM listens to the whole network without it."""
_SAYS_HOST = re.compile(r"\{host\}|127\.0\.0\.1|localhost|::1")
_PYTHON = frozenset({"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__", "CONDA_PREFIX"})
_SECRET = re.compile(r"(_|^)(KEY|KEYS|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)|API_?KEY", re.IGNORECASE)
_SPEED_ONLY = frozenset(
    "host port api-key gpu-memory-utilization mem-fraction-static max-num-seqs max-running-requests "
    "max-num-batched-tokens tensor-parallel-size tp tp-size pipeline-parallel-size data-parallel-size dp dp-size "
    "swap-space cpu-offload-gb max-parallel-loading-workers enable-prefix-caching no-enable-prefix-caching "
    "enable-chunked-prefill disable-log-requests disable-log-stats uvicorn-log-level log-level max-log-len "
    "download-dir api-server-count threads threads-batch parallel np device-ids".split()
)
"""Options that place and pace the work. All others count as part of the model (quantization, types, templates)."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """A server that is started here. ConfigError where the command cannot work."""

    command: str
    """As for a shell, but no shell runs it: "vllm serve {model} --port {port}", or with the path of a program in an
    environment of its own: "/envs/vllm/bin/vllm serve {model} --port {port}". {model}, {port} and {host} are filled
    in."""
    model: str
    """Folder or file of the model, or its name on a hub; requests name it like this."""
    port: int = 0
    """0: one that is free."""
    ready_seconds: float = 900.0
    """After which a server that does not answer counts as broken."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables. "$NAME" stands for the value that NAME has here, so that no secret is written
    down: {"HF_TOKEN": "$HF_TOKEN"}. Keys, tokens and Python's own variables are not handed on otherwise."""
    cwd: str = ""
    """Folder in which it runs; "": the current one."""

    def __post_init__(self) -> None:
        self.words()
        if not self.model:
            raise ConfigError("no model is named", fix="--model NAME")
        if not (0 <= self.port < 65536 and self.ready_seconds > 0):
            raise ConfigError("the port or the time for starting is out of range", fix="port 0 to 65535, seconds > 0")
        if self.cwd and not Path(self.cwd).is_dir():
            raise ConfigError(f"no folder {self.cwd}", fix="the folder in which the server is to run")

    def words(self) -> list[str]:
        """The command word by word, without its port: {port} is for who starts it."""
        return [word.replace("{model}", self.model).replace("{host}", _HOST) for word in self._places()]

    def _places(self) -> list[str]:
        """The command word by word, with its places."""
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise ConfigError("the command of the server cannot be read", where=self.command, why=str(error)) from error
        if not words:
            raise ConfigError("the command of the server is empty", fix='"vllm serve {model} --port {port}"')
        wrong = [name for name in _PLACE.findall(self.command) if name not in _KNOWN]
        if wrong:
            fix = "{model}, {port} and {host} are filled in"
            raise ConfigError(f"the command of the server has {{{wrong[0]}}}", where=self.command, fix=fix)
        if "{port}" not in self.command and not self.port:
            fix = "add --port {port}, or give the port that the server has"
            raise ConfigError("the command of the server does not take its port", where=self.command, fix=fix)
        if not _SAYS_HOST.search(self.command):
            if not _TAKE_HOST.search(self.command):
                why = "it might be open to the whole network"
                fix = "add the option by which it takes its address, with {host} as value"
                raise ConfigError("the command of the server does not take its address", why=why, fix=fix)
            words += ["--host", "{host}"]
        return words

    def program(self) -> str:
        """The path of the program. ConfigError where there is none: looked for as a shell does, and beside Python."""
        name = self.words()[0]
        found = shutil.which(name) or (
            shutil.which(name, path=str(Path(sys.executable).parent)) if "/" not in name else None
        )
        if found is None:
            fix = "install it in an environment of its own, and give the path of the program there"
            raise ConfigError(f"no program {name}", where=self.command, fix=fix)
        return found

    def environment(self) -> dict[str, str]:
        """Environment variables for the server: ours without those of our Python and without secrets, and `env`."""
        kept = {name: value for name, value in os.environ.items() if name not in _PYTHON and not _SECRET.search(name)}
        for name, value in self.env.items():
            source = value[1:] if value.startswith("$") else ""
            if source and source not in os.environ:
                raise ConfigError(f"the environment variable {source} is not set", where=f"env: {name}")
            kept[name] = os.environ[source] if source else value
        beside = str(Path(self.program()).parent)
        kept["PATH"] = os.pathsep.join([beside, *filter(None, [kept.get("PATH")])])
        return kept

    def model_path(self) -> Path | None:
        """Where the model lies, if it lies here."""
        path = Path(self.cwd or ".", self.model).expanduser()
        return path if path.exists() else None

    def answer_digest(self) -> str:
        """12 hexadecimal digits over what of the command and its environment can change answers; "" for nothing."""
        told = _options(self._places()[1:])
        plain = {name: value for name, value in self.env.items() if not _SECRET.search(name)}
        if not told and not plain:
            return ""
        return hashlib.sha256(json.dumps([told, plain], sort_keys=True).encode()).hexdigest()[:12]


def _options(words: Sequence[str]) -> list[str]:
    """The options and other words of a command that are not about speed; of files their digests."""
    found: list[str] = []
    skip = False
    for word in words:
        option = re.fullmatch(r"-{1,2}([A-Za-z][\w.-]*)(=.*)?", word, re.DOTALL)
        if option is not None:
            name = option[1].replace("_", "-")
            skip = name in _SPEED_ONLY and option[2] is None
            if name not in _SPEED_ONLY:
                found.append(f"{name}{_content(option[2] or '')}")
        elif skip:
            skip = False
        elif word not in ("{model}", "serve"):
            found.append(_content(word))
    return found


def _content(word: str) -> str:
    """A word, or what stands in the file that it names: a chat template."""
    path = Path(word.removeprefix("="))
    try:
        small = path.is_file() and path.stat().st_size < 1 << 20
        return hashlib.sha256(path.read_bytes()).hexdigest() if small else word
    except (OSError, ValueError):
        return word
