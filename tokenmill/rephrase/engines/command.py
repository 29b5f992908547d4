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
from tokenmill.rephrase.engines.digests import model_digests

_PLACE = re.compile(r"\{(\w+)\}")
_KNOWN = ("model", "port", "host")
_HOST = "127.0.0.1"
_TAKE_HOST = re.compile(r"(^|[/ ])(vllm|transformers|llama-server|sglang)( |$)|sglang\.|llama_cpp\.|vllm\.")
"""Commands that take --host; vLLM listens to the whole network without it."""
_SAYS_HOST = re.compile(r"\{host\}|127\.0\.0\.1|localhost|::1")
_PYTHON = frozenset({"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__", "CONDA_PREFIX"})
_SECRET = re.compile(r"(_|^)(KEY|KEYS|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)|API_?KEY", re.IGNORECASE)
_SECRET_OPTION = re.compile(
    r"(^|-)(api-?keys?|passw(or)?d|secret|credentials?)$|^((hf|hub|auth|use-auth|access|api|bearer)-)?token$|^hft$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"\b(hf_[A-Za-z0-9]{20}|sk-[\w-]{16}|ghp_\w{20}|github_pat_\w{20})|\bBearer\s+[\w-]|://[^/@\s]*:[^/@\s]+@"
)
"""What is a secret by its form: keys and tokens of well-known services, a header, a password in an address."""
_NAME = re.compile(r"\$[A-Za-z_]\w*")
_KEY_ENVS = ("VLLM_API_KEY", "LLAMA_API_KEY")
"""Variables by which vLLM and llama-server are told the key that they ask for."""

