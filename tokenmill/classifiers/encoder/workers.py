"""Threads: one that makes batches ahead of the model, and on a CPU several that run the model."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

AHEAD = 4
"""Items that are made before they are wanted."""


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, made by a thread that is at most `AHEAD` of them in front; its errors come out here."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def put(kind: str, item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put((kind, item), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=make, name="tokenise", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item
    finally:
        stop.set()
        thread.join()


class Workers:
    """Threads that run whole batches, each in kernels of one thread.

    Threads that share a kernel wait for each other at the end of each; batches of their own they finish alone. The
    order in which a kernel adds up does not depend on the number of cores then either.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="encode")
        self._room = threading.Semaphore(2 * count)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Start the call; waits while twice as many as there are threads are under way."""
        self._room.acquire()
        future = self._pool.submit(function, *arguments)
        future.add_done_callback(lambda done: self._room.release())
        return future

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def workers(count: int) -> Iterator[Workers | None]:
    """Workers for a while, in which PyTorch's kernels have one thread; None for 0: nothing is changed."""
    if not count:
        yield None
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = Workers(count)
    try:
        yield made
    finally:
        made.close()
        torch.set_num_threads(before)
