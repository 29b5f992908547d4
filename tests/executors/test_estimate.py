"""The estimate: what is sampled, what is measured, how it is multiplied."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.support import recipe
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.stage import InputShard
from tokenmill.executors import estimate
from tokenmill.executors.estimate import Row, Sample, cpu_of_tree, measure
from tokenmill.executors.forecast import RATES, Target, dollars, forecast, targeted
from tokenmill.executors.sampling import LEAST_SAMPLE, Piece, sample_bytes, take
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import ReadParquet
from tokenmill.io.records import Record, iter_records
from tokenmill.io.warc import ReadWarc

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"


def _records(path: str) -> list[Record]:
    return [item for item in iter_records(path) if isinstance(item, Record)]


def test_pieces_of_an_archive_are_whole_records_one_after_another(tmp_path: Path) -> None:
    [shard] = list_inputs(str(EXAMPLE), ReadWarc.suffixes)
    pieces = take(ReadWarc(), [shard], shard.size, tmp_path / "one", pieces=1)
    assert [piece.source_bytes for piece in pieces] == [shard.size]
    halves = take(ReadWarc(), [shard], shard.size, tmp_path / "two", pieces=8)  # of 1 MiB at least
    assert halves[0].source_bytes == Path(halves[0].shard.path).stat().st_size
    small = take(ReadWarc(), [shard], 200_000, tmp_path / "three")
    assert 200_000 <= small[0].source_bytes < shard.size
    every = _records(shard.path)
    some = _records(small[0].shard.path)
    assert [record.block for record in some] == [record.block for record in every[: len(some)]]
    again = take(ReadWarc(), [shard], 200_000, tmp_path / "four")
    assert Path(again[0].shard.path).read_bytes() == Path(small[0].shard.path).read_bytes()


def test_several_pieces_of_one_file_do_not_overlap(tmp_path: Path) -> None:
    [example] = list_inputs(str(EXAMPLE), ReadWarc.suffixes)
    big = tmp_path / "CC-MAIN-2024-10.warc.gz"
    big.write_bytes(Path(example.path).read_bytes() * 6)
    [shard] = list_inputs(str(big), ReadWarc.suffixes)
    pieces = take(ReadWarc(), [shard], 5 << 20, tmp_path / "in")
    assert len(pieces) == 5
    whole = b"".join(Path(piece.shard.path).read_bytes() for piece in pieces)
    assert big.read_bytes().startswith(whole)
    assert len({piece.shard.name for piece in pieces}) == 5
    assert all(_records(piece.shard.path) for piece in pieces)


def test_files_are_chosen_by_their_names_alone(tmp_path: Path) -> None:
    names = [f"{i}.jsonl" for i in range(40)]
    for name in names:
        (tmp_path / name).write_text('{"text": "x"}\n' * 1000)
    inputs = list_inputs(str(tmp_path), ReadJsonl.suffixes)
    pieces = take(ReadJsonl(), inputs, 60_000, tmp_path / "sample", pieces=4)
    best = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[: len(pieces)]
    assert [piece.of.name for piece in pieces] == best
    backwards = take(ReadJsonl(), inputs[::-1], 60_000, tmp_path / "again", pieces=4)
    assert [piece.of.name for piece in backwards] == best


def test_large_files_of_documents_are_cut(tmp_path: Path) -> None:
    table = pa.table({"text": [hashlib.sha256(str(i).encode()).hexdigest() * 4 for i in range(20_000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1000)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps({"text": text}) + "\n" for text in table["text"].to_pylist())
    for source, name in ((ReadParquet(), "a.parquet"), (ReadJsonl(), "b.jsonl.gz")):
        [shard] = list_inputs(str(tmp_path / name), source.suffixes)
        [piece] = take(source, [shard], 200_000, tmp_path / "in", pieces=1)
        assert 150_000 < piece.source_bytes < 0.5 * shard.size
        batches = list(source.read(piece.shard, None))  # type: ignore[arg-type]
        assert batches[0]["text"][0].as_py() == table["text"][0].as_py()


def test_the_size_of_a_sample() -> None:
    assert sample_bytes(10**15, 0.001) == 10**12
    assert sample_bytes(10**9, 0.001) == LEAST_SAMPLE
    assert sample_bytes(1000, 0.001) == 1000


def test_cpu_seconds_of_this_process_are_counted() -> None:
    before, started = cpu_of_tree(), time.process_time()
    while time.process_time() - started < 0.2:
        pass
    assert 0.15 < cpu_of_tree() - before < 2


def _made(base: list[int], seconds: list[float], kept: list[float]) -> Sample:
    shard = InputShard("/x", "x", 0, "0")
    documents = [float(size / 100) for size in base]
    zeros = [0.0] * len(base)
    return Sample(
        pieces=[Piece(shard, size, shard) for size in base],
        rows=[Row(0, "stage", documents, seconds, [2 * value for value in seconds])],
        documents=documents,
        kept=kept,
        intermediate=zeros,
        published=[float(size) for size in base],
        files=[3.0] * len(base),
        step_bytes=100.0,
        step_source="",
        wall_seconds=1.0,
        cpu_seconds=1.0,
        startup_seconds=0.0,
        busy=1.0,
    )


def test_what_is_in_proportion_has_no_interval_and_what_varies_has_one() -> None:
    sample = _made([1000, 2000, 1000], [1.0, 2.0, 1.0], [5.0, 10.0, 9.0])
    found = forecast(sample, Target(4_000_000, 10, 40_000, "bytes"))
    assert found.core_seconds.value == pytest.approx(4000)
    assert found.core_seconds.low == pytest.approx(found.core_seconds.high)
    assert found.gpu_seconds.value == pytest.approx(8000)
    assert found.kept.value == pytest.approx(24_000)
    # by hand: residuals -1, -2, 3; s = sqrt(14/2); / sqrt(3) / mean 1333.3; t(2) = 4.30
    half = 4.30 * (7**0.5 / 3**0.5 / (4000 / 3)) * 4_000_000
    assert found.kept.high - found.kept.value == pytest.approx(half)
    assert found.kept.low == max(0, found.kept.value - half)
    assert found.files.value == 30
    assert found.intermediate.value == pytest.approx(100_000)


def test_targets_follow_from_the_input_or_from_what_is_given() -> None:
    sample = _made([1000, 1000], [1.0, 1.0], [5.0, 5.0])
    inputs = [InputShard(f"/{i}", f"{i}", 50_000, "") for i in range(4)]
    assert targeted(sample, inputs) == Target(200_000, 4, 2000, "bytes")
    assert targeted(sample, inputs, total_files=100) == Target(5_000_000, 100, 50_000, "bytes")
    assert targeted(sample, inputs, total_bytes=1e9) == Target(1e9, 20_000, 1e7, "bytes")
    assert targeted(sample, inputs, total_documents=1e6) == Target(1e8, 2000, 1e6, "documents")
    assert targeted(sample, inputs, total_bytes=9e13, total_documents=3e9).per == "documents"
    with pytest.raises(ConfigError, match="not above 0"):
        targeted(sample, inputs, total_bytes=-1)


def test_dollars_are_rates_times_amounts() -> None:
    sample = _made([1000, 1000], [3600.0, 3600.0], [5.0, 5.0])
    found = forecast(sample, Target(2e12, 1e6, 2e10, "bytes"))
    cost = dollars(found, {"core_hour": 1, "gpu_hour": 10, "tb_month": 20, "put_1000": 1})
    assert cost["cores"].value == pytest.approx(2e9)
    assert cost["gpus"].value == pytest.approx(4e10)
    assert cost["storage for a month"].value == pytest.approx(20 * (2 + 0.1))
    assert cost["writing requests"].value == pytest.approx(3e6 / 1000)
    assert cost["all"].value == pytest.approx(sum(cost[key].value for key in list(cost)[:-1]))
    assert set(RATES) == {"core_hour", "gpu_hour", "tb_month", "put_1000"}


@pytest.mark.ci
def test_a_recipe_is_measured_for_real(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for i in range(3):
        (source / f"{i}.jsonl").write_text("".join(f'{{"text": "document {n}"}}\n' for n in range(200)))
    (source / "short.jsonl").write_text('{"text": "abc"}\n' * 200)
    inputs = list_inputs(str(source), ReadJsonl.suffixes)
    before = set(Path(tmp_path).iterdir())
    sample = measure(recipe("trap"), inputs, share=1.0)
    assert (sum(sample.documents), sum(sample.kept)) == (800, 600)
    assert sample.rows[0].label == "read_jsonl"
    assert sample.cpu_seconds > sample.startup_seconds > 0
    assert sum(sample.published) > 0
    assert set(Path(tmp_path).iterdir()) == before
    shutil.rmtree(source)


@pytest.mark.ci
def test_a_start_on_a_busy_machine_does_not_swallow_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "document {n}"}}\n' for n in range(200)))
    real = estimate._run

    def busy(pipeline: Pipeline, pieces: Sequence[Piece], output: Path, workers: int) -> estimate._Done:
        done = real(pipeline, pieces, output, workers)
        if output.name in ("warm", "start"):
            done.cpu = {phase: 10 * cpu + 10 for phase, cpu in done.cpu.items()}
        return done

    monkeypatch.setattr(estimate, "_run", busy)
    sample = measure(recipe("trap"), list_inputs(str(tmp_path), ReadJsonl.suffixes), share=1.0)
    assert 0 <= sample.startup_seconds < sample.cpu_seconds
    assert sample.busy > 0
    assert sum(sum(row.core_seconds) for row in sample.rows) > 0


@pytest.mark.parametrize(
    ("own", "cpu", "wall", "workers", "fixed"),
    [(1.0, 10.0, 8.0, 1, 1.0), (1.0, 10.0, 8.0, 4, 1.0), (-1.0, 10.0, 8.0, 1, 0.0), (5.0, 4.0, 3.0, 1, 1.0),
     (2.0, 4.0, 3.0, 2, 0.5), (5.0, 4.0, 6.0, 1, 0.0), (0.0, 0.0, 1.0, 1, 0.0)],
)  # fmt: skip
def test_what_starting_a_worker_costs(own: float, cpu: float, wall: float, workers: int, fixed: float) -> None:
    assert estimate._fixed(own, cpu, wall, workers) == fixed


def test_shares_that_are_none_and_sizes_that_are_unknown() -> None:
    with pytest.raises(ConfigError, match="is no share"):
        measure(recipe("trap"), [InputShard("/x", "x", 10, "")], share=0)
    with pytest.raises(ConfigError, match="not known"):
        measure(recipe("trap"), [InputShard("/x", "x", 0, "")])
