"""The child process that sends one document through stages, one stage per request:
`python -m tokenmill.executors.replay_child PARENT MEMORY`.

PARENT is the parent's process id, MEMORY a limit in bytes. Every stage runs in a chain of its own (`Chain`), exactly as
in a run, and the answer says what it decided and by which numbers. A document that kills this process is blamed by the
parent, which knows the stage that was at work.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa

from tokenmill.core.barrier import JOINED
from tokenmill.core.doc import Doc
from tokenmill.core.errors import FatalError, ShardError, TokenmillError
from tokenmill.core.measuring import StageRules
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.rule import Drop
from tokenmill.core.secrets import hide
from tokenmill.core.stage import Barrier, Filter, Stage
from tokenmill.executors.chain import Chain, ChainResult
from tokenmill.executors.frame import Frame
from tokenmill.executors.framing import read_message, unpack_batches, write_message
from tokenmill.executors.process import OUT_OF_MEMORY, die_with_parent, limit_memory, protect_stdout

_VERDICT = "replay_verdict"
"""Column that takes the verdict of a barrier while its other columns are made."""
_TEXTS = ("text", "html")
"""Columns that are told by their length, not as a value."""
_VALUE_CHARS = 500
_PROBES = {"min_": (math.inf, "<"), "max_": (-math.inf, ">")}
"""Beginning of a setting's name -> (what nothing passes, how the number compares with the real setting)."""


def main() -> None:
    """Serve until stdin ends."""
    parent, memory = (int(argument) for argument in sys.argv[1:3])
    die_with_parent(parent)
    limit_memory(memory)
    answers = protect_stdout()
    try:
        _serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        os._exit(1)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    pa.set_cpu_count(1)
    replay: Replay | None = None
    while (message := read_message(requests)) is not None:
        header, body = message
        try:
            if header["op"] == "pipeline":
                replay = Replay.of(header)
                write_message(answers, {"ok": True})
                continue
            assert replay is not None
            write_message(answers, {"ok": True, **replay.answer(header, body)})
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except TokenmillError as error:
            write_message(answers, {"ok": False, **error.to_fields()})
        except Exception as error:
            print(hide(traceback.format_exc()), file=sys.stderr, flush=True)
            kind = ShardError if header["op"] == "stage" else FatalError
            failure = kind(f"{header['op']} failed", why=f"{type(error).__name__}: {error}", fix="see the traceback")
            write_message(answers, {"ok": False, **failure.to_fields()})


class Replay:
    """Stages, and one document on its way through them."""

    def __init__(self, labels: list[str], pipeline: Pipeline, rules: Mapping[str, StageRules]) -> None:
        self._labels = labels
        self._stages = pipeline.stages
        self._rules = rules
        self._ready: set[int] = set()
        self._batch: pa.RecordBatch | None = None

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Replay:
        rules = {label: StageRules(**about) for label, about in header["rules"].items()}
        return cls(header["labels"], Pipeline.from_json(header["pipeline"]), rules)

    def answer(self, header: Mapping[str, Any], body: bytes) -> dict[str, Any]:
        """load: a new document. prepare: set a stage up. stage: send the document through it."""
        if header["op"] == "load":
            (self._batch,) = unpack_batches([len(body)], body)
            return {}
        index = header["stage"]
        if header["op"] == "prepare":
            if index not in self._ready:
                self._chain(index, joined=True).setup()
                self._ready.add(index)
            return {}
        joined = unpack_batches([len(body)], body)[0] if body else None
        return self._step(index, joined)

    def _chain(self, index: int, *, joined: bool, verdict: str = "") -> Chain:
        label, stage = self._labels[index], self._stages[index]
        known = self._rules.get(label, StageRules())
        about = StageRules(known.measured, verdict)
        chain = Chain([(label, stage)], sample=1.0, rules={label: about}, applies=joined and isinstance(stage, Barrier))
        chain.memory_is_fatal = True
        return chain

    def _step(self, index: int, joined: pa.RecordBatch | None) -> dict[str, Any]:
        stage, before = self._stages[index], self._batch
        assert before is not None
        if isinstance(stage, Barrier) and joined is None:
            self._batch = _with_nulls(before, stage)
            return {"outcome": "unknown", "rules": [], "columns": {}, "chars": None, "seconds": 0.0}
        given = before
        for name in joined.schema.names if joined is not None else ():
            assert joined is not None
            given = given.append_column(JOINED + name, joined.column(name))
        started = time.process_time()
        result = self._chain(index, joined=True).run(given)
        seconds = time.process_time() - started
        told = _outcome(result)
        if result.kept.num_rows:
            self._batch = _without(result.kept, (JOINED,))
        elif isinstance(stage, Barrier):
            kept = self._chain(index, joined=True, verdict=_VERDICT).run(given).kept
            self._batch = _without(kept, (JOINED, _VERDICT)) if kept.num_rows else before
        after = self._batch
        assert after is not None
        told["rules"] = list(_numbers(stage, self._rules.get(self._labels[index], StageRules()), before, told))
        told["columns"] = {} if isinstance(stage, Filter) else _changes(before, after)
        text = _value(after, "text")
        if text is not None and text != _value(before, "text"):
            told["text"] = text
        told["chars"] = {name: len(value) for name in _TEXTS if (value := _value(after, name)) is not None}
        return {**told, "seconds": round(seconds, 6)}


