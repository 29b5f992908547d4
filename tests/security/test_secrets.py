"""Canaries: secrets that are planted wherever a user has them, and looked for in everything that a run leaves."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.io.archives import member, record
from tests.io.hub_server import hub
from tests.security.artefacts import artefacts, found_in
from tokenmill.core.errors import ConfigError
from tokenmill.core.secrets import hide, is_secret_name, redact, redact_settings, refuse_secrets, secret_in

RECIPE = Path(__file__).with_name("leaky_recipe.py")
CANARIES = {
    "variable of the environment": "canary-1-environment-Zx81",
    "key of a service, in an error": "canary-2-service-key-Qm42",
    "signature of an address": "canary-3-signature-Lk77",
    "password of an address": "canary-4-password-Wd19",
    "header of a request": "canary-5-authorization-Ht60",
    "cookie of a response": "canary-6-cookie-Vp33",
    "token of the hub": "hf_canary7TokenOfTheHubXy52aBcDe",
    "key of a store": "canary-8-store-secret-Nb08",
}


def _archive() -> bytes:
    secret = CANARIES["header of a request"]
    request = f"GET / HTTP/1.1\r\nHost: site.example\r\nAuthorization: Bearer {secret}\r\nCookie: s={secret}\r\n\r\n"
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: s={CANARIES['cookie of a response']}\r\n"
    records = [record(0, request.encode(), kind="request")]
    for number, word in enumerate(["kept", "drop", "raise", "kept", "raise"], start=1):
        one = record(number, b"<p>a page of some words</p>", http=answer)
        records.append(one.replace(f"site.example/{number}\r".encode(), f"site.example/{word}/{number}\r".encode()))
    return b"".join(map(member, records))


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """A web server that gives ranges of these files, whatever the query."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = files.get(urlsplit(self.path).path, None)
            if data is None:
                self.send_response(403)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            low, high, status = 0, len(data), 200
            if wanted := self.headers.get("Range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                low, high, status = int(first), min(int(last or len(data)) + 1, len(data)), 206
            self.send_response(status)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(high - low))
            if status == 206:
                self.send_header("Content-Range", f"bytes {low}-{high - 1}/{len(data)}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[low:high])
            return None

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Planted:
    """A folder with a run, and what was said on the way."""

    folder: Path
    address: str
    said: list[tuple[str, str]] = field(default_factory=list)

    def tokenmill(self, *arguments: object, code: int = 0, **environment: str) -> str:
        variables = {
            "MY_SETTING": CANARIES["variable of the environment"],
            "SERVICE_API_KEY": CANARIES["key of a service, in an error"],
            "HF_TOKEN": CANARIES["token of the hub"],
            "OPENAI_API_KEY": CANARIES["token of the hub"],
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": CANARIES["key of a store"],
            "AWS_SESSION_TOKEN": CANARIES["key of a store"],
            **environment,
        }
        command = [sys.executable, "-m", "tokenmill", *map(str, arguments)]
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120, check=False
        )
        self.said.append((f"stdout of {arguments[0]}", done.stdout))
        self.said.append((f"stderr of {arguments[0]}", done.stderr))
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    """One run over a signed address with a stage that tells its key, its report, and a dry run of publishing it."""
    folder = tmp_path_factory.mktemp("planted")
    with served({"/a.warc.gz": _archive()}) as address, hub() as server:
        planted = Planted(folder, address)
        signed = f"{address}/a.warc.gz?X-Amz-Signature={CANARIES['signature of an address']}"
        planted.tokenmill(
            "run", f"{RECIPE}:leaky", "--input", signed, "--output", folder / "out", "--workers", 1,
            "--log-json", folder / "log.jsonl", "--max-quarantined", 1, "--sample-dropped", 1,
            "--set", "leaky.endpoint=https://service.example/v1",
        )  # fmt: skip
        for arguments in (
            ("report", folder / "out"),
            ("status", folder / "out", "--json"),
            ("push", folder / "out", "owner/pages", "--endpoint", server.url, "--dry-run", "--json"),
        ):
            planted.tokenmill(*arguments, HF_HUB_OFFLINE="0")
        planted.tokenmill("run", f"{RECIPE}:broken", "--input", signed, "--output", folder / "broken", code=75)
        yield planted


