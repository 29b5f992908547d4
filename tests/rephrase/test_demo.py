"""The demo of rephrasing: what its model is taught, and the whole of it on a few pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from examples.rephrase import teacher
from tokenmill.rephrase.styles import load_style

EXAMPLES = Path(__file__).parents[2] / "examples" / "rephrase"
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("However, several users require it.", "But, some people need it."),
        ("It is really fast.", "It is fast."),
        ("Really fast it is.", "Really fast it is."),  # left out between two words only
        ("Is it really?", "Is it really?"),
        ("See via.md, /users/x and @users.", "See via.md, /users/x and @users."),
        ("A cat sat.", "A cat sat."),
        ("", ""),
    ],
)
def test_the_teacher_exchanges_whole_words(text: str, wanted: str) -> None:
    assert teacher.plain(text) == wanted


def test_words_left_out_can_be_marked() -> None:
    assert teacher.plain("It is really fast.", left_out="*") == "It is* fast."


def test_no_plain_word_is_to_be_exchanged_again_for_itself() -> None:
    words = teacher.plain_words()
    assert len(words) > 200
    assert all(word != plain and plain == plain.lower() for word, plain in words.items())


@pytest.mark.parametrize("name", ["plain", "plain_page", "summary"])
def test_the_styles_of_the_demo_are_styles(name: str) -> None:
    style = load_style(str(EXAMPLES / f"{name}.md"))
    assert (style.name, style.kind) == (name, "rewrite")


def pages(count: int) -> list[dict[str, str]]:
    """Pages of three lines about everything."""
    who = ["The community", "A committer", "Every user", "This project", "Our conference"]
    does = ["provides several features for", "improves the performance of", "describes many issues with", "monitors"]
    what = ["large systems", "external applications", "the documentation", "additional resources", "new releases"]
    made = []
    for page in range(count):
        lines = [
            f"{who[(page + line) % 5]} {does[(page // 2 + line) % 4]} {what[(page // 3 + line) % 5]} in the year "
            f"{1900 + page}, and nobody knows about number {line} yet."
            for line in range(3)
        ]
        made.append({"id": f"page-{page}", "url": f"https://example.org/{page}", "text": "\n".join(lines)})
    return made


@pytest.mark.slow
def test_pages_are_rewritten_by_a_model_made_for_it(tmp_path: Path) -> None:
    for package in ("torch", "transformers", "httptools", "fastapi", "uvicorn", "openai"):
        pytest.importorskip(package)
    (tmp_path / "pages").mkdir()
    (tmp_path / "hub").mkdir()
    pq.write_table(pa.Table.from_pylist(pages(30)), tmp_path / "pages" / "one.parquet")
    style, model, shown = EXAMPLES / "plain.md", tmp_path / "model", tmp_path / "shown.jsonl"
    learn = [sys.executable, EXAMPLES / "make_model.py", tmp_path / "pages", style, "--output", model]
    said = run(*learn, "--shown", shown, "--steps", "30", "--pages-shown", "4")
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d+)", said)]
    assert losses[-1] < losses[0] / 2

    env = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    serve = f"{BIN}/transformers serve {{model}} --device cpu --continuous-batching --port {{port}}"
    ask = [BIN / "tokenmill", "rephrase", shown, "--output", tmp_path / "out", "--style", style, "--model", model]
    run(*ask, "--serve", serve, "--set", f"serve_env={json.dumps(env)}", "--workers", "0", "--no-preflight")

    found = tmp_path / "out" / "rephrased"
    accepted = pq.read_table(found / "data").to_pylist()
    rejected = pq.read_table(found / "rejected").to_pylist()
    sources = [json.loads(line) for line in shown.read_text().splitlines()]
    assert {row["parent_id"] for row in accepted + rejected} == {source["id"] for source in sources}
    there = {word for source in sources for word in source["text"].lower().split()}
    said_new = {word for row in accepted + rejected for word in (row["text"] or "").lower().split()} - there
    assert said_new & set(teacher.plain_words().values())  # words that it can have only from the lessons
    assert "side by side" in (tmp_path / "out" / "report.html").read_text()


def run(*command: str | Path) -> str:
    """What a command prints. AssertionError with all of it where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
