"""A hub on localhost: repositories with branches and commits, the LFS protocol with parts, and faults on demand.

It speaks the endpoints that `huggingface_hub` uses for data sets, keeps every byte that was sent, and counts how often
each object was uploaded. What it stores is what a reader would download.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_forTestsOnlyNotARealOne000000"
PAGE = 3
"""Files of one page of a listing: even small repositories have several."""


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]] = field(
        default_factory=lambda: {"main": {".gitattributes": b"*.parquet lfs\n"}}
    )
    commits: list[tuple[str, list[str]]] = field(default_factory=list)
    """(branch, paths) of each commit, in order."""


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD /path" matches, after `skip` that pass."""

    pattern: str
    kind: str
    """503, 429, 412: that status; reset: the connection breaks inside the request; lost: done, and no answer; call."""
    times: int = 1
    skip: int = 0
    after: int = 0
    """Value of Retry-After."""
    call: Callable[[], None] | None = None


class Hub:
    """State of the server; `url` is its endpoint."""

    def __init__(self, chunk: int = 1 << 30) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.uploads: Counter[str] = Counter()
        """Times that each object has been sent whole, by its SHA-256."""
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.authorizations: set[str] = set()
        self.faults: list[Fault] = []
        self.chunk = chunk
        self.lock = threading.RLock()
        self.url = ""

    def fault(self, pattern: str, kind: str, **more: Any) -> None:
        self.faults.append(Fault(pattern, kind, **more))

    def taken(self, request: str) -> Fault | None:
        """The fault that hits this request, if any."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def files(self, name: str, branch: str = "main") -> dict[str, bytes]:
        """Path -> bytes of a branch, as a reader gets them."""
        return {
            path: data for path, data in self.repositories[name].branches[branch].items() if path != ".gitattributes"
        }

    def store(self, name: str, folder: Path, branch: str = "main") -> Path:
        """Write a branch into a folder, as a download does."""
        for path, data in self.files(name, branch).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    def put(self, name: str, files: dict[str, bytes], private: bool = False) -> None:
        """Make a repository with these files."""
        repository = self.repositories.setdefault(name, Repository(private))
        repository.branches["main"].update(files)


@contextmanager
def hub(chunk: int = 1 << 30) -> Iterator[Hub]:
    """A running server. chunk: bytes above which objects are uploaded in parts."""
    state = Hub(chunk)
    handler = type("Handler", (_Handler,), {"hub": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answer(Exception):
    def __init__(self, status: int, value: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.value, self.headers = status, value, headers or {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.hub.taken(f"{method} {path}")
        if fault is not None and fault.call is not None:
            fault.call()
        if fault is not None and fault.kind == "reset":
            self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1000))
            return self._break()
        try:
            body = self._body()
        except (ConnectionError, ValueError):
            return self._break()
        if fault is not None and fault.kind.isdigit():
            headers = {"Retry-After": str(fault.after)} if fault.after else {}
            return self._send(_Answer(int(fault.kind), {"error": "a commit has happened since"}, headers))
        try:
            if method != "GET":
                self._authorized(path)
            with self.hub.lock:
                answer = self._route(method, path, body)
        except _Answer as given:
            answer = given
        if fault is not None and fault.kind == "lost":
            return self._break()
        return self._send(answer)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionError("the client is gone")
        return body

    def _break(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.rfile = open("/dev/null", "rb")
        self.wfile = open("/dev/null", "wb")

    def _send(self, answer: _Answer) -> None:
        raw = isinstance(answer.value, bytes)
        data = answer.value if raw else json.dumps(answer.value if answer.value is not None else {}).encode()
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/octet-stream" if raw else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except ConnectionError:
            self.close_connection = True

    def _authorized(self, path: str) -> None:
        given = self.headers.get("Authorization", "")
        self.hub.authorizations.add(given)
        if not path.startswith(("/store/", "/complete/")) and given != f"Bearer {TOKEN}":
            raise _Answer(401, {"error": "Invalid username or password."})

    def _route(self, method: str, path: str, body: bytes) -> _Answer:
        for pattern, name in _ROUTES:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                answer: _Answer = getattr(self, name)(body, **found.groupdict())
                return answer
        raise _Answer(404, {"error": f"no such endpoint: {method} {path}"})

    def _repository(self, name: str) -> Repository:
        if name not in self.hub.repositories:
            raise _Answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return self.hub.repositories[name]

    def _branch(self, name: str, revision: str) -> dict[str, bytes]:
        branches = self._repository(name).branches
        if revision not in branches:
            raise _Answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return branches[revision]

    def create(self, body: bytes) -> _Answer:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            url = f"{self.hub.url}/datasets/{name}"
            return _Answer(409, {"error": "You already created this dataset repo", "url": url})
        self.hub.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
        return _Answer(200, {"url": f"{self.hub.url}/datasets/{name}"})

    def info(self, body: bytes, name: str) -> _Answer:
        private = self._repository(name).private
        return _Answer(200, {"id": name, "private": private, "sha": "0" * 40, "tags": [], "downloads": 0, "likes": 0})

    def branch(self, body: bytes, name: str, revision: str) -> _Answer:
        repository = self._repository(name)
        if revision in repository.branches:
            return _Answer(409, {"error": "Reference already exists"})
        repository.branches[revision] = dict(repository.branches["main"])
        return _Answer(200)

    def tree(self, body: bytes, name: str, revision: str) -> _Answer:
        entries = [_entry(path, data) for path, data in sorted(self._branch(name, revision).items())]
        folders = {path.rpartition("/")[0] for path in self._branch(name, revision)} - {""}
        entries += [{"type": "directory", "path": path, "oid": "0" * 40} for path in sorted(folders)]
        query = urlsplit(self.path).query
        start = int((re.search(r"cursor=(\d+)", query) or [0, 0])[1])
        headers = {}
        if start + PAGE < len(entries):
            address = f"{self.hub.url}{urlsplit(self.path).path}?recursive=true&cursor={start + PAGE}"
            headers["Link"] = f'<{address}>; rel="next"'
        return _Answer(200, entries[start : start + PAGE], headers)

    def validate(self, body: bytes) -> _Answer:
        content = json.loads(body)["content"]
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        try:
            header = yaml.safe_load(found.group(1)) if found else None
        except yaml.YAMLError:
            header = None
        if not isinstance(header, dict):
            return _Answer(400, {"errors": [{"message": "the header is no YAML mapping"}]})
        return _Answer(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, name: str, revision: str) -> _Answer:
        there = self._branch(name, revision)
        ignored = [line for line in there.get(".gitignore", b"").decode().splitlines() if line]
        files = []
        for file in json.loads(body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(".parquet") or file["size"] > 10 << 20 else "regular"
            entry = {"path": path, "uploadMode": mode, "shouldIgnore": any(path.startswith(i) for i in ignored)}
            if path in there:
                entry["oid"] = _sha256(there[path]) if mode == "lfs" else _git(there[path])
            files.append(entry)
        return _Answer(200, {"files": files})

    def batch(self, body: bytes, name: str) -> _Answer:
        self._repository(name)
        asked = json.loads(body)
        objects = []
        for item in asked["objects"]:
            oid, size = item["oid"], item["size"]
            entry: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in self.hub.objects:
                upload: dict[str, Any] = {"href": f"{self.hub.url}/store/{oid}?X-Amz-Signature=s3cr3tsignature"}
                if size > self.hub.chunk:
                    count = -(-size // self.hub.chunk)
                    links = {str(i): f"{self.hub.url}/store/{oid}/{i}" for i in range(1, count + 1)}
                    upload = {
                        "href": f"{self.hub.url}/complete/{oid}",
                        "header": {"chunk_size": str(self.hub.chunk), **links},
                    }
                entry["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append(entry)
        return _Answer(200, {"transfer": "basic", "objects": objects})

    def stored(self, body: bytes, oid: str) -> _Answer:
        if _sha256(body) != oid:
            return _Answer(400, {"error": "the content is not what its digest says"})
        self.hub.objects[oid] = body
        self.hub.uploads[oid] += 1
        return _Answer(200)

    def part(self, body: bytes, oid: str, number: str) -> _Answer:
        self.hub.parts.setdefault(oid, {})[int(number)] = body
        return _Answer(200, {}, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def complete(self, body: bytes, oid: str) -> _Answer:
        parts = self.hub.parts.get(oid, {})
        for part in json.loads(body)["parts"]:
            if f'"{hashlib.md5(parts[part["partNumber"]]).hexdigest()}"' != part["etag"]:
                return _Answer(400, {"error": "a part is not what was sent"})
        return self.stored(b"".join(parts[number] for number in sorted(parts)), oid)

    def verify(self, body: bytes) -> _Answer:
        asked = json.loads(body)
        there = self.hub.objects.get(asked["oid"])
        return _Answer(200 if there is not None and len(there) == asked["size"] else 404)

    def commit(self, body: bytes, name: str, revision: str) -> _Answer:
        branch = self._branch(name, revision)
        after, touched = dict(branch), []
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                after[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return _Answer(400, {"error": f"no object {value['oid']}"})
                after[value["path"]] = self.hub.objects[value["oid"]]
            elif item["key"] == "deletedFile":
                if value["path"] not in after:
                    return _Answer(
                        404, {"error": "A file with this name doesn't exist"}, {"X-Error-Code": "EntryNotFound"}
                    )
                del after[value["path"]]
            touched += [value["path"]] if "path" in value else []
        repository = self._repository(name)
        repository.branches[revision] = after
        repository.commits.append((revision, touched))
        oid = f"{len(repository.commits):040x}"
        return _Answer(
            200, {"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{oid}", "commitOid": oid, "success": True}
        )

    def resolve(self, body: bytes, name: str, revision: str, file: str) -> _Answer:
        there = self._branch(name, revision)
        if file not in there:
            return _Answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        return _Answer(200, there[file])


_NAME = r"(?P<name>[^/]+/[^/]+?)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES = [
    (r"POST /api/repos/create", "create"),
    (rf"GET /api/datasets/{_NAME}(?:/revision/[^/]+)?", "info"),
    (rf"POST /api/datasets/{_NAME}/branch/{_REVISION}", "branch"),
    (rf"GET /api/datasets/{_NAME}/tree/{_REVISION}", "tree"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"POST /api/datasets/{_NAME}/preupload/{_REVISION}", "preupload"),
    (rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /store/(?P<oid>[0-9a-f]{64})", "stored"),
    (r"PUT /store/(?P<oid>[0-9a-f]{64})/(?P<number>\d+)", "part"),
    (r"POST /complete/(?P<oid>[0-9a-f]{64})", "complete"),
    (r"POST /verify", "verify"),
    (rf"POST /api/datasets/{_NAME}/commit/{_REVISION}", "commit"),
    (rf"(?:GET|HEAD) /datasets/{_NAME}/resolve/{_REVISION}/(?P<file>.+)", "resolve"),
]


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _git(data)}
    if path.endswith(".parquet"):
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 130}
    return entry


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
