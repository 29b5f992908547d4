"""The child process that runs fused stages: `python -m tokenmill.executors.host_child PARENT BEAT MEMORY`.

PARENT is the parent's process id, BEAT the inherited descriptor of the heartbeat, MEMORY a limit in bytes.

It reads a pipeline and then batches from stdin and answers on stdout. Whatever a page does to a library
(hang, crash, memory) happens here, and costs this process and one document.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO

from tokenmill.core.errors import FatalError, ShardError, TokenmillError
from tokenmill.core.secrets import hide
from tokenmill.executors.process import OUT_OF_MEMORY, die_with_parent, limit_memory, protect_stdout

if TYPE_CHECKING:
    from tokenmill.executors.chain import Chain
    from tokenmill.executors.heartbeat import Heartbeat


def main() -> None:
    """Serve until stdin ends."""
    parent, beat, memory = (int(argument) for argument in sys.argv[1:4])
    die_with_parent(parent)
    limit_memory(memory)
    answers = protect_stdout()
    try:
        _serve(sys.stdin.buffer, answers, beat)
    except BrokenPipeError:
        os._exit(1)


def _serve(requests: BinaryIO, answers: BinaryIO, descriptor: int) -> None:
    import pyarrow as pa

    from tokenmill.executors.framing import read_message, write_message
    from tokenmill.executors.heartbeat import Heartbeat

    pa.set_cpu_count(1)
    beat = Heartbeat(descriptor)
    chain: Chain | None = None
    while (message := read_message(requests)) is not None:
        header, body = message
        try:
            if header["op"] == "setup":
                chain = _set_up(header)
                if "numba" in sys.modules:
                    beat.watch_compiler()
                write_message(answers, {"ok": True})
            else:
                assert chain is not None
                answer, packed = _run(chain, header, body, beat)
                write_message(answers, answer, packed)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # the parent blames the document that was at work, and starts afresh
        except TokenmillError as error:
            write_message(answers, {"ok": False, **error.to_fields()})
        except Exception as error:
            # no fault of a document (those are caught in the chain): say so instead of dying, which would blame one
            print(hide(traceback.format_exc()), file=sys.stderr, flush=True)
            what = "the stages cannot be set up" if header["op"] == "setup" else "the engine failed on a batch"
            kind = FatalError if header["op"] == "setup" else ShardError
            answer = kind(what, why=f"{type(error).__name__}: {error}", fix="see the traceback above").to_fields()
            write_message(answers, {"ok": False, **answer})


def _set_up(header: dict[str, Any]) -> Chain:
    from tokenmill.core.measuring import StageRules
    from tokenmill.core.pipeline import Pipeline
    from tokenmill.executors.chain import Chain

    pipeline = Pipeline.from_json(header["pipeline"])
    stages = list(zip(header["labels"], pipeline.stages, strict=True))
    rules = {label: StageRules(**about) for label, about in header["rules"].items()}
    chain = Chain(
        stages,
        sample=header["sample"],
        seed=header["seed"],
        columns=header["columns"],
        rules=rules,
        applies=header["applies"],
    )
    chain.setup()
    chain.memory_is_fatal = True
    calm_garbage_collection()
    return chain


def _run(chain: Chain, header: dict[str, Any], body: bytes, beat: Heartbeat) -> tuple[dict[str, Any], memoryview]:
    from tokenmill.executors.framing import pack_batches, unpack_batches

    (batch,) = unpack_batches([len(body)], body)
    poison = {int(row): tuple(entry) for row, entry in header["poison"].items()}
    result = chain.run(batch, beat, poison=poison, isolate=header["isolate"], seen=header["seen"])
    beat.idle()
    lengths, packed = pack_batches(result.kept, result.dropped, result.quarantined)
    return {"ok": True, "lengths": lengths, "counts": [count.to_json() for count in result.counts]}, packed


def calm_garbage_collection() -> None:
    """Collect cycles seldom: what set-up made lives for ever, and documents make next to no cycles.

    By default the collector walks millions of long-lived objects for every few thousand new ones, a fifth of
    the time of the cheap stages (measured on the fineweb recipe with resiliparse).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


if __name__ == "__main__":
    main()