@pytest.mark.ci
@pytest.mark.parametrize("name", CANARIES)
def test_no_artefact_holds_it(name: str, planted: Planted) -> None:
    private = planted.folder / "broken/phases/.queries.json"  # of a run that is not finished: for its owner only
    places = [place for place in artefacts(planted.folder) if place[0] != str(private)]
    assert len(places) > 15
    assert found_in({name: CANARIES[name]}, *places, *planted.said) == {}
    if name == "signature of an address":
        assert private.stat().st_mode & 0o777 == 0o600
        assert not (planted.folder / "out/phases/.queries.json").exists()


@pytest.mark.ci
def test_the_canaries_would_be_found(planted: Planted) -> None:
    """The search sees into tables, and the run did meet the stage's errors."""
    places = list(artefacts(planted.folder))
    words = {"a": "site.example/kept/1", "b": "403 for key", "c": "service.example"}
    assert found_in(words, *places).keys() == words.keys()


@pytest.mark.ci
def test_what_is_published_holds_none(planted: Planted) -> None:
    from tokenmill.cli.push import files_of
    from tokenmill.io.push_files import fetch
    from tokenmill.io.runfolder import RunFolder

    folder = RunFolder(str(planted.folder / "out"))
    places = []
    for file in files_of(folder, ("dropped", "quarantine", "report")):
        data = file.content if file.content is not None else fetch(folder, file, planted.folder).read_bytes()
        places.append((file.path, data.decode("utf-8", "replace")))
    assert len(places) >= 6
    assert found_in(CANARIES, *places) == {}


@pytest.mark.ci
def test_passwords_in_locations_are_refused_without_being_told(planted: Planted) -> None:
    password = CANARIES["password of an address"]
    for option in ("--input", "--output"):
        said = planted.tokenmill(
            "run", "fineweb", option, f"https://user:{password}@host.example/a.warc.gz",
            *(("--output", planted.folder / "no") if option == "--input" else ("--input", "examples/data")),
            code=2,
        )  # fmt: skip
        assert password not in said


@pytest.mark.ci
@pytest.mark.parametrize("value", ["https://user:{}@service.example/v1", "hf_{}AbcDefGhiJkl0123456789"])
def test_secrets_in_settings_are_refused_without_being_told(value: str, planted: Planted) -> None:
    secret = value.format(CANARIES["password of an address"].replace("-", ""))
    said = planted.tokenmill(
        "run", f"{RECIPE}:leaky", "--input", "examples/data", "--output", planted.folder / "no",
        "--set", f"leaky.endpoint={secret}", code=2,
    )  # fmt: skip
    assert "leaky.endpoint holds a secret" in said
    assert secret not in said
    assert not (planted.folder / "no/run.json").exists()


@pytest.mark.ci
def test_a_refused_address_is_told_without_its_signature(planted: Planted) -> None:
    signed = f"{planted.address}/missing.warc.gz?X-Amz-Signature={CANARIES['signature of an address']}"
    said = planted.tokenmill("run", "fineweb", "--input", signed, "--output", planted.folder / "no", code=2)
    assert "missing.warc.gz" in said
    assert CANARIES["signature of an address"] not in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing to hide, 50% off: see a@b.c", "nothing to hide, 50% off: see a@b.c"),
        ("at https://u:p@h/x?sig=1#f, and", "at https://h/x?..., and"),
        ("(https://h/x?sig=1)", "(https://h/x?..."),
        ("s3://key:secret@bucket/a", "s3://bucket/a"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ..."),
        ("vllm serve m --api-key abc --port 1", "vllm serve m --api-key ... --port 1"),
        ("vllm serve m --api-key $KEY", "vllm serve m --api-key $KEY"),
        ("hf_abcdefghijklmnopqrstuvwx sk-abcdefghijklmnopqrst", "... ..."),
        ("AKIAIOSFODNN7EXAMPLE", "..."),
    ],
)
def test_texts_lose_their_secrets(text: str, shown: str) -> None:
    redacted = redact(text)
    assert redacted.rstrip(",") == shown or redacted == shown.replace("?..., and", "?... and"), redacted


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("api_key", True), ("hf_token", True), ("token", True), ("password", True), ("aws_secret_access_key", True),
        ("authorization", True), ("client-secret", True),
        ("api_key_env", False), ("tokenizer", False), ("max_tokens", False), ("special_tokens", False),
        ("token_count", False), ("keys", False), ("key", False), ("min_words", False),
    ],
)  # fmt: skip
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("eos_token", "</s>", False),
        ("mask_token", "[MASK]", False),
        ("cookie", "yes", False),
        ("signature", "min", False),
        ("pattern", "https://[^@/]+@x", False),
        ("token", "hf_AbcDefGhiJklMnoPqrSt", True),
        ("token", "9f86d081884c7d659a2f", True),
        ("cookie", "session=9f86d081884c7d65", True),
        ("password", "hunter2", True),
        ("url", "https://user:pw@host/", True),
    ],
)
def test_settings_of_texts_are_no_secrets(name: str, value: str, secret: bool) -> None:
    assert secret_in(value, name) is secret


