"""Publishing on a hub: the remote ends with exactly the bytes, each object sent once, whatever goes wrong."""
# ruff: noqa: F811 - fixtures are imported

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.support import tokenmill
from tests.executors.support import recipe, run
from tests.io.hub_server import TOKEN, Hub, hub
from tests.io.s3 import Bucket, bucket, store  # noqa: F401
from tokenmill import Pipeline, ReadJsonl, WriteParquet
from tokenmill.cli.push import PushRequest, push_run
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.executors.forget import ForgetRequest, forget
from tokenmill.io import hub_remote
from tokenmill.io.hub_remote import Remote, asked_seconds, wait_seconds
from tokenmill.io.push_files import published_run
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.write import write_report

library = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
NAME = "owner/pages"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's, of its own client


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    found: list[float] = []
    monkeypatch.setattr(hub_remote.time, "sleep", found.append)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", found.append)
    return found


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waits: list[float]) -> Iterator[Hub]:
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(library.constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(library.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub() as server:
        yield server
    library.utils.close_session()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with five data files."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "in").mkdir()
    for number in range(5):
        rows = [{"text": f"document {number} {i}", "url": f"http://e.org/{i}"} for i in range(20)]
        lines = (json.dumps(row) + "\n" for row in [*rows, {"text": "b"}])
        (folder / "in" / f"{number}.jsonl").write_text("".join(lines))
    run(recipe("trap"), folder / "in", folder / "out", sample_dropped=1.0)
    write_report(RunFolder(str(folder / "out")))
    return folder / "out"


@pytest.fixture
def finished(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "out"))


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def push(output: Path, server: Hub, **options: object) -> Done:
    """`tokenmill push` without the start of the command line, which takes longer than the push."""
    options = {"run": str(output), "repository": NAME, "endpoint": server.url, **options}
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = push_run(PushRequest(**options))  # type: ignore[arg-type]
        except TokenmillError as error:
            print(error, file=err)
            code = error.exit_code
    return Done(code, out.getvalue(), err.getvalue())


def expected(output: Path) -> dict[str, bytes]:
    return {f"data/{path.name}": path.read_bytes() for path in sorted((output / "data").glob("*.parquet"))}


def published(server: Hub, name: str = NAME, branch: str = "main") -> dict[str, bytes]:
    return {path: data for path, data in server.files(name, branch).items() if path.startswith("data/")}


def sent_once(server: Hub) -> bool:
    return set(server.uploads.values()) == {1}


def test_the_remote_has_the_bytes_and_the_card_comes_last(finished: Path, online: Hub) -> None:
    done = tokenmill("push", finished, NAME, "--endpoint", online.url, "--private")
    assert done.returncode == 0, done.stderr
    assert published(online) == expected(finished)
    files = online.files(NAME)
    assert files["README.md"] == (finished / "README.md").read_bytes()
    assert online.repositories[NAME].private
    (_, first), (_, last) = online.repositories[NAME].commits
    assert first[0] == "run.json"
    assert set(last) == {"README.md", "SHA256SUMS"}
    for line in files["SHA256SUMS"].decode().splitlines():
        digest, path = line.split("  ")
        assert hashlib.sha256(files[path]).hexdigest() == digest
    assert TOKEN not in done.stdout + done.stderr
    assert sent_once(online)
    count = len(online.requests)
    again = tokenmill("push", finished, NAME, "--endpoint", online.url, "--private", "--json")
    assert json.loads(again.stdout) | {"commits": 0, "files_to_send": 0} == json.loads(again.stdout)
    assert not any("PUT" in request or "/commit/" in request for request in online.requests[count:])


FAULTS = {
    "repository is busy": ("POST /api/repos/create", "503", {"times": 2}),
    "listing is limited": ("GET .*/tree/", "429", {"times": 2, "after": 7}),
    "upload is limited": ("PUT /store/", "429", {"times": 2, "after": 7}),
    "upload is refused for long": ("PUT /store/", "503", {"times": 9}),
    "reset inside an upload": ("PUT /store/", "reset", {"times": 3}),
    "upload was done and the answer lost": ("PUT /store/", "lost", {"times": 1}),
    "batch fails": ("POST .*/objects/batch", "502", {"times": 1}),
    "verify fails": ("POST /verify", "503", {"times": 1}),
    "another commit has happened": ("POST .*/commit/", "412", {"times": 2}),
    "commit is limited": ("POST .*/commit/", "429", {"times": 2, "after": 30}),
    "commit was made and the answer lost": ("POST .*/commit/", "lost", {"times": 1}),
    "commit is reset": ("POST .*/commit/", "reset", {"times": 2}),
}
FAST = ("reset inside an upload", "commit was made and the answer lost")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.ci) for name in FAULTS]
)
def test_what_passes_is_tried_again(name: str, finished: Path, online: Hub, waits: list[float]) -> None:
    pattern, kind, more = FAULTS[name]
    online.fault(pattern, kind, **more)
    done = push(finished, online)
    assert done.returncode == 0, done.stderr
    assert published(online) == expected(finished)
    assert "README.md" in online.files(NAME)
    assert all(fault.times == 0 for fault in online.faults), "the fault has never happened"
    if kind != "lost" or "PUT" not in pattern:  # an object whose answer was lost is sent a second time by the library
        assert sent_once(online)
    assert max(waits, default=0) >= more.get("after", 0)
    assert "s3cr3tsignature" not in done.stdout + done.stderr


