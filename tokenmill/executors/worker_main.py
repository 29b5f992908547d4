"""A worker process: `python -m tokenmill.executors.worker_main PARENT`, JSON lines in and out.

A line is a task, or the number of a shard of the last task. Answers are `progress`, `result` and `error`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, BinaryIO

from tokenmill.core.errors import ShardError, TokenmillError
from tokenmill.core.secrets import hide
from tokenmill.executors.process import die_with_parent, protect_stdout


def main() -> None:
    """Serve until stdin ends."""
    die_with_parent(int(sys.argv[1]))
    # Ctrl-C reaches the whole foreground group; only the coordinator decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = protect_stdout()
    try:
        _serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        os._exit(1)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    import pyarrow as pa

    from tokenmill.executors.worker import ShardRunner, ShardTask

    pa.set_cpu_count(1)

    def say(**message: Any) -> None:
        answers.write(json.dumps(message).encode() + b"\n")
        answers.flush()

    task: ShardTask | None = None
    runner: ShardRunner | None = None
    for line in requests:
        message = json.loads(line)
        if "task" in message:
            if runner is not None:
                runner.close()
            task, runner = ShardTask.from_json(message["task"]), None
            continue
        index = message["shard"]
        say(kind="started", shard=index)
        try:
            if runner is None:
                assert task is not None
                runner = ShardRunner(task, alive=lambda: say(kind="alive", shard=-1))
            manifest = runner.run_shard(index, lambda counts: say(kind="progress", shard=index, counts=counts))  # noqa: B023
            say(kind="result", shard=index, manifest=manifest)
        except TokenmillError as error:
            say(kind="error", shard=index, **error.to_fields())
        except Exception as error:
            # a defect or an unforeseen library error: the shard fails, with the traceback on stderr
            import traceback

            print(hide(traceback.format_exc()), file=sys.stderr, flush=True)
            unforeseen = ShardError(f"{type(error).__name__}: {error}", why="see the traceback in the log")
            say(kind="error", shard=index, **unforeseen.to_fields())
    if runner is not None:
        runner.close()


if __name__ == "__main__":
    main()
