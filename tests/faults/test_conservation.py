"""Random chains of stages over random documents: every document is in exactly one place, for the counted reason."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.executors.support import rows
from tests.faults.chains import ChainCut, ChainJudge, ChainLetters, ChainRules, ChainUpper
from tests.faults.support import report_figures
from tests.properties import examples
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import Stage
from tokenmill.dedup.exact import ExactDedup, UrlDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold

WORDS = ["mill", "water", "wheel", "grain", "flour", "a", "stone"]
POISON = ["poison-rewrite", "poison-batch", "poison-judge"]


@st.composite
def chains(draw: st.DrawFn) -> list[Stage]:
    """Two to eight stages that fit together."""
    middle: list[Stage] = []
    open_to = ["cut", "upper", "letters", "judge", "rules", "exact", "url", "near"]
    for kind in draw(st.lists(st.sampled_from(open_to), min_size=1, max_size=6, unique=True)):
        if kind == "cut":
            middle.append(ChainCut(most=draw(st.integers(2, 6))))
        elif kind == "upper":
            middle.append(ChainUpper())
        elif kind == "judge":
            middle.append(ChainJudge(sides=draw(st.integers(2, 6))))
        elif kind == "exact":
            middle.append(ExactDedup(normalise=draw(st.sampled_from(["none", "spaces", "words"]))))
        elif kind == "url":
            middle.append(UrlDedup())
        elif kind == "near":
            middle.append(MinHashDedup(shingle_words=2, verify=draw(st.sampled_from(["jaccard", "none"]))))
        elif not any(isinstance(stage, ChainLetters) for stage in middle):
            middle.append(ChainLetters())
        if kind == "rules":
            middle.append(ChainRules(least=draw(st.integers(0, 12)), most=draw(st.integers(15, 60))))
    return middle


TEXTS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=12).map(" ".join)
DOCUMENTS = st.lists(
    st.one_of(
        st.tuples(TEXTS, st.integers(0, 20)),
        st.tuples(st.builds("{} {}".format, TEXTS, st.sampled_from(POISON)), st.integers(0, 20)),
    ),
    max_size=25,
)


def write(folder: Path, shards: Sequence[Sequence[tuple[str, int]]]) -> dict[str, int]:
    """JSON Lines with these texts; id -> position of every row."""
    positions = {}
    for number, documents in enumerate(shards):
        with open(folder / f"{number}.jsonl", "w") as stream:
            for row, (text, page) in enumerate(documents):
                stream.write(json.dumps({"text": text, "url": f"http://mill.example/{page}"}) + "\n")
                positions[f"{number}.jsonl#{row}"] = row
    return positions


def conserve(middle: list[Stage], shards: Sequence[Sequence[tuple[str, int]]], mode: str) -> Counter[str]:
    """Run, and compare counts with files. What became of the documents."""
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name) / "in", Path(name) / "out"
        source.mkdir()
        positions = write(source, shards)
        pipeline = Pipeline("chain", [ReadJsonl(), *middle, WriteParquet()])
        annotation = Annotation() if mode == "annotate" else None
        plan = make_plan(pipeline, list_inputs(str(source), (".jsonl",)), annotation)
        done = execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(out)), InlineExecutor())
        assert done.failures == {}
        check_files(out, positions)
        check_books(out, len(positions), middle if mode == "annotate" else [])
        return Counter({kind: len(rows(out, kind)) for kind in ("data", "dropped", "quarantine")})


def check_files(out: Path, positions: dict[str, int]) -> None:
    """Every row of the input is in exactly one published file, and what is kept is in its order."""
    data = [row["id"] for row in rows(out, "data")]
    gone = [row["doc_id"] for kind in ("dropped", "quarantine") for row in rows(out, kind)]
    assert sorted(data + gone) == sorted(positions)
    places = [(id.partition("#")[0], positions[id]) for id in data]
    assert places == sorted(places)


def check_books(out: Path, total: int, undecided: list[Stage]) -> None:
    """in = kept + dropped + quarantined at every stage, and each reason counts the rows that have it."""
    funnel = fold(RunFolder(str(out)))
    assert funnel.complete
    assert funnel.balance == 0
    assert funnel.records == total
    for before, stage in zip([None, *funnel.stages], funnel.stages, strict=False):
        assert stage.balanced, stage
        assert before is None or before.out == stage.into, stage
    dropped = Counter((row["stage"], row["reason"]) for row in rows(out, "dropped"))
    quarantined = Counter((row["stage"], row["cause"]) for row in rows(out, "quarantine"))
    assert dropped == Counter({(s.stage, reason): n for s in funnel.stages for reason, n in s.dropped.items()})
    assert quarantined == Counter({(s.stage, cause): n for s in funnel.stages for cause, n in s.quarantined.items()})
    filters = {stage.name for stage in undecided if isinstance(stage, ChainJudge | ChainRules)}
    assert not filters & {stage for stage, _ in dropped}  # in annotate mode, filters drop nothing


CHAIN = (chains(), st.lists(DOCUMENTS, min_size=1, max_size=3), st.sampled_from(["filter", "filter", "annotate"]))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@examples(5, 20)
@settings(suppress_health_check=SLOW)
@given(*CHAIN)
def test_documents_are_conserved(middle: list[Stage], shards: Any, mode: str) -> None:
    conserve(middle, shards, mode)


@pytest.mark.faults
def test_documents_are_conserved_in_500_chains() -> None:
    total: Counter[str] = Counter()

    @settings(max_examples=500, deadline=None, suppress_health_check=SLOW)
    @given(*CHAIN)
    def chain(middle: list[Stage], shards: Any, mode: str) -> None:
        total.update({**conserve(middle, shards, mode), "chains": 1, "stages": len(middle), mode: 1})

    chain()
    report_figures("conservation", total)
    assert min(total["data"], total["dropped"], total["quarantine"]) > 200  # the chains do something