@pytest.mark.ci
def test_parts(finished: Path, online: Hub) -> None:
    online.chunk = 1500
    online.fault("PUT /store/[0-9a-f]+/2", "reset", times=2)
    online.fault("POST /complete/", "503", times=1)
    assert push(finished, online).returncode == 0
    assert published(online) == expected(finished)
    assert sent_once(online)
    assert any("/store/" in request and request.endswith("/2") for request in online.requests)


def test_a_server_that_stays_down_ends_it_and_the_same_command_goes_on(finished: Path, online: Hub) -> None:
    online.fault("POST .*/commit/", "503", times=100)
    stopped = push(finished, online)
    assert stopped.returncode == 75
    assert "run the same command again" in stopped.stderr
    online.faults.clear()
    assert push(finished, online).returncode == 0
    assert published(online) == expected(finished)
    assert sent_once(online)


@pytest.mark.ci
def test_only_what_has_changed_is_sent(finished: Path, online: Hub) -> None:
    assert push(finished, online).returncode == 0
    before = online.uploads.total()
    online.repositories[NAME].branches["main"]["data/3.parquet"] = b"changed by somebody"
    del online.repositories[NAME].branches["main"]["data/1.parquet"]
    assert push(finished, online).returncode == 0
    assert published(online) == expected(finished)
    assert online.uploads.total() == before  # both objects are still in the store
    assert {path for _, paths in online.repositories[NAME].commits[2:] for path in paths} == {
        "data/1.parquet",
        "data/3.parquet",
    }


@pytest.mark.ci
def test_a_branch(finished: Path, online: Hub) -> None:
    assert push(finished, online, revision="v2").returncode == 0
    assert published(online, branch="v2") == expected(finished)
    assert published(online) == {}


@pytest.mark.ci
def test_a_new_branch_begins_as_a_copy_of_main(finished: Path, online: Hub) -> None:
    assert push(finished, online).returncode == 0
    online.put(NAME, {"data/zz.parquet": b"of an earlier run"})
    refused = push(finished, online, revision="v2")
    assert refused.returncode == 2
    assert "data/zz.parquet" in refused.stderr
    assert push(finished, online, revision="v2", prune=True).returncode == 0
    assert published(online, branch="v2") == expected(finished)
    assert "data/zz.parquet" in online.files(NAME)


