"""The loader in processes that fork, end early, are killed and go on; the example and the documentation."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.tokens.support import make_set
from tests.tokens.test_loader import PACKINGS, documents, loader
from tokenmill.tokens.loader import TokenLoader
from tokenmill.tokens.tokenset import TokenSet


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    return make_set(tmp_path_factory.mktemp("set"), documents(120, 3))


def test_a_forked_process_makes_its_own_thread(tokens: TokenSet) -> None:
    program = """
import os, sys, warnings
from tokenmill.tokens.loader import TokenLoader
one = TokenLoader(sys.argv[1], sequence_length=8, batch_size=4)
next(one)
warnings.simplefilter("ignore")
child = os.fork()
os.write(1, f"{next(one)['input_ids'].sum()} {one.step}\\n".encode())  # one call: two processes write
one.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tokens.folder)], capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines), len(set(lines))) == (0, 2, 1), done.stderr


def test_a_program_that_ends_early_ends(tokens: TokenSet) -> None:
    program = "import sys; from tokenmill.tokens.loader import TokenLoader; next(TokenLoader(sys.argv[1], "
    program += "sequence_length=8, batch_size=4, prefetch=4)); 1 / 0"
    command = [sys.executable, "-c", program, str(tokens.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ZeroDivisionError")


TRAINING = """
import json, os, sys, zlib
from pathlib import Path
from tokenmill.tokens.loader import TokenLoader
folder, packing = Path(sys.argv[2]), sys.argv[3]
loader = TokenLoader(sys.argv[1], sequence_length=8, batch_size=3, packing=packing, window_documents=17, epochs=3)
state = folder / "state.json"
if state.is_file():
    loader.load_state_dict(json.loads(state.read_text()))
for batch in loader:
    with open(folder / "log", "a") as log:
        print(loader.step, *batch["input_ids"].ravel(), *batch["cu_seqlens"], file=log)
    if loader.step % 5 == 0:
        (folder / "new").write_text(json.dumps(loader.state_dict()))
        os.replace(folder / "new", state)
    print(loader.step, flush=True)
    if loader.step in map(int, sys.argv[4:]):
        sys.stdin.readline()
"""


@pytest.mark.parametrize("packing", [PACKINGS[0], *(pytest.param(name, marks=pytest.mark.ci) for name in PACKINGS[1:])])
def test_killed_and_resumed(tokens: TokenSet, tmp_path: Path, packing: str) -> None:
    command = [sys.executable, "-c", TRAINING, str(tokens.folder), str(tmp_path), packing]
    for stop in (13, 37):
        with subprocess.Popen([*command, str(stop)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) == stop:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
    lines = (tmp_path / "log").read_text().splitlines()
    steps = [int(line.split()[0]) for line in lines]
    assert steps == [*range(1, 14), *range(11, 38), *range(36, max(steps) + 1)]
    wanted = loader(tokens, packing=packing, batch_size=3, epochs=3)
    texts = dict.fromkeys(lines)  # a step that was done twice must have had the same batch
    assert list(texts) == [" ".join(map(str, [wanted.step, *b["input_ids"].ravel(), *b["cu_seqlens"]])) for b in wanted]


def test_the_example_runs(tmp_path: Path) -> None:
    make_set(tmp_path, [[[n % 50 + 1] * 40 for n in range(200)]])
    example = Path(__file__).resolve().parents[2] / "examples/train_loader.py"
    command = [sys.executable, str(example), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "16 steps, 8200 tokens in 200 documents"
    assert done.stdout.splitlines()[-1] == "the same model as without the stop: True"


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_code_in_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    text = (Path(__file__).resolve().parents[2] / "docs/loader.md").read_text()
    monkeypatch.chdir(tmp_path)
    make_set(tmp_path / "shards", documents(4000, 2))
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        if "cuda" not in code:
            exec(code, names)
    assert names["loader"].step == 2
    q = names["states"]
    bounds = TokenLoader(names["english"], sequence_length=512, batch_size=4).__next__()["cu_seqlens"].tolist()
    for start, stop in pairwise(bounds):
        row, low = divmod(start, 512)
        part = q[row, :, low : low + stop - start]
        alone = torch.nn.functional.scaled_dot_product_attention(part, part, part, is_causal=True)
        assert torch.allclose(names["attended"][row, :, low : low + stop - start], alone, atol=1e-5)
    rest = list(names["batches"])
    assert len(rest) == len(names["loader"]) - 2
    assert isinstance(rest[0]["input_ids"], torch.Tensor)