def test_variables_are_known_by_words_of_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKENMILL_PLACE", "TOKENIZERS_PLACE", "MONKEY_NAME"):
        monkeypatch.setenv(name, "a-value-that-is-told")
    monkeypatch.setenv("MY_TOKEN", "/run/secrets/of-a-file")
    assert hide("a-value-that-is-told /run/secrets/of-a-file") == "a-value-that-is-told /run/secrets/of-a-file"
    monkeypatch.setenv("MY_TOKEN", "a-value-that-is-hidden")
    assert hide("a-value-that-is-hidden") == "$MY_TOKEN"


def test_settings_lose_their_secrets_at_any_depth() -> None:
    settings = {
        "serve_env": {"HF_TOKEN": "canary", "FROM_HERE": "$HF_TOKEN", "N": 3},
        "list": [{"password": "canary"}, "https://u:canary@h/?canary"],
        "headers": {"Authorization": "canary"},
        "min_words": 50,
        "tokenizer": "gpt2",
    }
    shown = redact_settings(settings)
    assert "canary" not in str(shown)
    assert shown["serve_env"] == {"HF_TOKEN": "...", "FROM_HERE": "$HF_TOKEN", "N": 3}
    assert (shown["min_words"], shown["tokenizer"]) == (50, "gpt2")


def test_errors_lose_the_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_KEY", "canary-of-some-length")
    monkeypatch.setenv("DB_PASSWORD", "canary%2")  # 8 characters
    monkeypatch.setenv("SHORT_TOKEN", "on")
    monkeypatch.setenv("HOME_PAGE", "a page of some words")
    text = "403: canary-of-some-length, canary%2, on a page of some words"
    assert hide(text) == "403: $MY_SERVICE_KEY, $DB_PASSWORD, on a page of some words"


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"endpoint": "https://user:word@h/"}, True),
        ({"endpoint": "https://user@h/"}, True),
        ({"locations": ["abfs://container@account/x", "s3://a:b@c/d"]}, True),
        ({"serve_env": {"HF_TOKEN": "hf_something"}}, True),
        ({"api_key": "anything"}, True),
        ({"note": "AKIAIOSFODNN7EXAMPLE"}, True),
        ({"api_key": "", "password": None, "token": 3}, False),
        ({"api_key_env": "MY_KEY", "serve_env": {"HF_TOKEN": "$HF_TOKEN", "OMP_NUM_THREADS": "1"}}, False),
        ({"location": "abfs://container@account/x", "mail": "a@b.c", "url": "https://h/?a=1@2"}, False),
        ({"tokenizer": "gpt2", "special_tokens": ["<eos>"], "max_tokens": 5, "text": "task-force disk-drive"}, False),
    ],
)
def test_settings_with_secrets_are_refused(settings: dict[str, object], refused: bool) -> None:
    if not refused:
        return refuse_secrets(settings, "stage")
    with pytest.raises(ConfigError, match="holds a secret") as caught:
        refuse_secrets(settings, "stage")
    assert "canary" not in str(caught.value)
    return None