def test_a_dry_run_sends_nothing(finished: Path, online: Hub) -> None:
    done = push(finished, online, as_json=True, dry_run=True)
    told = json.loads(done.stdout)
    assert (told["exists"], told["files_to_send"], told["files_there"]) == (False, 8, 0)
    assert {entry["path"] for entry in told["files"]} == {*expected(finished), "run.json", "README.md", "SHA256SUMS"}
    assert not any(request.startswith(("POST", "PUT")) for request in online.requests)
    shown = push(finished, online, dry_run=True).stdout
    assert "data/0.parquet" in shown
    assert "8 files to send" in shown


@pytest.mark.ci
def test_extras_are_published_when_asked_for(finished: Path, online: Hub) -> None:
    assert push(finished, online, include=("dropped", "report", "recipe")).returncode == 0
    files = online.files(NAME)
    assert {"dropped/0.parquet", "report.html", "recipe/trap_recipe.py"} <= files.keys()
    assert files["dropped/0.parquet"] == (finished / "dropped/0.parquet").read_bytes()


@pytest.mark.ci
def test_a_listing_of_the_folder_is_not_trusted(finished: Path, online: Hub) -> None:
    (finished / "data/left-over.parquet").write_bytes(b"of somebody else")
    assert push(finished, online).returncode == 0
    assert "data/left-over.parquet" not in online.files(NAME)


def test_a_repository_with_other_data_is_refused(finished: Path, online: Hub) -> None:
    online.put(NAME, {"train.csv": b"a,b", "README.md": b"# mine"})
    refused = push(finished, online)
    assert refused.returncode == 2
    assert "train.csv" in refused.stderr
    assert online.files(NAME).keys() == {"train.csv", "README.md"}
    assert push(finished, online, force=True).returncode == 0
    assert online.files(NAME)["train.csv"] == b"a,b"


@pytest.mark.ci
def test_files_of_another_run_are_removed_only_when_asked_for(finished: Path, online: Hub) -> None:
    assert push(finished, online).returncode == 0
    online.put(NAME, {"data/old.parquet": b"old", "notes.txt": b"stay"})
    refused = push(finished, online)
    assert refused.returncode == 2
    assert "data/old.parquet" in refused.stderr
    assert "data/old.parquet" in push(finished, online, dry_run=True).stdout
    assert push(finished, online, prune=True).returncode == 0
    assert published(online) == expected(finished)
    assert online.files(NAME)["notes.txt"] == b"stay"


def test_a_public_repository_gets_no_private_data(finished: Path, online: Hub) -> None:
    online.put(NAME, {}, private=False)
    refused = push(finished, online, private=True)
    assert refused.returncode == 2
    assert "is public" in refused.stderr


@pytest.mark.ci
def test_what_a_gitignore_leaves_out_is_told(finished: Path, online: Hub) -> None:
    online.put(NAME, {".gitignore": b"data/3\n"})
    done = push(finished, online)
    assert done.returncode == 75
    assert "data/3.parquet" in done.stderr


