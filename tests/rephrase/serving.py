"""The server of transformers on a folder: real HTTP, real chat templates, a real (tiny) model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tokenmill.executors.process import die_with_parent


@contextmanager
def serving(folder: Path, *, seconds: float = 120.0, options: tuple[str, ...] = ()) -> Iterator[str]:
    """The base URL ("http://127.0.0.1:PORT/v1") of `transformers serve` on that folder, on the CPU.

    The name of the model in requests is the folder's path. RuntimeError with what the server said, where it does not
    answer in time. The server dies with this process, also where that is killed.
    """
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        cache, log = Path(scratch) / "hub", Path(scratch) / "log"
        cache.mkdir()  # /v1/models answers 500 where it is absent
        port = free_port()
        command = [
            str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu",
            "--host", "127.0.0.1", "--port", str(port), *options,
        ]  # fmt: skip
        env = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        env |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                command, env=env, stdout=stream, stderr=stream, start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )  # fmt: skip
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, seconds, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait(url: str, process: subprocess.Popen[bytes], seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    said = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(
        f"transformers serve did not answer within {seconds:.0f} s (exit code {process.poll()}):\n{said}"
    )