_SPEED_ONLY = frozenset(
    # where it listens, what it tells
    "host hostname port uds api-key api-key-file root-path path-prefix api-prefix api-server-count "
    "otlp-traces-endpoint collect-detailed-traces uvicorn-log-level max-log-len "
    "allowed-origins allowed-methods allowed-headers hf-token token hft download-dir "
    "huggingface-hub-cache slot-save-path "
    # memory and length: they decide whether a request fits, not what is answered
    "gpu-memory-utilization mem-fraction-static cuda-memory-fraction kv-cache-memory-bytes num-gpu-blocks-override "
    "max-model-len context-length ctx-size c max-total-tokens max-input-tokens max-input-length max-seq-len "
    "swap-space cpu-offload-gb block-size page-size n-gpu-layers gpu-layers ngl numa model-timeout "
    # how many at once
    "max-num-seqs max-running-requests max-concurrent-requests max-num-batched-tokens max-prefill-tokens max-bs "
    "max-num-partial-prefills max-waiting-tokens waiting-served-ratio chunked-prefill-size schedule-policy "
    "schedule-conservativeness stream-interval parallel np batch-size b ubatch-size ub "
    "cb-block-size cb-num-blocks cb-max-batch-tokens cb-max-memory-percent "
    "cuda-graph-max-bs cuda-graph-bs cuda-graph-sizes max-cudagraph-capture-size timeout to threads-http "
    "max-parallel-loading-workers watchdog-timeout "
    # over which devices
    "tensor-parallel-size tp tp-size pipeline-parallel-size pp pp-size data-parallel-size dp dp-size num-shard nnodes "
    "node-rank dist-init-addr base-gpu-id device-ids threads threads-batch t tb split-mode sm tensor-split ts "
    "main-gpu mg distributed-executor-backend".split()
)
"""Options that place and pace the work. All others count as part of the model (quantization, types, templates)."""
_SPEED_FLAGS = frozenset(
    "enable-prefix-caching no-enable-prefix-caching disable-radix-cache enable-chunked-prefill "
    "no-enable-chunked-prefill disable-log-requests disable-log-stats disable-uvicorn-access-log enforce-eager "
    "trust-remote-code disable-cuda-graph disable-custom-all-reduce enable-sleep-mode enable-server-load-tracking "
    "no-trust-remote-code no-enforce-eager metrics slots props enable-metrics verbose v no-webui allow-credentials "
    "enable-cors mlock no-mmap cont-batching cb cb-use-cuda-graph".split()
)
"""Of the same kind, without a value."""
_SPEED_FORM = re.compile(r"^max-batch-|(^|-)(log|logs|logging|logger)(-|$)|^ssl-|(^|-)pid(-|$)")
_CONTENT = re.compile(
    r"template|jinja|lora|adapter|grammar|schema|config|prompt|tokenizer|plugin|processor|control-vector|mmproj"
)
"""Options whose files say what is answered: these count by what stands in them."""
_FILE = re.compile(r"(^|-)file$")
"""All other files that are named: a server writes to them, or reads keys from them."""
_SCRIPTS = frozenset({".py", ".sh", ".bash"})
_SMALL = 1 << 20
_LINE = re.compile(r"-{1,2}([A-Za-z][\w.-]*)(=.*)?", re.DOTALL)


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
    down: {"HF_TOKEN": "$HF_TOKEN"}. Keys, tokens and Python's own variables are not handed on otherwise. What is said
    of VLLM_API_KEY or LLAMA_API_KEY is the key of our requests too."""
    cwd: str = ""
    """Folder in which it runs; "": the current one."""

    def __post_init__(self) -> None:
        self._refuse_secrets()
        self.words()
        if not self.model:
            raise ConfigError("no model is named", fix="--model NAME")
        if not (0 <= self.port < 65536 and self.ready_seconds > 0):
            raise ConfigError("the port or the time for starting is out of range", fix="port 0 to 65535, seconds > 0")
        if self.cwd and not Path(self.cwd).is_dir():
            raise ConfigError(f"no folder {self.cwd}", fix="the folder in which the server is to run")

    def _refuse_secrets(self) -> None:
        """ConfigError for a secret that is written out: settings stand in the record and the report of a run."""
        why = "settings are written into the record and the report of a run, for all who read them"
        for name, value in self.env.items():
            if value and not _NAME.fullmatch(value) and (_SECRET.search(name) or _SECRET_VALUE.search(value)):
                fix = f'put it in an environment variable, and name that: {{"{name}": "${name}"}}'
                raise ConfigError(f"{name} of the server holds a secret", where="serve_env", why=why, fix=fix)
        try:
            words = shlex.split(self.command)
        except ValueError:
            words = self.command.split()  # told by `words`
        holder = _secret_in(words)
        if holder:
            fix = 'name an environment variable in serve_env, such as {"VLLM_API_KEY": "$VLLM_API_KEY"}'
            raise ConfigError(f"the command of the server holds a secret: {holder}", where="serve", why=why, fix=fix)

    def key_env(self) -> str:
        """Our environment variable with the key that the server asks for, "" for none: it is told by `env`."""
        return next((self.env[name][1:] for name in _KEY_ENVS if _NAME.fullmatch(self.env.get(name, ""))), "")

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
        program, *words = self._places()
        base = Path(self.cwd or ".")
        told = [*_script(base, program), *_options(base, words)]
        plain = {name: value for name, value in self.env.items() if not _SECRET.search(name)}
        if not told and not plain:
            return ""
        return hashlib.sha256(json.dumps([told, plain], sort_keys=True).encode()).hexdigest()[:12]


def _secret_in(words: Sequence[str], *, shell: bool = False) -> str:
    """Which option, variable or word of a command holds a secret that is written out; "" for none.

    shell: whether one fills in variables: `sh -c "vllm serve ..."`. Elsewhere $NAME would be the key itself.
    """
    for number, word in enumerate(words):
        option = _LINE.fullmatch(word)
        if option is not None and _SECRET_OPTION.search(option[1].replace("_", "-")):
            after = words[number + 1] if number + 1 < len(words) else ""
            value = option[2][1:] if option[2] is not None else "" if _LINE.fullmatch(after) else after
            if value and not (shell and _NAME.fullmatch(value)):
                return word.partition("=")[0]
        variable = re.fullmatch(r"(\w+)=(\S+)", word)  # env NAME=VALUE vllm serve ...
        if variable is not None and _SECRET.search(variable[1]) and not (shell and _NAME.fullmatch(variable[2])):
            return variable[1]
        if _SECRET_VALUE.search(word):
            return word.partition("=")[0] if option is not None else "a key, a token or a password"
        if re.search(r"\s", word):
            try:
                inner = shlex.split(word)
            except ValueError:
                inner = word.split()
            found = _secret_in(inner, shell=True)
            if found:
                return found
    return ""


def _options(base: Path, words: Sequence[str]) -> list[str]:
    """The options and other words of a command that are not about speed; files that matter by what is in them."""
    found: list[str] = []
    skip = content = False
    for number, word in enumerate(words):
        option = _LINE.fullmatch(word)
        if option is not None:
            name, value = option[1].replace("_", "-"), option[2]
            after = words[number + 1] if number + 1 < len(words) else ""
            flag = name in _SPEED_FLAGS
            speed = flag or _is_speed(name, value[1:] if value is not None else after)
            skip, content = speed and not flag and value is None, bool(_CONTENT.search(name)) and value is None
            if not speed:
                told = "" if value is None else f"={_content(base, value[1:])}" if _CONTENT.search(name) else value
                found.append(f"{name}{told}")
        elif skip:
            skip = False
        elif word not in ("{model}", "serve"):
            found += [_content(base, word)] if content else _script(base, word) or [word]
    return found


def _is_speed(name: str, value: str) -> bool:
    """Whether an option with this value leaves the answers as they are."""
    if name in _SPEED_ONLY:
        return len(name) > 1 or value.lstrip("-").isdigit()  # -c 4096 is llama.cpp's, -c CODE a shell's
    return bool(_SPEED_FORM.search(name)) or (bool(_FILE.search(name)) and not _CONTENT.search(name))


def _script(base: Path, word: str) -> list[str]:
    """The digest of a program that is a script: what it answers is decided there."""
    return [_content(base, word)] if Path(word).suffix in _SCRIPTS else []


def _content(base: Path, word: str) -> str:
    """A word, or a digest of the file or folder that it names: a chat template, or NAME=FOLDER of an adapter."""
    name, mark, tail = word.rpartition("=")
    try:
        path = base / Path(tail).expanduser()
        if not tail or not path.exists():
            return word
        if path.is_file() and path.stat().st_size < _SMALL:
            return f"{name}{mark}{hashlib.sha256(path.read_bytes()).hexdigest()}"
        return f"{name}{mark}{model_digests(path)[0]}"
    except (OSError, ValueError, RuntimeError, ConfigError):  # no path, or nothing in it that can be read
        return word
