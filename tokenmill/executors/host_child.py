"""The child process that runs fused stages: `python -m tokenmill.executors.host_child PARENT BEAT MEMORY`.

It reads a pipeline and then batches from stdin and answers on stdout. Whatever a page does to a library
(hang, crash, memory) happens here, and costs this process and one document.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from tokenmill.core.errors import TokenmillError
from tokenmill.executors.process import die_with_parent, limit_memory, protect_stdout


def main() -> None:
    """Serve until stdin ends."""
    parent, beat_path, memory = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    die_with_parent(parent)
    limit_memory(memory)
    # one worker is one core: libraries must not bring their own threads
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    answers = protect_stdout()
    try:
        _serve(sys.stdin.buffer, answers, beat_path)
    except BrokenPipeError:
        os._exit(1)


def _serve(requests: BinaryIO, answers: BinaryIO, beat_path: str) -> None:
    import pyarrow as pa

    from tokenmill.core.pipeline import Pipeline
    from tokenmill.executors.chain import Chain
    from tokenmill.executors.framing import pack_batches, read_message, unpack_batches, write_message
    from tokenmill.executors.heartbeat import Heartbeat

    pa.set_cpu_count(1)
    beat = Heartbeat(beat_path)
    chain: Chain | None = None
    while (message := read_message(requests)) is not None:
        header, body = message
        try:
            if header["op"] == "setup":
                pipeline = Pipeline.from_json(header["pipeline"])
                by_label = dict(zip(pipeline.labels, pipeline.stages, strict=True))
                chain = Chain(
                    [(label, by_label[label]) for label in header["labels"]],
                    sample=header["sample"],
                    seed=header["seed"],
                )
                chain.setup()
                write_message(answers, {"ok": True})
                continue
            assert chain is not None
            (batch,) = unpack_batches([len(body)], body)
            poison = {int(row): tuple(entry) for row, entry in header["poison"].items()}
            result = chain.run(
                batch,
                beat,
                poison=poison,
                isolate=header["isolate"],
                seen=header["seen"],
            )
            beat.idle()
            lengths, packed = pack_batches(result.kept, result.dropped, result.quarantined)
            counts = [count.to_json() for count in result.counts]
            write_message(answers, {"ok": True, "lengths": lengths, "counts": counts}, packed)
        except TokenmillError as error:
            fields = {"what": error.what, "where": error.where, "why": error.why, "fix": error.fix}
            write_message(answers, {"ok": False, "error": type(error).__name__, **fields})


if __name__ == "__main__":
    main()