def test_without_the_right_token_there_is_one_clear_error(
    finished: Path, online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in ("hf_anotherTokenThatIsWrong000000", None):
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
        refused = push(finished, online)
        assert refused.returncode == 2, refused.stderr
        assert "HF_TOKEN" in refused.stderr
        assert "hf_another" not in refused.stderr + refused.stdout


@pytest.mark.parametrize("endpoint", ["http://hub.example.com", "https://user:secret@hub.example.com", "ftp://x"])
def test_endpoints_that_would_give_the_token_away(endpoint: str, finished: Path, online: Hub) -> None:
    refused = push(finished, online, endpoint=endpoint)
    assert refused.returncode == 2
    assert "secret" not in refused.stderr


@pytest.mark.parametrize("name", ["pages", "a/b/c", "../x", "owner/", "o w/n", "-x/y"])
def test_names_of_repositories(name: str, finished: Path, online: Hub) -> None:
    refused = push(finished, online, repository=name)
    assert refused.returncode == 2, refused.stderr
    assert online.requests == []


def test_an_unfinished_run_is_refused(finished: Path, online: Hub) -> None:
    (sealed,) = finished.glob("phases/*/_SUCCESS.json")
    sealed.unlink()
    refused = push(finished, online)
    assert refused.returncode == 2
    assert "is not finished" in refused.stderr
    assert online.requests == []


def test_books_that_do_not_balance_are_refused(finished: Path, online: Hub) -> None:
    path = next(iter(sorted(finished.glob("phases/*/manifests/*.json"))))
    manifest = json.loads(path.read_text())
    manifest["stages"][0]["in"] += 1
    path.write_text(json.dumps(manifest))
    refused = push(finished, online)
    assert refused.returncode == 2
    assert "do not balance" in refused.stderr


@pytest.mark.ci
def test_a_card_of_another_state_is_refused(finished: Path, online: Hub) -> None:
    card = (finished / "README.md").read_text()
    (finished / "README.md").write_text(card.replace("num_examples: 100", "num_examples: 101"))
    refused = push(finished, online)
    assert refused.returncode == 2
    assert "tokenmill report" in refused.stderr


@pytest.mark.parametrize("kind", ["changed", "gone", "link"])
def test_files_that_are_not_what_was_committed_are_not_sent(kind: str, finished: Path, online: Hub) -> None:
    path = finished / "data/2.parquet"
    if kind == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    elif kind == "gone":
        path.unlink()
    else:
        outside = finished.parent / "outside.parquet"
        path.rename(outside)
        path.symlink_to(outside)
    stopped = push(finished, online)
    assert stopped.returncode == 75
    assert "data/2.parquet" in stopped.stderr
    assert "README.md" not in online.files(NAME)


@pytest.mark.parametrize(
    "hostile", ["data/../../secret", "/etc/passwd", "data/.ssh", "data//x", "data/a\nb", "data/~/../x"]
)
def test_a_manifest_cannot_name_files_outside_the_run(hostile: str, finished: Path, online: Hub) -> None:
    path = next(iter(sorted(finished.glob("phases/*/manifests/*.json"))))
    manifest = json.loads(path.read_text())
    manifest["files"][0]["path"] = hostile
    path.write_text(json.dumps(manifest))
    refused = push(finished, online)
    assert refused.returncode == 2
    assert not any(request.startswith("PUT") for request in online.requests)


KILLS = {
    "before the first commit": ("PUT /store/", 0),
    "inside the uploads": ("PUT /store/", 3),
    "at the first commit": ("POST .*/commit/", 0),
    "at the last commit": ("POST .*/commit/", 1),
}


def pushing(finished: Path, server: Hub, tmp_path: Path) -> subprocess.Popen[bytes]:
    environment = {"HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "no_proxy": "*"}
    command = [sys.executable, "-m", "tokenmill", "push", str(finished), NAME, "--endpoint", server.url]
    return subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def killed_and_run_again(name: str, finished: Path, server: Hub, tmp_path: Path) -> None:
    pattern, skip = KILLS[name]
    started: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        started[0].send_signal(signal.SIGKILL)
        started[0].wait(30)
        time.sleep(0.05)

    server.fault(pattern, "reset", skip=skip, call=kill)
    started.append(pushing(finished, server, tmp_path))
    started[0].communicate(timeout=60)
    assert started[0].returncode == -signal.SIGKILL
    assert "README.md" not in server.repositories[NAME].branches["main"]
    again = pushing(finished, server, tmp_path)
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors.decode()
    assert published(server) == expected(finished)
    assert sent_once(server)


@pytest.mark.ci
@pytest.mark.parametrize("name", KILLS)
def test_killed_anywhere(name: str, finished: Path, tmp_path: Path) -> None:
    with hub() as server:
        killed_and_run_again(name, finished, server, tmp_path)


def test_waits_grow_and_differ_by_what_is_waited_for() -> None:
    waits = [wait_seconds("commit", n, 1.0) for n in range(1, 12)]
    assert waits == [wait_seconds("commit", n, 1.0) for n in range(1, 12)]
    assert all(0.5 * min(2.0**n, 60) <= wait <= min(2.0**n, 60) for n, wait in enumerate(waits))
    assert wait_seconds("commit", 1, 1.0) != wait_seconds("upload", 1, 1.0)
    assert asked_seconds(ValueError()) == 0


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="publishing needs a package") as caught:
        Remote("a/b")
    assert "tokenmill[hub]" in caught.value.fix


def test_the_published_run_has_no_places_of_this_machine(finished: Path) -> None:
    text = published_run(json.loads((finished / "run.json").read_text()))
    assert str(finished.parent) not in text
    found = json.loads(text)
    assert found["input"]["shards"][0]["name"] == "0.jsonl"
    assert found["stages"][1]["file"] == "recipe/trap_recipe.py"


def test_errors_that_stay_end_it_at_once(finished: Path, online: Hub, waits: list[float]) -> None:
    online.fault("POST .*/commit/", "400", times=5)
    stopped = push(finished, online)
    assert stopped.returncode == 75
    assert "cannot commit" in stopped.stderr
    assert waits == []


@pytest.mark.ci
def test_what_was_forgotten_goes_from_the_repository_too(finished: Path, online: Hub) -> None:
    assert push(finished, online).returncode == 0
    wanted = ForgetRequest(ids=("3.jsonl#7",))
    assert len(forget(RunFolder(str(finished)), wanted).documents) == 1
    refused = push(finished, online)  # its card tells of 100 documents
    assert refused.returncode == 2
    assert "tokenmill report" in refused.stderr
    write_report(RunFolder(str(finished)))
    assert push(finished, online).returncode == 0
    assert published(online) == expected(finished)
    card = online.files(NAME)["README.md"].decode()
    assert "num_examples: 99" in card
    assert "(`tokenmill forget`): 1 documents" in card
    online.put(NAME, {"report.html": b"with samples", "dropped/0.parquet": b"with texts"})
    assert "report.html" in push(finished, online).stderr
    assert push(finished, online, prune=True).returncode == 0
    assert not {"report.html", "dropped/0.parquet"} & online.files(NAME).keys()
    tombstone = next(finished.glob("tombstones/*.json"))
    tombstone.write_text(json.dumps({**json.loads(tombstone.read_text()), "done": False}))
    assert "not finished" in push(finished, online).stderr


@pytest.mark.ci
def test_a_run_on_an_object_store(finished: Path, online: Hub, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are copied here one commit at a time, and the copies are removed."""
    temporary = finished.parent / "temp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for path in finished.rglob("*"):
        if path.is_file():
            bucket.put(f"out/{path.relative_to(finished)}", path.read_bytes())
    monkeypatch.setattr("tokenmill.io.push.COMMIT_FILES", 2)
    done = push(Path("unused"), online, run=bucket.url("out"))
    assert done.returncode == 0, done.stderr
    assert published(online) == expected(finished)
    assert len(online.repositories[NAME].commits) == 4
    assert list(temporary.iterdir()) == []


@pytest.mark.ci
def test_the_published_recipe_makes_the_same_bytes(finished: Path, online: Hub, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    run(Pipeline("plain", [ReadJsonl(), WriteParquet()]), tmp_path / "in", tmp_path / "first")
    write_report(RunFolder(str(tmp_path / "first")))
    assert push(finished, online, run=str(tmp_path / "first")).returncode == 0
    folder = online.store(NAME, tmp_path / "downloaded")
    arguments = ("--input", tmp_path / "in", "--output", tmp_path / "again", "--workers", 0)
    again = tokenmill("run", folder / "run.json", *arguments)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again/data/a.parquet").read_bytes() == (folder / "data/a.parquet").read_bytes()
    assert (tmp_path / "again/README.md").read_bytes() == (folder / "README.md").read_bytes()