def _outcome(result: ChainResult) -> dict[str, Any]:
    if result.dropped.num_rows:
        row = result.dropped.to_pylist()[0]
        names = ("reason", "signal", "value", "threshold", "detail")
        return {"outcome": "drop", **{name: row[name] for name in names}}
    if result.quarantined.num_rows:
        row = result.quarantined.to_pylist()[0]
        return {"outcome": "quarantine", "reason": row["cause"], "detail": row["detail"]}
    return {"outcome": "pass"}


def _numbers(
    stage: Stage, about: StageRules, batch: pa.RecordBatch, told: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every rule of a filter with the document's number."""
    if not isinstance(stage, Filter) or told["outcome"] == "quarantine":
        return
    frame = Frame(batch)
    frame.measured.update(about.measured)
    doc = frame.docs[0]
    if not stage.decides_by_rules and not stage.rules():
        yield from _judged(stage, doc, told)
        return
    for rule in stage.rules():
        if not rule.active:
            continue
        value, key = doc.value(rule.signal), doc[rule.by] if rule.by else None
        yield {
            "reason": rule.reason,
            "signal": rule.signal,
            "comparison": rule.comparison,
            "threshold": _plain(rule.threshold_for(key)),
            "value": _plain(value),
            "by": rule.by,
            "key": _plain(key),
            "holds": rule.drops(value, key),
        }


def _judged(stage: Filter, doc: Doc, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The number behind the judgement of a filter without a table of rules.

    It tells one when it drops a document. One that it keeps is judged again with each limit set to what nothing
    passes, and then it names the number that it compares.
    """
    if told["outcome"] == "drop":
        if told.get("value") is not None and told.get("threshold") is not None:
            comparison = "<" if told["value"] < told["threshold"] else ">"
            names = ("reason", "signal", "threshold", "value")
            yield {name: told[name] for name in names} | {
                "comparison": comparison,
                "by": "",
                "key": None,
                "holds": True,
            }
        return
    for field in dataclasses.fields(stage):
        probe, comparison = _PROBES.get(field.name[:4], (0.0, ""))
        limit = getattr(stage, field.name)
        if not comparison or not isinstance(limit, float):
            continue
        try:
            found = dataclasses.replace(stage, **{field.name: probe}).judge(doc)
        except Exception:
            continue
        if isinstance(found, Drop) and found.value is not None and found.threshold == probe:
            yield {
                "reason": found.reason,
                "signal": found.signal,
                "comparison": comparison,
                "threshold": limit,
                "value": found.value,
                "by": "",
                "key": None,
                "holds": False,
            }


def _with_nulls(batch: pa.RecordBatch, stage: Stage) -> pa.RecordBatch:
    for name, dtype in stage.columns_added().items():
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.nulls(batch.num_rows, dtype))
    return batch


def _without(batch: pa.RecordBatch, prefixes: tuple[str, ...]) -> pa.RecordBatch:
    return batch.select([name for name in batch.schema.names if not name.startswith(prefixes)])


def _value(batch: pa.RecordBatch, name: str) -> Any:
    return batch.column(name)[0].as_py() if name in batch.schema.names else None


def _changes(before: pa.RecordBatch, after: pa.RecordBatch) -> dict[str, Any]:
    """The columns that a stage has added or set to another value; texts and bytes only by their size."""
    found: dict[str, Any] = {}
    for name in after.schema.names:
        if name in _TEXTS:
            continue
        value = _value(after, name)
        if name not in before.schema.names or value != _value(before, name):
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    """A value as JSON has it, short."""
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, str):
        return value[:_VALUE_CHARS]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value[:20]]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value)[:_VALUE_CHARS]


if __name__ == "__main__":
    main()
