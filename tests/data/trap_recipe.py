"""A recipe whose stages do to the process what a document's text says. Used by the tests of the executors."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Mapping

import pyarrow as pa

from tokenmill import Annotate, Doc, Filter, Pipeline, Rewrite
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet


def spring(text: str) -> None:
    """Do the harm that the text names."""
    if text == "segfault":
        ctypes.string_at(0)
    elif text == "exit":
        os._exit(3)
    elif text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif text == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif text == "hang":
        re.match(r"(a+)+$", "a" * 64 + "b")  # exponential, in C, holding the interpreter lock
    elif text == "sleep":
        time.sleep(3600)
    elif text == "nap":
        time.sleep(1)
    elif text == "memory":
        bytearray(8 << 30)
    elif text == "recursion":
        spring_forever(0)
    elif text == "raise":
        raise ValueError("a library failed")


def spring_forever(depth: int) -> int:
    return spring_forever(depth + 1) + 1


class Trap(Filter):
    """Springs on documents whose text names a harm; drops texts under five characters."""

    reads = ("text",)

    def judge(self, doc: Doc) -> str | None:
        spring(doc.text)
        return "short" if len(doc.text) < 5 else None


class Upper(Rewrite):
    """Makes the text upper case."""

    reads = ("text",)
    adds = {"upper_length": pa.int64()}

    def rewrite(self, doc: Doc) -> Mapping[str, object]:
        return {"text": doc.text.upper(), "upper_length": len(doc.text)}


class BatchTrap(Annotate):
    """Springs in a whole batch."""

    reads = ("text",)
    adds = {"trap_length": pa.int64()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        texts = batch.column("text").to_pylist()
        for text in texts:
            spring(text.lower())
        return {"trap_length": pa.array([len(text) for text in texts], pa.int64())}


trap = Pipeline("trap", [ReadJsonl(), Trap(), Upper(), WriteParquet()])
batch_trap = Pipeline("batch_trap", [ReadJsonl(), Upper(), BatchTrap(), WriteParquet()])
